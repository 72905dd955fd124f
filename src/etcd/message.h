/*
 * The few messages of etcd's v3 API that are needed, as protobuf has them (api/etcdserverpb/rpc.proto,
 * api/mvccpb/kv.proto), each in the five bytes of a gRPC message.  Small answers are read whole; that of a
 * range of pairs is stream.h's.  Pure; any thread.
 */
#ifndef ETCD_MESSAGE_H
#define ETCD_MESSAGE_H

#include "kek/bytes.h"

#define MESSAGE_FRAME 5         /* bytes before a message: compressed or not, length */
#define MESSAGE_SMALL_MAX 65536 /* bytes of an answer that is read whole */

struct message_range {
    struct kek_bytes key, end; /* end empty: this one key */
    int64_t limit;             /* 0: none */
    int64_t revision;          /* 0: the newest */
    bool serializable, keys_only, count_only;
};

struct message_header {
    uint64_t cluster_id, member_id;
    int64_t revision;
};

struct message_status {
    struct message_header header;
    uint64_t leader;
    char version[32];
};

struct message_count {
    struct message_header header;
    int64_t count;
};

enum kek_rc message_put_range(struct kek_buf *out, const struct message_range *range,
                              struct kek_why *why) KEK_MUST_CHECK;
enum kek_rc message_put_empty(struct kek_buf *out, struct kek_why *why) KEK_MUST_CHECK;
enum kek_rc message_put_authenticate(struct kek_buf *out, struct kek_bytes user,
                                     struct kek_bytes password, struct kek_why *why) KEK_MUST_CHECK;

/* False: it is no such message. */
bool message_get_header(struct kek_bytes in, struct message_header *header); /* without a frame */
bool message_get_status(struct kek_bytes in, struct message_status *status);
bool message_get_count(struct kek_bytes in,
                       struct message_count *count); /* a range's that only counted */
bool message_get_token(struct kek_bytes in, struct kek_bytes *token); /* borrowed of `in` */

#endif
