#include "kek/log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/text.h"

#define LINE_MAX_BYTES 4096 /* PIPE_BUF: such a write to a ready pipe never blocks or tears */
#define MESSAGE_MAX 1024

static const char *program = "kekd";
static enum kek_log_level threshold = KEK_LOG_INFO;
static enum kek_log_format shape = KEK_LOG_TEXT;
static atomic_ulong dropped; /* since the last notice of it */
static atomic_ulong dropped_total;

static const char *const level_names[] = {
    [KEK_LOG_ERROR] = "error",
    [KEK_LOG_WARN] = "warn",
    [KEK_LOG_INFO] = "info",
    [KEK_LOG_DEBUG] = "debug",
};

void kek_log_setup(const char *name, enum kek_log_level level, enum kek_log_format format)
{
    program = name;
    threshold = level;
    shape = format;
}

bool kek_log_enabled(enum kek_log_level level)
{
    return level <= threshold;
}

/* Copies text with what is no character of one line as \xNN; out is NUL-terminated and valid UTF-8. */
static void escape(const char *text, char *out, size_t size)
{
    size_t at = 0;
    const unsigned char *c = (const unsigned char *)text;
    while (*c != '\0' && at + 4 < size) {
        size_t len = kek_text_char_len(c);
        if (len == 0 || *c < 0x20 || *c == 0x7f) {
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", *c);
            len = 1;
        } else {
            memcpy(out + at, c, len);
            at += len;
        }
        c += len;
    }
    out[at] = '\0';
}

static void stamp(char *out, size_t size)
{
    int64_t now = kek_clock_wall_ms();
    time_t seconds = (time_t)(now / 1000);
    struct tm utc;
    gmtime_r(&seconds, &utc);
    size_t len = strftime(out, size, "%Y-%m-%dT%H:%M:%S", &utc);
    snprintf(out + len, size - len, ".%03dZ", (int)(now % 1000));
}

static bool emit(enum kek_log_level level, const char *message)
{
    char when[40], safe[3 * MESSAGE_MAX], line[LINE_MAX_BYTES];
    stamp(when, sizeof when);
    if (shape == KEK_LOG_JSON) {
        safe[kek_text_json(&message, SIZE_MAX, safe, sizeof safe - 1)] = '\0';
    } else {
        escape(message, safe, sizeof safe);
    }
    int len =
        snprintf(line, sizeof line,
                 shape == KEK_LOG_JSON
                     ? "{\"time\":\"%s\",\"program\":\"%s\",\"level\":\"%s\",\"msg\":\"%s\"}\n"
                     : "%s %s %s: %s\n",
                 when, program, level_names[level], safe);
    struct pollfd out = {.fd = STDERR_FILENO, .events = POLLOUT};
    if (len <= 0 || (size_t)len >= sizeof line || poll(&out, 1, 0) != 1 ||
        (out.revents & POLLOUT) == 0) {
        return false;
    }
    return write(STDERR_FILENO, line, (size_t)len) == len;
}

void kek_log(enum kek_log_level level, const char *format, ...)
{
    if (level > threshold) {
        return;
    }
    char message[MESSAGE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);

    unsigned long lost = atomic_exchange(&dropped, 0);
    if (lost > 0) {
        char notice[64];
        snprintf(notice, sizeof notice, "%lu log lines were dropped: nobody was reading", lost);
        if (!emit(KEK_LOG_WARN, notice)) {
            atomic_fetch_add(&dropped, lost + 1);
            atomic_fetch_add(&dropped_total, 1);
            return;
        }
    }
    if (!emit(level, message)) {
        atomic_fetch_add(&dropped, 1);
        atomic_fetch_add(&dropped_total, 1);
    }
}

unsigned long kek_log_dropped(void)
{
    return atomic_load(&dropped_total);
}
