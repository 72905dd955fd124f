/* Wrap and Unwrap, and what a refusal of either means. */
#include "transit.h"

#include <inttypes.h>
#include <string.h>

/* ---- what a 400 means: the server says much the same of a closed version, one that is gone, and a bad blob ---- */

static bool is_closed(const struct kek_provider_session *session,
                      const struct transit_version *version, bool wraps,
                      struct kek_provider_failure *failure)
{
    const struct transit_key *key = &session->key;
    if (key->soft_deleted) {
        return !kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                                "key %s is soft-deleted: it can be restored",
                                session->provider->settings.key);
    }
    if (version->number < key->min_decryption) {
        return !kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                                "version %" PRIu32 " is closed by min_decryption_version %" PRIu32,
                                version->number, key->min_decryption);
    }
    if (wraps && version->number < key->min_encryption) {
        return !kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                                "version %" PRIu32
                                " wraps no more: min_encryption_version is %" PRIu32,
                                version->number, key->min_encryption);
    }
    return false;
}

/* After a 400: looks at the key anew. True: the key explains it, and failure says how. `version` is the version as it
 * is now, NULL if it is gone. */
static bool explain(struct kek_provider_session *session, const struct kek_id *kek_id, bool wraps,
                    struct transit_version **version, struct kek_provider_failure *failure)
{
    struct kek_provider_failure look = {0};
    if (!transit_look(session, &look)) {
        *failure = look;
        return true;
    }
    *version = transit_find(session, kek_id);
    if (*version == NULL) {
        (void)kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_MISSING),
                              "key %s has no version with this kek id any more",
                              session->provider->settings.key);
        return true;
    }
    return is_closed(session, *version, wraps, failure);
}

static bool may(const struct kek_provider_session *session, const struct transit_version *version,
                bool wraps)
{
    return wraps ? transit_may_wrap(session, version) : transit_may_unwrap(session, version);
}

/* The version, if it may do it; what this session knows of one that it would refuse may be old. NULL: failure says
 * why not. */
static struct transit_version *able(struct kek_provider_session *session,
                                    const struct kek_id *kek_id, bool wraps,
                                    struct kek_provider_failure *failure)
{
    struct transit_version *version = transit_need(session, kek_id, failure);
    if (version != NULL && !may(session, version, wraps)) {
        version = transit_look(session, failure) ? transit_need(session, kek_id, failure) : NULL;
    }
    if (version == NULL || may(session, version, wraps)) {
        return version;
    }
    if (!is_closed(session, version, wraps, failure)) {
        (void)kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                              "versions: does not let version %" PRIu32 " %s", version->number,
                              wraps ? "wrap" : "unwrap");
    }
    return NULL;
}

bool transit_wrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                  const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                  struct kek_provider_failure *failure)
{
    transit_begin(session);
    struct transit_version *version = able(session, kek_id, true, failure);
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    if (version == NULL) {
        return false;
    }
    if (transit_encrypt(session, version, data_key, wrapped, &answer, failure)) {
        return true;
    }
    if (answer.status == 400) {
        (void)explain(session, kek_id, true, &version, failure);
    }
    return false;
}

/* A blob that another version of the same key, or somebody else, made is refused in the same words as one that is
 * damaged; what tells it from a server in trouble is that what this version wrapped before still opens. */
static bool judge_blob(struct kek_provider_session *session, const struct transit_version *version,
                       const struct kek_bridge_answer *answer, struct kek_provider_failure *failure)
{
    char said[200];
    transit_words(answer, session->line.line, said, sizeof said);
    bool known = version->blob_len > 0;
    bool bad = known ? transit_still_opens(session, version)
                     : strstr(said, "authentication failed") != NULL ||
                           strstr(said, "invalid ciphertext") != NULL;
    if (bad) {
        failure->cause = CAUSE(DATA);
        failure->why.rc = KEK_DAMAGED;
    }
    return false;
}

bool transit_unwrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                    uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_provider_failure *failure)
{
    (void)handle; /* a wrap gives none: a version is named in each call */
    if (alg != KEK_WRAP_TRANSIT) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(DATA), "Transit never wraps by %s",
                               kek_wrap_alg_name(alg));
    }
    transit_begin(session);
    struct transit_version *version = able(session, kek_id, false, failure);
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    if (version == NULL) {
        return false;
    }
    if (transit_decrypt(session, version, blob, data_key, &answer, failure)) {
        return true;
    }
    if (answer.status != 400 || explain(session, kek_id, false, &version, failure)) {
        return false;
    }
    return judge_blob(session, version, &answer, failure);
}
