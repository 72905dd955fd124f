#include "kek/arena.h"

#include "kek/bytes.h"

#define STEP ((size_t)16)

void *kek_arena_take(void *arena, size_t size)
{
    struct kek_arena *from = arena;
    size_t rounded;
    if (__builtin_add_overflow(size, STEP - 1, &rounded)) {
        return NULL;
    }
    rounded &= ~(STEP - 1);
    if (rounded > from->size - from->used) {
        return NULL;
    }
    void *piece = from->bytes + from->used;
    from->used += rounded;
    return piece;
}

void kek_arena_give(void *arena, void *piece)
{
    (void)arena;
    (void)piece;
}

void kek_arena_wipe(struct kek_arena *arena)
{
    if (arena->used > 0) {
        kek_wipe(arena->bytes, arena->used);
    }
    arena->used = 0;
}
