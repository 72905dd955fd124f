#include "kek/protobuf.h"

#define NUMBER_MAX ((1u << 29) - 1)
#define VARINT_MAX 10 /* bytes */
#define GROUPS_MAX 32

enum kek_protobuf_step kek_protobuf_varint_add(struct kek_protobuf_varint *varint, uint8_t byte)
{
    if (varint->len == VARINT_MAX || (varint->len == VARINT_MAX - 1 && byte > 1)) {
        return KEK_PROTOBUF_TOO_LONG; /* 9 bytes hold 63 bits: the tenth has one */
    }
    varint->value |= (uint64_t)(byte & 0x7f) << (7 * varint->len);
    varint->len++;
    return byte < 0x80 ? KEK_PROTOBUF_WHOLE : KEK_PROTOBUF_MORE;
}

bool kek_protobuf_tag(uint64_t varint, struct kek_protobuf_field *field)
{
    uint64_t number = varint >> 3;
    if (number == 0 || number > NUMBER_MAX || (varint & 7) > KEK_PROTOBUF_FIXED32) {
        return false;
    }
    *field = (struct kek_protobuf_field){.number = (uint32_t)number,
                                         .type = (enum kek_protobuf_type)(varint & 7)};
    return true;
}

static bool skip(struct kek_bytes *from, uint64_t len)
{
    if (len > from->len) {
        return false;
    }
    *from = kek_bytes(from->data + len, from->len - (size_t)len);
    return true;
}

static bool take_varint(struct kek_bytes *from, uint64_t *value)
{
    struct kek_protobuf_varint varint = {.len = 0};
    for (size_t i = 0; i < from->len; i++) {
        enum kek_protobuf_step step = kek_protobuf_varint_add(&varint, from->data[i]);
        if (step != KEK_PROTOBUF_MORE) {
            *value = varint.value;
            return step == KEK_PROTOBUF_WHOLE && skip(from, i + 1);
        }
    }
    return false;
}

/* Tag and value of one field; of a group, and of its end, the tag alone. */
static bool take_one(struct kek_bytes *from, struct kek_protobuf_field *field)
{
    uint64_t value;
    if (!take_varint(from, &value) || !kek_protobuf_tag(value, field)) {
        return false;
    }
    switch (field->type) {
    case KEK_PROTOBUF_VARINT:
        return take_varint(from, &field->varint);
    case KEK_PROTOBUF_BYTES:
        if (!take_varint(from, &value) || value > from->len) {
            return false;
        }
        field->bytes = kek_bytes(from->data, (size_t)value);
        return skip(from, value);
    case KEK_PROTOBUF_FIXED64:
        return skip(from, 8);
    case KEK_PROTOBUF_FIXED32:
        return skip(from, 4);
    case KEK_PROTOBUF_GROUP:
    case KEK_PROTOBUF_GROUP_END:
        break;
    }
    return true;
}

/* Moves *from behind the end of the group whose beginning was read. */
static bool skip_group(struct kek_bytes *from, uint32_t number)
{
    uint32_t open[GROUPS_MAX] = {number};
    size_t depth = 1;
    while (depth > 0) {
        struct kek_protobuf_field inner;
        if (!take_one(from, &inner)) {
            return false;
        }
        if (inner.type == KEK_PROTOBUF_GROUP_END) {
            depth--;
            if (open[depth] != inner.number) {
                return false;
            }
        } else if (inner.type == KEK_PROTOBUF_GROUP) {
            if (depth == GROUPS_MAX) {
                return false;
            }
            open[depth++] = inner.number;
        }
    }
    return true;
}

bool kek_protobuf_take(struct kek_bytes *message, struct kek_protobuf_field *field)
{
    struct kek_bytes rest = *message;
    struct kek_protobuf_field read;
    if (!take_one(&rest, &read) || read.type == KEK_PROTOBUF_GROUP_END ||
        (read.type == KEK_PROTOBUF_GROUP && !skip_group(&rest, read.number))) {
        return false;
    }
    *field = read;
    *message = rest;
    return true;
}
