/*
 * Reading etcd (v3 API), for programs that may block: who answers, and all keys under a prefix at one revision.
 *
 * A read is pinned to one revision: it sees the keyspace as it was at that moment, whatever is written meanwhile
 * and whichever member answers.  The revision comes from a linearizable read, so it has everything that was
 * acknowledged before; the pages are serializable reads at that revision, which each member that has it answers
 * alone and alike, also without a leader.  Memory is flat: one key with its value at a time.
 *
 * Several endpoints are members of one cluster: an answer of another cluster is an error.  A member that fails,
 * hangs or lags behind is left for the next one, and the read goes on after the last key that was handed over.
 * Nothing is ever written.  Every failure names the etcd, the endpoint where it matters, what is wrong and what
 * to do; no password, token or value is in it.  Over kek/remote.h; kekd itself does not link this room.  One
 * thread; the program ignores SIGPIPE.
 */
#ifndef KEK_ETCD_H
#define KEK_ETCD_H

#include "kek/bytes.h"

#define KEK_ETCD_ENDPOINTS_MAX 16
#define KEK_ETCD_KEY_MAX (64u * 1024)
#define KEK_ETCD_VALUE_MAX \
    (16u * 1024 * 1024) /* bytes; etcd's own default is 1.5 MiB for a request */
#define KEK_ETCD_TIMEOUT_MS 30000u

/* All borrowed, as they are while the etcd lives. */
struct kek_etcd_settings {
    const char *name; /* of this etcd, for messages: "main" */
    /* https://HOST:PORT, or http:// for one without TLS; the last one is NULL. */
    const char *const *endpoints;
    const char *ca, *cert,
        *key;                  /* PEM files. NULL ca: the system's CAs; NULL cert: none is shown */
    const char *user;          /* NULL: none */
    const char *password_file; /* its line is the password; needed with user */
    const char *
        socket; /* the Unix socket by which the one endpoint, an http:// one, is reached; NULL: TCP */
    uint64_t timeout_ms; /* the longest time in which nothing moves on; 0: KEK_ETCD_TIMEOUT_MS */
};

/* What one endpoint said of itself. */
struct kek_etcd_member {
    const char *endpoint; /* borrowed of the settings */
    bool reachable;       /* the rest is set; else why says why not */
    struct kek_why why;
    uint64_t cluster_id, member_id;
    uint64_t leader; /* its member id; 0: it knows of none */
    int64_t revision;
    char version[32];
};

struct kek_etcd;

/* Asks all endpoints who they are. KEK_INVALID: settings, or endpoints that are not of one cluster; KEK_DENIED:
 * no certificate that is let in, or one that proves nothing; KEK_UNAVAILABLE, KEK_DEADLINE: no endpoint answers. One that answers is enough: kek_etcd_members() tells of the others. */
enum kek_rc kek_etcd_open(const struct kek_etcd_settings *settings, struct kek_etcd **etcd,
                          struct kek_why *why) KEK_MUST_CHECK;
void kek_etcd_free(struct kek_etcd *etcd);
KEK_DEFINE_AUTO(kek_etcd);

/* As they were at the opening, in the order of the endpoints. Borrowed. */
const struct kek_etcd_member *kek_etcd_members(const struct kek_etcd *etcd, size_t *count);

/* The cluster that all of them are of. */
uint64_t kek_etcd_cluster_id(const struct kek_etcd *etcd);

struct kek_etcd_pair {
    struct kek_bytes key, value; /* until the function returns; the value is empty with keys_only */
    int64_t mod_revision;
};

/* Gets each pair once, in the order of the keys. Anything but KEK_OK ends the read with that rc and why. */
typedef enum kek_rc kek_etcd_take_fn(void *arg, const struct kek_etcd_pair *pair,
                                     struct kek_why *why);

struct kek_etcd_read {
    struct kek_bytes prefix; /* borrowed; empty: all keys */
    int64_t revision;        /* 0: the newest; then it is set to that */
    bool keys_only;
    kek_etcd_take_fn *take; /* NULL: they are only counted */
    void *arg;

    int64_t total;        /* of the keys at that revision; set before the first one is taken */
    int64_t taken;        /* so far */
    int64_t compacted_at; /* after KEK_PRECONDITION */
};

/* KEK_OK: all of them were taken. KEK_PRECONDITION: the revision was compacted, in the middle or before; the
 * caller begins anew at a newer one. KEK_DENIED: the password is wrong, or the user may not read this range.
 * KEK_TOO_LARGE: a value or key is past its maximum, and named. KEK_UNAVAILABLE, KEK_DEADLINE: nothing moved on
 * for timeout_ms. KEK_DAMAGED: what came is no answer of an etcd. KEK_INVALID: an endpoint is of another
 * cluster. What was taken before is of that one revision in any case. */
enum kek_rc kek_etcd_read(struct kek_etcd *etcd, struct kek_etcd_read *read,
                          struct kek_why *why) KEK_MUST_CHECK;

/* A snapshot file (etcdctl snapshot save) in an etcd of its own. Its revisions are as they were, its cluster id
 * is another. */
struct kek_etcd_snapshot;

struct kek_etcd_snapshot_settings {
    const char *file; /* borrowed; never changed */
    const char *tmp;  /* the folder in which a folder is made; NULL: $TMPDIR, else /tmp */
    const char *user, *password_file; /* of the etcd that it is of, if that had users; NULL: none */
    uint64_t timeout_ms; /* for the restore and the etcd's start, together; 0: 10 minutes */
};

/* Restores it into a new folder of mode 0700 (which needs the size of the file, and as much again), and starts
 * an etcd there that only Unix sockets in that folder lead to. Folder and processes are gone after
 * kek_etcd_snapshot_free(), and also when the caller's process ends in any other way. KEK_NOT_FOUND: no such
 * file, or etcd or its restore program is not installed; KEK_INVALID: this is no snapshot, or not whole. */
enum kek_rc kek_etcd_snapshot_open(const struct kek_etcd_snapshot_settings *settings,
                                   struct kek_etcd_snapshot **snapshot,
                                   struct kek_why *why) KEK_MUST_CHECK;

/* To read it as any other etcd; borrowed. */
struct kek_etcd *kek_etcd_snapshot_etcd(struct kek_etcd_snapshot *snapshot);

void kek_etcd_snapshot_free(struct kek_etcd_snapshot *snapshot);
KEK_DEFINE_AUTO(kek_etcd_snapshot);

#endif
