/* Packets as a worker gets them: before and after its start, in either role. */
#include "fuzz.h"

#include <string.h>

#include "serve.h"

struct kek_provider {
    int unused;
};

struct kek_provider_session {
    int unused;
};

static struct kek_provider provider;
static struct kek_provider_session session;

/* Every second call of any kind fails. */
static bool flip(struct kek_provider_failure *failure)
{
    static unsigned calls;
    if (calls++ % 2 == 0) {
        return true;
    }
    failure->cause = KEK__PROVIDER__CAUSE__LINK;
    kek_fail(&failure->why, KEK_UNAVAILABLE, "as it happens");
    return false;
}

static bool open_token(const Kek__Provider__Hello *hello, bool officer, struct kek_provider **out,
                       Kek__Provider__Token *token, struct kek_provider_failure *failure)
{
    (void)officer;
    FUZZ_CHECK(hello->sessions >= 1 && hello->sessions <= KEK_SERVE_SESSIONS_MAX);
    FUZZ_CHECK(hello->n_versions <= KEK_PROVIDER_VERSIONS_MAX);
    token->serial = (char *)"serial";
    *out = &provider;
    return flip(failure);
}

static bool log_in(struct kek_provider *p, struct kek_provider_versions *versions,
                   enum kek_wrap_alg *alg, struct kek_provider_failure *failure)
{
    (void)p;
    versions->count = 1;
    *alg = KEK_WRAP_AES_KW;
    return flip(failure);
}

static bool open_session(struct kek_provider *p, struct kek_provider_session **out,
                         struct kek_provider_failure *failure)
{
    (void)p;
    *out = &session;
    return flip(failure);
}

static bool list(struct kek_provider_session *s, struct kek_provider_versions *versions,
                 struct kek_provider_failure *failure)
{
    (void)s;
    versions->count = KEK_PROVIDER_VERSIONS_MAX;
    return flip(failure);
}

static bool wrap(struct kek_provider_session *s, const struct kek_id *kek_id,
                 const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                 struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    FUZZ_CHECK(kek_secret_bytes(data_key).len == KEK_DATA_KEY_LEN);
    wrapped->alg = KEK_WRAP_AES_KW;
    wrapped->len = 40;
    return flip(failure);
}

static bool unwrap(struct kek_provider_session *s, const struct kek_id *kek_id, uint64_t handle,
                   enum kek_wrap_alg alg, struct kek_bytes blob, struct kek_secret **data_key,
                   struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    (void)handle;
    FUZZ_CHECK(kek_wrap_alg_fits(alg, blob.len));
    if (!flip(failure)) {
        return false;
    }
    *data_key = kek_secret_dup(kek_bytes(blob.data, 32));
    FUZZ_CHECK(*data_key != NULL);
    return true;
}

static bool generate(struct kek_provider_session *s, uint32_t number, const struct kek_id *kek_id,
                     enum kek_state state, struct kek_id *made,
                     struct kek_provider_failure *failure)
{
    (void)s;
    *made = *kek_id;
    FUZZ_CHECK(number >= 1 && (state == KEK_STATE_ACTIVE || state == KEK_STATE_PRE_ACTIVE));
    return flip(failure);
}

static bool set_state(struct kek_provider_session *s, const struct kek_id *kek_id,
                      enum kek_state state, struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    FUZZ_CHECK(state <= KEK_STATE_COMPROMISED);
    return flip(failure);
}

static bool destroy(struct kek_provider_session *s, const struct kek_id *kek_id,
                    struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    return flip(failure);
}

static bool probe(struct kek_provider_session *s, struct kek_provider_probed *probed,
                  struct kek_provider_failure *failure)
{
    (void)s;
    probed->trial_count = 1;
    return flip(failure);
}

static bool try_key(struct kek_provider_session *s, const struct kek_id *kek_id,
                    enum kek_wrap_alg alg, struct kek_bytes blob, bool copy,
                    struct kek_provider_tried *tried, struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    FUZZ_CHECK(blob.len == 0 || kek_wrap_alg_fits(alg, blob.len));
    tried->shown = copy;
    return flip(failure);
}

static const struct kek_provider_ops fakes = {
    .type = "fuzz",
    .open = open_token,
    .login = log_in,
    .session_open = open_session,
    .list = list,
    .wrap = wrap,
    .unwrap = unwrap,
    .generate = generate,
    .set_state = set_state,
    .destroy = destroy,
    .probe = probe,
    .try_key = try_key,
};

/* The first byte: 1 officer; the rest of it where the worker stands. What follows is the packet. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool locked;
    FUZZ_CHECK(kek_secret_setup(16384, &locked, NULL) == KEK_OK);
    if (size == 0 || size > KEK_PROVIDER_MESSAGE_MAX) {
        return 0;
    }
    struct kek_serve serve = {.ops = &fakes,
                              .officer = (data[0] & 1) != 0,
                              .stage = (enum kek_serve_stage)((data[0] >> 1) % 4),
                              .provider = &provider,
                              .session_count = 1,
                              .sessions = {&session}};
    KEK_AUTO_BUF struct kek_buf reply;
    kek_buf_init(&reply, KEK_PROVIDER_MESSAGE_MAX);
    struct kek_bytes packet = kek_bytes(data + 1, size - 1);
    if (serve.stage == KEK_SERVE_READY) {
        FUZZ_CHECK(kek_serve_request(&serve, &session, packet, &reply));
    } else {
        FUZZ_CHECK(kek_serve_start(&serve, packet, &reply));
    }
    Kek__Provider__Reply *message = kek__provider__reply__unpack(NULL, reply.len, reply.data);
    FUZZ_CHECK(message != NULL && message->result_case != KEK__PROVIDER__REPLY__RESULT__NOT_SET);
    kek__provider__reply__free_unpacked(message, NULL);
    return 0;
}
