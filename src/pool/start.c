#include "front.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

/* A worker's way to ready: Hello -> Token -> the token's login lock -> the try on record -> Login ->
 * Ready.  All of it within start_timeout.  Nothing that may count as a try of the PIN happens without
 * the lock, before it is on record, with a PIN file on record as refused, or against a token that would
 * lock itself.  A pool that closes waits for the answer to a login under way, at most 2 s: a refusal that
 * nobody heard would be tried again by the next kekd. */

#define HELLO_ID 1
#define LOGIN_ID 2

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
    kek_message_send(worker, kek_message_hello(backend, HELLO_ID));
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

/* What was sent may have been a try of the PIN; it is on record as one since before it was sent. */
static void say_unsure(struct kek_worker *worker, struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    const struct kek_login_entry *now = &worker->login.now;
    char said[KEK_LOGIN_SAID];
    uint64_t pause = kek_login_pause(&backend->logins, now->tries);
    char next[48] = "the last one";
    if (now->tries < KEK_LOGIN_TRIES) {
        snprintf(next, sizeof next, "the next one in %llu s", (unsigned long long)(pause / 1000));
        kek_backend_start_after(backend, pause);
    }
    kek_login_say_unsure(&backend->logins, now->code, said);
    kek_fail_within(why, why->rc, "%s: %s, %u of %d, %s", backend->config->name, said, now->tries,
                    KEK_LOGIN_TRIES, next);
}

static bool has_pin(const struct kek_worker *worker)
{
    return worker->login.now.credential.pin.size > 0;
}

/* Once it is said when the next one may start, which the end of this one looks for. */
static void leave(struct kek_worker *worker, bool kill)
{
    kek_login_unlock(&worker->login);
    if (kill) {
        kek_worker_kill(worker);
    } else {
        kek_worker_close(worker);
    }
    kek_backend_ensure(worker->backend);
}

static void tell_login(const struct kek_worker *worker, enum kek_pool_login_outcome outcome,
                       const struct kek_why *why)
{
    const struct kek_backend *backend = worker->backend;
    const struct kek_pool_settings *settings = &backend->pool->settings;
    struct kek_pool_login login = {.provider = backend->index,
                                   .worker = worker->serial,
                                   .token = backend->status.serial,
                                   .outcome = outcome,
                                   .why = why};
    if (settings->logged_in != NULL) {
        settings->logged_in(settings->arg, &login);
    }
}

void kek_start_failed(struct kek_worker *worker, bool kill, const struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    bool at_login = worker->state == KEK_WORKER_LOGIN || worker->hand_id == LOGIN_ID;
    struct kek_why said = *why;
    if (worker->login.open && has_pin(worker)) {
        kek_login_unanswered(&worker->login);
        say_unsure(worker, &said);
        tell_login(worker, KEK_POOL_LOGIN_UNCLEAR, &said);
    }
    worker->login.open = false;
    /* Perhaps it was the slot of the last time that did not answer, perhaps another one: the next worker
     * tries it the other way. */
    if (worker->hand_id == HELLO_ID) {
        backend->slot_doubted = !backend->slot_doubted;
    }
    kek_backend_start_failed(backend, at_login, &said);
    leave(worker, kill);
}

/* No Login is sent: not now, and not before something has changed.  `why` goes on behind "the PIN in FILE", as "was refused" does,
 * or, with `colon`, is a sentence of its own. */
static void stay_out(struct kek_worker *worker, bool colon, const struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    struct kek_why said;
    char source[160];
    (void)kek_login_pin_source(&backend->logins, source, sizeof source);
    kek_fail(&said, KEK_DENIED, "%s: the PIN %s%s %s", backend->config->name, source,
             colon ? ":" : "", kek_text_after_name(why->text, backend->config->name));
    said.reason = why->reason;
    said.native = why->native;
    said.code = why->code;
    kek_backend_pin_refused(backend, &said);
    leave(worker, false);
    kek_call_fail_hopeless(backend->pool);
}

static void send_login(struct kek_worker *worker)
{
    worker->state = KEK_WORKER_LOGIN;
    worker->hand_id = LOGIN_ID;
    worker->login.open = true;
    wait_until(worker, UINT64_MAX);
    Kek__Provider__Login login = KEK__PROVIDER__LOGIN__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = LOGIN_ID;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LOGIN;
    request.login = &login;
    kek_message_send(worker, kek_message_pack(worker->backend->pool, &request));
}

/* The try of the PIN is on disk: `why` is NULL; or it could not be written. */
static void on_recorded(void *arg, const struct kek_why *why)
{
    struct kek_worker *worker = arg;
    if (why == NULL || kek_login_unrecorded(&worker->login)) {
        send_login(worker);
        return;
    }
    struct kek_why said = *why;
    kek_fail_within(&said, KEK_UNAVAILABLE, "%s: no login that cannot be put on record first",
                    worker->backend->config->name);
    kek_start_failed(worker, false, &said);
}

