#include "life.h"

static int64_t earlier(int64_t one, int64_t other)
{
    return one == 0 ? other : other == 0 || one < other ? one : other;
}

/* A date that is to come was written by a clock that was wrong: 0. */
static int64_t past(int64_t ms, int64_t now_ms)
{
    return ms <= now_ms ? ms : 0;
}

struct period_date life_begin(const struct life *life, int64_t now_ms)
{
    const struct audit_key *line = life->line;
    struct period_date begin = period_unknown();
    int64_t line_ms = line == NULL ? 0 : line->first_active_ms;
    int64_t active_ms = earlier(past(line_ms, now_ms), past(life->announced_ms, now_ms));
    int64_t generated_ms = line == NULL ? 0 : past(line->generated_ms, now_ms);
    if (active_ms > 0) {
        begin.last = active_ms;
    } else if (line_ms > 0 || life->announced_ms > 0) {
        begin.last = now_ms;
    }
    if (generated_ms > 0) {
        begin.first = generated_ms;
    }
    /* Where lines are missing, it may have sealed before what is the first of it here. */
    if (generated_ms > 0 && line->begun_here && active_ms == line_ms && !life->gaps &&
        generated_ms <= active_ms) {
        begin.first = active_ms;
    }
    if (begin.first > begin.last) { /* a clock was set between the two, and either may be right */
        begin = (struct period_date){begin.last, begin.first};
    }
    return begin;
}

bool life_not_begun(const struct life *life, bool pre_active)
{
    return pre_active && !life->wraps && !life->unseen && life->announced_ms == 0 &&
           (life->line == NULL || life->line->first_active_ms == 0);
}

/* Not after `ms`, where that is a date and can be so. */
static void end_by(struct period_date *end, int64_t ms)
{
    if (ms > 0 && ms >= end->first && ms < end->last) {
        end->last = ms;
    }
}

/* What the log has of when it ceased to seal. */
static struct period_date sealed_by_log(const struct audit_key *line, int64_t now_ms)
{
    struct period_date end = {PERIOD_PAST, now_ms};
    int64_t active_ms = past(line->last_active_ms, now_ms);
    int64_t generated_ms = past(line->generated_ms, now_ms);
    int64_t retired_ms = past(line->first_retired_ms, now_ms);
    int64_t inactive_ms = retired_ms > 0 ? line->last_retired_ms : line->first_inactive_ms;
    if (active_ms > 0 || generated_ms > 0) {
        end.first = active_ms > 0 ? active_ms : generated_ms;
    }
    if (retired_ms > 0) {
        end.first = retired_ms;
    }
    end_by(&end, inactive_ms);
    return end;
}

struct period_date life_sealed_until(const struct life *life, int64_t now_ms)
{
    if (life->wraps) {
        return period_at(now_ms);
    }
    struct period_date end = {PERIOD_PAST, now_ms};
    if (life->line != NULL) {
        end = sealed_by_log(life->line, now_ms);
    }
    if (life->gaps || life->unseen) { /* it may have sealed again since, or does */
        end.last = now_ms;
    }
    if (!life->unseen) {
        end_by(&end, life->inactive_ms);
        end_by(&end, life->destroyed_ms);
    }
    return end;
}

struct period_date life_opened_until(const struct life *life, int64_t now_ms)
{
    if (life->unwraps) {
        return period_at(now_ms);
    }
    struct period_date end = {PERIOD_PAST, now_ms};
    if (life->line != NULL && past(life->line->last_opened_ms, now_ms) > 0) {
        end.first = life->line->last_opened_ms;
    }
    if (!life->unseen) {
        end_by(&end, life->suspended_ms);
        end_by(&end, life->destroyed_ms);
    }
    return end;
}
