/*
 * The state file, <state_dir>/<keyring>.json: the last announced primary and every version's witness.
 * Written whole and durably before a primary is announced; a file that cannot be read as one of ours
 * is never overwritten or ignored.
 */
#include "keyring/ring.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "kek/clock.h"
#include "kek/durable.h"

#define RECORD_MAX (256u * 1024)
#define FORMAT 1
#define RESTORE \
    "restore it from a backup, or move it away once every node's Status shows the same key_id"

static bool id_of(const json_t *text, struct kek_id *id)
{
    const char *hex = json_string_value(text);
    long len = 0;
    if (hex == NULL || strlen(hex) != 2 * KEK_ID_LEN) {
        return false;
    }
    unsigned char *bytes = OPENSSL_hexstr2buf(hex, &len);
    if (bytes == NULL) {
        return false;
    }
    memcpy(id->bytes, bytes, KEK_ID_LEN);
    OPENSSL_free(bytes);
    return true;
}

/* Reads base64 of at most WITNESS_MAX bytes; 0 if it is not that. */
static size_t witness_of(const json_t *text, uint8_t *out)
{
    const char *base64 = json_string_value(text);
    uint8_t decoded[WITNESS_MAX + 3];
    size_t len = base64 == NULL ? 0 : strlen(base64);
    if (len == 0 || len % 4 != 0 || len / 4 * 3 > sizeof decoded) {
        return 0;
    }
    int n = EVP_DecodeBlock(decoded, (const unsigned char *)base64, (int)len);
    if (n <= 0) {
        return 0;
    }
    size_t pad = (size_t)(base64[len - 1] == '=') + (size_t)(base64[len - 2] == '=');
    if ((size_t)n - pad > WITNESS_MAX) {
        return 0;
    }
    memcpy(out, decoded, (size_t)n - pad);
    return (size_t)n - pad;
}

static bool load_version(struct kek_keyring *ring, const json_t *item)
{
    struct kek_id id;
    uint8_t witness[WITNESS_MAX];
    json_int_t number = json_integer_value(json_object_get(item, "number"));
    size_t len = witness_of(json_object_get(item, "witness"), witness);
    const json_t *wraps = json_object_get(item, "gcm_wraps");
    struct kek_envelope envelope;
    if (!id_of(json_object_get(item, "kek_id"), &id) || number < 1 || number > UINT32_MAX ||
        len == 0 || kek_envelope_parse(kek_bytes(witness, len), &envelope, NULL) != KEK_OK ||
        !kek_id_equal(&envelope.entries[0].kek_id, &id) || ring_find(ring, &id) != NULL ||
        (wraps != NULL && (!json_is_integer(wraps) || json_integer_value(wraps) < 0))) {
        return false;
    }
    struct version *version = ring_add(ring, &id, (uint32_t)number);
    if (version == NULL) {
        return false;
    }
    memcpy(version->witness, witness, len);
    version->witness_len = len;
    version->recorded = true;
    version->gcm_wraps = version->gcm_reserved = (uint64_t)json_integer_value(wraps);
    return true;
}

static void set_primary(struct kek_keyring *ring, const struct kek_id *id, uint32_t number)
{
    ring->announced = true;
    ring->primary.number = number;
    ring->primary.kek_id = *id;
    ring->primary.since_ms = kek_clock_ms();
    kek_keyring_key_id(kek_bytes_of(ring->settings.config->context), KEK_ENVELOPE_MODE_ANY, id, 1,
                       ring->primary.key_id);
}

static bool load_primary(struct kek_keyring *ring, const json_t *primary)
{
    struct kek_id id;
    if (primary == NULL || json_is_null(primary)) {
        return true;
    }
    json_int_t number = json_integer_value(json_object_get(primary, "number"));
    if (!id_of(json_object_get(primary, "kek_id"), &id) || number < 1 || number > UINT32_MAX ||
        ring_find(ring, &id) == NULL) {
        return false;
    }
    set_primary(ring, &id, (uint32_t)number);
    /* It was announced before this process began: no connection can remember an older one. */
    ring->primary.since_ms = 0;
    return true;
}

static bool load_root(struct kek_keyring *ring, const json_t *root)
{
    const json_t *versions = json_object_get(root, "versions");
    const char *keyring = json_string_value(json_object_get(root, "keyring"));
    if (json_integer_value(json_object_get(root, "format")) != FORMAT || keyring == NULL ||
        strcmp(keyring, ring->settings.config->keyring) != 0 || !json_is_array(versions)) {
        return false;
    }
    for (size_t i = 0; i < json_array_size(versions); i++) {
        if (!load_version(ring, json_array_get(versions, i))) {
            return false;
        }
    }
    return load_primary(ring, json_object_get(root, "primary"));
}

