/*
 * The last word about a backup of the KEKs: <state_dir>/<keyring>.backup says when somebody said (--i-have-a-backup) that
 * there is one, and up to which version; of a root of trust that has a name <keyring>@<root>.backup does, since each has tokens
 * and versions of its own.  kekctl doctor tells how long ago that is.  Whether it is so nobody but the vendor's tools can tell.
 */
#ifndef KEKCTL_BACKUP_H
#define KEKCTL_BACKUP_H

#include "kek/config.h"

struct ctl;
struct kek_audit_acts;

#define BACKUP_OLD_MS (INT64_C(180) * 24 * 3600 * 1000) /* it is time to prove it again */

struct backup_word {
    int64_t said_ms;  /* since 1970; 0: nobody ever said it */
    uint32_t version; /* the newest that it has */
};

/* Zeroed without a file.  config: of one root; what was said before roots had words of their own is of the first one.
 * KEK_DAMAGED: the file is no such word. */
enum kek_rc backup_read(const struct kek_config *config, struct backup_word *word,
                        struct kek_why *why) KEK_MUST_CHECK;
/* Somebody says now that there is one, of this version and those before it. */
enum kek_rc backup_say(const struct kek_config *config, uint32_t version,
                       struct kek_why *why) KEK_MUST_CHECK;
/* The same, put on record in the audit log, too: where that takes no line, the word is not taken, and the exit code says that a
 * line is lost.  acts: of that root; NULL: there is no audit log. */
enum kek_rc backup_take(const struct ctl *ctl, const struct kek_config *config,
                        struct kek_audit_acts *acts, uint32_t version,
                        struct kek_why *why) KEK_MUST_CHECK;

/* Pure. */
enum backup_state { BACKUP_GOOD = 0, BACKUP_NEVER, BACKUP_BEHIND, BACKUP_OLD };
enum backup_state backup_judge(const struct backup_word *word, uint32_t newest, int64_t now_ms);

#endif
