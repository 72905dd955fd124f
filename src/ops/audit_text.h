/*
 * An audit line being written as JSON: its beginning, its fields, its end.  Pure.
 *
 * Every text from outside is cut to a length of its own and escaped; what is no UTF-8 becomes U+FFFD, so
 * that a line is valid JSON whatever a client or a token sends.
 */
#ifndef KEK_OPS_AUDIT_TEXT_H
#define KEK_OPS_AUDIT_TEXT_H

#include "kek/kek.h"
#include "kek/rc.h"

#define AUDIT_LINE_MAX 8192 /* bytes, with the line feed */

/* Bytes of a text from outside that a line shows, at most. Escaping makes at most six of one. */
#define NODE_MAX 64
#define UID_MAX 128
#define KEY_ID_MAX 64
#define PATH_MAX_SHOWN 128
#define PROVIDER_MAX 64
#define ROOT_MAX 32
#define TOKEN_MAX 64
#define WORDS_MAX 64                   /* of a command line */
#define ERROR_MAX (KEK_WHY_TEXT + 128) /* a verdict is the longest: none is cut */

/* What every line begins with. The text of a second is kept for the lines that follow in it. */
struct audit_stamp {
    int64_t wall_ms;
    uint64_t seq;
    const char *node;
    int64_t second; /* what `date` says; start with -1 */
    char date[24];  /* "2006-01-02T15:04:05" */
};

struct audit_text {
    char *at;
    char *end;
    bool full; /* something did not fit */
};

struct audit_text audit_text_begin(char *out, struct audit_stamp *stamp, const char *event);
/* The length, with the line feed; 0 if it did not fit. */
size_t audit_text_finish(struct audit_text *line, const char *out);

void audit_put(struct audit_text *line, const char *bytes, size_t len);
#define PUT(line, literal) audit_put(line, literal, sizeof(literal) - 1)
void audit_put_uint(struct audit_text *line, uint64_t value);
/* `text` in quotes, at most `max` of its bytes; "..." after what was cut. */
void audit_put_text(struct audit_text *line, const char *text, size_t max);

/* Each a field with its name, or several. */
void audit_put_why(struct audit_text *line, const struct kek_why *why);
void audit_put_version(struct audit_text *line, uint32_t number);
void audit_put_kek_id(struct audit_text *line, const struct kek_id *kek_id);
void audit_put_key_id(struct audit_text *line, const char *key_id);
void audit_put_provider(struct audit_text *line, const char *provider);
void audit_put_root(struct audit_text *line, const char *root); /* NULL or empty: nothing */
/* The beginning of a KEK in the list `keks`, and of the list at the first one; version 0: not known.  The caller ends both. */
void audit_put_kek(struct audit_text *line, bool first, const char *root, uint32_t version,
                   const struct kek_id *kek_id);

#endif
