#include "p11.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL
#define AHEAD 8      /* numbers after the newest one that are looked for by label */
#define FAR 64       /* the same, from 1, where a key could not be read */
#define NAMESAKES 65 /* keys with one label or CKA_ID that are looked at */

/* A look at the token that is under way. */
struct scan {
    struct kek_provider_session *session;
    struct kek_p11_table *table; /* the new one */
    bool full;                   /* there were more keys of ours than it holds */
    size_t gone;                 /* keys that went while they were looked at */
    struct kek_p11_outcome last; /* what the last of these said */
};

/* A search uses no key: what it says of one's use is said of the token. */
static bool fail_scan(struct kek_provider_failure *failure, Kek__Provider__Step step,
                      struct kek_p11_outcome outcome)
{
    if (kek_p11_class_of(outcome.rv) == KEK_P11_STATE) {
        return kek_p11_fail_as(failure, step, KEK__PROVIDER__CAUSE__LINK, outcome);
    }
    return kek_p11_fail_rv(failure, step, outcome);
}

static struct kek_p11_entry *entry_of(struct kek_p11_table *table, CK_OBJECT_HANDLE object)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].handle == object) {
            return &table->entries[i];
        }
    }
    return NULL;
}

/* Where a full table has room for a key: in place of one that is refused anyway. */
static struct kek_p11_entry *place_for(struct kek_p11_table *table,
                                       const struct kek_p11_entry *entry)
{
    if (table->count < KEK_PROVIDER_VERSIONS_MAX) {
        return &table->entries[table->count++];
    }
    for (size_t i = table->count; entry->version.eligible && i > 0; i--) {
        if (!table->entries[i - 1].version.eligible) {
            return &table->entries[i - 1];
        }
    }
    return NULL;
}

/* Reads the object into the table if it is a key of ours that is not there yet: a module may list one
 * twice, and one handle is one key. */
static struct kek_p11_outcome add(struct scan *scan, CK_OBJECT_HANDLE object)
{
    struct kek_p11_outcome outcome = {.rv = CKR_OK, .call = "C_GetAttributeValue"};
    struct kek_p11_entry entry;
    bool ours;
    if (entry_of(scan->table, object) != NULL) {
        return outcome;
    }
    outcome = kek_p11_read_entry(scan->session, object, &entry, &ours);
    if (kek_p11_class_of(outcome.rv) == KEK_P11_SESSION) {
        scan->session->broken = true;
        outcome = kek_p11_session_ready(scan->session);
        if (kek_p11_good(outcome)) {
            outcome = kek_p11_read_entry(scan->session, object, &entry, &ours);
        }
    }
    if (kek_p11_good(outcome) && ours) {
        struct kek_p11_entry *place = place_for(scan->table, &entry);
        if (place != NULL) {
            *place = entry;
            kek_p11_found_add(scan->session->provider->shared, object);
        } else {
            scan->full = scan->full || entry.version.eligible;
        }
    } else if (kek_p11_good(outcome) || kek_p11_is_gone(outcome)) {
        kek_p11_found_drop(scan->session->provider->shared, object);
    }
    if (kek_p11_is_gone(outcome)) {
        scan->gone++;
        scan->last = outcome;
        outcome.rv = CKR_OK;
    }
    return outcome;
}

static struct kek_p11_outcome add_all(struct scan *scan, const CK_OBJECT_HANDLE *objects,
                                      size_t count)
{
    struct kek_p11_outcome outcome = {.rv = CKR_OK, .call = "C_GetAttributeValue"};
    for (size_t i = 0; kek_p11_good(outcome) && i < count; i++) {
        outcome = add(scan, objects[i]);
    }
    return outcome;
}

/* All with that label or CKA_ID.  What the token finds by one of ours is ours: if it cannot be read,
 * that is the token's failure.  One that went while it was looked at is looked for once more: its
 * handle may have failed in passing. */
static struct kek_p11_outcome add_exact(struct scan *scan, CK_ATTRIBUTE_TYPE type,
                                        const void *value, size_t len)
{
    CK_OBJECT_HANDLE objects[NAMESAKES];
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    for (int round = 0; round < 2; round++) {
        size_t count = 0, gone = scan->gone;
        outcome = kek_p11_find_exact(scan->session, type, value, len, objects, NAMESAKES, &count);
        if (!kek_p11_good(outcome)) {
            return outcome;
        }
        outcome = add_all(scan, objects, count);
        if (!kek_p11_good(outcome) || scan->gone == gone) {
            return outcome;
        }
    }
    return outcome;
}

