/*
 * Data keys: the current one per generation for sealing, the cache for opening.
 *
 * Nothing is sealed under a data key before it is proven: after the wrap, the worker that made it opens
 * its version's witness once more (so it used the right key), and outside strict mode another worker has
 * unwrapped the data key.  A wrap that cannot be proven is thrown away and made anew.
 * A sealing key is reused up to max_uses or max_age; the next is wrapped ahead at half of either.  The
 * primary always has one, also while nobody seals: it is what bridges an outage.
 * With max_uses 1 (strict mode) every seal is one HSM wrap, proven together with the others that its worker
 * made meanwhile, and every open is one HSM unwrap: no cache, nothing ahead, nothing shared.  Otherwise
 * unwrapped keys are cached (bounded, LRU, time to live counted from the HSM unwrap), entering only once an
 * envelope under them has verified, and concurrent misses for one key are one unwrap that ends with its
 * last waiter.
 * Keys are handed out as references; whoever holds one drops it with kek_datakey_ref_free().
 * One thread: the loop's.
 */
#ifndef KEK_DATAKEY_H
#define KEK_DATAKEY_H

#include "kek/roots.h"

struct kek_datakey_store;
struct kek_datakey_ref;  /* a data key in use */
struct kek_datakey_wait; /* somebody waiting for one */

#define KEK_DATAKEY_FLIGHTS_MAX 1024 /* data keys on their way: to seal, and as many to open */

struct kek_datakey_settings {
    const struct kek_config *config; /* borrowed */
    struct kek_roots *roots;         /* borrowed */
};

struct kek_datakey_store *kek_datakey_store_new(uv_loop_t *loop,
                                                const struct kek_datakey_settings *settings,
                                                struct kek_why *why);
void kek_datakey_store_stop(struct kek_datakey_store *store); /* fails every waiter */
void kek_datakey_store_free(struct kek_datakey_store *store); /* once the loop has run dry */

struct kek_envelope_key *kek_datakey_ref_key(struct kek_datakey_ref *ref);
struct kek_bytes kek_datakey_ref_header(const struct kek_datakey_ref *ref); /* sealing keys only */
void kek_datakey_ref_free(struct kek_datakey_ref *ref);
KEK_DEFINE_AUTO(kek_datakey_ref);

/* ref is the callee's to free; NULL unless KEK_OK. */
typedef void kek_datakey_done_fn(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                                 const struct kek_why *why);

/* A key to seal one payload with. Three outcomes: *ref is set (KEK_OK, *wait NULL); it must be
 * waited for (KEK_OK, *ref NULL, *wait set: `done` will run once, or the wait is cancelled);
 * failure: KEK_PRECONDITION at once where no HSM lets the KEK wrap. */
enum kek_rc kek_datakey_for_sealing(struct kek_datakey_store *store,
                                    const struct kek_generation *generation, uint64_t deadline_ms,
                                    kek_datakey_done_fn *done, void *arg,
                                    struct kek_datakey_ref **ref, struct kek_datakey_wait **wait,
                                    struct kek_why *why) KEK_MUST_CHECK;

/* The key that opens envelopes with this header, in this context; outcomes as above.  KEK_DAMAGED is said
 * only on the word of a worker that opened its witness afterwards, or, where there is no witness, of two of
 * each provider, or of its only one.  In mode `any` every root must say so: what one calls damaged another may open.
 * The caller says kek_datakey_verified() once an envelope under it has opened. */
enum kek_rc kek_datakey_for_opening(struct kek_datakey_store *store,
                                    const struct kek_envelope *envelope, struct kek_bytes context,
                                    uint64_t deadline_ms, kek_datakey_done_fn *done, void *arg,
                                    struct kek_datakey_ref **ref, struct kek_datakey_wait **wait,
                                    struct kek_why *why) KEK_MUST_CHECK;

