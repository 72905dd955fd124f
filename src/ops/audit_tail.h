/*
 * The last lines of an audit file, against the record of where its chain stands.  Pure, but for the digest.
 */
#ifndef KEK_OPS_AUDIT_TAIL_H
#define KEK_OPS_AUDIT_TAIL_H

#include "kek/audit_link.h"

struct audit_tail {
    size_t torn;              /* bytes at the end that are no whole line */
    bool has;                 /* lines of the record's chain are among them */
    bool follows;             /* they end where the record does, or go on from it link by link */
    struct kek_audit_end end; /* of the last of them */
};

/* from_start: the bytes begin with a line, else in the middle of one. */
struct audit_tail audit_tail_look(struct kek_audit_hasher *hasher, struct kek_bytes bytes,
                                  bool from_start, const struct kek_audit_end *record);

/* The last line of any chain that `node` wrote among the bytes.  False: there is none. */
bool audit_tail_of_node(struct kek_bytes bytes, bool from_start, const char *node,
                        struct kek_audit_end *end);

/* Bytes up to and with the last line feed. */
size_t audit_tail_whole(const char *bytes, size_t len);

bool audit_end_equal(const struct kek_audit_end *a, const struct kek_audit_end *b);

#endif
