/*
 * How often a KEK has wrapped by AES-GCM on this node.  Its IVs are 96 random bits, ours or the
 * token's: after 2^32 wraps under one key a repetition is no longer out of the question (NIST SP
 * 800-38D, 8.3), and one gives the authentication key away.  All nodes share that limit, so that each
 * warns at a sixteenth of it.  Only strict mode gets there.
 */
#include "keyring/ring.h"

#define WARN_AT (UINT64_C(1) << 28)
/* The count is on disk ahead of its use, so that it is never too low; a restart skips what is left. */
#define RESERVE (UINT64_C(1) << 14)

void kek_keyring_wrapped(struct kek_keyring *ring, const struct kek_id *kek_id,
                         enum kek_wrap_alg alg)
{
    struct version *version = ring_find(ring, kek_id);
    if (alg != KEK_WRAP_AES_GCM || version == NULL || ring->stopped) {
        return;
    }
    version->gcm_wraps++;
    if (version->gcm_wraps > version->gcm_reserved) {
        version->gcm_reserved = version->gcm_wraps + RESERVE;
        record_save(ring);
    }
    if (version->gcm_wraps >= WARN_AT && !version->gcm_warned) {
        version->gcm_warned = true;
        ring_notice(
            ring, KEK_LOG_WARN,
            "version %u has wrapped more than 2^28 data keys by AES-GCM on this node: a new "
            "version should take its place, or data_key.max_uses be more than 1",
            version->number);
    }
}
