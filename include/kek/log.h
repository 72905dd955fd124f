/*
 * Log lines on standard error, text or JSON, one write(2) each, at most 4,096 bytes.
 *
 * A reader that stops reading never stops the event loop: a line that would block is dropped and
 * counted, and the count is logged once there is room again.  Below `kms` nothing logs above debug.
 * Control characters are escaped.  Any thread.
 */
#ifndef KEK_LOG_H
#define KEK_LOG_H

#include <stdbool.h>

#include "kek/auto.h"

enum kek_log_level { KEK_LOG_ERROR = 0, KEK_LOG_WARN, KEK_LOG_INFO, KEK_LOG_DEBUG };
enum kek_log_format { KEK_LOG_TEXT = 0, KEK_LOG_JSON };

/* `program` stands in every line and must outlive the process's last line. */
void kek_log_setup(const char *program, enum kek_log_level level, enum kek_log_format format);

bool kek_log_enabled(enum kek_log_level level);

/* One sentence, no trailing newline. Names and values as key=value at its end. */
void kek_log(enum kek_log_level level, const char *format, ...) KEK_PRINTF(2, 3);

/* Lines dropped since the start because nobody was reading. */
unsigned long kek_log_dropped(void);

#endif
