/*
 * Memory for one message: pieces of one block, given back all at once and wiped.
 *
 * The block is the caller's, aligned to 16 bytes.  It bounds what a message can unpack to, however its
 * bytes are made, and what held a plaintext or a data key leaves no copy behind.  The functions are of
 * protobuf-c's allocator.  One thread.
 */
#ifndef KEK_ARENA_H
#define KEK_ARENA_H

#include <stddef.h>
#include <stdint.h>

struct kek_arena {
    uint8_t *bytes;
    size_t size, used;
};

/* Both take a struct kek_arena. NULL: there is not so much left. The pieces are aligned to 16 bytes. */
void *kek_arena_take(void *arena, size_t size);
void kek_arena_give(void *arena, void *piece); /* nothing: kek_arena_wipe() is for all of them */

void kek_arena_wipe(struct kek_arena *arena);

#endif
