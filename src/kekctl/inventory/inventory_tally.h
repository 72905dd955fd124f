/*
 * What is under which key: one etcd's objects, counted.
 *
 * Pure: no I/O.  It is given each key with its value once and keeps sums alone, so its memory does not grow
 * with the objects: by resource and *cover*.  A cover is what protects a value: nothing, a key of the API
 * server's, another KMS plugin, or the KEKs of a kekd envelope, by the kek ids inside it.  What stands beside
 * an envelope (kms v2's key_id) is compared with what follows from the kek ids and a context, since whoever
 * writes etcd can change it.  Everything comes from etcd and is trusted in nothing: each table has its
 * maximum, and what finds no room is counted among the rest and can prove nothing.
 * One thread.
 */
#ifndef KEKCTL_INVENTORY_TALLY_H
#define KEKCTL_INVENTORY_TALLY_H

#include "kek/encryption_config.h"
#include "kek/root_rules.h"

#define TALLY_RESOURCES_MAX 4096
#define TALLY_COVERS_MAX 256
#define TALLY_CONTEXTS_MAX 40
#define TALLY_NAMED_MAX 100 /* objects of one trouble that are named; all are counted */
#define TALLY_TEXT 320      /* bytes of a resource or a name that is kept, with the NUL */

struct tally_cover {
    enum kek_kube_kind kind;
    struct kek_bytes provider; /* the key's or plugin's name, as it stands in etcd; owned */
    bool rest;                 /* what found no room in the table, whatever it is */
    bool is_kekd;              /* and then: */
    struct kek_root_form form;
    /* Of several roots of trust: */
    bool refused; /* the kekd of this configuration opens no envelope of this form */
    unsigned
        missing; /* the roots that seal and that it has no KEK of, as far as is known, by bit */
    unsigned
        unknown; /* how many of its KEKs are of no root that is known: each may be one of those */
    char *key_ids
        [TALLY_CONTEXTS_MAX]; /* what stands beside it, by context; NULL: not worked out yet */
    uint64_t
        by_context[TALLY_CONTEXTS_MAX]; /* objects (kms v2 alone) whose key_id is that context's */
    uint64_t objects;
    uint64_t readable; /* of those, the ones that `unreadable` of the tally does not count */
};

/* What may be wrong with an object as it lies there. */
enum tally_trouble {
    TALLY_MALFORMED = 0, /* truncated, or not what its prefix says */
    TALLY_UNKNOWN,       /* a prefix of encryption that nobody knows */
    TALLY_KEY_ID, /* a key_id that does not follow from the envelope, under any context known here */
    TALLY_CONTEXT, /* it follows under the context of another etcd's kekd */
    TALLY_KEY,     /* the configuration has a key of its name, under which it does not open */
    TALLY_FORM,    /* several roots of trust alone: an envelope of a form that kekd refuses */
    TALLY_TROUBLES
};

/* "malformed", "unknown-prefix", "key-id", "other-context", "other-key", "other-form". */
const char *tally_trouble_name(enum tally_trouble trouble);

struct tally_count {
    uint32_t cover; /* its place in `covers` */
    uint64_t objects;
};

struct tally_resource {
    struct kek_bytes raw;  /* as it stands in the keys, "resource.group"; owned */
    char name[TALLY_TEXT]; /* the same, fit to print; empty: keys that are no object's */
    bool never_encrypted;  /* no EncryptionConfiguration reaches it */
    uint64_t objects;
    uint64_t troubled[TALLY_TROUBLES];
    uint64_t
        lost; /* of those that are not in trouble, the ones that do not open; for whoever tries */
    struct tally_count *counts;
    size_t count, room;
};

/* One object that is named; its texts are fit to print. */
struct tally_named {
    char resource[TALLY_TEXT], ns[TALLY_TEXT], name[TALLY_TEXT];
    char why[256];
};

struct tally {
    const char *const *contexts; /* borrowed */
    size_t context_count, own_count;
    struct kek_bytes prefix; /* borrowed */
    /* Whose keys are tried on what is under aescbc, aesgcm or secretbox; borrowed; NULL, as it begins: none are. */
    const struct kek_encryption_config *file;
    /* Of several roots of trust, which forms of envelopes are opened; borrowed; NULL, as it begins: there is one root. */
    const struct kek_root_rules *rules;
    uint64_t opened;     /* objects that opened by them */
    uint64_t objects;    /* all keys under the prefix */
    uint64_t unreadable; /* so far: see tally_unreadable() */
    /* Of kms v2, the ones whose key_id does not follow from the KEK that stands in the envelope beside it: which of the
     * two is damaged, and so which KEK they need, is not known. */
    uint64_t disagreeing;
    struct tally_cover *covers;
    size_t cover_count;
    struct tally_resource *resources; /* the first one holds keys that are no object's */
    size_t resource_count;
    bool
        resources_full; /* more resources than there is room for: they are counted in the first one */
    uint64_t troubles[TALLY_TROUBLES];
    struct tally_named *named[TALLY_TROUBLES]; /* the first ones of each, TALLY_NAMED_MAX at most */
    size_t named_count[TALLY_TROUBLES];
    size_t last_resource, last_cover; /* where the object before was */
};

/* contexts: those whose key_ids are known (none: no key_id is looked at); the first `own` of them are this etcd's kekd's.  All borrowed, as
 * is the prefix ("/registry").  NULL: no memory. */
struct tally *tally_new(struct kek_bytes prefix, const char *const *contexts, size_t count,
                        size_t own);
void tally_free(struct tally *tally);
KEK_DEFINE_AUTO(tally);

/* Counts one. KEK_NO_MEMORY, and with `file` KEK_EXHAUSTED and KEK_INTERNAL: see kek_encryption_config_open(). */
enum kek_rc tally_take(struct tally *tally, struct kek_bytes key, struct kek_bytes value,
                       struct kek_why *why) KEK_MUST_CHECK;

/* The resource that an object is counted under; NULL: none of it was there. Borrowed. */
struct tally_resource *tally_find(struct tally *tally, const struct kek_kube_name *name);

/* An object's place and what is said of it, fit to print. name NULL: the key is no object's. */
void tally_name(struct tally_named *named, const struct kek_kube_name *name, struct kek_bytes key,
                const char *what);

/* Once all are taken: of how many nobody can say whether they need a KEK, or which.  What is no envelope and
 * stands under the name of a plugin that made envelopes elsewhere is one that was damaged, as far as anybody knows. */
uint64_t tally_unreadable(const struct tally *tally);

/* Once all are taken: does an API server store such things below that prefix?  Not where nothing is there, or where there
 * is nothing that Kubernetes has and something that nobody has: the prefix is another one, longer or shorter. */
bool tally_is_kubernetes(const struct tally *tally);

/* Of those, the ones of this cover that are counted for its name alone. */
uint64_t tally_strangers(const struct tally *tally, const struct tally_cover *cover);

/* Is it under fewer roots of trust than seal, since one was out, or was none yet, when it was written? */
bool tally_is_weak(const struct tally_cover *cover);

/* How many objects are so, by lacking one of those roots of trust, by bit. */
uint64_t tally_weak(const struct tally *tally, unsigned roots);

/* How many objects have this KEK in their envelope. */
uint64_t tally_under(const struct tally *tally, const struct kek_id *kek);

#endif
