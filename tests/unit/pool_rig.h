/*
 * A pool over fake workers in a folder of its own, for the pool's tests.
 *
 * rig_close() also checks what every test owes: each call ended, no worker process left behind, no
 * libuv handle left open.
 */
#ifndef KEK_TESTS_POOL_RIG_H
#define KEK_TESTS_POOL_RIG_H

#include "suite.h"

#include "../../src/pool/front.h"

#define RIG_PROVIDERS 2
#define RIG_PATIENCE_MS 60000 /* a test that waits longer than this has failed */

struct rig {
    char folder[64], state[80], workers[80];
    char env_dir[96];
    char *env[RIG_PROVIDERS][4];
    struct kek_config config;
    struct kek_config_provider providers[RIG_PROVIDERS];
    struct kek_config_setting settings_of[RIG_PROVIDERS][3];
    struct kek_pool_settings settings;
    uv_loop_t loop;
    struct kek_pool *pool;
    unsigned may;               /* a bit per provider */
    uint64_t may_not, unjudged; /* a bit per worker, by its serial */
    unsigned changes, ends;
    unsigned logins[KEK_POOL_LOGIN_UNCLEAR + 1]; /* told of, by outcome */
    bool inside,
        closed; /* inside: of a call of the pool's face, from which nothing is to be told */
};

/* One end of a call. */
struct outcome {
    struct rig *rig;
    unsigned ends;  /* must become 1 */
    unsigned order; /* how many calls of the rig had ended before */
    enum kek_rc rc;
    size_t provider; /* who answered, also with a failure; worker 0: nobody */
    uint64_t worker;
    enum kek_wrap_alg alg;
    size_t blob_len, version_count;
    uint32_t number; /* of the first version */
    char label[KEK_LABEL_MAX];
    uint8_t blob[64], key[KEK_DATA_KEY_LEN];
    struct kek_why why;
};

void rig_init(struct rig *rig, size_t providers); /* defaults: 1 process, 2 sessions each */
void rig_set(struct rig *rig, size_t provider, const char *key, char *value); /* a setting */
void rig_write(struct rig *rig, const char *file, const char *content);
void rig_remove(struct rig *rig, const char *file);
bool rig_has(struct rig *rig, const char *file);
size_t rig_count(struct rig *rig, const char *beginning); /* lines of the log that begin so */
bool rig_logged(struct rig *rig, const char *text);
void rig_open(struct rig *rig);  /* a pool that is not started */
void rig_start(struct rig *rig); /* and started */
void rig_close(struct rig *rig); /* the folder stays: the pool may be opened again */
void rig_done(struct rig *rig);  /* closes what is open, removes the folder */

/* Runs the loop until `condition`, which may use `rig`. */
#define RIG_UNTIL(rig, condition)                                                      \
    do {                                                                               \
        uint64_t until_ = kek_clock_ms() + RIG_PATIENCE_MS;                            \
        while (!(condition)) {                                                         \
            ck_assert_msg(kek_clock_ms() < until_, "gave up waiting for " #condition); \
            rig_step(rig);                                                             \
        }                                                                              \
    } while (0)

void rig_step(struct rig *rig);
void rig_pause(struct rig *rig, uint64_t ms); /* lets the loop run that long */
struct kek_pool_provider rig_status(struct rig *rig, size_t provider);
enum kek_pool_health rig_health(struct rig *rig, size_t provider);
size_t rig_ready(struct rig *rig, size_t provider); /* workers */
size_t rig_alive(struct rig *rig, size_t provider); /* processes that may hold sessions */

/* The ready workers' serials, oldest first; how many there are. */
size_t rig_serials(struct rig *rig, size_t provider, uint64_t serials[static KEK_POOL_WORKERS_MAX]);
uint64_t rig_serial(struct rig *rig, size_t provider); /* of the only ready one */
void rig_end(struct rig *rig, uint64_t worker, const char *why);
void rig_retire(struct rig *rig, uint64_t worker);

/* The lock file of the fake's token, held as another process would; close() lets go. */
int rig_hold_lock(struct rig *rig);

extern const struct kek_id rig_key; /* the fake's KEK */

/* Submits; the call must be accepted. in_ms 0: no deadline. */
struct kek_pool_call *rig_unwrap(struct rig *rig, struct outcome *outcome, size_t provider,
                                 const char *command, uint64_t in_ms);
struct kek_pool_call *rig_submit(struct rig *rig, struct outcome *outcome,
                                 struct kek_pool_request *request, uint64_t in_ms);
struct kek_pool_request rig_request(size_t provider, const char *command);   /* an unwrap */
struct kek_pool_request rig_to_worker(uint64_t worker, const char *command); /* names the worker */
/* One provider with two ready workers; their serials, older first. */
void rig_start_two(struct rig *rig, uint64_t serials[static KEK_POOL_WORKERS_MAX]);
enum kek_rc rig_no(struct rig *rig, struct kek_pool_request *request, struct kek_why *why);
enum kek_rc rig_refused(struct rig *rig, const char *command, struct kek_why *why);
/* Submits and waits for the end. */
void rig_do(struct rig *rig, struct outcome *outcome, size_t provider, const char *command,
            uint64_t in_ms);
void rig_wait(struct rig *rig, struct outcome *outcome);
/* It is KEK_OK, once, with the key that this command's blob gives. */
void rig_check(const struct outcome *outcome, const char *command);

#endif
