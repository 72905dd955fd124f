/*
 * Prometheus text format 0.0.4, written piece by piece into a bounded buffer.
 *
 * A family's HELP and TYPE come once, its samples after it.  The first failure (the buffer is full, or
 * no memory) is kept, later calls do nothing.  Label values come from outside: they are escaped, and
 * what is no UTF-8 or a control character becomes '?'.
 */
#ifndef KEK_OPS_EXPOSITION_H
#define KEK_OPS_EXPOSITION_H

#include "kek/bytes.h"

struct exposition {
    struct kek_buf *out; /* borrowed */
    const char *family;
    enum kek_rc rc;
    struct kek_why why; /* set if rc is not KEK_OK */
};

/* Ends a list of labels. */
struct exposition_label {
    const char *name; /* NULL: no more */
    const char *value;
};

/* type: "counter", "gauge", "histogram". help: no backslash, no line break. */
void exposition_family(struct exposition *e, const char *name, const char *type, const char *help);

/* One sample of the last family; suffix "" or "_bucket" and so on; labels may be NULL. */
void exposition_uint(struct exposition *e, const char *suffix,
                     const struct exposition_label *labels, uint64_t value);
/* The same, as seconds of a number of microseconds. */
void exposition_seconds(struct exposition *e, const char *suffix,
                        const struct exposition_label *labels, uint64_t us);

/* { {"name", value}, {NULL} } in place. */
#define LABELS(...) ((const struct exposition_label[]){__VA_ARGS__, {NULL, NULL}})

#endif
