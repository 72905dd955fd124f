/* Envelopes as they come back from etcd. */
#include "fuzz.h"

#include "kek/envelope.h"

#define CONTEXT "prod-eu1"

/* What was parsed, written again, must give the same header. */
static void write_again(const struct kek_envelope *envelope)
{
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, envelope->header.len);
    FUZZ_CHECK(kek_envelope_header(envelope->mode, envelope->entries, envelope->count, &header,
                                   NULL) == KEK_OK);
    FUZZ_CHECK(kek_bytes_equal(kek_buf_bytes(&header), envelope->header));
}

/* The key of the test vector, so that its seed gets past the tag. */
static struct kek_envelope_key *vector_key(void)
{
    static struct kek_envelope_key *key;
    if (key == NULL) {
        static const uint8_t data[KEK_DATA_KEY_LEN] = {
            0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa,
            0xbb, 0xcc, 0xdd, 0xee, 0xff, 0x00, 0x01, 0x02, 0x03, 0x04, 0x05,
            0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f};
        bool locked;
        FUZZ_CHECK(kek_secret_setup(1024 * 1024, &locked, NULL) == KEK_OK);
        KEK_AUTO(kek_secret) data_key = kek_secret_dup(kek_bytes(data, sizeof data));
        FUZZ_CHECK(data_key != NULL);
        key = kek_envelope_key_new(data_key, kek_bytes_of(CONTEXT), NULL);
        FUZZ_CHECK(key != NULL);
    }
    return key;
}

/* Only the vector itself has a right tag: everything else must be damage, and say why. */
static void open_it(const struct kek_envelope *envelope)
{
    KEK_AUTO(kek_secret) opened = NULL;
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc =
        kek_envelope_open(vector_key(), envelope, kek_bytes_of(CONTEXT), &opened, &why);
    if (rc == KEK_OK) {
        FUZZ_CHECK(kek_bytes_equal(kek_secret_bytes(opened),
                                   kek_bytes_of("thirty-two bytes are one DEK ok.")));
        return;
    }
    FUZZ_CHECK(rc == KEK_DAMAGED && why.rc == KEK_DAMAGED && why.text[0] != '\0');
    FUZZ_CHECK(opened == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_envelope envelope;
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc = kek_envelope_parse(kek_bytes(data, size), &envelope, &why);
    if (rc != KEK_OK) {
        FUZZ_CHECK(rc == KEK_DAMAGED && why.rc == KEK_DAMAGED && why.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(envelope.header.len + envelope.iv.len + envelope.ciphertext.len + envelope.tag.len ==
               size);
    write_again(&envelope);
    open_it(&envelope);
    return 0;
}
