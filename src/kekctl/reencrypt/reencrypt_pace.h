/*
 * How many objects are asked for at once, and when: at most `most`, fewer where the API server says that it has
 * too much to do, and again more as it answers.  Pure: the caller brings the time (milliseconds of kek_clock_ms()).
 */
#ifndef KEKCTL_REENCRYPT_PACE_H
#define KEKCTL_REENCRYPT_PACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pace {
    size_t most, now; /* under way at once: at most, and as things are */
    uint64_t rate;    /* a second; 0: no limit */
    uint64_t next_us; /* when the next may begin, by the rate */
    uint64_t held_ms; /* until then none begins */
    size_t good;      /* answers since `now` changed */
    unsigned bad;     /* rounds of trouble in a row */
};

void pace_init(struct pace *pace, size_t most, uint64_t rate);

bool pace_may(const struct pace *pace, size_t under_way, uint64_t now_ms); /* one more? */
void pace_begun(struct pace *pace, uint64_t now_ms);                       /* it did */

/* For so long none may, by the rate and what is held; 0: one may. */
uint64_t pace_wait_ms(const struct pace *pace, uint64_t now_ms);

/* An answer that was one. */
void pace_good(struct pace *pace);

/* Too much, or trouble; retry_ms: what the server asked for, 0: nothing. Answers that belong to one moment count
 * once. Returns when whoever got it may try again. */
uint64_t pace_bad(struct pace *pace, uint64_t retry_ms, uint64_t now_ms);

#endif
