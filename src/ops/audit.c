#include "kek/audit.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "audit_log.h"
#include "audit_note.h"
#include "audit_store.h"
#include "kek/clock.h"
#include "kek/log.h"
#include "kek/text.h"

#define GATHER_MS 10             /* lines that come within it share a write */
#define GATHER_BYTES (64 * 1024) /* more than this is written without waiting */
#define RETRY_MS 1000
#define LOCKED_MS 50 /* that another process may take to write, before it is tried later */
#define NODE_BYTES (HOST_NAME_MAX + 1)

struct kek_audit {
    uv_loop_t *loop;
    uv_timer_t timer;
    char *file, *head, *journal, *syslog; /* as place has them */
    struct kek_audit_place place;
    char node[NODE_BYTES];
    struct audit_stamp stamp;

    /* Lines go into `filling`; `writing` and `store` are the thread pool's while `busy`. */
    struct audit_store store;
    struct kek_buf filling, writing;
    size_t written;    /* bytes of `writing` that are in the log: whole lines */
    size_t queued;     /* lines in filling */
    size_t in_writing; /* lines in writing, without those that are in the log */
    bool busy;
    bool due;       /* what was gathered has waited long enough */
    bool failing;   /* the last write failed; the timer runs to the next try */
    uv_work_t work; /* of the one that is busy */
    size_t taken;
    enum kek_rc rc;
    struct kek_why why;
    bool reopen_wanted;
    struct kek_audit_end written_end; /* of the chain, after the last write */

