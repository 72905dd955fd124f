/* Envelopes as they come back from etcd. */
#include "fuzz.h"

#include "kek/envelope.h"

/* What was parsed, written again, must give the same header. */
static void write_again(const struct kek_envelope *envelope)
{
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, envelope->header.len);
    FUZZ_CHECK(kek_envelope_header(envelope->mode, envelope->entries, envelope->count, &header,
                                   NULL) == KEK_OK);
    FUZZ_CHECK(kek_bytes_equal(kek_buf_bytes(&header), envelope->header));
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
    return 0;
}
