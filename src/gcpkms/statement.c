#include "statement.h"

#include <string.h>

#include <zlib.h>

#define GZIP (15 + 16) /* zlib's word for a gzip header, and for its largest window */
#define RESPONSE_LEN 16u
#define INFO_LEN 8u
#define OBJECT_LEN 12u
#define PIECE 4096u

/* ---- gzip ---- */

/* One stream, to its end. */
static enum kek_rc inflate_all(z_stream *stream, struct kek_buf *plain, struct kek_why *why)
{
    uint8_t piece[PIECE];
    int rc = Z_OK;
    while (rc != Z_STREAM_END) {
        stream->next_out = piece;
        stream->avail_out = sizeof piece;
        rc = inflate(stream, Z_NO_FLUSH);
        if (rc != Z_OK && rc != Z_STREAM_END) {
            return kek_fail(why, KEK_INVALID, "it is not compressed by gzip, or is cut short");
        }
        enum kek_rc added =
            kek_buf_append(plain, kek_bytes(piece, sizeof piece - stream->avail_out), why);
        if (added != KEK_OK) {
            return added == KEK_NO_MEMORY
                       ? added
                       : kek_fail(why, KEK_TOO_LARGE, "decompressed it has more than %u bytes",
                                  KEK_GCP_STATEMENT_PLAIN);
        }
    }
    return stream->avail_in == 0
               ? KEK_OK
               : kek_fail(why, KEK_INVALID, "something follows behind its gzip stream");
}

enum kek_rc kek_gcp_statement_unpack(struct kek_bytes packed, struct kek_buf *plain,
                                     struct kek_why *why)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)packed.data, .avail_in = (uInt)packed.len};
    if (inflateInit2(&stream, GZIP) != Z_OK) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to decompress the statement");
    }
    enum kek_rc rc = inflate_all(&stream, plain, why);
    (void)inflateEnd(&stream);
    return rc;
}

/* ---- its parts ---- */

static uint32_t number_at(struct kek_bytes bytes, size_t at, size_t len)
{
    uint32_t number = 0;
    for (size_t i = 0; i < len; i++) {
        number = number << 8 | bytes.data[at + i];
    }
    return number;
}

static enum kek_rc malformed(struct kek_why *why, const char *what)
{
    return kek_fail(why, KEK_INVALID, "it is not of this format: %s", what);
}

static enum kek_rc read_values(struct kek_bytes from, uint32_t count,
                               struct kek_gcp_statement *statement, struct kek_why *why)
{
    size_t at = 0;
    if (count > KEK_GCP_ATTRIBUTES_MAX) {
        return malformed(why, "it has too many attributes");
    }
    for (statement->count = 0; statement->count < count; statement->count++) {
        struct kek_gcp_value *value = &statement->values[statement->count];
        if (from.len - at < 8) {
            return malformed(why, "an attribute is cut short");
        }
        value->type = number_at(from, at, 4);
        size_t len = number_at(from, at + 4, 4);
        at += 8;
        if (from.len - at < len) {
            return malformed(why, "an attribute is cut short");
        }
        if (kek_gcp_statement_find(statement, (enum kek_gcp_attribute)value->type) != NULL) {
            return malformed(why, "it has an attribute twice");
        }
        value->bytes = kek_bytes(from.data + at, len);
        at += len;
    }
    return at == from.len ? KEK_OK : malformed(why, "something follows behind its attributes");
}

/* The one object, which ends where the signature begins. */
static enum kek_rc read_object(struct kek_bytes object, struct kek_gcp_statement *statement,
                               struct kek_why *why)
{
    if (object.len < OBJECT_LEN || number_at(object, 8, 4) != (uint64_t)object.len - OBJECT_LEN) {
        return malformed(why, "the length of its object does not fit");
    }
    return read_values(kek_bytes(object.data + OBJECT_LEN, object.len - OBJECT_LEN),
                       number_at(object, 4, 4), statement, why);
}

enum kek_rc kek_gcp_statement_read(struct kek_bytes plain, struct kek_gcp_statement *statement,
                                   struct kek_why *why)
{
    if (plain.len < RESPONSE_LEN + INFO_LEN + OBJECT_LEN + KEK_GCP_STATEMENT_SIGNATURE) {
        return malformed(why, "it is too short");
    }
    size_t len = plain.len - KEK_GCP_STATEMENT_SIGNATURE;
    uint32_t inner = number_at(plain, 12, 4);
    if (number_at(plain, 0, 4) != 0 || number_at(plain, 8, 4) != plain.len || inner < INFO_LEN ||
        inner > len - RESPONSE_LEN) {
        return malformed(why, "its header does not fit");
    }
    struct kek_bytes body = kek_bytes(plain.data + len - inner, inner);
    uint32_t first = number_at(body, 4, 2), second = number_at(body, 6, 2);
    if (number_at(body, 0, 2) != 1 || first < INFO_LEN || first > body.len) {
        return malformed(why, "its second header does not fit");
    }
    if (second != 0) {
        return kek_fail(why, KEK_INVALID, "it is about a key pair, and not about a symmetric key");
    }
    statement->is_signed = kek_bytes(plain.data, len);
    statement->signature = kek_bytes(plain.data + len, KEK_GCP_STATEMENT_SIGNATURE);
    return read_object(kek_bytes(body.data + first, body.len - first), statement, why);
}

const struct kek_bytes *kek_gcp_statement_find(const struct kek_gcp_statement *statement,
                                               enum kek_gcp_attribute type)
{
    for (size_t i = 0; i < statement->count; i++) {
        if (statement->values[i].type == (uint32_t)type) {
            return &statement->values[i].bytes;
        }
    }
    return NULL;
}

bool kek_gcp_statement_number(const struct kek_gcp_statement *statement,
                              enum kek_gcp_attribute type, uint32_t *number)
{
    const struct kek_bytes *bytes = kek_gcp_statement_find(statement, type);
    if (bytes == NULL || bytes->len == 0 || bytes->len > 4) {
        return false;
    }
    *number = number_at(*bytes, 0, bytes->len);
    return true;
}
