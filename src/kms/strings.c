/*
 * What protobuf-c leaves unchecked of a proto3 string: that it is UTF-8 (protobuf's language guide,
 * "Scalar Value Types"), and what follows a NUL, where the C string that it makes ends.
 */
#include "kms/call.h"

#include <string.h>

#include <protobuf-c/protobuf-c.h>

#include "kek/text.h"

static size_t char_len(struct kek_bytes text)
{
    unsigned char c[5] = {0};
    memcpy(c, text.data, text.len < 4 ? text.len : 4);
    bool control =
        c[0] == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f; /* a character, if not to be shown */
    return control ? 2 : kek_text_char_len(c);
}

static struct kek_bytes after(struct kek_bytes bytes, size_t len)
{
    return kek_bytes(bytes.data + len, bytes.len - len);
}

static bool is_utf8(struct kek_bytes text)
{
    uint64_t eight;
    while (text.len > 0) {
        if (text.len >= sizeof eight) {
            memcpy(&eight, text.data, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                text = after(text, sizeof eight);
                continue;
            }
        }
        size_t len = text.data[0] < 0x80 ? 1 : char_len(text);
        if (len == 0) {
            return false;
        }
        text = after(text, len);
    }
    return true;
}

static bool take_varint(struct kek_bytes *from, uint64_t *value)
{
    *value = 0;
    for (unsigned shift = 0; shift < 64 && from->len > 0; shift += 7) {
        uint8_t byte = from->data[0];
        *from = after(*from, 1);
        *value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            return true;
        }
    }
    return false;
}

/* One field's content, by its wire type. */
static bool take_content(struct kek_bytes *from, unsigned wire_type, struct kek_bytes *content)
{
    uint64_t len = 0;
    const uint8_t *start = from->data;
    switch (wire_type) {
    case PROTOBUF_C_WIRE_TYPE_VARINT:
        if (!take_varint(from, &len)) {
            return false;
        }
        *content = kek_bytes(start, (size_t)(from->data - start));
        return true;
    case PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED:
        if (!take_varint(from, &len)) {
            return false;
        }
        break;
    case PROTOBUF_C_WIRE_TYPE_64BIT:
        len = 8;
        break;
    case PROTOBUF_C_WIRE_TYPE_32BIT:
        len = 4;
        break;
    default:
        return false;
    }
    if (len > from->len) {
        return false;
    }
    *content = kek_bytes(from->data, (size_t)len);
    *from = after(*from, (size_t)len);
    return true;
}

/* As deep as the schema: a map's entries. */
bool strings_are_utf8(const ProtobufCMessageDescriptor *type, struct kek_bytes message)
{
    while (message.len > 0) {
        uint64_t key;
        struct kek_bytes content;
        if (!take_varint(&message, &key) || !take_content(&message, key & 7, &content)) {
            return false;
        }
        const ProtobufCFieldDescriptor *field =
            key >> 3 > UINT32_MAX
                ? NULL
                : protobuf_c_message_descriptor_get_field(type, (unsigned)(key >> 3));
        if (field == NULL || (key & 7) != PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED) {
            continue;
        }
        bool good = field->type == PROTOBUF_C_TYPE_STRING ? is_utf8(content)
                    : field->type == PROTOBUF_C_TYPE_MESSAGE
                        ? strings_are_utf8(field->descriptor, content)
                        : true;
        if (!good) {
            return false;
        }
    }
    return true;
}

struct kek_bytes string_as_sent(struct kek_bytes message, unsigned number)
{
    struct kek_bytes last = {.data = NULL};
    struct kek_bytes content;
    uint64_t key;
    while (message.len > 0 && take_varint(&message, &key) &&
           take_content(&message, key & 7, &content)) {
        if (key == ((uint64_t)number << 3 | PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED)) {
            last = content;
        }
    }
    return last;
}
