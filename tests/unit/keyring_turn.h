/*
 * Keyrings of three nodes over one pool without workers: facts are put in by hand, and the steps of a turn taken on
 * a clock of the test's own.
 */
#ifndef UNIT_KEYRING_TURN_H
#define UNIT_KEYRING_TURN_H

#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "keyring/ring.h"

#define SETTLE_MS 60000u
#define DESTROY_AFTER_MS 100000u
#define NODES 3

static struct rig rig;
static struct kek_keyring *ring; /* the node that a step is about */
static struct kek_keyring *nodes[NODES];
static struct kek_config configs[NODES];
static char states[NODES][96];
static char last_text[1024], last_of_destruction[1024], last_of_loss[1024];
static char tokens[2][KEK_TOKEN_SERIAL_TEXT]; /* the serial that a provider's workers have found */
static uint64_t clock_us;

static inline uint64_t now_us(void)
{
    return clock_us;
}

static inline void notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                          const char *text)
{
    (void)arg;
    (void)level;
    (void)fields;
    snprintf(last_text, sizeof last_text, "%s", text);
    if (strstr(text, "destroyed") != NULL || strstr(text, "used again") != NULL) {
        snprintf(last_of_destruction, sizeof last_of_destruction, "%s", text);
    }
    if (strstr(text, "loss: ") != NULL || strstr(text, "the primary KEK is") != NULL ||
        strstr(text, "is the primary now") != NULL) {
        snprintf(last_of_loss, sizeof last_of_loss, "%s", text);
    }
}

static inline void open_node(int i)
{
    struct kek_why why;
    struct kek_keyring_settings settings = {
        .config = &configs[i], .pool = rig.pool, .notice = notice};
    nodes[i] = kek_keyring_new(&rig.loop, &settings, &why);
    ck_assert_msg(nodes[i] != NULL, "%s", why.text);
    ring = nodes[i];
}

static inline void set_up(void)
{
    static char context[] = "";
    rig_init(&rig, 2);
    rig.config.context = context;
    rig.config.refresh_ms = 15000;
    rig.config.settle_ms = SETTLE_MS;
    rig.config.destroy_after_ms = DESTROY_AFTER_MS;
    rig.config.health.probe_interval_ms = 60000;
    rig.config.health.canary_interval_ms = 600000;
    rig.providers[0].processes = rig.providers[1].processes = 1;
    rig_open(&rig);
    (void)mkdir(rig.state, 0700);
    clock_us = kek_clock_us() + UINT64_C(1000000000);
    kek_clock_fake(now_us);
    for (int i = NODES - 1; i >= 0; i--) {
        configs[i] = rig.config;
        snprintf(states[i], sizeof states[i], "%s/node-%d", rig.state, i);
        (void)mkdir(states[i], 0700);
        configs[i].state_dir = states[i];
        open_node(i);
    }
}

static inline void close_node(int i)
{
    kek_keyring_stop(nodes[i]);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    while (nodes[i]->record_writing || nodes[i]->home.looking) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    kek_keyring_free(nodes[i]);
}

static inline void tear_down(void)
{
    kek_clock_fake(NULL);
    for (int i = 0; i < NODES; i++) {
        close_node(i);
    }
    rig_close(&rig);
    rig_done(&rig);
}

static inline void pass(unsigned ms)
{
    clock_us += ms * UINT64_C(1000);
}

/* W: may wrap and unwrap, U: unwrap only, -: neither. `mark`: the last byte of its CKA_ID. */
static inline struct kek_version key(uint32_t number, uint8_t mark, char uses)
{
    struct kek_version seen = {
        .number = number, .eligible = true, .can_wrap = uses == 'W', .can_unwrap = uses != '-'};
    seen.id.bytes[0] = (uint8_t)number;
    seen.id.bytes[KEK_ID_LEN - 1] = mark;
    return seen;
}

