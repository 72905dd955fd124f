#include "period.h"

#include <time.h>

#define FEBRUARY 1 /* of struct tm */

const char *period_verdict_name(enum period_verdict verdict)
{
    static const char *const names[] = {[PERIOD_NOT_KNOWN] = "not known",
                                        [PERIOD_WITHIN] = "within",
                                        [PERIOD_EXCEEDED] = "exceeded"};
    return names[verdict];
}

static int64_t floor_seconds(int64_t ms)
{
    return ms >= 0 ? ms / 1000 : -((-ms + 999) / 1000);
}

int64_t period_add_years(int64_t ms, int years)
{
    if (ms == PERIOD_PAST || ms == PERIOD_FUTURE) {
        return ms;
    }
    time_t seconds = (time_t)floor_seconds(ms);
    struct tm date;
    if (gmtime_r(&seconds, &date) == NULL) {
        return PERIOD_FUTURE;
    }
    int month = date.tm_mon;
    date.tm_year += years;
    time_t later = timegm(&date);
    if (month == FEBRUARY && date.tm_mon != FEBRUARY) {
        later -= (time_t)24 * 3600;
    }
    return (int64_t)later * 1000 + (ms - (int64_t)seconds * 1000);
}

enum period_verdict period_judge(struct period_date begin, struct period_date end, int years)
{
    if (end.last < begin.first) { /* a clock was set between the two */
        return PERIOD_NOT_KNOWN;
    }
    if (begin.first != PERIOD_PAST && end.last != PERIOD_FUTURE &&
        end.last <= period_add_years(begin.first, years)) {
        return PERIOD_WITHIN;
    }
    if (begin.last != PERIOD_FUTURE && end.first != PERIOD_PAST &&
        end.first > period_add_years(begin.last, years)) {
        return PERIOD_EXCEEDED;
    }
    return PERIOD_NOT_KNOWN;
}
