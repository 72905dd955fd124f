/* kekctl key generate: the next version of the keyring, made in the token. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "changes.h"
#include "on_record.h"
#include "key_remarks.h"
#include "made.h"
#include "new_keyring.h"
#include "kekctl/output.h"

/* Which provider is to make the key. */
static bool choose(struct keys *keys, size_t *provider)
{
    const struct kek_config *config = keys->config;
    const char *name = keys->ctl->provider;
    keys->code = CTL_USAGE;
    if (name == NULL && config->provider_count > 1) {
        ctl_say(keys->ctl,
                "%zu providers hold this keyring, and each would make a key of its own: name one "
                "by --provider, then bring its key to the others by the vendor's replication",
                config->provider_count);
        return false;
    }
    size_t i = 0;
    if (name != NULL && !keys_named(keys, &i)) {
        return false;
    }
    if (config->providers[i].version_count > 0) {
        ctl_say(keys->ctl,
                "the keys of %s stand in the configuration (versions): make this one with the "
                "vendor's tools and add it there",
                config->providers[i].name);
        return false;
    }
    *provider = i;
    keys->code = CTL_FAILED;
    return true;
}

/* One above the highest number anywhere, also of keys that nobody would use: their label is taken. */
static bool next_number(struct keys *keys, uint32_t *number)
{
    uint32_t highest = 0;
    if (keys_list(keys, true) < keys->config->provider_count) {
        ctl_say(keys->ctl, "no key was made: without every provider's answer, the next version's "
                           "number is not known");
        return false;
    }
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        for (size_t i = 0; i < keys->listings[p].count; i++) {
            uint32_t n = keys->listings[p].versions[i].number;
            highest = n > highest ? n : highest;
        }
    }
    if (highest == UINT32_MAX) {
        ctl_say(keys->ctl, "no key was made: the numbers have come to their end");
        return false;
    }
    *number = highest + 1;
    return true;
}

/* A new version beside a lost primary would be taken for a good one, and hide what is lost. */
static bool nothing_is_lost(const struct keys *keys)
{
    struct kek_generation last;
    struct kek_why why;
    char id[KEK_ID_TEXT];
    switch (remarks_primary(keys, &last, &why)) {
    case REMARKS_PRIMARY_NONE:
    case REMARKS_PRIMARY_THERE:
        return true;
    case REMARKS_PRIMARY_UNREAD:
        ctl_say(keys->ctl,
                "no key was made: which version this node announced last is not known: %s",
                why.text);
        return false;
    case REMARKS_PRIMARY_GONE:
    case REMARKS_PRIMARY_CLOSED:
        break;
    }
    kek_id_format(&last.kek_ids[0], id);
    ctl_say(keys->ctl,
            "no key was made: no provider opens what version %" PRIu32 " (kek id %s) sealed, which "
            "this node announced last, and no new key will; restore that one, or, if it is given "
            "up for good, move %s/%s.json away first",
            last.numbers[0], id, keys->config->state_dir, keys->config->keyring);
    return false;
}

/* Two that look for the next number at once would both find it free. */
static bool take_lock(const struct keys *keys, struct kek_lock *lock)
{
    struct kek_why why;
    if (changes_lock(keys->config, lock, &why) && changes_no_rotation(keys->config, &why)) {
        return true;
    }
    ctl_say(keys->ctl, "no key was made: %s", why.text);
    return false;
}

static enum ctl_exit print(const struct keys *keys, size_t provider, const struct kek_id *kek_id)
{
    static const struct column columns[] = {
        {"version", "version"}, {"kek_id", "kek_id"}, {"state", "state"}, {"provider", "provider"}};
    const struct listing *listing = &keys->listings[provider];
    const struct kek_version *made = made_find(keys, provider, kek_id);
    size_t i = (size_t)(made - listing->versions);
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    json_t *object =
        json_pack("{s:I, s:s, s:s, s:s}", "version", (json_int_t)made->number, "kek_id", id,
                  "state", kek_state_name(kek_version_state(listing->versions, listing->count, i)),
                  "provider", keys->config->providers[provider].name);
    if (object == NULL) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(keys->ctl, object, columns, 4);
    json_decref(object);
    return code;
}

enum ctl_exit ctl_key_generate(struct ctl *ctl)
{
    KEK_AUTO_LOCK struct kek_lock lock = KEK_LOCK_NONE;
    KEYS_AUTO struct keys keys;
    size_t provider;
    uint32_t number;
    if (!keys_open(&keys, ctl) || !choose(&keys, &provider) ||
        !new_keyring_is_meant(&keys, "no key was made") ||
        !ctl_audit_open(ctl, keys.config, &keys.audit) || !made_for_kekd(&keys, provider) ||
        !keys_start(&keys, true) || !take_lock(&keys, &lock) || !next_number(&keys, &number) ||
        !nothing_is_lost(&keys)) {
        return keys.code;
    }
    struct kek_id kek_id;
    if (getentropy(kek_id.bytes, sizeof kek_id.bytes) != 0) {
        ctl_say(ctl, "no random numbers: %s", strerror(errno));
        return CTL_FAILED;
    }
    enum kek_state state = made_state(&keys, provider, number);
    struct kek_why why = {.rc = KEK_OK};
    if (!made_begin(&keys, provider, number, &kek_id, state)) {
        return CTL_FAILED;
    }
    enum kek_rc rc = keys_generate(&keys, provider, number, &kek_id, state, &why);
    const struct kek_why *failed = rc == KEK_OK ? NULL : &why;
    enum ctl_exit code = made_verify(&keys, provider, &kek_id, state, failed);
    made_on_record(&keys, provider, number, &kek_id, state, failed);
    if (code != CTL_FAILED && print(&keys, provider, &kek_id) != CTL_GOOD) {
        return CTL_FAILED;
    }
    if (code == CTL_GOOD && keys.config->provider_count > 1) {
        ctl_say(ctl, "now bring this key to the other providers by the vendor's replication");
    }
    return code;
}
