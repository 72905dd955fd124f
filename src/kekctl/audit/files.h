/* Audit files in the order in which they were written, and their lines. Blocks. */
#ifndef KEKCTL_AUDIT_FILES_H
#define KEKCTL_AUDIT_FILES_H

#include "check.h"

#define FILES_STDIN "-" /* comes first: what was compressed is older */

/* Puts the names into the order in which the files were written, by their first lines.  False: why says which file cannot
 * be read. */
bool files_order(const char **names, size_t count, struct kek_why *why) KEK_MUST_CHECK;

/* Does it begin as an audit file does?  KEK_NOT_FOUND: no line of kekd is there; KEK_INVALID: it is no regular file, or compressed;
 * KEK_UNAVAILABLE: it cannot be read; KEK_NO_MEMORY. */
enum kek_rc files_look(const char *name, struct kek_why *why) KEK_MUST_CHECK;

/* Of a line with its line feed, whatever `check` makes of it; not of one that is longer than kekd writes. Borrowed. */
typedef void files_line_fn(void *arg, struct kek_bytes line);

/* Hands every line of the file to `check`, and then to fn, unless that is NULL; where check->takes_headers, without what a
 * syslog daemon put before it.  False: it cannot be read. */
bool files_read(const char *name, struct check *check, files_line_fn *fn, void *arg,
                struct kek_why *why) KEK_MUST_CHECK;

#endif
