/* What a worker of role officer answers besides: changes of keys, and looks at them. */
#include "serve.h"

#include <stdlib.h>

/* The end of an officer operation. `made`: of a key that is new; else NULL. */
static bool answer_done(uint64_t id, bool good, const struct kek_id *made,
                        const struct kek_provider_failure *failure, struct kek_buf *reply)
{
    if (!good) {
        return kek_serve_message_failed(reply, id, failure);
    }
    Kek__Provider__Done done = KEK__PROVIDER__DONE__INIT;
    if (made != NULL) {
        done.kek_id.data = (uint8_t *)(uintptr_t)made->bytes;
        done.kek_id.len = sizeof made->bytes;
    }
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_DONE;
    message.done = &done;
    return kek_serve_message_reply(reply, &message);
}

static bool state_of(Kek__Provider__State wire, enum kek_state *state)
{
    switch (wire) {
    case KEK__PROVIDER__STATE__PRE_ACTIVE:
        *state = KEK_STATE_PRE_ACTIVE;
        return true;
    case KEK__PROVIDER__STATE__ACTIVE:
        *state = KEK_STATE_ACTIVE;
        return true;
    case KEK__PROVIDER__STATE__DEACTIVATED:
        *state = KEK_STATE_DEACTIVATED;
        return true;
    case KEK__PROVIDER__STATE__SUSPENDED:
        *state = KEK_STATE_SUSPENDED;
        return true;
    case KEK__PROVIDER__STATE__COMPROMISED:
        *state = KEK_STATE_COMPROMISED;
        return true;
    default:
        return false;
    }
}

static bool answer_audit_key(const struct kek_serve *serve, struct kek_provider_session *session,
                             uint64_t id, const Kek__Provider__Generate *generate,
                             struct kek_buf *reply)
{
    struct kek_id key_id;
    struct kek_provider_failure failure = {0};
    if (!kek_serve_take_id(generate->kek_id, &key_id) || generate->number != 0 ||
        generate->state != 0) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     KEK_SERVE_BAD_ID
                                     ", and the audit log's key has no number and no state");
    }
    if (serve->ops->make_audit_key == NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                                     KEK_SERVE_NO_AUDIT_KEYS);
    }
    bool good = serve->ops->make_audit_key(session, &key_id, &failure);
    return answer_done(id, good, &key_id, &failure, reply);
}

static bool answer_change(const struct kek_serve *serve, struct kek_provider_session *session,
                          const Kek__Provider__Request *request, struct kek_buf *reply)
{
    struct kek_id kek_id, made, *new_id = NULL;
    enum kek_state state;
    struct kek_provider_failure failure = {0};
    bool good;
    switch (request->op_case) {
    case KEK__PROVIDER__REQUEST__OP_GENERATE:
        if (!kek_serve_take_id(request->generate->kek_id, &kek_id) ||
            request->generate->number == 0 || !state_of(request->generate->state, &state) ||
            (state != KEK_STATE_ACTIVE && state != KEK_STATE_PRE_ACTIVE)) {
            return kek_serve_refuse_with(
                reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                KEK_SERVE_BAD_ID ", a number of at least 1, and starts active or pre-active");
        }
        good = serve->ops->generate(session, request->generate->number, &kek_id, state, &made,
                                    &failure);
        new_id = &made;
        break;
    case KEK__PROVIDER__REQUEST__OP_SET_STATE:
        if (!kek_serve_take_id(request->set_state->kek_id, &kek_id) ||
            !state_of(request->set_state->state, &state)) {
            return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                         KEK_SERVE_BAD_ID
                                         ", and its state is one that this worker knows");
        }
        good = serve->ops->set_state(session, &kek_id, state, &failure);
        break;
    default:
        if (!kek_serve_take_id(request->destroy->kek_id, &kek_id)) {
            return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                         KEK_SERVE_BAD_ID);
        }
        good = serve->ops->destroy(session, &kek_id, &failure);
        break;
    }
    return answer_done(request->id, good, new_id, &failure, reply);
}

