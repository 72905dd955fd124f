/* A protobuf message: its fields lie within it one behind the other, and a varint is the same byte by byte. */
#include "fuzz.h"

#include <string.h>

#include "kek/protobuf.h"
#include "kek/text.h"

/* What was taken begins with a tag, which the pieces' reader finds as well. */
static void check_tag(struct kek_bytes taken, const struct kek_protobuf_field *field)
{
    struct kek_protobuf_varint varint = {.len = 0};
    struct kek_protobuf_field again;
    enum kek_protobuf_step step = KEK_PROTOBUF_MORE;
    for (size_t i = 0; step == KEK_PROTOBUF_MORE; i++) {
        FUZZ_CHECK(i < taken.len);
        step = kek_protobuf_varint_add(&varint, taken.data[i]);
    }
    FUZZ_CHECK(step == KEK_PROTOBUF_WHOLE && kek_protobuf_tag(varint.value, &again));
    FUZZ_CHECK(again.number == field->number && again.type == field->type);
    FUZZ_CHECK(field->number > 0 && field->number < 1u << 29);
}

/* Text that is shown is the same UTF-8, but for control characters that Go takes. */
static void check_text(struct kek_bytes bytes)
{
    char text[64];
    size_t len = bytes.len < sizeof text - 1 ? bytes.len : sizeof text - 1;
    if (len > 0) {
        memcpy(text, bytes.data, len);
    }
    text[len] = '\0';
    kek_text_clean(text);
    FUZZ_CHECK(kek_text_is_utf8(kek_bytes_of(text)));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_bytes rest = kek_bytes(data, size);
    struct kek_bytes before = rest;
    struct kek_protobuf_field field;
    while (kek_protobuf_take(&rest, &field)) {
        FUZZ_CHECK(rest.len < before.len && rest.data + rest.len == data + size);
        check_tag(kek_bytes(before.data, before.len - rest.len), &field);
        FUZZ_CHECK(field.bytes.len == 0 || field.bytes.data + field.bytes.len == rest.data);
        FUZZ_CHECK(field.type != KEK_PROTOBUF_GROUP_END);
        check_text(field.bytes);
        /* One byte less, and it is none. */
        struct kek_bytes cut = kek_bytes(before.data, before.len - rest.len - 1);
        FUZZ_CHECK(!kek_protobuf_take(&cut, &field));
        before = rest;
    }
    FUZZ_CHECK(rest.data == before.data && rest.len == before.len);
    return 0;
}
