#include "protobuf.h"

#define FIELD_FIXED64 1u
#define FIELD_GROUP 3u
#define FIELD_GROUP_END 4u
#define FIELD_FIXED32 5u
#define NUMBER_MAX ((1u << 29) - 1)
#define GROUPS_MAX 32

/* At most ten bytes, the tenth of one bit. */
static bool read_varint(struct kek_bytes message, size_t *at, uint64_t *value)
{
    uint64_t read = 0;
    for (size_t i = 0; i < 10 && *at + i < message.len; i++) {
        uint8_t byte = message.data[*at + i];
        if (i == 9 && byte > 1) {
            return false;
        }
        read |= (uint64_t)(byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *value = read;
            *at += i + 1;
            return true;
        }
    }
    return false;
}

static bool skip(struct kek_bytes message, size_t *at, size_t len)
{
    if (message.len - *at < len) {
        return false;
    }
    *at += len;
    return true;
}

/* Tag and value of one field; of a group, and of its end, the tag alone. */
static bool read_field(struct kek_bytes message, size_t *at, struct kube_field *field)
{
    uint64_t value;
    if (!read_varint(message, at, &value) || value >> 3 == 0 || value >> 3 > NUMBER_MAX) {
        return false;
    }
    field->number = (uint32_t)(value >> 3);
    field->type = value & 7;
    switch (field->type) {
    case KUBE_FIELD_VARINT:
        return read_varint(message, at, &field->varint);
    case KUBE_FIELD_BYTES:
        if (!read_varint(message, at, &value) || value > message.len - *at) {
            return false;
        }
        field->bytes = kek_bytes(message.data + *at, (size_t)value);
        return skip(message, at, (size_t)value);
    case FIELD_FIXED64:
        return skip(message, at, 8);
    case FIELD_FIXED32:
        return skip(message, at, 4);
    default:
        return field->type == FIELD_GROUP || field->type == FIELD_GROUP_END;
    }
}

/* Moves *at behind the end of the group whose beginning was read. */
static bool skip_group(struct kek_bytes message, size_t *at, uint32_t number)
{
    uint32_t open[GROUPS_MAX] = {number};
    size_t depth = 1;
    while (depth > 0) {
        struct kube_field inner;
        if (!read_field(message, at, &inner)) {
            return false;
        }
        if (inner.type == FIELD_GROUP_END) {
            depth--;
            if (open[depth] != inner.number) {
                return false;
            }
        } else if (inner.type == FIELD_GROUP) {
            if (depth == GROUPS_MAX) {
                return false;
            }
            open[depth++] = inner.number;
        }
    }
    return true;
}

bool kek_kube_next_field(struct kek_bytes message, size_t *at, struct kube_field *field)
{
    size_t behind = *at;
    struct kube_field read = {0};
    if (!read_field(message, &behind, &read) || read.type == FIELD_GROUP_END ||
        (read.type == FIELD_GROUP && !skip_group(message, &behind, read.number))) {
        return false;
    }
    *field = read;
    *at = behind;
    return true;
}
