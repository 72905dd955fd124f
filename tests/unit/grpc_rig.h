/*
 * A session and a client that talk over memory, under a clock that stands still until it is moved.
 */
#ifndef KEK_TESTS_GRPC_RIG_H
#define KEK_TESTS_GRPC_RIG_H

#include "../../src/grpc/session.h"
#include "grpc_peer.h"

struct rig {
    struct kek_grpc_host host;
    struct kek_grpc_session *session;
    struct peer *peer;
    struct service service;
    unsigned woken;
    size_t chunk;     /* bytes given to the session at once; 0: all */
    size_t take;      /* bytes that the client takes of one output; 0: all */
    bool keep_output; /* the client reads nothing */
    enum kek_rc rc;   /* what receive said last */
};

/* peer_window: see peer_new. `change` may alter the settings, NULL: as they are. */
struct rig *rig_new(int peer_window, bool is_allowed, void (*change)(struct kek_grpc_settings *));
void rig_free(struct rig *rig);

/* Moves bytes both ways until nobody has any. */
void rig_exchange(struct rig *rig);

/* Feeds raw bytes, and takes what comes back. */
void rig_feed(struct rig *rig, const void *data, size_t len);

/* One request, exchanged. */
struct peer_answer *rig_call(struct rig *rig, const struct peer_request *request);

void rig_pass(struct rig *rig, uint64_t ms); /* time passes, expire is called, bytes move */

#endif
