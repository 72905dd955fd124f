#include "front.h"

#include <errno.h>
#include <signal.h>
#include <sys/socket.h>

#include <utlist.h>

/* One process and our end of its socket.  A process goes by one of these ways, and each ends in kek_worker_gone():
 * we close the socket and it leaves; it does not leave and we kill it; it ends by itself.  A process that
 * SIGKILL does not end (a driver in uninterruptible sleep) becomes a ghost: the pool replaces it and does
 * not wait for it. */

static void on_handle_closed(uv_handle_t *handle)
{
    struct kek_worker *worker = handle->data;
    worker->handles--;
    if (worker->handles > 0) {
        return;
    }
    struct kek_pool *pool = worker->backend->pool;
    DL_DELETE(worker->backend->workers, worker);
    free(worker->versions);
    free(worker);
    pool->handles--;
    kek_pool_check_closed(pool);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, on_handle_closed);
    }
}

static void close_socket(struct kek_worker *worker)
{
    if (worker->fd >= 0) {
        close_handle((uv_handle_t *)&worker->poll);
        close(worker->fd);
        worker->fd = -1;
    }
}

void kek_worker_gone(struct kek_worker *worker)
{
    worker->state = KEK_WORKER_GONE;
    close_socket(worker);
    close_handle((uv_handle_t *)&worker->timer);
    close_handle((uv_handle_t *)&worker->process);
    kek_backend_ensure(worker->backend);
}

/* It takes no calls from now on. */
static void leave_ready(struct kek_worker *worker, enum kek_worker_state state)
{
    if (worker->state == KEK_WORKER_READY) {
        kek_backend_tell(worker->backend);
    }
    worker->state = state;
}

void kek_worker_close(struct kek_worker *worker)
{
    close_socket(worker);
    if (worker->exited) {
        kek_worker_gone(worker);
        return;
    }
    leave_ready(worker, KEK_WORKER_LEAVING);
    uv_timer_start(&worker->timer, kek_worker_on_timer, worker->backend->pool->times.leave, 0);
}

void kek_worker_kill(struct kek_worker *worker)
{
    close_socket(worker);
    if (worker->exited) {
        kek_worker_gone(worker);
        return;
    }
    /* Its pid is still its own: libuv has not reaped it. */
    (void)uv_process_kill(&worker->process, SIGKILL);
    worker->backend->status.killed +=
        worker->state == KEK_WORKER_ENDED ? 0 : 1; /* that one is counted */
    worker->state = KEK_WORKER_KILLED;
    uv_timer_start(&worker->timer, kek_worker_on_timer, worker->backend->pool->times.ghost, 0);
}

bool kek_worker_alive(const struct kek_worker *worker)
{
    return worker->state < KEK_WORKER_GHOST && !worker->exited;
}

void kek_worker_check_over(struct kek_worker *worker)
{
    if (worker->state != KEK_WORKER_DRAIN && worker->state != KEK_WORKER_SUSPECT) {
        return;
    }
    if (worker->running == 0) {
        worker->backend->status.recycled += worker->state == KEK_WORKER_DRAIN ? 1 : 0;
        kek_worker_close(worker);
        return;
    }
    for (unsigned i = 0; i < worker->backend->slots; i++) {
        if (worker->flights[i].id != 0 && !worker->flights[i].timed_out) {
            return;
        }
    }
    kek_worker_kill(worker);
}

void kek_worker_drain(struct kek_worker *worker)
{
    leave_ready(worker, KEK_WORKER_DRAIN);
    kek_worker_check_over(worker);
}

void kek_worker_suspect(struct kek_worker *worker, const struct kek_why *why)
{
    bool serving = worker->state == KEK_WORKER_READY;
    if (!serving && worker->state != KEK_WORKER_DRAIN) {
        return;
    }
    leave_ready(worker, KEK_WORKER_SUSPECT);
    if (serving) {
        kek_backend_lost_ready(worker->backend, why);
    }
}

