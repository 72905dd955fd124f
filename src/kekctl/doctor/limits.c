#include "limits.h"

#include <string.h>

#include "kek/text.h"

bool limits_of_process(const char *text, const char *name, uint64_t *limit)
{
    static const char unlimited[] = "unlimited";
    const char *at = strstr(text, name);
    if (at == NULL) {
        return false;
    }
    at += strlen(name);
    at += strspn(at, " ");
    if (strncmp(at, unlimited, strlen(unlimited)) == 0) {
        *limit = UINT64_MAX;
        return true;
    }
    return kek_text_digits(&at, UINT64_MAX, limit);
}

uint64_t limits_sessions(const struct limits_sessions *of)
{
    /* kekctl has one process of each provider, and its successor (a fresh list). */
    return (of->nodes * (of->processes + 1) + 2) * (of->sessions + 1);
}

uint64_t limits_sessions_fit(const struct limits_sessions *of, uint64_t max)
{
    uint64_t each = max / (of->nodes * (of->processes + 1) + 2);
    return each == 0 ? 0 : each - 1;
}
