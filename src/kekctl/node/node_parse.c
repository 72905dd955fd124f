#include "node_parse.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

/* What is being read, and the first thing that was not as it must be. */
struct parse {
    struct node_status *status;
    const char *root;  /* "": any */
    const char *wrong; /* NULL: nothing. Static */
};

static void wrong(struct parse *parse, const char *what)
{
    parse->wrong = parse->wrong == NULL ? what : parse->wrong;
}

/* Is it about the root that is asked for?  A kekd before this one, and one without roots, name none. */
static bool is_of_root(const struct parse *parse, const json_t *object)
{
    const char *root = json_string_value(json_object_get(object, "root"));
    return parse->root[0] == '\0' || root == NULL || root[0] == '\0' ||
           strcmp(root, parse->root) == 0;
}

static void take_root(const json_t *object, char root[static 33])
{
    kek_text_copy(root, 33, json_string_value(json_object_get(object, "root")));
}

static void take_text(struct parse *parse, const json_t *object, const char *key, char *out,
                      size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    kek_text_copy(out, size, text);
    if (text == NULL) {
        wrong(parse, key);
    }
}

static uint64_t take_number(struct parse *parse, const json_t *object, const char *key,
                            uint64_t max)
{
    const json_t *value = json_object_get(object, key);
    json_int_t number = json_integer_value(value);
    if (!json_is_integer(value) || number < 0 || (uint64_t)number > max) {
        wrong(parse, key);
        return 0;
    }
    return (uint64_t)number;
}

static int64_t take_date(struct parse *parse, const json_t *object, const char *key)
{
    int64_t ms = kek_clock_parse(json_string_value(json_object_get(object, key)));
    if (ms == 0) {
        wrong(parse, key);
    }
    return ms;
}

static void take_id(struct parse *parse, const json_t *object, struct kek_id *id)
{
    const char *text = json_string_value(json_object_get(object, "kek_id"));
    if (text == NULL || !kek_id_parse(text, id)) {
        wrong(parse, "kek_id");
    }
}

/* A word that this kekctl does not know is the least. */
static enum kek_keyring_key key_of(const json_t *word)
{
    const char *text = json_string_value(word);
    for (int key = KEK_KEYRING_KEY_ACTIVE; text != NULL && key > KEK_KEYRING_KEY_UNSEEN; key--) {
        if (strcmp(text, kek_keyring_key_name((enum kek_keyring_key)key)) == 0) {
            return (enum kek_keyring_key)key;
        }
    }
    return KEK_KEYRING_KEY_UNSEEN;
}

/* Of what is announced, the KEK of that root; what says of no root which it is, is taken as it is.  NULL: it has none of
 * that root. */
static const json_t *of_root(const struct parse *parse, const json_t *primary)
{
    const json_t *keks = json_object_get(primary, "keks");
    size_t count = parse->root[0] == '\0' ? 0 : json_array_size(keks);
    for (size_t i = 0; i < count; i++) {
        const json_t *kek = json_array_get(keks, i);
        if (is_of_root(parse, kek)) {
            return kek;
        }
    }
    return count > 0 ? NULL : primary;
}

static void take_primary_roots(struct parse *parse, const json_t *primary)
{
    struct node_primary *out = &parse->status->primary;
    const json_t *keks = json_object_get(primary, "keks");
    if (json_array_size(keks) > KEK_CONFIG_ROOTS_MAX) {
        wrong(parse, "keks");
        return;
    }
    for (size_t i = 0; i < json_array_size(keks); i++) {
        take_root(json_array_get(keks, i), out->roots[out->root_count++]);
    }
}

static void take_primary(struct parse *parse, const json_t *page)
{
    struct node_primary *primary = &parse->status->primary;
    const json_t *object = json_object_get(page, "primary");
    parse->status->announces = json_is_object(object);
    if (!parse->status->announces) {
        if (!json_is_null(object)) {
            wrong(parse, "primary");
        }
        return;
    }
    take_text(parse, object, "key_id", primary->key_id, sizeof primary->key_id);
    take_text(parse, object, "key_id_hash", primary->key_id_hash, sizeof primary->key_id_hash);
    take_primary_roots(parse, object);
    object = of_root(parse, object);
    primary->without_root = object == NULL;
    if (primary->without_root) {
        return;
    }
    if (!json_is_null(json_object_get(object, "announced_at"))) {
        primary->announced_ms = take_date(parse, object, "announced_at");
    }
    /* Of a socket alone they are not always known. */
    if (!parse->status->partial || json_object_get(object, "kek_id") != NULL) {
        primary->version = (uint32_t)take_number(parse, object, "version", UINT32_MAX);
        take_id(parse, object, &primary->kek_id);
    }
}

