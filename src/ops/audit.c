#include "kek/audit.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit_file.h"
#include "audit_log.h"
#include "kek/clock.h"
#include "kek/log.h"

#define GATHER_MS 10             /* lines that come within it share a write */
#define GATHER_BYTES (64 * 1024) /* more than this is written without waiting */
#define RETRY_MS 1000
#define NODE_BYTES (HOST_NAME_MAX + 1)

struct kek_audit {
    uv_loop_t *loop;
    uv_timer_t timer;
    char *path;
    char node[NODE_BYTES];
    int fd;
    struct audit_stamp stamp;

    /* Lines go into `filling`; `writing` is the thread pool's while `busy`. */
    struct kek_buf filling, writing;
    size_t written;    /* bytes of `writing` that are in the file */
    size_t queued;     /* lines in filling */
    size_t in_writing; /* lines in writing */
    bool busy;
    bool due;     /* what was gathered has waited long enough */
    bool failing; /* the last write failed; the timer runs to the next try */
    uv_fs_t request;

    uv_work_t reopening;
    bool reopen_wanted;
    int new_fd;
    struct kek_why reopen_why;

    uint64_t lost; /* dropped lines that no line tells of yet */
    struct kek_audit_stats stats;
    struct audit_seen seen;

    bool stopping;
    void (*stopped)(void *arg);
    void *arg;
};

static void kick(struct kek_audit *audit);

/* ---- gathering ---- */

static size_t waiting(const struct kek_audit *audit)
{
    return audit->filling.len + audit->writing.len - audit->written;
}

struct audit_seen *audit_seen(struct kek_audit *audit)
{
    return &audit->seen;
}

char *audit_begin(struct kek_audit *audit, struct audit_stamp **stamp)
{
    if (audit->stopping) {
        return NULL;
    }
    audit->stamp.seq++;
    audit->stamp.wall_ms = kek_clock_wall_ms();
    *stamp = &audit->stamp;
    if (waiting(audit) + AUDIT_LINE_MAX > KEK_AUDIT_BOUND) {
        return NULL;
    }
    return (char *)kek_buf_reserve(&audit->filling, AUDIT_LINE_MAX, NULL);
}

void audit_end(struct kek_audit *audit, size_t len)
{
    if (len > 0) {
        audit->filling.len += len;
        audit->queued++;
        kick(audit);
    } else if (!audit->stopping) {
        audit->lost++;
        audit->stats.dropped++;
    }
}

static void note_start(struct kek_audit *audit)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0
                                  : audit_line_start(line, stamp, getpid(),
                                                     PACKAGE_NAME " " PACKAGE_VERSION));
}

/* Lines are missing here.  If there is no room for saying so, it is said later. */
static void note_dropped(struct kek_audit *audit)
{
    struct audit_stamp *stamp;
    uint64_t lines = audit->lost;
    char *line = lines == 0 ? NULL : audit_begin(audit, &stamp);
    size_t len = line == NULL ? 0 : audit_line_dropped(line, stamp, lines);
    if (len > 0) {
        audit->lost = 0;
        audit->filling.len += len;
        audit->queued++;
    }
}

/* ---- writing: kick, submit, on_written, and on_timer for the two waits between them ---- */

static void forget_written(struct kek_audit *audit)
{
    audit->stats.lines += audit->in_writing;
    audit->in_writing = 0;
    audit->written = 0;
    if (audit->writing.cap > 2 * GATHER_BYTES) {
        kek_buf_done(&audit->writing); /* a burst's memory is given back */
    }
    kek_buf_reset(&audit->writing);
}

static void on_timer_closed(uv_handle_t *handle)
{
    struct kek_audit *audit = handle->data;
    audit->stopped(audit->arg);
}

static void finish_stop(struct kek_audit *audit)
{
    size_t lines = audit->queued + audit->in_writing;
    if (lines > 0) {
        audit->stats.dropped += lines;
        kek_log(KEK_LOG_ERROR, "audit: %zu lines could not be written before the end", lines);
    }
    uv_close((uv_handle_t *)&audit->timer, on_timer_closed);
}

static void on_timer(uv_timer_t *timer)
{
    struct kek_audit *audit = timer->data;
    audit->due = true;
    kick(audit);
}

static void write_failed(struct kek_audit *audit, int error)
{
    audit->stats.errors++;
    if (!audit->failing) {
        kek_log(KEK_LOG_ERROR, "audit: writing %s: %s; trying again every second", audit->path,
                uv_strerror(error));
    }
    audit->failing = true;
    if (audit->stopping) {
        finish_stop(audit);
        return;
    }
    uv_timer_start(&audit->timer, on_timer, RETRY_MS, 0);
    if (audit->reopen_wanted) {
        kick(audit);
    }
}

static void on_written(uv_fs_t *request)
{
    struct kek_audit *audit = request->data;
    ssize_t result = request->result;
    uv_fs_req_cleanup(request);
    audit->busy = false;
    if (result <= 0) {
        write_failed(audit, result == 0 ? UV_EIO : (int)result);
        return;
    }
    audit->written += (size_t)result;
    if (audit->failing) {
        kek_log(KEK_LOG_INFO, "audit: writing %s works again", audit->path);
        audit->failing = false;
    }
    if (audit->written == audit->writing.len) {
        forget_written(audit);
        note_dropped(audit);
    }
    kick(audit);
}

