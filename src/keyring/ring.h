/*
 * What the keyring's files share.  Each may call those above it, never back:
 *
 *   generation.c  key_id
 *   wait.c        who waits for the keyring
 *   canary.c      how each provider does at opening each witness, time after time
 *   facts.c       what is known: versions, workers, what each worker showed and opened
 *   history.c     what is remembered of versions that are out of use, and its part of the state file
 *   lapse.c       since when, and until when, other roots of trust sealed without this one, and its part of it
 *   tokens.c      which tokens are known to be this keyring's, and its part of it
 *   moved.c       in which file the record is, where roots of trust got names or lost them
 *   home.c        whether state_dir is still the folder that was locked
 *   record.c      the state file, and how often a KEK wrapped by AES-GCM
 *   beside.c      another keyring's record, where there is none of this one
 *   protected.c   what begins that, and kekctl's word that ends it
 *   witness.c     the small envelope that tells one key from another
 *   check.c       one worker being asked: does it open a version's witness?
 *   trip.c        one data key being wrapped and unwrapped: a first witness, a probe
 *   judge.c       what follows of it for workers and for what providers are known to hold
 *   rank.c        which of the keys of one number is the version, and what is newer than the primary
 *   say.c         words: a key's state; what is so and what is to be done, into a verdict
 *   use.c         which versions are still in use, and which of them nobody opens
 *   look.c        when which worker lists its keys anew, and when a fresh one is wanted
 *   primary.c     what is agreed on, what is announced
 *   obstacle.c    what keeps a version from being announced, in words
 *   versions.c    what is told of each version
 *   ageing.c      how long a version has been out of use, who asked for it, and that it was destroyed
 *   verdict.c     how things are
 *   remarks.c     what else is to be mended
 *   keyring.c     the face, and the turn that calls all of them
 *
 * Whatever happens changes facts and calls ring_dirty().  What follows is worked out in the turn.
 */
#ifndef KEK_KEYRING_RING_H
#define KEK_KEYRING_RING_H

#include "kek/keyring.h"
#include "kek/lock_file.h"
#include "keyring/home.h"
#include "keyring/lapse.h"

#include <jansson.h>
#include <utlist.h>

#define WITNESS_MAX (128 + KEK_WRAPPED_MAX) /* bytes of a witness envelope with one entry */
#define RECORD_MAX (256u * 1024)            /* bytes of the state file */
#define VERSIONS_MAX 64                     /* versions known at once; a bit each */
#define TOKENS_MAX (4 * KEK_CONFIG_PROVIDERS_MAX)
#define TICK_MS 1000u     /* how late anything is that time alone brings */
#define CALL_MS 10000u    /* for the keyring's own calls to the pool */
#define ABSENT_LOOKS 2    /* fresh workers in a row that must miss a key */
#define CANARY_FAILURES 2 /* in a row, that are believed */

/* A worker was asked to use a key, and said that it may not. */
struct refusal {
    unsigned count; /* in a row, whatever it listed in between; 0: none */
    uint64_t us;    /* of kek_clock_us(): the last one */
    bool unheard;   /* it has not listed since */
};

/* A version as one worker shows it, and what that worker was seen to do with it. */
struct view {
    bool present, eligible, can_wrap, can_unwrap; /* as it last listed */
    bool compromised;                             /* likewise: marked so there */
    int64_t
        destroy_s; /* likewise: since 1970, when it is destroyed by itself; 0: nothing is scheduled */
    enum kek_attestation attestation; /* likewise */
    struct refusal to_wrap, to_unwrap;
    bool wraps_wrongly; /* with another key than it unwraps with; until a probe shows otherwise */
    uint64_t shown_ms;  /* since when it lists it so */
    enum kek_wrap_alg alg;
    enum { UNKNOWN = 0, OPENED, FAILED } witness; /* what it made of the version's witness */
    uint64_t since_ms;                            /* when that was first found out */
    uint64_t asked_ms;                            /* when it was last found out, or asked in vain */
    uint64_t opened_ms;                           /* when it last opened it; 0: it has not */
    bool again;                                   /* to be asked once more, whatever is known */
    bool doubted;                                 /* it failed once, which may pass */
    unsigned failures;   /* to open it, in a row, whatever it showed and the token may have said */
    struct check *check; /* being asked, or waited for */
};

