/* kekctl audit generate: the key that MACs the audit log's chain, made in a token. */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "kekctl/key/made.h"
#include "kekctl/key/on_record.h"
#include "kekctl/output.h"

static bool choose(struct keys *keys, size_t *provider)
{
    *provider = 0;
    if (keys->ctl->provider != NULL) {
        return keys_named(keys, provider);
    }
    if (keys->config->provider_count > 1) {
        ctl_say(keys->ctl,
                "%zu providers are configured: name one by --provider; a second one with a key of "
                "its own makes MACs while the first is away",
                keys->config->provider_count);
        keys->code = CTL_USAGE;
        return false;
    }
    return true;
}

static enum ctl_exit print(const struct keys *keys, const char *provider, const char *id)
{
    static const struct column columns[] = {{"mac_key", "mac_key"}, {"provider", "provider"}};
    json_t *object = json_pack("{s:s, s:s}", "mac_key", id, "provider", provider);
    if (object == NULL) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(keys->ctl, object, columns, 2);
    json_decref(object);
    return code;
}

enum ctl_exit ctl_audit_generate(struct ctl *ctl)
{
    KEYS_AUTO struct keys keys;
    size_t provider;
    struct kek_id key_id;
    struct kek_why why = {.rc = KEK_OK};
    char id[KEK_ID_TEXT];
    if (!keys_open(&keys, ctl) || !choose(&keys, &provider) ||
        !ctl_audit_open(ctl, keys.config, &keys.audit) || !made_for_kekd(&keys, provider) ||
        !keys_start(&keys, true)) {
        return keys.code;
    }
    if (getentropy(key_id.bytes, sizeof key_id.bytes) != 0) {
        ctl_say(ctl, "no random numbers: %s", strerror(errno));
        return CTL_FAILED;
    }
    kek_id_format(&key_id, id);
    const char *name = keys.config->providers[provider].name;
    const struct kek_audit_act begun = {.event = "audit-key", .provider = name, .mac_key = &key_id};
    if (!login_log_begin(&keys.logins, keys.audit, &begun)) {
        return CTL_FAILED;
    }
    enum kek_rc rc = keys_make_audit_key(&keys, provider, &key_id, &why);
    /* Where no answer came, a second run says whether the key is there. */
    bool unclear = rc == KEK_UNAVAILABLE || rc == KEK_DEADLINE;
    const struct kek_audit_act act = {.event = "audit-key",
                                      .outcome = rc == KEK_OK ? "ok"
                                                 : unclear    ? "unclear"
                                                              : "failed",
                                      .provider = name,
                                      .mac_key = &key_id,
                                      .why = rc == KEK_OK ? NULL : &why};
    ctl_audit(ctl, keys.audit, &act);
    if (rc != KEK_OK) {
        ctl_say(ctl, "no key was made%s: %s", unclear ? ", as far as is known" : "", why.text);
        return CTL_FAILED;
    }
    return print(&keys, name, id);
}
