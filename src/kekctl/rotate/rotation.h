/*
 * What a rotation has to do next, worked out from facts alone: what the tokens show, what the nodes say of
 * themselves, what is on record of a rotation that began before, and what was asked for.
 *
 * Nothing is remembered between two calls, so whoever was killed, interrupted or met by another rotation goes
 * on from where the keys are.  Pure: no clock, no file, no HSM.  It never retires what some node announces or
 * may still seal under, promotes nothing that some node or provider does not show, and begins nothing while an
 * earlier rotation is half way.
 */
#ifndef KEKCTL_ROTATION_H
#define KEKCTL_ROTATION_H

#include "kekctl/node/nodes.h"

#define ROTATION_OLD_MAX 16         /* versions retired in one go */
#define ROTATION_CLAIM_MS 2000      /* what two that claim at once leave each other to withdraw */
#define ROTATION_SEALING_MS 100000u /* 90 s in which an Encrypt may begin as before, and its 10 s */
#define ROTATION_LOOKS 22           /* refreshes until a kekd has seen a change, even by a cache */
#define ROTATION_RECENT_MS INT64_C(3600000) /* what ended since then is not begun again */

enum rotation_step {
    ROTATION_CHECK = 0,
    ROTATION_CLAIM, /* this node has said that it rotates, and looks whether another says so too */
    ROTATION_CREATE,
    ROTATION_SEEN,
    ROTATION_PROMOTE,
    ROTATION_ANNOUNCED,
    ROTATION_RETIRE,
    ROTATION_DONE,
};
#define ROTATION_STEPS (ROTATION_DONE + 1)

const char *rotation_step_name(enum rotation_step step); /* "check", "claim", ... */
/* False: no step has this name. */
bool rotation_step_parse(const char *name, enum rotation_step *step);

/* RFC 3339 in UTC, with seconds. */
#define ROTATION_TIME_TEXT 32
void rotation_time_format(int64_t ms, char text[static ROTATION_TIME_TEXT]);

struct rotation_key {
    uint32_t number; /* 0: none */
    struct kek_id id;
};

/* What is on record of this node's rotation. */
struct rotation_progress {
    enum rotation_step step; /* CHECK: nothing is */
    struct rotation_key key; /* drawn before it is made */
    int64_t since_ms;        /* of the wall clock: when the step began */
    int64_t since_up_ms;     /* likewise, of CLOCK_BOOTTIME */
    long pid;
};

struct rotation_provider {
    const char *name;
    bool configured; /* its keys stand in the configuration, with their states */
    bool is_twin;    /* one before it is the same token */
    const struct kek_version *versions;
    size_t count;
};

struct rotation_facts {
    /* What was asked for. */
    enum rotation_step until; /* RETIRE: all of it */
    bool single_node;         /* there is no node but this one */
    bool has_backup;
    bool again;
    size_t maker; /* the provider that makes the key; SIZE_MAX: not said */
    /* How things are. */
    const char *keyring;
    const char *root; /* of trust, that is rotated; NULL: there is one */
    const char *context_sha256;
    const char *self; /* this node's name */
    uint64_t refresh_ms, settle_ms;
    int64_t now_ms; /* of the wall clock */
    int64_t up_ms;  /* of CLOCK_BOOTTIME: since the node was started */
    struct rotation_progress progress;
    struct rotation_provider providers[KEK_CONFIG_PROVIDERS_MAX];
    size_t provider_count;
    const struct node *nodes;
    size_t node_count;
    bool alone;               /* nodes: this one alone, and nobody named others */
    bool left_out[NODES_MAX]; /* by node: not waited for while it does not answer */
};

enum rotation_verdict {
    ROTATION_REFUSED = 0, /* text says why, and what to do */
    ROTATION_WAIT,        /* text says for whom */
    ROTATION_ACT,         /* text says what */
    ROTATION_REACHED,     /* what --until names is so */
    ROTATION_NOTHING,     /* a rotation has just ended */
    ROTATION_ENDED,
};

struct rotation_plan {
    enum rotation_verdict verdict;
    enum rotation_step step;    /* CHECK of a REFUSED: before anything is done */
    struct rotation_key target; /* the new version */
    bool is_new;                /* it is to be made: its id is the caller's to draw */
    size_t provider;            /* CREATE: who makes it */
    bool withdraw;     /* REFUSED: another node goes on, so what is on record here is to go */
    const char *node;  /* WAIT: who lags. Borrowed of the facts; NULL: none in particular */
    const char *where; /* likewise, the provider */
    uint64_t wait_ms;  /* WAIT: for so long at most; 0: not known */
    struct rotation_key old[ROTATION_OLD_MAX]; /* RETIRE */
    size_t old_count;
    struct rotation_key surplus; /* another key of the target's number */
    char text[KEK_WHY_TEXT];
};

void rotation_plan(const struct rotation_facts *facts, struct rotation_plan *plan);

/* How long a step waits from its beginning on, if nothing is in the way.  How long a vendor's replication takes nobody knows. */
struct rotation_wait {
    uint64_t ms; /* 0: it does not wait */
    char text[KEK_WHY_TEXT];
};

void rotation_expect(const struct rotation_facts *facts, enum rotation_step step,
                     struct rotation_wait *wait);

#endif
