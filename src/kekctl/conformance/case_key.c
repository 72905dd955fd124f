/* Logins, what was left, and keys as such: made, listed, kept inside, destroyed. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "suite.h"

static const char *const officers_word = "an officer's process";

static void list(struct suite *suite, enum rig_role role, bool fresh,
                 const struct rig_answer **answer)
{
    struct kek_pool_request request = {.op = KEK_POOL_LIST, .fresh = fresh};
    *answer = rig_ask(&suite->rig, role, &request);
}

void case_login(struct suite *suite, struct suite_result *result)
{
    const struct rig_answer *answer;
    struct kek_pool_provider *token = &suite->token;
    list(suite, RIG_OFFICER, false, &answer);
    if (answer->rc != KEK_OK) {
        suite_refused(result, officers_word, &answer->why);
        return;
    }
    rig_status(&suite->rig, RIG_OFFICER, token);
    suite->is_service = token->names_keys;
    list(suite, RIG_SERVE, false, &answer);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "a process as kekd's", &answer->why);
        return;
    }
    suite->logged_in = true;
    suite_pass(result, "%s%s%s%s%s%s%s%s", token->label[0] == '\0' ? "" : "token ", token->label,
               token->serial[0] == '\0' ? "" : ", serial ", token->serial,
               token->model[0] == '\0' ? "" : ", ", token->model,
               token->firmware[0] == '\0' ? "" : ", firmware ", token->firmware);
}

/* An officer that sees keys of its keyring is not told of others: then one that has none is asked. */
static void remove_leftovers(struct suite *suite, struct leftovers_found *found)
{
    struct rig own;
    if (!suite->existing) {
        leftovers_remove(&suite->leftovers, &suite->rig, suite->config, suite->provider, found);
        return;
    }
    *found = (struct leftovers_found){.stuck = "no workers to look for it"};
    if (rig_open(&own, suite->ctl, suite->config, suite->provider, suite->leftovers.keyring, NULL,
                 0)) {
        leftovers_remove(&suite->leftovers, &own, suite->config, suite->provider, found);
    }
    rig_close(&own);
    rig_take_signals(&suite->rig);
}

void case_leftovers(struct suite *suite, struct suite_result *result)
{
    struct leftovers_found found;
    remove_leftovers(suite, &found);
    if (suite_was_interrupted(suite)) {
        suite_skip(result, "interrupted");
        return;
    }
    if (found.stuck[0] != '\0') {
        suite_fail(result, "%s", found.stuck);
        suite_blame(result, &found.why);
        return;
    }
    if (found.removed > 0) {
        suite_pass(result, "keys of a run that was cut off, destroyed now: %zu", found.removed);
    }
    if (found.others[0] != '\0') {
        suite_also(result,
                   "keys of a run that is not on record here and began within the last day are "
                   "left alone: %s",
                   found.others);
    }
    if (found.kept[0] != '\0') {
        suite_also(result, "left alone: %s", found.kept);
    }
    if (found.unseen) {
        suite_also(result, "more keyrings of such runs may have keys on the token than were "
                           "looked at");
    }
    if (result->says[0] == '\0' && found.under_way > 0) {
        suite_pass(result, "another run is under way on this node");
    }
    if (result->says[0] == '\0') {
        suite_pass(result, "there was none");
    }
}

/* ---- making ---- */

static bool generate(struct suite *suite, uint32_t number, struct suite_key *key,
                     struct suite_result *result)
{
    struct kek_why why;
    if (!leftovers_id(&key->id)) {
        suite_fail(result, "no random numbers");
        return false;
    }
    if (leftovers_record(&suite->leftovers, suite->config, &suite->token, &why) != KEK_OK) {
        suite_skip(result, "no key is made that is not on record: %s", why.text);
        return false;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_GENERATE, .kek_id = key->id, .number = number, .state = KEK_STATE_ACTIVE};
    suite->asked = true;
    const struct rig_answer *answer = rig_ask(&suite->rig, RIG_OFFICER, &request);
    if (answer->rc != KEK_OK) {
        suite_declined(result, "making a key", &answer->why);
        return false;
    }
    *key = (struct suite_key){.there = true, .id = key->id, .state = KEK_STATE_ACTIVE};
    suite->made[suite->made_count++] = key->id;
    return true;
}

