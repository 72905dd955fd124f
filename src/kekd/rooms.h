/*
 * The daemon's rooms, and what they are told of each other: for the files of this folder.
 */
#ifndef KEK_KEKD_ROOMS_H
#define KEK_KEKD_ROOMS_H

#include <uv.h>

#include "kek/audit.h"
#include "kek/grpc.h"
#include "kek/listen.h"
#include "kek/lock_file.h"
#include "kek/metrics.h"
#include "kek/node_status.h"
#include "kek/notify.h"
#include "kekd/macs.h"
#include "kekd/reap.h"
#include "kekd/socket_watch.h"
#include "kekd/warnings.h"

/* What the log last said of a provider. */
struct told {
    enum kek_pool_health health;
    size_t workers;
    char text[KEK_WHY_TEXT];
};

struct daemon;

/* A root of trust: its workers and its keyring. */
struct root {
    struct daemon *daemon;
    size_t index;
    const struct kek_config *config; /* its view */
    struct kek_pool *pool;
    struct kek_keyring *ring;
    size_t provider; /* its first one, counted over all */
    struct warnings warnings;
};

struct daemon {
    const struct kek_config *config;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t last_resort; /* ends a stop that hangs */
    uv_timer_t counts;      /* each second: lines that were left out, and the certificate */
    struct reap reap;       /* as process 1 of a container */
    struct kek_listen *listen;
    struct socket_watch socket;
    struct kek_notify *notify;
    struct root all[KEK_ROOTS_MAX];
    size_t root_count, pools_open;
    struct kek_lock claim; /* on state_dir, for the roots together */
    struct kek_roots *roots;
    struct kek_datakey_store *store;
    struct kek_kms *kms;
    struct kek_grpc_server *grpc;
    struct kek_audit *audit;
    struct macs macs;
    struct kek_metrics *metrics;
    struct kek_node_status *status;
    struct told told[KEK_CONFIG_PROVIDERS_MAX];
    struct warnings warnings;
    bool stopping;
    int exit_code;
};

/* tell.c: what the rooms' settings want. Of pools and keyrings the root is `arg`, else the daemon. */
bool tell_may_serve(void *arg, size_t provider, uint64_t worker, enum kek_pool_op op,
                    const struct kek_id *kek_id);
bool tell_is_judged(void *arg, size_t provider, uint64_t worker);
void tell_provider_changed(void *arg, size_t provider);
void tell_logged_in(void *arg, const struct kek_pool_login *login);
void tell_notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                 const char *text);
void tell_root_notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                      const char *text);
void tell_keyring_changed(void *arg);
void tell_roots_changed(void *arg);
void tell_call_ended(void *arg, const struct kek_kms_event *event);
void tell_transport_numbers(void *arg, struct kek_metrics_transport *numbers);
/* The transport hands back its service, and that is the kms: of the one daemon that tell_start() names. */
void tell_start(struct daemon *daemon);
void tell_call_rejected(void *service, const struct kek_rpc_peer *peer, const char *path,
                        enum kek_rpc_status status, const char *message);
void tell_connection_cut(void *service, const struct kek_rpc_peer *peer, const char *why);

void tell_audit(struct daemon *daemon); /* what of the keyring is not as it was */

#endif
