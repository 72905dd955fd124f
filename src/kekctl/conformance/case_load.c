/* Many at once, the loss of processes in the middle of it, and what it takes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "load.h"

#define PROCESSES 2
#define SESSIONS_MAX 8
#define ROUNDS 25 /* data keys a session */
#define MOST_MS 20000
#define SPEED_PAIRS 200
#define SPEED_MS 5000
#define LOSSES 8

/* How many sessions each of so many processes may have, beside the officer and a kekd that runs
 * as it is configured: as many as kekd's own. */
static unsigned sessions_for(const struct suite *suite, unsigned processes)
{
    const struct kek_config_provider *provider = &suite->config->providers[suite->provider];
    uint64_t kekds = (uint64_t)(provider->processes + 1) * (provider->sessions + 1),
             most = suite->token.max_sessions;
    unsigned wanted = provider->sessions < 2              ? 2
                      : provider->sessions > SESSIONS_MAX ? SESSIONS_MAX
                                                          : provider->sessions;
    if (most == 0) {
        return wanted;
    }
    uint64_t spare = most > kekds + 2 ? (most - kekds - 2) / processes : 0;
    return spare < 2 ? 0 : spare - 1 < wanted ? (unsigned)(spare - 1) : wanted;
}

/* No session is held for nothing while many are needed. False: the token has not that many. */
static bool make_room(struct suite *suite, unsigned processes, struct suite_result *result)
{
    static const enum rig_role others[] = {RIG_RUNNING, RIG_FRESH,    RIG_SERVE,
                                           RIG_OTHER,   RIG_SESSIONS, RIG_PROCESSES};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        rig_end(&suite->rig, others[i]);
    }
    suite->rig.processes = processes;
    suite->rig.sessions = sessions_for(suite, processes);
    if (suite->rig.sessions < 2) {
        suite_skip(result,
                   "the token allows %" PRIu64 " sessions, and beside kekd's there is no room for "
                   "two more in each process",
                   suite->token.max_sessions);
    }
    return suite->rig.sessions >= 2;
}

static void judge(const struct load *load, struct suite_result *result)
{
    if (load->failed > 0) {
        char what[96];
        snprintf(what, sizeof what, "%" PRIu64 " of %" PRIu64 " calls failed, the first",
                 load->failed, load->wraps.count + load->unwraps.count + load->failed);
        suite_refused(result, what, &load->why);
    }
    if (load->wrong > 0) {
        suite_fail(result, "%" PRIu64 " of %" PRIu64 " data keys came back wrong", load->wrong,
                   load->unwraps.count);
    }
    result->wraps = load->wraps;
    result->unwraps = load->unwraps;
}

static unsigned per_second(const struct suite_measure *measure)
{
    return measure->took_us == 0 ? 0 : (unsigned)(measure->count * 1000000 / measure->took_us);
}

/* What was asked of all of them, once they are ready; false: the result says why not. */
static bool run(struct suite *suite, enum rig_role role, unsigned processes,
                bool (*midway)(struct load *load), struct suite_result *result)
{
    struct load load = {.suite = suite, .role = role, .most_ms = MOST_MS, .midway = midway};
    if (!make_room(suite, processes, result)) {
        return false;
    }
    load.at_once = processes * suite->rig.sessions;
    load.pairs = load.at_once * ROUNDS;
    if (!load_wait_ready(suite, role, processes, &load.why)) {
        suite_refused(result, "getting ready", &load.why);
        return false;
    }
    if (!load_run(&load)) {
        suite_refused(result, "beginning", &load.why);
        return false;
    }
    judge(&load, result);
    if (result->outcome == SUITE_PASS && midway != NULL && !load.was_midway) {
        suite_fail(result, "no process was there to be killed");
    }
    if (result->outcome == SUITE_PASS) {
        suite_pass(result,
                   "%u process%s, %u sessions each: %" PRIu64 " data keys, %u calls a second",
                   processes, processes == 1 ? "" : "es", suite->rig.sessions, load.unwraps.count,
                   per_second(&load.wraps) + per_second(&load.unwraps));
    }
    return result->outcome == SUITE_PASS;
}

