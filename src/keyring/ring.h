/*
 * The keyring's own face: what its files share.  keyring.c owns the versions and who is primary,
 * look.c takes in what providers show, witness.c proves versions on them, record.c is the state file,
 * health.c judges, uses.c counts.
 */
#ifndef KEK_KEYRING_RING_H
#define KEK_KEYRING_RING_H

#include "kek/keyring.h"

#define WITNESS_MAX 256        /* bytes of a witness envelope */
#define VERSIONS_MAX 64        /* versions known at once */
#define WITNESS_TRUST_MS 60000 /* how long an opened witness vouches for its provider */
#define PROBE_AGAIN_MS 5000    /* between probes of a provider whose last one failed */
#define REFRESH_LIMIT_MS 5000  /* refreshes asked for by traffic, at most one in this time */

struct proof;

/* A version as one provider shows it. */
struct held {
    bool present;
    bool eligible;
    bool can_wrap;
    bool can_unwrap;
    bool told;    /* that it is not eligible */
    bool refused; /* it could not open the witness: another key under the same name */
    bool
        party; /* to the version's dispute, until it opens the witness or a fresh worker saw no key */
    enum kek_wrap_alg alg;
    uint64_t opened_ms;  /* when it last opened the witness; 0: never */
    struct proof *proof; /* under way */
};

struct version {
    uint32_t number;
    struct kek_id id;
    size_t witness_len; /* 0: none yet */
    uint8_t witness[WITNESS_MAX];
    uint64_t ready_ms; /* since when it could be primary, by all that answer; 0: it cannot now */
    bool recorded;     /* on disk at the start, or announced: what fails its witness is wrong */
    bool disputed; /* providers hold different keys under its name, and none is known to be right */
    bool prepared;
    uint64_t gcm_wraps, gcm_reserved; /* uses.c; the second is what the record says */
    bool gcm_warned;
    struct held held[KEK_CONFIG_PROVIDERS_MAX];
};

/* A provider as the keyring sees it. */
struct source {
    struct kek_keyring *ring;
    size_t index;
    bool ready;      /* a worker was ready when last heard of */
    bool listed;     /* its versions were seen since the start */
    bool confirming; /* the list under way comes from a fresh worker, to confirm a loss */
    bool gone;       /* a fresh worker saw the primary missing or unusable there */
    bool confirmed;  /* what is being taken in comes from such a list */
    uint64_t wrapped_ms, unwrapped_ms; /* when such an operation there last worked; 0: never */
    bool probe_failed;
    enum kek_pool_op probe_failed_at; /* what did not work; PROBE: both did, and did not match */
    uint64_t vouching;                /* serial of the worker that is being looked at; 0: none */
    size_t vouch_at;                  /* the version it is asked about */
    struct kek_pool_call *list;
    struct probe *probe;
};

enum { REFRESH, PROBE, CANARY, SETTLE, SOON, TIMERS };

struct refresh_waiter {
    void (*done)(void *arg);
    void *arg;
    struct refresh_waiter *next;
};

struct kek_keyring {
    struct kek_keyring_settings settings;
    uv_loop_t *loop;
    uv_timer_t timers[TIMERS];
    bool stopped;

    struct version *versions[VERSIONS_MAX];
    size_t version_count;
    struct source sources[KEK_CONFIG_PROVIDERS_MAX];
    size_t source_count;

    bool announced;
    struct kek_keyring_primary primary;

    /* The record on disk: written whole, one write at a time. */
    char *record_path;
    bool record_writing;
    bool record_dirty;
    bool record_announces;      /* the write under way holds `announcing` as the primary */
    struct version *announcing; /* to be announced once it is on disk as the primary */

    size_t lists_running;
    uint64_t refreshed_ms;
    struct refresh_waiter *waiters;

    bool loss;
    uint64_t loss_since_ms;
    bool outage;
    uint64_t outage_since_ms;
    uint64_t good_since_ms; /* the start, or the end of the last trouble */
};

/* keyring.c */
struct version *ring_find(const struct kek_keyring *ring, const struct kek_id *kek_id);
struct version *ring_add(struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t number);
/* Where VERSIONS_MAX are known, forgets the oldest that is on no provider: destroyed ones, which stay known
 * and recorded, must not keep new ones out. */
void ring_make_room(struct kek_keyring *ring);
void ring_evaluate(struct kek_keyring *ring); /* something changed: who is primary, what is lost? */
/* An operation worked there: as good as a probe of it. */
void ring_worked(struct kek_keyring *ring, size_t provider, enum kek_pool_op op);
bool ring_answers(const struct kek_keyring *ring, size_t provider);
bool held_unwraps(const struct version *version, size_t provider);
bool held_wraps(const struct version *version, size_t provider);
bool ring_any(const struct kek_keyring *ring, const struct version *version,
              bool (*holds)(const struct version *, size_t));
void ring_probe_soon(struct kek_keyring *ring);
/* Has a fresh worker list the keys: that one is missing is not believed of one that may have cached. */
void ring_confirm_loss(struct kek_keyring *ring, size_t provider);

void ring_notice(const struct kek_keyring *ring, enum kek_log_level level, const char *format, ...)
    KEK_PRINTF(3, 4);

/* look.c */
void look_due(uv_timer_t *timer); /* the refresh timer's */
void look_stop(struct kek_keyring *ring);
/* A provider refused an operation: it has no such key now, or may not use it so. */
void look_refused(struct kek_keyring *ring, size_t provider, const struct kek_id *kek_id,
                  enum kek_pool_op op, enum kek_rc rc);

/* witness.c */
void witness_prove(struct kek_keyring *ring, size_t provider, struct version *version);
void witness_prove_all(struct kek_keyring *ring, size_t provider);
void witness_probe(struct kek_keyring *ring, size_t provider);
/* Ends the version's dispute once no provider is party to it any more. */
void witness_settle_dispute(struct kek_keyring *ring, struct version *version);
/* Has every new worker of this provider open the witnesses before traffic goes to it. */
void witness_vouch(struct kek_keyring *ring, size_t provider);
void witness_stop(struct kek_keyring *ring);

/* record.c */
enum kek_rc record_load(struct kek_keyring *ring, struct kek_why *why);
void record_save(struct kek_keyring *ring);
/* The file's content into a ring that knows nothing yet, at ring->record_path for messages. */
enum kek_rc record_parse(struct kek_keyring *ring, struct kek_bytes content, struct kek_why *why);
/* And back, with `next` as the primary if there is one: to be freed. NULL: no memory. */
char *record_text(const struct kek_keyring *ring, const struct version *next);

/* health.c */
void health_evaluate(struct kek_keyring *ring);
bool health_any_starting(const struct kek_keyring *ring); /* no worker was ready, none has failed */

#endif