static const json_t *take_list(struct parse *parse, const json_t *page, const char *key, size_t max)
{
    const json_t *list = json_object_get(page, key);
    if (!json_is_array(list) || json_array_size(list) > max) {
        wrong(parse, key);
        return NULL;
    }
    return list;
}

static void take_providers(struct parse *parse, const json_t *page)
{
    struct node_status *status = parse->status;
    const json_t *list = take_list(parse, page, "providers", KEK_CONFIG_PROVIDERS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!is_of_root(parse, item)) {
            continue;
        }
        struct node_provider *provider = &status->providers[status->provider_count++];
        take_root(item, provider->root);
        take_text(parse, item, "name", provider->name, sizeof provider->name);
        take_text(parse, item, "serial", provider->serial, sizeof provider->serial);
        take_text(parse, item, "label", provider->label, sizeof provider->label);
        provider->answers = json_is_true(json_object_get(item, "answers"));
    }
}

static void take_etcds(struct parse *parse, const json_t *page)
{
    struct node_status *status = parse->status;
    status->says_etcds = json_object_get(page, "etcd") != NULL;
    if (!status->says_etcds) {
        return;
    }
    const json_t *list = take_list(parse, page, "etcd", KEK_CONFIG_ETCDS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        struct node_etcd *etcd = &status->etcds[status->etcd_count++];
        take_text(parse, item, "name", etcd->name, sizeof etcd->name);
        take_text(parse, item, "prefix", etcd->prefix, sizeof etcd->prefix);
        take_text(parse, item, "context_sha256", etcd->context_sha256, sizeof etcd->context_sha256);
    }
}

static bool is_in(const json_t *list, const char *text)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        if (item != NULL && strcmp(item, text) == 0) {
            return true;
        }
    }
    return false;
}

/* What a kekd before this one does not say is not there; what is there must be right. */
static void take_lasting(struct parse *parse, const json_t *item, const char *key,
                         struct node_lasting *lasting)
{
    const json_t *object = json_object_get(item, key);
    if (object == NULL || json_is_null(object)) {
        return;
    }
    lasting->since_ms = take_date(parse, object, "since");
    lasting->ms = take_number(parse, object, "ms", INT64_MAX);
}

static uint64_t take_asked(struct parse *parse, const json_t *item, int64_t *last_ms)
{
    const json_t *object = json_object_get(item, "asked_for");
    if (object == NULL || json_is_null(object)) {
        return 0;
    }
    *last_ms = take_date(parse, object, "last");
    return take_number(parse, object, "count", INT64_MAX);
}

static void take_ages(struct parse *parse, const json_t *item, struct node_version *version)
{
    version->ages = json_object_get(item, "inactive") != NULL;
    take_lasting(parse, item, "inactive", &version->inactive);
    take_lasting(parse, item, "superseded", &version->superseded);
    take_lasting(parse, item, "suspended", &version->suspended);
    version->asked = take_asked(parse, item, &version->asked_ms);
}

static void take_destroyed(struct parse *parse, const json_t *page)
{
    struct node_status *status = parse->status;
    if (json_object_get(page, "destroyed") == NULL) {
        return;
    }
    const json_t *list = take_list(parse, page, "destroyed", KEK_KEYRING_HISTORY_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        struct node_destroyed *destroyed = &status->destroyed[status->destroyed_count++];
        int64_t last_ms;
        destroyed->number = (uint32_t)take_number(parse, item, "version", UINT32_MAX);
        take_id(parse, item, &destroyed->kek_id);
        destroyed->seen_ms = take_date(parse, item, "seen");
        destroyed->asked = take_asked(parse, item, &last_ms);
    }
}

static void take_versions(struct parse *parse, const json_t *page)
{
    struct node_status *status = parse->status;
    const json_t *list = take_list(parse, page, "versions", KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *item = json_array_get(list, i);
        if (!is_of_root(parse, item)) {
            continue;
        }
        struct node_version *version = &status->versions[status->version_count++];
        take_root(item, version->root);
        version->number = (uint32_t)take_number(parse, item, "version", UINT32_MAX);
        take_id(parse, item, &version->kek_id);
        take_text(parse, item, "key_id", version->key_id, sizeof version->key_id);
        version->state = key_of(json_object_get(item, "state"));
        const json_t *held = json_object_get(item, "providers");
        const json_t *proven = json_object_get(item, "proven");
        for (size_t p = 0; p < status->provider_count; p++) {
            const char *name = status->providers[p].name;
            version->held[p] = key_of(json_object_get(held, name));
            version->proven[p] = is_in(proven, name);
        }
        take_ages(parse, item, version);
    }
}

