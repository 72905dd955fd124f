/* What was found, as JSON: the form that programs may build on. kekctl(1) describes every member. */
#include "inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
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

static bool has_several(const struct inventory *inventory)
{
    return inventory_keks_rules(&inventory->keks) != NULL;
}

/* NULL: it is left out where there is one root of trust. */
static json_t *root_json(const struct inventory *inventory, const struct inventory_kek *kek)
{
    return !has_several(inventory) ? NULL
           : kek == NULL           ? json_null()
                                   : json_string(inventory->keks.roots[kek->root].name);
}

static json_t *root_names_json(const struct inventory *inventory, unsigned roots)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < inventory->keks.root_count; i++) {
        if ((roots >> i & 1) != 0 &&
            json_array_append_new(list, json_string(inventory->keks.roots[i].name)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *version_json(const struct inventory *inventory, const struct inventory_kek *kek)
{
    char id[KEK_ID_TEXT];
    kek_id_format(&kek->id, id);
    return json_pack("{s:o*, s:I, s:s, s:s, s:b, s:I}", "root", root_json(inventory, kek),
                     "version", (json_int_t)kek->number, "kek_id", id, "state", kek->state,
                     "primary", inventory_kek_is_primary(&inventory->keks, &kek->id), "objects",
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
        for (size_t j = 0; j < cover->form.count; j++) {
            char id[KEK_ID_TEXT];
            kek_id_format(&cover->form.kek_ids[j], id);
            json_int_t objects = (json_int_t)tally_under(tally, &cover->form.kek_ids[j]);
            if (json_object_set_new(object, id, json_integer(objects)) != 0) {
                json_decref(object);
                return NULL;
            }
        }
    }
    return object;
}

static json_t *troubles_json(const struct inventory *inventory,
                             const uint64_t troubles[static TALLY_TROUBLES])
{
    json_t *object = json_object();
    size_t count = has_several(inventory) ? TALLY_TROUBLES : TALLY_FORM;
    for (size_t i = 0; object != NULL && i < count; i++) {
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
    for (size_t i = 0; list != NULL && i < cover->form.count; i++) {
        char id[KEK_ID_TEXT];
        const struct kek_id *kek_id = &cover->form.kek_ids[i];
        const struct inventory_kek *kek = inventory_kek_find(&inventory->keks, kek_id);
        kek_id_format(kek_id, id);
        json_t *item =
            json_pack("{s:o*, s:s, s:o, s:b}", "root", root_json(inventory, kek), "kek_id", id,
                      "version", kek == NULL ? json_null() : json_integer((json_int_t)kek->number),
                      "primary", inventory_kek_is_primary(&inventory->keks, kek_id));
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* What several roots of trust make of an envelope. */
static bool add_form(const struct inventory *inventory, const struct tally_cover *cover,
                     json_t *item)
{
    bool all = cover->form.mode == KEK_ENVELOPE_MODE_ALL, weak = tally_is_weak(cover);
    return json_object_set_new(item, "mode", json_string(all ? "all" : "any")) == 0 &&
           json_object_set_new(item, "refused", json_boolean(cover->refused)) == 0 &&
           json_object_set_new(item, "without",
                               root_names_json(inventory, weak ? cover->missing : 0)) == 0;
}

static json_t *under_json(const struct inventory *inventory, const struct tally *tally,
                          const struct tally_resource *resource)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < resource->count; i++) {
        const struct tally_cover *cover = &tally->covers[resource->counts[i].cover];
        json_t *item = json_pack("{s:s, s:o, s:b, s:o, s:I}", "kind",
                                 cover->rest ? "rest" : kek_kube_kind_name(cover->kind), "provider",
                                 output_text_of(cover->provider), "kekd", cover->is_kekd, "keks",
                                 kek_ids_json(inventory, cover), "objects",
                                 (json_int_t)resource->counts[i].objects);
        if (has_several(inventory) && cover->is_kekd && !add_form(inventory, cover, item)) {
            json_decref(item);
            item = NULL;
        }
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
                     troubles_json(inventory, resource->troubled), "under",
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

/* What each root of trust opens and does not open; NULL where there is one, too. */
static json_t *opened_by_json(const struct inventory *inventory, const struct opener_result *opened)
{
    json_t *list = has_several(inventory) ? json_array() : NULL;
    for (size_t i = 0; list != NULL && i < inventory->keks.root_count; i++) {
        json_t *item = json_pack("{s:s, s:I, s:I}", "root", inventory->keks.roots[i].name, "opens",
                                 (json_int_t)opened->roots[i].opens, "fails",
                                 (json_int_t)opened->roots[i].fails);
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *verify_json(const struct inventory *inventory, const struct inventory_etcd *etcd)
{
    if (etcd->opened == NULL) {
        return json_null();
    }
    size_t count = has_several(inventory) ? OPENING_OUTCOMES : OPENING_OF_ONE_ROOT;
    json_t *objects = json_object();
    for (size_t i = 0; objects != NULL && i < count; i++) {
        if (json_object_set_new(objects, opening_name((enum opening)i),
                                json_integer((json_int_t)etcd->opened->counts[i])) != 0) {
            json_decref(objects);
            return NULL;
        }
    }
    return objects == NULL
               ? NULL
               : json_pack("{s:I, s:o, s:o*}", "data_keys", (json_int_t)etcd->opened->data_keys,
                           "objects", objects, "roots", opened_by_json(inventory, etcd->opened));
}

static json_t *opened_json(const struct tally *tally)
{
    return tally == NULL || tally->file == NULL ? json_null()
                                                : json_integer((json_int_t)tally->opened);
}

static json_t *date_json(int64_t ms)
{
    char text[KEK_CLOCK_TEXT];
    return ms == 0 ? json_null() : json_string(kek_clock_text(ms, text));
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
                     date_json(etcd->begun.wall_ms), "ended", date_json(etcd->ended.wall_ms),
                     "restarts", (json_int_t)etcd->restarts, "recorded", etcd->recorded);
}

static json_t *etcd_json(const struct inventory *inventory, const struct inventory_etcd *etcd)
{
    static const uint64_t none[TALLY_TROUBLES];
    const struct tally *tally = etcd->complete ? etcd->tally : NULL;
    json_t *object = place_json(etcd);
    json_t *counts =
        json_pack("{s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "objects",
                  (json_int_t)(tally == NULL ? 0 : tally->objects), "unreadable",
                  (json_int_t)(tally == NULL ? 0 : tally_unreadable(tally)), "resources_cut",
                  tally != NULL && tally->resources_full, "by_kek", by_kek_json(tally), "troubles",
                  troubles_json(inventory, tally == NULL ? none : tally->troubles), "contexts",
                  contexts_json(etcd), "resources", resources_json(inventory, tally), "named",
                  named_json(etcd), "verify", verify_json(inventory, etcd), "opened_by_file",
                  opened_json(tally));
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
            for (size_t j = 0; j < tally->covers[c].form.count; j++) {
                const struct kek_id *id = &tally->covers[c].form.kek_ids[j];
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

static json_t *primary_json(const struct inventory *inventory, const struct inventory_root *root)
{
    if (root->primary_source == NULL) {
        return json_null();
    }
    char id[KEK_ID_TEXT];
    const struct inventory_kek *kek = inventory_kek_find(&inventory->keks, &root->primary);
    kek_id_format(&root->primary, id);
    return json_pack("{s:o, s:s, s:s}", "version",
                     kek == NULL ? json_null() : json_integer((json_int_t)kek->number), "kek_id",
                     id, "known_from", root->primary_source);
}

static json_t *source_json(const struct inventory_root *root)
{
    return root->source == NULL ? json_null() : json_string(root->source);
}

/* Each root of trust has its own primary; NULL where there is one. */
static json_t *roots_json(const struct inventory *inventory)
{
    json_t *list = has_several(inventory) ? json_array() : NULL;
    for (size_t i = 0; list != NULL && i < inventory->keks.root_count; i++) {
        const struct inventory_root *root = &inventory->keks.roots[i];
        json_t *item = json_pack(
            "{s:s, s:s, s:b, s:o, s:o, s:I}", "root", root->name, "keyring", root->keyring, "seals",
            root->seals, "primary", primary_json(inventory, root), "versions_known_from",
            source_json(root), "missing_from", (json_int_t)inventory_weak(inventory, 1u << i));
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *inventory_json(const struct inventory *inventory)
{
    static const struct inventory_root none = {.name = ""};
    const struct inventory_root *only =
        inventory->keks.root_count == 1 ? &inventory->keks.roots[0] : &none;
    json_t *under_protected =
        has_several(inventory) ? json_integer((json_int_t)inventory_weak(inventory, ~0u)) : NULL;
    return json_pack(
        "{s:o, s:b, s:o, s:b, s:o, s:o*, s:o*, s:o, s:o, s:o, s:o}", "keyring",
        inventory->config == NULL ? json_null() : json_string(inventory->config->keyring),
        "complete", inventory->complete, "state",
        inventory->state_known ? json_string(inventory_state_name(inventory->state)) : json_null(),
        "good", inventory->good, "primary", primary_json(inventory, only), "roots",
        roots_json(inventory), "under_protected", under_protected, "versions",
        versions_json(inventory), "versions_known_from", source_json(only), "foreign_keks",
        foreign_json(inventory), "etcds", etcds_json(inventory));
}
