#include "inventory_tally.h"

#include <stdio.h>
#include <string.h>

#include "kek/keyring.h"
#include "kek/text.h"

#define PROVIDER_MAX \
    256        /* bytes of a key's or plugin's name; the API server has no limit of its own */
#define REST 0 /* the place of what found no room */

static const char *const trouble_names[] = {"malformed", "unknown-prefix", "key-id",
                                            "other-context"};
_Static_assert(sizeof trouble_names / sizeof trouble_names[0] == TALLY_TROUBLES, "a name for each");

const char *tally_trouble_name(enum tally_trouble trouble)
{
    return trouble_names[trouble];
}

/* Fit to print, and cut. */
static void print_bytes(struct kek_bytes bytes, char text[static TALLY_TEXT])
{
    size_t len = bytes.len < TALLY_TEXT - 1 ? bytes.len : TALLY_TEXT - 1;
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)(bytes.data[i] == '\0' ? '?' : bytes.data[i]);
    }
    text[len] = '\0';
    kek_text_clean(text);
}

/* An own copy; len 0 needs none. False: no memory. */
static bool copy_bytes(struct kek_bytes bytes, struct kek_bytes *copy)
{
    *copy = kek_bytes(NULL, 0);
    uint8_t *data = bytes.len == 0 ? NULL : malloc(bytes.len);
    if (bytes.len > 0 && data == NULL) {
        return false;
    }
    if (bytes.len > 0) {
        memcpy(data, bytes.data, bytes.len);
    }
    *copy = kek_bytes(data, bytes.len);
    return true;
}

static void free_bytes(struct kek_bytes bytes)
{
    free((void *)(uintptr_t)bytes.data);
}

struct tally *tally_new(struct kek_bytes prefix, const char *const *contexts, size_t count,
                        size_t own)
{
    KEK_AUTO(tally) tally = calloc(1, sizeof *tally);
    if (tally == NULL) {
        return NULL;
    }
    tally->prefix = prefix;
    tally->contexts = contexts;
    tally->context_count = count < TALLY_CONTEXTS_MAX ? count : TALLY_CONTEXTS_MAX;
    tally->own_count = own;
    tally->covers = calloc(TALLY_COVERS_MAX, sizeof *tally->covers);
    tally->resources = calloc(TALLY_RESOURCES_MAX, sizeof *tally->resources);
    if (tally->covers == NULL || tally->resources == NULL) {
        return NULL;
    }
    tally->covers[REST] = (struct tally_cover){.kind = KEK_KUBE_UNKNOWN, .rest = true};
    tally->cover_count = tally->resource_count = 1;
    return KEK_STEAL(tally);
}

void tally_free(struct tally *tally)
{
    if (tally == NULL) {
        return;
    }
    for (size_t i = 0; i < tally->cover_count; i++) {
        free_bytes(tally->covers[i].provider);
        for (size_t j = 0; j < TALLY_CONTEXTS_MAX; j++) {
            free(tally->covers[i].key_ids[j]);
        }
    }
    for (size_t i = 0; i < tally->resource_count; i++) {
        free_bytes(tally->resources[i].raw);
        free(tally->resources[i].counts);
    }
    for (size_t i = 0; i < TALLY_TROUBLES; i++) {
        free(tally->named[i]);
    }
    free(tally->covers);
    free(tally->resources);
    free(tally);
}

/* Resources. */

static bool is_resource(const struct tally_resource *resource, const struct kek_kube_name *name)
{
    size_t head = name->resource.len, tail = name->group.len;
    const uint8_t *raw = resource->raw.data;
    return resource->raw.len == head + (tail > 0 ? 1 + tail : 0) && raw != NULL &&
           memcmp(raw, name->resource.data, head) == 0 &&
           (tail == 0 || (raw[head] == '.' && memcmp(raw + head + 1, name->group.data, tail) == 0));
}

static enum kek_rc add_resource(struct tally *tally, const struct kek_kube_name *name,
                                struct kek_why *why)
{
    char text[TALLY_TEXT];
    size_t len = kek_kube_resource(name, text, sizeof text);
    if (tally->resource_count == TALLY_RESOURCES_MAX || len >= sizeof text) {
        tally->resources_full = true;
        tally->last_resource = REST;
        return KEK_OK;
    }
    struct tally_resource *resource = &tally->resources[tally->resource_count];
    uint8_t *raw = malloc(len);
    if (raw == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to count resources");
    }
    /* Not from `text`, which a NUL would have cut. */
    memcpy(raw, name->resource.data, name->resource.len);
    if (name->group.len > 0) {
        raw[name->resource.len] = '.';
        memcpy(raw + name->resource.len + 1, name->group.data, name->group.len);
    }
    resource->raw = kek_bytes(raw, len);
    print_bytes(resource->raw, resource->name);
    resource->never_encrypted = name->never_encrypted;
    tally->last_resource = tally->resource_count++;
    return KEK_OK;
}

