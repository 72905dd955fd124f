#include "stream.h"

#include <string.h>

#include "kek/text.h"

/* Fields of RangeResponse, and of KeyValue. */
enum { HEADER = 1, KVS = 2, MORE = 3, COUNT = 4 };
enum { KEY = 1, MOD_REVISION = 3, VALUE = 5 };

#define KEPT_MAX (1u << 20) /* bytes of memory that are kept for the next value */

void stream_init(struct stream *stream, const struct stream_to *to)
{
    *stream = (struct stream){.to = *to};
    kek_buf_init(&stream->header, STREAM_HEADER_MAX);
    kek_buf_init(&stream->key, KEK_ETCD_KEY_MAX);
    kek_buf_init(&stream->value, KEK_ETCD_VALUE_MAX);
}

void stream_done(struct stream *stream)
{
    kek_buf_done(&stream->header);
    kek_buf_done(&stream->key);
    kek_buf_done(&stream->value);
}

void stream_reset(struct stream *stream)
{
    struct kek_buf header = stream->header, key = stream->key, value = stream->value;
    *stream = (struct stream){.to = stream->to, .header = header, .key = key, .value = value};
    kek_buf_reset(&stream->header);
    kek_buf_reset(&stream->key);
    kek_buf_reset(&stream->value);
}

void stream_key_text(struct kek_bytes key, char out[STREAM_KEY_TEXT])
{
    char text[STREAM_KEY_TEXT];
    size_t len = key.len < sizeof text - 1 ? key.len : sizeof text - 1;
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)(key.data[i] == '\0' ? '?' : key.data[i]);
    }
    text[len] = '\0';
    kek_text_copy(out, STREAM_KEY_TEXT, text);
}

static enum kek_rc damaged(const struct stream *stream, const char *what, struct kek_why *why)
{
    return kek_fail(why, KEK_DAMAGED, "the answer to a range is malformed: %s at byte %zu", what,
                    stream->at);
}

static enum kek_rc too_large(const struct stream *stream, const char *what, uint64_t len,
                             size_t max, struct kek_why *why)
{
    char key[STREAM_KEY_TEXT];
    stream_key_text(kek_buf_bytes(&stream->key), key);
    return kek_fail(why, KEK_TOO_LARGE, "key %s: a %s of %llu bytes: at most %zu are read", key,
                    what, (unsigned long long)len, max);
}

/* ---- a field has ended ---- */

static enum kek_rc end_pair(struct stream *stream, struct kek_why *why)
{
    struct kek_etcd_pair pair = {.key = kek_buf_bytes(&stream->key),
                                 .value = kek_buf_bytes(&stream->value),
                                 .mod_revision = stream->mod_revision};
    if (pair.key.len == 0 || pair.mod_revision <= 0) {
        return damaged(stream, "a pair without key or revision ends", why);
    }
    stream->pairs++;
    enum kek_rc rc = stream->to.pair(stream->to.arg, &pair, why);
    if (stream->value.cap > KEPT_MAX) {
        kek_buf_done(&stream->value);
    }
    return rc;
}

static enum kek_rc end_bytes(struct stream *stream, struct kek_why *why)
{
    struct message_header header;
    bool is_header = stream->keep == &stream->header;
    stream->keep = NULL;
    if (!is_header) {
        return KEK_OK;
    }
    if (!message_get_header(kek_buf_bytes(&stream->header), &header)) {
        return damaged(stream, "a header that says no cluster ends", why);
    }
    stream->headed = true;
    return stream->to.header(stream->to.arg, &header, why);
}

