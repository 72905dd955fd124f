#include "inventory_open.h"

#include <stdio.h>
#include <string.h>

#include "kek/keyring.h"

#define SEEDS_MAX 64 /* kms v2: what API servers seal many objects under */
#define SEED_SOURCE_MAX 1024

/* What a source opened to, so that the objects under it cost no envelope each. */
struct seed {
    uint8_t source[SEED_SOURCE_MAX];
    size_t len; /* 0: the place is free */
    struct kek_secret *dek;
};

struct opener {
    struct datakeys *datakeys;
    const char *const *contexts;
    size_t context_count;
    struct seed seeds[SEEDS_MAX];
    size_t next_seed;
    struct seed *last_seed;
    struct opener_doubt doubts[OPENER_DOUBTS_MAX];
    size_t doubt_count;
    struct opener_result result;
};

struct opener *opener_new(struct keys *keys, const char *const *contexts, size_t count)
{
    KEK_AUTO(opener) opener = calloc(1, sizeof *opener);
    if (opener == NULL) {
        return NULL;
    }
    opener->datakeys = datakeys_new(keys);
    opener->contexts = contexts;
    opener->context_count = count;
    return opener->datakeys == NULL ? NULL : KEK_STEAL(opener);
}

void opener_free(struct opener *opener)
{
    if (opener == NULL) {
        return;
    }
    for (size_t i = 0; i < SEEDS_MAX; i++) {
        kek_secret_free(opener->seeds[i].dek);
    }
    datakeys_free(opener->datakeys);
    free(opener);
}

/* Seeds. */

static const struct kek_secret *find_seed(struct opener *opener, struct kek_bytes source)
{
    struct seed *seed = opener->last_seed;
    for (size_t i = 0; i <= SEEDS_MAX; i++) {
        if (seed != NULL && seed->len == source.len &&
            memcmp(seed->source, source.data, source.len) == 0) {
            opener->last_seed = seed;
            return seed->dek;
        }
        seed = i < SEEDS_MAX ? &opener->seeds[i] : NULL;
    }
    return NULL;
}

/* Takes the secret; what is larger than any kms v2 source is not kept, and is the caller's still. */
static bool keep_seed(struct opener *opener, struct kek_bytes source, struct kek_secret *dek)
{
    if (source.len > SEED_SOURCE_MAX) {
        return false;
    }
    struct seed *seed = &opener->seeds[opener->next_seed++ % SEEDS_MAX];
    kek_secret_free(seed->dek);
    memcpy(seed->source, source.data, source.len);
    seed->len = source.len;
    seed->dek = dek;
    opener->last_seed = seed;
    return true;
}

/* What does not open. */

static void doubt(struct opener *opener, struct datakey_kek *kek, uint32_t asked, bool unasked)
{
    struct opener_doubt *doubt = opener->doubts;
    size_t i = 0;
    while (i < opener->doubt_count &&
           (doubt[i].kek != kek || doubt[i].asked != asked || doubt[i].unasked != unasked)) {
        i++;
    }
    if (i == OPENER_DOUBTS_MAX) {
        opener->result.counts[OPENING_UNDECIDED]++; /* nobody is called damaged without proof */
        return;
    }
    if (i == opener->doubt_count) {
        doubt[opener->doubt_count++] =
            (struct opener_doubt){.kek = kek, .asked = asked, .unasked = unasked};
    }
    doubt[i].objects++;
}

struct object {
    struct kek_bytes key;
    const struct kek_kube_name *name; /* NULL: no object's */
    const struct kek_kube_stored *stored;
    struct tally_resource *resource; /* NULL: the tally has none */
};

/* OPENING_UNDECIDED: whether it is damaged is worked out at the end. */
static void note(struct opener *opener, const struct object *object, const struct datakey *datakey,
                 enum opening opening, const char *what)
{
    struct opener_result *result = &opener->result;
    if (opening == OPENING_UNDECIDED) {
        doubt(opener, datakey->kek, datakey->asked, datakey->unasked);
    } else {
        result->counts[opening]++;
    }
    bool lost = opening == OPENING_UNDECIDED || opening == OPENING_NO_KEY;
    if (object->resource != NULL && lost) {
        object->resource->lost++;
    }
    if (result->named_count == OPENER_NAMED_MAX) {
        return;
    }
    struct opener_named *named = &result->named[result->named_count++];
    *named = (struct opener_named){.kek = datakey->kek,
                                   .opening = opening,
                                   .asked = datakey->asked,
                                   .unasked = datakey->unasked};
    tally_name(&named->place, object->name, object->key, what);
}

/* Envelopes. */