/* Keys come in order, so nearly each one has the resource of the one before. */
static enum kek_rc find_resource(struct tally *tally, const struct kek_kube_name *name,
                                 struct kek_why *why)
{
    if (is_resource(&tally->resources[tally->last_resource], name)) {
        return KEK_OK;
    }
    for (size_t i = 1; i < tally->resource_count; i++) {
        if (is_resource(&tally->resources[i], name)) {
            tally->last_resource = i;
            return KEK_OK;
        }
    }
    return add_resource(tally, name, why);
}

/* Covers. */

static bool is_cover(const struct tally_cover *cover, const struct kek_kube_stored *stored)
{
    const struct kek_envelope *envelope = &stored->envelope;
    if (cover->rest || cover->kind != stored->kind || cover->is_kekd != stored->is_kekd ||
        !kek_bytes_equal(cover->provider, stored->provider)) {
        return false;
    }
    if (!cover->is_kekd) {
        return true;
    }
    bool same = cover->mode == envelope->mode && cover->count == envelope->count;
    for (size_t i = 0; same && i < cover->count; i++) {
        same = kek_id_equal(&cover->kek_ids[i], &envelope->entries[i].kek_id);
    }
    return same;
}

static enum kek_rc add_cover(struct tally *tally, const struct kek_kube_stored *stored,
                             struct kek_why *why)
{
    if (tally->cover_count == TALLY_COVERS_MAX || stored->provider.len >= PROVIDER_MAX) {
        tally->last_cover = REST;
        return KEK_OK;
    }
    struct tally_cover *cover = &tally->covers[tally->cover_count];
    if (!copy_bytes(stored->provider, &cover->provider)) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to count providers");
    }
    cover->kind = stored->kind;
    cover->is_kekd = stored->is_kekd;
    if (stored->is_kekd) {
        cover->mode = stored->envelope.mode;
        cover->count = stored->envelope.count;
        for (size_t i = 0; i < cover->count; i++) {
            cover->kek_ids[i] = stored->envelope.entries[i].kek_id;
        }
    }
    tally->last_cover = tally->cover_count++;
    return KEK_OK;
}

static enum kek_rc find_cover(struct tally *tally, const struct kek_kube_stored *stored,
                              struct kek_why *why)
{
    if (is_cover(&tally->covers[tally->last_cover], stored)) {
        return KEK_OK;
    }
    for (size_t i = 1; i < tally->cover_count; i++) {
        if (is_cover(&tally->covers[i], stored)) {
            tally->last_cover = i;
            return KEK_OK;
        }
    }
    return add_cover(tally, stored, why);
}

static enum kek_rc count_one(struct tally *tally, struct kek_why *why)
{
    struct tally_resource *resource = &tally->resources[tally->last_resource];
    uint32_t cover = (uint32_t)tally->last_cover;
    size_t i = 0;
    while (i < resource->count && resource->counts[i].cover != cover) {
        i++;
    }
    if (i == resource->room) {
        size_t room = resource->room == 0 ? 4 : 2 * resource->room;
        struct tally_count *counts = realloc(resource->counts, room * sizeof *counts);
        if (counts == NULL) {
            return kek_fail(why, KEK_NO_MEMORY, "no memory to count objects");
        }
        resource->counts = counts;
        resource->room = room;
    }
    if (i == resource->count) {
        resource->counts[i] = (struct tally_count){.cover = cover};
        resource->count++;
    }
    resource->counts[i].objects++;
    resource->objects++;
    tally->covers[cover].objects++;
    tally->objects++;
    return KEK_OK;
}

/* Trouble. */

void tally_name(struct tally_named *named, const struct kek_kube_name *name, struct kek_bytes key,
                const char *what)
{
    *named = (struct tally_named){.resource = ""};
    if (name == NULL) {
        print_bytes(key, named->name); /* the whole key */
    } else {
        (void)kek_kube_resource(name, named->resource, sizeof named->resource);
        kek_text_clean(named->resource);
        print_bytes(name->ns, named->ns);
        print_bytes(name->name, named->name);
    }
    kek_text_copy(named->why, sizeof named->why, what);
}