    uint64_t lost; /* dropped lines that no line tells of yet */
    /* A line tells of so many, and is not in the log itself; it ends there. */
    struct told {
        uint64_t lost;
        size_t end;
    } told_filling, told_writing;
    struct audit_note note;
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

/* What would be missing if kekd ended now. */
static uint64_t missing(const struct kek_audit *audit)
{
    return audit->queued + audit->in_writing + audit->lost + audit->told_filling.lost +
           audit->told_writing.lost;
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
    if (!audit->stopping) {
        audit_note_count(&audit->note, missing(audit));
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
        audit->told_filling.lost += lines - 1; /* without itself */
        audit->told_filling.end = audit->filling.len;
    }
}

/* ---- writing: kick, submit, on_written, and on_timer for the two waits between them ---- */

/* What the last write has put into the log. */
static void take_written(struct kek_audit *audit)
{
    const uint8_t *data = audit->writing.data;
    for (size_t end = audit->written + audit->taken; audit->written < end;) {
        const uint8_t *feed = memchr(data + audit->written, '\n', end - audit->written);
        audit->written = (size_t)(feed + 1 - data);
        audit->in_writing--;
        audit->stats.lines++;
    }
    if (audit->written >= audit->told_writing.end) {
        audit->told_writing = (struct told){.lost = 0};
    }
    audit->taken = 0;
    audit_note_taken(&audit->note, missing(audit), !kek_audit_owes(&audit->store.inherited));
}

static void forget_written(struct kek_audit *audit)
{
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

static void on_noted(void *arg)
{
    struct kek_audit *audit = arg;
    uv_close((uv_handle_t *)&audit->timer, on_timer_closed);
}

static void finish_stop(struct kek_audit *audit)
{
    size_t lines = audit->queued + audit->in_writing;
    if (lines > 0) {
        audit->stats.dropped += lines;
        kek_log(KEK_LOG_ERROR, "audit: %s could not be written before the end",
                kek_counted(lines, "line").text);
    }
    audit_note_end(&audit->note, missing(audit), on_noted, audit);
}

static void on_timer(uv_timer_t *timer)
{
    struct kek_audit *audit = timer->data;
    audit->due = true;
    kick(audit);
}

static void write_failed(struct kek_audit *audit, const char *why)
{
    audit->stats.errors++;
    if (!audit->failing) {
        kek_log(KEK_LOG_ERROR, "audit: %s; trying again every second", why);
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

/* What the store had to say for itself. */
static void pass_on(struct kek_audit *audit)
{
    if (audit->store.told[0] != '\0') {
        kek_log(KEK_LOG_WARN, "audit: %s", audit->store.told);
        audit->store.told[0] = '\0';
    }
}

static void run_write(uv_work_t *work)
{
    struct kek_audit *audit = work->data;
    struct kek_bytes rest =
        kek_bytes(audit->writing.data + audit->written, audit->writing.len - audit->written);
    audit->rc = audit_store_append(&audit->store, rest, &audit->taken, &audit->why);
    if (audit->rc == KEK_OK && audit->stopping) {
        audit->rc = audit_store_sync(&audit->store, &audit->why);
    }
}

static void on_written(uv_work_t *work, int status)
{
    struct kek_audit *audit = work->data;
    (void)status; /* nothing cancels it */
    audit->busy = false;
    take_written(audit);
    audit->written_end = audit->store.end;
    audit->stats.uncopied = audit->store.receivers[0].lost + audit->store.receivers[1].lost;
    pass_on(audit);
    if (audit->rc != KEK_OK) {
        if (audit->written == audit->writing.len) {
            forget_written(
                audit); /* the lines are there: the record, or the disk, failed after them */
        }
        write_failed(audit, audit->why.text);
        return;
    }
    if (audit->failing) {
        kek_log(KEK_LOG_INFO, "audit: writing to %s works again",
                kek_audit_place_log(&audit->place));
        audit->failing = false;
    }
    forget_written(audit);
    note_dropped(audit);
    kick(audit);
}

static void submit(struct kek_audit *audit)
{
    audit->work.data = audit;
    audit->due = false;
    uv_timer_stop(&audit->timer);
    int error = uv_queue_work(audit->loop, &audit->work, run_write, on_written);
    if (error != 0) {
        write_failed(audit, uv_strerror(error));
        return;
    }
    audit->busy = true;
}

static void run_reopen(uv_work_t *work)
{
    struct kek_audit *audit = work->data;
    audit->rc = audit_store_reopen(&audit->store, &audit->why);
}

static void on_reopened(uv_work_t *work, int status)
{
    struct kek_audit *audit = work->data;
    (void)status; /* nothing cancels it */
    audit->busy = false;
    pass_on(audit);
    if (audit->rc != KEK_OK) {
        audit->stats.errors++;
        kek_log(KEK_LOG_ERROR, "audit: %s; going on with the old file", audit->why.text);
    } else {
        audit->due = audit->failing; /* another disk perhaps: try at once */
    }
    kick(audit);
}

static bool start_reopen(struct kek_audit *audit)
{
    audit->reopen_wanted = false;
    audit->work.data = audit;
    int error = uv_queue_work(audit->loop, &audit->work, run_reopen, on_reopened);
    if (error != 0) {
        audit->stats.errors++;
        kek_log(KEK_LOG_ERROR, "audit: cannot reopen %s: %s", kek_audit_place_log(&audit->place),
                uv_strerror(error));
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
    audit->told_writing = audit->told_filling;
    audit->told_filling = (struct told){.lost = 0};
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

bool kek_audit_where(const struct kek_audit *audit, struct kek_audit_end *end)
{
    *end = audit->written_end;
    return end->n > 0;
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
    audit_store_close(&audit->store);
    kek_buf_done(&audit->filling);
    kek_buf_done(&audit->writing);
    free(audit->file);
    free(audit->head);
    free(audit->journal);
    free(audit->syslog);
    free(audit);
}

void kek_audit_free(struct kek_audit *audit)
{
    if (audit != NULL) {
        free_parts(audit);
    }
}

static enum kek_rc take_place(struct kek_audit *audit, const struct kek_audit_place *place,
                              struct kek_why *why)
{
    audit->file = place->file == NULL ? NULL : strdup(place->file);
    audit->head = strdup(place->head);
    audit->journal = place->journal == NULL ? NULL : strdup(place->journal);
    audit->syslog = place->syslog == NULL ? NULL : strdup(place->syslog);
    if (audit->head == NULL || (place->file != NULL && audit->file == NULL) ||
        (place->journal != NULL && audit->journal == NULL) ||
        (place->syslog != NULL && audit->syslog == NULL)) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log");
    }
    audit->place = (struct kek_audit_place){.file = audit->file,
                                            .head = audit->head,
                                            .journal = audit->journal,
                                            .syslog = audit->syslog};
    enum kek_rc rc = audit_store_open(&audit->store, &audit->place, audit->node, AUDIT_FILE_MAKE,
                                      LOCKED_MS, why);
    audit->store.leads = true;
    return rc;
}

struct kek_audit *kek_audit_new(uv_loop_t *loop, const struct kek_audit_place *place,
                                const char *node, struct kek_why *why)
{
    struct kek_audit *audit = calloc(1, sizeof *audit);
    if (audit == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log");
        return NULL;
    }
    audit->loop = loop;
    audit->seen.state = KEK_KEYRING_STARTING;
    kek_buf_init(&audit->filling, KEK_AUDIT_BOUND);
    kek_buf_init(&audit->writing, KEK_AUDIT_BOUND);
    if (node != NULL) {
        snprintf(audit->node, sizeof audit->node, "%s", node);
    } else if (gethostname(audit->node, sizeof audit->node - 1) != 0) {
        memcpy(audit->node, "unknown", sizeof "unknown");
    }
    audit->stamp = (struct audit_stamp){.node = audit->node, .second = -1};
    if (take_place(audit, place, why) != KEK_OK) {
        free_parts(audit);
        return NULL;
    }
    uv_timer_init(loop, &audit->timer);
    audit->timer.data = audit;
    audit_note_open(&audit->note, loop, &audit->store);
    note_start(audit);
    return audit;
}
