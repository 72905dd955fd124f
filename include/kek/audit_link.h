/*
 * What chains an audit line to the line before: its last four fields.
 *
 *     ...,"chain":"0123456789abcdef","n":42,"prev":"<64 hex>","hash":"<64 hex>"}
 *
 * `hash` is the SHA-256 of the line up to, and not with, `,"hash":`, and then a line feed; `prev` is the hash of
 * the line before, in the order in which lines were written.  Pure, but for the digest's context; one thread each.
 * docs/kekd-audit.5 has it for people.
 */
#ifndef KEK_AUDIT_LINK_H
#define KEK_AUDIT_LINK_H

#include <limits.h>

#include <openssl/types.h>

#include "kek/digest.h"

#define KEK_AUDIT_CHAIN_TEXT 17 /* 8 random bytes in hex, with the NUL */
#define KEK_AUDIT_LINK_MAX 224  /* bytes that a line grows by, at most */

/* Where an audit log is: for kekd, which writes it, and for kekctl, which adds what an operator does. */
struct kek_audit_place {
    const char *
        file; /* the lines; NULL: they are sent to the first of the sockets, which is the log then */
    const char *head; /* in state_dir: where their chain stands */
    /* Sockets that get a copy of each line; NULL: none. */
    const char *journal, *syslog;
};
/* Its path: of the file, or of the socket. */
const char *kek_audit_place_log(const struct kek_audit_place *place);

/* Where a chain stands: its last line. */
struct kek_audit_end {
    char chain[KEK_AUDIT_CHAIN_TEXT]; /* empty: there is no chain */
    uint64_t n;                       /* lines in it so far */
    char hash[KEK_SHA256_TEXT];       /* of the last one; 64 zeros before the first */
};

/* Lines that are missing from the log, and that no line of it tells of yet. */
struct kek_audit_owed {
    uint64_t lost;    /* for certain */
    uint64_t waiting; /* at most so many more, if who has them is not there any more */
    bool damaged;     /* a count on record cannot be read: nobody knows how many */
};

/* Is there anything that a line is to tell of? */
bool kek_audit_owes(const struct kek_audit_owed *owed);

/* What a line says of itself. */
struct kek_audit_link {
    struct kek_audit_end end;
    char prev[KEK_SHA256_TEXT];
    size_t body; /* bytes of the line that its hash is of, less the line feed */
};

struct kek_audit_hasher {
    EVP_MD *md;
    EVP_MD_CTX *context;
};
bool kek_audit_hasher_init(struct kek_audit_hasher *hasher) KEK_MUST_CHECK; /* false: no memory */
void kek_audit_hasher_done(struct kek_audit_hasher *hasher);

/* A chain without a line yet. False: no random bytes. */
bool kek_audit_end_begin(struct kek_audit_end *end) KEK_MUST_CHECK;

/* Chains `line`, a JSON object and its line feed, to `end`, which moves on to it: out, of line.len +
 * KEK_AUDIT_LINK_MAX bytes, holds the chained line.  Returns its length; 0: no memory, and nothing has moved. */
size_t kek_audit_link_put(struct kek_audit_hasher *hasher, struct kek_audit_end *end,
                          struct kek_bytes line, char *out) KEK_MUST_CHECK;

/* False: the line, which ends with its line feed, carries no such fields. */
bool kek_audit_link_read(struct kek_bytes line, struct kek_audit_link *link) KEK_MUST_CHECK;

/* What the line's hash must be.  False: no memory. */
bool kek_audit_link_sum(struct kek_audit_hasher *hasher, struct kek_bytes line,
                        const struct kek_audit_link *link,
                        char hash[static KEK_SHA256_TEXT]) KEK_MUST_CHECK;

/* Is the line's hash the one that it says? False as well for want of memory. */
bool kek_audit_link_holds(struct kek_audit_hasher *hasher, struct kek_bytes line,
                          const struct kek_audit_link *link) KEK_MUST_CHECK;

/* What a MAC is of, which says that the chain had come so far: "kekd audit 1 CHAIN N HASH", without a line feed. */
#define KEK_AUDIT_MAC_TEXT 128 /* bytes, with the NUL */
/* Lines between the one that a MAC is of and the one that it stands in, at most. */
#define KEK_AUDIT_MAC_SPAN 65536u
void kek_audit_mac_text(const struct kek_audit_end *end, char text[static KEK_AUDIT_MAC_TEXT]);

/* What is on record in state_dir, read without its lock: what looks damaged is looked at again, as it may be being written.
 * owed: may be NULL; nothing where the record cannot be read.  KEK_NOT_FOUND: no chain, and there may be lines owed all the
 * same; KEK_DAMAGED.  Blocks, up to 20 ms. */
enum kek_rc kek_audit_record_read(const char *path, struct kek_audit_end *end,
                                  struct kek_audit_owed *owed, struct kek_why *why) KEK_MUST_CHECK;

/* Beside the record, and like it: where the chain will stand once the lines are in the file that are being written, or that
 * were last.  False: the path is too long to be one. */
bool kek_audit_next_name(const char *path, char next[static PATH_MAX]) KEK_MUST_CHECK;

/* What it has; without a chain where that is not known.  path: of the record.  Blocks. */
struct kek_audit_end kek_audit_next_read(const char *path);

/* Is the chain on record for another keyring, beside the record of this path?  Then so are these: where it stands, and what
 * kek_audit_next_read() has of it; either may be NULL.  Blocks. */
bool kek_audit_is_of_another(const char *path, const char *chain, struct kek_audit_end *end,
                             struct kek_audit_end *next);
/* Where all chains stand that are on record in the folder of this path, `max` of them at most.  Returns how many.  Blocks. */
size_t kek_audit_all_ends(const char *path, struct kek_audit_end *ends, size_t max);

#endif
