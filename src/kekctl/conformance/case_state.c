/* Changes of a key's state: taken, seen, and held to, by the token or by kekd's processes alone. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

/* What a state lets a key do. */
static bool may_wrap(enum kek_state state)
{
    return state == KEK_STATE_ACTIVE;
}

static bool may_unwrap(enum kek_state state)
{
    return state != KEK_STATE_SUSPENDED;
}

/* Has a process use the key past everything that this program knows of its state. */
static const struct kek_provider_tried *try_key(struct suite *suite, enum rig_role role,
                                                struct suite_result *result)
{
    const struct suite_wrapped *before = &suite->before;
    struct kek_pool_request request = {.op = KEK_POOL_TRY_KEY,
                                       .kek_id = suite->keys[1].id,
                                       .alg = before->alg,
                                       .blob = kek_bytes(before->blob, before->len)};
    const struct rig_answer *answer = rig_ask(&suite->rig, role, &request);
    if (answer->rc != KEK_OK) {
        suite_refused(result,
                      role == RIG_RUNNING ? "a process that was there before" : "a fresh process",
                      &answer->why);
        return NULL;
    }
    return &answer->tried;
}

static void note_use(struct suite *suite, enum rig_role role, const char *verb, bool allowed,
                     const struct kek_provider_attempt *attempt)
{
    if (!attempt->made) {
        return;
    }
    if (allowed) {
        /* A fresh process that is refused fails at keeps_to(). */
        suite->noticed = suite->noticed && (attempt->done || role != RIG_RUNNING);
        return;
    }
    if (!attempt->done) {
        snprintf(suite->refused, sizeof suite->refused, "%s", attempt->text);
        return;
    }
    suite->enforced = false;
    if (suite->unenforced[0] == '\0') {
        snprintf(suite->unenforced, sizeof suite->unenforced,
                 "the token shows the new state and %s all the same%s", verb,
                 role == RIG_RUNNING ? ", in a process that was there before" : "");
    }
}

static bool look(struct suite *suite, enum rig_role role, enum kek_state state,
                 struct suite_result *result)
{
    const struct kek_provider_tried *tried = try_key(suite, role, result);
    if (tried == NULL) {
        return false;
    }
    bool shows = tried->shown && tried->flag_wrap == may_wrap(state) &&
                 tried->flag_unwrap == may_unwrap(state) &&
                 tried->compromised == (state == KEK_STATE_COMPROMISED);
    suite->noticed = suite->noticed && (role != RIG_RUNNING || shows);
    note_use(suite, role, "wraps", may_wrap(state), &tried->wrap);
    note_use(suite, role, "unwraps", may_unwrap(state), &tried->unwrap);
    return true;
}

/* A fresh process lists it so. */
static bool lists(struct suite *suite, enum kek_state state, struct suite_result *result)
{
    struct kek_pool_request request = {.op = KEK_POOL_LIST, .fresh = true};
    const struct rig_answer *answer = rig_ask(&suite->rig, RIG_FRESH, &request);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "a fresh process", &answer->why);
        return false;
    }
    for (size_t i = 0; i < answer->version_count; i++) {
        const struct kek_version *version = &answer->versions[i];
        if (kek_id_equal(&version->id, &suite->keys[1].id) && version->eligible &&
            version->can_wrap == may_wrap(state) && version->can_unwrap == may_unwrap(state) &&
            version->compromised == (state == KEK_STATE_COMPROMISED)) {
            return true;
        }
    }
    suite_fail(result, "the change was taken, and a fresh process does not see it");
    return false;
}

static bool is_wanted(const struct rig_answer *answer, enum kek_rc wanted, const char *does,
                      const char *verb, struct suite_result *result)
{
    char what[64];
    if (answer->rc == wanted) {
        return true;
    }
    if (answer->rc == KEK_OK) {
        suite_fail(result, "a fresh process %s by it", does);
        return false;
    }
    snprintf(what, sizeof what, "a fresh process%s %s by it",
             wanted == KEK_OK ? " does not" : ", which is to be told that it may not", verb);
    suite_refused(result, what, &answer->why);
    return false;
}

