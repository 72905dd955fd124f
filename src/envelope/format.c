#include "format.h"

#include <string.h>

#include "kek/text.h"

#define MAGIC_LEN 4
#define PREFIX_LEN (MAGIC_LEN + 3)     /* magic, suite, mode, count */
#define ENTRY_LEN (1 + KEK_ID_LEN + 2) /* alg, kek id, length; the wrapped key follows */
#define CIPHERTEXT_MAX (KEK_ENVELOPE_PLAINTEXT_MAX + ENVELOPE_BLOCK_LEN)

static const uint8_t magic[MAGIC_LEN] = {'K', 'E', 'K', 0x01};

static struct kek_bytes slice(struct kek_bytes bytes, size_t at, size_t len)
{
    return kek_bytes(bytes.data + at, len);
}

static bool parse_prefix(struct kek_bytes sealed, struct kek_envelope *envelope,
                         struct kek_why *why)
{
    if (sealed.len < PREFIX_LEN) {
        kek_fail(why, KEK_DAMAGED, "envelope ends after %s, inside its prefix",
                 kek_counted(sealed.len, "byte").text);
        return false;
    }
    if (memcmp(sealed.data, magic, MAGIC_LEN) != 0) {
        kek_fail(why, KEK_DAMAGED, "envelope does not begin with the magic of format version 1");
        return false;
    }
    envelope->suite = sealed.data[4];
    envelope->mode = sealed.data[5];
    envelope->count = sealed.data[6];
    if (envelope->suite != KEK_ENVELOPE_SUITE_1) {
        kek_fail(why, KEK_DAMAGED, "offset 4: unknown suite %u", envelope->suite);
        return false;
    }
    if (envelope->mode != KEK_ENVELOPE_MODE_ANY && envelope->mode != KEK_ENVELOPE_MODE_ALL) {
        kek_fail(why, KEK_DAMAGED, "offset 5: unknown mode %u", envelope->mode);
        return false;
    }
    if (envelope->count < 1 || envelope->count > KEK_ENVELOPE_ENTRIES_MAX) {
        kek_fail(why, KEK_DAMAGED, "offset 6: %u entries, where 1 to %d may be", envelope->count,
                 KEK_ENVELOPE_ENTRIES_MAX);
        return false;
    }
    return true;
}

/* Reads the entry at *at and moves *at behind it. */
static bool parse_entry(struct kek_bytes sealed, size_t *at, struct kek_envelope_entry *entry,
                        struct kek_why *why)
{
    size_t start = *at;
    if (sealed.len - start < ENTRY_LEN) {
        kek_fail(why, KEK_DAMAGED, "offset %zu: envelope ends inside an entry", start);
        return false;
    }
    const uint8_t *bytes = sealed.data + start;
    enum kek_wrap_alg alg = (enum kek_wrap_alg)bytes[0];
    if (!kek_wrap_alg_known(alg)) {
        kek_fail(why, KEK_DAMAGED, "offset %zu: unknown wrap alg %u", start, bytes[0]);
        return false;
    }
    size_t len = (size_t)bytes[1 + KEK_ID_LEN] << 8 | bytes[2 + KEK_ID_LEN];
    if (!kek_wrap_alg_fits(alg, len)) {
        kek_fail(why, KEK_DAMAGED, "offset %zu: wrapped key of %s, which %s never has",
                 start + 1 + KEK_ID_LEN, kek_counted(len, "byte").text, kek_wrap_alg_name(alg));
        return false;
    }
    if (sealed.len - start - ENTRY_LEN < len) {
        kek_fail(why, KEK_DAMAGED, "offset %zu: envelope ends inside a wrapped key",
                 start + ENTRY_LEN);
        return false;
    }
    entry->alg = alg;
    memcpy(entry->kek_id.bytes, bytes + 1, KEK_ID_LEN);
    entry->wrapped = slice(sealed, start + ENTRY_LEN, len);
    *at = start + ENTRY_LEN + len;
    return true;
}

static bool parse_header(struct kek_bytes sealed, struct kek_envelope *envelope,
                         struct kek_why *why)
{
    if (!parse_prefix(sealed, envelope, why)) {
        return false;
    }
    size_t at = PREFIX_LEN;
    for (size_t i = 0; i < envelope->count; i++) {
        if (!parse_entry(sealed, &at, &envelope->entries[i], why)) {
            return false;
        }
    }
    envelope->header = slice(sealed, 0, at);
    return true;
}

static bool parse_body(struct kek_bytes sealed, struct kek_envelope *envelope, struct kek_why *why)
{
    size_t at = envelope->header.len;
    size_t rest = sealed.len - at;
    if (rest < ENVELOPE_IV_LEN + ENVELOPE_BLOCK_LEN + ENVELOPE_TAG_LEN) {
        kek_fail(why, KEK_DAMAGED, "offset %zu: %s left, too few for IV, ciphertext and tag", at,
                 kek_counted(rest, "byte").text);
        return false;
    }
    size_t len = rest - ENVELOPE_IV_LEN - ENVELOPE_TAG_LEN;
    if (len % ENVELOPE_BLOCK_LEN != 0 || len > CIPHERTEXT_MAX) {
        kek_fail(why, KEK_DAMAGED, "offset %zu: a ciphertext of %zu bytes cannot be",
                 at + ENVELOPE_IV_LEN, len);
        return false;
    }
    envelope->iv = slice(sealed, at, ENVELOPE_IV_LEN);
    envelope->ciphertext = slice(sealed, at + ENVELOPE_IV_LEN, len);
    envelope->tag = slice(sealed, at + ENVELOPE_IV_LEN + len, ENVELOPE_TAG_LEN);
    return true;
}

