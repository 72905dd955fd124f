/* How a log line looks. Pure; any thread. */
#ifndef BASE_LOG_LINE_H
#define BASE_LOG_LINE_H

#include <stddef.h>

#include "kek/log.h"

#define LOG_LINE_MAX 4096 /* PIPE_BUF: such a write to a ready pipe never blocks or tears */
#define LOG_MESSAGE_MAX 1024

struct log_line {
    const char *priority; /* see kek_log_priority */
    const char *time, *program, *level;
    const char *message;
    const struct kek_log_field *fields; /* NULL: none */
};

/* With its newline, without a NUL; returns the bytes written. */
size_t log_line_write(const struct log_line *line, enum kek_log_format format,
                      char out[static LOG_LINE_MAX]);

#endif