/* And keeps to it. */
static bool keeps_to(struct suite *suite, enum kek_state state, struct suite_result *result)
{
    const struct suite_wrapped *before = &suite->before;
    const struct suite_key *key = &suite->keys[1];
    const struct rig_answer *answer = rig_unwrap(&suite->rig, RIG_FRESH, &key->id, before->alg,
                                                 kek_bytes(before->blob, before->len));
    enum kek_rc wanted = may_unwrap(state) ? KEK_OK : KEK_PRECONDITION;
    if (!is_wanted(answer, wanted, "unwraps", "unwrap", result)) {
        return false;
    }
    if (answer->rc == KEK_OK && !kek_secret_equal(answer->data_key, before->data_key)) {
        suite_fail(result, "a fresh process gives back another data key");
        return false;
    }
    wanted = may_wrap(state) ? KEK_OK : KEK_PRECONDITION;
    answer = rig_wrap(&suite->rig, RIG_FRESH, &key->id, before->data_key);
    return is_wanted(answer, wanted, "wraps", "wrap", result);
}

static bool set(struct suite *suite, enum kek_state state, struct suite_result *result)
{
    struct kek_pool_request request = {
        .op = KEK_POOL_SET_STATE, .kek_id = suite->keys[1].id, .state = state};
    const struct rig_answer *answer = rig_ask(&suite->rig, RIG_OFFICER, &request);
    if (answer->rc != KEK_OK) {
        suite_declined(result, "changing the key", &answer->why);
        return false;
    }
    suite->keys[1].state = state;
    return true;
}

/* The key goes to that state and every process is asked; the one that was there before first,
 * while nothing has told it. */
static bool change(struct suite *suite, enum kek_state state, struct suite_result *result)
{
    if (!suite->before.there) {
        suite_skip(result, "the second key wrapped nothing");
        return false;
    }
    if (suite->changes == 0) {
        struct kek_pool_request request = {.op = KEK_POOL_LIST};
        suite->enforced = suite->noticed = true;
        if (rig_ask(&suite->rig, RIG_RUNNING, &request)->rc != KEK_OK) {
            suite_refused(result, "a second process", &suite->rig.answer.why);
            return false;
        }
    }
    if (!set(suite, state, result)) {
        return false;
    }
    suite->changes++;
    return look(suite, RIG_RUNNING, state, result) && lists(suite, state, result) &&
           keeps_to(suite, state, result) && look(suite, RIG_FRESH, state, result);
}

static bool is_now(const struct suite *suite, enum kek_state state, struct suite_result *result)
{
    if (suite->keys[1].state != state) {
        suite_skip(result, "the key is %s, not %s", kek_state_name(suite->keys[1].state),
                   kek_state_name(state));
    }
    return suite->keys[1].state == state;
}

void case_deactivate(struct suite *suite, struct suite_result *result)
{
    (void)change(suite, KEK_STATE_DEACTIVATED, result);
}

void case_reactivate(struct suite *suite, struct suite_result *result)
{
    if (is_now(suite, KEK_STATE_DEACTIVATED, result)) {
        (void)change(suite, KEK_STATE_ACTIVE, result);
    }
}

void case_suspend(struct suite *suite, struct suite_result *result)
{
    (void)change(suite, KEK_STATE_SUSPENDED, result);
}

void case_resume(struct suite *suite, struct suite_result *result)
{
    if (is_now(suite, KEK_STATE_SUSPENDED, result)) {
        (void)change(suite, KEK_STATE_ACTIVE, result);
    }
}

void case_compromise(struct suite *suite, struct suite_result *result)
{
    if (!change(suite, KEK_STATE_COMPROMISED, result)) {
        return;
    }
    struct suite_result again = {.outcome = SUITE_PASS};
    if (set(suite, KEK_STATE_ACTIVE, &again)) {
        suite_fail(result, "a key that is marked as compromised can be made active again");
    } else if (again.cause != KEK_PRECONDITION) {
        *result = again;
        result->outcome = again.outcome == SUITE_NOT_SUPPORTED ? SUITE_FAIL : again.outcome;
    }
}

void case_states_enforced(struct suite *suite, struct suite_result *result)
{
    if (suite->changes == 0) {
        suite_skip(result, "no change was taken");
    } else if (suite->enforced && suite->refused[0] == '\0') {
        suite_skip(result, "nothing that a state forbids was tried");
    } else if (!suite->enforced) {
        suite_lacks(result, "%s: kekd's own processes hold the key to its state",
                    suite->unenforced);
    } else {
        suite_pass(result, "%s", suite->refused);
    }
}

void case_states_noticed(struct suite *suite, struct suite_result *result)
{
    if (suite->changes == 0) {
        suite_skip(result, "no change was taken");
    } else if (!suite->noticed) {
        suite_lacks(result, "a process that was there before shows what was: kekd starts fresh "
                            "ones, or `versions:` can hold the state");
    }
    rig_end(&suite->rig, RIG_RUNNING);
}
