#include "p11.h"

#include <string.h>

#include "kek/clock.h"

#define BATCH 256    /* keys that one List looks at in the sweep */
#define SWEEP_MS 100 /* of a List; its keys are as many as a batch */

static CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static CK_KEY_TYPE aes = CKK_AES;
static CK_BBOOL yes = CK_TRUE;

static void again(int round, struct kek_p11_outcome first, struct kek_p11_outcome second)
{
    if (round > 0 && kek_p11_good(second)) {
        kek_p11_again(first);
    }
}

struct kek_p11_outcome kek_p11_find_exact(struct kek_provider_session *session,
                                          CK_ATTRIBUTE_TYPE type, const void *value, size_t len,
                                          CK_OBJECT_HANDLE *objects, size_t max, size_t *count)
{
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &secret_key, sizeof secret_key},
        {CKA_TOKEN, &yes, sizeof yes},
        {type, (void *)value, len},
    };
    struct kek_p11_outcome outcome = {.rv = CKR_OK}, first = outcome;
    for (int round = 0; round < 2; round++) {
        outcome = kek_p11_session_ready(session);
        if (!kek_p11_good(outcome)) {
            return outcome;
        }
        outcome =
            kek_p11_find(session->provider->f, session->handle, attributes, 3, objects, max, count);
        if (kek_p11_class_of(outcome.rv) != KEK_P11_SESSION) {
            again(round, first, outcome);
            break;
        }
        first = outcome;
        session->broken = true;
    }
    return outcome;
}

/* The keys that no other search is made for: those of other types nobody could use. */
static struct kek_p11_outcome begin(const struct kek_provider *provider, CK_SESSION_HANDLE session)
{
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &secret_key, sizeof secret_key},
        {CKA_KEY_TYPE, &aes, sizeof aes},
        {CKA_TOKEN, &yes, sizeof yes},
    };
    return kek_p11_find_begin(provider->f, session, attributes, 3);
}

static bool is_in_table(const struct kek_p11_table *table, CK_OBJECT_HANDLE object)
{
    for (size_t i = 0; i < table->count; i++) {
        if (table->entries[i].handle == object) {
            return true;
        }
    }
    return false;
}

/* The first few, and rather those that kekctl made to try a token by than others. */
static void note_other(struct kek_p11_streamed *streamed, const char *name)
{
    size_t i = 0, least = KEK_PROVIDER_OTHERS_MAX;
    if (name[0] == '\0') {
        return;
    }
    while (i < KEK_PROVIDER_OTHERS_MAX && streamed->others[i][0] != '\0' &&
           strcmp(streamed->others[i], name) != 0) {
        least = kek_wire_is_trial(streamed->others[i]) ? least : i;
        i++;
    }
    if (i == KEK_PROVIDER_OTHERS_MAX) {
        streamed->more_others = true;
        i = kek_wire_is_trial(name) ? least : i;
    }
    if (i < KEK_PROVIDER_OTHERS_MAX) {
        memcpy(streamed->others[i], name, strlen(name) + 1);
    }
}

/* Good, or what ends the stream: an object that cannot be read is passed over unless it is one that
 * was a version before. */
static struct kek_p11_outcome take(struct kek_provider_session *session, CK_OBJECT_HANDLE object,
                                   struct kek_p11_streamed *streamed)
{
    bool ours;
    char other[KEK_PROVIDER_OTHER_LEN_MAX];
    struct kek_p11_outcome outcome = kek_p11_read_label(session, object, &ours, other);
    if (kek_p11_good(outcome)) {
        streamed->read++;
        note_other(streamed, other);
        if (ours && streamed->ours_count < KEK_P11_OURS_MAX) {
            streamed->ours[streamed->ours_count] = object;
        }
        streamed->ours_count += ours ? 1 : 0;
        return outcome;
    }
    if (kek_p11_is_gone(outcome)) {
        streamed->gone++;
    } else if (kek_p11_is_of_object(outcome) && !is_in_table(&session->table, object)) {
        streamed->unreadable++;
        kek_p11_name_unreadable(session->provider, object, outcome);
    } else {
        return outcome;
    }
    streamed->trouble = outcome;
    outcome.rv = CKR_OK;
    return outcome;
}

static struct kek_p11_outcome stream_once(struct kek_provider_session *session,
                                          struct kek_p11_streamed *streamed)
{
    CK_FUNCTION_LIST *f = session->provider->f;
    CK_OBJECT_HANDLE objects[BATCH];
    memset(streamed, 0, sizeof *streamed);
    struct kek_p11_outcome outcome = begin(session->provider, session->handle);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    size_t count = 1;
    while (kek_p11_good(outcome) && count > 0) {
        outcome = kek_p11_find_next(f, session->handle, objects, BATCH, &count);
        for (size_t i = 0; kek_p11_good(outcome) && i < count; i++) {
            outcome = take(session, objects[i], streamed);
        }
    }
    struct kek_p11_outcome end = kek_p11_find_end(f, session->handle);
    return kek_p11_good(outcome) ? end : outcome;
}

