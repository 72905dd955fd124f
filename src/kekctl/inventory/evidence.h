/*
 * What `kekctl inventory` leaves behind for `kekctl key destroy`: <state_dir>/<keyring>.inventories.
 *
 * One record says that one configured etcd was read in full at one revision, and how many of its objects
 * are sealed under each KEK, by the kek ids inside each envelope: of all roots of trust, whose objects are the same.
 * The file is JSON, written whole and
 * durably; it keeps the last EVIDENCE_MAX records, and where one must go it is the oldest of the etcd that
 * has the most.  A file that is not what was written here is told and never overwritten, since it may be
 * all that says what a key still protects.  Reading needs no lock; adding takes <file>.lock against a second
 * kekctl.  Blocks; any thread.
 */
#ifndef KEKCTL_EVIDENCE_H
#define KEKCTL_EVIDENCE_H

#include "kek/config.h"
#include "kekctl/moment.h"

#define EVIDENCE_MAX 64       /* records */
#define EVIDENCE_KEKS_MAX 128 /* KEKs that one record counts */

struct evidence_count {
    struct kek_id kek;
    uint64_t objects; /* > 0 */
};

/* Objects that are under-protected: sealed without this root of trust, which seals now. */
struct evidence_without {
    char root[33];    /* its name in the configuration */
    uint64_t objects; /* > 0 */
};

struct evidence_record {
    char etcd[33]; /* its name in the configuration */
    uint64_t cluster_id;
    char prefix[256];
    char context[256]; /* the configuration's for this etcd */
    int64_t revision;  /* of etcd, at which all of it was read; >= 1 */
    /* By the clocks of this node; of one boot, which is not known of what an older kekctl wrote. */
    struct moment begun, ended;
    uint64_t objects; /* under the prefix */
    /* Of those, the ones of which nobody can say which KEK they need: truncated, of an unknown form, or of
     * more KEKs than a record holds. While it is not 0, no count of 0 below proves anything. */
    uint64_t unreadable;
    /* Those of which the KEK that stands in the envelope may not be the one that sealed it: what stands beside it
     * (the key_id of kms v2) says another one, or nothing does and no version of the keyring is that KEK.  While it
     * is not 0, no count of 0 below proves anything, either. */
    uint64_t disagreeing;
    bool verified; /* --verify, and every object under this keyring opened */
    /* The most KEKs that one object is counted under: more than 1 where there are several roots of trust.  An object of
     * several is counted under each of them. */
    unsigned keks_each;
    size_t without_count; /* of several roots of trust; one that is not here has 0 */
    struct evidence_without without[KEK_CONFIG_ROOTS_MAX];
    size_t kek_count;
    struct evidence_count by_kek[EVIDENCE_KEKS_MAX]; /* each once; a KEK that is not here has 0 */
};

/* All records, the oldest first. Owns them. */
struct evidence {
    size_t count;
    struct evidence_record records[EVIDENCE_MAX];
};

/* How many objects a record counts under a KEK. */
uint64_t evidence_objects(const struct evidence_record *record, const struct kek_id *kek);

/* How many are under-protected by lacking that root of trust. */
uint64_t evidence_without(const struct evidence_record *record, const char *root);

/* NULL on failure: why->rc is KEK_DAMAGED for a file that is not what was written here. Without a file there
 * are no records. To be freed with free(). */
struct evidence *evidence_load(const struct kek_config *config, struct kek_why *why);

/* Adds a record. KEK_DAMAGED as above, KEK_UNAVAILABLE where another kekctl holds the lock for longer than
 * 10 s or the file cannot be written; what was there is there still. */
enum kek_rc evidence_append(const struct kek_config *config, const struct evidence_record *record,
                            struct kek_why *why) KEK_MUST_CHECK;

#endif