enum kek_rc record_parse(struct kek_keyring *ring, struct kek_bytes content, struct kek_why *why)
{
    json_error_t error;
    json_t *root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        return kek_fail(why, KEK_DAMAGED, "%s:%d:%d: not a state file of kekd: %s (" RESTORE ")",
                        ring->record_path, error.line, error.column, error.text);
    }
    bool good = load_root(ring, root);
    json_decref(root);
    if (!good) {
        return kek_fail(why, KEK_DAMAGED,
                        "%s: not a state file of keyring %s in format %d (" RESTORE ")",
                        ring->record_path, ring->settings.config->keyring, FORMAT);
    }
    return KEK_OK;
}

enum kek_rc record_load(struct kek_keyring *ring, struct kek_why *why)
{
    const struct kek_config *config = ring->settings.config;
    if (asprintf(&ring->record_path, "%s/%s.json", config->state_dir, config->keyring) < 0) {
        ring->record_path = NULL;
        return kek_fail(why, KEK_NO_MEMORY, "no memory for the state file's name");
    }
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, RECORD_MAX);
    enum kek_rc rc = kek_durable_read(ring->record_path, RECORD_MAX, &content, why);
    if (rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    return rc == KEK_OK ? record_parse(ring, kek_buf_bytes(&content), why) : rc;
}

static json_t *version_json(const struct version *version)
{
    char id[KEK_ID_TEXT];
    unsigned char base64[(WITNESS_MAX + 2) / 3 * 4 + 1];
    kek_id_format(&version->id, id);
    EVP_EncodeBlock(base64, version->witness, (int)version->witness_len);
    return json_pack("{s:I, s:s, s:s, s:I}", "number", (json_int_t)version->number, "kek_id", id,
                     "witness", base64, "gcm_wraps", (json_int_t)version->gcm_reserved);
}

char *record_text(const struct kek_keyring *ring, const struct version *next)
{
    char id[KEK_ID_TEXT];
    const struct kek_id *primary_id = next != NULL ? &next->id : &ring->primary.kek_id;
    uint32_t number = next != NULL ? next->number : ring->primary.number;
    kek_id_format(primary_id, id);
    json_t *primary = next != NULL || ring->announced
                          ? json_pack("{s:I, s:s}", "number", (json_int_t)number, "kek_id", id)
                          : json_null();
    json_t *versions = json_array();
    json_t *root =
        json_pack("{s:i, s:s, s:o, s:o}", "format", FORMAT, "keyring",
                  ring->settings.config->keyring, "primary", primary, "versions", versions);
    bool whole = root != NULL;
    for (size_t i = 0; whole && i < ring->version_count; i++) {
        if (ring->versions[i]->witness_len > 0 && !ring->versions[i]->disputed) {
            whole = json_array_append_new(versions, version_json(ring->versions[i])) == 0;
        }
    }
    char *text = whole ? json_dumps(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(root);
    return text;
}

static void saved(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct kek_keyring *ring = arg;
    struct version *next = ring->record_announces ? ring->announcing : NULL;
    ring->record_writing = false;
    if (ring->record_announces) {
        ring->announcing = NULL;
    }
    if (rc != KEK_OK) {
        ring->record_dirty = true; /* tried again at the next look */
        ring_notice(ring, KEK_LOG_ERROR,
                    "the state file cannot be written, so nothing new is "
                    "announced: %s",
                    why->text);
        return;
    }
    if (next != NULL && next->disputed) {
        /* A provider objected while it was being written: it is not said, and written anew without. */
        ring->record_dirty = true;
    } else if (next != NULL) {
        bool first = !ring->announced;
        set_primary(ring, &next->id, next->number);
        next->recorded = true;
        ring_notice(ring, KEK_LOG_INFO, "%s primary: version %u key_id=%s", first ? "first" : "new",
                    next->number, ring->primary.key_id);
    }
    if (ring->stopped) {
        return;
    }
    if (ring->record_dirty) {
        record_save(ring);
    }
    ring_evaluate(ring);
}

void record_save(struct kek_keyring *ring)
{
    struct kek_why why;
    ring->record_dirty = true;
    if (ring->record_writing || ring->stopped) {
        return;
    }
    char *text = record_text(ring, ring->announcing);
    ring->record_announces = ring->announcing != NULL;
    enum kek_rc rc = text == NULL ? kek_fail(&why, KEK_NO_MEMORY, "no memory")
                                  : kek_durable_write(ring->loop, ring->record_path,
                                                      kek_bytes_of(text), saved, ring, &why);
    free(text);
    if (rc != KEK_OK) {
        ring->announcing = NULL;
        ring_notice(ring, KEK_LOG_ERROR, "the state file cannot be written: %s", why.text);
        return;
    }
    ring->record_dirty = false;
    ring->record_writing = true;
}
