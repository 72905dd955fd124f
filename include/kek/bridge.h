/*
 * What the workers share whose KEK is held by a service on the network and not by a PKCS#11 module: what its
 * versions are called here, its answers, the files its credentials are in, and the token that it lets us in by.
 *
 * Memory: whatever libjansson takes is wiped when it is given back, once kek_bridge_setup() ran; a credential is
 * in struct kek_secret; what is sent and what comes is in struct kek_buf.  libcurl's and the TLS library's own
 * buffers are not wiped.  Errors: a failure is filled once, and its text holds nothing that was sent; what a
 * service says is shown only if no secret of ours is in it.  For workers alone: kekd links none of this.
 */
#ifndef KEK_BRIDGE_H
#define KEK_BRIDGE_H

#include <jansson.h>

#include "kek/base64.h"
#include "kek/provider.h"
#include "kek/remote.h"

/* Once, before any JSON is made and any thread starts. */
void kek_bridge_setup(void);

/* ---- failures: both return false, so that a failure is one statement ---- */

/* `step` and `cause` are of proto/provider.proto. */
bool kek_bridge_fail(struct kek_provider_failure *failure, int step, int cause, const char *format,
                     ...) KEK_PRINTF(4, 5);
/* The same with what went wrong further down. */
bool kek_bridge_fail_why(struct kek_provider_failure *failure, int step, int cause,
                         const struct kek_why *why);

/* ---- what Hello brings ---- */

/* What kekd waits for one call, and for a start, less what it takes to tell why it failed. */
uint64_t kek_bridge_call_ms(const struct Kek__Provider__Hello *hello);
uint64_t kek_bridge_start_ms(const struct Kek__Provider__Hello *hello);

/* The `versions` of the configuration: what each may do at most. */
struct kek_bridge_named {
    uint32_t number;
    enum kek_state state;
};
struct kek_bridge_names {
    struct kek_bridge_named items[KEK_PROVIDER_VERSIONS_MAX];
    size_t count;
};

/* Of a Hello that the worker's loop has checked. */
bool kek_bridge_names_read(const struct Kek__Provider__Hello *hello, struct kek_bridge_names *names,
                           struct kek_provider_failure *failure);
/* NULL: the configuration does not name it. */
const struct kek_bridge_named *kek_bridge_names_find(const struct kek_bridge_names *names,
                                                     uint32_t number);

/* ---- names ---- */

/* The kek id of a version: the first 16 bytes of SHA-256 of its resource name, which docs/envelope-format.md
 * says for each service. */
void kek_bridge_id(const char *resource, struct kek_id *id);

/* ---- asking ---- */

struct kek_bridge_request {
    const char *method; /* NULL: GET */
    const char *url;    /* without a query that may be secret; messages have it */
    bool plain;         /* http:// */
    const char *const *headers;
    const struct kek_secret *credential; /* a header line; NULL: none */
    struct kek_bytes body;
    bool body_is_secret;
    size_t max;           /* bytes of the answer */
    uint64_t deadline_ms; /* of kek_clock_ms() */
};

struct kek_bridge_answer {
    long status;        /* of HTTP; 0: none came */
    json_t *json;       /* an object; NULL: the body was empty */
    enum kek_rc rc;     /* KEK_OK: a 2xx, with an object or nothing in it */
    struct kek_why why; /* of what failed; of a status that is no 2xx without the service's words */
};

/* One request. End the answer with kek_bridge_answer_done(), whatever came. */
void kek_bridge_ask(struct kek_remote *remote, const struct kek_bridge_request *request,
                    struct kek_bridge_answer *answer);
void kek_bridge_answer_done(struct kek_bridge_answer *answer);
#define KEK_BRIDGE_ANSWER_AUTO __attribute__((cleanup(kek_bridge_answer_done)))

/* Whole, strict JSON, an object: no key twice, nothing after it. NULL: why says why not. */
json_t *kek_bridge_parse(struct kek_bytes text, struct kek_why *why);

/* Is a piece of 12 bytes of the secret, or all of one that is shorter, in this text?  An empty one never is. */
bool kek_bridge_reveals(const char *text, struct kek_bytes secret);

/* ---- credentials in files ---- */

#define KEK_BRIDGE_SECRET_MAX 8192 /* bytes of a token, secret id or JWT */

/* What it was when it was read: a change of any of these is a new one. */
struct kek_bridge_file {
    uint64_t inode, size;
    int64_t mtime_ns;
};

/* One line of 1 to KEK_BRIDGE_SECRET_MAX printable bytes from a regular file that nobody but its owner may use;
 * symbolic links are followed. `what` for messages: "token_file". Errors: as kek_small_file_line(). */
enum kek_rc kek_bridge_read_secret(const char *path, const char *what, struct kek_secret **secret,
                                   struct kek_bridge_file *file,
                                   struct kek_why *why) KEK_MUST_CHECK;

/* ---- the token ---- */

/* What a service gave: to be handed over. */
struct kek_bridge_grant {
    struct kek_secret *token; /* as the header line that carries it */
    uint64_t lifetime_ms;     /* 0: it does not end */
};

/* Gets a token. `renew`: the line in use, which is to live longer; NULL: a new one is wanted. Asked by one thread at
 * a time. */
typedef bool kek_bridge_grant_fn(void *arg, const struct kek_secret *renew, uint64_t deadline_ms,
                                 struct kek_bridge_grant *grant,
                                 struct kek_provider_failure *failure);

struct kek_bridge_token;

/* `patience_ms`: for a renewal, which nobody waits for. NULL: no memory. */
struct kek_bridge_token *kek_bridge_token_new(kek_bridge_grant_fn *grant, void *arg,
                                              uint64_t patience_ms);
/* The first one; false: failure says why. */
bool kek_bridge_token_get(struct kek_bridge_token *token, uint64_t deadline_ms,
                          struct kek_provider_failure *failure);
/* Starts the thread that renews it when two thirds of its lifetime are over, and tries again until it could. It
 * runs as long as the process. False: no thread. */
bool kek_bridge_token_keep(struct kek_bridge_token *token);

/* A session's own copy of the line: the same for as long as the token is. */
struct kek_bridge_line {
    struct kek_secret *line;
    uint64_t serial;
};

/* False: the arena for secrets is full. */
bool kek_bridge_token_line(struct kek_bridge_token *token, struct kek_bridge_line *line);
void kek_bridge_line_done(struct kek_bridge_line *line);

/* The service took this line no more: there is another one when it returns true. One thread asks for it, the others
 * wait; a refusal is not asked for again within a second. */
bool kek_bridge_token_refused(struct kek_bridge_token *token, const struct kek_bridge_line *line,
                              uint64_t deadline_ms, struct kek_provider_failure *failure);

/* Only for tests: without a thread that keeps it. */
void kek_bridge_token_free(struct kek_bridge_token *token);

#endif
