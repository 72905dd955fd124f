/*
 * A protobuf message's fields, one after the other (protobuf.dev, "Encoding"), by the rules of Go's reader: a number of
 * a field has 29 bits and is not 0, a varint has at most ten bytes and 64 bits, groups are read past.  For messages
 * that others decide on; kekd's own go through protobuf-c, which refuses groups.
 *
 * Pure; any thread; nothing is allocated, what is found is borrowed of the message.
 */
#ifndef KEK_PROTOBUF_H
#define KEK_PROTOBUF_H

#include "kek/bytes.h"

/* As on the wire. */
enum kek_protobuf_type {
    KEK_PROTOBUF_VARINT = 0,
    KEK_PROTOBUF_FIXED64 = 1,
    KEK_PROTOBUF_BYTES = 2,
    KEK_PROTOBUF_GROUP = 3,
    KEK_PROTOBUF_GROUP_END = 4,
    KEK_PROTOBUF_FIXED32 = 5
};

struct kek_protobuf_field {
    uint32_t number;
    enum kek_protobuf_type type;
    uint64_t varint;        /* of VARINT */
    struct kek_bytes bytes; /* of BYTES */
};

/* The first field of *message, which moves behind it. False: there is none that is whole and allowed, and nothing has
 * moved; at the end *message is empty. A group is one field, with all that is in it; in more than 32 groups it is
 * refused (Go: 10,000). */
bool kek_protobuf_take(struct kek_bytes *message, struct kek_protobuf_field *field) KEK_MUST_CHECK;

/* ---- where a message comes in pieces ---- */

/* A varint on its way in; all zero: none of it is there. */
struct kek_protobuf_varint {
    uint64_t value;
    unsigned len; /* bytes so far */
};

enum kek_protobuf_step { KEK_PROTOBUF_MORE, KEK_PROTOBUF_WHOLE, KEK_PROTOBUF_TOO_LONG };

/* Adds the next byte. */
enum kek_protobuf_step kek_protobuf_varint_add(struct kek_protobuf_varint *varint, uint8_t byte);

/* Number and type of the field that such a varint begins. False: it begins none. */
bool kek_protobuf_tag(uint64_t varint, struct kek_protobuf_field *field) KEK_MUST_CHECK;

#endif
