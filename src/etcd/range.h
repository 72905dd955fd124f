/*
 * Where the next request of a long read begins and ends, and how many keys it is for.
 *
 * How many bytes a page has is known once it is here, so the next page's number of keys comes from the last one's
 * mean.  Where a page may end matters as well: to answer a range with a limit, etcd walks the index of all keys
 * up to the end of that range (it counts them), so pages that all end where the prefix does would cost the
 * square of the number of keys.  So a far end is drawn nearer: past all keys that share the first `depth` bytes
 * with the last one, with depth moved by one whenever that was too near or too far.  Pure.
 */
#ifndef ETCD_RANGE_H
#define ETCD_RANGE_H

#include "kek/etcd.h"

#define RANGE_PAGE_BYTES (1u << 20) /* of keys and values, about */
#define RANGE_PAGE_FIRST 250        /* keys */
#define RANGE_PAGE_MIN 8
#define RANGE_PAGE_MAX 2000

struct range {
    struct kek_bytes prefix; /* borrowed */
    struct kek_buf start;    /* the first key that is asked for */
    struct kek_buf end;      /* and the first that is not; "\0": there is none */
    struct kek_buf last;     /* the last key that was taken; empty: none */
    bool narrow;             /* end is nearer than the prefix's */
    size_t depth;
    int64_t limit;
};

/* An answer, as far as it came. */
struct range_page {
    size_t pairs;
    uint64_t bytes;
    bool more;
    int64_t count; /* of the keys from start to end */
};

enum kek_rc range_init(struct range *range, struct kek_bytes prefix,
                       struct kek_why *why) KEK_MUST_CHECK;
void range_done(struct range *range);

/* A key has come. KEK_DAMAGED: it is not what was asked for, or not behind the last one. */
enum kek_rc range_key(struct range *range, struct kek_bytes key,
                      struct kek_why *why) KEK_MUST_CHECK;

/* After a whole page: moves on. *over: it was the last one. */
enum kek_rc range_next(struct range *range, const struct range_page *page, bool *over,
                       struct kek_why *why) KEK_MUST_CHECK;

/* After one that came in part or not at all: the next request begins behind what came, and is for less. */
enum kek_rc range_retry(struct range *range, struct kek_why *why) KEK_MUST_CHECK;

/* The first key that does not begin with prefix, as etcd wants it. */
enum kek_rc range_prefix_end(struct kek_bytes prefix, struct kek_buf *end,
                             struct kek_why *why) KEK_MUST_CHECK;

#endif
