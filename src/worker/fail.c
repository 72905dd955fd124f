#include "kek/provider.h"

#include <stdio.h>

bool kek_provider_fail(struct kek_provider_failure *failure, int step, int cause,
                       const char *format, va_list args)
{
    char text[KEK_WHY_TEXT];
    vsnprintf(text, sizeof text, format, args);
    failure->step = step;
    failure->cause = cause;
    kek_fail(&failure->why, kek_wire_rc(cause), "%s", text);
    return false;
}
