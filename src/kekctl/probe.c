/* kekctl probe: what the tokens can really do. */
#include <stdio.h>

#include "keys.h"
#include "output.h"

static const char *result_of(const struct kek_provider_trial *trial)
{
    switch (trial->verdict) {
    case KEK_VERDICT_WORKS:
        return "works";
    case KEK_VERDICT_MALLEABLE:
        return trial->alg == KEK_WRAP_AES_CBC ? "unauthenticated" : "tampered";
    case KEK_VERDICT_WRONG:
        return "wrong";
    case KEK_VERDICT_REFUSED:
    case KEK_VERDICT_LOST:
        break;
    }
    return "refused";
}

static json_t *says(const struct kek_provider_trial *trial)
{
    char text[sizeof trial->text + 16];
    switch (trial->verdict) {
    case KEK_VERDICT_WORKS:
        return json_string("works");
    case KEK_VERDICT_MALLEABLE:
        return json_string(trial->alg == KEK_WRAP_AES_CBC ? "works, accepts tampered data"
                                                          : "accepts tampered data");
    case KEK_VERDICT_WRONG:
        return json_string("gives back a wrong key");
    case KEK_VERDICT_REFUSED:
    case KEK_VERDICT_LOST:
        break;
    }
    snprintf(text, sizeof text, "refused: %s", trial->text);
    return output_text(text);
}

static json_t *describe(const struct keys *keys, size_t provider,
                        const struct kek_provider_trial *trial)
{
    char type[24];
    snprintf(type, sizeof type, "0x%llx", (unsigned long long)trial->type);
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:b, s:s, s:o, s:I, s:o, s:b}", "provider",
                     keys->config->providers[provider].name, "strategy",
                     trial->encrypts ? "encrypt" : "wrap-key", "mechanism",
                     output_text(trial->mechanism), "type", type, "alg",
                     kek_wrap_alg_name(trial->alg), "advertised", trial->advertised, "result",
                     result_of(trial), "says", says(trial), "code", (json_int_t)trial->native,
                     "tried_with", output_text(trial->key), "used", trial->chosen);
}

static const char *keeps(const struct kek_provider_keeping *keeping)
{
    switch (keeping->outcome) {
    case KEK_KEEPING_KEPT:
        return "yes";
    case KEK_KEEPING_HANDED_OUT:
        return "no";
    case KEK_KEEPING_UNTRIED:
        break;
    }
    return "untried";
}

static json_t *keeps_says(const struct kek_provider_keeping *keeping)
{
    char text[sizeof keeping->text + 16];
    switch (keeping->outcome) {
    case KEK_KEEPING_KEPT:
        return json_string("yes");
    case KEK_KEEPING_HANDED_OUT:
        snprintf(text, sizeof text, "NO: %s", keeping->text);
        return output_text(text);
    case KEK_KEEPING_UNTRIED:
        break;
    }
    snprintf(text, sizeof text, "not tried: %s", keeping->text);
    return output_text(text);
}

/* The last line of a provider in the table. */
static json_t *keeping_line(const struct keys *keys, size_t provider,
                            const struct kek_provider_keeping *keeping)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s}", "provider",
                     keys->config->providers[provider].name, "strategy", "", "mechanism",
                     "keeps the KEK in", "advertised", "", "says", keeps_says(keeping), "used", "");
}

static json_t *describe_provider(const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    static const struct kek_provider_keeping none = {.outcome = KEK_KEEPING_UNTRIED};
    const struct kek_provider_keeping *keeping =
        listing->probed == NULL ? &none : &listing->probed->keeping;
    return json_pack("{s:s, s:b, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "name",
                     keys->config->providers[provider].name, "answered", listing->probed != NULL,
                     "keeps_kek", keeps(keeping), "keeps_kek_says", keeps_says(keeping),
                     "keeps_kek_code", (json_int_t)keeping->native, "serial",
                     output_text(status.serial), "model", output_text(status.model), "firmware",
                     output_text(status.firmware), "library", output_text(status.library), "error",
                     output_text(listing->rc == KEK_OK ? "" : listing->why.text));
}

/* The providers that were asked. */
static bool describe_all(const struct keys *keys, json_t *providers, json_t *trials)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        if (listing->keys == NULL) {
            continue;
        }
        if (json_array_append_new(providers, describe_provider(keys, p)) != 0) {
            return false;
        }
        for (size_t i = 0; listing->probed != NULL && i < listing->probed->trial_count; i++) {
            if (json_array_append_new(trials, describe(keys, p, &listing->probed->trials[i])) !=
                0) {
                return false;
            }
        }
        if (!keys->ctl->json && listing->probed != NULL &&
            json_array_append_new(trials, keeping_line(keys, p, &listing->probed->keeping)) != 0) {
            return false;
        }
    }
    return true;
}

static enum ctl_exit print(const struct keys *keys)
{
    static const struct column columns[] = {
        {"provider", "PROVIDER"},     {"strategy", "STRATEGY"}, {"mechanism", "MECHANISM"},
        {"advertised", "ADVERTISED"}, {"says", "RESULT"},       {"used", "USED"}};
    json_t *providers = json_array(), *trials = json_array();
    json_t *object = NULL;
    if (providers != NULL && trials != NULL && describe_all(keys, providers, trials)) {
        object = json_pack("{s:O, s:O}", "providers", providers, "trials", trials);
    }
    json_decref(providers);
    json_decref(trials);
    if (object == NULL) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list(keys->ctl, object, "trials", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}

/* Says of each token that answered what an operator should know; is it fit for use? */
static bool remark(const struct keys *keys)
{
    bool fit = true;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        const char *name = keys->config->providers[p].name;
        if (listing->keys == NULL) {
            continue;
        }
        bool used = false;
        for (size_t i = 0; listing->probed != NULL && i < listing->probed->trial_count; i++) {
            used = used || listing->probed->trials[i].chosen;
        }
        if (listing->probed != NULL && !used) {
            ctl_say(keys->ctl, "%s: nothing works as the configuration wants it (strategy)", name);
        }
        bool leaks =
            listing->probed != NULL && listing->probed->keeping.outcome == KEK_KEEPING_HANDED_OUT;
        if (leaks) {
            ctl_say(keys->ctl,
                    "%s: the token hands out a key that it shows as not extractable (%s): whoever "
                    "has its PIN can take the KEK away",
                    name, listing->probed->keeping.text);
        }
        fit = fit && used && !leaks;
    }
    return fit;
}

enum ctl_exit ctl_probe(struct ctl *ctl)
{
    KEYS_AUTO struct keys keys;
    if (!keys_open(&keys, ctl) || !keys_start(&keys, true) || keys_probe(&keys) == 0) {
        return keys.code;
    }
    enum ctl_exit code = print(&keys);
    if (code != CTL_GOOD) {
        return code;
    }
    return remark(&keys) ? CTL_GOOD : CTL_CHECK;
}
