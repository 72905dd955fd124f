/*
 * Lines of audit files, one after the other, against their chains.  Pure, but for the digest: lines in, what is not as
 * it must be out.  Memory does not grow with the lines.  docs/kekd-audit.5 describes the chain.
 */
#ifndef KEKCTL_AUDIT_CHECK_H
#define KEKCTL_AUDIT_CHECK_H

#include "kek/audit_link.h"
#include "pace.h"

#define CHECK_CHAINS_MAX 16
#define CHECK_PROBLEMS_MAX 100 /* that are kept; more are counted */
#define CHECK_TEXT 640
#define CHECK_HASH 32

struct check_place {
    const char *file; /* borrowed */
    uint64_t line;    /* from 1 */
};

/* What is not as it must be. */
enum check_kind {
    CHECK_CHANGED,   /* the line is not what its hash is of */
    CHECK_UNCHAINED, /* it has no link, where others before it have */
    CHECK_MISSING,   /* lines before it are not there */
    CHECK_AGAIN,     /* it was there before, or stands in another place */
    CHECK_RELINKED,  /* it is chained to another line than the one before it */
    CHECK_TOLD,      /* kekd or kekctl found something, and said so in this line */
    CHECK_CUT,       /* the file ends in the middle of it */
    CHECK_RECORD,    /* the chain is not as it is on record */
    CHECK_CHAINS,    /* more chains than are looked at */
    CHECK_UNMACED,   /* a MAC should have come by this line */
    CHECK_UNKNOWN,   /* nothing vouches for the chain, and a record or MACs do for another */
    CHECK_MAC,       /* a MAC is not of what it says, or not the token's, or could not be checked */
    CHECK_UNREAD,    /* lines are not here, and may be in files that were not read */
    CHECK_NOTHING,   /* no line has a chain, so that nothing was checked */
};
const char *check_kind_name(enum check_kind kind);

/* Lines that should stand before one, by n.  Those of them that come later, in their order, are counted. */
struct check_gap {
    const struct check_chain *chain; /* NULL: the problem is no gap */
    uint64_t from, to;               /* to: the line that stands there instead of `from` */
    uint64_t lines;                  /* without those that are changed */
    uint64_t later, newest;          /* newest: the last of those that come later */
    struct check_place last;         /* before the gap */
};

struct check_problem {
    enum check_kind kind;
    struct check_place at;
    uint64_t to; /* the last line that it is about: a run of lines is one problem */
    struct check_gap gap;
    char text[CHECK_TEXT];
};

/* The newest line with a MAC, of this chain and file, which vouches for all lines up to the one that it is of. */
struct check_mac {
    struct check_place at;
    uint64_t n; /* of the line in its chain */
    struct kek_audit_end covers;
    struct telling telling;
};

/* The hash of a line. */
struct check_kept {
    uint64_t n; /* 0: of none */
    uint8_t hash[CHECK_HASH];
};

struct check_chain {
    struct kek_audit_end end; /* of the last line that was in its place */
    uint64_t first;           /* the number of the first one that is there */
    uint64_t lines;
    struct check_place from, to;
    /* Of the last KEK_AUDIT_MAC_SPAN lines, by n: what MACs are of. NULL: not kept. */
    struct check_kept *kept;
    bool is_of_another; /* it is on record in state_dir, for another keyring; the caller's to set */
    struct kek_audit_end other_now, other_next; /* as check_other_now() has them */
    uint64_t macs;                              /* lines with one */
    uint64_t maced;    /* the last line that a MAC is of which the token confirmed; 0: none */
    uint64_t maced_at; /* the line that has it */
    char maced_by[64]; /* the provider whose token that was; empty: none */
    struct pace pace;
    bool mac_waits; /* `mac` is to be checked */
    struct check_mac mac;
};

struct check {
    struct kek_audit_hasher hasher;
    struct check_place at;
    struct check_chain chains[CHECK_CHAINS_MAX];
    size_t chain_count;
    struct check_problem problems[CHECK_PROBLEMS_MAX];
    size_t problem_count;
    uint64_t more; /* problems that are not kept */
    uint64_t lines;
    uint64_t before; /* lines without a chain, before any that has one */
    uint64_t torn;   /* pieces of lines that a line tells of */
    /* Lines that were never written, as lines tell: for certain, and at most. */
    uint64_t dropped, dropped_at_most;
    bool takes_headers; /* lines may be out of a file of a syslog daemon's; the caller's to set */
    uint64_t headers;   /* lines that it put something before, which nothing vouches for */
    bool is_end_alone;  /* of one file, and no token is asked; the caller's to set */
    bool unread;        /* files of the log are there that nobody reads; the caller's to set */
    uint64_t
        bad; /* changed lines since the last good one: the gap that they leave is no problem more */

    /* A line without a chain that a `torn` line may tell of. */
    bool piece_waits;
    bool piece_was_chained; /* a field of a chain stands in it */
    struct check_place piece_at;
    size_t piece_bytes;
    char piece_sha256[KEK_SHA256_TEXT];

    bool has_record, met_record;
    uint64_t mac_interval_ms; /* 0: MACs are not checked */
    struct kek_audit_end record;
    bool has_now;
    struct kek_audit_end now, next; /* as check_record_now() has them */
    /* On record in state_dir for keyrings, as they were before any line was read; the caller's to set. */
    struct kek_audit_end others[CHECK_CHAINS_MAX];
    size_t other_count;
};

/* record: what is on record in state_dir, as it was before any line was read; NULL: not known.  mac_interval_ms: how often
 * kekd MACs the chain; 0: MACs are not to be checked.  False: no memory. */
bool check_init(struct check *check, const struct kek_audit_end *record,
                uint64_t mac_interval_ms) KEK_MUST_CHECK;
/* What is on record once the last line was read; next: where the chain stands after the lines that are being written, without
 * a chain where that is not known.  False: there are lines here past both, as there are while a writer is between the two. */
bool check_record_now(struct check *check, const struct kek_audit_end *now,
                      const struct kek_audit_end *next);
/* The same of a chain that is on record for another keyring. */
bool check_other_now(struct check_chain *chain, const struct kek_audit_end *now,
                     const struct kek_audit_end *next);
/* There should be a record. */
void check_no_record(struct check *check, const char *text);
/* The record's count of lines that are missing cannot be read. */
void check_damaged_count(struct check *check);
void check_done(struct check *check);

void check_file(struct check *check, const char *name);      /* the lines that follow are its */
void check_line(struct check *check, struct kek_bytes line); /* with its line feed */
void check_piece(struct check *check, size_t len);           /* the file ended without one */
void check_long(struct check *check); /* a line longer than any that kekd writes */
/* The chain's MAC that waited is the one that this provider's token makes. */
void check_mac_good(struct check_chain *chain, const char *provider);
/* How many lines come after the last one that a confirmed MAC is of?  That MAC's own line, where it is all there is, is not
 * one: it says nothing but the MAC. */
uint64_t check_unmaced(const struct check_chain *chain);
/* A problem of that MAC. */
void check_mac_problem(struct check *check, const struct check_chain *chain, const char *text);
void check_end(struct check *check); /* there are no more files */
/* Then: was any line held against a chain?  Where none was and nothing else is wrong, that is a problem.  `what`: the files. */
void check_nothing(struct check *check, const char *what);

#endif
