/*
 * What this node says to the others of its cluster: GET /status, one JSON object.
 *
 * Which key it announces and since when, which ones it may still seal under, what each provider holds and has
 * proven, how long versions have been out of use, and the rotation and the destruction that are on record here.  Nothing in it is secret; it says which tokens there are.
 * It is served on the `metrics` listener, and by TLS with client certificates on that of `status`.
 * Rendering is pure: one snapshot in, JSON out.  Their files are read at each request, on libuv's
 * pool.  docs/kekd-metrics.7 describes the object.  One thread: the loop's.
 */
#ifndef KEK_NODE_STATUS_H
#define KEK_NODE_STATUS_H

#include <uv.h>

#include "kek/audit.h"
#include "kek/kms.h"

#define KEK_NODE_ROTATION_MAX 4096u       /* bytes of the rotation's file */
#define KEK_NODE_DESTROY_MAX (64u * 1024) /* of the destruction's */
#define KEK_NODE_SEALING_MAX 16           /* generations */
#define KEK_NODE_PAGE_MAX (1024u * 1024u) /* bytes */

struct kek_node_snapshot {
    const struct kek_config *config; /* borrowed */
    int64_t wall_ms;                 /* since 1970 */
    uint64_t now_ms;                 /* the same moment, of kek_clock_ms() */
    struct kek_keyring_verdict verdict;
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    size_t remark_count;
    bool announced; /* primary is set */
    struct kek_keyring_primary primary;
    struct kek_generation sealing[KEK_NODE_SEALING_MAX];
    size_t sealing_count;
    struct kek_keyring_version versions[KEK_AUDIT_VERSIONS_MAX];
    size_t version_count;
    struct kek_pool_provider providers[KEK_CONFIG_PROVIDERS_MAX];
    size_t provider_count;
    struct kek_keyring_history destroyed[KEK_KEYRING_HISTORY_MAX];
    size_t destroyed_count;
    struct kek_bytes rotation; /* the file, whatever is in it; empty: none. Borrowed. */
    struct kek_bytes destroy;  /* likewise, of kekctl key destroy */
};

/* Appends the object and a line feed. KEK_NO_MEMORY, KEK_TOO_LARGE. */
enum kek_rc kek_node_render(const struct kek_node_snapshot *snapshot, struct kek_buf *page,
                            struct kek_why *why) KEK_MUST_CHECK;

struct kek_node_status;

struct kek_node_status_settings {
    const struct kek_config *config; /* borrowed, as all of these */
    const struct kek_roots *roots;
    const struct kek_kms *kms;
};

/* Reads the certificates where `status` has a listener. NULL: why names what is wrong and what to do. */
struct kek_node_status *kek_node_status_new(uv_loop_t *loop,
                                            const struct kek_node_status_settings *settings,
                                            struct kek_why *why);

/* Serves by TLS, if `status` says so. KEK_UNAVAILABLE: the address cannot be bound. */
enum kek_rc kek_node_status_listen(struct kek_node_status *status,
                                   struct kek_why *why) KEK_MUST_CHECK;

/* Reads the certificates anew, on libuv's pool; on failure the old ones stay, and the log says why. */
void kek_node_status_reload(struct kek_node_status *status);

/* What became of clients that came by TLS. */
struct kek_node_status_stats {
    bool listens;
    uint64_t served;    /* let in and answered */
    uint64_t forbidden; /* a good certificate of somebody who is not in `allow` */
    uint64_t refused;   /* no certificate, a wrong one, no TLS */
    int64_t expires;    /* when this node's own certificate ends; seconds since 1970 */
};
void kek_node_status_stats(const struct kek_node_status *status,
                           struct kek_node_status_stats *stats);

/* Closes every connection. The loop must run dry before it is closed. */
void kek_node_status_free(struct kek_node_status *status);

#endif
