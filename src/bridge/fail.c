/* Failures. */
#include "kek/bridge.h"

bool kek_bridge_fail(struct kek_provider_failure *failure, int step, int cause, const char *format,
                     ...)
{
    va_list args;
    va_start(args, format);
    (void)kek_provider_fail(failure, step, cause, format, args);
    va_end(args);
    return false;
}

bool kek_bridge_fail_why(struct kek_provider_failure *failure, int step, int cause,
                         const struct kek_why *why)
{
    failure->step = step;
    failure->cause = cause;
    failure->why = *why;
    failure->why.rc = kek_wire_rc(cause);
    return false;
}