/* One worker opening one version's witness.  Whoever comes while it is under way waits for the next. */
struct check {
    struct member *member;
    struct version *version;
    struct kek_pool_call *call; /* NULL: it has not begun */
    uint64_t begun_us;          /* of kek_clock_us() */
    struct kek_keyring_wait *now, *next;
    unsigned next_count;
    uint64_t next_ms; /* when the first of `next` came */
};

/* A worker that is ready. */
struct member {
    struct source *source;
    uint64_t serial;
    char token[KEK_TOKEN_SERIAL_TEXT]; /* its serial */
    uint64_t born_ms;
    uint64_t begun_ms;            /* when its last list began */
    uint64_t asked_ms, listed_ms; /* when the last one answered began and ended; 0: its start's */
    bool ended, retired;          /* the pool was told to end it, to replace it */
    bool relist;                  /* it said "no such key" or "may not" */
    struct kek_pool_call *list;
    struct view views[VERSIONS_MAX]; /* by slot */
    struct member *prev, *next;      /* oldest first */
};

/* How a provider's workers, one after the other, do at opening a version's witness, which their tokens show as fit. */
struct canary {
    uint64_t opened_ms; /* when one last did; 0: none has yet */
    uint64_t failed_ms; /* when one last did not; 0: never */
    unsigned failures;  /* in a row */
    char why[KEK_WHY_TEXT];
};

/* What a provider is known to hold, worked out from its workers; it stays while there is none. */
struct holding {
    bool known;               /* worked out at least once */
    enum kek_keyring_key key; /* what it holds, as far as is believed; never DEACTIVATED */
    bool present;             /* some worker shows it */
    bool active;              /* the token lets it wrap, proven or not */
    bool unwraps; /* some worker may be sent an unwrap, or will once there is one again */
    bool wraps;   /* likewise */
    bool proven;  /* some worker opened the witness */
    bool asked;   /* some worker is being asked for its witness, or soon will be */
    bool settled; /* what they say is final: nobody is asked, misses it, or says what is old */
    bool missed;  /* nobody shows it now, or shows it fit, and that is not believed yet */
    bool shut;    /* it was final that nobody wraps, and no worker has shown otherwise since */
    bool closed;  /* likewise, that nobody unwraps */
    uint64_t unwrappable_ms, wrappable_ms; /* when some worker was last thought to be able to */
    uint64_t unwrapped_us, wrapped_us;     /* of kek_clock_us(): when one last did */
    uint8_t missing; /* fresh workers in a row without it, a tick apart, with none that unwraps */
    uint64_t missing_ms;
    uint8_t wrong; /* workers in a row that used another key, with none that was right */
    bool told_unfit;
    bool compromised; /* the key that is shown there is marked so */
    struct canary canary;
};

struct version {
    unsigned slot;
    uint32_t number;
    struct kek_id id;
    char key_id[KEK_KEY_ID_TEXT];
    size_t witness_len; /* 0: none yet */
    uint8_t witness[WITNESS_MAX];
    uint8_t opened_by[32]; /* digest of the data key that opened it, and of itself; 0: none has */
    enum kek_wrap_alg witness_alg;
    bool agreed;       /* whoever cannot open the witness is wrong; until then, somebody is */
    bool announced;    /* here, once: it never is again after another */
    bool compromised;  /* marked so somewhere, and not unmarked everywhere since: it never wraps */
    uint64_t asked_ms; /* when a Decrypt last came for it; 0: none has */
    bool surplus;      /* another key is the version of its number: it never wraps */
    bool told_surplus;
    bool back; /* it was destroyed, and is here again; what its history says */
    struct trip *making;
    unsigned trips;                   /* under way, the making and probes: they keep it known */
    uint64_t making_ms;               /* when the last one began */
    uint64_t ready_ms;                /* since when it could be primary; 0: it cannot now */
    bool prepared;                    /* a data key was wrapped under it since then */
    uint64_t gcm_wraps, gcm_reserved; /* the second is what the record says */
    bool gcm_warned;
    struct holding held[KEK_CONFIG_PROVIDERS_MAX];
    struct version *prev, *next;
};

