/*
 * What protobuf-c leaves unchecked of a proto3 string: that it is UTF-8 (protobuf's language guide,
 * "Scalar Value Types"), and what follows a NUL, where the C string that it makes ends.  Go's reader is
 * stricter about what a field is, too.
 */
#include "kms/call.h"

#include <protobuf-c/protobuf-c.h>

#include "kek/protobuf.h"
#include "kek/text.h"

/* As deep as the schema: a map's entries. */
bool strings_are_utf8(const ProtobufCMessageDescriptor *type, struct kek_bytes message)
{
    while (message.len > 0) {
        struct kek_protobuf_field sent;
        if (!kek_protobuf_take(&message, &sent)) {
            return false;
        }
        const ProtobufCFieldDescriptor *field =
            sent.type == KEK_PROTOBUF_BYTES
                ? protobuf_c_message_descriptor_get_field(type, sent.number)
                : NULL;
        if (field == NULL) {
            continue;
        }
        bool good = field->type == PROTOBUF_C_TYPE_STRING ? kek_text_is_utf8(sent.bytes)
                    : field->type == PROTOBUF_C_TYPE_MESSAGE
                        ? strings_are_utf8(field->descriptor, sent.bytes)
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
    struct kek_protobuf_field sent;
    while (kek_protobuf_take(&message, &sent)) {
        if (sent.type == KEK_PROTOBUF_BYTES && sent.number == number) {
            last = sent.bytes;
        }
    }
    return last;
}
