/*
 * What the keyring makes of its workers, where one of several is wrong: facts are put in by hand, as lists and
 * checks bring them, and the steps of a turn are taken one by one on a clock of the test's own.
 */
#ifndef UNIT_KEYRING_WORKERS_H
#define UNIT_KEYRING_WORKERS_H

#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "keyring/ring.h"

static struct rig rig;
static struct kek_keyring *ring;
static unsigned errors, warnings;
static uint64_t clock_us;

static inline uint64_t now_us(void)
{
    return clock_us;
}

static inline void notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                          const char *text)
{
    (void)arg;
    (void)fields;
    (void)text;
    errors += level == KEK_LOG_ERROR;
    warnings += level == KEK_LOG_WARN;
}

static inline void set_up(void)
{
    static char context[] = "";
    struct kek_why why;
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig.config.context = context;
    rig.config.refresh_ms = 30000;
    rig.config.health.probe_interval_ms = 30000;
    rig.config.health.canary_interval_ms = 600000;
    rig_open(&rig);
    (void)mkdir(rig.state, 0700);
    struct kek_keyring_settings settings = {
        .config = &rig.config, .pool = rig.pool, .notice = notice};
    ring = kek_keyring_new(&rig.loop, &settings, &why);
    ck_assert_msg(ring != NULL, "%s", why.text);
    clock_us = kek_clock_us() + UINT64_C(1000000000);
    kek_clock_fake(now_us);
    ring->verdict.since_ms = ring->now_ms = kek_clock_ms();
    errors = warnings = 0;
}

static inline void tear_down(void)
{
    kek_clock_fake(NULL);
    kek_keyring_stop(ring);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    rig_close(&rig);
    kek_keyring_free(ring);
    rig_done(&rig);
}

static inline void pass(unsigned ms)
{
    clock_us += ms * UINT64_C(1000);
    ring->now_ms = kek_clock_ms();
}

static inline struct kek_version key(uint32_t number)
{
    struct kek_version seen = {
        .number = number, .eligible = true, .can_wrap = true, .can_unwrap = true};
    seen.id.bytes[0] = (uint8_t)number;
    return seen;
}

/* A ready worker that lists these versions. */
static inline struct member *add(uint64_t serial, const struct kek_version *seen, size_t count)
{
    struct member *member = calloc(1, sizeof *member);
    ck_assert_ptr_nonnull(member);
    member->source = &ring->sources[0];
    member->serial = serial;
    member->born_ms = ring->sources[0].youngest_ms = kek_clock_ms();
    DL_APPEND(ring->sources[0].members, member);
    member_take(member, seen, count);
    member->asked_ms = kek_clock_ms();
    return member;
}

static inline struct version *version(uint32_t number, bool agreed)
{
    struct kek_version seen = key(number);
    struct version *found = version_add(ring, &seen.id, number);
    ck_assert_ptr_nonnull(found);
    found->witness_len = 1;
    found->agreed = agreed;
    return found;
}

static inline void check(struct member *member, const struct version *of, int witness)
{
    struct view *view = &member->views[of->slot];
    view->since_ms = (int)view->witness == witness ? view->since_ms : kek_clock_ms();
    view->asked_ms = kek_clock_ms();
    view->opened_ms = witness == OPENED ? view->asked_ms : view->opened_ms;
    view->witness = witness == OPENED ? OPENED : witness == FAILED ? FAILED : UNKNOWN;
}

#endif
