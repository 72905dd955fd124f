/*
 * nghttp2's allocator: small blocks are kept for use again, by size.
 *
 * A call costs nghttp2 a score of small, short-lived blocks; with many streams at once that is more
 * than malloc's own cache keeps, and an eighth of a call's instructions.  What is kept is bounded by
 * KEK_GRPC_MEMORY_KEPT; sanitizer builds keep nothing, so that they see every use after free.
 * No message content passes through here (call.h).  One thread: a host's sessions'.
 */
#ifndef KEK_GRPC_MEMORY_H
#define KEK_GRPC_MEMORY_H

#include <nghttp2/nghttp2.h>

#define KEK_GRPC_MEMORY_STEP 32u           /* bytes between two sizes */
#define KEK_GRPC_MEMORY_SIZES 32u          /* so blocks up to 1 KiB are kept */
#define KEK_GRPC_MEMORY_KEPT (256u * 1024) /* bytes kept at most */

struct kek_grpc_block;

struct kek_grpc_memory {
    nghttp2_mem functions; /* for nghttp2 */
    struct kek_grpc_block *kept[KEK_GRPC_MEMORY_SIZES + 1];
    size_t kept_bytes;
};

void kek_grpc_memory_init(struct kek_grpc_memory *memory); /* must not move afterwards */
void kek_grpc_memory_done(struct kek_grpc_memory *memory); /* after the last session */

#endif
