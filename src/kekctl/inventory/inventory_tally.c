#include "inventory_tally.h"

#include <stdio.h>
#include <string.h>

#include "inventory_look.h"

#define PROVIDER_MAX \
    256 /* bytes of a key's or plugin's name; the API server has no limit of its own */

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
    tally->covers[TALLY_REST] = (struct tally_cover){.kind = KEK_KUBE_UNKNOWN, .rest = true};
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
        tally->last_resource = TALLY_REST;
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
    tally_text(resource->raw, resource->name);
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
    if (cover->rest || cover->kind != stored->kind || cover->is_kekd != stored->is_kekd ||
        !kek_bytes_equal(cover->provider, stored->provider)) {
        return false;
    }
    if (!cover->is_kekd) {
        return true;
    }
    const struct kek_root_form form = kek_root_form_of(&stored->envelope);
    return kek_root_form_equal(&cover->form, &form);
}

static void judge_form(const struct kek_root_rules *rules, struct tally_cover *cover)
{
    unsigned known = kek_root_rules_known(rules, &cover->form);
    cover->refused = kek_root_rules_check(rules, &cover->form, NULL) != KEK_OK;
    cover->unknown = (unsigned)cover->form.count - (unsigned)__builtin_popcount(known);
    for (size_t i = 0; i < rules->count; i++) {
        cover->missing |= rules->seals[i] ? ~known & 1u << i : 0;
    }
}

bool tally_is_weak(const struct tally_cover *cover)
{
    return !cover->refused && (unsigned)__builtin_popcount(cover->missing) > cover->unknown;
}

uint64_t tally_weak(const struct tally *tally, unsigned roots)
{
    uint64_t objects = 0;
    for (size_t i = 0; i < tally->cover_count; i++) {
        const struct tally_cover *cover = &tally->covers[i];
        objects += tally_is_weak(cover) && (cover->missing & roots) != 0 ? cover->objects : 0;
    }
    return objects;
}

static enum kek_rc add_cover(struct tally *tally, const struct kek_kube_stored *stored,
                             struct kek_why *why)
{
    if (tally->cover_count == TALLY_COVERS_MAX || stored->provider.len >= PROVIDER_MAX) {
        tally->last_cover = TALLY_REST;
        return KEK_OK;
    }
    struct tally_cover *cover = &tally->covers[tally->cover_count];
    if (!copy_bytes(stored->provider, &cover->provider)) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to count providers");
    }
    cover->kind = stored->kind;
    cover->is_kekd = stored->is_kekd;
    if (stored->is_kekd) {
        cover->form = kek_root_form_of(&stored->envelope);
    }
    if (stored->is_kekd && tally->rules != NULL) {
        judge_form(tally->rules, cover);
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
        tally->last_resource = TALLY_REST;
    }
    if (rc == KEK_OK && named && parsed == KEK_OK && tally->file != NULL) {
        kek_encryption_config_name(tally->file, tally->resources[tally->last_resource].name,
                                   &stored);
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
    return tally_look(tally, &stored, named ? &name : NULL, key, value,
                      parsed == KEK_OK ? NULL : damage.text, why);
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

uint64_t tally_strangers(const struct tally *tally, const struct tally_cover *cover)
{
    return shares_name(tally, cover) ? cover->readable : 0;
}

uint64_t tally_unreadable(const struct tally *tally)
{
    uint64_t objects = tally->unreadable;
    for (size_t i = 0; i < tally->cover_count; i++) {
        objects += tally_strangers(tally, &tally->covers[i]);
    }
    return objects;
}

bool tally_is_kubernetes(const struct tally *tally)
{
    bool has_custom = false, has_strange = false;
    for (size_t i = 1; i < tally->resource_count; i++) {
        bool custom;
        if (kek_kube_is_known(tally->resources[i].name, &custom)) {
            return true;
        }
        has_custom = has_custom || custom;
        has_strange = has_strange || !custom;
    }
    return has_custom && !has_strange;
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
        for (size_t j = 0; j < cover->form.count; j++) {
            needs = needs || kek_id_equal(&cover->form.kek_ids[j], kek);
        }
        objects += needs ? cover->objects : 0;
    }
    return objects;
}
