/*
 * A protobuf message's fields, one after the other, as Go's protobuf reads them: the API server decides
 * what a stored object is, and protobuf-c, which kekd's own messages go through, refuses groups.
 * Nothing is allocated.
 */
#ifndef KEK_KUBE_PROTOBUF_H
#define KEK_KUBE_PROTOBUF_H

#include "kek/bytes.h"

/* The wire types that a field here can have; what has another one is passed over. */
#define KUBE_FIELD_VARINT 0u
#define KUBE_FIELD_BYTES 2u

struct kube_field {
    uint32_t number;
    unsigned type;          /* as on the wire: 0 to 3, or 5 */
    uint64_t varint;        /* of type 0 */
    struct kek_bytes bytes; /* of type 2; borrowed */
};

/* Reads the field at *at and moves *at behind it. False: there is none that is whole and allowed; *at has
 * not moved. A group in more than 32 groups is refused (Go: 10,000). */
bool kek_kube_next_field(struct kek_bytes message, size_t *at, struct kube_field *field);

#endif
