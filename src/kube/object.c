#include "object.h"

#include <string.h>

#include "kek/protobuf.h"
#include "kek/text.h"

/* k8s.io/apiserver pkg/storage/value/encrypt/envelope/kmsv2/envelope.go */
#define KEY_ID_MAX 1024u
#define SOURCE_MAX 1024u
#define ANNOTATIONS_MAX (32u * 1024)

/* RFC 1123, as k8s.io/apimachinery's IsFullyQualifiedDomainName has it. */
#define DOMAIN_MAX 253u
#define LABEL_MAX 63u

static bool is_alphanumeric(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool is_label(const uint8_t *label, size_t len)
{
    if (len == 0 || len > LABEL_MAX || !is_alphanumeric(label[0]) ||
        !is_alphanumeric(label[len - 1])) {
        return false;
    }
    for (size_t i = 1; i < len; i++) {
        if (!is_alphanumeric(label[i]) && label[i] != '-') {
            return false;
        }
    }
    return true;
}

/* Two labels or more; one '.' may end it. */
static bool is_domain(struct kek_bytes name)
{
    if (name.len > 0 && name.data[name.len - 1] == '.') {
        name.len--;
    }
    if (name.len == 0 || name.len > DOMAIN_MAX) {
        return false;
    }
    size_t labels = 0;
    size_t start = 0;
    for (size_t i = 0; i <= name.len; i++) {
        if (i == name.len || name.data[i] == '.') {
            if (!is_label(name.data + start, i - start)) {
                return false;
            }
            labels++;
            start = i + 1;
        }
    }
    return labels >= 2;
}

/* One entry of the map: 1 key, 2 value. Adds to *total what counts towards the limit. */
static enum kek_rc read_annotation(struct kek_bytes entry, size_t start, size_t *total,
                                   struct kek_why *why)
{
    struct kek_bytes key = {0};
    size_t value_len = 0;
    struct kek_bytes rest = entry;
    while (rest.len > 0) {
        struct kek_protobuf_field field;
        if (!kek_protobuf_take(&rest, &field)) {
            return kek_fail(why, KEK_DAMAGED, "offset %zu: an annotation that is no protobuf",
                            start + entry.len - rest.len);
        }
        if (field.type == KEK_PROTOBUF_BYTES && field.number == 1) {
            key = field.bytes;
            if (!kek_text_is_utf8(key)) {
                return kek_fail(why, KEK_DAMAGED, "offset %zu: an annotation's key is not UTF-8",
                                start);
            }
        } else if (field.type == KEK_PROTOBUF_BYTES && field.number == 2) {
            value_len = field.bytes.len;
        }
    }
    if (!is_domain(key)) {
        return kek_fail(why, KEK_DAMAGED, "offset %zu: an annotation's key is no domain name",
                        start);
    }
    *total += key.len + value_len; /* neither is longer than the value */
    return KEK_OK;
}

/* The API server's ValidateEncryptedObject(). */
static enum kek_rc check_object(const struct kek_kube_stored *stored, size_t annotations,
                                struct kek_why *why)
{
    if (stored->source_type > KEK_KUBE_SOURCE_SEED) {
        return kek_fail(why, KEK_DAMAGED, "an encryptedDEKSourceType of %d, which nobody knows",
                        (int)stored->source_type);
    }
    if (stored->data.len == 0) {
        return kek_fail(why, KEK_DAMAGED, "no encryptedData");
    }
    if (stored->source.len == 0 || stored->source.len > SOURCE_MAX) {
        return kek_fail(why, KEK_DAMAGED, "an encryptedDEKSource of %zu bytes, 1 to %u may be",
                        stored->source.len, SOURCE_MAX);
    }
    if (stored->key_id.len == 0 || stored->key_id.len > KEY_ID_MAX) {
        return kek_fail(why, KEK_DAMAGED, "a keyID of %zu bytes, 1 to %u may be",
                        stored->key_id.len, KEY_ID_MAX);
    }
    if (annotations > ANNOTATIONS_MAX) {
        return kek_fail(why, KEK_DAMAGED, "annotations of %zu bytes, %u may be", annotations,
                        ANNOTATIONS_MAX);
    }
    return KEK_OK;
}

/* The last of several counts; one of another wire type, or of another number, counts for nothing. */
static enum kek_rc take_field(const struct kek_protobuf_field *field, size_t start,
                              struct kek_kube_stored *stored, size_t *annotations,
                              struct kek_why *why)
{
    if (field->type == KEK_PROTOBUF_VARINT && field->number == 5) {
        stored->source_type = (uint32_t)field->varint; /* as Go cuts an enum */
        return KEK_OK;
    }
    if (field->type != KEK_PROTOBUF_BYTES) {
        return KEK_OK;
    }
    switch (field->number) {
    case 1:
        stored->data = field->bytes;
        return KEK_OK;
    case 2:
        if (!kek_text_is_utf8(field->bytes)) {
            return kek_fail(why, KEK_DAMAGED, "offset %zu: the keyID is not UTF-8", start);
        }
        stored->key_id = field->bytes;
        return KEK_OK;
    case 3:
        stored->source = field->bytes;
        return KEK_OK;
    case 4:
        return read_annotation(field->bytes, start, annotations, why);
    default:
        return KEK_OK;
    }
}

enum kek_rc kek_kube_read_object(struct kek_bytes message, size_t start,
                                 struct kek_kube_stored *stored, struct kek_why *why)
{
    size_t annotations = 0;
    struct kek_bytes rest = message;
    while (rest.len > 0) {
        struct kek_protobuf_field field;
        if (!kek_protobuf_take(&rest, &field)) {
            return kek_fail(why, KEK_DAMAGED,
                            "offset %zu: EncryptedObject ends here, or is no protobuf from here on",
                            start + message.len - rest.len);
        }
        size_t value = start + message.len - rest.len - field.bytes.len;
        enum kek_rc rc = take_field(&field, value, stored, &annotations, why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return check_object(stored, annotations, why);
}
