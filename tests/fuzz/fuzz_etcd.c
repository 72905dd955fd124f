/* An etcd's answer to a range, in pieces: the first byte says how long they are; 0: each byte is one. What comes out
 * does not hang on where it was cut. The same bytes as the small answers. */
#include "fuzz.h"

#include <string.h>

#include "etcd/stream.h"

struct seen {
    size_t pairs, bytes;
    uint64_t sum;
};

static enum kek_rc on_header(void *arg, const struct message_header *header, struct kek_why *why)
{
    (void)arg;
    (void)why;
    FUZZ_CHECK(header->cluster_id != 0);
    return KEK_OK;
}

static enum kek_rc on_pair(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    struct seen *seen = arg;
    (void)why;
    FUZZ_CHECK(pair->key.len > 0 && pair->key.len <= KEK_ETCD_KEY_MAX);
    FUZZ_CHECK(pair->value.len <= KEK_ETCD_VALUE_MAX && pair->mod_revision > 0);
    seen->pairs++;
    seen->bytes += pair->key.len + pair->value.len;
    for (size_t i = 0; i < pair->value.len; i++) {
        seen->sum = seen->sum * 31 + pair->value.data[i];
    }
    return KEK_OK;
}

static enum kek_rc run(struct kek_bytes in, size_t step, struct seen *seen)
{
    struct stream_to to = {.header = on_header, .pair = on_pair, .arg = seen};
    struct stream stream;
    struct kek_why why = {.text = ""};
    enum kek_rc rc = KEK_OK;
    *seen = (struct seen){0};
    stream_init(&stream, &to);
    for (size_t at = 0; rc == KEK_OK && at < in.len; at += step) {
        size_t len = in.len - at < step ? in.len - at : step;
        rc = stream_take(&stream, kek_bytes(in.data + at, len), &why);
    }
    rc = rc == KEK_OK ? stream_end(&stream, &why) : rc;
    FUZZ_CHECK(rc == KEK_OK || (why.rc == rc && why.text[0] != '\0'));
    FUZZ_CHECK(rc == KEK_OK || rc == KEK_DAMAGED || rc == KEK_TOO_LARGE || rc == KEK_NO_MEMORY);
    FUZZ_CHECK(stream.pairs == seen->pairs);
    stream_done(&stream);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct seen whole, pieces;
    struct message_status status;
    struct message_count count;
    struct kek_bytes token;
    if (size == 0) {
        return 0;
    }
    struct kek_bytes in = kek_bytes(data + 1, size - 1);
    enum kek_rc rc = run(in, in.len + 1, &whole);
    FUZZ_CHECK(run(in, (size_t)data[0] + 1, &pieces) == rc);
    FUZZ_CHECK(memcmp(&whole, &pieces, sizeof whole) == 0);
    if (message_get_status(in, &status)) {
        FUZZ_CHECK(memchr(status.version, '\0', sizeof status.version) != NULL);
    }
    FUZZ_CHECK(!message_get_count(in, &count) || count.count >= 0);
    FUZZ_CHECK(!message_get_token(in, &token) || token.len < size);
    return 0;
}
