/*
 * What the files of this room share: the record of a token's logins, as JSON.  They call each other in
 * this order, never back: login.c and retry.c, then name.c and record.c.
 */
#ifndef KEK_LOGIN_RECORD_H
#define KEK_LOGIN_RECORD_H

#include "kek/login.h"

#define RECORD "pin-refused-"
#define LOGIN_ENTRIES_MAX 32 /* of one record; the oldest makes room */

struct login_record {
    size_t count;
    struct kek_login_entry entries[LOGIN_ENTRIES_MAX];
};

/* KEK_NOT_FOUND: there is none. KEK_INVALID: it is damaged or of an older format, whose refusals are refusals
 * still: nobody logs in past it. */
enum kek_rc login_record_read(const char *path, struct login_record *record,
                              struct kek_why *why) KEK_MUST_CHECK;
char *login_record_text(const struct login_record *record); /* to be freed; NULL: no memory */
void login_record_drop(struct login_record *record, size_t at);
void login_record_add(struct login_record *record, const struct kek_login_entry *entry);

enum kek_rc login_path(const char *state_dir, const char *head, const char *slot, const char *tail,
                       char path[static PATH_MAX], struct kek_why *why) KEK_MUST_CHECK;
/* KEK_UNAVAILABLE: another process or worker holds it. */
enum kek_rc login_take_lock(const char *state_dir, const char *slot, int *fd,
                            struct kek_why *why) KEK_MUST_CHECK;

#endif
