/*
 * What the files of this room share, from the lowest up; each calls only those above it:
 * ref.c has references and names; cache.c keeps keys to open with; damaged.c knows
 * what opened to nothing a moment ago; flight.c has those who wait;
 * proof.c has data keys wrapped and proven; sealing.c keeps the keys to seal with; unwrap.c has one entry of an
 * envelope unwrapped, opening.c and its own (opening.h) a whole one's data key; store.c is the face over all of them.
 */
#ifndef KEK_DATAKEY_STORE_H
#define KEK_DATAKEY_STORE_H

#include "kek/datakey.h"

#define uthash_fatal(text) abort()
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV /* the default one falls through a switch, which clang warns about */
#include <uthash.h>
#include <utlist.h>

#define SLOTS_MAX 8      /* generations with a sealing key at once */
#define FLIGHT_MS 10000u /* for a data key made ahead, with nobody waiting */
#define TRIES_MAX 8      /* of one data key, after what a worker said or did was not believed */
#define TEND_MS 1000u    /* between looks at whether a sealing key is in place */
#define SWEEP_MS 60000u  /* how long an expired key may stay in memory unasked for */

/* The largest header: prefix, and four entries (docs/envelope-format.md). */
#define HEADER_MAX (7 + KEK_ENVELOPE_ENTRIES_MAX * (1 + KEK_ID_LEN + 2 + KEK_WRAPPED_MAX))

/* What makes a key that opens: the header of its envelopes, whatever the length of what is wrapped in it,
 * and the context behind it (0: config's context; i + 1: context_accept[i]). */
struct name {
    size_t len;
    uint8_t bytes[HEADER_MAX + 1];
};

/* Which worker unwrapped an entry's key, or share; 0: none did. */
struct source {
    size_t provider;      /* of its root */
    uint64_t worker;      /* of its root's pool: another root's may have the same serial */
    uint32_t denied;      /* a bit for each provider whose key, or word, was not believed before */
    uint32_t denied_once; /* likewise, of one of its workers */
};

/* Where the key of a whole header comes from. */
struct sources {
    struct source of[KEK_ENVELOPE_ENTRIES_MAX]; /* by entry */
    uint8_t entry;                              /* mode any: whose key it is */
    uint8_t damaged; /* mode any: a bit for each entry that its own root cannot open for good */
};

struct kek_datakey_ref {
    size_t refs;
    struct kek_envelope_key *key;
    struct kek_secret *data_key; /* until it is known in which of several contexts it opens */
    uint64_t born_ms;            /* when the HSM last unwrapped it */
    uint64_t uses;
    struct sources sources;
    uint8_t keks;  /* kek_datakey_ref_keks() */
    bool verified; /* an envelope under it has opened, or it was proven to seal with */
    bool cached;
    UT_hash_handle hh;                   /* in the cache, by name */
    struct kek_datakey_ref *prev, *next; /* in the cache, least recently used first */
    size_t name_len;
    uint8_t name[];
};

struct flight;

struct kek_datakey_wait {
    struct flight *flight;               /* NULL: it has landed */
    size_t provider;                     /* then: who answered last */
    const struct kek_datakey_keks *keks; /* then, while `done` runs */
    const struct kek_datakey_damage
        *damage; /* then, while `done` runs: what another root opened; or NULL */
    uint64_t deadline_ms;
    kek_datakey_done_fn *done;
    void *arg;
    struct kek_datakey_wait *prev, *next;
};

/* The flights of one kind. Each kind has its own limit: what waits to be sealed keeps nobody from opening. */
struct fleet {
    struct flight *flights;
    size_t count;
};

/* One data key being made or unwrapped, for all who wait for it: the part that both kinds have. */
struct flight {
    struct kek_datakey_store *store;
    struct fleet *fleet;
    bool lingers;    /* it goes on without anybody waiting */
    size_t provider; /* over all roots, that answered last; KEK_POOL_ANY: none did */
    struct kek_datakey_keks keks;
    struct kek_datakey_damage damage; /* root NULL: none */
    /* Calls off what is under way, and frees it. */
    void (*end)(struct flight *flight);
    struct kek_datakey_wait *waits;
    uint64_t waiting;           /* how many */
    struct flight *prev, *next; /* in the fleet */
};

/* The sealing keys of one generation. */
struct slot {
    bool used;
    struct kek_generation generation;
    struct kek_datakey_ref *current;
    struct kek_datakey_ref *ahead;
    struct sealing *flight;
    uint64_t failed_ms; /* when a key made ahead last failed */
};

#define DAMAGED_MAX 64

/* A ciphertext that was found damaged. */
struct damaged {
    uint64_t until_ms; /* it is answered without the HSM */
    uint8_t sum[32];
};

struct kek_datakey_store {
    struct kek_datakey_settings settings;
    bool stopped;
    uv_timer_t timer;
    uv_timer_t late;  /* when the first leg has had its part of the time */
    uint64_t late_ms; /* that moment; 0: there is none */
    struct slot slots[SLOTS_MAX];
    struct kek_datakey_ref *cache; /* by name */
    struct kek_datakey_ref *by_use;
    uint64_t swept_ms;
    struct opening *opening;  /* shared ones by name */
    struct opening *doubting; /* likewise, of keys that opened nothing */
    struct fleet to_seal, to_open;
    struct damaged damaged[DAMAGED_MAX];
    size_t damaged_next;
    uint64_t damaged_until_ms; /* of the last one */
    struct kek_datakey_stats stats;
};

/* ---- ref.c ---- */

bool store_strict(const struct kek_datakey_store *store);
struct kek_bytes store_context(const struct kek_datakey_store *store, uint8_t context);
bool store_context_index(const struct kek_datakey_store *store, struct kek_bytes context,
                         uint8_t *index);

