/* Which envelopes may be opened here, and by which of their entries. */
#include "roots/join.h"

#include "kek/root_rules.h"

/* What all keyrings know of it: one that opens it, whatever another says of its own copy; else one that had it. */
static enum kek_keyring_knows know(const struct kek_roots *roots, const struct kek_id *kek_id)
{
    enum kek_keyring_knows best = KEK_KEYRING_UNKNOWN;
    for (size_t i = 0; i < roots->settings.count; i++) {
        enum kek_keyring_knows knows = kek_keyring_find(ring_at(roots, i), kek_id);
        if (knows == KEK_KEYRING_OPENS) {
            return knows;
        }
        if (knows == KEK_KEYRING_CLOSED ||
            (knows == KEK_KEYRING_UNSEEN && best == KEK_KEYRING_UNKNOWN)) {
            best = knows;
        }
    }
    return best;
}

/* How near that is to being opened. */
static unsigned nearness(enum kek_keyring_knows knows)
{
    static const unsigned of[] = {
        [KEK_KEYRING_CLOSED] = 0,
        [KEK_KEYRING_UNKNOWN] = 1,
        [KEK_KEYRING_UNSEEN] = 2,
        [KEK_KEYRING_OPENS] = 4,
    };
    return of[knows];
}

/* In mode `any`: of two that open, the one that does now, and by an algorithm that is its own. */
static unsigned promise(const struct kek_roots *roots, const struct kek_envelope_entry *entry,
                        enum kek_keyring_knows knows)
{
    unsigned far = nearness(knows);
    if (knows == KEK_KEYRING_OPENS) {
        struct kek_keyring *ring = kek_roots_of(roots, &entry->kek_id)->ring;
        bool now = kek_keyring_state(ring) == KEK_KEYRING_GOOD;
        far = !kek_keyring_takes(ring, &entry->kek_id, entry->alg) ? 3 : far + (now ? 1 : 0);
    } else if (knows == KEK_KEYRING_UNKNOWN) {
        far = 0; /* that it is closed, somewhere else, is the better word */
    } else if (knows == KEK_KEYRING_CLOSED) {
        far = 1;
    }
    return far;
}

enum kek_keyring_knows kek_roots_find(const struct kek_roots *roots,
                                      const struct kek_envelope *envelope, size_t *entry)
{
    bool all = envelope->mode == KEK_ENVELOPE_MODE_ALL;
    enum kek_keyring_knows found = know(roots, &envelope->entries[0].kek_id);
    size_t at = 0;
    for (size_t i = 1; i < envelope->count; i++) {
        enum kek_keyring_knows knows = know(roots, &envelope->entries[i].kek_id);
        bool decides = all ? nearness(knows) < nearness(found)
                           : promise(roots, &envelope->entries[i], knows) >
                                 promise(roots, &envelope->entries[at], found);
        if (decides) {
            found = knows;
            at = i;
        }
    }
    if (entry != NULL) {
        *entry = at;
    }
    return found;
}

static bool has(const void *arg, size_t root, const struct kek_id *kek_id)
{
    uint32_t number;
    char key_id[KEK_KEY_ID_TEXT];
    return kek_keyring_name(ring_at(arg, root), kek_id, &number, key_id);
}

/* Of two that know it. */
static bool is_nearer(const struct kek_root *one, const struct kek_root *than,
                      const struct kek_id *kek_id)
{
    unsigned near[2];
    for (size_t i = 0; i < 2; i++) {
        const struct kek_keyring *ring = i == 0 ? one->ring : than->ring;
        bool may = kek_keyring_find(ring, kek_id) == KEK_KEYRING_OPENS;
        near[i] = !may ? 0 : kek_keyring_other_unwraps(ring, 0, kek_id) ? 2 : 1;
    }
    return near[0] > near[1];
}

const struct kek_root *kek_roots_of(const struct kek_roots *roots, const struct kek_id *kek_id)
{
    const struct kek_root *all = roots->settings.roots, *found = NULL;
    for (size_t i = 0; !is_one(roots) && i < roots->settings.count; i++) {
        if (has(roots, i, kek_id) && (found == NULL || is_nearer(&all[i], found, kek_id))) {
            found = &all[i];
        }
    }
    return found != NULL ? found : &all[0];
}

enum kek_rc kek_roots_form(const struct kek_roots *roots, const struct kek_envelope *envelope,
                           struct kek_why *why)
{
    const struct kek_roots_settings *settings = &roots->settings;
    const struct kek_root_form form = kek_root_form_of(envelope);
    struct kek_root_rules rules = {.mode = settings->mode,
                                   .mode_accept = settings->mode_accept,
                                   .count = settings->count,
                                   .has = has,
                                   .arg = roots};
    for (size_t i = 0; i < settings->count; i++) {
        rules.seals[i] = settings->roots[i].seals;
        rules.needed[i] = settings->roots[i].needed;
    }
    enum kek_rc rc = kek_root_rules_check(&rules, &form, why);
    return rc == KEK_OK
               ? KEK_OK
               : kek_fail_within(why, rc, "this configuration refuses the ciphertext's envelope");
}
