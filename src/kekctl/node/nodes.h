/*
 * The nodes of the cluster, and what each says of itself: the page that its kekd serves as /status.
 *
 * Which nodes there are comes from --node (HOST:PORT, ssh:HOST for a node whose kekctl is asked by ssh, or
 * self), else from `status.nodes` of the configuration, else it is this node alone.  All are asked at once; one
 * that hangs costs the others nothing.  A page comes from another machine: each text is checked and cut to
 * its field, each list has its maximum, and what is no such page counts as no answer.
 */
#ifndef KEKCTL_NODES_H
#define KEKCTL_NODES_H

#include <jansson.h>

#include "kek/keyring.h"
#include "kek/wire.h"
#include "kekctl/kekctl.h"

#define NODES_MAX 64             /* of one cluster */
#define NODES_TIMEOUT_MS 10000u  /* for all of them, where no --timeout is given */
#define NODE_NAME_MAX 256        /* bytes of a node's name, with the NUL */
#define NODE_PAGE_MAX (1u << 20) /* bytes of a page */

struct node_primary {
    uint32_t version;
    struct kek_id kek_id;
    char key_id[KEK_KEY_ID_TEXT];
    char key_id_hash[KEK_KEY_ID_HASH_TEXT];
    bool without_root; /* no KEK in it is of the root of trust that is asked about: version is 0 */
    /* The root of trust of each KEK in it, "" where that node names none.  A kekd before this one says none of this. */
    char roots[KEK_CONFIG_ROOTS_MAX][33];
    size_t root_count;
    int64_t
        announced_ms; /* since 1970; 0: an earlier process of that node did, or it is not known */
};

/* As struct kek_keyring_lasting, by that node's clock. */
struct node_lasting {
    int64_t since_ms; /* 0: it is not so, or that node's kekd does not say it */
    uint64_t ms;
};

struct node_version {
    char root[33]; /* of trust; "": that node names none */
    uint32_t number;
    struct kek_id kek_id;
    char key_id[KEK_KEY_ID_TEXT];
    enum kek_keyring_key state; /* the most that any provider lets be done with it */
    /* By provider, in the order of the page's `providers`. */
    enum kek_keyring_key held[KEK_CONFIG_PROVIDERS_MAX];
    bool proven[KEK_CONFIG_PROVIDERS_MAX];
    bool ages; /* it says the following */
    struct node_lasting inactive, superseded, suspended;
    uint64_t asked; /* Decrypts that asked for it since it is suspended */
    int64_t asked_ms;
};

/* A version that was, as that node has seen. */
struct node_destroyed {
    uint32_t number;
    struct kek_id kek_id;
    int64_t seen_ms;
    uint64_t asked; /* Decrypts that asked for it since */
};

struct node_provider {
    char root[33]; /* likewise */
    char name[33];
    char serial[64];
    char label[64];
    bool answers;
};

/* An etcd that its configuration names. */
struct node_etcd {
    char name[33];
    char prefix[256];
    char context_sha256[65];
};

/* The rotation that a node has on record. */
struct node_rotation {
    char node[NODE_NAME_MAX]; /* that began it */
    char step[32];
    uint32_t version;
    struct kek_id kek_id;
    int64_t since_ms;
    int64_t pid;
};

/* A page, parsed. */
struct node_status {
    char node[NODE_NAME_MAX]; /* as it calls itself */
    char program_version[32]; /* of its kekd */
    char keyring[64];
    char context_sha256[65];
    char config_sha256[65];
    int64_t now_ms; /* its clock, since 1970 */
    char health[16];
    int64_t since_ms;
    char what[1024];
    char todo[256];
    bool root_out;  /* a root of trust of several cannot wrap, or is sealed without */
    bool announces; /* primary is set */
    struct node_primary primary;
    /* Generations that an Encrypt may still use, by the KEKs in them. */
    struct kek_id sealing[KEK_PROVIDER_VERSIONS_MAX];
    size_t sealing_count;
    struct node_version versions[KEK_PROVIDER_VERSIONS_MAX];
    size_t version_count;
    struct node_provider providers[KEK_CONFIG_PROVIDERS_MAX];
    size_t provider_count;
    bool says_etcds; /* a kekd before this one does not */
    struct node_etcd etcds[KEK_CONFIG_ETCDS_MAX];
    size_t etcd_count;
    bool rotating; /* rotation is set */
    struct node_rotation rotation;
    uint64_t settle_ms, refresh_ms;
    uint64_t max_age_ms; /* of a data key; 0: that node's kekd does not say it */
    bool destroying;     /* a destruction is on record there, and not over */
    uint32_t destroying_version;
    struct node_destroyed destroyed[KEK_KEYRING_HISTORY_MAX];
    size_t destroyed_count;
    /* There was no page, only this node's KMS socket and its record: health and primary are known, versions,
     * sealing, providers and rotation are not. */
    bool partial;
};