static bool answer_probe(const struct kek_serve *serve, struct kek_provider_session *session,
                         uint64_t id, struct kek_buf *reply)
{
    struct kek_provider_probed probed = {0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->probe(session, &probed, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_probed(reply, id, &probed);
}

static bool answer_describe(const struct kek_serve *serve, struct kek_provider_session *session,
                            uint64_t id, const Kek__Provider__Describe *describe,
                            struct kek_buf *reply)
{
    KEK_AUTO_FREE struct kek_provider_described *described = calloc(1, sizeof *described);
    struct kek_provider_failure failure = {0};
    struct kek_bytes name = kek_bytes(describe->name.data, describe->name.len);
    if (name.len == 0 || name.len > KEK_PROVIDER_NAME_MAX) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     "a key's name has 1 to 128 bytes");
    }
    if (described == NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BUSY,
                                     "no memory for an answer");
    }
    if (!serve->ops->describe(session, name, describe->skip, described, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_described(reply, id, described);
}

static bool answer_attest(const struct kek_serve *serve, struct kek_provider_session *session,
                          uint64_t id, const Kek__Provider__Attest *attest, struct kek_buf *reply)
{
    struct kek_id kek_id;
    if (!kek_serve_take_id(attest->kek_id, &kek_id)) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     KEK_SERVE_BAD_ID);
    }
    if (serve->ops->attest == NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                                     "a provider of this type has no statement about its keys");
    }
    KEK_AUTO_FREE struct kek_provider_attested *attested = calloc(1, sizeof *attested);
    struct kek_provider_failure failure = {0};
    if (attested == NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BUSY,
                                     "no memory for an answer");
    }
    if (!serve->ops->attest(session, &kek_id, attested, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_attested(reply, id, attest->skip, attested);
}

static bool answer_try_key(const struct kek_serve *serve, struct kek_provider_session *session,
                           uint64_t id, const Kek__Provider__TryKey *wanted, struct kek_buf *reply)
{
    struct kek_id kek_id;
    enum kek_wrap_alg alg = (enum kek_wrap_alg)wanted->alg;
    size_t len = wanted->blob.len;
    if (!kek_serve_take_id(wanted->kek_id, &kek_id) || !kek_wrap_alg_known(alg) ||
        (len > 0 && !kek_wrap_alg_fits(alg, len))) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     KEK_SERVE_BAD_ID
                                     ", and a blob is of a known algorithm and of its length");
    }
    if (serve->ops->try_key == NULL) {
        return kek_serve_refuse_with(
            reply, id, KEK__PROVIDER__CAUSE__UNSUPPORTED,
            "the service itself holds a key to its state: there is nothing to try");
    }
    struct kek_provider_tried tried = {0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->try_key(session, &kek_id, alg, kek_bytes(wanted->blob.data, len), wanted->copy,
                             &tried, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_tried(reply, id, &tried);
}

bool kek_serve_officer(const struct kek_serve *serve, struct kek_provider_session *session,
                       const Kek__Provider__Request *request, struct kek_buf *reply)
{
    switch (request->op_case) {
    case KEK__PROVIDER__REQUEST__OP_PROBE:
        return answer_probe(serve, session, request->id, reply);
    case KEK__PROVIDER__REQUEST__OP_DESCRIBE:
        return answer_describe(serve, session, request->id, request->describe, reply);
    case KEK__PROVIDER__REQUEST__OP_TRY_KEY:
        return answer_try_key(serve, session, request->id, request->try_key, reply);
    case KEK__PROVIDER__REQUEST__OP_ATTEST:
        return answer_attest(serve, session, request->id, request->attest, reply);
    case KEK__PROVIDER__REQUEST__OP_GENERATE:
        if (request->generate->audit) {
            return answer_audit_key(serve, session, request->id, request->generate, reply);
        }
        return answer_change(serve, session, request, reply);
    default:
        return answer_change(serve, session, request, reply);
    }
}
