#include "audit_tally.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

struct audit_tally *audit_tally_new(void)
{
    KEK_AUTO(audit_tally) tally = calloc(1, sizeof *tally);
    if (tally == NULL) {
        return NULL;
    }
    json_t **lists[] = {&tally->acts, &tally->changes};
    json_t **objects[] = {&tally->uses, &tally->logins, &tally->refused, &tally->seen};
    for (size_t i = 0; i < sizeof lists / sizeof lists[0]; i++) {
        *lists[i] = json_array();
        tally->spoilt = tally->spoilt || *lists[i] == NULL;
    }
    for (size_t i = 0; i < sizeof objects / sizeof objects[0]; i++) {
        *objects[i] = json_object();
        tally->spoilt = tally->spoilt || *objects[i] == NULL;
    }
    return tally->spoilt ? NULL : KEK_STEAL(tally);
}

void audit_tally_free(struct audit_tally *tally)
{
    if (tally == NULL) {
        return;
    }
    json_decref(tally->uses);
    json_decref(tally->logins);
    json_decref(tally->refused);
    json_decref(tally->acts);
    json_decref(tally->changes);
    json_decref(tally->seen);
    free(tally);
}

static const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    return text == NULL ? "" : text;
}

static int64_t time_of(const json_t *line)
{
    return kek_clock_parse(text_of(line, "time"));
}

/* ---- keys ---- */

const struct audit_key *audit_tally_key(const struct audit_tally *tally,
                                        const struct kek_id *kek_id)
{
    for (size_t i = 0; i < tally->key_count; i++) {
        if (kek_id_equal(&tally->keys[i].kek_id, kek_id)) {
            return &tally->keys[i];
        }
    }
    return NULL;
}

/* NULL: the line is of no key, or there is no room. */
static struct audit_key *key_of(struct audit_tally *tally, const json_t *line)
{
    struct kek_id kek_id;
    if (!kek_id_parse(text_of(line, "kek_id"), &kek_id)) {
        return NULL;
    }
    for (size_t i = 0; i < tally->key_count; i++) {
        if (kek_id_equal(&tally->keys[i].kek_id, &kek_id)) {
            return &tally->keys[i];
        }
    }
    if (tally->key_count == AUDIT_TALLY_KEYS_MAX) {
        tally->left_out++;
        return NULL;
    }
    tally->keys[tally->key_count] = (struct audit_key){.kek_id = kek_id};
    return &tally->keys[tally->key_count++];
}

static void is_active(struct audit_key *key, int64_t ms, bool begun_here)
{
    if (key->first_active_ms == 0) {
        key->first_active_ms = ms;
        key->begun_here = begun_here;
    }
    key->last_active_ms = ms;
    key->first_inactive_ms = key->first_retired_ms = key->last_retired_ms = 0;
}

/* ---- where it is active ---- */

static size_t find_active(const struct audit_key *key, const char *provider)
{
    size_t i = 0;
    while (i < key->active_count &&
           strncmp(key->active_on[i], provider, sizeof key->active_on[i] - 1) != 0) {
        i++;
    }
    return i;
}

static void is_active_on(struct audit_key *key, const char *provider)
{
    if (provider[0] != '\0' && find_active(key, provider) == key->active_count &&
        key->active_count < AUDIT_TALLY_PROVIDERS_MAX) {
        snprintf(key->active_on[key->active_count], sizeof key->active_on[0], "%s", provider);
        key->active_count++;
    }
}

/* It ceased to be so on this one.  False: it is still so on another one. */
static bool is_active_nowhere(struct audit_key *key, const char *provider)
{
    size_t i = find_active(key, provider);
    if (i < key->active_count) {
        key->active_count--;
        memmove(key->active_on[i], key->active_on[key->active_count], sizeof key->active_on[i]);
    }
    return key->active_count == 0;
}

static void is_inactive(struct audit_key *key, int64_t ms)
{
    if (key->first_inactive_ms == 0) {
        key->first_inactive_ms = ms;
    }
}

