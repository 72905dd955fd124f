/* How a verdict, a remark or an obstacle is worded: what is so, and what is to be done. */
#include "keyring/ring.h"

#include <stdio.h>

void verdict_say(struct kek_keyring_verdict *verdict, const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(verdict->what, sizeof verdict->what, format, args);
    va_end(args);
    snprintf(verdict->todo, sizeof verdict->todo, "%s", todo);
}