static enum kek_rc note(struct tally *tally, enum tally_trouble trouble,
                        const struct kek_kube_name *name, struct kek_bytes key, const char *what,
                        struct kek_why *why)
{
    struct tally_resource *resource = &tally->resources[tally->last_resource];
    resource->troubled[trouble]++;
    tally->troubles[trouble]++;
    if (tally->named[trouble] == NULL) {
        tally->named[trouble] = calloc(TALLY_NAMED_MAX, sizeof *tally->named[trouble]);
        if (tally->named[trouble] == NULL) {
            return kek_fail(why, KEK_NO_MEMORY, "no memory to name objects");
        }
    }
    if (tally->named_count[trouble] == TALLY_NAMED_MAX) {
        return KEK_OK;
    }
    tally_name(&tally->named[trouble][tally->named_count[trouble]++], name, key, what);
    return KEK_OK;
}

/* The key_id that this cover has in a context; NULL: no memory. */
static const char *key_id_in(struct tally *tally, struct tally_cover *cover, size_t context)
{
    if (cover->key_ids[context] == NULL) {
        char *text = malloc(KEK_KEY_ID_TEXT);
        if (text != NULL && kek_key_id(kek_bytes_of(tally->contexts[context]), cover->mode,
                                       cover->kek_ids, cover->count, text, NULL) != KEK_OK) {
            free(text);
            text = NULL;
        }
        cover->key_ids[context] = text;
    }
    return cover->key_ids[context];
}

/* In which context it follows; SIZE_MAX - 1: in none; SIZE_MAX: no memory. */
#define IN_NONE (SIZE_MAX - 1)
static size_t find_context(struct tally *tally, struct tally_cover *cover, struct kek_bytes key_id)
{
    for (size_t i = 0; i < tally->context_count; i++) {
        const char *text = key_id_in(tally, cover, i);
        if (text == NULL) {
            return SIZE_MAX;
        }
        if (key_id.len == KEK_KEY_ID_TEXT - 1 && memcmp(key_id.data, text, key_id.len) == 0) {
            return i;
        }
    }
    return IN_NONE;
}

static enum kek_rc check_key_id(struct tally *tally, const struct kek_kube_stored *stored,
                                const struct kek_kube_name *name, struct kek_bytes key,
                                struct kek_why *why)
{
    struct tally_cover *cover = &tally->covers[tally->last_cover];
    char what[256], said[TALLY_TEXT];
    size_t context = find_context(tally, cover, stored->key_id);
    if (context == SIZE_MAX) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to work out a key_id");
    }
    if (context == IN_NONE) {
        print_bytes(stored->key_id, said);
        snprintf(what, sizeof what, "beside it stands key_id %.80s, and of its KEK it is %s", said,
                 cover->key_ids[0]);
        return note(tally, TALLY_KEY_ID, name, key, what, why);
    }
    cover->by_context[context]++;
    if (context >= tally->own_count) {
        snprintf(what, sizeof what, "its key_id is that of context \"%.180s\"",
                 tally->contexts[context]);
        return note(tally, TALLY_CONTEXT, name, key, what, why);
    }
    return KEK_OK;
}

#define MAGIC_LEN 4
#define SOURCE_MAX 1024 /* bytes of an envelope that is looked at for what it may have been */

/* Is it an envelope but for the bytes by which one is known? */
static bool is_envelope_beyond_magic(struct kek_bytes source)
{
    static const uint8_t magic[MAGIC_LEN] = {'K', 'E', 'K', 1};
    uint8_t whole[SOURCE_MAX];
    struct kek_envelope envelope;
    struct kek_why why;
    if (source.len <= MAGIC_LEN || source.len > sizeof whole) {
        return false;
    }
    memcpy(whole, magic, MAGIC_LEN);
    memcpy(whole + MAGIC_LEN, source.data + MAGIC_LEN, source.len - MAGIC_LEN);
    return kek_envelope_parse(kek_bytes(whole, source.len), &envelope, &why) == KEK_OK;
}

/* A later kekd may write another format, and a byte of this one may have been changed: which KEK it needs nobody here can
 * say, but no other plugin begins so, or goes on so. */
static bool is_of_later_kekd(const struct kek_kube_stored *stored)
{
    static const char name[] = "KEK";
    return !stored->is_kekd && ((stored->source.len > sizeof name - 1 &&
                                 memcmp(stored->source.data, name, sizeof name - 1) == 0) ||
                                is_envelope_beyond_magic(stored->source));
}

