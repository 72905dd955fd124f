#include "reencrypt_pace.h"

#define FIRST_PAUSE_MS 250u
#define DOUBLINGS 6u     /* 16 s at most */
#define BURST_US 100000u /* of the rate that may be made up for after a pause */

void pace_init(struct pace *pace, size_t most, uint64_t rate)
{
    *pace = (struct pace){.most = most, .now = most, .rate = rate};
}

bool pace_may(const struct pace *pace, size_t under_way, uint64_t now_ms)
{
    return under_way < pace->now && pace_wait_ms(pace, now_ms) == 0;
}

void pace_begun(struct pace *pace, uint64_t now_ms)
{
    if (pace->rate > 0) {
        uint64_t now_us = now_ms * 1000, earliest = now_us > BURST_US ? now_us - BURST_US : 0;
        uint64_t from_us = pace->next_us > earliest ? pace->next_us : earliest;
        pace->next_us = from_us + 1000000 / pace->rate;
    }
}

uint64_t pace_wait_ms(const struct pace *pace, uint64_t now_ms)
{
    uint64_t by_rate = pace->rate == 0 ? 0 : (pace->next_us + 999) / 1000;
    uint64_t until = by_rate > pace->held_ms ? by_rate : pace->held_ms;
    return until > now_ms ? until - now_ms : 0;
}

void pace_good(struct pace *pace)
{
    pace->bad = 0;
    if (++pace->good >= 4 * pace->now && pace->now < pace->most) {
        pace->now++;
        pace->good = 0;
    }
}

uint64_t pace_bad(struct pace *pace, uint64_t retry_ms, uint64_t now_ms)
{
    if (now_ms >= pace->held_ms) { /* else it was under way when the first of them came */
        pace->now = pace->now > 1 ? pace->now / 2 : 1;
        pace->good = 0;
        pace->held_ms =
            now_ms + (FIRST_PAUSE_MS << (pace->bad < DOUBLINGS ? pace->bad : DOUBLINGS));
        pace->bad++;
    }
    if (now_ms + retry_ms > pace->held_ms) {
        pace->held_ms = now_ms + retry_ms;
    }
    return pace->held_ms;
}
