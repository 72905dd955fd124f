#include "made.h"

#include "kek/text.h"
#include "on_record.h"

const struct kek_version *made_find(const struct keys *keys, size_t provider,
                                    const struct kek_id *kek_id)
{
    const struct listing *listing = &keys->listings[provider];
    for (size_t i = 0; i < listing->count; i++) {
        if (kek_id_equal(&listing->versions[i].id, kek_id)) {
            return &listing->versions[i];
        }
    }
    return NULL;
}

enum kek_state made_state(const struct keys *keys, size_t provider, uint32_t number)
{
    return number == 1 || keys_names_keys(keys, provider) ? KEK_STATE_ACTIVE : KEK_STATE_PRE_ACTIVE;
}

enum ctl_exit made_verify(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                          enum kek_state state, const struct kek_why *failed)
{
    const struct listing *listing = &keys->listings[provider];
    const char *name = keys->config->providers[provider].name;
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    keys_list_one(keys, provider, true);
    if (listing->rc != KEK_OK) {
        ctl_say(keys->ctl, "the key may be on %s, look for its kek id %s: %s", name, id,
                kek_text_after_name(failed == NULL ? listing->why.text : failed->text, name));
        return CTL_FAILED;
    }
    const struct kek_version *made = made_find(keys, provider, kek_id);
    if (made == NULL) {
        ctl_say(keys->ctl, "no version was made: %s",
                failed == NULL ? "the token does not show it" : failed->text);
        return CTL_FAILED;
    }
    if (failed != NULL) {
        ctl_say(keys->ctl, "the key is there, though its making was not confirmed: %s",
                failed->text);
    }
    if (!made->eligible) {
        ctl_say(keys->ctl, "the key is there and kekd refuses it: %s", made->refusal);
        return CTL_CHECK;
    }
    if (kek_version_state(listing->versions, listing->count, (size_t)(made - listing->versions)) !=
        state) {
        ctl_say(keys->ctl, "the key is there, but it is not %s", kek_state_name(state));
        return CTL_CHECK;
    }
    return CTL_GOOD;
}

bool made_begin(struct keys *keys, size_t provider, uint32_t number, const struct kek_id *kek_id,
                enum kek_state state)
{
    const struct kek_audit_act act = {
        .event = "generate",
        .provider = keys->config->providers[provider].name,
        .kek_id = kek_id,
        .version = number,
        .state = kek_state_name(state),
    };
    return login_log_begin(&keys->logins, keys->audit, &act);
}

void made_on_record(const struct keys *keys, size_t provider, uint32_t number,
                    const struct kek_id *kek_id, enum kek_state state, const struct kek_why *failed)
{
    const struct listing *listing = &keys->listings[provider];
    bool known = listing->rc == KEK_OK, there = known && made_find(keys, provider, kek_id) != NULL;
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
    ctl_audit(keys->ctl, keys->audit, &act);
}
