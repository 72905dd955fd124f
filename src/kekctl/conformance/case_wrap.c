/* What a key wraps: it comes back, and nothing else does. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

#define ROUNDS 16
#define LOGINS 8

static bool holds(const uint8_t *blob, size_t len, struct kek_bytes key)
{
    return memmem(blob, len, key.data, key.len) != NULL;
}

void case_round_trip(struct suite *suite, struct suite_result *result)
{
    const struct kek_id *kek_id = &suite->keys[0].id;
    struct suite_wrapped one = {.there = false};
    for (unsigned i = 0; i < ROUNDS; i++) {
        bool good =
            suite_wrap(suite, RIG_SERVE, kek_id, &one, result) &&
            suite_open(suite, RIG_SERVE, kek_id, &one, "the process that wrapped it", result);
        if (good && holds(one.blob, one.len, kek_secret_bytes(one.data_key))) {
            suite_fail(result, "the data key stands in what was to be its wrapped form");
            good = false;
        }
        if (!good) {
            suite_wrapped_wipe(&one);
            return;
        }
    }
    suite->good = one;
    if (suite->keys[1].there &&
        !suite_wrap(suite, RIG_SERVE, &suite->keys[1].id, &suite->before, result)) {
        return;
    }
    suite_pass(result, "%s, %zu bytes", kek_wrap_alg_name(one.alg), one.len);
}

/* ---- what is not as it was ---- */

/* How what is bad was answered, as far as cases ask. */
struct tried {
    size_t count, taken; /* taken: something else came out */
    struct kek_why last; /* the last refusal */
};

/* One bad blob; false: the result says what is wrong beside it. what: "byte 3 of 40 changed" */
static bool try_bad(struct suite *suite, const uint8_t *blob, size_t len, const char *what,
                    struct tried *tried, struct suite_result *result)
{
    const struct suite_wrapped *good = &suite->good;
    const struct rig_answer *answer =
        rig_unwrap(&suite->rig, RIG_SERVE, &suite->keys[0].id, good->alg, kek_bytes(blob, len));
    tried->count++;
    if (answer->rc == KEK_DAMAGED) {
        tried->last = answer->why;
        return true;
    }
    if (answer->rc != KEK_OK) {
        suite_refused(result, what, &answer->why);
        return false;
    }
    tried->taken++;
    if (kek_secret_equal(answer->data_key, good->data_key)) {
        suite_fail(result, "%s: the data key comes out all the same", what);
        return false;
    }
    if (kek_wrap_alg_authenticates(good->alg)) {
        suite_fail(result, "%s: another data key comes out", what);
        return false;
    }
    return true;
}

/* And the good one opens as before. */
static void end_bad(struct suite *suite, const char *what, const struct tried *tried,
                    struct suite_result *result)
{
    if (!suite_open(suite, RIG_SERVE, &suite->keys[0].id, &suite->good,
                    "after it, the good one: the process", result)) {
        return;
    }
    if (tried->taken > 0) {
        suite_lacks(result,
                    "%s takes %s, and another data key comes out: the envelope's own tag tells",
                    kek_wrap_alg_name(suite->good.alg), what);
        return;
    }
    if (tried->count == 0) {
        suite_skip(result, "%s: there is none, with %zu bytes of a good one", what,
                   suite->good.len);
        return;
    }
    suite_pass(result, "%zu of %zu refused: %s", tried->count, tried->count, tried->last.text);
    suite_blame(result, &tried->last);
}

void case_tamper_changed(struct suite *suite, struct suite_result *result)
{
    const struct suite_wrapped *good = &suite->good;
    struct tried tried = {.count = 0};
    uint8_t blob[KEK_WRAPPED_MAX];
    char what[64];
    for (size_t i = 0; i < good->len; i++) {
        memcpy(blob, good->blob, good->len);
        blob[i] ^= (uint8_t)(1u << (i % 8));
        snprintf(what, sizeof what, "byte %zu of %zu changed", i + 1, good->len);
        if (!try_bad(suite, blob, good->len, what, &tried, result)) {
            return;
        }
    }
    end_bad(suite, "a damaged blob", &tried, result);
}

void case_tamper_truncated(struct suite *suite, struct suite_result *result)
{
    struct tried tried = {.count = 0};
    char what[64];
    for (size_t len = 1; len < suite->good.len; len++) {
        snprintf(what, sizeof what, "the first %zu of %zu bytes", len, suite->good.len);
        if (!try_bad(suite, suite->good.blob, len, what, &tried, result)) {
            return;
        }
    }
    end_bad(suite, "a blob that is cut", &tried, result);
}

void case_tamper_lengthened(struct suite *suite, struct suite_result *result)
{
    static const size_t more[] = {1, 7, 8, 16, 32, KEK_WRAPPED_MAX};
    const struct suite_wrapped *good = &suite->good;
    struct tried tried = {.count = 0};
    uint8_t blob[KEK_WRAPPED_MAX] = {0};
    char what[64];
    memcpy(blob, good->blob, good->len);
    for (size_t i = 0; i < sizeof more / sizeof more[0]; i++) {
        size_t len = more[i] < sizeof blob - good->len ? good->len + more[i] : sizeof blob;
        snprintf(what, sizeof what, "%zu bytes behind its %zu", len - good->len, good->len);
        if (len > good->len && !try_bad(suite, blob, len, what, &tried, result)) {
            return;
        }
    }
    end_bad(suite, "a blob with bytes behind it", &tried, result);
}

