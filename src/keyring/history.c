/* What is remembered of each version that goes out of use, and its part of the state file. */
#include "keyring/ring.h"

struct history *history_find(struct kek_keyring *ring, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < ring->history_count; i++) {
        if (kek_id_equal(&ring->histories[i].is.kek_id, kek_id)) {
            return &ring->histories[i];
        }
    }
    return NULL;
}

/* Of those that are no versions any more, the one with the smallest number. */
static struct history *make_room(struct kek_keyring *ring)
{
    struct history *oldest = NULL;
    if (ring->history_count < KEK_KEYRING_HISTORY_MAX) {
        return &ring->histories[ring->history_count++];
    }
    for (size_t i = 0; i < ring->history_count; i++) {
        struct history *history = &ring->histories[i];
        if (version_find(ring, &history->is.kek_id) == NULL &&
            (oldest == NULL || history->is.number < oldest->is.number)) {
            oldest = history;
        }
    }
    return oldest;
}

static struct history *add(struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t number)
{
    struct history *history = make_room(ring);
    if (history != NULL) {
        *history = (struct history){.is = {.number = number, .kek_id = *kek_id}};
    }
    return history;
}

struct history *history_of(struct kek_keyring *ring, const struct version *version)
{
    struct history *history = history_find(ring, &version->id);
    return history != NULL ? history : add(ring, &version->id, version->number);
}

void history_copy(const struct kek_keyring *ring, const struct version *version,
                  struct kek_keyring_history *history)
{
    *history = (struct kek_keyring_history){.number = version->number, .kek_id = version->id};
    for (size_t i = 0; i < ring->history_count; i++) {
        if (kek_id_equal(&ring->histories[i].is.kek_id, &version->id)) {
            *history = ring->histories[i].is;
        }
    }
}

bool history_is_destroyed(const struct kek_keyring_history *history)
{
    return history->destroyed_ms > 0 && history->returned_ms == 0;
}

bool history_is_given_up(const struct kek_keyring_history *history)
{
    return history->suspended.since_ms > 0 || (history->returned_ms > 0 && history->used_ms == 0);
}

bool kek_keyring_was_destroyed(const struct kek_keyring *ring, const struct kek_id *kek_id,
                               uint32_t *number)
{
    for (size_t i = 0; i < ring->history_count; i++) {
        const struct kek_keyring_history *history = &ring->histories[i].is;
        if (history_is_destroyed(history) && kek_id_equal(&history->kek_id, kek_id)) {
            *number = history->number;
            return true;
        }
    }
    return false;
}

size_t history_destroyed(const struct kek_keyring *ring, bool back,
                         struct kek_keyring_history *list, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < ring->history_count && count < max; i++) {
        const struct kek_keyring_history *history = &ring->histories[i].is;
        if (back ? history->destroyed_ms == 0 : !history_is_destroyed(history)) {
            continue;
        }
        size_t at = count++;
        while (at > 0 && list[at - 1].number > history->number) {
            list[at] = list[at - 1];
            at--;
        }
        list[at] = *history;
    }
    return count;
}

size_t kek_keyring_destroyed(const struct kek_keyring *ring, struct kek_keyring_history *list,
                             size_t max)
{
    return history_destroyed(ring, false, list, max);
}

/* ---- the state file ---- */

static json_t *lasting_json(const struct kek_keyring_lasting *lasting)
{
    return lasting->since_ms == 0
               ? json_null()
               : json_pack("{s:I, s:I}", "since_ms", (json_int_t)lasting->since_ms, "ms",
                           (json_int_t)lasting->ms);
}

static bool is_worth_keeping(const struct kek_keyring_history *history)
{
    return history->inactive.since_ms > 0 || history->superseded.since_ms > 0 ||
           history->suspended.since_ms > 0 || history->destroyed_ms > 0;
}

json_t *history_json(const struct kek_keyring *ring)
{
    json_t *list = json_array();
    for (size_t i = 0; i < ring->history_count; i++) {
        const struct kek_keyring_history *history = &ring->histories[i].is;
        char id[KEK_ID_TEXT];
        kek_id_format(&history->kek_id, id);
        if (!is_worth_keeping(history)) {
            continue;
        }
        json_t *item = json_pack(
            "{s:I, s:s, s:o, s:o, s:o, s:I, s:I, s:I, s:I, s:I}", "number",
            (json_int_t)history->number, "kek_id", id, "inactive", lasting_json(&history->inactive),
            "superseded", lasting_json(&history->superseded), "suspended",
            lasting_json(&history->suspended), "asked", (json_int_t)history->asked, "asked_ms",
            (json_int_t)history->asked_ms, "destroyed_ms", (json_int_t)history->destroyed_ms,
            "returned_ms", (json_int_t)history->returned_ms, "used_ms",
            (json_int_t)history->used_ms);
        if (json_array_append_new(list, item) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static void load_lasting(const json_t *item, const char *key, struct kek_keyring_lasting *lasting)
{
    const json_t *object = json_object_get(item, key);
    json_int_t since_ms = json_integer_value(json_object_get(object, "since_ms"));
    json_int_t ms = json_integer_value(json_object_get(object, "ms"));
    if (since_ms > 0 && ms >= 0) {
        *lasting = (struct kek_keyring_lasting){.since_ms = since_ms, .ms = (uint64_t)ms};
    }
}

static int64_t load_count(const json_t *item, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(item, key));
    return value > 0 ? value : 0;
}

void history_load(struct kek_keyring *ring, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list) && i < KEK_KEYRING_HISTORY_MAX; i++) {
        const json_t *item = json_array_get(list, i);
        int64_t number = load_count(item, "number");
        const char *hex = json_string_value(json_object_get(item, "kek_id"));
        struct kek_id kek_id;
        if (number < 1 || number > UINT32_MAX || hex == NULL || !kek_id_parse(hex, &kek_id) ||
            history_find(ring, &kek_id) != NULL) {
            continue;
        }
        struct kek_keyring_history *history = &add(ring, &kek_id, (uint32_t)number)->is;
        load_lasting(item, "inactive", &history->inactive);
        load_lasting(item, "superseded", &history->superseded);
        load_lasting(item, "suspended", &history->suspended);
        history->asked = (uint64_t)load_count(item, "asked");
        history->asked_ms = load_count(item, "asked_ms");
        history->destroyed_ms = load_count(item, "destroyed_ms");
        history->returned_ms = load_count(item, "returned_ms");
        history->used_ms = load_count(item, "used_ms");
    }
}
