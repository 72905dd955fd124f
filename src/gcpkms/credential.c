#include "credential.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "file.h"
#include "fields.h"
#include "kek/text.h"

#define METADATA "metadata"

void kek_gcp_credential_done(struct kek_gcp_credential *credential)
{
    kek_secret_free(credential->key);
    kek_secret_free(credential->subject);
    credential->key = credential->subject = NULL;
}

bool kek_gcp_url_allowed(const char *url, bool *plain)
{
    static const char *const here[] = {"http://127.0.0.1", "http://localhost", "http://[::1]"};
    *plain = false;
    if (strncmp(url, "https://", 8) == 0) {
        return url[8] != '\0';
    }
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        size_t len = strlen(here[i]);
        if (strncmp(url, here[i], len) == 0 && (url[len] == ':' || url[len] == '/')) {
            *plain = true;
            return true;
        }
    }
    return false;
}

/* ---- members ---- */

struct reading {
    const char *path;
    const json_t *object;
    struct kek_why *why;
};

/* A text that must be there. */
static enum kek_rc take(const struct reading *reading, const char *name, char *out, size_t size)
{
    const char *text = kek_gcp_json_text(reading->object, name);
    if (text == NULL || text[0] == '\0' || strlen(text) >= size) {
        return kek_fail(reading->why, KEK_INVALID,
                        "%s: expected \"%s\", a text of 1 to %zu bytes: is it a file that gcloud "
                        "made?",
                        reading->path, name, size - 1);
    }
    kek_text_copy(out, size, text);
    return KEK_OK;
}

static enum kek_rc take_url(const struct reading *reading, const char *name, char *out)
{
    bool plain;
    enum kek_rc rc = take(reading, name, out, KEK_GCP_URL_MAX);
    return rc != KEK_OK || kek_gcp_url_allowed(out, &plain)
               ? rc
               : kek_fail(reading->why, KEK_INVALID, "%s: \"%s\" must be an https:// URL",
                          reading->path, name);
}

static enum kek_rc take_secret(const struct reading *reading, const char *what, const char *text,
                               struct kek_secret **secret)
{
    size_t len = text == NULL ? 0 : strlen(text);
    if (len == 0 || len > KEK_GCP_SUBJECT_MAX) {
        return kek_fail(reading->why, KEK_INVALID, "%s: expected %s of 1 to %d bytes",
                        reading->path, what, KEK_GCP_SUBJECT_MAX);
    }
    *secret = kek_secret_dup(kek_bytes(text, len));
    return *secret == NULL ? kek_fail(reading->why, KEK_NO_MEMORY, "the arena for keys is full")
                           : KEK_OK;
}

/* ---- a service account's key ---- */

static enum kek_rc read_account(const struct reading *reading,
                                struct kek_gcp_credential *credential)
{
    enum kek_rc rc = take(reading, "client_email", credential->email, sizeof credential->email);
    credential->kind = KEK_GCP_SERVICE_ACCOUNT;
    if (rc == KEK_OK) {
        rc = take(reading, "private_key_id", credential->key_id, sizeof credential->key_id);
    }
    if (rc == KEK_OK) {
        rc = take_url(reading, "token_uri", credential->token_url);
    }
    return rc != KEK_OK
               ? rc
               : take_secret(reading, "\"private_key\"",
                             kek_gcp_json_text(reading->object, "private_key"), &credential->key);
}

/* ---- workload identity federation ---- */

