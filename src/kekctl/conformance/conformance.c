/* kekctl conformance: is a token fit for kekd?  The provider suite, on the user's own. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "junit.h"
#include "last_run.h"
#include "suite_json.h"
#include "kek/text.h"
#include "kekctl/options.h"
#include "kekctl/output.h"

#define EXISTING_MAX 2

/* Which provider is meant; false after saying what is wrong. */
static bool choose(const struct ctl *ctl, const struct kek_config *config, size_t *provider)
{
    if (ctl->provider == NULL && config->provider_count > 1) {
        ctl_say(ctl, "%zu providers are configured: name the one to be tried by --provider",
                config->provider_count);
        return false;
    }
    for (size_t i = 0; i < config->provider_count; i++) {
        if (ctl->provider == NULL || strcmp(config->providers[i].name, ctl->provider) == 0) {
            *provider = i;
            return true;
        }
    }
    ctl_say(ctl, "the configuration has no provider \"%s\"", ctl->provider);
    return false;
}

/* ---- keys that the user gives up ---- */

static bool begins_as_version(const char *label, const char *keyring)
{
    size_t len = strlen(keyring);
    return strncmp(label, keyring, len) == 0 && strncmp(label + len, ".v", 2) == 0;
}

/* Is it a key that this configuration uses? */
static bool is_configured(const struct kek_config *config, const char *name)
{
    bool used = begins_as_version(name, config->keyring);
    for (size_t i = 0; i < config->root_count; i++) {
        used = used || begins_as_version(name, config->roots[i].keyring);
    }
    for (size_t p = 0; p < config->provider_count; p++) {
        const struct kek_config_provider *provider = &config->providers[p];
        const char *key = kek_config_setting(provider, "key");
        used = used || (key != NULL && strcmp(key, name) == 0);
        for (size_t i = 0; i < provider->version_count; i++) {
            const char *label = provider->versions[i].label;
            used = used || (label != NULL && strcmp(label, name) == 0);
        }
    }
    return used;
}

/* A service is told of the key by its own setting. */
static bool take_service_key(const struct ctl *ctl, struct kek_config_provider *provider)
{
    if (ctl->existing.count > 1) {
        ctl_say(ctl, "%s: a service has one --existing-key, whose versions are tried",
                provider->name);
        return false;
    }
    for (size_t i = 0; i < provider->setting_count; i++) {
        if (strcmp(provider->settings[i].key, "key") == 0) {
            free(provider->settings[i].value);
            provider->settings[i].value = strdup(ctl->existing.list[0]);
            return provider->settings[i].value != NULL;
        }
    }
    ctl_say(ctl,
            "%s: its `key` must stand in the configuration for --existing-key to take its place",
            provider->name);
    return false;
}

/* Of a token: versions of the run's keyring under names of their own. False after saying what is
 * wrong. */
static bool take_existing(const struct ctl *ctl, struct kek_config *config, size_t provider,
                          struct kek_config_version versions[static EXISTING_MAX])
{
    bool is_token = strcmp(config->providers[provider].type, "pkcs11") == 0;
    if (ctl->existing.count > EXISTING_MAX) {
        ctl_say(ctl, "--existing-key: expected one key or two");
        return false;
    }
    for (size_t i = 0; i < ctl->existing.count; i++) {
        const char *name = ctl->existing.list[i];
        if (name[0] == '\0' || strlen(name) >= KEK_LABEL_MAX || is_configured(config, name)) {
            ctl_say(ctl, "--existing-key %.60s: %s", name,
                    is_configured(config, name)
                        ? "this configuration uses that key: name one that nobody needs"
                        : "expected the name of a key");
            return false;
        }
        if (i > 0 && strcmp(name, ctl->existing.list[0]) == 0) {
            ctl_say(ctl, "--existing-key %.60s: it is given twice; expected two keys, or one",
                    name);
            return false;
        }
        versions[i] = (struct kek_config_version){
            .number = (uint32_t)i + 1, .label = (char *)(uintptr_t)name, .state = KEK_STATE_ACTIVE};
    }
    return is_token || ctl->existing.count == 0 ||
           take_service_key(ctl, &config->providers[provider]);
}

/* ---- output ---- */

static enum ctl_exit no_memory(const struct ctl *ctl)
{
    ctl_say(ctl, "no memory for the output");
    return CTL_FAILED;
}

static enum ctl_exit list_cases(const struct ctl *ctl)
{
    static const struct column columns[] = {{"name", "CASE"}, {"title", "WHAT IS TRIED"}};
    json_t *cases = suite_json_cases();
    if (cases == NULL) {
        return no_memory(ctl);
    }
    enum ctl_exit code = output_list(ctl, cases, "cases", columns, 2);
    json_decref(cases);
    return code;
}

/* A row for people has what was found, or else what was tried. */
static bool add_words(json_t *run)
{
    size_t i;
    json_t *item;
    json_array_foreach(json_object_get(run, "cases"), i, item)
    {
        json_t *says = json_object_get(item, "says");
        if (json_string_length(says) == 0 &&
            json_object_set(item, "says", json_object_get(item, "title")) != 0) {
            return false;
        }
    }
    return true;
}

static enum ctl_exit print_table(const struct ctl *ctl, json_t *run, const struct suite *suite)
{
    static const struct column columns[] = {
        {"name", "CASE"}, {"outcome", "RESULT"}, {"took_ms", "MS"}, {"says", "FOUND"}};
    if (!add_words(run)) {
        return no_memory(ctl);
    }
    enum ctl_exit code = output_list(ctl, run, "cases", columns, 4);
    if (code != CTL_GOOD) {
        return code;
    }
    printf("\n%zu cases: %zu passed, %zu failed, %zu not supported, %zu skipped\n",
           suite_case_count, suite_count(suite, SUITE_PASS), suite_count(suite, SUITE_FAIL),
           suite_count(suite, SUITE_NOT_SUPPORTED), suite_count(suite, SUITE_SKIPPED));
    return output_end(ctl);
}

