/*
 * What a provider must do to be fit for kekd: a table of cases (cases.c), tried one after the other
 * on the user's own token with keys that are made for it and destroyed in the end.
 *
 * A case's name and its place are what vendors cite: neither changes, and a new case comes behind
 * those that it needs.
 */
#ifndef KEKCTL_CONFORMANCE_SUITE_H
#define KEKCTL_CONFORMANCE_SUITE_H

#include "kekctl/rig/rig.h"
#include "kekctl/rig/leftovers.h"
#include "suite_result.h"

struct suite_key {
    bool there;
    struct kek_id id;
    enum kek_state state;
};

/* What a key wrapped, and what that is. */
struct suite_wrapped {
    bool there;
    enum kek_wrap_alg alg;
    size_t len;
    uint8_t blob[KEK_WRAPPED_MAX];
    struct kek_secret *data_key;
};

struct suite {
    const struct ctl *ctl;
    const struct kek_config *config;
    size_t provider;
    bool is_service; /* it numbers and names its keys itself, and keeps them */
    bool
        existing; /* the keys are the user's, who gave them up: none is made, changed or destroyed */
    struct rig rig;
    struct leftovers leftovers;
    struct suite_key keys[2];    /* the first one is never changed */
    struct suite_wrapped good;   /* by the first key */
    struct suite_wrapped before; /* by the second, before its state was changed */
    bool enforced, noticed;      /* by the token, by a process that ran; as far as was seen */
    unsigned changes;            /* that the token took */
    char unenforced[192],
        refused[192]; /* what it did all the same; what it says to what it refuses */
    unsigned silent;  /* cases in a row that nobody answered */
    bool logged_in;
    char unfit[512];       /* which keys of --existing-key cannot be tried, and why; empty: none */
    bool asked;            /* for keys to be made */
    struct kek_id made[3]; /* and not destroyed yet */
    size_t made_count;
    bool destroyed;                 /* the second key */
    bool left;                      /* a key may be left on the token: */
    struct kek_why left_why;        /* which, and why */
    struct kek_pool_provider token; /* as its first worker told of it */
    int64_t began_ms, ended_ms;     /* since 1970 */
    struct suite_result *results;   /* one for each case */
};

/* What must have gone well before. */
enum suite_need {
    NEED_NOTHING = 0,
    NEED_KEYS = 1 << 0,    /* two keys */
    NEED_KEY = 1 << 1,     /* one, at least */
    NEED_MADE = 1 << 2,    /* keys that were made for this */
    NEED_GOOD = 1 << 3,    /* a data key that the first one wrapped */
    NEED_TOKEN = 1 << 4,   /* a PKCS#11 token */
    LOSES_NOBODY = 1 << 5, /* no call may fail meanwhile, though it went well elsewhere */
    ENDS_WORKERS = 1 << 6, /* the case does so */
    ALWAYS = 1 << 7,       /* whatever was before */
    USES_KEYS = 1 << 8,    /* a service does it with the key that it is told of */
    SAME_PROCESS = 1 << 9, /* refusals are wanted, and the process that refuses goes on */
    LOGS_IN = 1 << 10,     /* no start may fail either, though another one went well */
};

struct suite_case {
    const char *name, *title;
    void (*run)(struct suite *suite, struct suite_result *result);
    unsigned needs;
};

#define SUITE_CASES_MAX 40
extern const struct suite_case suite_cases[];
extern const size_t suite_case_count;

/* Runs all of them. False: out of memory, or no loop; it was said why. The results are there
 * where it is true. */
bool suite_run(struct suite *suite);
void suite_done(struct suite *suite);
bool suite_was_interrupted(const struct suite *suite);
size_t suite_count(const struct suite *suite, enum suite_outcome outcome);

/* The parts of it, a file each. */
void case_login(struct suite *suite, struct suite_result *result);
void case_leftovers(struct suite *suite, struct suite_result *result);
void case_generate(struct suite *suite, struct suite_result *result);
void case_generate_taken(struct suite *suite, struct suite_result *result);
void case_list(struct suite *suite, struct suite_result *result);
void case_keeps_key(struct suite *suite, struct suite_result *result);
void case_mechanism(struct suite *suite, struct suite_result *result);
void case_destroy(struct suite *suite, struct suite_result *result);
void case_destroyed_key(struct suite *suite, struct suite_result *result);
void case_clean(struct suite *suite, struct suite_result *result);

void case_round_trip(struct suite *suite, struct suite_result *result);
void case_tamper_changed(struct suite *suite, struct suite_result *result);
void case_tamper_truncated(struct suite *suite, struct suite_result *result);
void case_tamper_lengthened(struct suite *suite, struct suite_result *result);
void case_tamper_empty(struct suite *suite, struct suite_result *result);
void case_other_key(struct suite *suite, struct suite_result *result);
void case_other_process(struct suite *suite, struct suite_result *result);
void case_missing_key(struct suite *suite, struct suite_result *result);
void case_logins(struct suite *suite, struct suite_result *result);

void case_deactivate(struct suite *suite, struct suite_result *result);
void case_reactivate(struct suite *suite, struct suite_result *result);
void case_suspend(struct suite *suite, struct suite_result *result);
void case_resume(struct suite *suite, struct suite_result *result);
void case_compromise(struct suite *suite, struct suite_result *result);
void case_states_enforced(struct suite *suite, struct suite_result *result);
void case_states_noticed(struct suite *suite, struct suite_result *result);

void case_concurrent_sessions(struct suite *suite, struct suite_result *result);
void case_concurrent_processes(struct suite *suite, struct suite_result *result);
void case_recover_killed(struct suite *suite, struct suite_result *result);
void case_recover_lost(struct suite *suite, struct suite_result *result);
void case_speed(struct suite *suite, struct suite_result *result);

/* Has one of these keys wrap a new data key into `wrapped`, which is emptied first; false: the
 * result says why not. */
bool suite_wrap(struct suite *suite, enum rig_role role, const struct kek_id *kek_id,
                struct suite_wrapped *wrapped, struct suite_result *result);
/* Opens it, and compares; likewise. who: "another process" */
bool suite_open(struct suite *suite, enum rig_role role, const struct kek_id *kek_id,
                const struct suite_wrapped *wrapped, const char *who, struct suite_result *result);
void suite_wrapped_wipe(struct suite_wrapped *wrapped);

#endif
