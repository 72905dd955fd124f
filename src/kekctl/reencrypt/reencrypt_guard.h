/*
 * Is it the time to rewrite anything?
 *
 * Every node's kekd must be well and announce the same key, and must have done so for long enough that every API
 * server has heard of it and writes under it: what is rewritten before that is rewritten under the old one.  And
 * while kekd is not well, every object that is not cached looks damaged to an API server: then nothing is touched.
 */
#ifndef KEKCTL_REENCRYPT_GUARD_H
#define KEKCTL_REENCRYPT_GUARD_H

#include "kekctl/node/nodes.h"

/* An API server asks for Status each minute, and keeps writing under the last seed for 3 minutes after it could be
 * asked last (k8s.io/apiserver, encryptionconfig: the poll and the write seed's life). */
#define REENCRYPT_API_SERVER_MS INT64_C(240000)

enum guard_verdict { GUARD_GOOD = 0, GUARD_WAIT, GUARD_REFUSED };

struct guard {
    const struct ctl *ctl;
    const struct kek_config *config;
    struct nodes nodes;
    char key_id[KEK_KEY_ID_TEXT]; /* that all announce; once it was GOOD */
    struct kek_id kek_id;
    uint32_t version; /* 0: not known */
    bool has_kek_id;
    uint64_t
        others_ms; /* of kek_clock_ms(): when the other nodes are asked next in the middle of a run */
};

/* Which nodes, from --node, the configuration, or this one alone. False after saying why not. */
bool guard_open(struct guard *guard, const struct ctl *ctl, const struct kek_config *config,
                enum ctl_exit *code);
void guard_close(struct guard *guard);

/* Asks all nodes. WAIT and REFUSED: why says for whom or what; *wait_ms: for how long at least, 0: not known. */
enum guard_verdict guard_look(struct guard *guard, int64_t *wait_ms, struct kek_why *why);

/* How long the key must have been announced: by the configuration, and longer where other nodes may be that
 * nobody named, since they may see the key later. */
int64_t guard_needed_ms(const struct kek_config *config, bool is_blind);

/* Of what the nodes said: pure. record_ms: when this node's record was written last, 0: not known. */
enum guard_verdict guard_judge(const struct node *nodes, size_t count, const bool *left_out,
                               const char *keyring, int64_t needed_ms, int64_t now_ms,
                               int64_t record_ms, int64_t *wait_ms, struct kek_why *why);

bool guard_is_well(const struct node_status *status);

/* In the middle of a run: this node's kekd, and once a minute the others. GOOD: as it was; WAIT: one is not well;
 * REFUSED: another key is announced by now. Blocks for some seconds at most. */
enum guard_verdict guard_still(struct guard *guard, struct kek_why *why);

#endif
