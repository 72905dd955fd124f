#include "p11.h"

#include <stdio.h>
#include <string.h>

/* Several keys of the keyring may have one CKA_ID: a restore that appended, a copy by C_CopyObject, or
 * a key that somebody made under the id of ours.  The envelope names the CKA_ID alone, so one of them
 * is chosen and the others stop nothing: what is the same key waits in reserve, what is another key
 * is put aside.  What the chosen key is to open tells which is which. */

static bool has_id(const struct kek_p11_entry *entry, const struct kek_id *id)
{
    return entry->has_id && kek_id_equal(&entry->version.id, id);
}

static void refuse(struct kek_p11_entry *entry, const struct kek_p11_entry *chosen,
                   enum kek_p11_standing standing, bool known)
{
    const char *what = standing == KEK_P11_COPY ? "is the same key"
                       : known                  ? "is another key"
                                                : "may be another key";
    entry->standing = standing;
    entry->version.eligible = false;
    snprintf(entry->version.refusal, sizeof entry->version.refusal,
             "it has the same CKA_ID as %.60s, which is used, and %s", chosen->version.label, what);
}

static bool has_opened(const struct kek_provider *provider, CK_OBJECT_HANDLE object)
{
    for (size_t i = 0; i < KEK_PROVIDER_VERSIONS_MAX; i++) {
        if (atomic_load(&provider->shared->opened[i]) == object) {
            return true;
        }
    }
    return false;
}

enum same { SAME, ANOTHER, UNCERTAIN };

/* The same id under a new handle: does what the old one wrapped come out? */
static enum same is_same_key(struct kek_provider_session *session,
                             const struct kek_p11_entry *before, const struct kek_p11_entry *entry)
{
    if (entry->handle == before->handle) {
        return SAME;
    }
    if (before->known.len == 0 || !entry->version.can_unwrap ||
        (!entry->version.eligible && entry->standing == KEK_P11_CHOSEN)) {
        return UNCERTAIN;
    }
    bool same;
    struct kek_p11_outcome outcome = kek_p11_ask_known(session, before, entry->handle, &same);
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    if (class == KEK_P11_OK) {
        return same ? SAME : ANOTHER;
    }
    return class == KEK_P11_DATA || class == KEK_P11_AMBIGUOUS ? ANOTHER : UNCERTAIN;
}

/* The entry of the new table that is the key of an old one: the one under its handle, else one that
 * opens what it wrapped.  *stranger is a key that does not. */
static struct kek_p11_entry *heir_of(struct kek_provider_session *session,
                                     const struct kek_p11_entry *before,
                                     struct kek_p11_table *table,
                                     const struct kek_p11_entry **stranger)
{
    struct kek_p11_entry *heir = NULL;
    for (size_t i = 0; i < table->count; i++) {
        struct kek_p11_entry *entry = &table->entries[i];
        if (entry->handle == before->handle && has_id(entry, &before->version.id)) {
            /* A suspended key has no flag that would tell its strategy. */
            entry->strategy =
                entry->strategy == KEK_P11_BY_NOTHING ? before->strategy : entry->strategy;
            return entry->strategy == before->strategy ? entry : NULL;
        }
    }
    for (size_t i = 0; heir == NULL && i < table->count; i++) {
        struct kek_p11_entry *entry = &table->entries[i];
        if (!has_id(entry, &before->version.id) || entry->strategy != before->strategy) {
            continue;
        }
        switch (is_same_key(session, before, entry)) {
        case SAME:
            heir = entry;
            break;
        case ANOTHER:
            *stranger = entry;
            break;
        case UNCERTAIN:
            break;
        }
    }
    return heir;
}

/* What was proven of a key stays proven; an ability that is new is proven anew.  A key that was
 * exchanged under its name is for a fresh process, which nobody trusts yet. */
bool kek_p11_carry_over(struct kek_provider_session *session, struct kek_p11_table *new,
                        Kek__Provider__Step step, struct kek_provider_failure *failure)
{
    for (size_t i = 0; i < session->table.count; i++) {
        const struct kek_p11_entry *before = &session->table.entries[i], *stranger = NULL;
        if (!before->has_id || before->standing != KEK_P11_CHOSEN) {
            continue;
        }
        struct kek_p11_entry *heir = heir_of(session, before, new, &stranger);
        if (heir == NULL && stranger != NULL) {
            return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__LINK,
                                "key %s is not the one that it was", stranger->version.label);
        }
        if (heir != NULL) {
            heir->way = before->way;
            heir->known = before->known;
            heir->version.alg = heir->known.len == 0 ? KEK_WRAP_NONE : heir->way->alg;
            heir->was_chosen = !before->contested;
        }
    }
    return true;
}

/* Whether a is to stand for the version rather than b: what is known to be right, then what can do
 * most, then the older number, so that a copy under a new name moves nobody. */
static bool is_before(const struct kek_provider *provider, const struct kek_p11_entry *a,
                      const struct kek_p11_entry *b)
{
    if (a->was_chosen != b->was_chosen) {
        return a->was_chosen;
    }
    bool opened = has_opened(provider, a->handle);
    if (opened != has_opened(provider, b->handle)) {
        return opened;
    }
    if (a->version.can_wrap != b->version.can_wrap) {
        return a->version.can_wrap;
    }
    if (a->version.can_unwrap != b->version.can_unwrap) {
        return a->version.can_unwrap;
    }
    return a->version.number < b->version.number;
}

