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

/* Replaces the monotonic clock, in microseconds (tests only); NULL puts the real one back. */
void kek_clock_fake(uint64_t (*now_us)(void));

#endif
