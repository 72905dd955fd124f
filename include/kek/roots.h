/*
 * Roots of trust, joined: what is sealed under, and what opens.
 *
 * A root is a keyring of its own, held by providers of its own; which KEK of it is the primary it works out alone.
 * Here the primaries of all roots become one generation, with one key_id.  In mode `any` each root's KEK wraps the data
 * key, and each opens it alone.  In mode `all` each wraps a share of its own, and all are needed.
 *
 * In mode `any` a root that cannot wrap leaves the generation once nothing else bridges it (the data key at hand
 * is half spent, or strict mode has none), so that sealing goes on; it comes back once it was good for `settle`.
 * What is sealed meanwhile is under fewer KEKs and has another key_id: who looks sees it, and who rewrites mends
 * it.  A generation that was announced before may so be announced again; of one root, versions never go back.
 * With one root everything here is that root's keyring.
 * One thread: the loop's.  It borrows pools and keyrings, which outlive it.
 */
#ifndef KEK_ROOTS_H
#define KEK_ROOTS_H

#include "kek/keyring.h"
#include "kek/root_rules.h"

struct kek_root {
    const char *name; /* "" where it is the only one and has none */
    struct kek_pool *pool;
    struct kek_keyring *ring;
    size_t provider; /* its first one's index among all; its own count from there */
    bool seals;      /* else it only opens */
    bool needed;     /* in mode `all`: else what it has no share of opens, too */
};

struct kek_roots_settings {
    const struct kek_config *config; /* borrowed, outlives the roots */
    uint8_t mode;                    /* KEK_ENVELOPE_MODE_... */
    uint8_t mode_accept;             /* what opens besides, and never seals; or the same */
    struct kek_root roots[KEK_ROOTS_MAX];
    size_t count; /* 1 to KEK_ROOTS_MAX */
    /* What this face answers may be different now. Runs from the loop. */
    void (*changed)(void *arg);
    /* A root left the generation, or came back. */
    void (*notice)(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                   const char *text);
    void *arg;
};

struct kek_roots;

/* NULL: no memory. */
struct kek_roots *kek_roots_new(uv_loop_t *loop, const struct kek_roots_settings *settings,
                                struct kek_why *why);
/* Every wait ends. What is known may still be asked for. */
void kek_roots_stop(struct kek_roots *roots);
void kek_roots_free(struct kek_roots *roots); /* after stop, once the loop has run dry */
KEK_DEFINE_AUTO(kek_roots);

/* A keyring's `changed`: works out what follows of it, and then runs this one's. */
void kek_roots_review(struct kek_roots *roots);

size_t kek_roots_count(const struct kek_roots *roots);
const struct kek_root *kek_roots_at(const struct kek_roots *roots, size_t root);

/* The root to open that KEK's wraps by: of several that know it one that may and can do so now, before one that only may,
 * before the others, each in their order; the first root if none does. What is sealed says whose each KEK is itself
 * (struct kek_generation). */
const struct kek_root *kek_roots_of(const struct kek_roots *roots, const struct kek_id *kek_id);

/* ---- the primary ---- */

/* As kek_keyring_primary(), _wanted(), _prepared(), _is_changing() and _wraps(), of generations of all roots. */
bool kek_roots_primary(const struct kek_roots *roots, struct kek_keyring_primary *primary);
const struct kek_generation *kek_roots_wanted(const struct kek_roots *roots);
void kek_roots_prepared(struct kek_roots *roots, const struct kek_generation *generation);
bool kek_roots_is_changing(const struct kek_roots *roots);
enum kek_rc kek_roots_wraps(const struct kek_roots *roots, const struct kek_generation *generation,
                            struct kek_why *why) KEK_MUST_CHECK;

/* Whether a data key under the primary is at hand that lasts: who makes them says so. */
void kek_roots_bridged(struct kek_roots *roots, bool bridged);

/* ---- what opens ---- */

/* KEK_OK: an envelope of this form, by its kek ids, may be opened here.  KEK_PRECONDITION, as kek_root_rules_check(): a mode
 * or a number of entries that this configuration does not have, or a KEK in a place that is another root's, so that nobody
 * who can write to etcd turns *all* into *any*. */
enum kek_rc kek_roots_form(const struct kek_roots *roots, const struct kek_envelope *envelope,
                           struct kek_why *why) KEK_MUST_CHECK;

/* As kek_keyring_find(), of a whole envelope: in mode `any` the best of its entries, in mode `all` the worst.  *entry: the
 * one that decides; may be NULL. */
enum kek_keyring_knows kek_roots_find(const struct kek_roots *roots,
                                      const struct kek_envelope *envelope, size_t *entry);

/* ---- waiting ---- */

/* As kek_keyring_await() and _look(), over all roots. */
struct kek_roots_wait;
struct kek_roots_wait *kek_roots_await(struct kek_roots *roots, void (*done)(void *arg), void *arg);
struct kek_roots_wait *kek_roots_look(struct kek_roots *roots, void (*done)(void *arg), void *arg);
void kek_roots_cancel(struct kek_roots_wait *wait);

/* ---- for people ---- */

/* As kek_keyring_verdict(), _state() and _remarks(): one word on all roots, with the root's name in it where there are
 * several; `provider` counts over all. */
void kek_roots_verdict(const struct kek_roots *roots, struct kek_keyring_verdict *verdict);
enum kek_keyring_state kek_roots_state(const struct kek_roots *roots);
size_t kek_roots_remarks(const struct kek_roots *roots, struct kek_keyring_verdict *remarks,
                         size_t max);
/* What is to be mended of the node itself, which no keyring sees: it is the last of the remarks from here on. NULL: nothing. */
void kek_roots_tell(struct kek_roots *roots, const struct kek_keyring_verdict *remark);
/* As kek_keyring_versions() and _destroyed(), of one root after the other; what they say by provider counts over all. */
size_t kek_roots_versions(const struct kek_roots *roots, struct kek_keyring_version *versions,
                          size_t max);
size_t kek_roots_destroyed(const struct kek_roots *roots, struct kek_keyring_history *list,
                           size_t max);

#endif