/* The key that stood for the version stays a party when it may not be used any more: what is left then
 * has to show that it is the same. */
static void choose_one(const struct kek_provider *provider, struct kek_p11_table *table,
                       const struct kek_id *id)
{
    struct kek_p11_entry *chosen = NULL;
    size_t parties = 0;
    for (size_t i = 0; i < table->count; i++) {
        struct kek_p11_entry *entry = &table->entries[i];
        if (!has_id(entry, id)) {
            continue;
        }
        parties += entry->version.eligible || entry->was_chosen ? 1 : 0;
        if (entry->version.eligible && (chosen == NULL || is_before(provider, entry, chosen))) {
            chosen = entry;
        }
    }
    if (chosen == NULL) {
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        struct kek_p11_entry *entry = &table->entries[i];
        if (entry != chosen && entry->version.eligible && has_id(entry, id)) {
            refuse(entry, chosen, KEK_P11_RIVAL, false);
        }
    }
    chosen->contested = parties > 1 && !chosen->was_chosen && !has_opened(provider, chosen->handle);
}

/* What is compromised is the key, so all that have its CKA_ID are: a copy that was made before, or restored
 * since, has no mark. */
static void spread_mark(struct kek_p11_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        const struct kek_p11_entry *marked = &table->entries[i];
        for (size_t j = 0; marked->has_id && marked->version.compromised && j < table->count; j++) {
            struct kek_version *other = &table->entries[j].version;
            if (has_id(&table->entries[j], &marked->version.id)) {
                other->compromised = true;
                other->can_wrap = false;
            }
        }
    }
}

void kek_p11_choose_copies(const struct kek_provider *provider, struct kek_p11_table *table,
                           const struct kek_id *only)
{
    spread_mark(table);
    if (only != NULL) {
        choose_one(provider, table, only);
        return;
    }
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].has_id && table->entries[i].version.eligible) {
            const struct kek_id id = table->entries[i].version.id;
            choose_one(provider, table, &id);
        }
    }
}

/* A copy in reserve takes the place of a key that may not unwrap any more. */
static struct kek_p11_entry *exchange(struct kek_p11_entry *chosen, struct kek_p11_entry *copy)
{
    copy->standing = KEK_P11_CHOSEN;
    copy->version.eligible = true;
    copy->version.refusal[0] = '\0';
    copy->version.alg = chosen->version.alg;
    copy->way = chosen->way;
    copy->known = chosen->known;
    copy->contested = false;
    refuse(chosen, copy, KEK_P11_COPY, true);
    return copy;
}

/* The rivals of one chosen key. */
static void compare(struct kek_provider_session *session, struct kek_p11_entry *chosen)
{
    struct kek_p11_table *table = &session->table;
    bool all_same = true;
    for (size_t i = 0; i < table->count; i++) {
        struct kek_p11_entry *rival = &table->entries[i];
        if (rival->standing == KEK_P11_CHOSEN || !has_id(rival, &chosen->version.id)) {
            continue;
        }
        enum same same =
            rival->strategy == chosen->strategy ? is_same_key(session, chosen, rival) : UNCERTAIN;
        if (same == SAME && !chosen->version.can_unwrap) {
            chosen = exchange(chosen, rival);
        } else if (same == SAME) {
            refuse(rival, chosen, KEK_P11_COPY, true);
        } else if (same == ANOTHER) {
            refuse(rival, chosen, KEK_P11_RIVAL, true);
        }
        all_same = all_same && same == SAME;
    }
    chosen->contested = chosen->contested && !all_same;
}

void kek_p11_compare_copies(struct kek_provider_session *session)
{
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *entry = &session->table.entries[i];
        if (entry->has_id && entry->standing == KEK_P11_CHOSEN && entry->known.len > 0) {
            compare(session, entry);
        }
    }
}

void kek_p11_settle_copies(struct kek_provider_session *session, struct kek_p11_entry *entry)
{
    struct kek_p11_shared *shared = session->provider->shared;
    for (size_t i = 0; i < KEK_PROVIDER_VERSIONS_MAX; i++) {
        CK_OBJECT_HANDLE there = 0;
        if (atomic_compare_exchange_strong(&shared->opened[i], &there, entry->handle) ||
            there == entry->handle) {
            break;
        }
    }
    if (entry->standing == KEK_P11_CHOSEN) {
        entry->contested = false;
        return;
    }
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *other = &session->table.entries[i];
        if (other != entry && other->standing == KEK_P11_CHOSEN && other->version.eligible &&
            has_id(other, &entry->version.id)) {
            refuse(other, entry, KEK_P11_RIVAL, true);
            other->contested = false;
        }
    }
    entry->standing = KEK_P11_CHOSEN;
    entry->contested = false;
    entry->version.eligible = true;
    entry->version.refusal[0] = '\0';
}

struct kek_p11_entry *kek_p11_meant(struct kek_provider_session *session,
                                    struct kek_p11_entry *entry)
{
    if (!entry->contested) {
        return entry;
    }
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *one = &session->table.entries[i];
        if (has_id(one, &entry->version.id) && has_opened(session->provider, one->handle)) {
            kek_p11_settle_copies(session, one);
            return one;
        }
    }
    return NULL;
}
