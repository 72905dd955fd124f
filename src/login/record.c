#include "record.h"

#include <string.h>

#include <jansson.h>

#include "kek/durable.h"
#include "kek/json.h"

#define RECORD_MAX (32u * 1024)
#define FORMAT 1

static bool is_digest(const char *text)
{
    return strlen(text) == KEK_LOGIN_SLOT_TEXT - 1 &&
           strspn(text, "0123456789abcdef") == KEK_LOGIN_SLOT_TEXT - 1;
}

/* Numbers of 64 bits without a sign stand there as their two's complement: jansson has no others. */
static bool read_entry(json_t *item, struct kek_login_entry *entry)
{
    const char *provider, *role, *token, *way, *outcome;
    json_int_t inode, mtime_ns, size, tries, code, time_ms;
    if (json_unpack(item, "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I !}", "provider",
                    &provider, "role", &role, "token", &token, "way", &way, "pin_inode", &inode,
                    "pin_mtime_ns", &mtime_ns, "pin_size", &size, "outcome", &outcome, "tries",
                    &tries, "code", &code, "time_ms", &time_ms) != 0) {
        return false;
    }
    bool officer = strcmp(role, "officer") == 0;
    bool refused = strcmp(outcome, "refused") == 0;
    if ((!officer && strcmp(role, "serve") != 0) || (!refused && strcmp(outcome, "unsure") != 0) ||
        provider[0] == '\0' || strlen(provider) >= KEK_LOGIN_PROVIDER_TEXT || !is_digest(token) ||
        !is_digest(way) || tries < 1 || tries > KEK_LOGIN_TRIES) {
        return false;
    }
    *entry = (struct kek_login_entry){
        .credential.pin = {.inode = (uint64_t)inode, .mtime_ns = mtime_ns, .size = (uint64_t)size},
        .officer = officer,
        .refused = refused,
        .tries = (unsigned)tries,
        .code = (unsigned long)code,
        .time_ms = time_ms,
    };
    memcpy(entry->provider, provider, strlen(provider));
    memcpy(entry->credential.token, token, KEK_LOGIN_SLOT_TEXT);
    memcpy(entry->credential.way, way, KEK_LOGIN_SLOT_TEXT);
    return true;
}

static bool read_root(json_t *root, struct login_record *record)
{
    json_t *logins;
    json_int_t format;
    if (json_unpack(root, "{s:I, s:o !}", "format", &format, "logins", &logins) != 0 ||
        format != FORMAT || !json_is_array(logins) || json_array_size(logins) > LOGIN_ENTRIES_MAX) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(logins); i++) {
        if (!read_entry(json_array_get(logins, i), &record->entries[i])) {
            return false;
        }
    }
    record->count = json_array_size(logins);
    return true;
}

enum kek_rc login_record_read(const char *path, struct login_record *record, struct kek_why *why)
{
    record->count = 0;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, RECORD_MAX);
    enum kek_rc rc = kek_durable_read(path, RECORD_MAX, &content, why);
    if (rc != KEK_OK) {
        return rc;
    }
    json_error_t error;
    json_t *root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL && json_error_code(&error) == json_error_out_of_memory) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", path);
    }
    bool good = root != NULL && read_root(root, record);
    json_decref(root);
    if (!good) {
        record->count = 0;
        return kek_fail(why, KEK_INVALID,
                        "%s is damaged or of an older kekd: make sure that the PIN is right, then "
                        "run kekctl pin retry",
                        path);
    }
    return KEK_OK;
}

static json_t *entry_json(const struct kek_login_entry *entry)
{
    const struct kek_login_credential *credential = &entry->credential;
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:I, s:I, s:I}", "provider", entry->provider,
        "role", entry->officer ? "officer" : "serve", "token", credential->token, "way",
        credential->way, "pin_inode", (json_int_t)credential->pin.inode, "pin_mtime_ns",
        (json_int_t)credential->pin.mtime_ns, "pin_size", (json_int_t)credential->pin.size,
        "outcome", entry->refused ? "refused" : "unsure", "tries", (json_int_t)entry->tries, "code",
        (json_int_t)entry->code, "time_ms", (json_int_t)entry->time_ms);
}

char *login_record_text(const struct login_record *record)
{
    json_t *logins = json_array();
    json_t *root = json_pack("{s:i, s:o}", "format", FORMAT, "logins", logins);
    bool whole = root != NULL;
    for (size_t i = 0; whole && i < record->count; i++) {
        whole = json_array_append_new(logins, entry_json(&record->entries[i])) == 0;
    }
    char *text = whole ? kek_json_text(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(root);
    return text;
}

void login_record_drop(struct login_record *record, size_t at)
{
    record->count--;
    memmove(&record->entries[at], &record->entries[at + 1],
            (record->count - at) * sizeof record->entries[0]);
}

void login_record_add(struct login_record *record, const struct kek_login_entry *entry)
{
    if (record->count == LOGIN_ENTRIES_MAX) {
        login_record_drop(record, 0);
    }
    record->entries[record->count++] = *entry;
}
