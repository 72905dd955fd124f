/*
 * What the files of this room share.  store.c owns references, the cache and the limits; sealing.c
 * makes sealing keys; opening.c unwraps keys to open with.
 */
#ifndef KEK_DATAKEY_STORE_H
#define KEK_DATAKEY_STORE_H

#include "kek/datakey.h"

#define uthash_fatal(text) abort()
#define HASH_NONFATAL_OOM 1
#define HASH_FUNCTION HASH_FNV /* the default one falls through a switch, which clang warns about */
#include <uthash.h>
#include <utlist.h>

#define BLOB_MAX 64      /* bytes of a wrapped data key of any algorithm we know */
#define SLOTS_MAX 8      /* KEK versions with a sealing key at once */
#define FLIGHT_MS 10000u /* for a data key made ahead, with nobody waiting */
#define RETRIES_MAX 3    /* of one data key, after a provider refused it */
#define TEND_MS 1000u    /* between looks at whether a sealing key is in place */
#define SWEEP_MS 60000u  /* how long an expired key may stay in memory unasked for */

/* What makes a data key itself: hashed as bytes, so unused bytes are zero. */
struct key_name {
    uint8_t context; /* 0: config's context; i + 1: context_accept[i] */
    uint8_t alg;
    uint8_t blob_len;
    uint8_t kek_id[KEK_ID_LEN];
    uint8_t blob[BLOB_MAX];
};

struct kek_datakey_ref {
    size_t refs;
    struct key_name name;
    struct kek_envelope_key *key;
    struct kek_secret *data_key; /* until it is known in which of several contexts it opens */
    struct kek_buf header;       /* sealing keys only */
    uint64_t born_ms;            /* when the HSM last unwrapped it */
    uint64_t uses;
    bool cached;
    UT_hash_handle hh;                   /* in the cache, by name */
    struct kek_datakey_ref *prev, *next; /* in the cache, least recently used first */
};

struct flight;

struct kek_datakey_wait {
    struct flight *flight;
    uint64_t deadline_ms;
    kek_datakey_done_fn *done;
    void *arg;
    struct kek_datakey_wait *prev, *next;
};

enum flight_step { WRAPPING, VERIFYING, UNWRAPPING, CHECKING, REFRESHING };

/* One data key being made or unwrapped, for all who wait for it. */
struct flight {
    struct kek_datakey_store *store;
    enum flight_step step;
    struct key_name name;        /* when sealing: known once wrapped */
    struct kek_secret *data_key; /* sealing */
    struct slot *slot;           /* sealing, shared; NULL in strict mode */
    bool shared;                 /* opening: others may join */
    bool dropped; /* cancelled while a step ran that cannot be: free it when it ends */
    unsigned retries;
    struct kek_pool_call *call;
    struct kek_why why; /* of the failure that is being looked into */
    size_t provider;    /* that failed so */
    size_t only;        /* opening: the one to ask, or KEK_POOL_ANY */
    uint32_t denied;    /* opening: a bit per provider that called the blob damaged, unproven */
    enum kek_rc rc;
    struct kek_datakey_wait *waits;
    uint64_t waiting;           /* how many */
    UT_hash_handle hh;          /* opening, shared: by name */
    struct flight *prev, *next; /* all */
};

/* The sealing keys of one KEK version. */
struct slot {
    bool used;
    struct kek_id kek_id;
    struct kek_datakey_ref *current;
    struct kek_datakey_ref *ahead;
    struct flight *flight;
    uint64_t failed_ms; /* when a key made ahead last failed */
    bool preparing;     /* the keyring asked for it */
};

struct kek_datakey_store {
    struct kek_datakey_settings settings;
    bool stopped;
    uv_timer_t timer;
    struct slot slots[SLOTS_MAX];
    struct kek_datakey_ref *cache; /* by name */
    struct kek_datakey_ref *by_use;
    uint64_t swept_ms;
    struct flight *opening; /* shared flights by name */
    struct flight *flights; /* all of them */
    struct kek_datakey_stats stats;
};

/* store.c */
bool store_strict(const struct kek_datakey_store *store);
struct kek_bytes store_context(const struct kek_datakey_store *store, uint8_t context);
struct kek_datakey_ref *ref_new(struct kek_datakey_store *store, const struct key_name *name,
                                const struct kek_secret *data_key, struct kek_why *why);
struct kek_datakey_ref *ref_share(struct kek_datakey_ref *ref);
void cache_put(struct kek_datakey_store *store, struct kek_datakey_ref *ref);
struct kek_datakey_ref *cache_get(struct kek_datakey_store *store, const struct key_name *name);
void cache_purge(struct kek_datakey_store *store, const struct kek_id *kek_id);
bool name_fill(struct key_name *name, enum kek_wrap_alg alg, const struct kek_id *kek_id,
               struct kek_bytes blob, uint8_t context);

/* flight.c */
struct flight *flight_new(struct kek_datakey_store *store, struct kek_why *why);
struct kek_datakey_wait *flight_join(struct flight *flight, uint64_t deadline_ms,
                                     kek_datakey_done_fn *done, void *arg, struct kek_why *why);
uint64_t flight_deadline(const struct flight *flight); /* of its most patient waiter */
/* Did somebody more patient join after the HSM was asked? */
bool flight_has_time(const struct flight *flight);
/* Ends the flight: every waiter gets a share of ref, or rc and why. Frees it. ref stays the caller's. */
void flight_land(struct flight *flight, enum kek_rc rc, struct kek_datakey_ref *ref,
                 const struct kek_why *why);

/* sealing.c */
/* Drops what is spent, and has a key to seal with and the next one in time for the primary. */
void sealing_tend(struct kek_datakey_store *store);
void sealing_stop(struct kek_datakey_store *store);

#endif