/* The worker answers nothing more; its process ends or has ended.  Its flights are lost. */
static void end_service(struct kek_worker *worker, enum kek_lost how, const struct kek_why *why)
{
    if (!worker->was_ready) {
        kek_start_failed(worker, true, why);
        return;
    }
    bool serving = worker->state == KEK_WORKER_READY || worker->ended_ready;
    if (worker->state != KEK_WORKER_ENDED) {
        leave_ready(worker, KEK_WORKER_EOF);
    }
    if (serving) {
        kek_backend_lost_ready(worker->backend, why);
    }
    kek_worker_kill(worker);
    for (unsigned i = 0; i < worker->backend->slots; i++) {
        if (worker->flights[i].id != 0) {
            kek_flight_lost(worker, i, worker->flights[i].unsent ? KEK_LOST_UNSENT : how, why);
        }
    }
}

void kek_worker_end(struct kek_worker *worker, const struct kek_why *why)
{
    if (!worker->was_ready || worker->state >= KEK_WORKER_ENDED) {
        return;
    }
    worker->ended_ready = worker->ended_ready || worker->state == KEK_WORKER_READY;
    worker->end_why = *why;
    leave_ready(worker, KEK_WORKER_ENDED);
    worker->backend->status.ended++;
    uv_timer_stop(&worker->timer);
    close_socket(worker);
    if (!worker->exited) {
        (void)uv_process_kill(&worker->process, SIGKILL);
    }
    kek_backend_judge(worker->backend, why);
}

void kek_worker_end_service(struct kek_worker *worker)
{
    struct kek_why why = worker->end_why;
    end_service(worker, KEK_LOST_LINK, &why);
}

void kek_worker_broken(struct kek_worker *worker, const char *what)
{
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "%s: a worker broke the protocol: %s",
             worker->backend->config->name, what);
    end_service(worker, KEK_LOST_CRASHED, &why);
}

/* The process has ended with its socket open on our side, all of which has been read. */
static void end_of_process(struct kek_worker *worker)
{
    const char *name = worker->backend->config->name;
    const char *when = worker->was_ready ? "" : " before it was ready";
    struct kek_why why;
    if (worker->exit_signal != 0) {
        kek_fail(&why, KEK_UNAVAILABLE, "%s: a worker was ended by signal %d%s", name,
                 worker->exit_signal, when);
    } else {
        kek_fail(&why, KEK_UNAVAILABLE, "%s: a worker exited with status %d%s", name,
                 worker->exit_status, when);
    }
    worker->backend->status.crashed++;
    end_service(worker, worker->exit_signal == SIGKILL ? KEK_LOST_KILLED : KEK_LOST_CRASHED, &why);
}

void kek_worker_ended(struct kek_worker *worker)
{
    if (worker->exited) {
        end_of_process(worker);
        return;
    }
    /* What its calls get depends on how the process ended, which libuv tells in a moment. */
    worker->ended_ready = worker->state == KEK_WORKER_READY;
    leave_ready(worker, KEK_WORKER_EOF);
    uv_poll_stop(&worker->poll);
    uv_timer_start(&worker->timer, kek_worker_on_timer, worker->backend->pool->times.eof, 0);
}

static void on_exit_of(uv_process_t *process, int64_t status, int signal)
{
    struct kek_worker *worker = process->data;
    worker->exited = true;
    worker->exit_status = (int)status;
    worker->exit_signal = signal;
    if (worker->fd >= 0 && worker->state != KEK_WORKER_EOF) {
        kek_worker_read(worker); /* what it said before its end; this may find the end too */
    }
    if (worker->fd >= 0) {
        end_of_process(worker);
    } else if (worker->state == KEK_WORKER_ENDED) {
        kek_worker_end_service(worker);
    } else if (worker->state != KEK_WORKER_GONE) {
        kek_worker_gone(worker);
    }
}

void kek_worker_on_timer(uv_timer_t *timer)
{
    struct kek_worker *worker = timer->data;
    switch (worker->state) {
    case KEK_WORKER_HELLO:
    case KEK_WORKER_LOCK:
    case KEK_WORKER_LOGIN:
        kek_start_on_timer(worker);
        break;
    case KEK_WORKER_EOF:
        kek_worker_broken(worker, "it closed its socket and stayed");
        break;
    case KEK_WORKER_LEAVING:
        kek_worker_kill(worker);
        break;
    case KEK_WORKER_KILLED:
        worker->state = KEK_WORKER_GHOST;
        if (worker->backend->pool->closing) {
            kek_worker_gone(worker);
        } else {
            kek_backend_ensure(worker->backend);
        }
        break;
    default:
        break;
    }
}