static struct kek_p11_outcome add_label(struct scan *scan, const char *label)
{
    return add_exact(scan, CKA_LABEL, label, strlen(label));
}

/* `mark`: "", or that of a compromised one. */
static struct kek_p11_outcome add_number(struct scan *scan, uint64_t number, const char *mark)
{
    char label[KEK_LABEL_MAX];
    struct kek_p11_outcome none = {.rv = CKR_OK};
    int len = snprintf(label, sizeof label, "%s.v%llu%s", scan->session->provider->keyring,
                       (unsigned long long)number, mark);
    bool is_label = number <= UINT32_MAX && len > 0 && (size_t)len < sizeof label;
    return is_label ? add_label(scan, label) : none;
}

static bool is_named_there(const struct kek_provider *provider, const struct kek_p11_table *table,
                           const struct kek_p11_named *named)
{
    for (size_t i = 0; i < table->count; i++) {
        if (kek_p11_named_of(provider, table->entries[i].version.label) == named) {
            return true;
        }
    }
    return false;
}

static struct kek_p11_outcome add_marked(struct scan *scan, const char *label)
{
    char marked[KEK_LABEL_MAX];
    struct kek_p11_outcome none = {.rv = CKR_OK};
    int len = snprintf(marked, sizeof marked, "%s" KEK_P11_MARK, label);
    return len > 0 && (size_t)len < sizeof marked ? add_label(scan, marked) : none;
}

/* The labels of the configuration that no key of the table has, as they are and with the mark. */
static struct kek_p11_outcome add_named(struct scan *scan)
{
    const struct kek_provider *provider = scan->session->provider;
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    for (size_t i = 0; kek_p11_good(outcome) && i < provider->named_count; i++) {
        const struct kek_p11_named *named = &provider->named[i];
        if (!is_named_there(provider, scan->table, named)) {
            outcome = add_label(scan, named->label);
        }
        if (kek_p11_good(outcome) && !is_named_there(provider, scan->table, named)) {
            outcome = add_marked(scan, named->label);
        }
    }
    return outcome;
}

/* The number of the newest version that may be used: a key that nobody uses moves no search. */
static uint32_t newest(const struct kek_p11_table *table)
{
    uint32_t number = 0;
    for (size_t i = 0; i < table->count; i++) {
        const struct kek_version *version = &table->entries[i].version;
        if (version->eligible && version->number > number) {
            number = version->number;
        }
    }
    return number;
}

static struct kek_p11_outcome is_found_by(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                                          const void *value, size_t len, bool *found)
{
    CK_OBJECT_HANDLE objects[NAMESAKES];
    size_t count = 0;
    struct kek_p11_outcome outcome =
        kek_p11_find_exact(session, type, value, len, objects, NAMESAKES, &count);
    *found = false;
    for (size_t i = 0; kek_p11_good(outcome) && i < count; i++) {
        *found = *found || objects[i] == object;
    }
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    if (class == KEK_P11_TEMPLATE || class == KEK_P11_UNSUPPORTED) {
        outcome.rv = CKR_OK; /* it searches by nothing of the kind */
    }
    return outcome;
}

/* Does the token find by label and by CKA_ID a key that it shows?  Where it does not, only a look at all
 * keys tells which are ours. */
static struct kek_p11_outcome try_searching(const struct scan *scan)
{
    const struct kek_provider *provider = scan->session->provider;
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    if (scan->table->count == 0 || provider->anchor_serves) {
        return outcome;
    }
    const struct kek_p11_entry *entry = &scan->table->entries[0];
    const char *label = entry->version.label;
    bool found;
    outcome = is_found_by(scan->session, entry->handle, CKA_LABEL, label, strlen(label), &found);
    if (kek_p11_good(outcome) && found && entry->has_id) {
        outcome = is_found_by(scan->session, entry->handle, CKA_ID, entry->version.id.bytes,
                              KEK_ID_LEN, &found);
    }
    provider->shared->unsearchable = kek_p11_good(outcome) && !found;
    return outcome;
}

