/*
 * The end of the audit log, for who has no time to read the whole: is it as it was written, does it end where the record in
 * state_dir says, and when was it last MACed?  kekctl audit verify says the rest.
 *
 * Reads CHAIN_END_BYTES at most; no lock is taken, and lines that kekd writes meanwhile are more than the record said, which is
 * read again.  No token is asked: a MAC is seen here, not checked.  Blocks.
 */
#ifndef KEKCTL_AUDIT_CHAIN_END_H
#define KEKCTL_AUDIT_CHAIN_END_H

#include "check.h"
#include "kek/config.h"

#define CHAIN_END_BYTES (1u << 20)

/* What of the chain on record is to be said of MACs; dates are since 1970, 0: no such line was read. */
struct chain_macs {
    int64_t last_ms;   /* the last MAC */
    int64_t failed_ms; /* since when none can be made */
    int64_t
        failed_before_ms; /* and since when the kekd before the one that wrote last could make none */
    int64_t waits_ms;     /* kekd's first line that no MAC has come after */
};

struct chain_end {
    bool has_record, has_file;
    struct kek_audit_end record;
    struct kek_audit_owed owed; /* on record, too */
    struct check check;
    uint64_t lines; /* that were read */
    struct chain_macs macs;
};

/* KEK_OK: `check` has what is not as it must be.  KEK_DENIED, KEK_UNAVAILABLE: the file or the record cannot be read.  To be
 * closed in any case. */
enum kek_rc chain_end_read(struct chain_end *end, const struct kek_config *config,
                           struct kek_why *why) KEK_MUST_CHECK;
void chain_end_close(struct chain_end *end);

#endif
