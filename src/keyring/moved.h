/*
 * In which file a record is, where roots of trust got names or lost them: <keyring>.json without, <keyring>@<root>.json
 * with.  The first root goes on from the one without a name, and that from the root's.  A file that was taken over says
 * so (`moved_to`), and is never taken again.  Where both hold a record of the same keys, as an older kekd left them, the
 * one that announced the higher version counts; no clock has a say in that.
 */
#ifndef KEK_KEYRING_MOVED_H
#define KEK_KEYRING_MOVED_H

#include <limits.h>

#include <jansson.h>

#include "kek/config.h"

#define MOVED_FILES_MAX (KEK_CONFIG_ROOTS_MAX + 9)

struct moved_file {
    char path[PATH_MAX];
    json_t *root;   /* NULL: it is not there */
    bool outranked; /* what another says counts */
};

/* The files there are, and which of them counts. */
struct moved {
    struct moved_file files[MOVED_FILES_MAX]; /* the first: the one that is written from now on */
    size_t count, counts;
    struct kek_why unread; /* of a root's that is there and cannot be read; KEK_OK: there is none */
};

/* <state_dir>/<keyring>[@<root>].<suffix>: the keyring is the root's own. */
enum kek_rc moved_name(const struct kek_config *config, const char *suffix,
                       char path[static PATH_MAX], struct kek_why *why) KEK_MUST_CHECK;

/* Writes nothing. NULL: no memory, or why says what is wrong: KEK_NOT_FOUND is that there is no record. */
struct moved *moved_find(const struct kek_config *config, size_t max, struct kek_why *why);
void moved_free(struct moved *moved);
KEK_DEFINE_AUTO(moved);

/* What counts, and what of the others must not be forgotten: a new text. NULL: no memory. */
char *moved_text(struct moved *moved);

/* Is there anything to be done by moved_settle()? */
bool moved_is_open(const struct moved *moved);

/* Does another kekd run that writes one of the others?  Then it is to be read alone.  Not for the process that locks a root's
 * record of the same keyring. */
bool moved_is_in_use(const struct moved *moved, const struct kek_config *config);

/* `text` into the first file; what was outranked is kept beside it, and each that was taken over says so.  What a crash leaves
 * undone is done at the next start. Blocks. */
enum kek_rc moved_settle(const struct moved *moved, const char *text,
                         struct kek_why *why) KEK_MUST_CHECK;

/* Where moved_settle() keeps that file's content: the first name that is free. */
bool moved_aside(const char *path, char aside[static PATH_MAX]);

#endif
