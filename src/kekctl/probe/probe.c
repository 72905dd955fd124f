/* kekctl probe: what the tokens can really do. */
#include <stdio.h>

#include "kekctl/key/keys.h"
#include "kekctl/output.h"
#include "probe_states.h"

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

struct lists {
    json_t *providers, *trials, *states, *copies;
};

/* The providers that were asked. */
static bool describe_all(const struct keys *keys, const struct probe_states *states,
                         const struct lists *lists)
{
    json_t *providers = lists->providers, *trials = lists->trials;
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
        if (listing->probed != NULL &&
            !probe_states_rows(&states[p], keys->config->providers[p].name, !keys->ctl->json,
                               lists->states, lists->copies)) {
            return false;
        }
    }
    return true;
}

static enum ctl_exit print(const struct keys *keys, const struct probe_states *states)
{
    static const struct column columns[] = {
        {"provider", "PROVIDER"},     {"strategy", "STRATEGY"}, {"mechanism", "MECHANISM"},
        {"advertised", "ADVERTISED"}, {"says", "RESULT"},       {"used", "USED"}};
    static const struct column state_columns[] = {
        {"provider", "PROVIDER"}, {"change", "CHANGE"},   {"taken", "TAKEN"},
        {"enforced", "ENFORCED"}, {"running", "RUNNING"}, {"fresh", "FRESH"}};
    struct lists lists = {json_array(), json_array(), json_array(), json_array()};
    json_t *object = NULL;
    bool made = lists.providers != NULL && lists.trials != NULL && lists.states != NULL &&
                lists.copies != NULL;
    if (made && describe_all(keys, states, &lists)) {
        object = json_pack("{s:O, s:O, s:O, s:O}", "providers", lists.providers, "trials",
                           lists.trials, "states", lists.states, "copies", lists.copies);
    }
    json_decref(lists.providers);
    json_decref(lists.trials);
    json_decref(lists.states);
    json_decref(lists.copies);
    if (object == NULL) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list(keys->ctl, object, "trials", columns, sizeof columns / sizeof columns[0]);
    if (code == CTL_GOOD && !keys->ctl->json) {
        putchar('\n');
        code = output_list(keys->ctl, object, "states", state_columns,
                           sizeof state_columns / sizeof state_columns[0]);
    }
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
    static struct probe_states states[KEK_CONFIG_PROVIDERS_MAX];
    bool clean = true, interrupted = false;
    for (size_t p = 0; p < keys.config->provider_count && !interrupted; p++) {
        if (keys.listings[p].probed != NULL) {
            probe_states(ctl, keys.config, p, &states[p]);
            clean = clean && states[p].left[0] == '\0';
            interrupted = states[p].interrupted;
        }
    }
    if (interrupted) {
        ctl_say(ctl, "interrupted");
        return CTL_FAILED;
    }
    enum ctl_exit code = print(&keys, states);
    if (code != CTL_GOOD) {
        return code;
    }
    return remark(&keys) && clean ? CTL_GOOD : CTL_CHECK;
}
