#include "secret_settings.h"

#include <string.h>

#define FILE_URI "file:"

/* As its reader takes it (bridge/file.c, gcpkms/file.c). libcurl, which reads cert_key, looks at no mode. */
static const struct secret_setting settings[] = {
    {"transit", "token_file", false, {.forbidden = 077, .is_line = true, .variable = "BAO_TOKEN"}},
    {"transit",
     "secret_id_file",
     false,
     {.forbidden = 077, .is_line = true, .variable = "SECRET_ID"}},
    {"transit", "jwt_file", false, {.forbidden = 077, .is_line = true, .variable = "JWT"}},
    {"transit", "cert_key", false, {.forbidden = 027, .public = DOCTOR_WARN}},
    {"transit", "admin_token_file", true, {.forbidden = 077}},
    {"gcpkms", "credentials", false, {.forbidden = 077, .owned = true}},
    {"gcpkms", "admin_credentials", true, {.forbidden = 077}},
};

const struct secret_setting *secret_setting_of(const struct kek_config_provider *provider,
                                               const char *key)
{
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
        if (strcmp(settings[i].type, provider->type) == 0 && strcmp(settings[i].key, key) == 0) {
            return &settings[i];
        }
    }
    return NULL;
}

const char *secret_setting_path(const struct kek_config_setting *setting)
{
    const char *value = setting->value;
    value += strncmp(value, FILE_URI, strlen(FILE_URI)) == 0 ? strlen(FILE_URI) : 0;
    return value[0] == '/' ? value : NULL;
}
