#include "front.h"

#include <stdio.h>
#include <string.h>

/* A worker's way to ready: Hello -> Token -> the token's login lock -> Login -> Ready.  All of it
 * within start_timeout.  Nothing that may count as a try of the PIN happens without the lock, with a
 * PIN file on record as refused, or against a token that would lock itself.  A pool that closes hears
 * a login under way out: a refusal that nobody heard would be tried again by the next kekd. */

#define HELLO_ID 1
#define LOGIN_ID 2

/* The value of an attribute after the URI's question mark, or NULL; `name` ends with "=". */
static const char *find_attribute(const char *uri, const char *name)
{
    const char *at = strchr(uri, '?');
    at = at == NULL ? NULL : strstr(at, name);
    while (at != NULL && strchr("?&", at[-1]) == NULL) { /* the end of another attribute's name */
        at = strstr(at + 1, name);
    }
    return at == NULL ? NULL : at + strlen(name);
}

/* Where this role's PIN comes from, as the configuration says it; for messages. False: from a PIN pad. */
static bool pin_source(const struct kek_backend *backend, char *out, size_t size)
{
    const char *uri = backend->config->uri, *at = NULL;
    if (backend->pool->settings.officer) {
        at = find_attribute(uri, "admin-pin-source=");
    }
    at = at == NULL ? find_attribute(uri, "pin-source=") : at;
    if (at == NULL) {
        snprintf(out, size, "from its PIN pad");
        return false;
    }
    snprintf(out, size, "in %.*s", (int)strcspn(at, "&?;"), at);
    return true;
}

static void wait_until(struct kek_worker *worker, uint64_t ms)
{
    uint64_t now = kek_clock_ms();
    uint64_t left = worker->start_due_ms > now ? worker->start_due_ms - now : 0;
    uv_timer_start(&worker->timer, kek_worker_on_timer, ms < left ? ms : left, 0);
}

void kek_start_begin(struct kek_worker *worker)
{
    struct kek_backend *backend = worker->backend;
    worker->state = KEK_WORKER_HELLO;
    worker->hand_id = HELLO_ID;
    worker->start_due_ms = kek_clock_ms() + backend->config->start_timeout_ms;
    wait_until(worker, UINT64_MAX);
    kek_worker_send_packed(worker, kek_message_hello(backend, HELLO_ID));
}

void kek_start_unlock(struct kek_worker *worker)
{
    if (worker->lock_fd >= 0) {
        close(worker->lock_fd);
        worker->lock_fd = -1;
    }
}

bool kek_start_hear_out(struct kek_worker *worker)
{
    if (worker->state != KEK_WORKER_LOGIN) {
        return false;
    }
    uint64_t due = kek_clock_ms() + worker->backend->pool->times.login;
    worker->start_due_ms = due < worker->start_due_ms ? due : worker->start_due_ms;
    wait_until(worker, UINT64_MAX);
    return true;
}

void kek_start_failed(struct kek_worker *worker, bool kill, const struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    bool at_login = worker->state == KEK_WORKER_LOGIN || worker->hand_id == LOGIN_ID;
    /* Perhaps it was the slot of the last time that did not answer, perhaps another one: the next worker
     * tries it the other way. */
    if (worker->hand_id == HELLO_ID) {
        backend->slot_doubted = !backend->slot_doubted;
    }
    kek_start_unlock(worker);
    /* First when the next may start, then the end of this one, which looks for the next. */
    kek_backend_start_failed(backend, at_login, why);
    if (kill) {
        kek_worker_kill(worker);
    } else {
        kek_worker_close(worker);
    }
    kek_backend_ensure(backend);
}

/* No Login is sent: not now, and not before something has changed. */
static void stay_out(struct kek_worker *worker, struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    char source[160];
    (void)pin_source(backend, source, sizeof source);
    kek_fail_within(why, KEK_DENIED, "%s: the PIN %s", backend->config->name, source);
    kek_start_unlock(worker);
    kek_backend_pin_refused(backend, why);
    kek_worker_close(worker);
    kek_backend_ensure(backend);
    kek_dispatch_fail_hopeless(backend->pool);
}