/* The pool sends none of 0 bytes to a worker; who reads the result is told that. */
void case_tamper_empty(struct suite *suite, struct suite_result *result)
{
    const struct rig_answer *answer =
        rig_unwrap(&suite->rig, RIG_SERVE, &suite->keys[0].id, suite->good.alg, kek_bytes(NULL, 0));
    if (answer->rc == KEK_OK) {
        suite_fail(result, "a data key comes out");
        return;
    }
    if (answer->rc != KEK_INVALID && answer->rc != KEK_DAMAGED) {
        suite_refused(result, "not refused as damaged but", &answer->why);
        return;
    }
    suite_pass(result, "kekd refuses it before the token is asked: %s", answer->why.text);
}

void case_other_key(struct suite *suite, struct suite_result *result)
{
    struct tried tried = {.count = 0};
    const struct suite_wrapped *before = &suite->before;
    struct suite_wrapped other = {.there = false};
    if (!before->there) {
        suite_skip(result, "the second key wrapped nothing");
        return;
    }
    /* The same data key, so that what comes out tells a key that only pretends to be another
     * one. */
    const struct rig_answer *answer =
        rig_wrap(&suite->rig, RIG_SERVE, &suite->keys[1].id, suite->good.data_key);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "wrapping by the second key", &answer->why);
        return;
    }
    other.len = answer->blob_len;
    memcpy(other.blob, answer->blob, answer->blob_len);
    if (try_bad(suite, other.blob, other.len, "what the second key wrapped", &tried, result) &&
        suite_open(suite, RIG_SERVE, &suite->keys[1].id, before, "the second key", result)) {
        end_bad(suite, "another key's blob", &tried, result);
    }
}

/* ---- other processes ---- */

void case_other_process(struct suite *suite, struct suite_result *result)
{
    static const struct {
        enum rig_role wraps, opens;
        const char *who;
    } pairs[] = {{RIG_SERVE, RIG_OTHER, "a second process"},
                 {RIG_OTHER, RIG_SERVE, "the first process, of what the second wrapped,"},
                 {RIG_OTHER, RIG_OFFICER, "an officer's process"},
                 {RIG_OFFICER, RIG_OTHER, "a process as kekd's, of what an officer's wrapped,"}};
    const struct kek_id *kek_id = &suite->keys[0].id;
    struct suite_wrapped one = {.there = false};
    bool good = suite_open(suite, RIG_OTHER, kek_id, &suite->good, "a second process", result);
    for (size_t i = 0; good && i < sizeof pairs / sizeof pairs[0]; i++) {
        good = suite_wrap(suite, pairs[i].wraps, kek_id, &one, result) &&
               suite_open(suite, pairs[i].opens, kek_id, &one, pairs[i].who, result);
    }
    suite_wrapped_wipe(&one);
    rig_end(&suite->rig, RIG_OTHER);
}

static bool is_missing(const struct rig_answer *answer, const char *verb,
                       struct suite_result *result)
{
    char what[64];
    if (answer->rc == KEK_OK) {
        suite_fail(result, "%s by it goes well", verb);
    } else if (answer->rc != KEK_NOT_FOUND) {
        snprintf(what, sizeof what, "%s by it is not \"missing\" but", verb);
        suite_refused(result, what, &answer->why);
    }
    return answer->rc == KEK_NOT_FOUND;
}

void case_missing_key(struct suite *suite, struct suite_result *result)
{
    struct kek_id nobodys;
    if (!leftovers_id(&nobodys)) {
        suite_fail(result, "no random numbers");
        return;
    }
    const struct rig_answer *answer = rig_unwrap(&suite->rig, RIG_SERVE, &nobodys, suite->good.alg,
                                                 kek_bytes(suite->good.blob, suite->good.len));
    if (!is_missing(answer, "unwrapping", result)) {
        return;
    }
    answer = rig_wrap(&suite->rig, RIG_SERVE, &nobodys, suite->good.data_key);
    if (!is_missing(answer, "wrapping", result)) {
        return;
    }
    (void)suite_open(suite, RIG_SERVE, &suite->keys[0].id, &suite->good, "afterwards, the process",
                     result);
}

void case_logins(struct suite *suite, struct suite_result *result)
{
    const struct suite_wrapped *good = &suite->good;
    for (unsigned i = 0; i < LOGINS; i++) {
        char who[48];
        struct kek_pool_request request = {.op = KEK_POOL_UNWRAP,
                                           .kek_id = suite->keys[0].id,
                                           .alg = good->alg,
                                           .blob = kek_bytes(good->blob, good->len),
                                           .fresh = true};
        const struct rig_answer *answer = rig_ask(&suite->rig, RIG_FRESH, &request);
        snprintf(who, sizeof who, "login %u of %u", i + 1, LOGINS);
        if (answer->rc != KEK_OK) {
            suite_refused(result, who, &answer->why);
            return;
        }
        if (!kek_secret_equal(answer->data_key, good->data_key)) {
            suite_fail(result, "%s gives back another data key", who);
            return;
        }
    }
}
