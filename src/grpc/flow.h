/*
 * How much of its requests a peer may send, so that no valid call is refused for what others hold.
 *
 * Every stream may send a share at once, which is more than KMS calls have.  A call that declares a
 * longer message waits, its window closed behind the share, until the whole of it fits in what the
 * connection reserves; then it may send all.  Calls that wait are served in their order, and what is
 * reserved goes when the method has the message, or with the call.  The connection's own window is
 * no limit: what has been read is consumed at once.  Private to this room.
 */
#ifndef KEK_GRPC_FLOW_H
#define KEK_GRPC_FLOW_H

#include "call.h"

#define KEK_GRPC_SHARE 4096u /* bytes of each stream, its message's prefix included */
#define KEK_GRPC_RESERVED_MAX (1024u * 1024) /* bytes; one call always fits, whatever its size */
#define KEK_GRPC_CONNECTION_WINDOW (1024 * 1024) /* bytes; seldom updated, so seldom a frame */

/* `len` more bytes of its stream have been read; `last`: none follow. */
void kek_grpc_flow_read(struct kek_grpc_call *call, size_t len, bool last);

/* The peer goes by our SETTINGS from now on. */
void kek_grpc_flow_begin(struct kek_grpc_session *session);

/* The call holds no bytes of its request any more. */
void kek_grpc_flow_release(struct kek_grpc_call *call);

#endif