/* A provider. */
struct source {
    struct kek_keyring *ring;
    size_t index;
    struct member *members;
    uint64_t youngest_ms;              /* when a worker last came to be ready */
    uint64_t answered_ms;              /* the last turn in which it answered; 0: none */
    uint64_t wrapped_ms, unwrapped_ms; /* when such an operation there last worked; 0: never */
    bool broken;                       /* the last probe failed */
    enum kek_pool_op broken_at;        /* what did not work; PROBE: both did, and did not match */
    struct trip *probe;
    uint64_t probed_ms; /* when the last probe began */
    uint64_t canary_ms; /* when a worker was last asked what it had opened before */
    size_t probes;
    unsigned mismatches;                /* probes in a row whose data key came out as another */
    struct kek_pool_call *fresh;        /* a list by a worker that is being started for it */
    uint64_t fresh_ms;                  /* when the last such list ended */
    bool caches;                        /* a worker was seen to show old news */
    uint64_t odd_next_ms, odd_pause_ms; /* when the next worker may be ended for what it shows */
};

/* What is remembered of a version, which may be no more. */
struct history {
    struct kek_keyring_history is;
    uint64_t told_ms; /* when the log last heard that it was asked for; 0: never */
};

/* Something to be mended while this node serves. */
struct remark {
    uint32_t version; /* what it is about: 0 or KEK_POOL_ANY if not that */
    size_t provider;
    struct kek_keyring_verdict is;
    bool seen; /* it is so in this turn */
    /* What the log was told, and when; empty: nothing. */
    char told[sizeof((struct kek_keyring_verdict *)NULL)->what];
    uint64_t told_ms;
};

struct kek_keyring_wait {
    struct kek_keyring_wait **list; /* that it is on */
    void (*looked)(void *arg);
    kek_keyring_checked_fn *checked;
    uint64_t handle; /* of the object to be checked; 0: any */
    void *arg;
    enum kek_rc rc;
    struct kek_keyring_wait *prev, *next;
};

struct kek_keyring {
    struct kek_keyring_settings settings;
    uv_loop_t *loop;
    uv_prepare_t turn; /* at the end of each turn in which something happened */
    uv_prepare_cb on_turn;
    uv_timer_t tick, refresh, pace;
    uint64_t now_ms; /* of the turn */
    bool dirty, stopped;

    struct version *versions;
    unsigned version_count;
    uint64_t slots; /* a bit each that is taken */
    struct source sources[KEK_CONFIG_PROVIDERS_MAX];
    size_t source_count;

    bool announced;
    struct kek_keyring_primary primary;
    uint64_t succession_ms; /* since when a newer one is about to take its place; 0: none is */
    struct kek_generation wanted; /* count 0: none */

    /* The record on disk: written whole, one write at a time. */
    char *record_path;
    char beside
        [KEK_KEYRING_NAME_TEXT]; /* another keyring's, where there was none at the start; else "" */
    struct kek_lock lock;
    struct home home;
    bool record_writing, record_dirty;
    struct version *announcing; /* to be announced once it is on disk as the primary */
    bool record_announces;      /* the write under way holds it */
    bool record_holds;          /* so does the file */
    int64_t announcing_ms;      /* since 1970: when it is announced, as the file says */

    /* Serials of tokens that have shown what was agreed on, oldest first. */
    char tokens[TOKENS_MAX][KEK_TOKEN_SERIAL_TEXT];
    size_t token_count;

    struct lapse lapse;
    struct history histories[KEK_KEYRING_HISTORY_MAX];
    size_t history_count;
    uint64_t aged_ms;       /* when time was last counted; 0: not yet */
    uint64_t aged_saved_ms; /* when the record last had it */
    bool asked_unsaved;     /* a Decrypt asked, and the record does not say so yet */

    struct kek_keyring_wait *awaiting;  /* who waits for another primary */
    uint64_t awaiting_ms;               /* when the first of them came */
    struct kek_keyring_wait *looking;   /* who waits for the look under way */
    struct kek_keyring_wait *due;       /* whose wait is over: told in the turn */
    uint64_t looked_ms;                 /* when the last one that traffic asked for began */
    uint64_t looked_sum, look_pause_ms; /* what was known then; until the next one */