static void is_retired(struct audit_key *key, int64_t ms)
{
    if (key->first_retired_ms == 0) {
        key->first_retired_ms = ms;
    }
    key->last_retired_ms = ms;
    is_inactive(key, ms);
}

/* ---- rows ---- */

/* A root of trust has a member only where it has a name; of every other, what a line lacks is empty. */
static bool is_left_out(const json_t *line, const char *member)
{
    return strcmp(member, "root") == 0 && json_object_get(line, member) == NULL;
}

/* The rows with the same values of these members are one, which counts. */
static void gather(struct audit_tally *tally, json_t *all, const json_t *line,
                   const char *const *members, bool good)
{
    char name[512] = "";
    size_t at = 0;
    json_t *row = json_object();
    for (const char *const *member = members; row != NULL && *member != NULL; member++) {
        json_t *value = json_object_get(line, *member);
        if (is_left_out(line, *member)) {
            continue;
        }
        json_t *shown = value == NULL ? json_string("") : json_incref(value);
        char number[24];
        snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT, json_integer_value(shown));
        at += (size_t)snprintf(name + at, sizeof name - at, "%.100s|",
                               json_is_string(shown) ? json_string_value(shown) : number);
        at = at < sizeof name ? at : sizeof name - 1;
        tally->spoilt = json_object_set_new(row, *member, shown) != 0 || tally->spoilt;
    }
    kek_text_clean(name); /* what was cut may be the half of a character */
    json_t *before = json_object_get(all, name);
    if (before == NULL && json_object_size(all) == AUDIT_TALLY_ROWS_MAX) {
        tally->left_out++;
        json_decref(row);
        return;
    }
    if (before == NULL) {
        json_t *time = json_object_get(line, "time");
        before = row;
        tally->spoilt = row == NULL || json_object_set_new(row, "ok", json_integer(0)) != 0 ||
                        json_object_set_new(row, "failed", json_integer(0)) != 0 ||
                        json_object_set(row, "first", time) != 0 ||
                        json_object_set(all, name, row) != 0 || tally->spoilt;
    }
    json_t *count = json_object_get(before, good ? "ok" : "failed");
    (void)json_integer_set(count, json_integer_value(count) + 1);
    tally->spoilt =
        json_object_set(before, "last", json_object_get(line, "time")) != 0 || tally->spoilt;
    json_decref(row);
}

/* These members of the line, as a row of its own. */
static void list(struct audit_tally *tally, json_t *all, const json_t *line,
                 const char *const *members)
{
    if (json_array_size(all) == AUDIT_TALLY_ROWS_MAX) {
        tally->left_out++;
        return;
    }
    json_t *row = json_object();
    for (const char *const *member = members; row != NULL && *member != NULL; member++) {
        json_t *value = json_object_get(line, *member);
        if (is_left_out(line, *member)) {
            continue;
        }
        tally->spoilt =
            json_object_set_new(row, *member,
                                value == NULL ? json_string("") : json_incref(value)) != 0 ||
            tally->spoilt;
    }
    tally->spoilt = json_array_append_new(all, row) != 0 || tally->spoilt;
}

/* ---- lines ---- */

/* One key that a call used. */
static void take_use(struct audit_tally *tally, const json_t *line)
{
    static const char *const members[] = {"root", "version", "kek_id",   "method",
                                          "api",  "node",    "peer_uid", NULL};
    bool good = strcmp(text_of(line, "status"), "OK") == 0 &&
                !json_is_false(json_object_get(line, "opened"));
    gather(tally, tally->uses, line, members, good);
    struct audit_key *key = good ? key_of(tally, line) : NULL;
    if (key != NULL && strcmp(text_of(line, "method"), "Encrypt") == 0) {
        is_active(key, time_of(line), false);
    } else if (key != NULL && strcmp(text_of(line, "method"), "Decrypt") == 0) {
        key->last_opened_ms = time_of(line);
    }
}

