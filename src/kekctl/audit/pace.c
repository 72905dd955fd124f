#include "pace.h"

static void wait_on(struct pace *pace, int64_t ms, uint64_t interval_ms)
{
    if (pace->last_ms > 0 && ms > pace->last_ms) {
        uint64_t between = (uint64_t)(ms - pace->last_ms);
        pace->waited_ms += between < interval_ms ? between : interval_ms;
    }
    pace->last_ms = ms;
}

static uint64_t allowed_ms(uint64_t interval_ms)
{
    return PACE_INTERVALS * interval_ms + PACE_SLACK_MS;
}

bool pace_line(struct pace *pace, const struct telling *telling, uint64_t interval_ms)
{
    if (!telling->is_kekds) {
        return false; /* kekctl's comes while kekd is stopped, too */
    }
    wait_on(pace, telling->wall_ms, interval_ms);
    if (telling->kind == TELLING_START) {
        pace->waited_ms = 0;
    }
    /* Before the verdict on a MAC that comes late: what stood there was cut, or was never made. */
    bool late = pace->expects && !pace->told && pace->waited_ms > allowed_ms(interval_ms);
    pace->told = pace->told || late;
    if (telling->kind == TELLING_MAC || telling->kind == TELLING_MAC_FAILED) {
        *pace = (struct pace){.expects = telling->kind == TELLING_MAC, .last_ms = telling->wall_ms};
    }
    return late;
}

bool pace_is_late(int64_t waits_ms, uint64_t interval_ms, int64_t now_ms)
{
    return waits_ms > 0 && now_ms > waits_ms &&
           (uint64_t)(now_ms - waits_ms) > allowed_ms(interval_ms);
}