    struct kek_keyring_verdict verdict, told; /* as it is, as it was last told, and when */
    struct remark remarks[KEK_KEYRING_REMARKS_MAX + 1]; /* the last: what there is no room for */
    size_t remark_count;
    uint64_t told_sum; /* of what `changed` last told of */
};

/* generation.c */
void generation_of(const struct version *version, struct kek_generation *generation);

/* wait.c */
struct kek_keyring_wait *wait_add(struct kek_keyring_wait **list, void *arg); /* NULL: no memory */
/* All on the list are told in the next turn. */
void wait_end(struct kek_keyring *ring, struct kek_keyring_wait **list, enum kek_rc rc);
void wait_tell(struct kek_keyring *ring); /* those whose wait is over */

/* canary.c */
/* What came of a worker's being asked for the version's witness, at begun_us of kek_clock_us(): is it news? */
bool canary_opened(struct member *member, struct version *version);
bool canary_failed(struct member *member, struct version *version, uint64_t begun_us,
                   enum kek_rc rc, const char *why);
/* Until when the next worker is not asked, since it may cost it its life. */
uint64_t canary_pause_ms(const struct source *source, const struct version *version);

/* facts.c */
void ring_dirty(struct kek_keyring *ring);
void ring_notice_with(const struct kek_keyring *ring, enum kek_log_level level,
                      const struct kek_log_field *fields, const char *format, ...) KEK_PRINTF(4, 5);
#define ring_notice(ring, level, ...) ring_notice_with(ring, level, NULL, __VA_ARGS__)
const char *source_name(const struct source *source);
struct version *version_find(const struct kek_keyring *ring, const struct kek_id *kek_id);
/* The version, made if it is new. NULL: VERSIONS_MAX are known and needed, or no memory. */
struct version *version_add(struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t number);
struct version *version_primary(const struct kek_keyring *ring); /* NULL: none */
void version_forget_witness(struct kek_keyring *ring, struct version *version);
/* The worker after that one, over all providers; NULL: the first, or the last was that. */
struct member *member_next(const struct kek_keyring *ring, const struct member *member);
#define MEMBER_FOREACH(ring, member) \
    for ((member) = member_next(ring, NULL); (member) != NULL; (member) = member_next(ring, member))
struct member *member_find(const struct kek_keyring *ring, uint64_t serial);
/* Takes in which workers are ready, and what those that are new showed at their start. */
void source_sync(struct source *source);
void member_take(struct member *member, const struct kek_version *seen, size_t count);
void member_drop(struct member *member); /* and whatever it is being asked */
bool source_answers(const struct source *source);
size_t ring_answering(const struct kek_keyring *ring); /* how many providers do */
bool source_starting(const struct source *source); /* it may answer soon: no verdict on it yet */
/* An operation worked there: as good as a probe of it. */
void source_worked(struct source *source, enum kek_pool_op op);
/* Does the worker show a key that may be used so, and has it not just been seen that it may not? */
bool view_may(const struct view *view, enum kek_pool_op op);
/* It was asked to use the version's key so, and said that it may not; and it did. */
void member_refused(struct member *member, struct version *version, enum kek_pool_op op);
void member_worked(struct member *member, struct version *version, enum kek_pool_op op);
void view_forget(struct view *view); /* what it made of the witness */
/* May this worker be sent an unwrap (a wrap) of that version? */
bool view_unwraps(const struct version *version, const struct view *view);
bool view_wraps(const struct version *version, const struct view *view);
/* Does no agreed witness speak against it?  One that uses a wrong key for one version proves nothing of
 * another that nobody has agreed on yet. */
bool member_trusted(const struct member *member);
bool version_disputed(const struct kek_keyring *ring, const struct version *version);
/* On that provider, by that worker of it which knows best. */
enum kek_attestation version_attestation(const struct source *source,
                                         const struct version *version);
/* Some provider that has it requires a statement of it, and there is none that holds: it does not come to lead. */
bool version_unattested(const struct kek_keyring *ring, const struct version *version);

/* A version that no provider shows is forgotten, with its witness. False: it is needed. */
bool version_forget(struct kek_keyring *ring, struct version *version);

