/* That a version does what is asked of it, found out with that very version. */
#include "transit.h"

#include <inttypes.h>
#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

static bool digest(const struct kek_secret *data_key, uint8_t sum[static 32])
{
    struct kek_bytes bytes = kek_secret_bytes(data_key);
    return EVP_Digest(bytes.data, bytes.len, sum, NULL, EVP_sha256(), NULL) == 1;
}

static bool opens_to(struct kek_provider_session *session, const struct transit_version *version,
                     struct kek_bytes blob, const struct kek_secret *data_key,
                     struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    KEK_AUTO(kek_secret) back = NULL;
    if (!transit_decrypt(session, version, blob, &back, &answer, failure)) {
        return false;
    }
    return kek_secret_equal(back, data_key)
               ? true
               : kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_UNFIT),
                                 "version %" PRIu32 " unwraps another data key than it wrapped",
                                 version->number);
}

/* False: it was taken, or the server did not say what it says of a bad one. */
static bool is_refused(struct kek_provider_session *session, const struct transit_version *version,
                       struct kek_bytes blob, const char *what,
                       struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    KEK_AUTO(kek_secret) back = NULL;
    if (transit_decrypt(session, version, blob, &back, &answer, failure)) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_UNFIT), "version %" PRIu32 " opens %s",
                               version->number, what);
    }
    return answer.status == 400;
}

bool transit_prove(struct kek_provider_session *session, struct transit_version *version,
                   struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    struct kek_provider_wrapped wrapped, damaged;
    if (data_key == NULL) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "no random data key can be made");
    }
    if (!transit_encrypt(session, version, data_key, &wrapped, &answer, failure)) {
        return false;
    }
    struct kek_bytes blob = kek_bytes(wrapped.blob, wrapped.len);
    damaged = wrapped;
    damaged.blob[wrapped.len / 2] ^= 1;
    struct transit_version other = *version; /* another kek id is other associated data */
    other.id.bytes[0] ^= 1;
    if (!opens_to(session, version, blob, data_key, failure) ||
        !is_refused(session, version, kek_bytes(damaged.blob, damaged.len), "a damaged blob",
                    failure) ||
        !is_refused(session, &other, blob, "a blob that was made for another KEK", failure)) {
        return false;
    }
    if (!digest(data_key, version->opens_to)) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "no memory");
    }
    memcpy(version->blob, wrapped.blob, wrapped.len);
    version->blob_len = wrapped.len;
    version->proven = true;
    return true;
}

bool transit_still_opens(struct kek_provider_session *session,
                         const struct transit_version *version)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    KEK_AUTO(kek_secret) back = NULL;
    struct kek_provider_failure ignored = {0};
    uint8_t sum[32];
    return transit_decrypt(session, version, kek_bytes(version->blob, version->blob_len), &back,
                           &answer, &ignored) &&
           digest(back, sum) && CRYPTO_memcmp(sum, version->opens_to, sizeof sum) == 0;
}
