/*
 * A unit of systemd (systemd.syntax(7)), as far as doctor asks what stands in one: assignments in the order of the file and
 * its drop-ins.  Pure but for unit_read().
 */
#ifndef KEKCTL_DOCTOR_UNIT_H
#define KEKCTL_DOCTOR_UNIT_H

#include <limits.h>

#include "kek/bytes.h"

#define UNIT_ENTRIES_MAX 512
#define UNIT_BYTES_MAX (64u * 1024) /* of each file */

struct unit {
    char path[PATH_MAX]; /* of the unit itself; empty: there is none */
    struct unit_entry {
        char *section, *key, *value;
        char *file; /* that it stands in; NULL: unit_parse() took it from a text */
    } entries[UNIT_ENTRIES_MAX];
    size_t count;
};

/* Adds what stands in a file. KEK_INVALID: it is no unit; KEK_TOO_LARGE; KEK_NO_MEMORY. */
enum kek_rc unit_parse(struct unit *unit, struct kek_bytes text,
                       struct kek_why *why) KEK_MUST_CHECK;

/* A unit file and the drop-ins beside it. KEK_NOT_FOUND: there is none. */
enum kek_rc unit_read(struct unit *unit, const char *path, struct kek_why *why) KEK_MUST_CHECK;

/* The same with the drop-ins of the folders NAME.d in each of `folders`, where systemd looks for units: all of them in the
 * order of their names, whichever folder they are in.  Of one name that of the first folder counts, and one that is no
 * regular file (a link to /dev/null) takes it away (systemd.unit(5)). */
enum kek_rc unit_read_installed(struct unit *unit, const char *path, const char *const *folders,
                                size_t count, struct kek_why *why) KEK_MUST_CHECK;

void unit_done(struct unit *unit);

/* The last assignment; NULL: none, or it was taken back by an empty one. Borrowed. */
const char *unit_value(const struct unit *unit, const char *section, const char *key);

/* The file, the unit or a drop-in, that the assignment stands in which counts; of none, the unit. Borrowed. */
const char *unit_source(const struct unit *unit, const char *section, const char *key);

#define UNIT_PLACE (PATH_MAX + 80)

/* Where an assignment of the key belongs, for what is to be done: "[Service] of FILE".  That is the file it stands in, since a
 * drop-in counts before the unit; a package's own file is not the administrator's, so it is a drop-in of
 * its own then, and true is returned. */
bool unit_place(const struct unit *unit, const char *section, const char *key,
                char place[static UNIT_PLACE]);

/* Is this one of the words that all assignments of the key name together? An empty assignment forgets those before. */
bool unit_lists(const struct unit *unit, const char *section, const char *key, const char *word);

/* The words of all assignments of a key since the last empty one, one after the other; `visit` says false to end it. */
void unit_each(const struct unit *unit, const char *section, const char *key,
               bool (*visit)(void *arg, const char *word), void *arg);

/* A size or a number as LimitMEMLOCK= and LimitNOFILE= have it ("infinity", "64M", "soft:hard"): the first; UINT64_MAX: no
 * limit. False: it is none. */
bool unit_limit(const char *text, uint64_t *limit);

/* What the unit that comes with kekd has to keep kekd apart from the rest of the machine, and this one has not:
 * "in [Service] of FILE: ProtectSystem=strict, ...; in ...". Returns how many; text may be cut. */
size_t unit_unhardened(const struct unit *unit, char *text, size_t size);

/* May a service of this unit write below `path`?  May it see it at all?  By ProtectSystem=, ProtectHome= and the folders
 * that it is given. */
bool unit_lets_write(const struct unit *unit, const char *path);
bool unit_lets_see(const struct unit *unit, const char *path);

#endif
