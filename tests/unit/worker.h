/*
 * A test's side of a real kekd-pkcs11: a throw-away SoftHSM token, the program on a socket pair, and
 * requests spelt as calls.  Whatever cannot be had fails the test on the spot.  All of it lives in
 * the test's own folder, which worker_tests_run() removes; a worker leaves when its socket closes.
 */
#ifndef KEK_TESTS_WORKER_H
#define KEK_TESTS_WORKER_H

#include "suite.h"

#include <limits.h>
#include <sys/types.h>

#include <p11-kit/pkcs11.h>

#include "kek/wire.h"
#include "provider.pb-c.h"

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

/* main() of a suite: makes the folder, runs, removes the folder; the exit status. */
int worker_tests_run(Suite *suite);

/* <this suite's folder>/<name of this process>/<name>; the folder exists. */
void worker_path(const char *name, char path[static PATH_MAX]);
void worker_write(const char *path, const void *content, size_t len, mode_t mode);

struct token {
    char dir[PATH_MAX];
    char pin[64];
    char uri[3 * PATH_MAX]; /* complete, with pin-source */
};

/* Makes a token and points SOFTHSM2_CONF at it. */
void token_make(struct token *token);
/* Adds a second token to the same SoftHSM. */
void token_add(const struct token *token, const char *label);

/* Runs `work` in a process of its own, logged in on a session of the token; it must return true. */
void token_do(const struct token *token,
              bool (*work)(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg), void *arg);

/* An AES-256 key as kekd would make it, but for what `change` says (types that are already there are
 * replaced, others added). With value, it is imported instead of generated. */
struct odd_key {
    const char *label;
    const void *id;
    size_t id_len;
    CK_ATTRIBUTE change[4];
    size_t change_count;
    const void *value;
    size_t value_len;
};
void token_make_key(const struct token *token, const struct odd_key *key);

/* Copies the file of the only key on the token, as a restore that appends does.  Who has the token
 * open does not see the copies. */
void token_multiply_key(const struct token *token, unsigned copies);

struct worker {
    pid_t pid;
    int socket;
    uint64_t id; /* of the last request */
};

void worker_spawn(struct worker *worker, const char *role);
void worker_end(struct worker *worker); /* closes, waits, and expects exit 0 */

/* The reply to a request, whose id they set and compare. Free it with reply_free(). */
Kek__Provider__Reply *worker_ask(struct worker *worker, Kek__Provider__Request *request);
void worker_send(struct worker *worker, Kek__Provider__Request *request); /* id is the caller's */
Kek__Provider__Reply *worker_receive(struct worker *worker);
void reply_free(Kek__Provider__Reply *reply);

/* Starting: a Hello for keyring "ring" with this uri; then both, which must succeed. */
void hello_init(Kek__Provider__Hello *hello, const char *uri);
void hello_set(Kek__Provider__Hello *hello, const char *key, const char *value); /* a setting */
Kek__Provider__Reply *worker_hello(struct worker *worker, Kek__Provider__Hello *hello);
Kek__Provider__Reply *worker_login(struct worker *worker);
void worker_start(struct worker *worker, const char *role, const char *uri);
void worker_start_with(struct worker *worker, const char *role, Kek__Provider__Hello *hello);

/* One operation each. */
Kek__Provider__Reply *worker_list(struct worker *worker);
Kek__Provider__Reply *worker_wrap(struct worker *worker, const struct kek_id *id,
                                  const uint8_t key[static KEK_DATA_KEY_LEN]);
Kek__Provider__Reply *worker_unwrap(struct worker *worker, const struct kek_id *id, int alg,
                                    const void *blob, size_t len);
Kek__Provider__Reply *worker_unwrap_by(struct worker *worker, const struct kek_id *id,
                                       uint64_t handle, int alg, const void *blob, size_t len);
Kek__Provider__Reply *worker_generate(struct worker *worker, uint32_t number,
                                      const struct kek_id *id, int state);
Kek__Provider__Reply *worker_set_state(struct worker *worker, const struct kek_id *id, int state);
Kek__Provider__Reply *worker_destroy(struct worker *worker, const struct kek_id *id);

/* What a reply must be; both free it. `text` must stand in the failure's text. */
void expect_done(Kek__Provider__Reply *reply);
void expect_failed(Kek__Provider__Reply *reply, int cause, const char *text);

/* A token with version 1 of "ring", active, id 0x11 times 16. */
void token_make_with_key(struct token *token, struct kek_id *id);
struct kek_id id_of(uint8_t byte);

#endif
