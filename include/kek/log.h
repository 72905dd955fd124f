/*
 * Log lines on standard error, text or JSON, one write(2) each, at most 4,096 bytes.
 *
 * A line is a sentence and a list of fields, from which both shapes are rendered: `name=value` behind the
 * sentence, or members of the JSON object.  Where standard error is the journal, each line begins with its
 * priority as sd-daemon(3) has it ("<3>"), which journald takes off.
 * A reader that stops reading never stops the event loop: a line that would block is dropped and
 * counted, and the count is logged once there is room again.  Below `kms` nothing logs above debug.
 * Control characters are escaped.  Any thread, but for kek_log_often.
 */
#ifndef KEK_LOG_H
#define KEK_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "kek/rc.h"

enum kek_log_level { KEK_LOG_ERROR = 0, KEK_LOG_WARN, KEK_LOG_INFO, KEK_LOG_DEBUG };
enum kek_log_format { KEK_LOG_TEXT = 0, KEK_LOG_JSON };

/* By this variable, set to "json" or not at all, kekd tells its workers which format theirs is. */
#define KEK_LOG_FORMAT_VARIABLE "KEKD_LOG_FORMAT"

/* `program` stands in every line and must outlive the process's last line.  Looks whether standard error is
 * the journal: JOURNAL_STREAM names its device and inode, systemd.exec(5). */
void kek_log_setup(const char *program, enum kek_log_level level, enum kek_log_format format);

bool kek_log_enabled(enum kek_log_level level);

/* What a line on standard error begins with, for those that are not written here: "<3>", or "". Static. */
const char *kek_log_priority(enum kek_log_level level);

/* A name and its value. */
struct kek_log_field {
    /* Lower-case letters and '_'; not time, program, level or msg. NULL ends a list. */
    const char *name;
    const char *text; /* borrowed; "": the field is left out; NULL: it is the number */
    uint64_t number;
    bool hex; /* the number as 0x..., in text */
};

static inline struct kek_log_field kek_log_text(const char *name, const char *text)
{
    return (struct kek_log_field){.name = name, .text = text == NULL ? "" : text};
}

static inline struct kek_log_field kek_log_number(const char *name, uint64_t number)
{
    return (struct kek_log_field){.name = name, .number = number};
}

/* The native cause: `origin` says whose numbering `code` is, as in the audit log, and a CK_RV is in hex. */
static inline struct kek_log_field kek_log_origin(const struct kek_why *why)
{
    return kek_log_text("origin", kek_native_name(why->native));
}

static inline struct kek_log_field kek_log_code(const struct kek_why *why)
{
    return why->native == KEK_NATIVE_NONE
               ? kek_log_text("code", "")
               : (struct kek_log_field){
                     .name = "code", .number = why->code, .hex = why->native == KEK_NATIVE_PKCS11};
}

/* A list of them; it lives as long as the block that it stands in. */
#define KEK_LOG_FIELDS(...) ((const struct kek_log_field[]){__VA_ARGS__, {.name = NULL}})

/* One sentence, no trailing newline, at most 1,023 bytes.  fields: NULL is none; one that does not fit into the
 * line is left out. */
void kek_log_with(enum kek_log_level level, const struct kek_log_field *fields, const char *format,
                  ...) KEK_PRINTF(3, 4);
#define kek_log(level, ...) kek_log_with(level, NULL, __VA_ARGS__)

/* For what others can cause as often as they like, such as a call that fails.  The first line of each kind
 * is logged, and ten seconds later how many more there were.  A kind is level and sentence; what differs
 * from one to the next belongs into the fields.  Since a sentence may have in it what a client made up, each
 * group has at most KEK_LOG_KINDS kinds at a time: its other lines are counted together, and keep no line of
 * another group out of the log.  Nothing whose last word matters, such as "down" after "ready", is for this.
 * `group` is static.  One thread: the loop's. */
#define KEK_LOG_KINDS 8
void kek_log_often(enum kek_log_level level, const char *group, const struct kek_log_field *fields,
                   const char *format, ...) KEK_PRINTF(4, 5);

/* Logs the counts whose ten seconds are over, or all of them: each second, and at the end. The same thread. */
void kek_log_often_count(bool all);

/* Lines dropped since the start because nobody was reading. */
unsigned long kek_log_dropped(void);

#endif
