#include "memory.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* In front of every block; as large as malloc's alignment. */
struct kek_grpc_block {
    _Alignas(max_align_t) size_t size; /* in steps; past KEK_GRPC_MEMORY_SIZES: never kept */
    struct kek_grpc_block *next;       /* only while kept */
};

#ifdef KEK_SANITIZERS
#define KEPT_MAX 0u
#else
#define KEPT_MAX KEK_GRPC_MEMORY_KEPT
#endif

static size_t bytes_of(const struct kek_grpc_block *block)
{
    return block->size * KEK_GRPC_MEMORY_STEP;
}

static void *take(size_t bytes, void *arg)
{
    struct kek_grpc_memory *memory = arg;
    size_t size = bytes / KEK_GRPC_MEMORY_STEP + 1;
    if (size <= KEK_GRPC_MEMORY_SIZES && memory->kept[size] != NULL) {
        struct kek_grpc_block *block = memory->kept[size];
        memory->kept[size] = block->next;
        memory->kept_bytes -= bytes_of(block);
        return block + 1;
    }
    size_t room;
    if (__builtin_mul_overflow(size, KEK_GRPC_MEMORY_STEP, &room) ||
        __builtin_add_overflow(room, sizeof(struct kek_grpc_block), &room)) {
        return NULL;
    }
    struct kek_grpc_block *block = malloc(room);
    if (block == NULL) {
        return NULL;
    }
    block->size = size;
    return block + 1;
}

static void give(void *data, void *arg)
{
    struct kek_grpc_memory *memory = arg;
    if (data == NULL) {
        return;
    }
    struct kek_grpc_block *block = (struct kek_grpc_block *)data - 1;
    if (block->size > KEK_GRPC_MEMORY_SIZES || memory->kept_bytes + bytes_of(block) > KEPT_MAX) {
        free(block);
        return;
    }
    block->next = memory->kept[block->size];
    memory->kept[block->size] = block;
    memory->kept_bytes += bytes_of(block);
}

static void *take_zeroed(size_t count, size_t bytes, void *arg)
{
    size_t total;
    if (__builtin_mul_overflow(count, bytes, &total)) {
        return NULL;
    }
    void *data = take(total, arg);
    return data == NULL ? NULL : memset(data, 0, total);
}

static void *resize(void *data, size_t bytes, void *arg)
{
    if (data == NULL) {
        return take(bytes, arg);
    }
    size_t had = bytes_of((struct kek_grpc_block *)data - 1);
    if (bytes <= had) {
        return data;
    }
    void *larger = take(bytes, arg);
    if (larger == NULL) {
        return NULL;
    }
    memcpy(larger, data, had);
    give(data, arg);
    return larger;
}

void kek_grpc_memory_init(struct kek_grpc_memory *memory)
{
    *memory = (struct kek_grpc_memory){
        .functions = {memory, take, give, take_zeroed, resize},
    };
}

void kek_grpc_memory_done(struct kek_grpc_memory *memory)
{
    for (size_t size = 0; size <= KEK_GRPC_MEMORY_SIZES; size++) {
        while (memory->kept[size] != NULL) {
            struct kek_grpc_block *block = memory->kept[size];
            memory->kept[size] = block->next;
            free(block);
        }
    }
    memory->kept_bytes = 0;
}
