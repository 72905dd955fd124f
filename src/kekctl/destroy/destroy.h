/*
 * What stands between a version and its destruction, worked out from facts alone: what the tokens show, what
 * the nodes say of themselves, the inventories, what is on record of a destruction that began before, and what was
 * said on the command line.
 *
 * Each condition is a row: whether it is met, by what evidence, and how to meet it.  Nothing is remembered between two
 * calls but the record, so whoever was killed goes on from where the keys are.  Pure: no clock, no file, no HSM.
 * What is not known is not met.
 */
#ifndef KEKCTL_DESTROY_H
#define KEKCTL_DESTROY_H

#include "kekctl/inventory/evidence.h"
#include "kekctl/node/nodes.h"

#define DESTROY_SLACK_MS 300000u /* beyond max_age and refresh: the longest Encrypt, and clocks */
#define DESTROY_SPAN_MAX_MS \
    UINT64_C(1000000000000000) /* that a node may say it takes; more is no more */
#define DESTROY_INVENTORIES 2  /* in a row, of each etcd */
#define DESTROY_CONDITION_TEXT 48
#define DESTROY_ROWS_MAX (12 + KEK_CONFIG_ETCDS_MAX)
#define DESTROY_WHO_MAX 64
#define DESTROY_TOKENS_MAX (2 * KEK_CONFIG_PROVIDERS_MAX)

/* How far a destruction is, as it is on record. */
enum destroy_step {
    DESTROY_NONE = 0,
    DESTROY_SUSPENDING,  /* UNWRAP is being taken from it */
    DESTROY_QUARANTINED, /* it was suspended on every provider */
    DESTROY_DESTROYING,  /* it may be gone from some */
    DESTROY_DESTROYED,
};
#define DESTROY_STEPS (DESTROY_DESTROYED + 1)

const char *destroy_step_name(enum destroy_step step); /* "none", "suspending", ... */
bool destroy_step_parse(const char *name, enum destroy_step *step);

struct destroy_progress {
    enum destroy_step step;
    char root[33]; /* of trust, that the version is of; "": there is one */
    uint32_t number;
    struct kek_id kek_id;
    int64_t since_ms;          /* since 1970: when the step began */
    struct moment quarantined; /* wall_ms 0: not yet */
    /* Since 1970: when it was last said of this version; 0: it was not. */
    int64_t backups_checked_ms, api_servers_restarted_ms;
    char who[DESTROY_WHO_MAX]; /* that took the step */
};

/* A token that held the key when its destruction began. */
struct destroy_token {
    char provider[33]; /* its name then */
    char serial[64];   /* empty: not known */
    int64_t
        gone_ms; /* since 1970: when a fresh process no longer found the key there; 0: not yet */
};

/* What one etcd holds at this moment. */
struct destroy_live {
    bool looked;   /* else nobody has */
    bool complete; /* the rest is set; else why says why not */
    struct kek_why why;
    uint64_t cluster_id;
    int64_t revision;
    uint64_t objects;
    uint64_t sealed;  /* of those, by the version */
    uint64_t unclear; /* likewise, nobody can say by what */
};

/* What one provider lists. */
struct destroy_provider {
    const char *name;
    const char *serial; /* of its token; empty: not known */
    bool answered;
    const struct kek_version *versions;
    size_t count;
};

struct destroy_facts {
    uint32_t number;
    struct kek_id kek_id;
    /* What was said. */
    bool backups_checked, api_servers_restarted, single_node;
    /* How things are. */
    const char *keyring;
    const char *root; /* of trust, that the version is of; "": there is one */
    const char *context_sha256;
    const char (*etcd_context_sha256)[65]; /* of each of etcd */
    const char *self;                      /* this node's name */
    const char *config_path;
    uint64_t destroy_after_ms, quarantine_ms;
    struct moment now;
    struct destroy_progress progress;
    const struct destroy_token *tokens; /* of that */
    size_t token_count;
    bool rotates; /* a rotation is on record on this node */
    struct destroy_provider providers[KEK_CONFIG_PROVIDERS_MAX];
    size_t provider_count;
    const struct node *nodes;
    size_t node_count;
    bool alone; /* nodes: this one alone, and nobody named others */
    const char
        *left_out; /* a node that the configuration names and nobody asked; NULL: there is none */
    const struct kek_config_etcd *etcd;
    size_t etcd_count;
    const struct evidence *evidence;
    const struct destroy_live *live; /* of each of etcd; NULL: nobody has looked yet */
};

struct destroy_row {
    char condition[DESTROY_CONDITION_TEXT]; /* "providers", "inventory main", ... */
    bool met;
    char evidence[400];
    char todo[400]; /* empty where it is met */
};

/* What comes next once all is met. */
enum destroy_stage {
    DESTROY_SUSPEND = 0, /* the quarantine begins, or goes on to begin */
    DESTROY_DESTROY,     /* each provider's key, in turn */
    DESTROY_FINISH,      /* it is gone everywhere: only the record is to say so */
    DESTROY_NOTHING,     /* the record does */
};

struct destroy_plan {
    enum destroy_stage stage;
    struct destroy_row rows[DESTROY_ROWS_MAX];
    size_t count;
    /* That row says that it is announced or active, and how to end that; before it ends, the others are no news.
     * NULL: it is not. */
    const struct destroy_row *in_use;
    /* By this node's clock: since when every node announces a newer one for long enough; 0: not so. */
    int64_t superseded_ms;
    /* Likewise, since when the quarantine has begun and every node has seen that: it may have been broken and begun
     * again by another node's kekctl. */
    int64_t quarantined_ms;
};

void destroy_plan(const struct destroy_facts *facts, struct destroy_plan *plan);
bool destroy_is_met(const struct destroy_plan *plan);

/* Of the etcd of this name, do inventories prove that it held nothing?  What it holds now is not looked at. */
bool destroy_is_proven(const struct destroy_plan *plan, const char *etcd);

/* The key as the provider lists it; NULL: it does not. */
const struct kek_version *destroy_key(const struct destroy_facts *facts, size_t provider);

/* ---- between its files: destroy_rows.c ---- */

/* A row that is met, or is not and says what is to be done. */
void destroy_met(struct destroy_plan *plan, const char *condition, const char *format, ...)
    KEK_PRINTF(3, 4);
void destroy_unmet(struct destroy_plan *plan, const char *condition, const char *todo,
                   const char *format, ...) KEK_PRINTF(4, 5);

/* "36 h", "4 min", "2 s": never more than it is. */
#define DESTROY_SPAN_TEXT 32
void destroy_span(int64_t ms, char text[static DESTROY_SPAN_TEXT]);

const char *destroy_node_name(const struct node *node);

/* A node of another cluster may have this one's name, in another context. */
bool destroy_is_self(const struct destroy_facts *facts, const struct node *node);

/* "inventory NAME" */
void destroy_inventory_name(const char *etcd, char condition[static DESTROY_CONDITION_TEXT]);

/* destroy_use.c: every token that held it is here still; false after a row that says which is not. */
bool destroy_plan_tokens(const struct destroy_facts *facts, struct destroy_plan *plan);
/* What is in use or under way is not destroyed. */
void destroy_plan_use(const struct destroy_facts *facts, struct destroy_plan *plan);
/* destroy_time.c: for how long every node has seen what must be so. Sets superseded_ms and quarantined_ms. */
void destroy_plan_time(const struct destroy_facts *facts, struct destroy_plan *plan);
/* destroy_proof.c: that no etcd holds what it sealed. */
void destroy_plan_proof(const struct destroy_facts *facts, struct destroy_plan *plan);

#endif
