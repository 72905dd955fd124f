#include "objects.h"

#include <string.h>

#include "kek/text.h"
#include "scan.h"

#define LIST_KIND "PartialObjectMetadataList"
#define ONE_KIND "PartialObjectMetadata"

struct objects {
    struct scan *scan;
    kek_kubeapi_object_fn *on_object;
    void *arg;
    struct kek_kubeapi_object object; /* being read */
    bool is_short;                    /* a name did not fit: it is none of Kubernetes' */
    char version[64];                 /* of the list */
    char *continue_;
    uint64_t remaining;
    size_t count;
    bool is_kind;
};

static bool is(const char (*keys)[SCAN_KEY_MAX], size_t at, const char *key)
{
    return strcmp(keys[at], key) == 0;
}

static void copy(struct objects *objects, char *out, size_t size, const char *value)
{
    size_t len = strlen(value);
    objects->is_short = objects->is_short || len >= size;
    if (len < size) {
        memcpy(out, value, len + 1);
    }
}

static void take_metadata(struct objects *objects, const char *key, const char *value)
{
    struct kek_kubeapi_object *object = &objects->object;
    if (strcmp(key, "name") == 0) {
        copy(objects, object->name, sizeof object->name, value);
    } else if (strcmp(key, "namespace") == 0) {
        copy(objects, object->space, sizeof object->space, value);
    } else if (strcmp(key, "uid") == 0) {
        copy(objects, object->uid, sizeof object->uid, value);
    } else if (strcmp(key, "resourceVersion") == 0) {
        copy(objects, object->resource_version, sizeof object->resource_version, value);
    }
}

static enum kek_rc take_list_metadata(struct objects *objects, const char *key, const char *value,
                                      struct kek_why *why)
{
    if (strcmp(key, "resourceVersion") == 0) {
        copy(objects, objects->version, sizeof objects->version, value);
    } else if (strcmp(key, "remainingItemCount") == 0) {
        (void)kek_text_decimal(value, UINT64_MAX, &objects->remaining);
    } else if (strcmp(key, "continue") == 0 && value[0] != '\0') {
        free(objects->continue_);
        objects->continue_ = strdup(value);
        return objects->continue_ != NULL
                   ? KEK_OK
                   : kek_fail(why, KEK_NO_MEMORY, "no memory for a list's place");
    }
    return KEK_OK;
}

/* Whoever ignores what is asked for would send the objects themselves. */
static enum kek_rc take_kind(struct objects *objects, const char *kind, struct kek_why *why)
{
    const char *expected = objects->on_object == NULL ? ONE_KIND : LIST_KIND;
    objects->is_kind = strcmp(kind, expected) == 0;
    return objects->is_kind ? KEK_OK
                            : kek_fail(why, KEK_UNIMPLEMENTED,
                                       "it does not give metadata alone (expected a %s, it "
                                       "sends a %.40s), and nothing else is taken",
                                       expected, kind);
}

/* Without its place a list would seem to end here. */
static enum kek_rc take_long(const struct objects *objects, const char (*keys)[SCAN_KEY_MAX],
                             size_t depth, struct kek_why *why)
{
    bool is_place = objects->on_object != NULL && depth == 2 && is(keys, 0, "metadata") &&
                    is(keys, 1, "continue");
    return is_place ? kek_fail(why, KEK_TOO_LARGE,
                               "the place at which the list goes on has more than %u bytes",
                               SCAN_VALUE_MAX)
                    : KEK_OK;
}

static enum kek_rc on_value(void *arg, const char (*keys)[SCAN_KEY_MAX], size_t depth,
                            const char *value, struct kek_why *why)
{
    struct objects *objects = arg;
    bool is_list = objects->on_object != NULL;
    if (value == NULL) {
        return take_long(objects, keys, depth, why);
    }
    if (depth == 1 && is(keys, 0, "kind")) {
        return take_kind(objects, value, why);
    }
    if (is_list && depth == 4 && is(keys, 0, "items") && is(keys, 1, "[]") &&
        is(keys, 2, "metadata")) {
        take_metadata(objects, keys[3], value);
    } else if (depth == 2 && is(keys, 0, "metadata")) {
        if (is_list) {
            return take_list_metadata(objects, keys[1], value, why);
        }
        take_metadata(objects, keys[1], value);
    }
    return KEK_OK;
}

static enum kek_rc check(const struct objects *objects, struct kek_why *why)
{
    if (objects->is_short || objects->object.name[0] == '\0' ||
        objects->object.resource_version[0] == '\0') {
        return kek_fail(why, KEK_INVALID,
                        "an object without a name or a resourceVersion, or with one that is too "
                        "long: this is no API server of Kubernetes");
    }
    return KEK_OK;
}

static enum kek_rc on_end(void *arg, const char (*keys)[SCAN_KEY_MAX], size_t depth,
                          struct kek_why *why)
{
    struct objects *objects = arg;
    if (objects->on_object == NULL || depth != 2 || !is(keys, 0, "items") || !is(keys, 1, "[]")) {
        return KEK_OK;
    }
    enum kek_rc rc = check(objects, why);
    if (rc == KEK_OK) {
        objects->count++;
        rc = objects->on_object(objects->arg, &objects->object, why);
    }
    objects->object = (struct kek_kubeapi_object){.name = ""};
    return rc;
}

struct objects *objects_new(kek_kubeapi_object_fn *on_object, void *arg)
{
    struct objects *objects = calloc(1, sizeof *objects);
    if (objects == NULL) {
        return NULL;
    }
    const struct scan_into into = {.value = on_value, .end = on_end, .arg = objects};
    objects->on_object = on_object;
    objects->arg = arg;
    objects->scan = scan_new(&into);
    if (objects->scan == NULL) {
        free(objects);
        return NULL;
    }
    return objects;
}

void objects_free(struct objects *objects)
{
    if (objects != NULL) {
        scan_free(objects->scan);
        free(objects->continue_);
        free(objects);
    }
}

enum kek_rc objects_take(void *arg, struct kek_bytes piece, struct kek_why *why)
{
    struct objects *objects = arg;
    return scan_feed(objects->scan, piece, why);
}

enum kek_rc objects_end(struct objects *objects, struct kek_kubeapi_call *call, struct kek_why *why)
{
    enum kek_rc rc = scan_end(objects->scan, why);
    if (rc == KEK_OK && !objects->is_kind) {
        rc = take_kind(objects, "thing without a kind", why);
    }
    if (rc == KEK_OK && objects->on_object == NULL) {
        rc = check(objects, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    call->object = objects->object;
    call->continue_ = KEK_STEAL(objects->continue_);
    call->remaining = objects->remaining;
    call->count = objects->count;
    memcpy(call->list_version, objects->version, sizeof call->list_version);
    return KEK_OK;
}