/* history.c */
struct history *history_find(struct kek_keyring *ring,
                             const struct kek_id *kek_id); /* NULL: none */
/* Made if there is none; NULL: there is no room. */
struct history *history_of(struct kek_keyring *ring, const struct version *version);
/* It is no version any more. */
bool history_is_destroyed(const struct kek_keyring_history *history);
/* Did somebody want it gone?  Who is suspended may go; what was destroyed once and came back with a token's backup may
 * go as it came, unless a Decrypt needed it since. */
bool history_is_given_up(const struct kek_keyring_history *history);
/* Zeroed where there is none. */
void history_copy(const struct kek_keyring *ring, const struct version *version,
                  struct kek_keyring_history *history);
json_t *history_json(const struct kek_keyring *ring); /* NULL: no memory */
/* Those that were destroyed; with `back` also the ones that a token shows again. Oldest first. */
size_t history_destroyed(const struct kek_keyring *ring, bool back,
                         struct kek_keyring_history *list, size_t max);
/* Takes it in; what is not as it must be is not taken, since it only says that less time has passed. */
void history_load(struct kek_keyring *ring, const json_t *list);

/* tokens.c */
/* Does it answer, and is it known to be this keyring's, so that what else it shows is believed? */
bool source_vouches(const struct source *source);
bool ring_vouches(const struct kek_keyring *ring); /* some provider does */
/* Lists those that show what was agreed on. True: one is new, and to be put on record. */
bool tokens_learn(struct kek_keyring *ring);
json_t *tokens_json(const struct kek_keyring *ring); /* NULL: no memory */
/* Takes it in; what is no serial is not taken. */
void tokens_load(struct kek_keyring *ring, const json_t *list);

/* record.c */
/* Does what record_load() reads have a version?  A root that others were announced without may have a record before it has one.
 * What cannot be read counts as if it had. */
bool record_has_version(const struct kek_config *config);
enum kek_rc record_open(struct kek_keyring *ring, struct kek_why *why) KEK_MUST_CHECK;
/* The same without the lock. */
enum kek_rc record_load(struct kek_keyring *ring, struct kek_why *why) KEK_MUST_CHECK;
void record_close(struct kek_keyring *ring);
void record_save(struct kek_keyring *ring);
void record_seen(struct kek_keyring *ring, bool confirms); /* what home_look() is told */
/* The file's content into a ring that knows nothing yet, at ring->record_path for messages. */
enum kek_rc record_parse(struct kek_keyring *ring, struct kek_bytes content,
                         struct kek_why *why) KEK_MUST_CHECK;
/* And back, with `next` as the primary if there is one: to be freed. NULL: no memory. */
char *record_text(const struct kek_keyring *ring, const struct version *next);

/* protected.c */
void lapse_due(struct kek_keyring *ring);  /* looks whether it is to end */
void lapse_stop(struct kek_keyring *ring); /* while the record may be written still */
bool lapse_end(struct kek_keyring *ring);  /* it ends now. False: none went on */

/* witness.c */
/* By the data key that a worker unwrapped.  KEK_DAMAGED: it uses another KEK.  Any other failure leaves open
 * which one it uses. */
enum kek_rc witness_open(struct version *version, const struct kek_secret *data_key) KEK_MUST_CHECK;
/* What a worker is to open. False: there is no witness. */
bool witness_wrapped(const struct version *version, enum kek_wrap_alg *alg,
                     struct kek_bytes *wrapped);
/* Proposed: every other worker is to open it before it counts. `wrapped`: the data key, by its KEK. */
enum kek_rc witness_seal(struct version *version, const struct kek_secret *data_key,
                         enum kek_wrap_alg alg, struct kek_bytes wrapped,
                         struct kek_why *why) KEK_MUST_CHECK;

/* check.c */
void check_drive(struct kek_keyring *ring); /* asks what is to be asked */
void check_pace(uv_timer_t *timer);
/* What a worker's answer to a witness says of its key. */
void check_note(struct member *member, struct version *version, enum kek_rc rc);

/* trip.c */
void trip_drive(struct kek_keyring *ring); /* makes witnesses, and probes whom it is time for */
void trip_probe(struct source *source);
void trip_stop(struct kek_keyring *ring);

