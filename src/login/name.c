#include "record.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "kek/lock_file.h"
#include "kek/text.h"

/* What a login is known by: its token's lock and record, and its credential. */

#define CREDENTIAL_MAX \
    65536 /* bytes that a digest is made of; a provider's configuration is far below */

static enum kek_rc digest(struct kek_bytes bytes, char out[static KEK_LOGIN_SLOT_TEXT],
                          struct kek_why *why)
{
    uint8_t sum[32];
    if (EVP_Digest(bytes.data, bytes.len, sum, NULL, EVP_sha256(), NULL) != 1) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to name a token's login");
    }
    kek_hex(kek_bytes(sum, (KEK_LOGIN_SLOT_TEXT - 1) / 2), out);
    return KEK_OK;
}

enum kek_rc kek_login_slot(const char *serial, char slot[static KEK_LOGIN_SLOT_TEXT],
                           struct kek_why *why)
{
    return digest(kek_bytes_of(serial), slot, why);
}

enum kek_rc login_path(const char *state_dir, const char *head, const char *slot, const char *tail,
                       char path[static PATH_MAX], struct kek_why *why)
{
    int len = snprintf(path, PATH_MAX, "%s/%s%s%s", state_dir, head, slot, tail);
    return len > 0 && len < PATH_MAX - 8 /* it may have .new beside it */
               ? KEK_OK
               : kek_fail(why, KEK_INVALID, "the path of state_dir is too long");
}

const char *kek_login_attribute(const char *uri, const char *name, size_t *len)
{
    if (uri == NULL) {
        return NULL; /* this type has none */
    }
    const char *at = strchr(uri, ':');
    at = at == NULL ? uri : at + 1;
    bool query = false;
    for (;;) {
        size_t end = strcspn(at, query ? "&" : ";?");
        if (strncmp(at, name, strlen(name)) == 0) {
            *len = end - strlen(name);
            return at + strlen(name);
        }
        if (at[end] == '\0') {
            return NULL;
        }
        query = query || at[end] == '?';
        at += end + 1;
    }
}

bool kek_login_pin_source(const struct kek_login_provider *provider, char *out, size_t size)
{
    const char *uri = kek_config_setting(provider->config, "uri"), *at = NULL;
    size_t len = 0;
    if (uri == NULL) { /* a service's credential, whose file the worker names */
        snprintf(out, size, "in %s", provider->pin_path);
        return true;
    }
    if (provider->officer) {
        at = kek_login_attribute(uri, "admin-pin-source=", &len);
    }
    at = at == NULL ? kek_login_attribute(uri, "pin-source=", &len) : at;
    if (at == NULL) {
        snprintf(out, size, "from its PIN pad");
        return false;
    }
    snprintf(out, size, "in %.*s", (int)len, at);
    return true;
}

/* A field of a digest; its NUL keeps two fields from looking like one. */
static enum kek_rc add_field(struct kek_buf *buf, const char *text, size_t len, struct kek_why *why)
{
    enum kek_rc rc = kek_buf_append(buf, kek_bytes(text, len), why);
    return rc == KEK_OK ? kek_buf_append(buf, kek_bytes("", 1), why) : rc;
}

static enum kek_rc digest_token(const Kek__Provider__Token *token,
                                char out[static KEK_LOGIN_SLOT_TEXT], struct kek_why *why)
{
    const char *const fields[] = {token->serial, token->label, token->manufacturer, token->model};
    KEK_AUTO_BUF struct kek_buf buf;
    kek_buf_init(&buf, CREDENTIAL_MAX);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum kek_rc rc = add_field(&buf, fields[i], strlen(fields[i]), why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return digest(kek_buf_bytes(&buf), out, why);
}

/* Only what can lead to another token: which token the URI asks for is seen by what was found. */
static enum kek_rc digest_way(const struct kek_config_provider *config,
                              char out[static KEK_LOGIN_SLOT_TEXT], struct kek_why *why)
{
    static const char *const names[] = {"module-path=", "module-name=", "slot-id="};
    KEK_AUTO_BUF struct kek_buf buf;
    kek_buf_init(&buf, CREDENTIAL_MAX);
    enum kek_rc rc = add_field(&buf, config->type, strlen(config->type), why);
    for (size_t i = 0; i < sizeof names / sizeof names[0] && rc == KEK_OK; i++) {
        size_t len = 0;
        const char *value = kek_login_attribute(kek_config_setting(config, "uri"), names[i], &len);
        rc = add_field(&buf, value == NULL ? "" : value, len, why);
    }
    /* A service's credential is of all that leads to it. */
    bool service = kek_config_setting(config, "uri") == NULL;
    for (size_t i = 0; service && i < config->setting_count && rc == KEK_OK; i++) {
        const char *value = config->settings[i].value;
        rc = add_field(&buf, value, strlen(value), why);
    }
    const char *args = kek_config_setting(config, "init_args");
    args = args == NULL ? "" : args;
    rc = rc == KEK_OK ? add_field(&buf, args, strlen(args), why) : rc;
    for (char **at = config->env; at != NULL && *at != NULL && rc == KEK_OK; at++) {
        rc = add_field(&buf, *at, strlen(*at), why);
    }
    return rc == KEK_OK ? digest(kek_buf_bytes(&buf), out, why) : rc;
}

enum kek_rc kek_login_init(struct kek_login *login, struct kek_login_provider *provider,
                           const Kek__Provider__Token *token, struct kek_why *why)
{
    struct kek_login fresh = {
        .provider = provider,
        .lock_fd = -1,
        .now.officer = provider->officer,
        .now.credential.pin =
            {
                .inode = token->pin_inode,
                .mtime_ns = token->pin_mtime_ns,
                .size = token->pin_size,
            },
    };
    kek_text_copy(provider->pin_path, sizeof provider->pin_path, token->pin_path);
    snprintf(fresh.now.provider, sizeof fresh.now.provider, "%s", provider->config->name);
    enum kek_rc rc = digest_token(token, fresh.now.credential.token, why);
    rc = rc == KEK_OK ? digest_way(provider->config, fresh.now.credential.way, why) : rc;
    rc = rc == KEK_OK ? kek_login_slot(token->serial, fresh.slot, why) : rc;
    rc = rc == KEK_OK ? login_path(provider->state_dir, RECORD, fresh.slot, "", fresh.path, why)
                      : rc;
    if (rc == KEK_OK) {
        *login = fresh;
    }
    return rc;
}

enum kek_rc login_take_lock(const char *state_dir, const char *slot, int *fd, struct kek_why *why)
{
    char path[PATH_MAX];
    enum kek_rc rc = login_path(state_dir, "login-", slot, ".lock", path, why);
    return rc == KEK_OK ? kek_lock_file_take(path, fd, why) : rc;
}

static enum kek_rc name_lock(const char *state_dir, const char *serial, char path[static PATH_MAX])
{
    char slot[KEK_LOGIN_SLOT_TEXT];
    enum kek_rc rc = kek_login_slot(serial, slot, NULL);
    return rc == KEK_OK ? login_path(state_dir, "login-", slot, ".lock", path, NULL) : rc;
}

bool kek_login_was(const char *state_dir, const char *serial)
{
    char path[PATH_MAX];
    return name_lock(state_dir, serial, path) == KEK_OK && access(path, F_OK) == 0;
}

struct kek_lock_holder kek_login_turn(const char *state_dir, const char *serial)
{
    char path[PATH_MAX];
    return name_lock(state_dir, serial, path) == KEK_OK ? kek_lock_file_look(path)
                                                        : (struct kek_lock_holder){.there = false};
}
