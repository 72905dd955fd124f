/*
 * The one length-prefixed message of a unary request, put together from DATA frames that may be
 * split anywhere: flag u8 | length u32 big-endian | message.
 *
 * What is declared too long is refused on its prefix, before anything is buffered; memory grows only
 * with what has come.  The content may be a plaintext: it is wiped when it goes.
 */
#ifndef KEK_GRPC_MESSAGE_H
#define KEK_GRPC_MESSAGE_H

#include "headers.h"

#define KEK_GRPC_PREFIX 5u

struct kek_grpc_message {
    uint8_t prefix[KEK_GRPC_PREFIX];
    uint8_t prefix_len;
    uint32_t declared; /* valid once the prefix is complete */
    struct kek_buf body;
};

/* Zeroed memory is a message that has not begun; this makes one again of what was used. */
void kek_grpc_message_reset(struct kek_grpc_message *message); /* keeps a small buffer */
void kek_grpc_message_done(struct kek_grpc_message *message);

/* False fills *refusal; the message is of no more use then. */
bool kek_grpc_message_feed(struct kek_grpc_message *message, size_t max, struct kek_bytes bytes,
                           struct kek_grpc_refusal *refusal) KEK_MUST_CHECK;

/* Nothing more will come: is it whole? */
bool kek_grpc_message_end(const struct kek_grpc_message *message,
                          struct kek_grpc_refusal *refusal) KEK_MUST_CHECK;

#endif
