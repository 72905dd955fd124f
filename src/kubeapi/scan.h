/*
 * JSON in pieces, as it comes off a connection: of a list of any size only the value being read is in memory.
 *
 * Whoever reads is told each text, number and word (true, false, null) together with the keys that lead to it, and
 * the end of each object.  Of a value longer than SCAN_VALUE_MAX it is told that there is one, and of what is
 * deeper than SCAN_KEYS nothing; neither is kept: no caller wants it, and it may be what must not be kept (an annotation can hold a whole
 * Secret).  RFC 8259; what is not JSON is refused, as is nesting of more than SCAN_DEPTH_MAX.  Pure.
 */
#ifndef KUBEAPI_SCAN_H
#define KUBEAPI_SCAN_H

#include "kek/bytes.h"

#define SCAN_DEPTH_MAX 512
#define SCAN_KEYS 4          /* levels whose keys are known */
#define SCAN_KEY_MAX 32      /* bytes of a key, with its NUL; a longer one is "" */
#define SCAN_VALUE_MAX 16384 /* bytes of a value that is told, with its NUL */

struct scan;

/* depth: how many keys lead there; the element of a list has the key "[]".  value: NULL for one that is not told. */
typedef enum kek_rc scan_value_fn(void *arg, const char (*keys)[SCAN_KEY_MAX], size_t depth,
                                  const char *value, struct kek_why *why);
/* An object that these keys lead to has ended. */
typedef enum kek_rc scan_end_fn(void *arg, const char (*keys)[SCAN_KEY_MAX], size_t depth,
                                struct kek_why *why);

struct scan_into {
    scan_value_fn *value;
    scan_end_fn *end;
    void *arg;
};

/* NULL: no memory. */
struct scan *scan_new(const struct scan_into *into);
void scan_free(struct scan *scan);
KEK_DEFINE_AUTO(scan);

enum kek_rc scan_feed(struct scan *scan, struct kek_bytes piece,
                      struct kek_why *why) KEK_MUST_CHECK;

/* Is it whole? */
enum kek_rc scan_end(const struct scan *scan, struct kek_why *why) KEK_MUST_CHECK;

#endif
