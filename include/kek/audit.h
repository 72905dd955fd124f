/*
 * The audit log: one JSON line for everything that was done with a key.
 *
 * Every Encrypt and Decrypt, every call that failed or was refused, every login at a token, start and stop,
 * and every change of the keyring; not the Status polls that went well.  docs/kekd-audit.5 describes the fields.
 *
 * Lines are gathered in memory, chained (audit_link.h) and written together on libuv's thread pool: the loop never waits for a
 * disk.  Where there is no file they are sent to journald or a syslog daemon, and all of this is said of its socket.  What is not written yet is bounded by KEK_AUDIT_BOUND; past it lines are dropped and counted,
 * and the count is a line of its own once there is room.  A failed write is tried again every second.
 * Lines are synced when the file is opened anew and at the end: a power cut may take the last ones along.
 * It never holds a plaintext, a ciphertext or a PIN.  One thread: the loop's.
 */
#ifndef KEK_AUDIT_H
#define KEK_AUDIT_H

#include <uv.h>

#include "kek/audit_link.h"
#include "kek/keyring.h"
#include "kek/kms.h"

struct kek_audit;

#define KEK_AUDIT_BOUND (1024u * 1024) /* bytes that wait for the disk */
#define KEK_AUDIT_VERSIONS_MAX 64      /* KEK versions that are watched */
/* Lines a second about calls that reached no method. More are dropped and counted: whoever may not call
 * must neither push out the lines of those who may nor fill the disk. */
#define KEK_AUDIT_REJECTED_RATE 100u

/* Opens the file for appending, mode 0600 if it is made here, and gathers the start line.  It must be a
 * regular file, not a symbolic link.  Where there is no file nobody needs to listen at the socket yet.  `node` names this machine in every line; NULL: its host name.
 * Blocks: for start-up.  NULL: why says why. */
struct kek_audit *kek_audit_new(uv_loop_t *loop, const struct kek_audit_place *place,
                                const char *node, struct kek_why *why);

/* A KMS call that has ended: kek_kms_settings' observer hands it on. */
void kek_audit_call(struct kek_audit *audit, const struct kek_kms_event *event);

/* A call that never reached a method: kek_grpc_settings' `rejected` hands it on. */
void kek_audit_rejected(struct kek_audit *audit, const struct kek_rpc_peer *peer, const char *path,
                        enum kek_rpc_status status, const char *message);

/* A worker's login: kek_pool_settings' `logged_in` hands it on.  config is the root's. */
void kek_audit_login(struct kek_audit *audit, const struct kek_config *config,
                     const struct kek_pool_login *login);

/* How the keyring looks now; a line for each thing that is not as it was at the last call: what a provider
 * holds of a version, a new primary, another state of the verdict.  config names the providers.  primary:
 * NULL if none is announced.  At most KEK_AUDIT_VERSIONS_MAX versions are looked at. */
void kek_audit_keyring(struct kek_audit *audit, const struct kek_config *config,
                       const struct kek_keyring_primary *primary,
                       const struct kek_keyring_version *versions, size_t count,
                       const struct kek_keyring_verdict *verdict);

/* Where the chain stands, of what is written. False: no line is yet. */
bool kek_audit_where(const struct kek_audit *audit, struct kek_audit_end *end);

/* A MAC of that, by a key in an HSM, as kek_audit_mac_text() says it. */
struct kek_audit_mac {
    const char *provider;
    const struct kek_audit_end *covers;
    const struct kek_provider_maced *maced;
};
void kek_audit_mac(struct kek_audit *audit, const struct kek_audit_mac *mac);
/* The chain is not MACed from here on, until a line says otherwise. */
void kek_audit_mac_failed(struct kek_audit *audit, const char *provider, const struct kek_why *why);
/* After such a line: those that can be asked again have no key for it. */
void kek_audit_mac_none(struct kek_audit *audit);

/* Opens the path anew (SIGHUP, after the file was renamed); the old file is kept if that fails. A line
 * is never split between the two. */
void kek_audit_reopen(struct kek_audit *audit);

struct kek_audit_stats {
    uint64_t lines;    /* written, or sent where there is no file */
    uint64_t dropped;  /* lost, for want of room or at a stop with a disk that takes nothing */
    uint64_t errors;   /* writes and reopens that failed */
    size_t waiting;    /* bytes that wait for the disk */
    uint64_t uncopied; /* copies of lines that journal or syslog did not take */
};
void kek_audit_stats(const struct kek_audit *audit, struct kek_audit_stats *stats);

/* Writes the stop line and all that waits, trying once; takes no more lines.  `stopped` runs once, never
 * before this returns. A disk that hangs holds it up: the caller has a deadline of its own. */
void kek_audit_stop(struct kek_audit *audit, void (*stopped)(void *arg), void *arg);
void kek_audit_free(struct kek_audit *audit); /* after `stopped` */

#endif
