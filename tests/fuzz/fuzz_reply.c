/* Packets as kekd gets them from a worker: unpacked in the pool's arena, and what is read out of them. */
#include "fuzz.h"

#include <string.h>

#include "front.h"
#include "kek/text.h"

static bool is_text(const char *text, size_t size)
{
    size_t len = strnlen(text, size);
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7f) {
            return false;
        }
    }
    return len < size;
}

/* A text that goes into protobuf and JSON. */
static bool is_clean(const char *text, size_t size)
{
    const unsigned char *c = (const unsigned char *)text;
    while (*c != '\0' && kek_text_char_len(c) > 0) {
        c += kek_text_char_len(c);
    }
    return *c == '\0' && is_text(text, size);
}

static void read_versions(size_t count, Kek__Provider__Version *const *wire)
{
    static struct kek_provider_versions versions;
    if (!kek_message_versions(count, wire, &versions)) {
        return;
    }
    FUZZ_CHECK(versions.count == count && count <= KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < versions.count; i++) {
        const struct kek_version *version = &versions.items[i];
        FUZZ_CHECK(version->number > 0);
        FUZZ_CHECK(version->alg == KEK_WRAP_NONE || kek_wrap_alg_known(version->alg));
        FUZZ_CHECK(is_clean(version->label, sizeof version->label));
        FUZZ_CHECK(is_clean(version->refusal, sizeof version->refusal));
    }
}

static void read_failed(const Kek__Provider__Failed *failed)
{
    static struct kek_config_provider config = {.name = (char *)"hsm-a"};
    static struct kek_backend backend = {.config = &config};
    struct kek_why why = {.rc = KEK_OK};
    kek_message_failed(&backend, failed, &why);
    FUZZ_CHECK(why.rc != KEK_OK);
    FUZZ_CHECK(is_text(why.text, sizeof why.text));
}

static void read_tried(const Kek__Provider__Tried *message)
{
    static struct kek_provider_tried tried;
    kek_message_tried(message, &tried);
    FUZZ_CHECK(is_clean(tried.wrap.text, sizeof tried.wrap.text));
    FUZZ_CHECK(is_clean(tried.unwrap.text, sizeof tried.unwrap.text));
    FUZZ_CHECK(is_clean(tried.copy.text, sizeof tried.copy.text));
    FUZZ_CHECK(is_clean(tried.lost, sizeof tried.lost));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct kek_pool pool;
    if (size > KEK_PROVIDER_MESSAGE_MAX) {
        return 0;
    }
    memcpy(pool.in, data, size);
    const Kek__Provider__Reply *reply = kek_message_unpack(&pool, size);
    if (reply != NULL) {
        FUZZ_CHECK(pool.arena.used <= sizeof pool.arena_bytes);
        switch (reply->result_case) {
        case KEK__PROVIDER__REPLY__RESULT_FAILED:
            read_failed(reply->failed);
            break;
        case KEK__PROVIDER__REPLY__RESULT_READY:
            read_versions(reply->ready->n_versions, reply->ready->versions);
            break;
        case KEK__PROVIDER__REPLY__RESULT_LISTED:
            read_versions(reply->listed->n_versions, reply->listed->versions);
            break;
        case KEK__PROVIDER__REPLY__RESULT_TRIED:
            read_tried(reply->tried);
            break;
        default:
            break;
        }
    }
    kek_message_wipe(&pool);
    static const uint8_t nothing[KEK_ARENA_BYTES];
    FUZZ_CHECK(pool.arena.used == 0 && memcmp(pool.arena_bytes, nothing, sizeof nothing) == 0);
    return 0;
}
