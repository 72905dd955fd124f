#include "key_canary.h"

#include <inttypes.h>
#include <string.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "kekctl/destroy/destroy_file.h"
#include "key_views.h"

#define READ_FROM_MEMORY \
    "what it sealed is read from the memory of API servers and kekd alone, so restart neither"

/* How the providers stand to a version. */
struct standing {
    size_t answered, shown, unwrap;    /* how many did, show it, and let it unwrap */
    const struct kek_version *refused; /* one that is there, and not used; NULL: none */
};

static struct standing standing_of(const struct keys *keys, const struct kek_id *kek_id)
{
    struct standing standing = {0};
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, kek_id);
        bool shown = v != NULL && v->eligible;
        standing.refused = v != NULL && !v->eligible ? v : standing.refused;
        standing.answered += keys->listings[p].rc == KEK_OK;
        standing.shown += shown;
        standing.unwrap += shown && v->can_unwrap;
    }
    return standing;
}

/* Did key destroy suspend it, from this node? */
static bool is_quarantined(const struct keys *keys, const struct kek_id *kek_id)
{
    struct destroy_record record;
    struct kek_why why;
    return destroy_file_read(keys->config, &record, &why) == KEK_OK &&
           record.now.step != DESTROY_NONE && record.now.step != DESTROY_DESTROYED &&
           kek_id_equal(&record.now.kek_id, kek_id);
}

static void say_suspended(const struct keys *keys, const struct kek_keyring_version *version,
                          const char *id)
{
    bool quarantined = is_quarantined(keys, &version->kek_id);
    ctl_say(keys->ctl,
            "version %" PRIu32 " (kek id %s) is suspended%s; %s%s %" PRIu32
            " gives it its use back",
            version->number, id,
            quarantined ? ", since key destroy is under way: until it is destroyed, restart every "
                          "API server once, one after the other"
                        : ": it unwraps on no provider, and " READ_FROM_MEMORY
                          ", unless key destroy is under way on another node",
            quarantined ? "should anything ask for it, " : "",
            kek_command(keys->config->root, "key resume").text, version->number);
}

/* No provider lets it unwrap. */
static size_t say_closed(const struct keys *keys, const struct kek_keyring_version *version,
                         const struct standing *standing)
{
    bool all = standing->answered == keys->config->provider_count;
    char id[KEK_ID_TEXT];
    kek_id_format(&version->kek_id, id);
    if (standing->shown > 0) {
        say_suspended(keys, version, id);
        return 1;
    }
    if (standing->refused != NULL) {
        ctl_say(keys->ctl,
                "version %" PRIu32
                " (kek id %s) is there, and no provider%s uses it: %s; " READ_FROM_MEMORY,
                version->number, id, all ? "" : " that answers", standing->refused->refusal);
        return 1;
    }
    ctl_say(keys->ctl,
            "version %" PRIu32
            " (kek id %s), of which this node has a witness, is on no provider%s: " READ_FROM_MEMORY
            "; bring it back from the token's backup",
            version->number, id, all ? "" : " that answers");
    return 1;
}

enum kek_rc canary_ask(struct keys *keys, struct kek_keyring *ring, const struct kek_id *kek_id,
                       size_t provider, bool *has_witness, struct kek_why *why)
{
    enum kek_wrap_alg alg;
    struct kek_bytes wrapped;
    KEK_AUTO(kek_secret) data_key = NULL;
    *has_witness = kek_keyring_witness(ring, kek_id, &alg, &wrapped);
    if (!*has_witness) {
        return kek_fail(why, KEK_NOT_FOUND, "this node has no witness of it");
    }
    enum kek_rc rc = keys_unwrap(keys, provider, kek_id, alg, wrapped, &data_key, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = kek_keyring_proves(ring, kek_id, data_key);
    return rc == KEK_OK ? KEK_OK : kek_fail(why, rc, "it is another key");
}

/* The provider shows it as fit: does it open what it wrapped? */
static size_t say_failing(struct keys *keys, struct kek_keyring *ring,
                          const struct kek_keyring_version *version, size_t provider)
{
    struct kek_why why;
    bool has_witness;
    const char *name = keys->config->providers[provider].name;
    enum kek_rc rc = canary_ask(keys, ring, &version->kek_id, provider, &has_witness, &why);
    if (rc == KEK_OK || !has_witness) {
        return 0;
    }
    ctl_say(keys->ctl,
            "version %" PRIu32
            " on %s does not open what it wrapped: %s; mend it there, and restart "
            "neither kekd nor an API server before, since their memory may hide it",
            version->number, name, kek_text_after_name(why.text, name));
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