static enum ctl_exit print_junit(const struct ctl *ctl, const json_t *run)
{
    KEK_AUTO_FREE char *text = junit_text(run);
    return text == NULL ? no_memory(ctl) : output_bytes(ctl, kek_bytes_of(text));
}

/* Prints it, and puts what is whole on record. */
static enum ctl_exit conclude(const struct ctl *ctl, const struct suite *suite)
{
    struct kek_why why;
    json_t *run = suite_json(suite);
    if (run == NULL) {
        return no_memory(ctl);
    }
    const char *name = suite->config->providers[suite->provider].name;
    bool kept =
        suite_was_interrupted(suite) || last_run_write(suite->config, name, run, &why) == KEK_OK;
    if (!kept) {
        ctl_say(ctl, "the result is not on record for kekctl report: %s", why.text);
    }
    enum ctl_exit code = ctl->json == CTL_JUNIT  ? print_junit(ctl, run)
                         : ctl->json == CTL_JSON ? output_list(ctl, run, "cases", NULL, 0)
                                                 : print_table(ctl, run, suite);
    json_decref(run);
    if (suite_was_interrupted(suite)) {
        ctl_say(ctl, "interrupted");
    }
    if (code != CTL_GOOD || suite_was_interrupted(suite) || !suite->logged_in) {
        return CTL_FAILED; /* nobody could log in: nothing was tried */
    }
    if (suite->unfit[0] != '\0') {
        ctl_say(
            ctl,
            "--existing-key: %s; name AES-256 keys that nobody needs, as %s lists them, or make "
            "them there",
            suite->unfit, suite->is_service ? "the service" : "pkcs11-tool --login --list-objects");
    }
    if (!suite->good.there && suite_count(suite, SUITE_FAIL) == 0) {
        ctl_say(ctl,
                "without a key nothing was tried that it would be used for: whether it is fit is "
                "not known");
    }
    return suite_count(suite, SUITE_FAIL) > 0 || !suite->good.there || !kept ? CTL_CHECK : CTL_GOOD;
}

/* Throw-away keys are changes of the token, too. */
static bool begin(struct suite *suite)
{
    const struct kek_audit_act act = {.event = "trial",
                                      .provider = suite->config->providers[suite->provider].name};
    return login_log_begin(&suite->rig.logins, NULL, &act);
}

/* Whatever the cases found: was the token asked to the end, and is nothing left? */
static void put_end(struct suite *suite, bool ran)
{
    struct kek_why why = {.rc = KEK_OK};
    if (suite->left) {
        why = suite->left_why;
    } else if (!ran) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the results");
    } else if (suite_was_interrupted(suite)) {
        kek_fail(&why, KEK_CANCELLED, "interrupted; no key is left");
    } else if (!suite->logged_in) {
        const struct suite_result *login = &suite->results[0];
        why = (struct kek_why){.rc = KEK_DENIED, .native = login->native, .code = login->code};
        kek_text_copy(why.text, sizeof why.text, login->says);
    }
    const struct kek_audit_act act = {
        .event = "trial",
        .outcome = suite->left        ? "unclear"
                   : why.rc != KEK_OK ? "failed"
                                      : "ok",
        .provider = suite->config->providers[suite->provider].name,
        .token = suite->token.serial[0] == '\0' ? NULL : suite->token.serial,
        .why = suite->left || why.rc != KEK_OK ? &why : NULL,
    };
    login_log_end(&suite->rig.logins, NULL, &act);
}

/* False: it was not run, or not to its end. */
static bool try_it(struct suite *suite)
{
    if (!begin(suite)) {
        return false;
    }
    bool ran = suite_run(suite);
    put_end(suite, ran);
    return ran;
}

static enum ctl_exit run(const struct ctl *ctl, const struct kek_config *config, size_t provider,
                         struct kek_config_version *versions)
{
    struct suite *suite = calloc(1, sizeof *suite);
    enum ctl_exit code = CTL_FAILED;
    bool named = strcmp(config->providers[provider].type, "pkcs11") == 0;
    if (suite == NULL) {
        return no_memory(ctl);
    }
    *suite = (struct suite){
        .ctl = ctl, .config = config, .provider = provider, .existing = ctl->existing.count > 0};
    if (leftovers_begin(&suite->leftovers, &leftovers_of_conformance, ctl, config)) {
        if (rig_open(&suite->rig, ctl, config, provider, suite->leftovers.keyring, versions,
                     named ? ctl->existing.count : 0) &&
            try_it(suite)) {
            code = conclude(ctl, suite);
        }
        leftovers_end(&suite->leftovers, config, !suite->left);
        suite_done(suite);
    }
    free(suite);
    return code;
}

enum ctl_exit ctl_conformance(struct ctl *ctl)
{
    struct kek_config_version versions[EXISTING_MAX];
    size_t provider;
    if (ctl->dry_run) {
        return ctl->json == CTL_JUNIT
                   ? ctl_usage(ctl, "--dry-run lists the cases as a table or as JSON")
                   : list_cases(ctl);
    }
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL || !choose(ctl, config, &provider) ||
        !take_existing(ctl, config, provider, versions)) {
        return CTL_USAGE;
    }
    return run(ctl, config, provider, versions);
}
