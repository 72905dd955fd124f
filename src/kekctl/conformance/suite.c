#include "suite.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/text.h"

#define SILENT_MAX 3 /* cases in a row, after which nobody is asked any more */

size_t suite_count(const struct suite *suite, enum suite_outcome outcome)
{
    size_t count = 0;
    for (size_t i = 0; i < suite_case_count; i++) {
        count += suite->results[i].outcome == outcome ? 1 : 0;
    }
    return count;
}

/* False: the result says why it is not tried. */
static bool is_due(const struct suite *suite, const struct suite_case *this,
                   struct suite_result *result)
{
    unsigned needs = this->needs;
    if ((needs & ALWAYS) != 0) {
        return true;
    }
    if (suite_was_interrupted(suite)) {
        suite_skip(result, "interrupted");
    } else if (!suite->logged_in && suite->results != result) {
        suite_skip(result, "nobody could log in");
    } else if (suite->silent >= SILENT_MAX) {
        suite_skip(result, "nobody has answered for %u cases", SILENT_MAX);
    } else if (suite->is_service && (needs & (NEED_TOKEN | NEED_MADE)) != 0) {
        suite_skip(result,
                   "a service keeps what is made: no key is made, changed or destroyed there");
    } else if (suite->is_service && !suite->existing && (needs & USES_KEYS) != 0) {
        suite_skip(result, "the service's own key is not touched: name another by --existing-key");
    } else if (suite->existing && (needs & NEED_MADE) != 0) {
        suite_skip(result, "with --existing-key no key is made, changed or destroyed");
    } else if ((needs & (NEED_KEY | NEED_KEYS | NEED_MADE | NEED_GOOD)) != 0 &&
               !suite->keys[0].there) {
        suite_skip(result, "generate made no key");
    } else if ((needs & (NEED_KEYS | NEED_MADE)) != 0 && !suite->keys[1].there) {
        suite_skip(result, "there is no second key");
    } else if ((needs & NEED_GOOD) != 0 && !suite->good.there) {
        suite_skip(result, "no data key was wrapped and came back");
    } else {
        return true;
    }
    return false;
}

/* How many calls, or starts, went well at another try only, of the pool's or of a worker's own. */
static uint64_t count_again(const struct suite_case *this, const struct rig_troubles *before,
                            const struct rig_troubles *now)
{
    uint64_t again = now->again - before->again;
    if ((this->needs & ENDS_WORKERS) != 0) {
        return again;
    }
    if ((this->needs & LOSES_NOBODY) == 0) {
        return again + now->resent - before->resent; /* refusals are wanted there */
    }
    return again + ((this->needs & LOGS_IN) != 0 ? now->failures - before->failures
                                                 : now->calls - before->calls);
}

/* What was made good, by another process or another try, is for kekd to live with and for its HSM to
 * answer for. */
static void judge_troubles(struct suite *suite, const struct suite_case *this,
                           const struct rig_troubles *before, struct suite_result *result)
{
    struct rig_troubles now = rig_troubles(&suite->rig);
    const struct kek_why *last = &suite->rig.last;
    uint64_t crashed = now.crashed - before->crashed, killed = now.killed - before->killed;
    if (result->outcome == SUITE_FAIL || result->outcome == SUITE_SKIPPED) {
        return;
    }
    result->again = count_again(this, before, &now);
    if (crashed > 0) {
        suite_fail(result, "processes that the provider's library ended meanwhile: %" PRIu64,
                   crashed);
    } else if (killed > 0) {
        suite_fail(result,
                   "calls or starts that did not answer within timeout or start_timeout: %" PRIu64,
                   killed);
    } else if (now.spawned > before->spawned && (this->needs & SAME_PROCESS) != 0) {
        suite_fail(result, "the process had to be replaced meanwhile: what it knows to be good did "
                           "not open there any more");
    } else if (result->again > 0) {
        suite_fail(result, "%s that failed and went well at another try: %" PRIu64 "%s%s",
                   (this->needs & LOGS_IN) != 0 ? "calls or starts" : "calls", result->again,
                   last->rc == KEK_OK ? "" : ", the last: ",
                   kek_text_after_name(last->text, suite->config->providers[suite->provider].name));
        suite_blame(result, last);
    }
}

static void tell_progress(size_t i)
{
    if (isatty(STDERR_FILENO) == 1) {
        fprintf(stderr, "\r\033[K%s", "");
        if (i < suite_case_count) {
            fprintf(stderr, "%zu/%zu %s", i + 1, suite_case_count, suite_cases[i].name);
        }
        (void)fflush(stderr);
    }
}

static void run_case(struct suite *suite, size_t i)
{
    const struct suite_case *this = &suite_cases[i];
    struct suite_result *result = &suite->results[i];
    if (!is_due(suite, this, result)) {
        return;
    }
    struct rig_troubles before = rig_troubles(&suite->rig);
    suite->rig.last = (struct kek_why){.rc = KEK_OK};
    uint64_t began_us = kek_clock_us();
    this->run(suite, result);
    judge_troubles(suite, this, &before, result);
    result->took_us = kek_clock_us() - began_us;
    bool silent = result->outcome == SUITE_FAIL &&
                  (result->cause == KEK_UNAVAILABLE || result->cause == KEK_DEADLINE ||
                   result->cause == KEK_DENIED);
    suite->silent = silent ? suite->silent + 1 : 0;
}

bool suite_run(struct suite *suite)
{
    suite->results = calloc(suite_case_count, sizeof *suite->results);
    if (suite->results == NULL) {
        ctl_say(suite->ctl, "no memory for the results");
        return false;
    }
    suite->began_ms = kek_clock_wall_ms();
    for (size_t i = 0; i < suite_case_count; i++) {
        tell_progress(i);
        run_case(suite, i);
    }
    tell_progress(suite_case_count);
    suite->ended_ms = kek_clock_wall_ms();
    return true;
}

void suite_done(struct suite *suite)
{
    suite_wrapped_wipe(&suite->good);
    suite_wrapped_wipe(&suite->before);
    rig_close(&suite->rig);
    free(suite->results);
    suite->results = NULL;
}
