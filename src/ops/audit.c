#include "kek/audit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "audit_line.h"
#include "kek/clock.h"
#include "kek/log.h"

#define GATHER_MS 10             /* lines that come within it share a write */
#define GATHER_BYTES (64 * 1024) /* more than this is written without waiting */
#define RETRY_MS 1000
#define NODE_BYTES (HOST_NAME_MAX + 1)

/* What was seen of the keyring, to tell a change. */
struct seen_version {
    uint32_t number;
    enum kek_state state;
};

struct seen {
    bool announced;
    char key_id[KEK_KEY_ID_TEXT];
    enum kek_keyring_state state;
    struct seen_version versions[KEK_AUDIT_VERSIONS_MAX];
    size_t count;
};

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

    uint64_t rejected_in; /* the second that `rejected` counts */
    unsigned rejected;

    uint64_t lost; /* dropped lines that no line tells of yet */
    struct kek_audit_stats stats;
    struct seen seen;

    bool stopping;
    void (*stopped)(void *arg);
    void *arg;
};

static void kick(struct kek_audit *audit);

/* Ends a line that a crash left unfinished, so that it spoils only itself. */
static int finish_torn_line(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';
    if (end > 0 && pread(fd, &last, 1, end - 1) != 1) {
        return -1;
    }
    return last == '\n' || write(fd, "\n", 1) == 1 ? 0 : -1;
}

static int open_file(const char *path, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd =
        open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
             S_IRUSR | S_IWUSR);
    if (fd < 0) {
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "opening the audit file %s", path);
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        kek_fail(why, KEK_DENIED, "the audit file %s is not a regular file", path);
        return -1;
    }
    if (finish_torn_line(fd) != 0) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "writing the audit file %s", path);
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

/* ---- gathering ---- */

static size_t waiting(const struct kek_audit *audit)
{
    return audit->filling.len + audit->writing.len - audit->written;
}

/* Where the next line goes: AUDIT_LINE_MAX bytes, or NULL if it is dropped. It takes a number either
 * way, so that a reader sees the gap. */
static char *line_room(struct kek_audit *audit)
{
    if (audit->stopping) {
        return NULL;
    }
    audit->stamp.seq++;
    audit->stamp.wall_ms = kek_clock_wall_ms();
    if (waiting(audit) + AUDIT_LINE_MAX > KEK_AUDIT_BOUND) {
        return NULL;
    }
    return (char *)kek_buf_reserve(&audit->filling, AUDIT_LINE_MAX, NULL);
}

static void line_done(struct kek_audit *audit, size_t len)
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

void kek_audit_call(struct kek_audit *audit, const struct kek_kms_event *event)
{
    bool poll = event->method == KEK_KMS_V2_STATUS || event->method == KEK_KMS_V1_VERSION;
    if (poll && event->status == KEK_RPC_OK) {
        return;
    }
    char *line = line_room(audit);
    line_done(audit, line == NULL ? 0 : audit_line_call(line, &audit->stamp, event));
}

static bool rejects_too_often(struct kek_audit *audit)
{
    uint64_t second = kek_clock_ms() / 1000;
    if (second != audit->rejected_in) {
        audit->rejected_in = second;
        audit->rejected = 0;
    }
    return ++audit->rejected > KEK_AUDIT_REJECTED_RATE;
}

void kek_audit_rejected(struct kek_audit *audit, const struct kek_rpc_peer *peer, const char *path,
                        enum kek_rpc_status status, const char *message)
{
    bool dropped = rejects_too_often(audit);
    char *line = line_room(audit);
    line_done(audit, line == NULL || dropped
                         ? 0
                         : audit_line_rejected(line, &audit->stamp, peer, path, status, message));
}

static void note_start(struct kek_audit *audit)
{
    char *line = line_room(audit);
    line_done(audit, line == NULL ? 0
                                  : audit_line_start(line, &audit->stamp, getpid(),
                                                     PACKAGE_NAME " " PACKAGE_VERSION));
}

static void note_dropped(struct kek_audit *audit)
{
    if (audit->lost == 0) {
        return;
    }
    uint64_t lines = audit->lost;
    char *line = line_room(audit);
    size_t len = line == NULL ? 0 : audit_line_dropped(line, &audit->stamp, lines);
    if (len > 0) {
        audit->lost = 0;
        audit->filling.len += len;
        audit->queued++;
    }
}

static void note_version(struct kek_audit *audit, uint32_t number, const char *state)
{
    char *line = line_room(audit);
    line_done(audit, line == NULL ? 0 : audit_line_version(line, &audit->stamp, number, state));
}

static const struct seen_version *find_seen(const struct seen_version *versions, size_t count,
                                            uint32_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (versions[i].number == number) {
            return &versions[i];
        }
    }
    return NULL;
}

static void watch_versions(struct kek_audit *audit, const struct kek_keyring_version *versions,
                           size_t count)
{
    struct seen *seen = &audit->seen;
    struct seen_version now[KEK_AUDIT_VERSIONS_MAX];
    count = count > KEK_AUDIT_VERSIONS_MAX ? KEK_AUDIT_VERSIONS_MAX : count;
    for (size_t i = 0; i < count; i++) {
        now[i] = (struct seen_version){versions[i].number, versions[i].state};
        const struct seen_version *before = find_seen(seen->versions, seen->count, now[i].number);
        if (before == NULL || before->state != now[i].state) {
            note_version(audit, now[i].number, kek_state_name(now[i].state));
        }
    }
    for (size_t i = 0; i < seen->count; i++) {
        if (find_seen(now, count, seen->versions[i].number) == NULL) {
            note_version(audit, seen->versions[i].number, "gone");
        }
    }
    memcpy(seen->versions, now, count * sizeof now[0]);
    seen->count = count;
}

void kek_audit_keyring(struct kek_audit *audit, const struct kek_keyring_primary *primary,
                       const struct kek_keyring_version *versions, size_t count,
                       const struct kek_keyring_verdict *verdict)
{
    struct seen *seen = &audit->seen;
    watch_versions(audit, versions, count);
    if (primary != NULL &&
        (!seen->announced || strcmp(seen->key_id, primary->generation.key_id) != 0)) {
        seen->announced = true;
        memcpy(seen->key_id, primary->generation.key_id, sizeof seen->key_id);
        char *line = line_room(audit);
        line_done(audit, line == NULL ? 0 : audit_line_primary(line, &audit->stamp, primary));
    }
    if (verdict->state != seen->state) {
        seen->state = verdict->state;
        char *line = line_room(audit);
        line_done(audit, line == NULL ? 0 : audit_line_health(line, &audit->stamp, verdict));
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
    audit->new_fd = open_file(audit->path, &audit->reopen_why);
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
    note_dropped(audit);
    char *line = line_room(audit);
    audit->stopped = stopped;
    audit->arg = arg;
    if (line != NULL) {
        audit->filling.len += audit_line_stop(line, &audit->stamp, getpid());
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
    audit->fd = open_file(path, why);
    if (audit->fd < 0) {
        free_parts(audit);
        return NULL;
    }
    uv_timer_init(loop, &audit->timer);
    audit->timer.data = audit;
    note_start(audit);
    return audit;
}