static bool is_refused_here(const struct kek_worker *worker)
{
    const struct kek_backend *backend = worker->backend;
    return backend->refused_here && backend->refused.inode == worker->pin.inode &&
           backend->refused.mtime_ns == worker->pin.mtime_ns &&
           backend->refused.size == worker->pin.size;
}

static void try_login(struct kek_worker *worker)
{
    struct kek_backend *backend = worker->backend;
    const char *state_dir = backend->pool->state_dir;
    struct kek_why why;
    enum kek_rc rc = kek_login_lock(state_dir, worker->slot, &worker->lock_fd, &why);
    if (rc == KEK_UNAVAILABLE) {
        worker->state = KEK_WORKER_LOCK;
        wait_until(worker, backend->pool->times.lock_retry);
        return;
    }
    if (rc != KEK_OK) {
        kek_fail_within(&why, rc, "%s", backend->config->name);
        kek_start_failed(worker, false, &why);
        return;
    }
    rc = kek_login_check(state_dir, worker->slot, &worker->pin, &worker->recorded, &why);
    if (rc == KEK_OK && is_refused_here(worker)) {
        why = backend->refused_why;
        rc = KEK_DENIED;
    }
    if (rc != KEK_OK) {
        stay_out(worker, &why);
        return;
    }
    worker->state = KEK_WORKER_LOGIN;
    worker->hand_id = LOGIN_ID;
    wait_until(worker, UINT64_MAX);
    Kek__Provider__Login login = KEK__PROVIDER__LOGIN__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = LOGIN_ID;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LOGIN;
    request.login = &login;
    kek_worker_send_packed(worker, kek_message_pack(backend->pool, &request));
}

static void on_token(struct kek_worker *worker, const Kek__Provider__Token *token)
{
    struct kek_backend *backend = worker->backend;
    if (token->protocol != KEK_PROVIDER_PROTOCOL) {
        kek_worker_broken(worker, "it speaks another version of the protocol");
        return;
    }
    kek_message_text(backend->serial, sizeof backend->serial, token->serial);
    kek_message_text(backend->model, sizeof backend->model, token->model);
    kek_message_text(backend->firmware, sizeof backend->firmware, token->firmware);
    kek_message_text(backend->library, sizeof backend->library, token->library);
    backend->pin_count_low = token->pin_count_low;
    backend->max_sessions = token->max_sessions;
    backend->slot = token->slot;
    backend->slot_known = true;
    backend->slot_doubted = false;
    worker->pin = (struct kek_login_pin){
        .inode = token->pin_inode,
        .mtime_ns = token->pin_mtime_ns,
        .size = token->pin_size,
    };
    kek_login_slot(token->serial, worker->slot);
    struct kek_why why;
    if (token->pin_locked) {
        kek_fail(&why, KEK_DENIED, "is locked by the token: its officer must set it anew");
        stay_out(worker, &why);
        return;
    }
    if (token->pin_final_try) {
        kek_fail(&why, KEK_DENIED,
                 "has one try left on the token, and kekd does not take it: log in once by hand");
        stay_out(worker, &why);
        return;
    }
    try_login(worker);
}

static void on_ready(struct kek_worker *worker, const Kek__Provider__Ready *ready)
{
    struct kek_backend *backend = worker->backend;
    if ((int)ready->alg < 0 || (int)ready->alg > KEK_WRAP_AES_CBC ||
        !kek_message_versions(ready->n_versions, ready->versions, &backend->versions)) {
        kek_worker_broken(worker, "its list of versions is malformed");
        return;
    }
    uv_timer_stop(&worker->timer);
    if (worker->recorded) {
        int lock_fd = worker->lock_fd;
        worker->lock_fd = -1;
        kek_login_forget(backend, worker->slot, lock_fd);
    }
    kek_start_unlock(worker);
    /* A start that could try none (every key only unwraps) does not make the others forget. */
    if (ready->alg != KEK__PROVIDER__WRAP_ALG__NONE) {
        backend->alg = (enum kek_wrap_alg)ready->alg;
    }
    backend->refused_here = false;
    worker->state = KEK_WORKER_READY;
    worker->was_ready = true;
    worker->vouched = !backend->pool->settings.vouch;
    kek_backend_became_ready(backend);
    if (backend->pool->closing) {
        kek_worker_close(worker);
    }
}

