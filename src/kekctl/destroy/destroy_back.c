#include "destroy_back.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "kekctl/key/key_views.h"
#include "kekctl/rotate/rotation.h"

/* The providers that show the key; with `used`, that let it be used. */
struct where {
    char text[KEK_CONFIG_PROVIDERS_MAX * 36 + 32];
    size_t count;
};

static struct where where_is(const struct keys *keys, const struct kek_id *kek_id, bool used)
{
    struct where where = {.text = ""};
    size_t len = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, kek_id);
        if (v != NULL && (!used || v->can_wrap || v->can_unwrap)) {
            len += (size_t)snprintf(where.text + len, sizeof where.text - len, "%s%s",
                                    where.count > 0 ? ", " : "", keys->config->providers[p].name);
            where.count++;
        }
    }
    if (where.count > 1 && where.count == keys->config->provider_count) {
        snprintf(where.text + len, sizeof where.text - len, ", which are all");
    }
    return where;
}

bool destroy_back_has(const struct destroy_back *back, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < back->count; i++) {
        if (kek_id_equal(&back->ids[i], kek_id)) {
            return true;
        }
    }
    return false;
}

static void add(struct destroy_back *back, const struct kek_id *kek_id)
{
    if (back->count < DESTROY_BACK_MAX) {
        back->ids[back->count++] = *kek_id;
    }
}

static void say_destroyed(const struct keys *keys, uint32_t number, const struct kek_id *kek_id,
                          int64_t ms, const char *who, struct destroy_back *back)
{
    char when[ROTATION_TIME_TEXT];
    struct where where = where_is(keys, kek_id, false);
    if (where.count == 0 || destroy_back_has(back, kek_id)) {
        return;
    }
    rotation_time_format(ms, when);
    add(back, kek_id);
    ctl_say(keys->ctl,
            "version %" PRIu32
            ", which was destroyed at %s%s%s, is back on %s: its token was restored "
            "from a backup that has the key; kekctl %s ends it there too",
            number, when, who[0] == '\0' ? "" : " by ", who, where.text,
            kek_command(keys->config->root, "key destroy").text);
}

/* `key resume` takes the quarantine off this record first of all. */
static void say_quarantined(const struct keys *keys, const struct destroy_progress *now,
                            struct destroy_back *back)
{
    char when[ROTATION_TIME_TEXT];
    struct where where = where_is(keys, &now->kek_id, true);
    if (where.count == 0) {
        return;
    }
    rotation_time_format(now->quarantined.wall_ms, when);
    add(back, &now->kek_id);
    ctl_say(keys->ctl,
            "version %" PRIu32
            ", which is in quarantine since %s, may be used again on %s: its token "
            "was restored to an older state, or key resume was run on another node; here %s "
            "gives the quarantine up, and %s begins it anew",
            now->number, when, where.text, kek_command(keys->config->root, "key resume").text,
            kek_command(keys->config->root, "key destroy").text);
}

/* Of a destruction that is under way. */
static void say_tokens(const struct keys *keys, const struct destroy_record *record,
                       struct destroy_back *back)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct kek_pool_provider status;
        char when[ROTATION_TIME_TEXT];
        kek_pool_provider_get(keys->pool, p, &status);
        const struct destroy_token *token =
            destroy_file_token(record, keys->config->providers[p].name, status.serial);
        if (token == NULL || token->gone_ms == 0 ||
            view_find(keys, p, &record->now.kek_id) == NULL) {
            continue;
        }
        rotation_time_format(token->gone_ms, when);
        add(back, &record->now.kek_id);
        ctl_say(keys->ctl,
                "version %" PRIu32
                ", which was destroyed on %s at %s, is back there: its token was "
                "restored from a backup that has the key",
                record->now.number, keys->config->providers[p].name, when);
    }
}

static void say_now(const struct keys *keys, const struct destroy_record *record,
                    struct destroy_back *back)
{
    const struct destroy_progress *now = &record->now;
    switch (now->step) {
    case DESTROY_DESTROYED:
        say_destroyed(keys, now->number, &now->kek_id, now->since_ms, now->who, back);
        break;
    case DESTROY_DESTROYING:
        say_tokens(keys, record, back);
        say_quarantined(keys, now, back);
        break;
    case DESTROY_QUARANTINED:
        say_quarantined(keys, now, back);
        break;
    case DESTROY_NONE:
    case DESTROY_SUSPENDING:
        break;
    }
}

void destroy_back_say(const struct keys *keys, const struct destroy_record *record,
                      const struct kek_id *only, struct destroy_back *back)
{
    struct kek_keyring_history seen[KEK_KEYRING_HISTORY_MAX];
    struct kek_why why;
    size_t count = 0;
    *back = (struct destroy_back){.count = 0};
    if (only == NULL || kek_id_equal(only, &record->now.kek_id)) {
        say_now(keys, record, back);
    }
    for (size_t i = record->past_count; i-- > 0;) {
        const struct destroy_progress *past = &record->past[i];
        if (only == NULL || kek_id_equal(only, &past->kek_id)) {
            say_destroyed(keys, past->number, &past->kek_id, past->since_ms, past->who, back);
        }
    }
    if (kek_keyring_recorded_destroyed(keys->config, seen, &count, &why) != KEK_OK) {
        return; /* a record that cannot be read says nothing; a remark says so */
    }
    for (size_t i = 0; i < count; i++) {
        if (only == NULL || kek_id_equal(only, &seen[i].kek_id)) {
            say_destroyed(keys, seen[i].number, &seen[i].kek_id, seen[i].destroyed_ms, "", back);
        }
    }
}

void destroy_back_look(const struct keys *keys, struct destroy_back *back)
{
    struct destroy_record record;
    struct kek_why why;
    if (destroy_file_read(keys->config, &record, &why) != KEK_OK) {
        record = (struct destroy_record){.past_count = 0};
    }
    destroy_back_say(keys, &record, NULL, back);
}