struct kek_p11_outcome kek_p11_stream(struct kek_provider_session *session,
                                      struct kek_p11_streamed *streamed)
{
    struct kek_p11_outcome outcome = {.rv = CKR_OK}, first = outcome;
    for (int round = 0; round < 2; round++) {
        outcome = kek_p11_session_ready(session);
        if (!kek_p11_good(outcome)) {
            return outcome;
        }
        outcome = stream_once(session, streamed);
        if (kek_p11_class_of(outcome.rv) != KEK_P11_SESSION) {
            again(round, first, outcome);
            break;
        }
        first = outcome;
        session->broken = true;
    }
    return outcome;
}

void kek_p11_found_add(struct kek_p11_shared *shared, CK_OBJECT_HANDLE object)
{
    size_t empty = KEK_PROVIDER_VERSIONS_MAX;
    for (size_t i = 0; i < KEK_PROVIDER_VERSIONS_MAX; i++) {
        CK_OBJECT_HANDLE there = atomic_load(&shared->found[i]);
        if (there == object) {
            return;
        }
        if (there == 0 && empty == KEK_PROVIDER_VERSIONS_MAX) {
            empty = i;
        }
    }
    /* Another session may be quicker at that place, and later Lists find this object again. */
    CK_OBJECT_HANDLE nothing = 0;
    if (empty < KEK_PROVIDER_VERSIONS_MAX) {
        (void)atomic_compare_exchange_strong(&shared->found[empty], &nothing, object);
    }
}

void kek_p11_found_drop(struct kek_p11_shared *shared, CK_OBJECT_HANDLE object)
{
    for (size_t i = 0; i < KEK_PROVIDER_VERSIONS_MAX; i++) {
        CK_OBJECT_HANDLE there = object;
        (void)atomic_compare_exchange_strong(&shared->found[i], &there, 0);
    }
}

/* The next few keys after those that this round has looked at, in a search of the session's own: none at the
 * end of the round, or if the search fails. */
static size_t next_batch(struct kek_provider_session *session, struct kek_p11_shared *shared)
{
    CK_FUNCTION_LIST *f = session->provider->f;
    size_t left = shared->swept, count = 0;
    struct kek_p11_outcome outcome = begin(session->provider, session->handle);
    if (!kek_p11_good(outcome)) {
        return 0;
    }
    do {
        size_t want = left > KEK_P11_SWEEP_SKIP ? KEK_P11_SWEEP_SKIP : left;
        bool skips = want > 0;
        want = skips ? want : BATCH;
        outcome = kek_p11_find_next(f, session->handle, shared->sweep_batch, want, &count);
        left -= skips ? count : 0;
        if (!skips) {
            break;
        }
    } while (kek_p11_good(outcome) && count > 0);
    (void)kek_p11_find_end(f, session->handle);
    return kek_p11_good(outcome) ? count : 0;
}

/* It is never waited for, and what fails in it fails nothing: a token that is gone is found out by
 * what the List reads otherwise. */
void kek_p11_sweep(struct kek_provider_session *session)
{
    const struct kek_provider *provider = session->provider;
    struct kek_p11_shared *shared = provider->shared;
    if (atomic_flag_test_and_set(&shared->sweeping)) {
        return;
    }
    uint64_t until = kek_clock_ms() + SWEEP_MS;
    size_t count = next_batch(session, shared), at = 0;
    while (at < count && kek_clock_ms() < until) {
        CK_OBJECT_HANDLE object = shared->sweep_batch[at];
        bool ours;
        char other[KEK_PROVIDER_OTHER_LEN_MAX];
        struct kek_p11_outcome outcome = kek_p11_read_label(session, object, &ours, other);
        if (kek_p11_is_of_object(outcome)) {
            kek_p11_name_unreadable(provider, object, outcome);
        } else if (!kek_p11_good(outcome) && !kek_p11_is_gone(outcome)) {
            session->broken = session->broken || kek_p11_class_of(outcome.rv) == KEK_P11_SESSION;
            break; /* this object is looked at again */
        }
        if (ours) {
            kek_p11_found_add(shared, object);
        }
        at++;
    }
    shared->swept = at < BATCH && at == count ? 0 : shared->swept + at;
    atomic_flag_clear(&shared->sweeping);
}