/* Does nobody know whether it needs a KEK, or which? */
static bool is_unreadable(const struct tally *tally, const struct kek_kube_stored *stored,
                          bool damaged)
{
    bool kms = stored->kind == KEK_KUBE_KMS_V1 || stored->kind == KEK_KUBE_KMS_V2;
    return tally->last_cover == REST || stored->kind == KEK_KUBE_UNKNOWN ||
           (kms && !stored->is_kekd && (damaged || stored->ambiguous)) || is_of_later_kekd(stored);
}

/* What is wrong with it is looked at once it is counted. */
static enum kek_rc look_at(struct tally *tally, const struct kek_kube_stored *stored,
                           const struct kek_kube_name *name, struct kek_bytes key,
                           const char *damage, struct kek_why *why)
{
    bool unreadable = is_unreadable(tally, stored, damage != NULL);
    tally->unreadable += unreadable ? 1 : 0;
    tally->covers[tally->last_cover].readable += unreadable ? 0 : 1;
    if (damage != NULL) {
        return note(tally, TALLY_MALFORMED, name, key, damage, why);
    }
    if (stored->kind == KEK_KUBE_UNKNOWN) {
        char what[TALLY_TEXT], text[TALLY_TEXT + 32];
        print_bytes(stored->provider, what);
        snprintf(text, sizeof text, "it begins with k8s:enc:%s", what);
        return note(tally, TALLY_UNKNOWN, name, key, text, why);
    }
    if (is_of_later_kekd(stored)) {
        return note(tally, TALLY_UNKNOWN, name, key,
                    "its envelope is kekd's, damaged or in a format that this kekctl does not know",
                    why);
    }
    if (stored->kind == KEK_KUBE_KMS_V2 && stored->is_kekd && tally->last_cover != REST &&
        tally->context_count > 0) {
        return check_key_id(tally, stored, name, key, why);
    }
    return KEK_OK;
}

enum kek_rc tally_take(struct tally *tally, struct kek_bytes key, struct kek_bytes value,
                       struct kek_why *why)
{
    struct kek_kube_stored stored;
    struct kek_kube_name name;
    struct kek_why damage;
    enum kek_rc parsed = kek_kube_parse(value, &stored, &damage);
    bool named = kek_kube_name(key, tally->prefix, &name);
    enum kek_rc rc = KEK_OK;
    if (named) {
        rc = find_resource(tally, &name, why);
    } else {
        tally->last_resource = REST;
    }
    if (rc == KEK_OK) {
        rc = find_cover(tally, &stored, why);
    }
    if (rc == KEK_OK) {
        rc = count_one(tally, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    return look_at(tally, &stored, named ? &name : NULL, key, parsed == KEK_OK ? NULL : damage.text,
                   why);
}

/* Another plugin's objects, by its name, beside a kekd's under that very name. */
static bool shares_name(const struct tally *tally, const struct tally_cover *cover)
{
    bool kms = cover->kind == KEK_KUBE_KMS_V1 || cover->kind == KEK_KUBE_KMS_V2;
    for (size_t i = 0; kms && !cover->is_kekd && i < tally->cover_count; i++) {
        if (tally->covers[i].is_kekd &&
            kek_bytes_equal(tally->covers[i].provider, cover->provider)) {
            return true;
        }
    }
    return false;
}

uint64_t tally_unreadable(const struct tally *tally)
{
    uint64_t objects = tally->unreadable;
    for (size_t i = 0; i < tally->cover_count; i++) {
        objects += shares_name(tally, &tally->covers[i]) ? tally->covers[i].readable : 0;
    }
    return objects;
}

struct tally_resource *tally_find(struct tally *tally, const struct kek_kube_name *name)
{
    for (size_t i = 1; i < tally->resource_count; i++) {
        if (is_resource(&tally->resources[i], name)) {
            return &tally->resources[i];
        }
    }
    return NULL;
}

uint64_t tally_under(const struct tally *tally, const struct kek_id *kek)
{
    uint64_t objects = 0;
    for (size_t i = 0; i < tally->cover_count; i++) {
        const struct tally_cover *cover = &tally->covers[i];
        bool needs = false;
        for (size_t j = 0; j < cover->count; j++) {
            needs = needs || kek_id_equal(&cover->kek_ids[j], kek);
        }
        objects += needs ? cover->objects : 0;
    }
    return objects;
}