static void on_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct kek_worker *worker = poll->data;
    if (worker->fd >= 0) {
        kek_worker_read(worker);
    }
}

static int start_process(struct kek_worker *worker, int their_end)
{
    struct kek_program *program = &worker->backend->program;
    uv_stdio_container_t stdio[KEK_PROVIDER_SOCKET + 1] = {
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = their_end},
    };
    uv_process_options_t options = {
        .exit_cb = on_exit_of,
        .file = program->argv[0],
        .args = program->argv,
        .env = program->env,
        .stdio_count = KEK_PROVIDER_SOCKET + 1,
        .stdio = stdio,
    };
    int rc = uv_spawn(worker->backend->pool->loop, &worker->process, &options);
    worker->process.data = worker;
    worker->handles++;
    return rc;
}

static struct kek_worker *new_worker(struct kek_backend *backend)
{
    struct kek_worker *worker =
        calloc(1, sizeof *worker + backend->slots * sizeof worker->flights[0]);
    if (worker == NULL) {
        return NULL;
    }
    worker->backend = backend;
    worker->fd = worker->login.lock_fd = -1;
    worker->serial = ++backend->pool->serial;
    worker->free = backend->slots == 64 ? UINT64_MAX : (UINT64_C(1) << backend->slots) - 1;
    worker->recycle_at = kek_pool_jitter(backend->config->recycle_after);
    worker->memory_at_ms = kek_clock_ms();
    return worker;
}

bool kek_worker_spawn(struct kek_backend *backend, struct kek_why *why)
{
    struct kek_pool *pool = backend->pool;
    const char *name = backend->config->name;
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "%s: making a worker's socket", name);
        return false;
    }
    KEK_AUTO_CLOSE int theirs = ends[1];
    KEK_AUTO_CLOSE int ours = ends[0];
    struct kek_worker *worker = new_worker(backend);
    if (worker == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "%s: no memory for a worker", name);
        return false;
    }
    int rc = uv_poll_init(pool->loop, &worker->poll, ours);
    if (rc != 0) {
        free(worker);
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_UV, (unsigned long)-rc,
                        "%s: watching a worker's socket: %s", name, uv_strerror(rc));
        return false;
    }
    uv_timer_init(pool->loop, &worker->timer);
    worker->poll.data = worker->timer.data = worker;
    worker->handles = 2;
    worker->fd = ours;
    ours = -1;
    pool->handles++;
    DL_APPEND(backend->workers, worker);
    rc = start_process(worker, theirs);
    if (rc != 0) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_UV, (unsigned long)-rc,
                        "%s: starting %s: %s", name, backend->program.argv[0], uv_strerror(rc));
        worker->exited = true;
        worker->state = KEK_WORKER_GONE;
        close_socket(worker);
        close_handle((uv_handle_t *)&worker->timer);
        close_handle((uv_handle_t *)&worker->process);
        return false;
    }
    backend->status.spawned++;
    (void)uv_poll_start(&worker->poll, UV_READABLE, on_readable);
    kek_start_begin(worker);
    return true;
}

/* Told once: a recycle would not help, for a new worker would have as much. */
static void tell_of_birth(struct kek_backend *backend, uint64_t memory)
{
    if (memory > backend->config->recycle_memory && backend->status.birth_memory == 0) {
        backend->status.birth_memory = memory;
        backend->changed = true;
        kek_pool_due(backend->pool, 0);
    }
}

/* By how much it has grown since Ready; what it has from birth its successor would have too. */
static bool has_grown(struct kek_worker *worker)
{
    if (worker->memory_base == 0 && worker->memory > 0) {
        worker->memory_base = worker->memory;
        tell_of_birth(worker->backend, worker->memory);
    }
    return worker->memory > worker->memory_base &&
           worker->memory - worker->memory_base > worker->backend->config->recycle_memory;
}

void kek_worker_wear(struct kek_worker *worker)
{
    struct kek_backend *backend = worker->backend;
    worker->operations++;
    backend->status.operations++;
    if (worker->worn || worker->state != KEK_WORKER_READY) {
        return;
    }
    worker->worn = has_grown(worker) || worker->operations >= worker->recycle_at;
    if (worker->worn) {
        kek_backend_ensure(backend);
    }
}
