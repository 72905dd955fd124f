/* KMS requests: the first byte says which method's message the rest is. */
#include "fuzz.h"

#include <string.h>

#include "kms/call.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static _Alignas(16) uint8_t unpacked[ARENA_BYTES];
    struct kek_arena arena = {.bytes = unpacked, .size = sizeof unpacked};
    struct request request;
    struct kek_why why;
    if (size == 0) {
        return 0;
    }
    enum kek_kms_method method = (enum kek_kms_method)(data[0] % KEK_KMS_METHODS);
    if (message_read(method, kek_bytes(data + 1, size - 1), &arena, &request, &why) == KEK_OK) {
        /* What it hands out lies in the arena or is a constant, and is whole. */
        FUZZ_CHECK(request.uid != NULL);
        FUZZ_CHECK(strlen(request.uid) < size && request.key_id.len < size);
        FUZZ_CHECK(request.key_id.len == 0 ||
                   (request.key_id.data > data &&
                    request.key_id.data + request.key_id.len <= data + size));
        FUZZ_CHECK(request.payload.len < size);
        if (request.payload.len > 0) {
            FUZZ_CHECK(request.payload.data >= arena.bytes &&
                       request.payload.data + request.payload.len <= arena.bytes + arena.used);
        }
    }
    kek_arena_wipe(&arena);
    return 0;
}
