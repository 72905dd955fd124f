/*
 * A provider, as its worker process sees it: a table of functions and the loop that serves it.
 *
 * A worker is one main() that hands its table to kek_provider_main().  The loop speaks
 * proto/provider.proto on descriptor 3; it opens the provider, logs in when told, then runs
 * `sessions` threads that block in recv() on that one socket: one request in, one table call, one
 * reply out.  No lock, no queue.  It ends by _exit() on end-of-file: module exit handlers crash.
 *
 * Everything a table function leaves behind for its threads is made before the threads start and is
 * read-only after; what a session finds out later it keeps in its own session object.
 */
#ifndef KEK_PROVIDER_H
#define KEK_PROVIDER_H

#include <stdarg.h>

#include "kek/secret.h"
#include "kek/wire.h"

struct kek_provider;         /* the table's own: a loaded module and its token */
struct kek_provider_session; /* the table's own: one session, one thread */

/* The generated message types (proto/provider.pb-c.h). */
struct Kek__Provider__Hello;
struct Kek__Provider__Token;

/* A setting of Hello by its key; NULL: it is not there. Borrowed of the message: open() copies what it
 * keeps. */
const char *kek_provider_setting(const struct Kek__Provider__Hello *hello, const char *key);

/* A failure as the wire carries it. */
struct kek_provider_failure {
    int step;  /* Kek__Provider__Step */
    int cause; /* Kek__Provider__Cause */
    struct kek_why why;
    /* Where why.reason is KEK_REASON_TOKENS_ALIKE: their serial numbers; the first empty one ends them. */
    char alike[KEK_PROVIDER_ALIKE_MAX][KEK_PROVIDER_SERIAL_LEN_MAX];
};

/* Fills *failure with a text and with the kek_rc that its cause is to kekd. Returns false. */
bool kek_provider_fail(struct kek_provider_failure *failure, int step, int cause,
                       const char *format, va_list args) KEK_PRINTF(4, 0);

/* A call that failed so went well when the provider made it once more, for the request that this thread is at.  Whoever
 * asked for that is told with the answer: he may live with it, and who judges a token should know. */
void kek_provider_again(const struct kek_why *first);

struct kek_provider_wrapped {
    enum kek_wrap_alg alg;
    size_t len;
    uint8_t blob[KEK_WRAPPED_MAX];
    uint64_t handle; /* of the object that wrapped; 0: the provider has none */
};

/* Every function returns true, or false with *failure filled and its outputs untouched. */
struct kek_provider_ops {
    const char *type; /* "pkcs11" */
    size_t arena;     /* bytes for secrets, a power of two; 0: a PIN and a few keys a session */
    /* `officer`: the worker's role, which may have a PIN of its own. `token` borrows texts of the
     * provider, which lives as long as the process. */
    bool (*open)(const struct Kek__Provider__Hello *hello, bool officer,
                 struct kek_provider **provider, struct Kek__Provider__Token *token,
                 struct kek_provider_failure *failure);
    bool (*login)(struct kek_provider *provider, struct kek_provider_versions *versions,
                  enum kek_wrap_alg *alg, struct kek_provider_failure *failure);
    /* Called once for each session of Hello; the first may be one that login() opened. */
    bool (*session_open)(struct kek_provider *provider, struct kek_provider_session **session,
                         struct kek_provider_failure *failure);
    bool (*list)(struct kek_provider_session *session, struct kek_provider_versions *versions,
                 struct kek_provider_failure *failure);
    bool (*wrap)(struct kek_provider_session *session, const struct kek_id *kek_id,
                 const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                 struct kek_provider_failure *failure);
    /* `handle`: only the object that wrapped with that handle may open the blob; 0: whichever it is now. */
    bool (*unwrap)(struct kek_provider_session *session, const struct kek_id *kek_id,
                   uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                   struct kek_secret **data_key, struct kek_provider_failure *failure);
    /* By the key "<keyring>.audit" with this CKA_ID; NULL: of several the one with the smallest. The function is NULL
     * where the provider has no such keys, as is make_audit_key below. */
    bool (*mac)(struct kek_provider_session *session, const struct kek_id *key_id,
                struct kek_bytes text, struct kek_provider_maced *maced,
                struct kek_provider_failure *failure);
    /* Known to a worker with --role officer only. */
    bool (*make_audit_key)(struct kek_provider_session *session, const struct kek_id *key_id,
                           struct kek_provider_failure *failure);
    /* *made: its kek id; as asked for, unless the token says names_keys. */
    bool (*generate)(struct kek_provider_session *session, uint32_t number,
                     const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                     struct kek_provider_failure *failure);
    bool (*set_state)(struct kek_provider_session *session, const struct kek_id *kek_id,
                      enum kek_state state, struct kek_provider_failure *failure);
    bool (*destroy)(struct kek_provider_session *session, const struct kek_id *kek_id,
                    struct kek_provider_failure *failure);
    bool (*probe)(struct kek_provider_session *session, struct kek_provider_probed *probed,
                  struct kek_provider_failure *failure);
    /* `name`: a label, or a CKA_ID in hexadecimal. */
    bool (*describe)(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                     struct kek_provider_described *described,
                     struct kek_provider_failure *failure);
    /* All certificates, whatever an answer has room for; `attested` is empty. NULL: nothing states what its keys are. */
    bool (*attest)(struct kek_provider_session *session, const struct kek_id *kek_id,
                   struct kek_provider_attested *attested, struct kek_provider_failure *failure);
    /* An empty blob: no unwrap. NULL: a service holds its own keys to their states, and there is nothing to try. */
    bool (*try_key)(struct kek_provider_session *session, const struct kek_id *kek_id,
                    enum kek_wrap_alg alg, struct kek_bytes blob, bool copy,
                    struct kek_provider_tried *tried, struct kek_provider_failure *failure);
};

/* The worker's whole main(): arguments `--role serve|officer`, then the loop. Returns only for bad
 * usage (2); otherwise it ends the process. */
int kek_provider_main(int argc, char **argv, const struct kek_provider_ops *ops);

#endif
