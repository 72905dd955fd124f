#include "life.h"

static int64_t earlier(int64_t one, int64_t other)
{
    return one == 0 ? other : other == 0 || one < other ? one : other;
}

struct period_date life_begin(const struct life *life)
{
    const struct audit_key *line = life->line;
    struct period_date begin = period_unknown();
    int64_t active_ms = earlier(line == NULL ? 0 : line->first_active_ms, life->announced_ms);
    if (active_ms > 0) {
        begin.last = active_ms;
    }
    if (line != NULL && line->generated_ms > 0) {
        begin.first = line->generated_ms;
    }
    if (line != NULL && line->generated_ms > 0 && line->begun_here &&
        active_ms == line->first_active_ms) {
        begin.first = active_ms;
    }
    if (begin.first > begin.last) {
        begin.first = begin.last; /* a clock was set between the two */
    }
    return begin;
}

bool life_not_begun(const struct life *life, bool pre_active)
{
    return pre_active && !life->wraps && !life->unseen && life_begin(life).last == PERIOD_FUTURE;
}

struct period_date life_sealed_until(const struct life *life, int64_t now_ms)
{
    const struct audit_key *line = life->line;
    if (life->wraps) {
        return period_at(now_ms);
    }
    struct period_date end = {PERIOD_PAST, now_ms};
    if (line != NULL && line->last_active_ms > 0) {
        end.first = line->last_active_ms;
    } else if (line != NULL && line->generated_ms > 0) {
        end.first = line->generated_ms;
    }
    if (life->unseen) {
        return end;
    }
    int64_t inactive_ms = line == NULL ? 0 : line->first_inactive_ms;
    if (line != NULL && line->first_retired_ms > 0) {
        end.first = line->first_retired_ms;
        inactive_ms = line->last_retired_ms;
    } else if (life->inactive_ms > end.first) {
        inactive_ms = earlier(inactive_ms, life->inactive_ms);
    }
    inactive_ms = earlier(inactive_ms, life->destroyed_ms);
    end.last = inactive_ms > 0 && inactive_ms >= end.first ? inactive_ms : now_ms;
    return end;
}

struct period_date life_opened_until(const struct life *life, int64_t now_ms)
{
    if (life->unwraps) {
        return period_at(now_ms);
    }
    struct period_date end = {PERIOD_PAST, now_ms};
    if (life->line != NULL && life->line->last_opened_ms > 0) {
        end.first = life->line->last_opened_ms;
    }
    int64_t last_ms = earlier(life->suspended_ms, life->destroyed_ms);
    if (!life->unseen && last_ms > 0 && last_ms >= end.first) {
        end.last = last_ms;
    }
    return end;
}
