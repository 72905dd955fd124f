#include "p11.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KNOWN_ANSWERS_MAX 4 /* tried before a token is called lost */

struct kek_p11_outcome kek_p11_session_handle(const struct kek_provider *provider,
                                              CK_SESSION_HANDLE *handle)
{
    return kek_p11_open_session(provider->f, provider->slot, provider->read_only, handle);
}

struct kek_p11_outcome kek_p11_session_begin(struct kek_provider_session *session)
{
    session->rung = -1;
    return kek_p11_session_handle(session->provider, &session->handle);
}

bool kek_p11_session_fail(const struct kek_provider *provider, Kek__Provider__Step step,
                          struct kek_p11_outcome outcome, struct kek_provider_failure *failure)
{
    (void)kek_p11_fail_rv(failure, step, outcome);
    if (outcome.rv != CKR_SESSION_COUNT) {
        return false;
    }
    char limit[32] = "does not say how many";
    if (provider->max_sessions != 0) {
        snprintf(limit, sizeof limit, "allows %lu", provider->max_sessions);
    }
    (void)kek_fail_within(&failure->why, failure->why.rc,
                          "the token has no session left (it %s); kekd opens up to %u, (processes "
                          "+ 1) x (sessions + 1), and others may use it: lower sessions: or "
                          "processes:",
                          limit, provider->peak_sessions);
    return false;
}

/* The new one is opened before the old one is closed: with the last session a token forgets its
 * login.  Where it has no room for both, a session other than the anchor may go first. */
struct kek_p11_outcome kek_p11_session_ready(struct kek_provider_session *session)
{
    const struct kek_provider *provider = session->provider;
    struct kek_p11_outcome outcome = {.rv = CKR_OK, .call = "C_OpenSession"};
    if (!session->broken) {
        return outcome;
    }
    CK_SESSION_HANDLE old = session->handle, fresh;
    outcome = kek_p11_session_handle(provider, &fresh);
    if (outcome.rv == CKR_SESSION_COUNT && session != &provider->anchor) {
        (void)kek_p11_close_session(provider->f, old);
        old = CK_INVALID_HANDLE;
        session->handle = old;
        outcome = kek_p11_session_handle(provider, &fresh);
    }
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    if (old != CK_INVALID_HANDLE) {
        (void)kek_p11_close_session(provider->f, old);
    }
    session->handle = fresh;
    session->broken = false;
    return outcome;
}

bool kek_p11_session_open(struct kek_provider *provider, struct kek_provider_session **session,
                          struct kek_provider_failure *failure)
{
    if (!provider->anchor_serves) {
        provider->anchor_serves = true;
        *session = &provider->anchor;
        return true;
    }
    KEK_AUTO_FREE struct kek_provider_session *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__BUSY,
                            "no memory for a session");
    }
    fresh->provider = provider;
    struct kek_p11_outcome outcome = kek_p11_session_begin(fresh);
    if (!kek_p11_good(outcome)) {
        /* The token has taken the PIN before: step LOGIN would count as a try of it. */
        return kek_p11_session_fail(provider, KEK__PROVIDER__STEP__PROBE, outcome, failure);
    }
    fresh->rung = provider->anchor.rung;
    fresh->local = provider->anchor.local;
    fresh->table = provider->anchor.table;
    *session = KEK_STEAL(fresh);
    return true;
}

struct kek_p11_entry *kek_p11_session_entry(struct kek_provider_session *session,
                                            const struct kek_id *kek_id)
{
    struct kek_p11_entry *refused = NULL;
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *entry = &session->table.entries[i];
        if (!entry->has_id || !kek_id_equal(&entry->version.id, kek_id)) {
            continue;
        }
        if (entry->version.eligible) {
            return entry;
        }
        refused = refused == NULL || entry->standing == KEK_P11_CHOSEN ? entry : refused;
    }
    return refused;
}

/* A copy or a rival is told under the number of the version that it is not. */
static uint32_t number_of(const struct kek_p11_table *table, const struct kek_p11_entry *entry)
{
    for (size_t i = 0; entry->standing != KEK_P11_CHOSEN && i < table->count; i++) {
        const struct kek_p11_entry *other = &table->entries[i];
        if (other->standing == KEK_P11_CHOSEN && other->version.eligible && other->has_id &&
            kek_id_equal(&other->version.id, &entry->version.id)) {
            return other->version.number;
        }
    }
    return entry->version.number;
}

void kek_p11_session_versions(const struct kek_provider_session *session,
                              struct kek_provider_versions *versions)
{
    const struct kek_p11_table *table = &session->table;
    versions->count = 0;
    for (int eligible = 0; eligible < 2; eligible++) {
        for (size_t i = 0; i < table->count; i++) {
            if (table->entries[i].version.eligible == (eligible == 1)) {
                struct kek_version *version = &versions->items[versions->count++];
                *version = table->entries[i].version;
                version->number = number_of(table, &table->entries[i]);
            }
        }
    }
}

/* For where no known answer can be asked for: whether the token still describes itself and shows a key. */
static bool token_answers(struct kek_provider_session *session)
{
    CK_TOKEN_INFO info;
    CK_FUNCTION_LIST *f = session->provider->f;
    if (!kek_p11_good(kek_p11_get_token_info(f, session->provider->slot, &info))) {
        return false;
    }
    if (session->table.count == 0) {
        return true;
    }
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_TOKEN, &yes, sizeof yes},
    };
    CK_OBJECT_HANDLE any;
    size_t count = 0;
    return kek_p11_good(kek_p11_find(f, session->handle, attributes, 2, &any, 1, &count)) &&
           count > 0;
}

bool kek_p11_session_alive(struct kek_provider_session *session)
{
    int asked = 0;
    for (size_t i = 0; i < session->table.count && asked < KNOWN_ANSWERS_MAX; i++) {
        const struct kek_p11_entry *entry = &session->table.entries[i];
        if (entry->known.len == 0 || !entry->version.can_unwrap) {
            continue;
        }
        asked++;
        bool same;
        struct kek_p11_outcome outcome = kek_p11_ask_known(session, entry, entry->handle, &same);
        switch (kek_p11_class_of(outcome.rv)) {
        case KEK_P11_OK:
            return same;
        case KEK_P11_STATE:
        case KEK_P11_HANDLE:
            /* That key may have been retired or destroyed meanwhile: ask another one. */
            break;
        default:
            return false;
        }
    }
    return kek_p11_good(kek_p11_session_ready(session)) && token_answers(session);
}
