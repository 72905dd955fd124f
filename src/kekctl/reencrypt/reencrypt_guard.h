/*
 * Is it the time to rewrite anything?
 *
 * Every node's kekd must be well and announce the same key, and must have done so for long enough that every API
 * server has heard of it and writes under it: what is rewritten before that is rewritten under the old one.  And
 * while kekd is not well, every object that is not cached looks damaged to an API server: then nothing is touched.
 * With several roots of trust what is announced must have a KEK of each one that seals, and of no other: while one
 * is out, an object that is under all of them would be rewritten under fewer.
 */
#ifndef KEKCTL_REENCRYPT_GUARD_H
#define KEKCTL_REENCRYPT_GUARD_H

#include "kekctl/node/nodes.h"

enum guard_verdict { GUARD_GOOD = 0, GUARD_WAIT, GUARD_REFUSED };

struct guard {
    const struct ctl *ctl;
    const struct kek_config *config;
    struct nodes nodes;
    char key_id[KEK_KEY_ID_TEXT]; /* that all announce; once it was GOOD */
    uint32_t version;             /* 0: not known */
    bool has_kek_id;              /* they say which KEK that is */
    uint64_t
        others_ms; /* of kek_clock_ms(): when the other nodes are asked next in the middle of a run */
};

/* Which nodes, from --node, the configuration, or this one alone. False after saying why not, also of a node of
 * --without that there is not. */
bool guard_open(struct guard *guard, const struct ctl *ctl, const struct kek_config *config,
                enum ctl_exit *code);
void guard_close(struct guard *guard);

/* Asks all nodes. WAIT and REFUSED: why says for whom or what; *wait_ms: for how long at least, 0: not known. */
enum guard_verdict guard_look(struct guard *guard, int64_t *wait_ms, struct kek_why *why);

/* What the nodes are judged by. */
struct guard_rules {
    const char *keyring;
    const char *self; /* this node's name */
    /* The roots of trust that seal. None: there is one, or nothing is to be sealed (--decrypt). Borrowed. */
    const char *sealing[KEK_CONFIG_ROOTS_MAX];
    size_t sealing_count;
    int64_t needed_ms, now_ms;
};

/* Of what the nodes said: pure. */
enum guard_verdict guard_judge(const struct node *nodes, size_t count, const bool *left_out,
                               const struct guard_rules *rules, int64_t *wait_ms,
                               struct kek_why *why);

bool guard_is_well(const struct node_status *status);

/* In the middle of a run: this node's kekd, and now and then the others. GOOD: as it was; WAIT: one is not well;
 * REFUSED: another key is announced by now, or none of a root of trust. Blocks for some seconds at most. */
enum guard_verdict guard_still(struct guard *guard, struct kek_why *why);

#endif