/* What the stream could not show: keys of other types under our names, and those among what could not
 * be read that the token itself knows to be ours. */
static struct kek_p11_outcome add_by_labels(struct scan *scan, bool far)
{
    uint64_t top = newest(scan->table), from = far ? 1 : top + 1;
    uint64_t to = far && top + AHEAD < FAR ? FAR : top + AHEAD;
    if (to - from > FAR + AHEAD) {
        from = to - FAR - AHEAD;
    }
    struct kek_p11_outcome outcome = add_named(scan);
    for (uint64_t n = from; kek_p11_good(outcome) && n <= to; n++) {
        outcome = add_number(scan, n, "");
        if (kek_p11_good(outcome) && far) {
            outcome = add_number(scan, n, KEK_P11_MARK);
        }
    }
    return outcome;
}

/* Every AES key's label is read, and all of those that are ours.  A key that went meanwhile is looked
 * for once more. */
static bool read_all(struct scan *scan, Kek__Provider__Step step,
                     struct kek_provider_failure *failure)
{
    struct kek_p11_streamed streamed;
    for (int round = 0; round < 2; round++) {
        struct kek_p11_outcome outcome = kek_p11_stream(scan->session, &streamed);
        if (!kek_p11_good(outcome)) {
            return fail_scan(failure, step, outcome);
        }
        size_t count =
            streamed.ours_count < KEK_P11_OURS_MAX ? streamed.ours_count : KEK_P11_OURS_MAX;
        scan->table->count = scan->gone = 0;
        memcpy(scan->table->others, streamed.others, sizeof streamed.others);
        scan->table->more_others = streamed.more_others;
        scan->full = streamed.ours_count > KEK_P11_OURS_MAX;
        outcome = add_all(scan, streamed.ours, count);
        if (!kek_p11_good(outcome)) {
            return fail_scan(failure, step, outcome);
        }
        if (scan->gone + streamed.gone == 0) {
            break;
        }
    }
    /* Nobody destroys all keys of a token in a moment: it is the token that went. */
    if (streamed.read == 0 && streamed.gone > 0) {
        return kek_p11_fail_as(failure, step, KEK__PROVIDER__CAUSE__LINK, streamed.trouble);
    }
    if (scan->gone > 0 && scan->table->count == 0) {
        return kek_p11_fail_as(failure, step, KEK__PROVIDER__CAUSE__LINK, scan->last);
    }
    if (streamed.read == 0 && streamed.unreadable > 0 && !kek_p11_session_alive(scan->session)) {
        return fail_scan(failure, step, streamed.trouble);
    }
    struct kek_p11_outcome outcome = try_searching(scan);
    if (kek_p11_good(outcome) && !scan->session->provider->shared->unsearchable) {
        outcome = add_by_labels(scan, streamed.unreadable > 0);
    }
    return kek_p11_good(outcome) || fail_scan(failure, step, outcome);
}

static int by_number(const void *a, const void *b)
{
    const struct kek_p11_entry *left = a, *right = b;
    return (left->version.number > right->version.number) -
           (left->version.number < right->version.number);
}

/* The new table takes the old one's place. */
static bool install(struct scan *scan, const struct kek_id *only, Kek__Provider__Step step,
                    struct kek_provider_failure *failure)
{
    struct kek_provider_session *session = scan->session;
    if (scan->full) {
        return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__KEY_UNFIT,
                            "more than %d keys on the token are named %s.v<N>",
                            KEK_PROVIDER_VERSIONS_MAX, session->provider->keyring);
    }
    /* A token that was taken away shows no keys rather than an error (SoftHSM). */
    if (scan->table->count == 0 && session->table.count > 0) {
        return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__LINK,
                            "the token shows no key of keyring %s any more",
                            session->provider->keyring);
    }
    qsort(scan->table->entries, scan->table->count, sizeof scan->table->entries[0], by_number);
    if (!kek_p11_carry_over(session, scan->table, step, failure)) {
        return false;
    }
    kek_p11_choose_copies(session->provider, scan->table, only);
    session->table = *scan->table;
    return true;
}

static struct kek_p11_table *new_table(Kek__Provider__Step step,
                                       struct kek_provider_failure *failure)
{
    struct kek_p11_table *table = calloc(1, sizeof *table);
    if (table == NULL) {
        kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__BUSY, "no memory for a key list");
    }
    return table;
}

