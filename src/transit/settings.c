/*
 * What Hello brings, checked once more: the configuration's own table (src/config/transit.c) checked the form, but a
 * worker goes by what it reads here.
 */
#include "transit.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

static bool bad(struct kek_provider_failure *failure, const char *what, const char *wanted)
{
    return kek_bridge_fail(failure, STEP(URI), CAUSE(BAD_REQUEST), "%s: expected %s", what, wanted);
}

static bool take(const struct Kek__Provider__Hello *hello, const char *key, const char *otherwise,
                 char *out, size_t size, struct kek_provider_failure *failure)
{
    const char *value = kek_provider_setting(hello, key);
    value = value == NULL ? otherwise : value;
    int len = snprintf(out, size, "%s", value);
    return len >= 0 && (size_t)len < size ? true : bad(failure, key, "a shorter text");
}

/* Segments of letters, digits and "_.-", joined by "/": what needs no escape in a URL or in JSON and leads nowhere else. */
static bool is_path(const char *text, bool one)
{
    static const char signs[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    for (const char *at = text;; at++) {
        size_t len = strspn(at, signs);
        if (len == 0 || at[0] == '.') {
            return false;
        }
        at += len;
        if (*at == '\0') {
            return true;
        }
        if (*at != '/' || one) {
            return false;
        }
    }
}

static bool take_path(const struct Kek__Provider__Hello *hello, const char *key,
                      const char *otherwise, bool one, char out[static TRANSIT_TEXT_MAX],
                      struct kek_provider_failure *failure)
{
    if (!take(hello, key, otherwise, out, TRANSIT_TEXT_MAX, failure)) {
        return false;
    }
    return out[0] == '\0' || is_path(out, one)
               ? true
               : bad(failure, key,
                     "letters, digits, \"_\", \".\" and \"-\", without \"/\" at an end");
}

static bool take_file(const struct Kek__Provider__Hello *hello, const char *key, char *out,
                      struct kek_provider_failure *failure)
{
    if (!take(hello, key, "", out, TRANSIT_PATH_MAX, failure)) {
        return false;
    }
    return out[0] == '\0' || out[0] == '/' ? true : bad(failure, key, "an absolute path");
}

static bool take_auth(const struct Kek__Provider__Hello *hello, struct transit_settings *settings,
                      struct kek_provider_failure *failure)
{
    static const char *const names[] = {"token", "approle", "jwt", "cert"};
    const char *auth = kek_provider_setting(hello, "auth");
    auth = auth == NULL ? names[0] : auth;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(auth, names[i]) == 0) {
            settings->auth = (enum transit_auth)i;
            return take_path(hello, "auth_mount", auth, false, settings->auth_mount, failure);
        }
    }
    return bad(failure, "auth", "token, approle, jwt or cert");
}

/* An officer may have a token of his own, which the service's user cannot read. */
static bool take_credential(const struct Kek__Provider__Hello *hello, bool officer,
                            struct transit_settings *settings, struct kek_provider_failure *failure)
{
    static const char *const names[] = {"token_file", "secret_id_file", "jwt_file", NULL};
    if (officer && kek_provider_setting(hello, "admin_token_file") != NULL) {
        settings->auth = TRANSIT_TOKEN;
        settings->credential_name = "admin_token_file";
    } else {
        settings->credential_name = names[settings->auth];
    }
    const char *name = settings->credential_name;
    if (name == NULL) {
        return settings->cert[0] != '\0'
                   ? true
                   : bad(failure, "cert", "a client certificate for auth: cert");
    }
    if (!take_file(hello, name, settings->credential, failure)) {
        return false;
    }
    return settings->credential[0] != '\0' ? true : bad(failure, name, "a file, for this auth");
}

static bool take_address(const struct Kek__Provider__Hello *hello,
                         struct transit_settings *settings, struct kek_provider_failure *failure)
{
    if (!take(hello, "address", "", settings->address, sizeof settings->address, failure)) {
        return false;
    }
    settings->plain = strncmp(settings->address, "http://", 7) == 0;
    bool good = settings->plain || strncmp(settings->address, "https://", 8) == 0;
    return good ? true : bad(failure, "address", "https://HOST:PORT");
}

bool transit_settings_read(const struct Kek__Provider__Hello *hello, bool officer,
                           struct transit_settings *settings, struct kek_provider_failure *failure)
{
    const char *exportable = kek_provider_setting(hello, "allow_exportable");
    settings->allow_exportable = exportable != NULL && strcmp(exportable, "true") == 0;
    if (!take_address(hello, settings, failure) ||
        !take_path(hello, "mount", "transit", false, settings->mount, failure) ||
        !take_path(hello, "key", hello->keyring, true, settings->key, failure) ||
        !take_path(hello, "namespace", "", false, settings->space, failure) ||
        !take_file(hello, "ca", settings->ca, failure) ||
        !take_file(hello, "cert", settings->cert, failure) ||
        !take_file(hello, "cert_key", settings->cert_key, failure) ||
        !take_path(hello, "role", "", false, settings->role, failure) ||
        !take_auth(hello, settings, failure) ||
        !take_credential(hello, officer, settings, failure) ||
        !kek_bridge_names_read(hello, &settings->named, failure)) {
        return false;
    }
    if (settings->role[0] == '\0' &&
        (settings->auth == TRANSIT_APPROLE || settings->auth == TRANSIT_JWT)) {
        return bad(failure, "role", "a role, for this auth");
    }
    return true;
}