/* An earlier try, of another worker or process, got no clear answer: this one comes too soon after it. */
static void come_later(struct kek_worker *worker, uint64_t wait_ms, struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    kek_fail_within(why, KEK_UNAVAILABLE, "%s", backend->config->name);
    backend->ever_failed = true;
    kek_backend_start_after(backend, wait_ms);
    kek_backend_judge(backend, why);
    leave(worker, false);
}

static void begin_login(struct kek_worker *worker)
{
    struct kek_why why;
    uint64_t wait_ms = 0;
    enum kek_rc rc = kek_login_begin(&worker->login, on_recorded, worker, &wait_ms, &why);
    if (wait_ms > 0) {
        come_later(worker, wait_ms, &why);
        return;
    }
    switch (rc) {
    case KEK_OK:
        if (worker->login.job == NULL) {
            send_login(worker);
        }
        break;
    case KEK_DENIED:
    case KEK_INVALID:
    case KEK_TOO_LARGE:
        stay_out(worker, rc != KEK_DENIED, &why);
        break;
    default:
        on_recorded(worker, &why);
        break;
    }
}

static void try_login(struct kek_worker *worker)
{
    struct kek_backend *backend = worker->backend;
    struct kek_why why;
    worker->state = KEK_WORKER_LOCK;
    enum kek_rc rc = kek_login_lock(&worker->login, &why);
    if (rc == KEK_UNAVAILABLE) {
        wait_until(worker, backend->pool->times.lock_retry);
        return;
    }
    if (rc != KEK_OK) {
        kek_fail_within(&why, rc, "%s", backend->config->name);
        kek_start_failed(worker, false, &why);
        return;
    }
    wait_until(worker, UINT64_MAX);
    begin_login(worker);
}

static void on_token(struct kek_worker *worker, const Kek__Provider__Token *token)
{
    struct kek_backend *backend = worker->backend;
    if (token->protocol != KEK_PROVIDER_PROTOCOL) {
        kek_worker_broken(worker, "it speaks another version of the protocol");
        return;
    }
    kek_text_copy(worker->token, sizeof worker->token, token->serial);
    kek_text_copy(backend->status.serial, sizeof backend->status.serial, token->serial);
    kek_text_copy(backend->status.label, sizeof backend->status.label, token->label);
    kek_text_copy(backend->status.model, sizeof backend->status.model, token->model);
    kek_text_copy(backend->status.firmware, sizeof backend->status.firmware, token->firmware);
    kek_text_copy(backend->status.library, sizeof backend->status.library, token->library);
    backend->status.pin_count_low = token->pin_count_low;
    backend->status.max_sessions = token->max_sessions;
    backend->status.names_keys = token->names_keys;
    backend->slot = token->slot;
    backend->slot_known = true;
    backend->slot_doubted = false;
    struct kek_why why;
    if (kek_login_init(&worker->login, &backend->logins, token, &why) != KEK_OK) {
        kek_fail_within(&why, why.rc, "%s", backend->config->name);
        kek_start_failed(worker, false, &why);
        return;
    }
    kek_backend_watch_pin(backend, token->pin_path);
    if (token->pin_locked) {
        kek_fail(&why, KEK_DENIED, "is locked by the token: its officer must set it anew");
        (void)kek_fail_reason(&why, KEK_REASON_PIN_LOCKED);
        stay_out(worker, false, &why);
        return;
    }
    if (token->pin_final_try) {
        kek_fail(&why, KEK_DENIED,
                 "has one try left on the token, and kekd does not take it: log in once by hand");
        (void)kek_fail_reason(&why, KEK_REASON_PIN_LAST_TRY);
        stay_out(worker, false, &why);
        return;
    }
    try_login(worker);
}

static bool keep_versions(struct kek_worker *worker, const struct kek_provider_versions *versions)
{
    if (versions->count == 0) {
        return true;
    }
    worker->versions = calloc(versions->count, sizeof versions->items[0]);
    if (worker->versions == NULL) {
        return false;
    }
    memcpy(worker->versions, versions->items, versions->count * sizeof versions->items[0]);
    worker->version_count = versions->count;
    return true;
}

static void keep_others(struct kek_backend *backend, const Kek__Provider__Ready *ready)
{
    memset(backend->status.others, 0, sizeof backend->status.others);
    backend->status.more_others = ready->more_others;
    for (size_t i = 0; i < ready->n_others && i < KEK_PROVIDER_OTHERS_MAX; i++) {
        kek_text_copy(backend->status.others[i], sizeof backend->status.others[i],
                      ready->others[i]);
    }
}

