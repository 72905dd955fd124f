/* kekctl key generate: the next version of the keyring, made in the token. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "on_record.h"
#include "key_remarks.h"
#include "output.h"

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

static size_t find(const struct listing *listing, const struct kek_id *kek_id)
{
    size_t i = 0;
    while (i < listing->count && !kek_id_equal(&listing->versions[i].id, kek_id)) {
        i++;
    }
    return i;
}

static enum ctl_exit print(const struct keys *keys, size_t provider, size_t i)
{
    static const struct column columns[] = {
        {"version", "version"}, {"kek_id", "kek_id"}, {"state", "state"}, {"provider", "provider"}};
    const struct listing *listing = &keys->listings[provider];
    char id[KEK_ID_TEXT];
    kek_id_format(&listing->versions[i].id, id);
    json_t *object = json_pack(
        "{s:I, s:s, s:s, s:s}", "version", (json_int_t)listing->versions[i].number, "kek_id", id,
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

/* Is the new key on the token, and as it must be? `failed`: generating it did not end well. */
static enum ctl_exit verify(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                            enum kek_state state, const struct kek_why *failed)
{
    const struct listing *listing = &keys->listings[provider];
    const char *name = keys->config->providers[provider].name;
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    keys_list_one(keys, provider, true);
    if (listing->rc != KEK_OK) {
        ctl_say(keys->ctl, "the key may be on %s, look for its kek id %s: %s", name, id,
                failed == NULL ? listing->why.text : failed->text);
        return CTL_FAILED;
    }
    size_t i = find(listing, kek_id);
    if (i == listing->count) {
        ctl_say(keys->ctl, "no version was made: %s",
                failed == NULL ? "the token does not show it" : failed->text);
        return CTL_FAILED;
    }
    if (failed != NULL) {
        ctl_say(keys->ctl, "the key is there, though its making was not confirmed: %s",
                failed->text);
    }
    enum ctl_exit code = print(keys, provider, i);
    if (code == CTL_GOOD && !listing->versions[i].eligible) {
        ctl_say(keys->ctl, "the key is there and kekd refuses it: %s",
                listing->versions[i].refusal);
        return CTL_CHECK;
    }
    if (code == CTL_GOOD && kek_version_state(listing->versions, listing->count, i) != state) {
        ctl_say(keys->ctl, "the key is there, but it is not %s", kek_state_name(state));
        return CTL_CHECK;
    }
    return code;
}

/* The key is there, it is not, or the token did not say. */
static bool put_on_record(const struct keys *keys, size_t provider, uint32_t number,
                          const struct kek_id *kek_id, enum kek_state state,
                          const struct kek_why *failed)
{
    const struct listing *listing = &keys->listings[provider];
    bool known = listing->rc == KEK_OK, there = known && find(listing, kek_id) < listing->count;
    const struct kek_audit_act act = {
        .event = "generate",
        .outcome = there   ? "ok"
                   : known ? "failed"
                           : "unclear",
        .provider = keys->config->providers[provider].name,
        .kek_id = kek_id,
        .version = number,
        .state = kek_state_name(state),
        .why = there            ? NULL
               : failed != NULL ? failed
               : known          ? NULL
                                : &listing->why,
    };
    return ctl_audit(keys->ctl, keys->audit, &act);
}

enum ctl_exit ctl_key_generate(struct ctl *ctl)
{
    KEYS_AUTO struct keys keys;
    size_t provider;
    uint32_t number;
    if (!keys_open(&keys, ctl) || !choose(&keys, &provider) ||
        !ctl_audit_open(ctl, keys.config, &keys.audit) || !keys_start(&keys, true) ||
        !next_number(&keys, &number) || !nothing_is_lost(&keys)) {
        return keys.code;
    }
    struct kek_id kek_id;
    if (getentropy(kek_id.bytes, sizeof kek_id.bytes) != 0) {
        ctl_say(ctl, "no random numbers: %s", strerror(errno));
        return CTL_FAILED;
    }
    enum kek_state state = number == 1 ? KEK_STATE_ACTIVE : KEK_STATE_PRE_ACTIVE;
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc = keys_generate(&keys, provider, number, &kek_id, state, &why);
    const struct kek_why *failed = rc == KEK_OK ? NULL : &why;
    enum ctl_exit code = verify(&keys, provider, &kek_id, state, failed);
    if (!put_on_record(&keys, provider, number, &kek_id, state, failed) && code == CTL_GOOD) {
        code = CTL_CHECK;
    }
    if (code == CTL_GOOD && keys.config->provider_count > 1) {
        ctl_say(ctl, "now bring this key to the other providers by the vendor's replication");
    }
    return code;
}