void case_concurrent_sessions(struct suite *suite, struct suite_result *result)
{
    (void)run(suite, RIG_SESSIONS, 1, NULL, result);
    rig_end(&suite->rig, RIG_SESSIONS);
}

void case_concurrent_processes(struct suite *suite, struct suite_result *result)
{
    (void)run(suite, RIG_PROCESSES, PROCESSES, NULL, result);
    rig_end(&suite->rig, RIG_PROCESSES);
}

/* ---- losing them ---- */

/* Kills its oldest process; false: there is none. */
static bool kill_one(struct rig *rig, enum rig_role role)
{
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    struct kek_why why;
    struct kek_pool *pool = rig->pools[role].pool;
    if (pool == NULL || kek_pool_workers(pool, 0, workers) == 0) {
        return false;
    }
    kek_fail(&why, KEK_UNAVAILABLE, "killed for the suite");
    kek_pool_end(pool, workers[0].serial, &why);
    return true;
}

static bool kill_midway(struct load *load)
{
    return kill_one(&load->suite->rig, load->role);
}

void case_recover_killed(struct suite *suite, struct suite_result *result)
{
    struct kek_why why;
    if (run(suite, RIG_PROCESSES, PROCESSES, kill_midway, result)) {
        uint64_t began_ms = kek_clock_ms();
        if (load_wait_ready(suite, RIG_PROCESSES, PROCESSES, &why)) {
            suite_pass(result,
                       "%" PRIu64 " data keys while it happened; both ready %" PRIu64 " ms after",
                       result->unwraps.count, kek_clock_ms() - began_ms);
        } else {
            suite_refused(result, "another process in its place", &why);
        }
    }
    rig_end(&suite->rig, RIG_PROCESSES);
}

void case_recover_lost(struct suite *suite, struct suite_result *result)
{
    struct kek_why why;
    uint64_t most_ms = 0;
    if (!make_room(suite, 1, result)) {
        return;
    }
    for (unsigned i = 0; i <= LOSSES; i++) {
        char who[64];
        uint64_t began_ms = kek_clock_ms();
        if (!load_wait_ready(suite, RIG_SESSIONS, 1, &why)) {
            snprintf(who, sizeof who, "after %u losses, a new process", i);
            suite_refused(result, who, &why);
            break;
        }
        snprintf(who, sizeof who, "after %u losses, the process", i);
        if (!suite_open(suite, RIG_SESSIONS, &suite->keys[0].id, &suite->good, who, result)) {
            break;
        }
        uint64_t took_ms = i == 0 ? 0 : kek_clock_ms() - began_ms;
        most_ms = took_ms > most_ms ? took_ms : most_ms;
        if (i < LOSSES && !kill_one(&suite->rig, RIG_SESSIONS)) {
            suite_fail(result, "after %u losses, no process was there to be killed", i);
            break;
        }
    }
    if (result->outcome == SUITE_PASS) {
        suite_pass(result, "each time a new process opened it within %" PRIu64 " ms", most_ms);
    }
    rig_end(&suite->rig, RIG_SESSIONS);
}

/* ---- what it takes ---- */

void case_speed(struct suite *suite, struct suite_result *result)
{
    struct load load = {
        .suite = suite, .role = RIG_SERVE, .at_once = 1, .pairs = SPEED_PAIRS, .most_ms = SPEED_MS};
    if (!load_wait_ready(suite, RIG_SERVE, 1, &load.why) || !load_run(&load)) {
        suite_refused(result, "beginning", &load.why);
        return;
    }
    judge(&load, result);
    if (result->outcome == SUITE_PASS) {
        suite_pass(result,
                   "%u calls a second; wrap %" PRIu64 " us (99 %%: %" PRIu64 "), unwrap %" PRIu64
                   " us (99 %%: %" PRIu64 ")",
                   per_second(&load.wraps) + per_second(&load.unwraps), load.wraps.median_us,
                   load.wraps.p99_us, load.unwraps.median_us, load.unwraps.p99_us);
    }
}
