#include "key_describe.h"

#include <string.h>

#include "kekctl/destroy/destroy_file.h"
#include "kekctl/output.h"
#include "kekctl/rotate/rotation.h"
#include "key_views.h"

/* As its worker has seen it; else as kekd wrapped by it, by this node's record. */
static enum kek_wrap_alg alg_of(const struct kek_keyring *ring, const struct kek_version *version)
{
    enum kek_wrap_alg alg;
    struct kek_bytes wrapped;
    bool asks = version->alg == KEK_WRAP_NONE && ring != NULL;
    return asks && kek_keyring_witness(ring, &version->id, &alg, &wrapped) ? alg : version->alg;
}

static json_t *describe(const struct keys *keys, size_t provider, size_t i,
                        const struct kek_keyring *ring, const struct announced *announced)
{
    const struct kek_version *v = &keys->listings[provider].versions[i];
    const char *state = view_surplus(keys, v, announced)
                            ? "surplus"
                            : kek_state_name(view_state(keys, provider, i, announced));
    char id[KEK_ID_TEXT], key_id[KEK_KEY_ID_TEXT] = "";
    kek_id_format(&v->id, id);
    id[2 * (KEK_ID_LEN - v->id_pad)] = '\0';
    /* What audit log and Status call it by, in this configuration's context. */
    if (v->eligible && kek_key_id(kek_bytes_of(keys->config->context), KEK_ENVELOPE_MODE_ANY,
                                  &v->id, 1, key_id, NULL) != KEK_OK) {
        return NULL;
    }
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:o, s:b, s:b, s:b, s:o}", "version",
                     (json_int_t)v->number, "state", state, "kek_id", id, "key_id", key_id, "alg",
                     kek_wrap_alg_name(alg_of(ring, v)), "provider",
                     keys->config->providers[provider].name, "label", output_text(v->label),
                     "eligible", v->eligible, "can_wrap", v->can_wrap, "can_unwrap", v->can_unwrap,
                     "refusal", output_text(v->refusal));
}

/* The provider's versions behind those that are there, by number. */
static bool add_versions(const struct keys *keys, size_t provider, const struct kek_keyring *ring,
                         const struct announced *announced, json_t *versions)
{
    for (size_t i = 0; i < keys->listings[provider].count; i++) {
        json_int_t number = keys->listings[provider].versions[i].number;
        size_t at = json_array_size(versions);
        while (at > 0 && json_integer_value(json_object_get(json_array_get(versions, at - 1),
                                                            "version")) > number) {
            at--;
        }
        if (json_array_insert_new(versions, at, describe(keys, provider, i, ring, announced)) !=
            0) {
            return false;
        }
    }
    return true;
}

/* A version that is no more, in the place of one. */
static json_t *describe_destroyed(const struct keys *keys, uint32_t number,
                                  const struct kek_id *kek_id)
{
    char id[KEK_ID_TEXT], key_id[KEK_KEY_ID_TEXT];
    kek_id_format(kek_id, id);
    if (kek_key_id(kek_bytes_of(keys->config->context), KEK_ENVELOPE_MODE_ANY, kek_id, 1, key_id,
                   NULL) != KEK_OK) {
        return NULL;
    }
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s, s:b, s:b, s:b, s:s}", "version",
                     (json_int_t)number, "state", "destroyed", "kek_id", id, "key_id", key_id,
                     "alg", "", "provider", "", "label", "", "eligible", false, "can_wrap", false,
                     "can_unwrap", false, "refusal", "");
}

static json_t *describe_end(uint32_t number, const struct kek_id *kek_id, int64_t ms,
                            const char *who)
{
    char id[KEK_ID_TEXT], when[ROTATION_TIME_TEXT];
    kek_id_format(kek_id, id);
    rotation_time_format(ms, when);
    return json_pack("{s:I, s:s, s:s, s:s}", "version", (json_int_t)number, "kek_id", id, "at",
                     when, "who", who);
}

/* Is it on a token, whatever is on record? */
static bool is_there(const struct keys *keys, const struct kek_id *kek_id)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (view_find(keys, p, kek_id) != NULL) {
            return true;
        }
    }
    return false;
}

static bool add_end(const struct keys *keys, uint32_t number, const struct kek_id *kek_id,
                    int64_t ms, const char *who, json_t *versions, json_t *destroyed)
{
    return is_there(keys, kek_id) ||
           (json_array_append_new(versions, describe_destroyed(keys, number, kek_id)) == 0 &&
            json_array_append_new(destroyed, describe_end(number, kek_id, ms, who)) == 0);
}

static bool add_destroyed(const struct keys *keys, json_t *versions, json_t *destroyed)
{
    struct destroy_record record;
    struct kek_keyring_history seen[KEK_KEYRING_HISTORY_MAX];
    struct kek_why why;
    size_t count = 0;
    /* A record that cannot be read says nothing; a remark says so of kekd's. */
    if (destroy_file_read(keys->config, &record, &why) != KEK_OK) {
        record = (struct destroy_record){.past_count = 0};
    }
    if (record.now.step == DESTROY_DESTROYED && record.past_count < DESTROY_PAST_MAX) {
        record.past[record.past_count++] = record.now;
    }
    for (size_t i = 0; i < record.past_count; i++) {
        const struct destroy_progress *past = &record.past[i];
        if (!destroy_file_is_of(past, keys->config)) {
            continue;
        }
        if (!add_end(keys, past->number, &past->kek_id, past->since_ms, past->who, versions,
                     destroyed)) {
            return false;
        }
    }
    if (kek_keyring_recorded_destroyed(keys->config, seen, &count, &why) != KEK_OK) {
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        bool known = false;
        for (size_t k = 0; k < record.past_count; k++) {
            known = known || kek_id_equal(&record.past[k].kek_id, &seen[i].kek_id);
        }
        if (!known && !add_end(keys, seen[i].number, &seen[i].kek_id, seen[i].destroyed_ms, "",
                               versions, destroyed)) {
            return false;
        }
    }
    return true;
}

static json_t *describe_provider(const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    return json_pack("{s:s, s:b, s:o, s:o, s:o, s:o}", "name",
                     keys->config->providers[provider].name, "answered", listing->rc == KEK_OK,
                     "serial", output_text(status.serial), "model", output_text(status.model),
                     "firmware", output_text(status.firmware), "error",
                     output_text(listing->rc == KEK_OK ? "" : listing->why.text));
}

json_t *key_describe(const struct keys *keys)
{
    struct announced announced;
    struct kek_why why;
    KEK_AUTO(kek_keyring) ring = kek_keyring_read(keys->config, &why);
    json_t *versions = json_array(), *providers = json_array(), *destroyed = json_array();
    bool good = versions != NULL && providers != NULL && destroyed != NULL &&
                add_destroyed(keys, versions, destroyed);
    /* Where the record cannot be read, a remark says so. */
    (void)announced_on_record(keys, &announced, &why);
    for (size_t i = 0; good && i < keys->config->provider_count; i++) {
        good = json_array_append_new(providers, describe_provider(keys, i)) == 0 &&
               add_versions(keys, i, ring, &announced, versions);
    }
    if (!good) {
        json_decref(versions);
        json_decref(providers);
        json_decref(destroyed);
        return NULL;
    }
    return json_pack("{s:s, s:s, s:o, s:o, s:o}", "root", keys->config->root, "keyring",
                     keys->config->keyring, "providers", providers, "versions", versions,
                     "destroyed", destroyed);
}