/* After any field: has what it stands in ended with it? */
static enum kek_rc end_levels(struct stream *stream, struct kek_why *why)
{
    stream->state = STREAM_TAG;
    if (stream->depth == 1 && stream->left[1] == 0) {
        stream->depth = 0;
        enum kek_rc rc = end_pair(stream, why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    if (stream->depth == 0 && stream->left[0] == 0) {
        stream->state = STREAM_END;
    }
    return KEK_OK;
}

/* ---- a field begins ---- */

static enum kek_rc begin_bytes(struct stream *stream, struct kek_buf *keep, size_t len,
                               struct kek_why *why)
{
    stream->keep = keep;
    stream->want = len;
    stream->state = STREAM_BYTES;
    if (keep != NULL) {
        kek_buf_reset(keep);
        if (kek_buf_reserve(keep, len, why) == NULL) {
            return KEK_NO_MEMORY;
        }
    }
    return KEK_OK;
}

static enum kek_rc begin_pair(struct stream *stream, size_t len, struct kek_why *why)
{
    if (!stream->headed) {
        return damaged(stream, "a pair before the header", why);
    }
    kek_buf_reset(&stream->key);
    kek_buf_reset(&stream->value);
    stream->mod_revision = 0;
    stream->depth = 1;
    stream->left[1] = len;
    return end_levels(stream, why);
}

static enum kek_rc on_length(struct stream *stream, uint64_t len, struct kek_why *why)
{
    if (len > stream->left[stream->depth]) {
        return damaged(stream, "a length past its end", why);
    }
    struct kek_buf *keep = NULL;
    if (stream->depth == 1) {
        keep = stream->field == KEY ? &stream->key : stream->field == VALUE ? &stream->value : NULL;
    } else if (stream->field == KVS) {
        return begin_pair(stream, (size_t)len, why);
    } else if (stream->field == HEADER) {
        keep = &stream->header;
    }
    if (keep != NULL && len > keep->max) {
        const char *what = keep == &stream->value ? "value"
                           : keep == &stream->key ? "key"
                                                  : "header";
        return too_large(stream, what, len, keep->max, why);
    }
    enum kek_rc rc = begin_bytes(stream, keep, (size_t)len, why);
    if (rc == KEK_OK && len == 0) {
        rc = end_bytes(stream, why);
        return rc != KEK_OK ? rc : end_levels(stream, why);
    }
    return rc;
}

static enum kek_rc on_number(struct stream *stream, uint64_t number, struct kek_why *why)
{
    if (stream->depth == 1 && stream->field == MOD_REVISION) {
        stream->mod_revision = (int64_t)number;
    } else if (stream->depth == 0 && stream->field == MORE) {
        stream->more = number != 0;
    } else if (stream->depth == 0 && stream->field == COUNT) {
        stream->count = (int64_t)number;
    }
    return end_levels(stream, why);
}

static enum kek_rc on_tag(struct stream *stream, uint64_t tag, struct kek_why *why)
{
    struct kek_protobuf_field field;
    if (!kek_protobuf_tag(tag, &field)) {
        return damaged(stream, "no field", why);
    }
    stream->field = field.number;
    switch (field.type) {
    case KEK_PROTOBUF_VARINT:
        stream->state = STREAM_NUMBER;
        return KEK_OK;
    case KEK_PROTOBUF_BYTES:
        stream->state = STREAM_LENGTH;
        return KEK_OK;
    case KEK_PROTOBUF_FIXED64:
    case KEK_PROTOBUF_FIXED32:
        stream->field = 0; /* none that is read */
        return on_length(stream, field.type == KEK_PROTOBUF_FIXED64 ? 8 : 4, why);
    case KEK_PROTOBUF_GROUP:
    case KEK_PROTOBUF_GROUP_END:
        break; /* etcd has none */
    }
    return damaged(stream, "no type of a field", why);
}

/* ---- bytes ---- */

static void consume(struct stream *stream, size_t len)
{
    stream->at += len;
    stream->left[0] -= len;
    if (stream->depth == 1) {
        stream->left[1] -= len;
    }
}

static enum kek_rc on_varint_byte(struct stream *stream, uint8_t byte, struct kek_why *why)
{
    if (stream->left[stream->depth] == 0) {
        return damaged(stream, "a number past its end", why);
    }
    consume(stream, 1);
    enum kek_protobuf_step step = kek_protobuf_varint_add(&stream->varint, byte);
    if (step == KEK_PROTOBUF_TOO_LONG) {
        return damaged(stream, "a number without an end", why);
    }
    if (step == KEK_PROTOBUF_MORE) {
        return KEK_OK;
    }
    uint64_t number = stream->varint.value;
    stream->varint = (struct kek_protobuf_varint){.len = 0};
    switch (stream->state) {
    case STREAM_TAG:
        return on_tag(stream, number, why);
    case STREAM_LENGTH:
        return on_length(stream, number, why);
    default:
        return on_number(stream, number, why);
    }
}

static enum kek_rc on_frame_byte(struct stream *stream, uint8_t byte, struct kek_why *why)
{
    if (stream->framed == 0 && byte != 0) {
        return damaged(stream, "a compressed message", why);
    }
    stream->at++;
    stream->left[0] = stream->framed == 0 ? 0 : stream->left[0] << 8 | byte;
    stream->framed++;
    return stream->framed == MESSAGE_FRAME ? end_levels(stream, why) : KEK_OK;
}

/* Takes what belongs to the field; *len of them. */
static enum kek_rc on_bytes(struct stream *stream, struct kek_bytes piece, size_t *len,
                            struct kek_why *why)
{
    *len = piece.len < stream->want ? piece.len : stream->want;
    consume(stream, *len);
    stream->want -= *len;
    enum kek_rc rc = KEK_OK;
    if (stream->keep != NULL) {
        rc = kek_buf_append(stream->keep, kek_bytes(piece.data, *len), why);
    }
    if (rc == KEK_OK && stream->want == 0) {
        rc = end_bytes(stream, why);
        return rc != KEK_OK ? rc : end_levels(stream, why);
    }
    return rc;
}

enum kek_rc stream_take(struct stream *stream, struct kek_bytes piece, struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    while (rc == KEK_OK && piece.len > 0) {
        size_t len = 1;
        switch (stream->state) {
        case STREAM_FRAME:
            rc = on_frame_byte(stream, piece.data[0], why);
            break;
        case STREAM_BYTES:
            rc = on_bytes(stream, piece, &len, why);
            break;
        case STREAM_END:
            return damaged(stream, "more after the end", why);
        default:
            rc = on_varint_byte(stream, piece.data[0], why);
            break;
        }
        piece = kek_bytes(piece.data + len, piece.len - len);
    }
    return rc;
}

enum kek_rc stream_end(const struct stream *stream, struct kek_why *why)
{
    if (stream->state != STREAM_END) {
        return damaged(stream, "it ends in the middle", why);
    }
    if (!stream->headed) {
        return damaged(stream, "it has no header, and ends", why);
    }
    return KEK_OK;
}