/* With several roots of trust a line has a list of keys, of which each says of its own what else the line says of the
 * first.  Those that it does not say are not the first one's. */
static void take_each(struct audit_tally *tally, const json_t *line,
                      void (*take)(struct audit_tally *tally, const json_t *line))
{
    static const char *const of_first[] = {"version", "kek_id", "provider"};
    const json_t *keks = json_object_get(line, "keks");
    size_t i;
    json_t *kek;
    if (json_array_size(keks) == 0) {
        take(tally, line);
        return;
    }
    json_array_foreach(keks, i, kek)
    {
        json_t *one = json_copy((json_t *)(uintptr_t)line);
        for (size_t m = 0; one != NULL && m < sizeof of_first / sizeof of_first[0]; m++) {
            (void)json_object_del(one, of_first[m]);
        }
        tally->spoilt = one == NULL || json_object_update(one, kek) != 0 || tally->spoilt;
        if (one != NULL) {
            take(tally, one);
        }
        json_decref(one);
    }
}

static void take_call(struct audit_tally *tally, const json_t *line)
{
    take_each(tally, line, take_use);
}

static void take_login(struct audit_tally *tally, const json_t *line)
{
    static const char *const members[] = {"provider", "token",    "node", "outcome",
                                          "command",  "peer_uid", NULL};
    gather(tally, tally->logins, line, members, strcmp(text_of(line, "outcome"), "ok") == 0);
}

static void take_rejected(struct audit_tally *tally, const json_t *line)
{
    static const char *const members[] = {"node", "peer_uid", "status", NULL};
    gather(tally, tally->refused, line, members, false);
}

/* Of what was begun and has ended only the end is listed. */
static void forget_begun(struct audit_tally *tally, const json_t *line)
{
    static const char *const same[] = {"event", "root", "provider", "command"};
    for (size_t i = json_array_size(tally->acts); i > 0; i--) {
        const json_t *row = json_array_get(tally->acts, i - 1);
        bool is_it = strcmp(text_of(row, "outcome"), "begun") == 0 &&
                     json_integer_value(json_object_get(row, "version")) ==
                         json_integer_value(json_object_get(line, "version"));
        for (size_t m = 0; m < sizeof same / sizeof same[0]; m++) {
            is_it = is_it && strcmp(text_of(row, same[m]), text_of(line, same[m])) == 0;
        }
        if (is_it && strcmp(text_of(line, "outcome"), "begun") != 0) {
            (void)json_array_remove(tally->acts, i - 1);
            return;
        }
    }
}

static void take_act(struct audit_tally *tally, const json_t *line)
{
    static const char *const members[] = {"time",     "event",     "command", "root",    "version",
                                          "kek_id",   "provider",  "state",   "outcome", "said",
                                          "peer_uid", "login_uid", "node",    "error",   NULL};
    const char *event = text_of(line, "event");
    forget_begun(tally, line);
    list(tally, tally->acts, line, members);
    struct audit_key *key =
        strcmp(text_of(line, "outcome"), "ok") == 0 ? key_of(tally, line) : NULL;
    if (key == NULL) {
        return;
    }
    const char *provider = text_of(line, "provider");
    bool active = strcmp(text_of(line, "state"), "active") == 0;
    if (strcmp(event, "generate") == 0 && key->generated_ms == 0 && key->first_active_ms == 0) {
        key->generated_ms = time_of(line);
    }
    if (active && (strcmp(event, "generate") == 0 || strcmp(event, "promote") == 0)) {
        is_active(key, time_of(line), true);
        is_active_on(key, provider);
    } else if (strcmp(event, "retire") == 0 && is_active_nowhere(key, provider)) {
        is_retired(key, time_of(line));
    } else if ((strcmp(event, "suspend") == 0 || strcmp(event, "destroy") == 0) &&
               is_active_nowhere(key, provider)) {
        is_inactive(key, time_of(line));
    }
}

