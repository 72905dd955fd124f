/*
 * A whole kekd without its transport: the real pool and worker on a throw-away SoftHSM token, keyring,
 * data keys and KMS on one loop.  Tests call KMS methods through a kek_rpc of their own.
 */
#ifndef KEK_TEST_RIG_H
#define KEK_TEST_RIG_H

#include "kek/kms.h"

struct rig {
    char folder[64];
    char softhsm[400], uri[400];
    uv_loop_t loop;
    struct kek_config *config;
    struct kek_pool *pool;
    struct kek_keyring *ring;
    struct kek_roots *roots;
    struct kek_datakey_store *store;
    struct kek_kms *kms;
    unsigned events;        /* calls observed */
    char why[KEK_WHY_TEXT]; /* of the last one */
    unsigned warnings;      /* of the keyring */
    char warning[512];      /* the last one */
};

/* A call's outcome. */
struct answer {
    struct kek_rpc rpc;
    bool done;
    enum kek_rpc_status status;
    char message[512];
    size_t len;
    uint8_t reply[4096];
};

void rig_make_token(struct rig *rig);              /* folder, token; once */
void rig_start(struct rig *rig, const char *yaml); /* yaml: lines added to the configuration */
void rig_stop(struct rig *rig);
void rig_remove(struct rig *rig); /* token and folder */

/* An officer's work on the token, through a pool of its own. Returns what the pool said. */
enum kek_rc rig_officer(struct rig *rig, enum kek_pool_op op, uint32_t number,
                        const struct kek_id *kek_id, enum kek_state state);

/* Turns the loop until `true_now` holds, or fails the test after a long while. */
void rig_until(struct rig *rig, bool (*true_now)(struct rig *rig, void *arg), void *arg);
void rig_until_primary(struct rig *rig, uint32_t number);
void rig_turn(struct rig *rig, unsigned ms); /* turns the loop for that long */

/* Starts a call without waiting for it; rig_call waits. */
void rig_begin(struct rig *rig, const char *path, struct kek_bytes message,
               struct kek_rpc_peer *peer, struct answer *answer);
void rig_wait(struct rig *rig, struct answer *answer);
void rig_call(struct rig *rig, const char *path, struct kek_bytes message,
              struct kek_rpc_peer *peer, struct answer *answer);

#endif
