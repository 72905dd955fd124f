#include "variables.h"

#include <stdlib.h>
#include <string.h>

const char *variables_get(const struct kek_config_provider *provider, const char *name)
{
    size_t len = strlen(name);
    for (size_t i = 0; provider->env != NULL && provider->env[i] != NULL; i++) {
        if (strncmp(provider->env[i], name, len) == 0 && provider->env[i][len] == '=') {
            return provider->env[i] + len + 1;
        }
    }
    return getenv(name);
}
