/* Which settings of a provider name a file with a secret in it, and how its reader takes that file. Pure. */
#ifndef KEKCTL_DOCTOR_SECRET_SETTINGS_H
#define KEKCTL_DOCTOR_SECRET_SETTINGS_H

#include "secrets.h"

struct secret_setting {
    const char *type, *key;
    bool officers; /* kekctl's alone, and better not kekd's to read */
    struct secret_file file;
};

/* NULL: it names no such file. */
const struct secret_setting *secret_setting_of(const struct kek_config_provider *provider,
                                               const char *key);

/* The file that a setting names, "/path" or "file:/path"; NULL: none. Borrowed. */
const char *secret_setting_path(const struct kek_config_setting *setting);

#endif
