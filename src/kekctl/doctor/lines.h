/*
 * What doctor found: a list of lines, each with a subject, a verdict, what was seen, and what to do about it.
 *
 * A subject that could not be looked at, since something before it is not well, has a line that says so.  What other
 * parts of kekctl say in sentences (ctl_say) becomes lines too, by lines_hear().  A line may be about one root of trust of
 * several: what is a FAIL there may be none of the whole, which is known once all roots are.
 */
#ifndef KEKCTL_DOCTOR_LINES_H
#define KEKCTL_DOCTOR_LINES_H

#include <stdarg.h>

#include <jansson.h>

#include "kekctl/kekctl.h"

enum doctor_verdict {
    DOCTOR_OK = 0,
    DOCTOR_UNSEEN, /* not looked at, and `seen` says why */
    DOCTOR_WARN,   /* kekd works, and this is not as it should be */
    DOCTOR_FAIL,   /* kekd, or an API server with it, does not start or serve so */
    DOCTOR_VERDICTS
};

#define LINES_TODO 8192 /* bytes of what is to be done, with the NUL: two paths, and words */

struct lines {
    json_t *list; /* NULL: no memory */
    size_t counts[DOCTOR_VERDICTS];
    bool no_memory;
    /* What lines are about from now on; "": none in particular. Borrowed. */
    const char *root; /* of trust */
    const char *provider;
    /* What a sentence that is heard becomes. */
    char subject[80];
    enum doctor_verdict verdict;
    char todo[LINES_TODO];
    size_t heard; /* that were more than remarks */
};

const char *doctor_verdict_name(enum doctor_verdict verdict); /* "OK", "UNSEEN", "WARN", "FAIL" */

void lines_open(struct lines *lines);
void lines_close(struct lines *lines);

/* What a line may be about. */
enum lines_about { LINES_ROOT = 0, LINES_PROVIDER, LINES_SUBJECT };

/* Has a line that is about this one this verdict? */
bool lines_has(const struct lines *lines, enum lines_about about, const char *name,
               enum doctor_verdict verdict);

/* What is a FAIL of this one is a WARN of the whole. */
void lines_soften(struct lines *lines, enum lines_about about, const char *name);

/* todo: a command or a setting; NULL: nothing is to be done. */
void lines_add(struct lines *lines, enum doctor_verdict verdict, const char *subject,
               const char *todo, const char *format, ...) KEK_PRINTF(5, 6);

/* Adds what another process found, lines as in `list`. */
void lines_take(struct lines *lines, const json_t *list);

/* What is to be done, as printf() puts it together. What does not fit is replaced, so that no piece of a command is run. */
void lines_todo(char todo[static LINES_TODO], const char *format, ...) KEK_PRINTF(2, 3);
void lines_vtodo(char todo[static LINES_TODO], const char *format, va_list args) KEK_PRINTF(2, 0);

/* From now on each sentence becomes a line of this subject; one that begins with "remark: " is only worth knowing, and its
 * verdict is OK; one that begins with "to be mended: " is not about the subject alone, and its verdict is WARN.  todo: as above. Both are copied. */
void lines_hear(struct lines *lines, enum doctor_verdict verdict, const char *subject,
                const char *todo);

/* struct ctl's `hear`. */
void lines_heard(void *lines, const char *text);

/* A word as a shell takes it, in quotes where it needs some; "FILE" where that does not fit. size: at least 8. */
void lines_quote(const char *word, char *out, size_t size);

/* Prints all, and says the exit code: 1 with a FAIL among them, 3 with a WARN. */
enum ctl_exit lines_print(const struct lines *lines, const struct ctl *ctl, const char *judged_as);

#endif
