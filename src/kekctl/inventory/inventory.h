/*
 * kekctl inventory, in parts: reading (inventory_read.c), names for the KEKs (inventory_keks.c), opening
 * (inventory_open.c), and what is said of it (inventory_json.c, inventory_show.c).
 */
#ifndef KEKCTL_INVENTORY_H
#define KEKCTL_INVENTORY_H

#include <jansson.h>

#include "inventory_keks.h"
#include "inventory_open.h"
#include "inventory_wanted.h"
#include "kekctl/moment.h"
#include "kek/etcd.h"

#define INVENTORY_ETCDS_MAX KEK_CONFIG_ETCDS_MAX

/* One etcd, and what was found in it. */
struct inventory_etcd {
    struct kek_etcd_settings settings; /* all in it is borrowed */
    const char *snapshot;              /* the file, instead of endpoints; NULL: none */
    const char *prefix;                /* "/registry" */
    const char *context;               /* of the kekd that seals there; NULL: not known */
    bool configured; /* it stands in the configuration: what is found goes on record */
    const char *contexts[TALLY_CONTEXTS_MAX]; /* all that are known, its own first */
    size_t context_count, own_count;

    bool complete; /* all of it was read, at one revision; else why says why not */
    struct kek_why why;
    uint64_t cluster_id;
    int64_t revision;
    struct moment begun, ended;         /* of the count */
    unsigned restarts;                  /* since the revision was compacted in the middle */
    struct tally *tally;                /* NULL: nothing was read */
    struct opener *opener;              /* NULL: --verify was not given, or could not be done */
    const struct opener_result *opened; /* borrowed of it; NULL as long as not all was looked at */
    bool recorded;
};

#define INVENTORY_WORDS_MAX 4096 /* bytes of all --endpoints */

struct inventory {
    char words[INVENTORY_WORDS_MAX]; /* --endpoints, taken apart at its commas */
    const char *endpoints[KEK_ETCD_ENDPOINTS_MAX + 1];
    const struct ctl *ctl;
    const struct kek_config *config; /* NULL: there is none, for an etcd that the options name */
    struct wanted_scope scope;
    const struct kek_encryption_config *file; /* whose keys are tried; borrowed; NULL: none are */
    struct inventory_keks keks;               /* without inventory_keks_look() none is known */
    struct inventory_etcd etcds[INVENTORY_ETCDS_MAX];
    size_t etcd_count;
    bool complete, good;
    bool placed;        /* below each prefix lies what Kubernetes stores */
    bool primary_known; /* or no object is under a KEK, or there is no configuration */
    bool state_known; /* complete, and it was looked where something that was asked about can be */
    enum inventory_state state;
};

/* Which etcds are meant: by the options, else all that the configuration has. False after saying what is wrong,
 * which is a matter of usage. */
bool inventory_choose(struct inventory *inventory);

/* Opens the etcd (or restores the snapshot), reads all of it at one revision and counts; a revision that is
 * compacted in the middle is followed by a newer one, once.  Then, with `keys`, it is read once more, and what
 * can be opened is.  False: etcd->why says why not. */
bool inventory_read(const struct inventory *inventory, struct inventory_etcd *etcd,
                    struct root_keys *keys);

/* What is over all etcds: complete, good, state. */
void inventory_judge(struct inventory *inventory);

/* Of a resource that was named. */
enum inventory_absence {
    INVENTORY_STORED = 0, /* there are objects of it, or there may be none yet */
    INVENTORY_CUSTOM,   /* there are none, and nobody here knows whether there is such a resource */
    INVENTORY_MISSPELT, /* there are none, and Kubernetes has no such resource */
};
enum inventory_absence inventory_absence(const struct inventory *inventory, const char *resource);

/* Of how many objects is it not known which KEK they need, though a KEK stands in each: by what stands beside it, or since no
 * version that is known here has it.  As many as there are, at most. */
uint64_t inventory_disagreeing(const struct inventory *inventory, const struct tally *tally);

/* How many objects are under-protected (tally_is_weak()) by lacking one of those roots of trust, by bit. */
uint64_t inventory_weak(const struct inventory *inventory, unsigned roots);

/* The names of those roots of trust, by bit: "site, spare". */
#define INVENTORY_ROOTS_TEXT (KEK_CONFIG_ROOTS_MAX * 40)
void inventory_root_names(const struct inventory *inventory, unsigned roots,
                          char text[static INVENTORY_ROOTS_TEXT]);

/* False: nobody asked about this resource, and the API server can read it. */
bool inventory_judge_resource(const struct inventory *inventory, const struct tally *tally,
                              const struct tally_resource *resource, enum inventory_state *state);

/* Everything, as kekctl(1) describes it. NULL: no memory. */
json_t *inventory_json(const struct inventory *inventory);

/* The result on standard output, JSON or tables; advice on standard error. */
enum ctl_exit inventory_show(const struct inventory *inventory);

/* "k8s-prod.v2" of a kek id, with what is to be said of it in brackets; else its hex.  Of several roots of trust the root's
 * name stands before it. */
#define INVENTORY_KEK_TEXT 200
void inventory_kek_name(const struct inventory *inventory, const struct kek_id *id,
                        char text[static INVENTORY_KEK_TEXT]);

#endif