static void on_ready(struct kek_worker *worker, const Kek__Provider__Ready *ready)
{
    struct kek_backend *backend = worker->backend;
    kek_login_end(&worker->login, KEK_LOGIN_GOOD, 0);
    tell_login(worker, KEK_POOL_LOGIN_OK, NULL);
    struct kek_provider_versions *versions = &backend->pool->listed;
    if (!kek_message_is_alg(ready->alg) ||
        !kek_message_versions(ready->n_versions, ready->versions, versions)) {
        kek_worker_broken(worker, "its list of versions is malformed");
        return;
    }
    if (!keep_versions(worker, versions)) {
        struct kek_why why;
        kek_fail(&why, KEK_NO_MEMORY, "%s: no memory for its versions", backend->config->name);
        worker->state = KEK_WORKER_HELLO; /* not the login failed */
        kek_start_failed(worker, false, &why);
        return;
    }
    keep_others(backend, ready);
    kek_known_listed(backend, versions);
    uv_timer_stop(&worker->timer);
    /* A start that could try none (every key only unwraps) does not make the others forget. */
    if (ready->alg != KEK__PROVIDER__WRAP_ALG__NONE) {
        backend->alg = (enum kek_wrap_alg)ready->alg;
    }
    worker->state = KEK_WORKER_READY;
    worker->was_ready = true;
    kek_backend_became_ready(backend);
    if (backend->pool->closing) {
        kek_worker_close(worker);
    }
}

/* The answer may mean that the token counts a wrong PIN. */
static void on_counted(struct kek_worker *worker, enum kek_login_end how, struct kek_why *why)
{
    kek_login_end(&worker->login, how, why->code);
    tell_login(worker, how == KEK_LOGIN_REFUSED ? KEK_POOL_LOGIN_REFUSED : KEK_POOL_LOGIN_UNCLEAR,
               why);
    struct kek_why refusal;
    if (kek_login_refusal(&worker->login, &refusal) != KEK_OK) {
        stay_out(worker, false, &refusal);
        return;
    }
    say_unsure(worker, why);
    kek_start_failed(worker, false, why);
}

/* What the failed answer to Login says of the PIN, by the step that failed. */
static enum kek_login_end end_of(const Kek__Provider__Failed *failed)
{
    switch (failed->step) {
    case KEK__PROVIDER__STEP__PROBE:
        return KEK_LOGIN_GOOD;
    case KEK__PROVIDER__STEP__PROTOCOL:
    case KEK__PROVIDER__STEP__URI:
    case KEK__PROVIDER__STEP__MODULE:
    case KEK__PROVIDER__STEP__TOKEN:
    case KEK__PROVIDER__STEP__PIN_FILE:
        return KEK_LOGIN_NOT_TRIED;
    default:
        break;
    }
    if (failed->cause != KEK__PROVIDER__CAUSE__PIN_REFUSED) {
        return KEK_LOGIN_UNSURE;
    }
    return failed->native == 0 ? KEK_LOGIN_NOT_TRIED : KEK_LOGIN_REFUSED;
}

static void on_login_failed(struct kek_worker *worker, const Kek__Provider__Failed *failed,
                            struct kek_why *why)
{
    switch (end_of(failed)) {
    case KEK_LOGIN_GOOD:
        kek_login_end(&worker->login, KEK_LOGIN_GOOD, 0);
        tell_login(worker, KEK_POOL_LOGIN_OK, NULL);
        break;
    case KEK_LOGIN_NOT_TRIED:
        kek_login_end(&worker->login, KEK_LOGIN_NOT_TRIED, 0);
        if (failed->cause == KEK__PROVIDER__CAUSE__PIN_REFUSED) {
            stay_out(worker, true,
                     why); /* the worker did not try it: the token would lock itself */
            return;
        }
        break;
    case KEK_LOGIN_REFUSED:
        on_counted(worker, KEK_LOGIN_REFUSED, why);
        return;
    case KEK_LOGIN_UNSURE:
        if (has_pin(worker)) {
            on_counted(worker, KEK_LOGIN_UNSURE, why);
            return;
        }
        kek_login_end(&worker->login, KEK_LOGIN_NOT_TRIED, 0);
        kek_start_failed(worker, false, why);
        return;
    }
    /* It says nothing against the PIN: the next start need not wait long. */
    worker->state = KEK_WORKER_HELLO;
    kek_start_failed(worker, false, why);
}

static void keep_alike(struct kek_backend *backend, const Kek__Provider__Failed *failed)
{
    memset(backend->status.alike, 0, sizeof backend->status.alike);
    for (size_t i = 0; i < failed->n_alike && i < KEK_PROVIDER_ALIKE_MAX; i++) {
        kek_text_copy(backend->status.alike[i], sizeof backend->status.alike[i], failed->alike[i]);
    }
}

static void on_failed(struct kek_worker *worker, const Kek__Provider__Failed *failed)
{
    struct kek_why why;
    kek_message_failed(worker->backend, failed, &why);
    keep_alike(worker->backend, failed);
    if (worker->state == KEK_WORKER_LOGIN) {
        on_login_failed(worker, failed, &why);
        return;
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
        if (worker->state == KEK_WORKER_LOCK && worker->login.job == NULL) {
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
    if (worker->state == KEK_WORKER_LOCK) {
        (void)kek_fail_reason(&why, KEK_REASON_LOGIN_TURN);
    }
    kek_start_failed(worker, true, &why);
}
