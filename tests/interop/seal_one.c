/*
 * Seals one plaintext, for tests that open envelopes with other tools:
 *   seal_one DATA-KEY WRAP-ALG KEK-ID WRAPPED CONTEXT PLAINTEXT [WRAP-ALG KEK-ID WRAPPED]... >ENVELOPE
 * DATA-KEY, WRAPPED and PLAINTEXT are files, WRAP-ALG is a number, KEK-ID is 32 hex digits.  What follows are the KEKs of
 * other roots of trust, whatever WRAPPED holds.
 */
#include <stdio.h>
#include <string.h>

#include "kek/durable.h"
#include "kek/envelope.h"

static bool load(const char *path, struct kek_buf *content)
{
    struct kek_why why;
    kek_buf_init(content, KEK_ENVELOPE_PLAINTEXT_MAX);
    if (kek_durable_read(path, KEK_ENVELOPE_PLAINTEXT_MAX, content, &why) != KEK_OK) {
        fprintf(stderr, "%s\n", why.text);
        return false;
    }
    return true;
}

static bool parse_id(const char *text, struct kek_id *id)
{
    for (size_t i = 0; i < KEK_ID_LEN; i++) {
        char pair[3] = {text[2 * i], text[2 * i] == '\0' ? '\0' : text[2 * i + 1], '\0'};
        char *end;
        unsigned long value = strtoul(pair, &end, 16);
        if (end != pair + 2) {
            return false;
        }
        id->bytes[i] = (uint8_t)value;
    }
    return text[2 * (size_t)KEK_ID_LEN] == '\0';
}

static enum kek_rc seal(const struct kek_envelope_entry *entries, size_t count,
                        struct kek_bytes data, struct kek_bytes context, struct kek_bytes plaintext,
                        struct kek_buf *sealed, struct kek_why *why)
{
    bool locked;
    enum kek_rc rc = kek_secret_setup(64 * 1024, &locked, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO(kek_secret) data_key = data.len == 0 ? NULL : kek_secret_dup(data);
    if (data_key == NULL) {
        return kek_fail(why, KEK_INVALID, "no data key");
    }
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(data_key, context, why);
    if (key == NULL) {
        return why->rc;
    }
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, 1024);
    rc = kek_envelope_header(KEK_ENVELOPE_MODE_ANY, entries, count, &header, why);
    if (rc != KEK_OK) {
        return rc;
    }
    return kek_envelope_seal(key, kek_buf_bytes(&header), context, plaintext, sealed, why);
}

/* One of three arguments; `wrapped` is what the entry borrows from. */
static bool take_entry(char **arguments, struct kek_buf *wrapped, struct kek_envelope_entry *entry)
{
    if (!parse_id(arguments[1], &entry->kek_id) || !load(arguments[2], wrapped)) {
        return false;
    }
    entry->alg = (enum kek_wrap_alg)strtoul(arguments[0], NULL, 10);
    entry->wrapped = kek_buf_bytes(wrapped);
    return true;
}

int main(int argc, char **argv)
{
    KEK_AUTO_BUF struct kek_buf data = {0}, plaintext = {0}, sealed = {0};
    struct kek_buf wrapped[KEK_ENVELOPE_ENTRIES_MAX] = {{0}};
    struct kek_envelope_entry entries[KEK_ENVELOPE_ENTRIES_MAX] = {0};
    struct kek_why why;
    size_t count = argc < 7 || argc % 3 != 1 ? 0 : (size_t)argc / 3 - 1;
    bool good = count > 0 && count <= KEK_ENVELOPE_ENTRIES_MAX;
    for (size_t i = 0; good && i < count; i++) {
        good = take_entry(&argv[i == 0 ? 2 : 3 * i + 4], &wrapped[i], &entries[i]);
    }
    if (!good) {
        fprintf(stderr,
                "usage: %s DATA-KEY WRAP-ALG KEK-ID WRAPPED CONTEXT PLAINTEXT [WRAP-ALG KEK-ID "
                "WRAPPED]...\n",
                argv[0]);
        return 2;
    }
    if (!load(argv[1], &data) || !load(argv[6], &plaintext)) {
        return 1;
    }
    kek_buf_init(&sealed, 2 * KEK_ENVELOPE_PLAINTEXT_MAX);
    if (seal(entries, count, kek_buf_bytes(&data), kek_bytes_of(argv[5]), kek_buf_bytes(&plaintext),
             &sealed, &why) != KEK_OK) {
        fprintf(stderr, "%s\n", why.text);
        return 1;
    }
    for (size_t i = 0; i < count; i++) {
        kek_buf_done(&wrapped[i]);
    }
    return fwrite(sealed.data, 1, sealed.len, stdout) == sealed.len && fflush(stdout) == 0 ? 0 : 1;
}