/* look.c */
void look_due(uv_timer_t *timer); /* each `refresh`: every worker lists */
void look_list(struct member *member);
void look_drive(struct kek_keyring *ring); /* fresh workers where they are wanted */
void look_stop(struct kek_keyring *ring);

/* judge.c */
bool member_judged(const struct member *member);
void judge_members(struct kek_keyring *ring);  /* ends and replaces those that are wrong */
void judge_holdings(struct kek_keyring *ring); /* what each provider is known to hold */
/* Nobody may open by it, and some token only does not let it be used: it can be resumed. */
bool version_is_suspended(const struct kek_keyring *ring, const struct version *version);

/* use.c */
/* Does what it sealed still count?  The one place that says so. */
bool version_is_in_use(const struct kek_keyring *ring, const struct version *version);
/* Does the provider fail to open a version that it shows as fit, whichever of its workers is asked? */
bool version_fails_on(const struct source *source, const struct version *version);
/* A worker that fails to. NULL: none. */
const struct member *version_failing_worker(const struct source *source,
                                            const struct version *version);
/* No provider opens it, as far as is known, and it is not merely suspended. `words`: how each stands. */
bool version_is_lost(const struct kek_keyring *ring, const struct version *version, char *words,
                     size_t size);

/* rank.c */
void rank_drive(struct kek_keyring *ring);
/* The first provider that has it active; source_count: none. */
size_t version_active_on(const struct kek_keyring *ring, const struct version *version);
bool version_is_active(const struct kek_keyring *ring, const struct version *version);
bool version_is_present(const struct kek_keyring *ring, const struct version *version);
/* On each provider that answers, and on one at least. */
bool version_is_active_on_all(const struct kek_keyring *ring, const struct version *version);
/* Than what was announced, so that it may come after it. */
bool version_is_newer(const struct kek_keyring *ring, const struct version *version);
/* Another key that is active under its number; NULL: none. */
const struct version *version_namesake(const struct kek_keyring *ring,
                                       const struct version *version);
/* The primary may wrap on no provider that answers: one of them shows that, or all answer, and it is gone. */
bool primary_is_past(const struct kek_keyring *ring);
/* The newest that may come after the primary, and is active where somebody answers; NULL: there is none. */
const struct version *version_next(const struct kek_keyring *ring);
/* The primary is past, and a newer version is about to take its place: for a while. */
bool is_succession(const struct kek_keyring *ring);

/* primary.c */
void primary_drive(struct kek_keyring *ring);

/* say.c */
/* What to do by a command of kekctl about this keyring's root of trust, in the middle of a sentence. The text lives as long
 * as what kek_counted() returns. */
struct ring_todo {
    char text[200];
};
struct ring_todo ring_todo(const struct kek_keyring *ring, const char *before, const char *command,
                           const char *after);
void verdict_say(struct kek_keyring_verdict *verdict, const char *todo, const char *format, ...)
    KEK_PRINTF(3, 4);

/* obstacle.c */
/* Words it, with the provider concerned. The version is active somewhere and not announced. */
void obstacle_say(const struct kek_keyring *ring, const struct version *version,
                  struct kek_keyring_verdict *verdict);
void obstacle_two_keys(const struct kek_keyring *ring, const struct version *version,
                       const struct version *other, struct kek_keyring_verdict *verdict);

/* versions.c */
/* The primary never goes back: what is not newer has had its time, even if it is the only one. */
bool version_was_active(const struct kek_keyring *ring, const struct version *version);

/* ageing.c */
void ageing_drive(struct kek_keyring *ring);
void ageing_stop(struct kek_keyring *ring); /* while the record may be written still */
/* A Decrypt came for a version that is back. */
void ageing_met(struct kek_keyring *ring, const struct version *version);
/* It is suspended after it was out of use for `destroy_after`, and nobody asked for it: so is one in the quarantine before
 * its destruction. */
bool version_is_quarantined(struct kek_keyring *ring, const struct version *version);

/* verdict.c */
void verdict_drive(struct kek_keyring *ring);

/* remarks.c */
void remarks_drive(struct kek_keyring *ring);
void remarks_lapse(struct kek_keyring *ring); /* of one that is over, before the turn ends */

#endif
