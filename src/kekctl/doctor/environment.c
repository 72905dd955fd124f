#include "environment.h"

#include <stdio.h>
#include <string.h>

#define ROOM_MAX (LINES_TODO / 2) /* the command comes after it */

void environment_put(const struct kek_config_provider *provider, char out[static LINES_TODO])
{
    size_t at = 0;
    out[0] = '\0';
    for (size_t i = 0; provider->env != NULL && provider->env[i] != NULL; i++) {
        const char *word = provider->env[i];
        if (at + 4 * strlen(word) + sizeof "env '' " > ROOM_MAX) {
            snprintf(out, LINES_TODO, "env -S \"${ENV_OF_THE_PROVIDER:?}\" ");
            return;
        }
        at += (size_t)snprintf(out + at, LINES_TODO - at, "%s", at == 0 ? "env " : "");
        lines_quote(word, out + at, LINES_TODO - at);
        at += strlen(out + at);
        at += (size_t)snprintf(out + at, LINES_TODO - at, " ");
    }
}
