#include "key_canary.h"

#include <inttypes.h>
#include <string.h>

#include "kek/keyring.h"
#include "key_views.h"

#define READ_FROM_MEMORY \
    "what it sealed is read from the memory of API servers and kekd alone, so restart neither"

/* How the providers stand to a version. */
struct standing {
    size_t answered, shown, unwrap; /* how many did, show it, and let it unwrap */
};

static struct standing standing_of(const struct keys *keys, const struct kek_id *kek_id)
{
    struct standing standing = {0};
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, kek_id);
        bool shown = v != NULL && v->eligible;
        standing.answered += keys->listings[p].rc == KEK_OK;
        standing.shown += shown;
        standing.unwrap += shown && v->can_unwrap;
    }
    return standing;
}

/* No provider lets it unwrap. */
static size_t say_closed(const struct keys *keys, const struct kek_keyring_version *version,
                         const struct standing *standing)
{
    bool all = standing->answered == keys->config->provider_count;
    char id[KEK_ID_TEXT];
    kek_id_format(&version->kek_id, id);
    if (standing->shown > 0) {
        ctl_say(keys->ctl,
                "version %" PRIu32
                " (kek id %s) is suspended: it unwraps on no provider, and " READ_FROM_MEMORY
                "; key resume gives it its use back",
                version->number, id);
        return 1;
    }
    ctl_say(keys->ctl,
            "version %" PRIu32
            " (kek id %s), of which this node has a witness, is on no provider%s: " READ_FROM_MEMORY
            "; bring it back from the token's backup",
            version->number, id, all ? "" : " that answers");
    return 1;
}

/* The provider shows it as fit: does it open what it wrapped? */
static size_t say_failing(struct keys *keys, struct kek_keyring *ring,
                          const struct kek_keyring_version *version, size_t provider)
{
    enum kek_wrap_alg alg;
    struct kek_bytes wrapped;
    struct kek_why why;
    KEK_AUTO(kek_secret) data_key = NULL;
    if (!kek_keyring_witness(ring, &version->kek_id, &alg, &wrapped)) {
        return 0;
    }
    enum kek_rc rc = keys_unwrap(keys, provider, &version->kek_id, alg, wrapped, &data_key, &why);
    if (rc == KEK_OK) {
        rc = kek_keyring_proves(ring, &version->kek_id, data_key);
        kek_fail(&why, rc, "it is another key");
    }
    if (rc == KEK_OK) {
        return 0;
    }
    ctl_say(keys->ctl,
            "version %" PRIu32
            " on %s does not open what it wrapped: %s; mend it there, and restart "
            "neither kekd nor an API server before, since their memory may hide it",
            version->number, keys->config->providers[provider].name, why.text);
    return 1;
}

static size_t say_version(struct keys *keys, struct kek_keyring *ring,
                          const struct kek_keyring_version *version)
{
    struct standing standing = standing_of(keys, &version->kek_id);
    size_t found = 0;
    if (standing.unwrap == 0) {
        /* Of the primary remarks_say() speaks, and what was given up in order may be gone. */
        bool speaks = !version->primary && (version->in_use || standing.shown > 0);
        return speaks ? say_closed(keys, version, &standing) : 0;
    }
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, &version->kek_id);
        if (keys->listings[p].rc == KEK_OK && v != NULL && v->eligible && v->can_unwrap) {
            found += say_failing(keys, ring, version, p);
        }
    }
    return found;
}

size_t canary_say(struct keys *keys)
{
    struct kek_why why;
    size_t found = 0;
    KEK_AUTO(kek_keyring) ring = kek_keyring_read(keys->config, &why);
    KEK_AUTO_FREE struct kek_keyring_version *versions =
        calloc(KEK_PROVIDER_VERSIONS_MAX, sizeof *versions);
    if (ring == NULL || versions == NULL) {
        return 0;
    }
    size_t count = kek_keyring_versions(ring, versions, KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        found += say_version(keys, ring, &versions[i]);
    }
    return found;
}
