/*
 * The endpoints of one etcd: which one is asked, and when another is; the token of the user.
 */
#ifndef ETCD_CLIENT_H
#define ETCD_CLIENT_H

#include "kek/etcd.h"
#include "message.h"
#include "rpc.h"

struct kek_etcd {
    struct kek_etcd_settings settings;
    struct kek_remote *remote;
    struct kek_etcd_member members[KEK_ETCD_ENDPOINTS_MAX];
    size_t member_count;
    size_t current; /* of members: the one that is asked */
    uint64_t cluster_id;
    struct kek_secret *token; /* a header line; NULL: none, or it has expired */
    bool no_auth;             /* users are not enabled there */
    struct kek_buf request;
};

/* How long it is tried. */
struct client_patience {
    uint64_t since_ms; /* when something moved on last */
    size_t tries;      /* since then */
};

struct client_patience client_patience(void);

/* One attempt on the current endpoint, with the user's token. rpc: what is asked; rpc_done() is the caller's
 * whatever the outcome. RPC_TOKEN and RPC_NO_AUTH never come out of it. */
enum rpc_end client_try(struct kek_etcd *etcd, struct rpc *rpc, struct kek_why *why);

/* After RPC_ELSEWHERE: the next endpoint is current, and it is time to ask it. False: patience is over, and why,
 * which was the last failure, says so. */
bool client_again(struct kek_etcd *etcd, struct client_patience *patience, struct kek_why *why);

/* Is the answer of the cluster that the others are of? */
enum kek_rc client_check_cluster(const struct kek_etcd *etcd, const struct message_header *header,
                                 struct kek_why *why) KEK_MUST_CHECK;

/* Puts the etcd's name before what went wrong. */
enum kek_rc client_fail(const struct kek_etcd *etcd, struct kek_why *why);

#endif
