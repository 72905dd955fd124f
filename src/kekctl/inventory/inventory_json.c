/* What was found, as JSON: the form that programs may build on. kekctl(1) describes every member. */
#include "inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kekctl/output.h"

/* What several etcds hold of one KEK. */
static uint64_t objects_under(const struct inventory *inventory, const struct kek_id *id)
{
    uint64_t objects = 0;
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        const struct tally *tally = inventory->etcds[i].tally;
        objects += tally == NULL ? 0 : tally_under(tally, id);
    }
    return objects;
}

static bool is_primary(const struct inventory *inventory, const struct kek_id *id)
{
    return inventory->keks.primary_source != NULL && kek_id_equal(&inventory->keks.primary, id);
}

static json_t *version_json(const struct inventory *inventory, const struct inventory_kek *kek)
{
    char id[KEK_ID_TEXT];
    kek_id_format(&kek->id, id);
    return json_pack("{s:I, s:s, s:s, s:b, s:I}", "version", (json_int_t)kek->number, "kek_id", id,
                     "state", kek->state, "primary", is_primary(inventory, &kek->id), "objects",
                     (json_int_t)objects_under(inventory, &kek->id));
}

static json_t *versions_json(const struct inventory *inventory)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < inventory->keks.count; i++) {
        if (json_array_append_new(list, version_json(inventory, &inventory->keks.list[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* Each KEK once, by kek id, of one etcd. */
static json_t *by_kek_json(const struct tally *tally)
{
    json_t *object = json_object();
    for (size_t i = 0; object != NULL && tally != NULL && i < tally->cover_count; i++) {
        const struct tally_cover *cover = &tally->covers[i];
        for (size_t j = 0; j < cover->count; j++) {
            char id[KEK_ID_TEXT];
            kek_id_format(&cover->kek_ids[j], id);
            json_int_t objects = (json_int_t)tally_under(tally, &cover->kek_ids[j]);
            if (json_object_set_new(object, id, json_integer(objects)) != 0) {
                json_decref(object);
                return NULL;
            }
        }
    }
    return object;
}

static json_t *troubles_json(const uint64_t troubles[static TALLY_TROUBLES])
{
    json_t *object = json_object();
    for (size_t i = 0; object != NULL && i < TALLY_TROUBLES; i++) {
        if (json_object_set_new(object, tally_trouble_name((enum tally_trouble)i),
                                json_integer((json_int_t)troubles[i])) != 0) {
            json_decref(object);
            return NULL;
        }
    }
    return object;
}

static json_t *kek_ids_json(const struct inventory *inventory, const struct tally_cover *cover)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < cover->count; i++) {
        char id[KEK_ID_TEXT];
        const struct inventory_kek *kek = inventory_kek_find(&inventory->keks, &cover->kek_ids[i]);
        kek_id_format(&cover->kek_ids[i], id);
        json_t *item = json_pack("{s:s, s:o, s:b}", "kek_id", id, "version",
                                 kek == NULL ? json_null() : json_integer((json_int_t)kek->number),
                                 "primary", is_primary(inventory, &cover->kek_ids[i]));
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *provider_text(const struct tally_cover *cover)
{
    json_t *text = json_stringn((const char *)cover->provider.data, cover->provider.len);
    return cover->provider.len == 0 ? json_string("")
           : text != NULL           ? text
                                    : json_string("(not UTF-8)");
}

static json_t *under_json(const struct inventory *inventory, const struct tally *tally,
                          const struct tally_resource *resource)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < resource->count; i++) {
        const struct tally_cover *cover = &tally->covers[resource->counts[i].cover];
        json_t *item = json_pack("{s:s, s:o, s:b, s:o, s:I}", "kind",
                                 cover->rest ? "rest" : kek_kube_kind_name(cover->kind), "provider",
                                 provider_text(cover), "kekd", cover->is_kekd, "keks",
                                 kek_ids_json(inventory, cover), "objects",
                                 (json_int_t)resource->counts[i].objects);
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *wish_json(const struct inventory_wanted *wanted)
{
    char text[TALLY_TEXT];
    switch (wanted->wish) {
    case WISH_KEKD:
        return json_string("kekd");
    case WISH_PROVIDER:
        snprintf(text, sizeof text, "%s %s", kek_kube_kind_name(wanted->kind), wanted->provider);
        return output_text(text);
    case WISH_PLAIN:
        return json_string("plain");
    case WISH_NOTHING:
    default:
        return json_null();
    }
}

static json_t *resource_json(const struct inventory *inventory, const struct tally *tally,
                             const struct tally_resource *resource)
{
    const struct inventory_wanted wanted = wanted_of(&inventory->scope, resource->name);
    enum inventory_state state;
    bool judged = inventory_judge_resource(inventory, tally, resource, &state);
    return json_pack("{s:o, s:o, s:o, s:I, s:I, s:I, s:o, s:o}", "resource",
                     output_text(resource->name), "wanted", wish_json(&wanted), "state",
                     judged ? json_string(inventory_state_name(state)) : json_null(), "objects",
                     (json_int_t)resource->objects, "lost", (json_int_t)resource->lost, "unread",
                     (json_int_t)wanted_unread(&inventory->scope, tally, resource), "troubles",
                     troubles_json(resource->troubled), "under",
                     under_json(inventory, tally, resource));
}

static json_t *resources_json(const struct inventory *inventory, const struct tally *tally)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && tally != NULL && i < tally->resource_count; i++) {
        const struct tally_resource *resource = &tally->resources[i];
        if (resource->objects > 0 &&
            json_array_append_new(list, resource_json(inventory, tally, resource)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static bool add_named(json_t *list, const char *trouble, const struct tally_named *named)
{
    return json_array_append_new(list,
                                 json_pack("{s:s, s:o, s:o, s:o, s:o}", "trouble", trouble,
                                           "resource", output_text(named->resource), "namespace",
                                           output_text(named->ns), "name", output_text(named->name),
                                           "why", output_text(named->why))) == 0;
}

static json_t *named_json(const struct inventory_etcd *etcd)
{
    json_t *list = json_array();
    bool whole = list != NULL;
    for (size_t t = 0; whole && etcd->complete && t < TALLY_TROUBLES; t++) {
        for (size_t i = 0; whole && i < etcd->tally->named_count[t]; i++) {
            whole = add_named(list, tally_trouble_name((enum tally_trouble)t),
                              &etcd->tally->named[t][i]);
        }
    }
    for (size_t i = 0; whole && etcd->opened != NULL && i < etcd->opened->named_count; i++) {
        const struct opener_named *named = &etcd->opened->named[i];
        whole = add_named(list, opening_name(named->opening), &named->place);
    }
    if (!whole) {
        json_decref(list);
        return NULL;
    }
    return list;
}

static json_t *contexts_json(const struct inventory_etcd *etcd)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && etcd->complete && i < etcd->context_count; i++) {
        uint64_t objects = 0;
        for (size_t c = 0; c < etcd->tally->cover_count; c++) {
            objects += etcd->tally->covers[c].by_context[i];
        }
        json_t *item = json_pack("{s:o, s:b, s:I}", "context", output_text(etcd->contexts[i]),
                                 "own", i < etcd->own_count, "objects", (json_int_t)objects);
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *verify_json(const struct inventory_etcd *etcd)
{
    if (etcd->opened == NULL) {
        return json_null();
    }
    json_t *objects = json_object();
    for (size_t i = 0; objects != NULL && i < OPENING_OUTCOMES; i++) {
        if (json_object_set_new(objects, opening_name((enum opening)i),
                                json_integer((json_int_t)etcd->opened->counts[i])) != 0) {
            json_decref(objects);
            return NULL;
        }
    }
    return objects == NULL ? NULL
                           : json_pack("{s:I, s:o}", "data_keys",
                                       (json_int_t)etcd->opened->data_keys, "objects", objects);
}

static json_t *date_json(int64_t ms)
{
    char seconds[24], text[32];
    time_t whole = (time_t)(ms / 1000);
    struct tm utc;
    if (ms == 0) {
        return json_null();
    }
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", gmtime_r(&whole, &utc));
    snprintf(text, sizeof text, "%s.%03dZ", seconds, (int)(ms % 1000));
    return json_string(text);
}

/* What is known of an etcd whether it could be read or not. */
static json_t *place_json(const struct inventory_etcd *etcd)
{
    char cluster[17] = "";
    if (etcd->cluster_id != 0) {
        snprintf(cluster, sizeof cluster, "%016" PRIx64, etcd->cluster_id);
    }
    return json_pack("{s:s, s:b, s:o, s:o, s:o, s:b, s:o, s:s, s:I, s:o, s:o, s:I, s:b}", "name",
                     etcd->settings.name, "configured", etcd->configured, "snapshot",
                     etcd->snapshot == NULL ? json_null() : output_text(etcd->snapshot), "prefix",
                     output_text(etcd->prefix), "context",
                     etcd->context == NULL ? json_null() : output_text(etcd->context), "complete",
                     etcd->complete, "error",
                     output_text(etcd->why.rc == KEK_OK ? "" : etcd->why.text), "cluster_id",
                     cluster, "revision", (json_int_t)etcd->revision, "begun",
                     date_json(etcd->begun_ms), "ended", date_json(etcd->ended_ms), "restarts",
                     (json_int_t)etcd->restarts, "recorded", etcd->recorded);
}

static json_t *etcd_json(const struct inventory *inventory, const struct inventory_etcd *etcd)
{
    static const uint64_t none[TALLY_TROUBLES];
    const struct tally *tally = etcd->complete ? etcd->tally : NULL;
    json_t *object = place_json(etcd);
    json_t *counts =
        json_pack("{s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o}", "objects",
                  (json_int_t)(tally == NULL ? 0 : tally->objects), "unreadable",
                  (json_int_t)(tally == NULL ? 0 : tally_unreadable(tally)), "resources_cut",
                  tally != NULL && tally->resources_full, "by_kek", by_kek_json(tally), "troubles",
                  troubles_json(tally == NULL ? none : tally->troubles), "contexts",
                  contexts_json(etcd), "resources", resources_json(inventory, tally), "named",
                  named_json(etcd), "verify", verify_json(etcd));
    bool whole = object != NULL && counts != NULL && json_object_update(object, counts) == 0;
    json_decref(counts);
    if (!whole) {
        json_decref(object);
        return NULL;
    }
    return object;
}

static json_t *etcds_json(const struct inventory *inventory)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < inventory->etcd_count; i++) {
        if (json_array_append_new(list, etcd_json(inventory, &inventory->etcds[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* KEKs that objects are under and that are no version of this keyring, as far as is known. */
static json_t *foreign_json(const struct inventory *inventory)
{
    json_t *object = json_object();
    for (size_t i = 0; object != NULL && i < inventory->etcd_count; i++) {
        const struct tally *tally = inventory->etcds[i].tally;
        for (size_t c = 0; tally != NULL && c < tally->cover_count; c++) {
            for (size_t j = 0; j < tally->covers[c].count; j++) {
                const struct kek_id *id = &tally->covers[c].kek_ids[j];
                char text[KEK_ID_TEXT];
                kek_id_format(id, text);
                if (inventory_kek_find(&inventory->keks, id) == NULL &&
                    json_object_set_new(object, text,
                                        json_integer((json_int_t)objects_under(inventory, id))) !=
                        0) {
                    json_decref(object);
                    return NULL;
                }
            }
        }
    }
    return object;
}

static json_t *primary_json(const struct inventory *inventory)
{
    const struct inventory_keks *keks = &inventory->keks;
    if (keks->primary_source == NULL) {
        return json_null();
    }
    char id[KEK_ID_TEXT];
    const struct inventory_kek *kek = inventory_kek_find(keks, &keks->primary);
    kek_id_format(&keks->primary, id);
    return json_pack("{s:o, s:s, s:s}", "version",
                     kek == NULL ? json_null() : json_integer((json_int_t)kek->number), "kek_id",
                     id, "known_from", keks->primary_source);
}

json_t *inventory_json(const struct inventory *inventory)
{
    const struct inventory_keks *keks = &inventory->keks;
    return json_pack(
        "{s:o, s:b, s:o, s:b, s:o, s:o, s:o, s:o, s:o}", "keyring",
        inventory->config == NULL ? json_null() : json_string(inventory->config->keyring),
        "complete", inventory->complete, "state",
        inventory->complete ? json_string(inventory_state_name(inventory->state)) : json_null(),
        "good", inventory->good, "primary", primary_json(inventory), "versions",
        versions_json(inventory), "versions_known_from",
        keks->source == NULL ? json_null() : json_string(keks->source), "foreign_keks",
        foreign_json(inventory), "etcds", etcds_json(inventory));
}
