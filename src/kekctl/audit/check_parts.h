/* What check.c, which takes lines, and check_end.c, which holds what they came to against the records, share. */
#ifndef KEKCTL_AUDIT_CHECK_PARTS_H
#define KEKCTL_AUDIT_CHECK_PARTS_H

#include "check.h"

/* A problem at check->at. */
void check_say(struct check *check, enum check_kind kind, const char *format, ...) KEK_PRINTF(3, 4);
/* No line tells of the piece that waits. */
void check_give_up(struct check *check);

/* NULL: no line of it was read. */
struct check_chain *check_chain_of(struct check *check, const char *id);
/* May lines be in a file that nobody read that should come between `last` and one in this file?  Not if both are in this one. */
bool check_may_be_unread(const struct check *check, const struct check_place *last,
                         const char *file);

/* What is on record for another keyring; NULL: nothing was, before the lines were read. */
const struct kek_audit_end *check_other_of(const struct check *check, const char *chain);
/* Have both the chain and the number? */
bool check_is_line_of(const struct kek_audit_end *record, const struct kek_audit_end *end);
/* Of the line on record: its hash is another's, which is a problem. */
void check_expect_hash(struct check *check, const struct kek_audit_end *record,
                       const struct kek_audit_end *end);

#endif