/* What a start finds as it was is no change. */
static void take_version(struct audit_tally *tally, const json_t *line)
{
    static const char *const members[] = {"time",     "version", "kek_id", "state",
                                          "provider", "node",    NULL};
    const char *state = text_of(line, "state");
    char name[256];
    snprintf(name, sizeof name, "%.64s|%.64s|%.64s", text_of(line, "kek_id"),
             text_of(line, "provider"), text_of(line, "node"));
    kek_text_clean(name);
    const char *before = json_string_value(json_object_get(tally->seen, name));
    if (before == NULL || strcmp(before, state) != 0) {
        list(tally, tally->changes, line, members);
        if (before != NULL || json_object_size(tally->seen) < AUDIT_TALLY_ROWS_MAX) {
            tally->spoilt =
                json_object_set_new(tally->seen, name, json_string(state)) != 0 || tally->spoilt;
        }
    }
    struct audit_key *key = key_of(tally, line);
    const char *provider = text_of(line, "provider");
    if (key != NULL && strcmp(state, "active") == 0) {
        is_active(key, time_of(line), false);
        is_active_on(key, provider);
    } else if (key != NULL &&
               (strcmp(state, "deactivated") == 0 || strcmp(state, "suspended") == 0 ||
                strcmp(state, "compromised") == 0) &&
               is_active_nowhere(key, provider)) {
        is_inactive(key, time_of(line));
    }
}

static void take_announced(struct audit_tally *tally, const json_t *line)
{
    struct audit_key *key = key_of(tally, line);
    if (key != NULL) {
        is_active(key, time_of(line), false);
    }
}

static void take_primary(struct audit_tally *tally, const json_t *line)
{
    take_each(tally, line, take_announced);
}

static void take_start(struct audit_tally *tally, const json_t *line)
{
    tally->starts++;
    snprintf(tally->program, sizeof tally->program, "%s", text_of(line, "program"));
}

static void take_stop(struct audit_tally *tally, const json_t *line)
{
    (void)line;
    tally->stops++;
}

static void take_dropped(struct audit_tally *tally, const json_t *line)
{
    json_int_t lines = json_integer_value(json_object_get(line, "lines"));
    json_int_t at_most = json_integer_value(json_object_get(line, "at_most"));
    tally->dropped += lines > 0 ? (uint64_t)lines : 0;
    tally->dropped_at_most += at_most > lines ? (uint64_t)at_most : lines > 0 ? (uint64_t)lines : 0;
}

void audit_tally_line(void *arg, const json_t *line)
{
    static const struct {
        const char *event;
        void (*take)(struct audit_tally *tally, const json_t *line);
    } events[] = {{"call", take_call},       {"login", take_login},     {"rejected", take_rejected},
                  {"version", take_version}, {"primary", take_primary}, {"start", take_start},
                  {"stop", take_stop},       {"dropped", take_dropped}, {"generate", take_act},
                  {"promote", take_act},     {"retire", take_act},      {"suspend", take_act},
                  {"resume", take_act},      {"quarantine", take_act},  {"destroy", take_act},
                  {"destroyed", take_act},   {"pin-retry", take_act},   {"audit-key", take_act},
                  {"trial", take_act},       {"backup", take_act}};
    struct audit_tally *tally = arg;
    const char *event = text_of(line, "event");
    if (tally->first[0] == '\0') {
        snprintf(tally->first, sizeof tally->first, "%s", text_of(line, "time"));
    }
    snprintf(tally->last, sizeof tally->last, "%s", text_of(line, "time"));
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        if (strcmp(events[i].event, event) == 0) {
            events[i].take(tally, line);
        }
    }
}

json_t *audit_tally_list(const json_t *gathered)
{
    const char *name;
    json_t *row, *rows = json_array();
    json_object_foreach((json_t *)(uintptr_t)gathered, name, row)
    {
        if (rows != NULL && json_array_append(rows, row) != 0) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}