static void submit(struct kek_audit *audit)
{
    uv_buf_t rest = uv_buf_init((char *)audit->writing.data + audit->written,
                                (unsigned)(audit->writing.len - audit->written));
    audit->request.data = audit;
    audit->due = false;
    uv_timer_stop(&audit->timer);
    int error = uv_fs_write(audit->loop, &audit->request, audit->fd, &rest, 1, -1, on_written);
    if (error != 0) {
        write_failed(audit, error);
        return;
    }
    audit->busy = true;
}

static void run_reopen(uv_work_t *work)
{
    struct kek_audit *audit = work->data;
    audit->new_fd = audit_file_open(audit->path, O_CREAT, &audit->reopen_why);
    if (audit->new_fd >= 0) {
        close(audit->fd);
    }
}

static void on_reopened(uv_work_t *work, int status)
{
    struct kek_audit *audit = work->data;
    audit->busy = false;
    if (status != 0 || audit->new_fd < 0) {
        audit->stats.errors++;
        kek_log(KEK_LOG_ERROR, "audit: %s; going on with the old file", audit->reopen_why.text);
    } else {
        audit->fd = audit->new_fd;
        audit->due = audit->failing; /* another disk perhaps: try at once */
        /* The line that was cut in the old file is written whole in the new one. */
        while (audit->written > 0 && audit->writing.data[audit->written - 1] != '\n') {
            audit->written--;
        }
    }
    kick(audit);
}

static bool start_reopen(struct kek_audit *audit)
{
    audit->reopen_wanted = false;
    audit->reopening.data = audit;
    int error = uv_queue_work(audit->loop, &audit->reopening, run_reopen, on_reopened);
    if (error != 0) {
        audit->stats.errors++;
        kek_log(KEK_LOG_ERROR, "audit: cannot reopen %s: %s", audit->path, uv_strerror(error));
        return false;
    }
    audit->busy = true;
    return true;
}

static void swap(struct kek_audit *audit)
{
    struct kek_buf empty = audit->writing;
    audit->writing = audit->filling;
    audit->filling = empty;
    audit->in_writing = audit->queued;
    audit->queued = 0;
}

/* After a failure until the next try; else until enough lines, or the first of them, have waited. */
static bool must_wait(struct kek_audit *audit)
{
    if (audit->stopping || audit->due) {
        return false;
    }
    bool little = audit->filling.len < GATHER_BYTES;
    if (uv_is_active((uv_handle_t *)&audit->timer)) {
        return audit->failing || little;
    }
    if (audit->writing.len > 0 || audit->filling.len == 0 || !little) {
        return false;
    }
    uv_timer_start(&audit->timer, on_timer, GATHER_MS, 0);
    return true;
}

/* Starts whatever is due: a reopening, a write, or the end. */
static void kick(struct kek_audit *audit)
{
    if (audit->busy || (audit->reopen_wanted && start_reopen(audit)) || must_wait(audit)) {
        return;
    }
    if (audit->writing.len == 0 && audit->filling.len > 0) {
        swap(audit);
    }
    if (audit->writing.len > 0) {
        submit(audit);
    } else if (audit->stopping) {
        finish_stop(audit);
    }
}

void kek_audit_reopen(struct kek_audit *audit)
{
    if (!audit->stopping) {
        audit->reopen_wanted = true;
        kick(audit);
    }
}

void kek_audit_stats(const struct kek_audit *audit, struct kek_audit_stats *stats)
{
    *stats = audit->stats;
    stats->waiting = waiting(audit);
}

void kek_audit_stop(struct kek_audit *audit, void (*stopped)(void *arg), void *arg)
{
    struct audit_stamp *stamp;
    note_dropped(audit);
    char *line = audit_begin(audit, &stamp);
    audit->stopped = stopped;
    audit->arg = arg;
    if (line != NULL) {
        audit->filling.len += audit_line_stop(line, stamp, getpid());
        audit->queued++;
    }
    audit->stopping = true;
    kick(audit);
}

static void free_parts(struct kek_audit *audit)
{
    if (audit->fd >= 0) {
        close(audit->fd);
    }
    kek_buf_done(&audit->filling);
    kek_buf_done(&audit->writing);
    free(audit->path);
    free(audit);
}

void kek_audit_free(struct kek_audit *audit)
{
    if (audit != NULL) {
        free_parts(audit);
    }
}

struct kek_audit *kek_audit_new(uv_loop_t *loop, const char *path, const char *node,
                                struct kek_why *why)
{
    struct kek_audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log");
        return NULL;
    }
    audit->loop = loop;
    audit->fd = -1;
    audit->seen.state = KEK_KEYRING_STARTING;
    kek_buf_init(&audit->filling, KEK_AUDIT_BOUND);
    kek_buf_init(&audit->writing, KEK_AUDIT_BOUND);
    audit->path = strdup(path);
    if (audit->path == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log");
        free_parts(audit);
        return NULL;
    }
    if (node != NULL) {
        snprintf(audit->node, sizeof audit->node, "%s", node);
    } else if (gethostname(audit->node, sizeof audit->node - 1) != 0) {
        memcpy(audit->node, "unknown", sizeof "unknown");
    }
    audit->stamp = (struct audit_stamp){.node = audit->node, .second = -1};
    audit->fd = audit_file_open(path, O_CREAT, why);
    if (audit->fd < 0) {
        free_parts(audit);
        return NULL;
    }
    uv_timer_init(loop, &audit->timer);
    audit->timer.data = audit;
    note_start(audit);
    return audit;
}