static void take(struct suite *suite, const struct kek_version *version, size_t *count)
{
    suite->keys[(*count)++] =
        (struct suite_key){.there = true, .id = version->id, .state = KEK_STATE_ACTIVE};
}

static bool is_fit(const struct kek_version *version)
{
    return version->eligible && version->can_wrap && version->can_unwrap;
}

/* Of a token: each by its name, the versions of the run's keyring in their order. */
static void take_named(struct suite *suite, const struct rig_answer *answer, size_t *count)
{
    const struct kek_pool_provider *token = &suite->token;
    char *unfit = suite->unfit;
    for (size_t n = 0; n < suite->ctl->existing.count; n++) {
        const struct kek_version *found = NULL;
        size_t at = strlen(unfit);
        for (size_t i = 0; i < answer->version_count; i++) {
            bool is_it = answer->versions[i].number == n + 1;
            found = is_it ? &answer->versions[i] : found; /* those that are refused come first */
        }
        if (found != NULL && is_fit(found)) {
            take(suite, found, count);
        } else if (found != NULL) {
            snprintf(unfit + at, sizeof suite->unfit - at, "%s%s: %s", at == 0 ? "" : "; ",
                     found->label, found->eligible ? "it may not wrap and unwrap" : found->refusal);
        } else {
            snprintf(unfit + at, sizeof suite->unfit - at,
                     "%sno secret key with the label %.120s is on token %s, serial %s",
                     at == 0 ? "" : "; ", suite->ctl->existing.list[n], token->label,
                     token->serial);
        }
    }
}

/* Of a service: the newest two that do; one that was closed since is none of the user's failures. */
static void take_newest(struct suite *suite, const struct rig_answer *answer, size_t *count)
{
    for (size_t i = answer->version_count; i > 0 && *count < 2; i--) {
        if (is_fit(&answer->versions[i - 1])) {
            take(suite, &answer->versions[i - 1], count);
        }
    }
    if (*count == 0) {
        snprintf(suite->unfit, sizeof suite->unfit,
                 "the key %.200s has no version that wraps and unwraps%s%s",
                 suite->ctl->existing.list[0], answer->version_count == 0 ? "" : ": ",
                 answer->version_count == 0 ? ""
                                            : answer->versions[answer->version_count - 1].refusal);
    }
}

/* The user's own. */
static void take_existing(struct suite *suite, struct suite_result *result)
{
    const struct rig_answer *answer;
    size_t count = 0;
    list(suite, RIG_SERVE, true, &answer);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "looking for the keys of --existing-key", &answer->why);
        return;
    }
    if (suite->is_service) {
        take_newest(suite, answer, &count);
    } else {
        take_named(suite, answer, &count);
    }
    if (suite->unfit[0] != '\0') {
        suite_fail(result, "%s", suite->unfit);
    } else {
        suite_skip(result, "with --existing-key no key is made; to be tried: %zu", count);
    }
}

void case_generate(struct suite *suite, struct suite_result *result)
{
    if (suite->existing) {
        take_existing(suite, result);
        return;
    }
    if (suite->is_service) {
        suite_skip(result, "a service keeps every version that is made: name a throw-away key of "
                           "it by --existing-key");
        return;
    }
    if (generate(suite, 1, &suite->keys[0], result)) {
        bool both = generate(suite, 2, &suite->keys[1], result);
        /* What it does once it supports. */
        result->outcome =
            !both && result->outcome == SUITE_NOT_SUPPORTED ? SUITE_FAIL : result->outcome;
    } else if (result->outcome == SUITE_NOT_SUPPORTED) {
        suite_also(result, "keys that the vendor's tools made can be named by --existing-key");
    }
}

