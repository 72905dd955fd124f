/*
 * Time.  Deadlines and ages are milliseconds of the monotonic clock; only logs and records see the
 * wall clock.  Tests put their own clock in place of it; nobody else does.
 */
#ifndef KEK_CLOCK_H
#define KEK_CLOCK_H

#include <stdint.h>

#define KEK_NEVER UINT64_MAX

uint64_t kek_clock_ms(void);     /* monotonic milliseconds */
uint64_t kek_clock_us(void);     /* monotonic microseconds, for durations */
int64_t kek_clock_wall_ms(void); /* milliseconds since 1970-01-01 UTC */

/* A moment of the wall clock in UTC, as RFC 3339 has it, "2026-01-31T08:00:00.123Z"; the second leaves out the
 * fraction. Returns text. */
#define KEK_CLOCK_TEXT 32
const char *kek_clock_text(int64_t wall_ms, char text[static KEK_CLOCK_TEXT]);
const char *kek_clock_text_seconds(int64_t wall_ms, char text[static KEK_CLOCK_TEXT]);

/* The moment of such a text, with up to nine digits of a fraction or without. 0: it is none. */
int64_t kek_clock_parse(const char *text);

/* Replaces the monotonic clock, in microseconds (tests only); NULL puts the real one back. */
void kek_clock_fake(uint64_t (*now_us)(void));

#endif
