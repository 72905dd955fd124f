/*
 * Metadata as it streams in: a PartialObjectMetadata, or a list of them, read for names and versions alone.
 *
 * Annotations and managedFields come with it and are dropped byte by byte: the annotation that `kubectl apply`
 * leaves holds the whole object, a Secret's data included.
 */
#ifndef KUBEAPI_OBJECTS_H
#define KUBEAPI_OBJECTS_H

#include "kek/kubeapi.h"

struct objects;

/* on_object gets each item of a list; NULL: it is one object. NULL: no memory. */
struct objects *objects_new(kek_kubeapi_object_fn *on_object, void *arg);
void objects_free(struct objects *objects);
KEK_DEFINE_AUTO(objects);

/* A kek_remote_take_fn; arg is the objects. */
enum kek_rc objects_take(void *arg, struct kek_bytes piece, struct kek_why *why);

/* The end: fills what the call says of a page, or of one object. */
enum kek_rc objects_end(struct objects *objects, struct kek_kubeapi_call *call,
                        struct kek_why *why) KEK_MUST_CHECK;

#endif