void case_generate_taken(struct suite *suite, struct suite_result *result)
{
    struct suite_key again = {.there = false};
    struct suite_result tried = {.outcome = SUITE_PASS};
    if (generate(suite, 1, &again, &tried)) {
        suite_fail(result, "a second key was made with the label of the first");
    } else if (tried.cause == KEK_PRECONDITION) {
        suite_pass(result, "%s", tried.says);
    } else {
        *result = tried;
        result->outcome =
            tried.outcome == SUITE_NOT_SUPPORTED ? SUITE_FAIL : tried.outcome; /* it made two */
    }
}

/* ---- looking ---- */

static bool is_as_made(const struct suite *suite, const struct kek_version *version,
                       const struct suite_key *key, uint32_t number, struct suite_result *result)
{
    char id[KEK_ID_TEXT];
    kek_id_format(&key->id, id);
    if (version == NULL) {
        suite_fail(result, "a fresh process does not see the key with CKA_ID %s", id);
    } else if (!version->eligible) {
        suite_fail(result, "the key with CKA_ID %s would not be used: %s", id, version->refusal);
    } else if (!version->can_wrap || !version->can_unwrap) {
        suite_fail(result, "a fresh process is told that the key with CKA_ID %s may not %s", id,
                   version->can_unwrap ? "wrap" : "unwrap");
    } else if (!suite->existing && version->number != number) {
        suite_fail(result, "the key with CKA_ID %s has the label %s", id, version->label);
    } else {
        return true;
    }
    return false;
}

void case_list(struct suite *suite, struct suite_result *result)
{
    const struct rig_answer *answer;
    list(suite, RIG_SERVE, true, &answer);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "listing", &answer->why);
        return;
    }
    for (size_t i = 0; i < 2; i++) {
        const struct suite_key *key = &suite->keys[i];
        if (key->there &&
            !is_as_made(suite, rig_version(answer, &key->id), key, (uint32_t)i + 1, result)) {
            return;
        }
    }
    suite_pass(result, "%s", kek_wrap_alg_name(rig_version(answer, &suite->keys[0].id)->alg));
}

static bool probe(struct suite *suite, struct suite_result *result)
{
    struct kek_pool_request request = {.op = KEK_POOL_PROBE};
    const struct rig_answer *answer = rig_ask(&suite->rig, RIG_OFFICER, &request);
    if (answer->rc != KEK_OK) {
        suite_declined(result, "trying its mechanisms", &answer->why);
    }
    return answer->rc == KEK_OK;
}

void case_keeps_key(struct suite *suite, struct suite_result *result)
{
    if (!probe(suite, result)) {
        return;
    }
    const struct kek_provider_keeping *keeping = &suite->rig.answer.probed.keeping;
    if (keeping->outcome == KEK_KEEPING_HANDED_OUT) {
        suite_fail(result, "hands out a key that it shows as not extractable: %s", keeping->text);
    } else if (keeping->outcome == KEK_KEEPING_UNTRIED) {
        suite_lacks(result, "not tried: %s", keeping->text);
        result->native =
            keeping->native != 0 && !suite->is_service ? KEK_NATIVE_PKCS11 : KEK_NATIVE_NONE;
        result->code = keeping->native;
    }
}

void case_mechanism(struct suite *suite, struct suite_result *result)
{
    if (!probe(suite, result)) {
        return;
    }
    const struct kek_provider_probed *probed = &suite->rig.answer.probed;
    const struct kek_provider_trial *used = NULL, *last = NULL;
    for (size_t i = 0; i < probed->trial_count; i++) {
        used = probed->trials[i].chosen ? &probed->trials[i] : used;
        last = probed->trials[i].verdict == KEK_VERDICT_REFUSED ? &probed->trials[i] : last;
    }
    if (used == NULL) {
        suite_fail(result, "nothing works as the configuration wants it (strategy)%s%s",
                   last == NULL ? "" : ": ", last == NULL ? "" : last->text);
        result->code = last == NULL ? 0 : last->native;
        result->native =
            result->code != 0 && !suite->is_service ? KEK_NATIVE_PKCS11 : KEK_NATIVE_NONE;
        return;
    }
    suite_pass(result, "%s%s%s",
               suite->is_service ? ""
               : used->encrypts  ? "encrypt "
                                 : "wrap-key ",
               used->mechanism,
               used->verdict == KEK_VERDICT_MALLEABLE
                   ? ", which takes damaged data: the envelope's own tag tells"
                   : "");
}

