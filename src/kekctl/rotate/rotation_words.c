/* How steps, times and sentences of a rotation are written. */
#include <stdio.h>

#include "kek/clock.h"
#include "rotation_target.h"

static const char *const names[ROTATION_STEPS] = {
    [ROTATION_CHECK] = "check",     [ROTATION_CLAIM] = "claim",
    [ROTATION_CREATE] = "create",   [ROTATION_SEEN] = "seen",
    [ROTATION_PROMOTE] = "promote", [ROTATION_ANNOUNCED] = "announced",
    [ROTATION_RETIRE] = "retire",   [ROTATION_DONE] = "done",
};

const char *rotation_step_name(enum rotation_step step)
{
    return names[step];
}

bool rotation_step_parse(const char *name, enum rotation_step *step)
{
    for (size_t i = 0; i < ROTATION_STEPS; i++) {
        if (strcmp(names[i], name) == 0) {
            *step = (enum rotation_step)i;
            return true;
        }
    }
    return false;
}

void rotation_time_format(int64_t ms, char text[static ROTATION_TIME_TEXT])
{
    kek_clock_text_seconds(ms, text);
}

bool rotation_say(struct rotation_plan *plan, enum rotation_verdict verdict, const char *format,
                  ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(plan->text, sizeof plan->text, format, args);
    va_end(args);
    plan->verdict = verdict;
    return false;
}
