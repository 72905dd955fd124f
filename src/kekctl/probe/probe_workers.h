/*
 * Workers of one provider for a keyring that nobody uses, so that a key can be made, changed and destroyed to learn
 * what the token does with it.
 *
 * There are three pools of one worker each: the officer changes the key, the running one began before and stays,
 * the fresh one is another process for each question.  Every question has a deadline, the provider's start_timeout
 * and ten seconds; a worker that fails three times in a row, or whose PIN is refused, ends it sooner, and so does
 * SIGINT or SIGTERM, which stop nothing else until the workers are closed.
 */
#ifndef KEKCTL_PROBE_WORKERS_H
#define KEKCTL_PROBE_WORKERS_H

#include "kek/pool.h"
#include "kekctl/kekctl.h"
#include "kekctl/key/login_log.h"

enum probe_worker { PROBE_OFFICER, PROBE_RUNNING, PROBE_FRESH, PROBE_WORKERS };

struct probe_workers {
    const struct ctl *ctl;
    char keyring[40];         /* "kekd-probe-" and 16 hexadecimal digits */
    struct kek_config config; /* the operator's, but for that keyring and the one provider */
    struct kek_config_provider provider; /* all borrowed of the operator's */
    size_t place;                        /* of that one among the operator's */
    struct login_log logins;
    uv_loop_t loop;
    bool has_loop;
    uv_signal_t signals[2];
    unsigned interrupted; /* how often */
    unsigned
        interruptible; /* a question is given up once it was interrupted more often than this */
    struct probe_pool {
        struct probe_workers *workers;
        struct kek_pool *pool; /* NULL: not started yet */
        bool asked;
        unsigned strikes;
        uint64_t spawned; /* workers, when it was last looked at */
    } pools[PROBE_WORKERS];
};

struct probe_answer {
    struct kek_pool_call *call; /* NULL: it is here */
    const struct kek_id *kek_id;
    enum kek_rc rc;
    struct kek_why why;
    bool listed; /* list: a key with that id is there */
    enum kek_wrap_alg alg;
    size_t blob_len;
    uint8_t blob[KEK_WRAPPED_MAX]; /* wrap */
    struct kek_provider_tried tried;
};

/* False after saying why. In both cases it is to be closed. */
bool probe_workers_open(struct probe_workers *workers, const struct ctl *ctl,
                        const struct kek_config *config, size_t provider);
/* Fills in provider and deadline, and waits for the answer. */
void probe_workers_ask(struct probe_workers *workers, enum probe_worker which,
                       struct kek_pool_request *request, struct probe_answer *answer);
/* Keyrings of the same kind that have keys on the token, as far as the officer was told; NULL: no more. */
const char *probe_workers_other(const struct probe_workers *workers, size_t i);
void probe_workers_close(struct probe_workers *workers);

#endif