bool kek_p11_scan(struct kek_provider_session *session, Kek__Provider__Step step,
                  struct kek_provider_failure *failure)
{
    KEK_AUTO_FREE struct kek_p11_table *table = new_table(step, failure);
    struct scan scan = {.session = session, .table = table};
    return table != NULL && read_all(&scan, step, failure) && install(&scan, NULL, step, failure);
}

static bool has_key(const struct kek_p11_table *table, const struct kek_id *id)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].has_id && kek_id_equal(&table->entries[i].version.id, id)) {
            return true;
        }
    }
    return false;
}

/* What is known, by its handle; and what is not there any more, by its CKA_ID. */
static struct kek_p11_outcome add_known(struct scan *scan)
{
    const struct kek_p11_table *old = &scan->session->table;
    struct kek_p11_shared *shared = scan->session->provider->shared;
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    for (size_t i = 0; kek_p11_good(outcome) && i < old->count; i++) {
        outcome = add(scan, old->entries[i].handle);
    }
    for (size_t i = 0; kek_p11_good(outcome) && i < KEK_PROVIDER_VERSIONS_MAX; i++) {
        CK_OBJECT_HANDLE object = atomic_load(&shared->found[i]);
        if (object != 0) {
            outcome = add(scan, object);
        }
    }
    for (size_t i = 0; kek_p11_good(outcome) && i < old->count; i++) {
        const struct kek_p11_entry *entry = &old->entries[i];
        if (entry->has_id && !has_key(scan->table, &entry->version.id)) {
            outcome = add_exact(scan, CKA_ID, entry->version.id.bytes, KEK_ID_LEN);
        }
    }
    return outcome;
}

/* The next number each time, for it is the next version's; at each turn one of those after it, or the next
 * one as it is called once it is compromised: every search is dear to a token with many keys. */
static struct kek_p11_outcome add_next(struct scan *scan)
{
    uint64_t top = newest(scan->table);
    unsigned turn = scan->session->turn++ % AHEAD;
    struct kek_p11_outcome outcome = add_number(scan, top + 1, "");
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    return turn < AHEAD - 1 ? add_number(scan, top + 2 + turn, "")
                            : add_number(scan, top + 1, KEK_P11_MARK);
}

bool kek_p11_refresh(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    if (session->provider->shared->unsearchable) {
        return kek_p11_scan(session, CALL_STEP, failure);
    }
    struct kek_p11_outcome outcome = kek_p11_session_ready(session);
    if (!kek_p11_good(outcome)) {
        return fail_scan(failure, CALL_STEP, outcome);
    }
    KEK_AUTO_FREE struct kek_p11_table *table = new_table(CALL_STEP, failure);
    struct scan scan = {.session = session, .table = table};
    if (table == NULL) {
        return false;
    }
    kek_p11_sweep(session);
    outcome = add_known(&scan);
    if (kek_p11_good(outcome)) {
        outcome = add_named(&scan);
    }
    if (kek_p11_good(outcome)) {
        outcome = add_next(&scan);
    }
    if (!kek_p11_good(outcome)) {
        return fail_scan(failure, CALL_STEP, outcome);
    }
    return install(&scan, NULL, CALL_STEP, failure);
}

bool kek_p11_find_key(struct kek_provider_session *session, const struct kek_id *kek_id,
                      struct kek_provider_failure *failure)
{
    if (session->provider->shared->unsearchable) {
        return kek_p11_scan(session, CALL_STEP, failure);
    }
    KEK_AUTO_FREE struct kek_p11_table *table = new_table(CALL_STEP, failure);
    struct scan scan = {.session = session, .table = table};
    if (table == NULL) {
        return false;
    }
    for (size_t i = 0; i < session->table.count; i++) {
        const struct kek_p11_entry *entry = &session->table.entries[i];
        if (!entry->has_id || !kek_id_equal(&entry->version.id, kek_id)) {
            table->entries[table->count++] = *entry;
        }
    }
    struct kek_p11_outcome outcome = add_exact(&scan, CKA_ID, kek_id->bytes, KEK_ID_LEN);
    if (!kek_p11_good(outcome)) {
        return fail_scan(failure, CALL_STEP, outcome);
    }
    return install(&scan, kek_id, CALL_STEP, failure);
}