struct node {
    char name[NODE_NAME_MAX]; /* as it was given: HOST:PORT, ssh:HOST, or "self" */
    bool reachable; /* status is set; else why says why not, in a sentence that names the node */
    struct kek_why why;
    struct node_status status;
    int64_t skew_ms; /* its clock less ours when its page came */
    /* Of our wall clock: when it was first heard to announce what it announces; 0: it announces nothing. */
    int64_t heard_ms;
    char heard_key_id[KEK_KEY_ID_TEXT];
    json_t *page;     /* as it came; NULL: none did */
    const char *root; /* of trust, that status is about; "": any. Borrowed */
};

struct nodes {
    const struct ctl *ctl;
    const struct kek_config *config; /* borrowed */
    struct node *list;
    size_t count;
    bool alone; /* this node, and nobody knows of others */
};

/* May this process ask the kekd here how it is?  Without `metrics` it is asked by its KMS socket, which counts a stranger's
 * call. */
bool nodes_hear_self(const struct kek_config *config);

/* Who they are. names: of --node; none: as the configuration says. False after saying what is wrong, then
 * *code is the exit code. */
bool nodes_open(struct nodes *nodes, const struct ctl *ctl, const struct kek_config *config,
                const char *const *names, size_t count, enum ctl_exit *code);

/* Asks all of them anew, at once. Returns how many are reachable, little more than timeout_ms later at most. */
size_t nodes_ask(struct nodes *nodes, uint64_t timeout_ms);

/* Says in a sentence each, on standard error, who is unreachable or of another keyring or context, and
 * where the nodes differ. Returns how many it said that must be mended; what is only worth knowing (two
 * names of one node) is said and not counted. */
size_t nodes_say(const struct nodes *nodes);

/* The two parts of that: what is amiss between nodes, or of one as a whole; and where the providers of one that serves do not have
 * a version alike, with what is only worth knowing. */
size_t nodes_say_troubles(const struct nodes *nodes);
size_t nodes_say_differences(const struct nodes *nodes);

/* The same of clocks that are off. weight: what each sentence begins with: "remark: ", or "". */
size_t nodes_say_clocks(const struct nodes *nodes, const char *weight);

/* The same of each root of trust that a node does without, and where it has several of each version that waits, as one that is
 * another root's KEK: it works, and this should not stay. */
size_t nodes_say_roots(const struct nodes *nodes);

/* Two that are one node: both answer, and call themselves alike, of one context.  Whoever must have asked every node has then asked
 * one too few, as far as anybody knows: the first such pair. False: there is none. Pure. */
bool node_twins(const struct node *list, size_t count, const struct node *pair[static 2]);

/* How a node is, in a word: what its page says, or "degraded" where it is good and does without a root of trust. Borrowed. */
const char *node_health(const struct node_status *status);

void nodes_close(struct nodes *nodes);
#define NODES_AUTO __attribute__((cleanup(nodes_close)))

/* The key as the node shows it; NULL: it does not. */
const struct node_version *node_version(const struct node_status *status,
                                        const struct kek_id *kek_id);

/* Has another key its number, and stands? */
bool node_surplus(const struct node_status *status, const struct node_version *version);

bool node_announces(const struct node_status *status, const struct kek_id *kek_id);

/* May an Encrypt of the node still use this key? */
bool node_seals(const struct node_status *status, const struct kek_id *kek_id);

#endif
