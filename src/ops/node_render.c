/* The page of a node, from one snapshot. Pure. */
#include "kek/node_status.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kek/clock.h"
#include "kek/digest.h"
#include "kek/json.h"
#include "kek/text.h"

#define TEXT_MAX 1024 /* bytes of a text from outside */
#define HEX_TEXT KEK_SHA256_TEXT

/* The wall clock at a moment of the monotonic one. */
static int64_t wall_of(const struct kek_node_snapshot *s, uint64_t ms)
{
    return s->wall_ms - (int64_t)(s->now_ms - ms);
}

/* Whatever came from a token or a library becomes UTF-8. */
static json_t *safe_text(const char *text)
{
    char safe[TEXT_MAX];
    kek_text_copy(safe, sizeof safe, text);
    return json_string(safe);
}

static json_t *hex_id(const struct kek_id *kek_id)
{
    char text[KEK_ID_TEXT];
    kek_id_format(kek_id, text);
    return json_string(text);
}

/* null: it is not known. */
static json_t *date_or_null(int64_t wall_ms)
{
    char date[KEK_CLOCK_TEXT];
    return wall_ms == 0 ? json_null() : json_string(kek_clock_text(wall_ms, date));
}

/* A line for each KEK of what is announced. */
static json_t *keks_json(const struct kek_node_snapshot *s)
{
    const struct kek_generation *generation = &s->primary.generation;
    json_t *list = json_array();
    for (size_t k = 0; k < generation->count; k++) {
        const char *root =
            kek_keyring_root_of(s->versions, s->version_count, &generation->kek_ids[k]);
        json_t *item =
            json_pack("{s:s, s:I, s:o, s:o}", "root", root, "version",
                      (json_int_t)generation->numbers[k], "kek_id", hex_id(&generation->kek_ids[k]),
                      "announced_at", date_or_null(s->primary.each_announced_ms[k]));
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static json_t *primary_json(const struct kek_node_snapshot *s)
{
    char hash[KEK_KEY_ID_HASH_TEXT];
    const struct kek_generation *generation = &s->primary.generation;
    if (!s->announced) {
        return json_null();
    }
    kek_key_id_hash(generation->key_id, hash);
    return json_pack("{s:I, s:o, s:s, s:s, s:o, s:o}", "version",
                     (json_int_t)generation->numbers[0], "kek_id", hex_id(&generation->kek_ids[0]),
                     "key_id", generation->key_id, "key_id_hash", hash, "announced_at",
                     date_or_null(s->primary.announced_ms), "keks", keks_json(s));
}

/* A line for each KEK of each generation. */
static json_t *sealing_json(const struct kek_node_snapshot *s)
{
    json_t *list = json_array();
    for (size_t i = 0; i < s->sealing_count; i++) {
        const struct kek_generation *generation = &s->sealing[i];
        for (size_t k = 0; k < generation->count; k++) {
            json_t *item =
                json_pack("{s:I, s:o, s:s}", "version", (json_int_t)generation->numbers[k],
                          "kek_id", hex_id(&generation->kek_ids[k]), "key_id", generation->key_id);
            if (json_array_append_new(list, item) != 0) {
                json_decref(list);
                return NULL;
            }
        }
    }
    return list;
}

static json_t *date_json(const struct kek_node_snapshot *s, uint64_t ms)
{
    char date[KEK_CLOCK_TEXT];
    return ms == 0 ? json_null() : json_string(kek_clock_text(wall_of(s, ms), date));
}

/* When each provider last opened it, and which of them fail to. */
static json_t *canary_json(const struct kek_node_snapshot *s,
                           const struct kek_keyring_version *version)
{
    json_t *canaries = json_object();
    for (size_t p = 0; p < s->provider_count; p++) {
        json_t *canary =
            json_pack("{s:o, s:b}", "opened_at", date_json(s, version->canary[p].opened_ms),
                      "fails", version->canary[p].fails);
        if (json_object_set_new(canaries, s->config->providers[p].name, canary) != 0) {
            json_decref(canaries);
            return NULL;
        }
    }
    return canaries;
}

/* Under `since` and `ms`; null: it is not so. */
static json_t *lasting_json(const struct kek_keyring_lasting *lasting)
{
    char date[KEK_CLOCK_TEXT];
    return lasting->since_ms == 0
               ? json_null()
               : json_pack("{s:s, s:I}", "since", kek_clock_text(lasting->since_ms, date), "ms",
                           (json_int_t)lasting->ms);
}

static json_t *asked_json(const struct kek_keyring_history *history)
{
    return history->asked == 0 ? json_null()
                               : json_pack("{s:I, s:o}", "count", (json_int_t)history->asked,
                                           "last", date_or_null(history->asked_ms));
}

static json_t *destroyed_json(const struct kek_node_snapshot *s, size_t i)
{
    const struct kek_keyring_history *history = &s->destroyed[i];
    return json_pack("{s:I, s:o, s:o, s:o}", "version", (json_int_t)history->number, "kek_id",
                     hex_id(&history->kek_id), "seen", date_or_null(history->destroyed_ms),
                     "asked_for", asked_json(history));
}

static json_t *version_json(const struct kek_node_snapshot *s, size_t i)
{
    const struct kek_keyring_version *version = &s->versions[i];
    json_t *held = json_object(), *proven = json_array();
    bool good = held != NULL && proven != NULL;
    for (size_t p = 0; good && p < s->provider_count; p++) {
        const char *name = s->config->providers[p].name;
        const char *word = kek_keyring_key_name(version->held[p]);
        good = json_object_set_new(held, name, json_string(word)) == 0 &&
               (!version->proven[p] || json_array_append_new(proven, json_string(name)) == 0);
    }
    if (!good) {
        json_decref(held);
        json_decref(proven);
        return NULL;
    }
    const struct kek_keyring_history *history = &version->history;
    return json_pack("{s:s, s:I, s:o, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:b, s:o, s:o}",
                     "root", version->root == NULL ? "" : version->root, "version",
                     (json_int_t)version->number, "kek_id", hex_id(&version->kek_id), "key_id",
                     version->key_id, "state", kek_keyring_key_name(version->state), "providers",
                     held, "proven", proven, "inactive", lasting_json(&history->inactive),
                     "superseded", lasting_json(&history->superseded), "suspended",
                     lasting_json(&history->suspended), "asked_for", asked_json(history), "in_use",
                     version->in_use, "asked_at", date_json(s, version->asked_ms), "canary",
                     canary_json(s, version));
}

static json_t *remark_json(const struct kek_node_snapshot *s, size_t i)
{
    const struct kek_keyring_verdict *remark = &s->remarks[i];
    bool of_one = remark->provider < s->provider_count;
    return json_pack("{s:s, s:o, s:I, s:s?, s:o, s:o}", "reason",
                     kek_keyring_remark_name(remark->remark), "since",
                     date_json(s, remark->since_ms), "version", (json_int_t)remark->version,
                     "provider", of_one ? s->config->providers[remark->provider].name : NULL,
                     "what", safe_text(remark->what), "todo", safe_text(remark->todo));
}

static const char *root_of_provider(const struct kek_config *config, size_t provider)
{
    for (size_t r = 0; r < config->root_count; r++) {
        const struct kek_config_root *root = &config->roots[r];
        if (provider >= root->first_provider &&
            provider < root->first_provider + root->provider_count) {
            return root->name;
        }
    }
    return "";
}

static json_t *provider_json(const struct kek_node_snapshot *s, size_t i)
{
    const struct kek_pool_provider *provider = &s->providers[i];
    return json_pack("{s:s, s:s, s:o, s:o, s:b}", "root", root_of_provider(s->config, i), "name",
                     s->config->providers[i].name, "serial", safe_text(provider->serial), "label",
                     safe_text(provider->label), "answers", provider->workers_ready > 0);
}

typedef json_t *item_fn(const struct kek_node_snapshot *s, size_t i);

static json_t *list_json(const struct kek_node_snapshot *s, size_t count, item_fn *item)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        if (json_array_append_new(list, item(s, i)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* Only what it must have, and only if all of it is as it must be: whatever else is in the file, another node
 * sees a rotation or none. */
static json_t *rotation_json(const struct kek_node_snapshot *s)
{
    const char *node, *step, *kek_id, *since;
    json_int_t version = 0, pid = 0;
    if (s->rotation.len == 0 || s->rotation.len > KEK_NODE_ROTATION_MAX) {
        return json_null();
    }
    json_t *file =
        json_loadb((const char *)s->rotation.data, s->rotation.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *rotation = NULL;
    if (file != NULL &&
        json_unpack(file, "{s:s, s:s, s:I, s:s, s:s, s:I}", "node", &node, "step", &step, "version",
                    &version, "kek_id", &kek_id, "since", &since, "pid", &pid) == 0 &&
        version >= 1 && version <= UINT32_MAX && strlen(kek_id) == 2 * KEK_ID_LEN) {
        rotation = json_pack("{s:s, s:s, s:I, s:s, s:s, s:I}", "node", node, "step", step,
                             "version", version, "kek_id", kek_id, "since", since, "pid", pid);
    } else {
        rotation = json_null();
    }
    json_decref(file);
    return rotation;
}

/* Likewise, of what kekctl key destroy has under way, or did last. */
static json_t *destruction_json(const struct kek_node_snapshot *s)
{
    const char *node, *step, *kek_id, *since, *who;
    json_int_t version = 0;
    json_t *destruction = NULL;
    if (s->destroy.len == 0 || s->destroy.len > KEK_NODE_DESTROY_MAX) {
        return json_null();
    }
    json_t *file =
        json_loadb((const char *)s->destroy.data, s->destroy.len, JSON_REJECT_DUPLICATES, NULL);
    if (file != NULL &&
        json_unpack(file, "{s:s, s:{s:s, s:I, s:s, s:s, s:s}}", "node", &node, "now", "step", &step,
                    "version", &version, "kek_id", &kek_id, "since", &since, "who", &who) == 0 &&
        version >= 1 && version <= UINT32_MAX && strlen(kek_id) == 2 * KEK_ID_LEN) {
        destruction = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s}", "node", node, "step", step,
                                "version", version, "kek_id", kek_id, "since", since, "who", who);
    } else {
        destruction = json_null();
    }
    json_decref(file);
    return destruction;
}

static bool context_digest(const char *context, char hex[static HEX_TEXT])
{
    return kek_sha256_text(kek_bytes_of(context), hex);
}

/* Which etcds the configuration names; not by which endpoints, which each node has its own of. */
static json_t *etcd_json(const struct kek_node_snapshot *s, size_t i)
{
    const struct kek_config_etcd *etcd = &s->config->etcd[i];
    char context[HEX_TEXT];
    return context_digest(etcd->context, context)
               ? json_pack("{s:s, s:o, s:s}", "name", etcd->name, "prefix", safe_text(etcd->prefix),
                           "context_sha256", context)
               : NULL;
}

static json_t *page_json(const struct kek_node_snapshot *s)
{
    const struct kek_config *config = s->config;
    char now[KEK_CLOCK_TEXT], since[KEK_CLOCK_TEXT], context[HEX_TEXT];
    if (!context_digest(config->context, context)) {
        return NULL;
    }
    kek_clock_text(s->wall_ms, now);
    kek_clock_text(wall_of(s, s->verdict.since_ms), since);
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, "
        "s:o, "
        "s:o, "
        "s:I, "
        "s:I, s:I}",
        "node", config->status.name, "version", PACKAGE_VERSION, "keyring", config->keyring,
        "context_sha256", context, "config_sha256", config->digest, "now", now, "health",
        kek_keyring_state_name(s->verdict.state), "since", since, "what",
        safe_text(s->verdict.what), "todo", safe_text(s->verdict.todo), "remarks",
        list_json(s, s->remark_count, remark_json), "primary", primary_json(s), "sealing",
        sealing_json(s), "versions", list_json(s, s->version_count, version_json), "destroyed",
        list_json(s, s->destroyed_count, destroyed_json), "providers",
        list_json(s, s->provider_count, provider_json), "etcd",
        list_json(s, config->etcd_count, etcd_json), "rotation", rotation_json(s), "destruction",
        destruction_json(s), "settle_ms", (json_int_t)config->settle_ms, "refresh_ms",
        (json_int_t)config->refresh_ms, "max_age_ms", (json_int_t)config->data_key.max_age_ms);
}

static enum kek_rc no_memory(struct kek_why *why)
{
    return kek_fail(why, KEK_NO_MEMORY, "no memory for the node's status");
}

static enum kek_rc dump(const json_t *object, struct kek_buf *page, struct kek_why *why)
{
    KEK_AUTO_FREE char *text = kek_json_text(object, JSON_COMPACT);
    if (text == NULL) {
        return no_memory(why);
    }
    size_t len = strlen(text);
    text[len] = '\n'; /* in place of its NUL: both go into the page, or neither */
    return kek_buf_append(page, kek_bytes(text, len + 1), why);
}

enum kek_rc kek_node_render(const struct kek_node_snapshot *snapshot, struct kek_buf *page,
                            struct kek_why *why)
{
    json_t *object = page_json(snapshot);
    enum kek_rc rc = object == NULL ? no_memory(why) : dump(object, page, why);
    json_decref(object);
    return rc;
}