/* The one worker of that provider, made if it is not there, lists these. */
static inline struct member *lists(size_t provider, const struct kek_version *seen, size_t count)
{
    struct source *source = &ring->sources[provider];
    struct member *member = source->members;
    if (member == NULL) {
        member = calloc(1, sizeof *member);
        ck_assert_ptr_nonnull(member);
        member->source = source;
        member->serial = provider + 1;
        memcpy(member->token, tokens[provider], sizeof member->token);
        member->born_ms = source->youngest_ms = kek_clock_ms();
        DL_APPEND(source->members, member);
    }
    member->begun_ms = member->asked_ms = kek_clock_ms();
    member_take(member, seen, count);
    return member;
}

/* A witness that a state file takes. */
static inline void make_real(struct version *version)
{
    struct kek_why why;
    uint8_t wrapped[40] = {0};
    KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    ck_assert_ptr_nonnull(data_key);
    ck_assert_int_eq(
        witness_seal(version, data_key, KEK_WRAP_AES_KW, kek_bytes(wrapped, sizeof wrapped), &why),
        KEK_OK);
}

/* Every worker opens whatever it may, and every version that may wrap has a witness that all agree on. */
static inline void prove(void)
{
    struct version *version;
    struct member *member;
    DL_FOREACH (ring->versions, version) {
        MEMBER_FOREACH (ring, member) {
            struct view *view = &member->views[version->slot];
            if (version->witness_len == 0 && !version->surplus && !version->compromised &&
                view_may(view, KEK_POOL_WRAP)) {
                make_real(version);
            }
        }
        MEMBER_FOREACH (ring, member) {
            struct view *view = &member->views[version->slot];
            if (version->witness_len > 0 && view_may(view, KEK_POOL_UNWRAP) &&
                view->witness == UNKNOWN) {
                view->witness = OPENED;
                view->since_ms = view->asked_ms = view->opened_ms = kek_clock_ms();
                view->again = false;
            }
            if (view->again) {
                view->asked_ms = view->opened_ms = kek_clock_ms();
                view->again = false;
            }
        }
    }
}

static inline void write_out(void)
{
    while (ring->record_writing) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
}

/* What follows, until nothing more does. */
static inline void turn(void)
{
    for (int i = 0; i < 6; i++) {
        ring->now_ms = kek_clock_ms();
        judge_holdings(ring);
        rank_drive(ring);
        prove();
        primary_drive(ring);
        if (ring->wanted.count > 0) {
            kek_keyring_prepared(ring, &ring->wanted);
        }
        write_out();
        pass(1);
    }
    ageing_drive(ring);
    write_out();
    verdict_drive(ring);
    remarks_drive(ring);
}

static inline void both_list(const struct kek_version *seen, size_t count)
{
    lists(0, seen, count);
    lists(1, seen, count);
    turn();
}

static inline const struct kek_id *primary(void)
{
    return ring->announced ? &ring->primary.generation.kek_ids[0] : NULL;
}

static inline bool leads(const struct kek_version *key)
{
    return ring->announced && kek_id_equal(primary(), &key->id);
}

static inline struct kek_keyring_version told(const struct kek_version *key)
{
    struct kek_keyring_version versions[VERSIONS_MAX];
    size_t count = kek_keyring_versions(ring, versions, VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (kek_id_equal(&versions[i].kek_id, &key->id)) {
            return versions[i];
        }
    }
    ck_abort_msg("version %u is not known", key->number);
}

static inline bool may(size_t provider, enum kek_pool_op op, const struct kek_version *key)
{
    return kek_keyring_may(ring, provider, provider + 1, op, &key->id);
}

static inline enum kek_rc wraps(const struct kek_version *key)
{
    struct kek_generation generation = {.count = 1, .kek_ids = {key->id}, .numbers = {key->number}};
    return kek_keyring_wraps(ring, &generation, NULL);
}

/* The remark of that kind that stands; empty: none. */
static inline const char *remark(enum kek_keyring_remark kind)
{
    static struct kek_keyring_verdict standing[KEK_KEYRING_REMARKS_MAX];
    size_t count = kek_keyring_remarks(ring, standing, KEK_KEYRING_REMARKS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (standing[i].remark == kind) {
            return standing[i].what;
        }
    }
    return "";
}

#endif