static void take_sealing(struct parse *parse, const json_t *page)
{
    struct node_status *status = parse->status;
    const json_t *list = take_list(parse, page, "sealing", KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < json_array_size(list); i++) {
        take_id(parse, json_array_get(list, i), &status->sealing[status->sealing_count++]);
    }
}

static void take_rotation(struct parse *parse, const json_t *page)
{
    struct node_rotation *rotation = &parse->status->rotation;
    const json_t *object = json_object_get(page, "rotation");
    parse->status->rotating = json_is_object(object);
    if (!parse->status->rotating) {
        return;
    }
    take_text(parse, object, "node", rotation->node, sizeof rotation->node);
    take_text(parse, object, "step", rotation->step, sizeof rotation->step);
    rotation->version = (uint32_t)take_number(parse, object, "version", UINT32_MAX);
    take_id(parse, object, &rotation->kek_id);
    rotation->since_ms =
        kek_clock_parse(json_string_value(json_object_get(object, "since"))); /* or not known */
    rotation->pid = (int64_t)take_number(parse, object, "pid", INT32_MAX);
}

/* A kekd before this one has none. */
static void take_destruction(struct parse *parse, const json_t *page)
{
    const json_t *object = json_object_get(page, "destruction");
    if (!json_is_object(object)) {
        return;
    }
    const char *step = json_string_value(json_object_get(object, "step"));
    parse->status->destroying = step == NULL || strcmp(step, "destroyed") != 0;
    parse->status->destroying_version = (uint32_t)take_number(parse, object, "version", UINT32_MAX);
}

/* Of the remarks only this one is asked for. */
static void take_remarks(struct parse *parse, const json_t *page)
{
    const json_t *list = json_object_get(page, "remarks");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *reason = json_string_value(json_object_get(json_array_get(list, i), "reason"));
        bool out =
            reason != NULL && strcmp(reason, kek_keyring_remark_name(KEK_KEYRING_ROOT_OUT)) == 0;
        parse->status->root_out = parse->status->root_out || out;
    }
}

static void take_what_kekd_says(struct parse *parse, const json_t *page)
{
    struct node_status *status = parse->status;
    status->since_ms = take_date(parse, page, "since");
    status->settle_ms = take_number(parse, page, "settle_ms", INT64_MAX);
    status->refresh_ms = take_number(parse, page, "refresh_ms", INT64_MAX);
    if (json_object_get(page, "max_age_ms") != NULL) {
        status->max_age_ms = take_number(parse, page, "max_age_ms", INT64_MAX);
    }
    take_remarks(parse, page);
    take_providers(parse, page);
    take_versions(parse, page);
    take_destroyed(parse, page);
    take_etcds(parse, page);
    take_sealing(parse, page);
    take_rotation(parse, page);
    take_destruction(parse, page);
}

bool node_parse(const json_t *page, const char *root, struct node_status *status,
                struct kek_why *why)
{
    struct parse parse = {.status = status, .root = root};
    memset(status, 0, sizeof *status);
    status->partial = json_is_true(json_object_get(page, "partial"));
    take_text(&parse, page, "node", status->node, sizeof status->node);
    take_text(&parse, page, "version", status->program_version, sizeof status->program_version);
    take_text(&parse, page, "keyring", status->keyring, sizeof status->keyring);
    take_text(&parse, page, "context_sha256", status->context_sha256,
              sizeof status->context_sha256);
    take_text(&parse, page, "config_sha256", status->config_sha256, sizeof status->config_sha256);
    status->now_ms = take_date(&parse, page, "now");
    take_text(&parse, page, "health", status->health, sizeof status->health);
    take_text(&parse, page, "what", status->what, sizeof status->what);
    take_text(&parse, page, "todo", status->todo, sizeof status->todo);
    take_primary(&parse, page);
    if (!status->partial) {
        take_what_kekd_says(&parse, page);
    }
    if (parse.wrong != NULL) {
        kek_fail(why, KEK_INVALID, "what came is no status of kekd: \"%s\" is missing or wrong",
                 parse.wrong);
        return false;
    }
    return true;
}