/* ---- destroying ---- */

void case_destroy(struct suite *suite, struct suite_result *result)
{
    const struct kek_id *kek_id = &suite->keys[1].id;
    struct kek_pool_request request = {.op = KEK_POOL_DESTROY, .kek_id = *kek_id};
    const struct rig_answer *answer = rig_ask(&suite->rig, RIG_OFFICER, &request);
    if (answer->rc != KEK_OK) {
        suite_declined(result, "destroying a key", &answer->why);
        return;
    }
    list(suite, RIG_FRESH, true, &answer);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "listing afterwards", &answer->why);
        return;
    }
    if (rig_version(answer, kek_id) != NULL) {
        suite_fail(result, "a fresh process still sees it");
        return;
    }
    suite->destroyed = true;
    suite->made[1] = suite->made[--suite->made_count];
    answer = rig_ask(&suite->rig, RIG_OFFICER, &request);
    if (answer->rc == KEK_OK) {
        suite_fail(result, "it can be destroyed a second time");
    } else if (answer->rc != KEK_NOT_FOUND) {
        suite_refused(result, "destroying it once more: not \"missing\" but", &answer->why);
    }
}

/* What a process of that role makes of what the key wrapped. */
static const struct rig_answer *open_destroyed(struct suite *suite, enum rig_role role)
{
    const struct suite_wrapped *before = &suite->before;
    return rig_unwrap(&suite->rig, role, &suite->keys[1].id, before->alg,
                      kek_bytes(before->blob, before->len));
}

void case_destroyed_key(struct suite *suite, struct suite_result *result)
{
    if (!suite->destroyed || !suite->before.there) {
        suite_skip(result, suite->destroyed ? "it wrapped nothing" : "it was not destroyed");
        return;
    }
    const struct rig_answer *answer = open_destroyed(suite, RIG_FRESH);
    if (answer->rc == KEK_OK) {
        suite_fail(result, "a fresh process still opens what it wrapped");
        return;
    }
    if (answer->rc != KEK_NOT_FOUND) {
        suite_refused(result, "a fresh process does not say that it is missing but", &answer->why);
        return;
    }
    if (!suite_open(suite, RIG_FRESH, &suite->keys[0].id, &suite->good, "the other key", result)) {
        return;
    }
    answer = open_destroyed(suite, RIG_SERVE);
    if (answer->rc == KEK_OK) {
        suite_lacks(result, "a process that was there before does not know it, and opens what it "
                            "wrapped: kekd starts fresh ones");
    } else if (answer->rc == KEK_UNAVAILABLE || answer->rc == KEK_DEADLINE ||
               answer->rc == KEK_CANCELLED) {
        suite_refused(result, "a process that was there before", &answer->why);
    } else if (answer->rc != KEK_NOT_FOUND) {
        suite_pass(result,
                   "a process that was there before does not say that it is missing but: %s",
                   answer->why.text);
    }
}

void case_clean(struct suite *suite, struct suite_result *result)
{
    struct leftovers_gone gone;
    suite->rig.interruptible = suite->rig.interrupted; /* another signal ends this, too */
    if (!suite->asked) {
        suite_pass(result, "no key was made");
        return;
    }
    suite->left = !leftovers_destroy(&suite->rig, suite->made, suite->made_count, &gone);
    if (suite->left) {
        suite_fail(result, "%s", gone.left);
        suite_blame(result, &gone.why);
        suite->left_why = gone.why;
        kek_text_copy(suite->left_why.text, sizeof suite->left_why.text, gone.left);
    } else {
        suite_pass(result, "keys that were destroyed now: %zu", gone.removed);
    }
    if (gone.kept[0] != '\0') {
        suite_also(result, "left alone: %s", gone.kept);
    }
}