/* False: no such header can be. */
bool name_fill(struct name *name, struct kek_bytes header, uint8_t context);

/* `name` may be another's: it is copied. */
struct kek_datakey_ref *ref_new(const struct kek_datakey_store *store, struct kek_bytes name,
                                const struct kek_secret *data_key, struct kek_why *why);
struct kek_datakey_ref *ref_share(struct kek_datakey_ref *ref);
struct kek_bytes ref_name(const struct kek_datakey_ref *ref);

/* ---- cache.c ---- */

void cache_put(struct kek_datakey_store *store, struct kek_datakey_ref *ref);
struct kek_datakey_ref *cache_get(struct kek_datakey_store *store, const struct name *name);
bool cache_has(const struct kek_datakey_store *store, const struct name *name);
void cache_sweep(struct kek_datakey_store *store);  /* what is too old */
void cache_review(struct kek_datakey_store *store); /* what may no longer be opened */
void cache_clear(struct kek_datakey_store *store);

/* ---- damaged.c ---- */

void damaged_forget(struct kek_datakey_store *store);

/* ---- flight.c ---- */

/* False: kekd is stopping, or there are too many; nobody then knows the flight. */
bool flight_init(struct flight *flight, struct kek_datakey_store *store, struct fleet *fleet,
                 void (*end)(struct flight *flight), struct kek_why *why);
struct kek_datakey_wait *flight_join(struct flight *flight, uint64_t deadline_ms,
                                     kek_datakey_done_fn *done, void *arg, struct kek_why *why);
uint64_t flight_deadline(const struct flight *flight); /* of its most patient waiter */
/* Did somebody more patient join after the HSM was asked? */
bool flight_has_time(const struct flight *flight);
/* An HSM is asked for the KEK at that place of the header, or generation. */
void flight_asked(struct flight *flight, size_t place);
/* A provider of the root that this KEK is of answered, or none: KEK_POOL_ANY. */
void flight_answered(struct flight *flight, size_t place, const struct kek_root *root,
                     size_t provider);
/* May it try something else?  As the above, and also while nobody waits. */
bool flight_may_go_on(const struct flight *flight);
/* Ends the flight: every waiter gets a share of ref, or rc and why, which may live in the flight. ref stays
 * the caller's. */
void flight_land(struct flight *flight, enum kek_rc rc, struct kek_datakey_ref *ref,
                 const struct kek_why *why);

/* ---- proof.c ---- */

/* A data key for one generation: `done` gets its header once every leg is proven, or the failure. */
struct proof;
typedef void proof_done_fn(void *arg, enum kek_rc rc, struct kek_bytes header,
                           const struct kek_why *why);

/* `flight`'s patience is the proof's; data_key is borrowed. NULL: why says why. */
struct proof *proof_start(struct flight *flight, const struct kek_generation *generation,
                          const struct kek_secret *data_key, uint64_t deadline_ms,
                          proof_done_fn *done, void *arg, struct kek_why *why);
void proof_end(struct proof *proof); /* calls off what is under way, and frees it */
/* The workers may be others now: who waits for another than the one that wrapped, and there is none any
 * more, is content with any. */
void proof_review(struct proof *proof);

/* ---- unwrap.c ---- */

/* One entry's data key or share, on its way.  `done` gets it in result, KEK_OK, or the failure, which unwrap->why says. */
struct unwrap;
typedef void unwrap_done_fn(struct unwrap *unwrap, enum kek_rc rc, struct kek_pool_result *result);

struct unwrap {
    struct flight *flight;
    const struct kek_root *root;
    const struct kek_envelope_entry *entry; /* borrowed */
    size_t place;                           /* of it in the header */
    unwrap_done_fn *done;
    uint64_t until_ms; /* it gives up then; 0: as late as the flight */
    struct kek_pool_call *call;
    struct kek_keyring_wait *wait; /* a check, or a look */
    unsigned tries;
    struct kek_why why;  /* the failure, also while it is looked into */
    enum kek_rc rc;      /* likewise, while the tokens are looked at */
    uint64_t worker;     /* that failed so */
    uint64_t not_worker; /* not to be asked; 0: any may be */
    bool wrong_key;      /* since that one uses another key */
    size_t only;         /* the provider to ask, or KEK_POOL_ANY */
    uint32_t denied; /* a bit per provider whose word was not believed, where there is no witness */
    uint32_t denied_once; /* likewise, by one of its workers */
    struct source source; /* of what was unwrapped */
};

/* Of the entry at that place of the header. */
void unwrap_init(struct unwrap *unwrap, struct flight *flight, const struct kek_envelope *header,
                 size_t place, unwrap_done_fn *done);
/* KEK_OK: it is under way; else it failed, and `done` does not run. */
enum kek_rc unwrap_ask(struct unwrap *unwrap) KEK_MUST_CHECK;
/* The same, where what came before opened nothing. */
enum kek_rc unwrap_doubt(struct unwrap *unwrap, const struct source *source) KEK_MUST_CHECK;
/* Not KEK_OK: waiting cannot help, and it is over; `done` did not run. */
enum kek_rc unwrap_review(struct unwrap *unwrap) KEK_MUST_CHECK;
void unwrap_end(struct unwrap *unwrap); /* calls off what is under way */

/* ---- opening.c ---- */

/* Fails whom waiting cannot help. */
void opening_review(struct kek_datakey_store *store);

/* ---- sealing.c ---- */

/* Drops what is spent, and has a key to seal with and the next one in time for the primary. */
void sealing_tend(struct kek_datakey_store *store);
/* Drops what may no longer wrap, fails whom waiting cannot help, and makes what the keyring wants. */
void sealing_review(struct kek_datakey_store *store);
void sealing_stop(struct kek_datakey_store *store);

#endif