enum kek_rc kek_envelope_parse(struct kek_bytes sealed, struct kek_envelope *envelope,
                               struct kek_why *why)
{
    struct kek_envelope parsed = {0};
    if (!parse_header(sealed, &parsed, why) || !parse_body(sealed, &parsed, why)) {
        return KEK_DAMAGED;
    }
    *envelope = parsed;
    return KEK_OK;
}

enum kek_rc kek_envelope_parse_header(struct kek_bytes header, struct kek_envelope *envelope,
                                      struct kek_why *why)
{
    struct kek_envelope parsed = {0};
    if (!parse_header(header, &parsed, why)) {
        return KEK_DAMAGED;
    }
    if (parsed.header.len != header.len) {
        return kek_fail(why, KEK_DAMAGED, "offset %zu: bytes after the header", parsed.header.len);
    }
    *envelope = parsed;
    return KEK_OK;
}

static void rebase(struct kek_bytes *view, const uint8_t *from, const uint8_t *copy)
{
    if (view->data != NULL) {
        view->data = copy + (view->data - from);
    }
}

void kek_envelope_rebase(struct kek_envelope *envelope, const uint8_t *copy)
{
    const uint8_t *from = envelope->header.data;
    for (size_t i = 0; i < envelope->count; i++) {
        rebase(&envelope->entries[i].wrapped, from, copy);
    }
    rebase(&envelope->iv, from, copy);
    rebase(&envelope->ciphertext, from, copy);
    rebase(&envelope->tag, from, copy);
    envelope->header.data = copy;
}

static enum kek_rc check_entries(uint8_t mode, const struct kek_envelope_entry *entries,
                                 size_t count, struct kek_why *why)
{
    if (mode != KEK_ENVELOPE_MODE_ANY && mode != KEK_ENVELOPE_MODE_ALL) {
        return kek_fail(why, KEK_INVALID, "unknown envelope mode %u", mode);
    }
    if (count < 1 || count > KEK_ENVELOPE_ENTRIES_MAX) {
        return kek_fail(why, KEK_INVALID, "an envelope cannot have %zu entries", count);
    }
    for (size_t i = 0; i < count; i++) {
        if (!kek_wrap_alg_known(entries[i].alg)) {
            return kek_fail(why, KEK_INVALID, "unknown wrap alg %u", (unsigned)entries[i].alg);
        }
        if (!kek_wrap_alg_fits(entries[i].alg, entries[i].wrapped.len)) {
            return kek_fail(why, KEK_INVALID, "wrapped key of %s, which %s never has",
                            kek_counted(entries[i].wrapped.len, "byte").text,
                            kek_wrap_alg_name(entries[i].alg));
        }
    }
    return KEK_OK;
}

enum kek_rc kek_envelope_header(uint8_t mode, const struct kek_envelope_entry *entries,
                                size_t count, struct kek_buf *header, struct kek_why *why)
{
    enum kek_rc rc = check_entries(mode, entries, count, why);
    if (rc != KEK_OK) {
        return rc;
    }
    size_t len = PREFIX_LEN;
    for (size_t i = 0; i < count; i++) {
        len += ENTRY_LEN + entries[i].wrapped.len;
    }
    struct kek_why mine;
    why = why == NULL ? &mine : why;
    uint8_t *out = kek_buf_reserve(header, len, why);
    if (out == NULL) {
        return why->rc;
    }
    memcpy(out, magic, MAGIC_LEN);
    out[4] = KEK_ENVELOPE_SUITE_1;
    out[5] = mode;
    out[6] = (uint8_t)count;
    out += PREFIX_LEN;
    for (size_t i = 0; i < count; i++) {
        size_t wrapped_len = entries[i].wrapped.len;
        out[0] = (uint8_t)entries[i].alg;
        memcpy(out + 1, entries[i].kek_id.bytes, KEK_ID_LEN);
        out[1 + KEK_ID_LEN] = (uint8_t)(wrapped_len >> 8);
        out[2 + KEK_ID_LEN] = (uint8_t)wrapped_len;
        memcpy(out + ENTRY_LEN, entries[i].wrapped.data, wrapped_len);
        out += ENTRY_LEN + wrapped_len;
    }
    header->len += len;
    return KEK_OK;
}

size_t kek_envelope_sealed_len(size_t header_len, size_t plaintext_len)
{
    return header_len + ENVELOPE_IV_LEN + kek_format_ciphertext_len(plaintext_len) +
           ENVELOPE_TAG_LEN;
}
