#include "message.h"

#include <string.h>

#include "kek/protobuf.h"
#include "kek/text.h"

#define VARINT_MAX 10 /* bytes of a 64-bit number */

/* ---- writing ---- */

static size_t encode(uint8_t out[VARINT_MAX], uint64_t number)
{
    size_t len = 0;
    while (number > 0x7f) {
        out[len++] = (uint8_t)(number | 0x80);
        number >>= 7;
    }
    out[len++] = (uint8_t)number;
    return len;
}

static enum kek_rc put_number(struct kek_buf *out, uint32_t field, uint64_t number,
                              struct kek_why *why)
{
    uint8_t bytes[2 * VARINT_MAX];
    if (number == 0) {
        return KEK_OK;
    }
    size_t len = encode(bytes, field << 3 | KEK_PROTOBUF_VARINT);
    len += encode(bytes + len, number);
    return kek_buf_append(out, kek_bytes(bytes, len), why);
}

static enum kek_rc put_bytes(struct kek_buf *out, uint32_t field, struct kek_bytes value,
                             struct kek_why *why)
{
    uint8_t bytes[2 * VARINT_MAX];
    if (value.len == 0) {
        return KEK_OK;
    }
    size_t len = encode(bytes, field << 3 | KEK_PROTOBUF_BYTES);
    len += encode(bytes + len, value.len);
    enum kek_rc rc = kek_buf_append(out, kek_bytes(bytes, len), why);
    return rc != KEK_OK ? rc : kek_buf_append(out, value, why);
}

/* Room for the frame, which is known at the end. */
enum kek_rc message_put_empty(struct kek_buf *out, struct kek_why *why)
{
    static const uint8_t frame[MESSAGE_FRAME];
    kek_buf_reset(out);
    return kek_buf_append(out, kek_bytes(frame, sizeof frame), why);
}

static void close_frame(struct kek_buf *out)
{
    size_t len = out->len - MESSAGE_FRAME;
    for (size_t i = 1; i < MESSAGE_FRAME; i++) {
        out->data[i] = (uint8_t)(len >> (8 * (MESSAGE_FRAME - 1 - i)));
    }
}

enum kek_rc message_put_range(struct kek_buf *out, const struct message_range *range,
                              struct kek_why *why)
{
    const struct {
        uint32_t field;
        uint64_t number;
    } numbers[] = {{3, (uint64_t)range->limit},
                   {4, (uint64_t)range->revision},
                   {7, range->serializable},
                   {8, range->keys_only},
                   {9, range->count_only}};
    enum kek_rc rc = message_put_empty(out, why);
    if (rc == KEK_OK) {
        rc = put_bytes(out, 1, range->key, why);
    }
    if (rc == KEK_OK) {
        rc = put_bytes(out, 2, range->end, why);
    }
    for (size_t i = 0; rc == KEK_OK && i < sizeof numbers / sizeof numbers[0]; i++) {
        rc = put_number(out, numbers[i].field, numbers[i].number, why);
    }
    if (rc == KEK_OK) {
        close_frame(out);
    }
    return rc;
}

enum kek_rc message_put_authenticate(struct kek_buf *out, struct kek_bytes user,
                                     struct kek_bytes password, struct kek_why *why)
{
    enum kek_rc rc = message_put_empty(out, why);
    if (rc == KEK_OK) {
        rc = put_bytes(out, 1, user, why);
    }
    if (rc == KEK_OK) {
        rc = put_bytes(out, 2, password, why);
    }
    if (rc == KEK_OK) {
        close_frame(out);
    }
    return rc;
}

/* ---- reading ---- */

static bool open_frame(struct kek_bytes *in)
{
    if (in->len < MESSAGE_FRAME || in->data[0] != 0) {
        return false;
    }
    size_t len = (size_t)in->data[1] << 24 | (size_t)in->data[2] << 16 | (size_t)in->data[3] << 8 |
                 in->data[4];
    *in = kek_bytes(in->data + MESSAGE_FRAME, in->len - MESSAGE_FRAME);
    return len == in->len;
}

bool message_get_header(struct kek_bytes in, struct message_header *header)
{
    struct kek_protobuf_field field;
    *header = (struct message_header){0};
    while (kek_protobuf_take(&in, &field)) {
        if (field.type == KEK_PROTOBUF_VARINT && field.number == 1) {
            header->cluster_id = field.varint;
        } else if (field.type == KEK_PROTOBUF_VARINT && field.number == 2) {
            header->member_id = field.varint;
        } else if (field.type == KEK_PROTOBUF_VARINT && field.number == 3) {
            header->revision = (int64_t)field.varint;
        }
    }
    return in.len == 0 && header->cluster_id != 0;
}

bool message_get_status(struct kek_bytes in, struct message_status *status)
{
    struct kek_protobuf_field field;
    bool headed = false;
    *status = (struct message_status){0};
    if (!open_frame(&in)) {
        return false;
    }
    while (kek_protobuf_take(&in, &field)) {
        if (field.type == KEK_PROTOBUF_BYTES && field.number == 1) {
            headed = message_get_header(field.bytes, &status->header);
        } else if (field.type == KEK_PROTOBUF_BYTES && field.number == 2) {
            char text[sizeof status->version] = "";
            size_t len = field.bytes.len < sizeof text - 1 ? field.bytes.len : sizeof text - 1;
            memcpy(text, field.bytes.data, len);
            kek_text_copy(status->version, sizeof status->version, text);
        } else if (field.type == KEK_PROTOBUF_VARINT && field.number == 4) {
            status->leader = field.varint;
        }
    }
    return in.len == 0 && headed;
}

bool message_get_count(struct kek_bytes in, struct message_count *count)
{
    struct kek_protobuf_field field;
    bool headed = false;
    *count = (struct message_count){0};
    if (!open_frame(&in)) {
        return false;
    }
    while (kek_protobuf_take(&in, &field)) {
        if (field.type == KEK_PROTOBUF_BYTES && field.number == 1) {
            headed = message_get_header(field.bytes, &count->header);
        } else if (field.type == KEK_PROTOBUF_VARINT && field.number == 4) {
            count->count = (int64_t)field.varint;
        }
    }
    return in.len == 0 && headed && count->count >= 0;
}

bool message_get_token(struct kek_bytes in, struct kek_bytes *token)
{
    struct kek_protobuf_field field;
    *token = kek_bytes(NULL, 0);
    if (!open_frame(&in)) {
        return false;
    }
    while (kek_protobuf_take(&in, &field)) {
        if (field.type == KEK_PROTOBUF_BYTES && field.number == 2) {
            *token = field.bytes;
        }
    }
    return in.len == 0 && token->len > 0;
}