/* The file's text as it is, or a member of the JSON in it. */
static enum kek_rc read_subject(const struct reading *reading, const json_t *source,
                                struct kek_gcp_credential *credential)
{
    const json_t *format = json_object_get(source, "format");
    const char *type = kek_gcp_json_text(format, "type");
    const char *path = kek_gcp_json_text(source, "file");
    const char *field = kek_gcp_json_text(format, "subject_token_field_name");
    KEK_AUTO_BUF struct kek_buf text;
    struct reading inner = {.path = path, .why = reading->why};
    kek_buf_init(&text, KEK_GCP_FILE_MAX + 1);
    enum kek_rc rc = kek_gcp_file_read(path, true, &text, reading->why);
    if (rc == KEK_OK) {
        rc = kek_buf_append(&text, kek_bytes("", 1), reading->why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    if (type != NULL && strcmp(type, "json") == 0) {
        KEK_GCP_AUTO_JSON object =
            kek_bridge_parse(kek_bytes(text.data, text.len - 1), reading->why);
        if (object == NULL) {
            return kek_fail_within(reading->why, KEK_INVALID, "%s", path);
        }
        return take_secret(&inner, "a subject token",
                           field == NULL ? NULL : kek_gcp_json_text(object, field),
                           &credential->subject);
    }
    char *line = (char *)text.data;
    line[strcspn(line, "\r\n")] = '\0';
    return take_secret(&inner, "a subject token", line, &credential->subject);
}

static enum kek_rc read_federated(const struct reading *reading,
                                  struct kek_gcp_credential *credential)
{
    const json_t *source = json_object_get(reading->object, "credential_source");
    bool impersonates =
        json_object_get(reading->object, "service_account_impersonation_url") != NULL;
    credential->kind = KEK_GCP_FEDERATED;
    enum kek_rc rc = take(reading, "audience", credential->audience, sizeof credential->audience);
    if (rc == KEK_OK) {
        rc = take(reading, "subject_token_type", credential->subject_type,
                  sizeof credential->subject_type);
    }
    if (rc == KEK_OK) {
        rc = take_url(reading, "token_url", credential->token_url);
    }
    if (rc == KEK_OK && impersonates) {
        rc = take_url(reading, "service_account_impersonation_url", credential->impersonate_url);
    }
    if (rc == KEK_OK && kek_gcp_json_text(source, "file") == NULL) {
        rc = kek_fail(reading->why, KEK_UNIMPLEMENTED,
                      "%s: credential_source has no \"file\": a subject token is taken from a "
                      "file alone, not from a URL, a program or AWS",
                      reading->path);
    }
    return rc == KEK_OK ? read_subject(reading, source, credential) : rc;
}

/* ---- the file ---- */

static enum kek_rc read_object(const struct reading *reading, struct kek_gcp_credential *credential)
{
    char type[64];
    enum kek_rc rc = take(reading, "type", type, sizeof type);
    if (rc != KEK_OK) {
        return rc;
    }
    if (strcmp(type, "service_account") == 0) {
        return read_account(reading, credential);
    }
    if (strcmp(type, "external_account") == 0) {
        return read_federated(reading, credential);
    }
    return kek_fail(reading->why, KEK_UNIMPLEMENTED,
                    "%s: credentials of type \"%s\" are not for a service: expected "
                    "service_account or external_account",
                    reading->path, type);
}

enum kek_rc kek_gcp_credential_read(const char *source, struct kek_gcp_credential *credential,
                                    struct kek_why *why)
{
    char path[PATH_MAX];
    bool may_share;
    if (strcmp(source, METADATA) == 0) {
        credential->kind = KEK_GCP_METADATA;
        return KEK_OK;
    }
    enum kek_rc rc = kek_gcp_file_path(source, path, sizeof path, &may_share, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO_BUF struct kek_buf text;
    kek_buf_init(&text, KEK_GCP_FILE_MAX);
    rc = kek_gcp_file_read(path, may_share, &text, why);
    if (rc != KEK_OK) {
        return kek_fail_within(why, rc, "credentials");
    }
    KEK_GCP_AUTO_JSON object = kek_bridge_parse(kek_buf_bytes(&text), why);
    if (object == NULL) {
        return kek_fail_within(why, KEK_INVALID, "credentials: %s", path);
    }
    return read_object(&(struct reading){.path = path, .object = object, .why = why}, credential);
}