/* No envelope opened under `ref`, and some wrap of it does not authenticate (kek_wrap_alg_authenticates() is
 * false), so that it may be a wrong key.  Outcomes as of kek_datakey_for_opening(): KEK_DAMAGED if each worker
 * that unwrapped so opens its witness now, else the key as another worker, or another root, unwraps it. */
enum kek_rc kek_datakey_doubted(struct kek_datakey_store *store, const struct kek_datakey_ref *ref,
                                uint64_t deadline_ms, kek_datakey_done_fn *done, void *arg,
                                struct kek_datakey_wait **wait, struct kek_why *why) KEK_MUST_CHECK;

/* The same data key in another context, without asking the HSM again: `ref` is from
 * kek_datakey_for_opening() and has opened nothing.  The caller's to free.  NULL: no such context, no
 * memory, or the data key itself is no longer known; then the HSM is to be asked. */
struct kek_datakey_ref *kek_datakey_in_context(struct kek_datakey_store *store,
                                               const struct kek_datakey_ref *ref,
                                               struct kek_bytes context);

/* Is that key in the cache? For trying the likelier of several contexts first. */
bool kek_datakey_cached(const struct kek_datakey_store *store, const struct kek_envelope *envelope,
                        struct kek_bytes context);

/* Which KEKs gave this data key, by their places in its header, a bit for each: one in mode `any`, all of them in mode
 * `all`, and all that it was wrapped under where it was made here. */
unsigned kek_datakey_ref_keks(const struct kek_datakey_ref *ref);

/* The provider, counted over all roots, whose HSM did, or failed to do, what was waited for: the last one that
 * answered; KEK_POOL_ANY: none did.  Also while `done` runs. */
size_t kek_datakey_wait_provider(const struct kek_datakey_wait *wait);

/* What was asked of the KEKs of a data key, by their places in its header, or its generation. */
struct kek_datakey_keks {
    uint8_t asked;                              /* a bit for each that an HSM was asked for */
    uint8_t answered[KEK_ENVELOPE_ENTRIES_MAX]; /* 1 + the provider that did last; 0: none did */
};
/* So far; borrowed, and while `done` runs what came of it. */
const struct kek_datakey_keks *kek_datakey_wait_keks(const struct kek_datakey_wait *wait);

/* An entry that its own root called damaged, and another root opened. */
struct kek_datakey_damage {
    const char *root;   /* its name, borrowed */
    struct kek_why why; /* what its HSM says */
};
/* While `done` runs with KEK_OK: the last such entry. NULL: none. */
const struct kek_datakey_damage *kek_datakey_wait_damage(const struct kek_datakey_wait *wait);

void kek_datakey_verified(struct kek_datakey_store *store, struct kek_datakey_ref *ref);
void kek_datakey_cancel(struct kek_datakey_wait *wait);

/* This whole ciphertext is damaged, in that context or in all (UINT8_MAX), after the HSM was asked and that was
 * final.  The last 64 are remembered for 30 s, or until the keyring changes: one that is asked for again and
 * again costs an unwrap each time otherwise.  Strict mode, where each Decrypt is an unwrap, remembers none. */
void kek_datakey_note_damaged(struct kek_datakey_store *store, struct kek_bytes sealed,
                              uint8_t context);
bool kek_datakey_is_damaged(const struct kek_datakey_store *store, struct kek_bytes sealed,
                            uint8_t context);

/* The keyring's `changed`: drops what was made under a version that may no longer wrap, and what was cached
 * from one that may no longer unwrap; fails whom waiting cannot help; makes what is wanted. */
void kek_datakey_review(struct kek_datakey_store *store);

/* Could a payload be sealed under this generation right now, without the HSM? False in strict mode. */
bool kek_datakey_can_seal(const struct kek_datakey_store *store,
                          const struct kek_generation *generation);

struct kek_datakey_stats {
    uint64_t wraps, unwraps; /* HSM operations asked for */
    uint64_t cache_hits, cache_misses, cache_evictions;
    size_t cache_entries, flights;
};
void kek_datakey_stats(const struct kek_datakey_store *store, struct kek_datakey_stats *stats);

#endif