/* KEK_DAMAGED: not in this context. */
static enum kek_rc open_in(struct opener *opener, struct datakey *datakey, size_t context,
                           const struct kek_envelope *envelope, struct kek_secret **dek,
                           struct kek_why *why)
{
    const struct kek_bytes text = kek_bytes_of(opener->contexts[context]);
    if (datakey->expanded != NULL && datakey->context == context) {
        return kek_envelope_open(datakey->expanded, envelope, text, dek, why);
    }
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(datakey->key, text, why);
    if (key == NULL) {
        return KEK_NO_MEMORY;
    }
    enum kek_rc rc = kek_envelope_open(key, envelope, text, dek, why);
    if (rc == KEK_OK) {
        kek_envelope_key_free(datakey->expanded);
        datakey->expanded = KEK_STEAL(key);
        datakey->context = context;
    }
    return rc;
}

/* In whatever context it opens, the one that fitted last first. */
static enum kek_rc open_envelope(struct opener *opener, struct datakey *datakey,
                                 const struct kek_envelope *envelope, struct kek_secret **dek,
                                 struct kek_why *why)
{
    size_t first = datakey->expanded == NULL ? 0 : datakey->context;
    enum kek_rc rc = kek_fail(why, KEK_DAMAGED, "no context is configured");
    for (size_t i = 0; rc == KEK_DAMAGED && i < opener->context_count; i++) {
        size_t context = i == 0 ? first : i <= first ? i - 1 : i;
        rc = open_in(opener, datakey, context, envelope, dek, why);
    }
    return rc;
}

static enum kek_rc look_inside(struct opener *opener, const struct object *object,
                               struct datakey *datakey, const struct kek_secret *dek,
                               struct kek_why *why)
{
    enum kek_rc rc = kek_kube_open(object->stored, object->key, dek, why);
    if (rc == KEK_OK) {
        opener->result.counts[OPENING_GOOD]++;
        return KEK_OK;
    }
    if (rc == KEK_DAMAGED) {
        note(opener, object, datakey, OPENING_UNDECIDED,
             "its data key opens and the object does not");
        return KEK_OK;
    }
    return rc;
}

static enum kek_rc open_object(struct opener *opener, const struct object *object,
                               struct datakey *datakey, struct kek_why *why)
{
    const struct kek_kube_stored *stored = object->stored;
    struct kek_secret *opened = NULL;
    const struct kek_secret *seed = find_seed(opener, stored->source);
    if (seed != NULL) {
        return look_inside(opener, object, datakey, seed, why);
    }
    enum kek_rc rc = open_envelope(opener, datakey, &stored->envelope, &opened, why);
    if (rc == KEK_DAMAGED) {
        note(opener, object, datakey, OPENING_UNDECIDED,
             "its envelope opens in no context that is configured");
        return KEK_OK;
    }
    if (rc != KEK_OK) {
        return rc;
    }
    datakey_proven(datakey);
    bool kept = stored->kind == KEK_KUBE_KMS_V2 && keep_seed(opener, stored->source, opened);
    rc = look_inside(opener, object, datakey, opened, why);
    if (!kept) {
        kek_secret_free(opened);
    }
    return rc;
}

/* One root is all that this version of kekd opens. */
static bool is_foreign_form(const struct kek_envelope *envelope)
{
    return envelope->count != 1 || envelope->mode != KEK_ENVELOPE_MODE_ANY;
}

enum kek_rc opener_take(struct opener *opener, struct tally *tally, struct kek_bytes key,
                        struct kek_bytes value, struct kek_why *why)
{
    struct kek_kube_stored stored;
    struct kek_kube_name name;
    struct datakey *datakey;
    if (kek_kube_parse(value, &stored, NULL) != KEK_OK || !stored.is_kekd) {
        return KEK_OK;
    }
    bool named = kek_kube_name(key, tally->prefix, &name);
    const struct object object = {.key = key,
                                  .name = named ? &name : NULL,
                                  .stored = &stored,
                                  .resource = named ? tally_find(tally, &name) : NULL};
    enum kek_rc rc = datakeys_get(opener->datakeys, &stored.envelope, &datakey, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (datakey->opening == OPENING_GOOD && is_foreign_form(&stored.envelope)) {
        note(opener, &object, datakey, OPENING_UNDECIDED, "its envelope has more than one KEK");
        return KEK_OK;
    }
    if (datakey->opening == OPENING_GOOD) {
        return open_object(opener, &object, datakey, why);
    }
    note(opener, &object, datakey, datakey->opening, datakey->why);
    return KEK_OK;
}

const struct opener_result *opener_finish(struct opener *opener)
{
    struct opener_result *result = &opener->result;
    for (size_t i = 0; i < opener->doubt_count; i++) {
        const struct opener_doubt *doubt = &opener->doubts[i];
        result->counts[datakey_final(doubt->kek, doubt->asked, doubt->unasked)] += doubt->objects;
    }
    opener->doubt_count = 0;
    for (size_t i = 0; i < result->named_count; i++) {
        struct opener_named *named = &result->named[i];
        if (named->opening == OPENING_UNDECIDED) {
            named->opening = datakey_final(named->kek, named->asked, named->unasked);
        }
    }
    result->data_keys = datakeys_count(opener->datakeys);
    return result;
}
