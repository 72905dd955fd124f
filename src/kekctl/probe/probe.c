/* kekctl probe: what the tokens can really do. */
#include <stdio.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "kekctl/key/keys.h"
#include "kekctl/key/new_keyring.h"
#include "kekctl/output.h"
#include "probe_describe.h"
#include "probe_states.h"

/* The last line of a provider in the table. */
static json_t *keeping_line(const struct keys *keys, size_t provider,
                            const struct kek_provider_keeping *keeping)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s}", "provider",
                     keys->config->providers[provider].name, "strategy", "", "mechanism",
                     "keeps the KEK in", "advertised", "", "says", probe_keeping_says(keeping),
                     "used", "");
}

struct lists {
    json_t *providers, *trials, *states, *copies;
};

/* A service's new version would stay for good: none is made to try its changes by. */
static bool has_states(const struct keys *keys, size_t provider)
{
    return keys->listings[provider].probed != NULL && !keys_names_keys(keys, provider);
}

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
        if (json_array_append_new(providers, probe_describe_provider(keys, p)) != 0) {
            return false;
        }
        for (size_t i = 0; listing->probed != NULL && i < listing->probed->trial_count; i++) {
            if (json_array_append_new(
                    trials, probe_describe_trial(keys, p, &listing->probed->trials[i])) != 0) {
                return false;
            }
        }
        if (!keys->ctl->json && listing->probed != NULL &&
            json_array_append_new(trials, keeping_line(keys, p, &listing->probed->keeping)) != 0) {
            return false;
        }
        if (has_states(keys, p) &&
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
    if (code == CTL_GOOD && !keys->ctl->json &&
        json_array_size(json_object_get(object, "states")) > 0) {
        putchar('\n');
        code = output_list(keys->ctl, object, "states", state_columns,
                           sizeof state_columns / sizeof state_columns[0]);
    }
    json_decref(object);
    return code;
}

/* A token tries by keys that end with the session; a service's own key is all that there is. */
static void say_nothing_works(const struct keys *keys, size_t provider)
{
    const struct kek_provider_probed *probed = keys->listings[provider].probed;
    const char *name = keys->config->providers[provider].name;
    const bool several = keys->config->provider_count > 1;
    char other[KEK_KEYRING_NAME_TEXT], hint[NEW_KEYRING_HINT];
    if (!keys_names_keys(keys, provider)) {
        ctl_say(keys->ctl, "%s: nothing works as the configuration wants it (strategy)", name);
    } else if (probed->trial_count > 0) {
        ctl_say(keys->ctl, "%s: nothing works", name);
    } else if (probed->keeping.outcome == KEK_KEEPING_UNTRIED &&
               kek_keyring_beside(keys->config, other)) {
        new_keyring_hint(keys, hint);
        ctl_say(keys->ctl,
                "%s: %s: the service was reached and took the login, and nothing else could be "
                "tried: %s",
                name, probed->keeping.text, hint);
    } else if (probed->keeping.outcome == KEK_KEEPING_UNTRIED) {
        ctl_say(keys->ctl,
                "%s: %s: the service was reached and took the login, and nothing else could be "
                "tried; kekctl %s%s%s makes the first version",
                name, probed->keeping.text, kek_command(keys->config->root, "key generate").text,
                several ? " --provider " : "", several ? name : "");
    } else {
        ctl_say(keys->ctl, "%s: no version may seal, so none was tried", name);
    }
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
            say_nothing_works(keys, p);
        }
        bool leaks =
            listing->probed != NULL && listing->probed->keeping.outcome == KEK_KEEPING_HANDED_OUT;
        if (leaks && keys_names_keys(keys, p)) {
            ctl_say(keys->ctl, "%s: the service gives the KEK away to whoever may ask for it: %s",
                    name, listing->probed->keeping.text);
        } else if (leaks) {
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
        if (has_states(&keys, p)) {
            probe_states(ctl, keys.config, p, &states[p]);
            clean =
                clean && states[p].left[0] == '\0' && !states[p].untried && !states[p].leftovers;
            interrupted = states[p].interrupted;
            if (states[p].failed) {
                return CTL_FAILED;
            }
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