static void on_pin_refused(struct kek_worker *worker, struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    struct kek_login_refusal refusal = {.pin = worker->pin, .code = why->code};
    int lock_fd = worker->lock_fd;
    char source[160];
    bool is_file = pin_source(backend, source, sizeof source);
    worker->lock_fd = -1;
    backend->refused_here = true;
    backend->refused = worker->pin;
    kek_fail_native(&backend->refused_why, KEK_DENIED, KEK_NATIVE_PKCS11, why->code,
                    "was refused (0x%lx), not tried again: %srun kekctl pin "
                    "retry (%s/pin-refused-%s)",
                    why->code, is_file ? "change that file, or " : "", backend->pool->state_dir,
                    worker->slot);
    *why = backend->refused_why;
    stay_out(worker, why);
    kek_login_record(backend, worker->slot, lock_fd, &refusal);
}

static void on_failed(struct kek_worker *worker, const Kek__Provider__Failed *failed)
{
    struct kek_why why;
    kek_message_failed(worker->backend, failed, &why);
    if (worker->state == KEK_WORKER_LOGIN && failed->cause == KEK__PROVIDER__CAUSE__PIN_REFUSED) {
        if (failed->native == 0) {
            stay_out(worker, &why); /* the worker did not try it: the token would lock itself */
        } else {
            on_pin_refused(worker, &why);
        }
        return;
    }
    /* What failed before or after it says nothing of the PIN: the next start need not wait long. */
    if (failed->step != KEK__PROVIDER__STEP__LOGIN) {
        worker->state = KEK_WORKER_HELLO;
    }
    kek_start_failed(worker, false, &why);
}

void kek_start_reply(struct kek_worker *worker, const Kek__Provider__Reply *reply)
{
    bool awaited = worker->state == KEK_WORKER_HELLO || worker->state == KEK_WORKER_LOGIN;
    if (!awaited || reply->id != worker->hand_id) {
        kek_worker_broken(worker, "it answered what nobody had asked");
        return;
    }
    worker->hand_id = 0;
    if (reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED) {
        on_failed(worker, reply->failed);
    } else if (worker->state == KEK_WORKER_HELLO &&
               reply->result_case == KEK__PROVIDER__REPLY__RESULT_TOKEN) {
        on_token(worker, reply->token);
    } else if (worker->state == KEK_WORKER_LOGIN &&
               reply->result_case == KEK__PROVIDER__REPLY__RESULT_READY) {
        on_ready(worker, reply->ready);
    } else {
        kek_worker_broken(worker, "it gave the wrong kind of answer");
    }
}

void kek_start_on_timer(struct kek_worker *worker)
{
    struct kek_backend *backend = worker->backend;
    if (kek_clock_ms() < worker->start_due_ms) {
        if (worker->state == KEK_WORKER_LOCK) {
            try_login(worker);
        } else {
            wait_until(worker, UINT64_MAX);
        }
        return;
    }
    static const char *const doing[] = {
        [KEK_WORKER_HELLO] = "loading the module and finding the token",
        [KEK_WORKER_LOCK] = "waiting for another process to log in to the same token",
        [KEK_WORKER_LOGIN] = "logging in and trying the keys",
    };
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "%s: a worker was not ready within %llu ms: %s",
             backend->config->name, (unsigned long long)backend->config->start_timeout_ms,
             doing[worker->state]);
    kek_start_failed(worker, true, &why);
}
