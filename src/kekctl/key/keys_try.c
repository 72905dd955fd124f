/* Does a provider's key do its work?  Data keys through a token and back, of which nothing stays. */
#include <string.h>

#include "kek/clock.h"
#include "keys.h"

struct unwrapping {
    bool over;
    enum kek_rc rc;
    struct kek_why why;
    struct kek_secret *data_key;
};

static void unwrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                      const struct kek_why *why)
{
    struct unwrapping *unwrapping = arg;
    unwrapping->over = true;
    unwrapping->rc = rc;
    if (rc == KEK_OK) {
        unwrapping->data_key = KEK_STEAL(result->data_key);
    } else {
        unwrapping->why = *why;
    }
}

enum kek_rc keys_unwrap(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                        enum kek_wrap_alg alg, struct kek_bytes wrapped,
                        struct kek_secret **data_key, struct kek_why *why)
{
    const struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = provider,
        .kek_id = *kek_id,
        .alg = alg,
        .blob = wrapped,
        .deadline_ms = kek_clock_ms() + 2 * keys->config->providers[provider].timeout_ms,
    };
    struct unwrapping unwrapping = {.rc = KEK_OK};
    if (kek_pool_submit(keys->pool, &request, unwrapped, &unwrapping, why) == NULL) {
        return why->rc;
    }
    while (!unwrapping.over) {
        (void)uv_run(&keys->loop, UV_RUN_ONCE);
    }
    if (unwrapping.rc == KEK_OK) {
        *data_key = unwrapping.data_key;
    } else {
        *why = unwrapping.why;
    }
    return unwrapping.rc;
}

struct wrapping {
    bool over;
    enum kek_rc rc;
    struct kek_why why;
    enum kek_wrap_alg alg;
    size_t len;
    uint8_t blob[KEK_WRAPPED_MAX];
};

static void wrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                    const struct kek_why *why)
{
    struct wrapping *wrapping = arg;
    wrapping->over = true;
    wrapping->rc = rc;
    if (rc != KEK_OK) {
        wrapping->why = *why;
        return;
    }
    wrapping->alg = result->alg;
    wrapping->len = result->blob.len;
    memcpy(wrapping->blob, result->blob.data, result->blob.len);
}

static enum kek_rc wrap(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                        const struct kek_secret *data_key, struct wrapping *wrapping)
{
    const struct kek_pool_request request = {
        .op = KEK_POOL_WRAP,
        .provider = provider,
        .kek_id = *kek_id,
        .data_key = data_key,
        .deadline_ms = kek_clock_ms() + 2 * keys->config->providers[provider].timeout_ms,
    };
    if (kek_pool_submit(keys->pool, &request, wrapped, wrapping, &wrapping->why) == NULL) {
        return wrapping->why.rc;
    }
    while (!wrapping->over) {
        (void)uv_run(&keys->loop, UV_RUN_ONCE);
    }
    return wrapping->rc;
}

enum kek_rc keys_round_trip(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                            enum kek_wrap_alg *alg, struct kek_why *why)
{
    struct wrapping wrapping = {.over = false};
    KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    KEK_AUTO(kek_secret) back = NULL;
    if (data_key == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no locked memory for a data key");
    }
    enum kek_rc rc = wrap(keys, provider, kek_id, data_key, &wrapping);
    if (rc != KEK_OK) {
        *why = wrapping.why;
        return rc;
    }
    rc = keys_unwrap(keys, provider, kek_id, wrapping.alg, kek_bytes(wrapping.blob, wrapping.len),
                     &back, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (!kek_secret_equal(data_key, back)) {
        return kek_fail(why, KEK_DAMAGED, "another data key came back than was wrapped");
    }
    *alg = wrapping.alg;
    return KEK_OK;
}
