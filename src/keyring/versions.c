/* What is told of each version: to metrics, audit and people. */
#include "keyring/ring.h"

#include <string.h>

bool version_was_active(const struct kek_keyring *ring, const struct version *version)
{
    const struct version *other;
    if (ring->announced && version->number <= ring->primary.generation.numbers[0]) {
        return true;
    }
    DL_FOREACH (ring->versions, other) {
        for (size_t p = 0; p < ring->source_count && other->number > version->number; p++) {
            if (other->held[p].key == KEK_KEYRING_KEY_ACTIVE) {
                return true;
            }
        }
    }
    return false;
}

size_t kek_keyring_versions(const struct kek_keyring *ring, struct kek_keyring_version *versions,
                            size_t max)
{
    const struct version *version, *primary = version_primary(ring);
    size_t count = 0;
    DL_FOREACH (ring->versions, version) {
        if (count == max) {
            break;
        }
        struct kek_keyring_version *out = &versions[count];
        *out = (struct kek_keyring_version){
            .root = ring->settings.config->root == NULL ? "" : ring->settings.config->root,
            .number = version->number,
            .kek_id = version->id,
            .primary = version == primary,
            .surplus = version->surplus,
            .in_use = version_is_in_use(ring, version),
            .asked_ms = version->asked_ms,
        };
        memcpy(out->key_id, version->key_id, sizeof out->key_id);
        history_copy(ring, version, &out->history);
        bool was = version_was_active(ring, version);
        for (size_t p = 0; p < ring->source_count; p++) {
            enum kek_keyring_key key = version->held[p].key;
            out->held[p] =
                key == KEK_KEYRING_KEY_PRE_ACTIVE && was ? KEK_KEYRING_KEY_DEACTIVATED : key;
            out->state = out->held[p] > out->state ? out->held[p] : out->state;
            out->providers += version->held[p].present;
            out->proven[p] = version->held[p].proven;
            out->providers_proven += out->proven[p];
            out->canary[p].opened_ms = version->held[p].canary.opened_ms;
            out->canary[p].fails = version_fails_on(&ring->sources[p], version) ||
                                   version_failing_worker(&ring->sources[p], version) != NULL;
        }
        if (version->compromised && out->state > KEK_KEYRING_KEY_COMPROMISED) {
            out->state = KEK_KEYRING_KEY_COMPROMISED;
        }
        count++;
    }
    return count;
}

const char *kek_keyring_root_of(const struct kek_keyring_version *versions, size_t count,
                                const struct kek_id *kek_id)
{
    const struct kek_keyring_version *found = NULL;
    for (size_t i = 0; i < count; i++) {
        if (kek_id_equal(&versions[i].kek_id, kek_id) &&
            (found == NULL || (versions[i].primary && !found->primary))) {
            found = &versions[i];
        }
    }
    return found == NULL || found->root == NULL ? "" : found->root;
}
