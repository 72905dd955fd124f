#include "kek/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "log_line.h"

static const char *program = "kekd";
static enum kek_log_level threshold = KEK_LOG_INFO;
static enum kek_log_format shape = KEK_LOG_TEXT;
static bool to_journal;
static atomic_ulong dropped; /* since the last notice of it */
static atomic_ulong dropped_total;

static const struct {
    const char *name, *priority; /* the latter as syslog(3) counts them */
} levels[] = {
    [KEK_LOG_ERROR] = {"error", "<3>"},
    [KEK_LOG_WARN] = {"warn", "<4>"},
    [KEK_LOG_INFO] = {"info", "<6>"},
    [KEK_LOG_DEBUG] = {"debug", "<7>"},
};

/* The variable may be inherited by a process whose standard error is something else. */
static bool stderr_is_journal(void)
{
    const char *named = getenv("JOURNAL_STREAM");
    struct stat st;
    char own[64];
    if (named == NULL || fstat(STDERR_FILENO, &st) != 0) {
        return false;
    }
    snprintf(own, sizeof own, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    return strcmp(own, named) == 0;
}

void kek_log_setup(const char *name, enum kek_log_level level, enum kek_log_format format)
{
    program = name;
    threshold = level;
    shape = format;
    to_journal = stderr_is_journal();
}

bool kek_log_enabled(enum kek_log_level level)
{
    return level <= threshold;
}

const char *kek_log_priority(enum kek_log_level level)
{
    return to_journal ? levels[level].priority : "";
}

static bool write_line(enum kek_log_level level, const char *message,
                       const struct kek_log_field *fields)
{
    char when[KEK_CLOCK_TEXT], out[LOG_LINE_MAX];
    kek_clock_text(kek_clock_wall_ms(), when);
    struct log_line line = {
        .priority = kek_log_priority(level),
        .time = when,
        .program = program,
        .level = levels[level].name,
        .message = message,
        .fields = fields,
    };
    size_t len = log_line_write(&line, shape, out);
    struct pollfd end = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (poll(&end, 1, 0) != 1 || (end.revents & POLLOUT) == 0) {
        return false;
    }
    return write(STDERR_FILENO, out, len) == (ssize_t)len;
}

static void emit(enum kek_log_level level, const char *message, const struct kek_log_field *fields)
{
    unsigned long lost = atomic_exchange(&dropped, 0);
    if (lost > 0) {
        char notice[128];
        snprintf(notice, sizeof notice, "%s dropped: nobody was reading",
                 kek_counted(lost, "log line").text);
        if (!write_line(KEK_LOG_WARN, notice, NULL)) {
            atomic_fetch_add(&dropped, lost + 1);
            atomic_fetch_add(&dropped_total, 1);
            return;
        }
    }
    if (!write_line(level, message, fields)) {
        atomic_fetch_add(&dropped, 1);
        atomic_fetch_add(&dropped_total, 1);
    }
}

void kek_log_with(enum kek_log_level level, const struct kek_log_field *fields, const char *format,
                  ...)
{
    char message[LOG_MESSAGE_MAX];
    va_list args;
    if (level <= threshold) {
        va_start(args, format);
        vsnprintf(message, sizeof message, format, args);
        va_end(args);
        emit(level, message, fields);
    }
}

unsigned long kek_log_dropped(void)
{
    return atomic_load(&dropped_total);
}
