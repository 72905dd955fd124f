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
    size_t context;
    unsigned legs; /* which of the envelope's KEKs opened it, by bit */
    struct kek_secret *dek;
};

struct opener {
    struct datakeys *datakeys;
    const struct inventory_keks *keks;
    const char *const *contexts;
    size_t context_count, own_count;
    struct seed seeds[SEEDS_MAX];
    size_t next_seed;
    struct seed *last_seed;
    struct opener_doubt doubts[OPENER_DOUBTS_MAX];
    size_t doubt_count;
    struct opener_result result;
};

struct opener *opener_new(struct root_keys *keys, const struct inventory_keks *keks,
                          const char *const *contexts, size_t count, size_t own)
{
    KEK_AUTO(opener) opener = calloc(1, sizeof *opener);
    if (opener == NULL) {
        return NULL;
    }
    opener->datakeys = datakeys_new(keys, keks);
    opener->keks = keks;
    opener->contexts = contexts;
    opener->context_count = count;
    opener->own_count = own;
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

static const struct seed *find_seed(struct opener *opener, struct kek_bytes source)
{
    struct seed *seed = opener->last_seed;
    for (size_t i = 0; i <= SEEDS_MAX; i++) {
        if (seed != NULL && seed->len == source.len &&
            memcmp(seed->source, source.data, source.len) == 0) {
            opener->last_seed = seed;
            return seed;
        }
        seed = i < SEEDS_MAX ? &opener->seeds[i] : NULL;
    }
    return NULL;
}

/* Takes the secret; what is larger than any kms v2 source is not kept, and is the caller's still. */
static bool keep_seed(struct opener *opener, struct kek_bytes source, size_t context, unsigned legs,
                      struct kek_secret *dek)
{
    if (source.len > SEED_SOURCE_MAX) {
        return false;
    }
    struct seed *seed = &opener->seeds[opener->next_seed++ % SEEDS_MAX];
    kek_secret_free(seed->dek);
    memcpy(seed->source, source.data, source.len);
    seed->len = source.len;
    seed->context = context;
    seed->legs = legs;
    seed->dek = dek;
    opener->last_seed = seed;
    return true;
}

/* What does not open. */

/* How much hope there is: of KEKs each of which opens the best counts, of those that all are needed the worst. */
static const unsigned hope[OPENING_OUTCOMES] = {
    [OPENING_DAMAGED] = 0,   [OPENING_NO_KEY] = 1,      [OPENING_UNDECIDED] = 2,
    [OPENING_SUSPENDED] = 3, [OPENING_UNREACHABLE] = 4, [OPENING_GOOD] = 5,
};

static enum opening join(const struct opener_verdict *verdict, bool at_the_end)
{
    enum opening joined = OPENING_GOOD;
    for (size_t i = 0; i < verdict->count; i++) {
        const struct opener_leg *leg = &verdict->legs[i];
        enum opening opening = at_the_end && leg->opening == OPENING_UNDECIDED
                                   ? datakey_final(leg->kek, leg->asked, leg->unasked)
                                   : leg->opening;
        bool decides = verdict->mode == KEK_ENVELOPE_MODE_ALL ? hope[opening] < hope[joined]
                                                              : hope[opening] > hope[joined];
        joined = i == 0 || decides ? opening : joined;
    }
    return joined;
}

static bool is_in_doubt(const struct opener_verdict *verdict)
{
    bool doubt = false;
    for (size_t i = 0; i < verdict->count; i++) {
        doubt = doubt || verdict->legs[i].opening == OPENING_UNDECIDED;
    }
    return doubt;
}

static bool is_same(const struct opener_verdict *one, const struct opener_verdict *other)
{
    bool same = one->mode == other->mode && one->count == other->count;
    for (size_t i = 0; same && i < one->count; i++) {
        const struct opener_leg *a = &one->legs[i], *b = &other->legs[i];
        same = a->kek == b->kek && a->opening == b->opening && a->asked == b->asked &&
               a->unasked == b->unasked;
    }
    return same;
}

static void doubt(struct opener *opener, const struct opener_verdict *verdict)
{
    size_t i = 0;
    while (i < opener->doubt_count && !is_same(&opener->doubts[i].verdict, verdict)) {
        i++;
    }
    if (i == OPENER_DOUBTS_MAX) {
        opener->result.counts[OPENING_UNDECIDED]++; /* nobody is called damaged without proof */
        return;
    }
    if (i == opener->doubt_count) {
        opener->doubts[opener->doubt_count++] = (struct opener_doubt){.verdict = *verdict};
    }
    opener->doubts[i].objects++;
}

struct object {
    struct kek_bytes key;
    const struct kek_kube_name *name; /* NULL: no object's */
    const struct kek_kube_stored *stored;
    struct tally_resource *resource; /* NULL: the tally has none */
    bool refused;                    /* of a form that kekd refuses */
};

static struct opener_named *name(struct opener *opener, const struct object *object,
                                 enum opening opening, const char *what)
{
    struct opener_result *result = &opener->result;
    if (result->named_count == OPENER_NAMED_MAX) {
        return NULL;
    }
    struct opener_named *named = &result->named[result->named_count++];
    *named = (struct opener_named){.opening = opening};
    tally_name(&named->place, object->name, object->key, what);
    return named;
}

/* It opens, and something else is to be said of it. lost: not for kekd. */
static void note(struct opener *opener, const struct object *object, enum opening opening,
                 bool lost, const char *what)
{
    opener->result.counts[opening]++;
    if (object->resource != NULL && lost) {
        object->resource->lost++;
    }
    (void)name(opener, object, opening, what);
}

/* It does not open; whether it is damaged is worked out at the end. */
static void fail(struct opener *opener, const struct object *object,
                 const struct opener_verdict *verdict, const char *what)
{
    enum opening opening = join(verdict, false);
    if (is_in_doubt(verdict)) {
        doubt(opener, verdict);
    } else {
        opener->result.counts[opening]++;
    }
    bool lost = opening == OPENING_UNDECIDED || opening == OPENING_NO_KEY;
    if (object->resource != NULL && lost) {
        object->resource->lost++;
    }
    struct opener_named *named = name(opener, object, opening, what);
    if (named != NULL) {
        named->verdict = *verdict;
    }
}

/* KEKs. */

/* only: the legs that count, by bit.  Where there was a data key and it opened nothing, each that gave it, or its share, is in
 * doubt, and the object is damaged if none of them is wrong. */
static struct opener_verdict verdict_of(const struct datakey *datakey, unsigned only)
{
    struct opener_verdict verdict = {.mode = datakey->key_count > 0 ? KEK_ENVELOPE_MODE_ANY
                                                                    : datakey->mode};
    for (size_t i = 0; i < datakey->leg_count; i++) {
        const struct datakey_leg *leg = &datakey->legs[i];
        if ((only >> i & 1) != 0) {
            verdict.legs[verdict.count++] = (struct opener_leg){
                .kek = leg->kek,
                .opening = datakey->key_count > 0 && leg->opening == OPENING_GOOD
                               ? OPENING_UNDECIDED
                               : leg->opening,
                .asked = leg->asked,
                .unasked = leg->unasked,
            };
        }
    }
    return verdict;
}

static const char *root_of(const struct opener *opener, const struct datakey_leg *leg)
{
    return leg->known == NULL ? "a root of trust that is not known"
                              : opener->keks->roots[leg->known->root].name;
}

/* "spare does not open it: ..." of one leg. */
static void say_leg(const struct opener *opener, const struct datakey_leg *leg, char *text,
                    size_t size)
{
    const char *why = leg->opening == OPENING_GOOD        ? "what it has there is another data key"
                      : leg->why[0] != '\0'               ? leg->why
                      : leg->opening == OPENING_SUSPENDED ? "that version is suspended"
                                                          : "no provider has the KEK";
    snprintf(text, size, "%s does not open it: %.180s", root_of(opener, leg), why);
}

/* The first that does not open it, and how many more; opened: those that do, by bit. */
static void say_legs(const struct opener *opener, const struct datakey *datakey, unsigned opened,
                     char *text, size_t size)
{
    const struct datakey_leg *failed = NULL;
    size_t more = 0;
    for (size_t i = 0; i < datakey->leg_count; i++) {
        if ((opened >> i & 1) == 0) {
            more += failed != NULL ? 1 : 0;
            failed = failed == NULL ? &datakey->legs[i] : failed;
        }
    }
    text[0] = '\0';
    if (failed != NULL) {
        say_leg(opener, failed, text, size);
    }
    if (more > 0) {
        size_t len = strlen(text);
        snprintf(text + len, size - len, "; nor do %zu more", more);
    }
}

static void count_roots(struct opener *opener, const struct datakey *datakey, unsigned opened,
                        bool whole)
{
    for (size_t i = 0; i < datakey->leg_count; i++) {
        const struct datakey_leg *leg = &datakey->legs[i];
        if (leg->known == NULL) {
            continue;
        }
        struct opener_root *root = &opener->result.roots[leg->known->root];
        root->opens += opened >> i & 1;
        root->fails += (opened >> i & 1) == 0 && (whole || leg->opening != OPENING_GOOD) ? 1 : 0;
    }
}

/* Envelopes. */

/* KEK_DAMAGED: not in this context, by this one of its data keys. */
static enum kek_rc open_in(struct opener *opener, struct datakey *datakey, size_t at,
                           size_t context, const struct kek_envelope *envelope,
                           struct kek_secret **dek, struct kek_why *why)
{
    const struct kek_bytes text = kek_bytes_of(opener->contexts[context]);
    if (datakey->expanded != NULL && datakey->context == context && datakey->key == at) {
        return kek_envelope_open(datakey->expanded, envelope, text, dek, why);
    }
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(datakey->keys[at], text, why);
    if (key == NULL) {
        return KEK_NO_MEMORY;
    }
    enum kek_rc rc = kek_envelope_open(key, envelope, text, dek, why);
    if (rc == KEK_OK) {
        kek_envelope_key_free(datakey->expanded);
        datakey->expanded = KEK_STEAL(key);
        datakey->context = context;
        datakey->key = at;
    }
    return rc;
}

/* In whatever context and by whatever data key it opens, those that fitted last first. */
static enum kek_rc open_envelope(struct opener *opener, struct datakey *datakey,
                                 const struct kek_envelope *envelope, struct kek_secret **dek,
                                 struct kek_why *why)
{
    size_t first = datakey->expanded == NULL ? 0 : datakey->context;
    size_t first_key = datakey->expanded == NULL ? 0 : datakey->key;
    enum kek_rc rc = kek_fail(why, KEK_DAMAGED, "no context is configured");
    for (size_t k = 0; rc == KEK_DAMAGED && k < datakey->key_count; k++) {
        size_t at = k == 0 ? first_key : k <= first_key ? k - 1 : k;
        for (size_t i = 0; rc == KEK_DAMAGED && i < opener->context_count; i++) {
            size_t context = i == 0 ? first : i <= first ? i - 1 : i;
            rc = open_in(opener, datakey, at, context, envelope, dek, why);
        }
    }
    return rc;
}

/* Is there one that holds something else than those that opened?  kekd takes what the first root says for what all would
 * say. */
static bool has_wrong_leg(const struct datakey *datakey, unsigned opened)
{
    bool wrong = false;
    for (size_t i = 0; i < datakey->leg_count; i++) {
        enum opening opening = datakey->legs[i].opening;
        wrong = wrong || ((opened >> i & 1) == 0 &&
                          (opening == OPENING_GOOD || opening == OPENING_UNDECIDED));
    }
    return wrong;
}

/* It opens; what is to be said of it all the same? */
static void take_good(struct opener *opener, const struct object *object,
                      const struct datakey *datakey, size_t context, unsigned legs)
{
    char text[KEK_WHY_TEXT];
    if (context >= opener->own_count) {
        snprintf(text, sizeof text, "it opens in context \"%.180s\"", opener->contexts[context]);
        note(opener, object, OPENING_CONTEXT, true, text);
        return;
    }
    say_legs(opener, datakey, legs, text, sizeof text);
    if (object->refused) {
        note(opener, object, OPENING_FORM, true, "it opens, and kekd refuses its form");
    } else if (text[0] != '\0') {
        bool wrong = has_wrong_leg(datakey, legs);
        size_t len = strlen(text);
        snprintf(text + len, sizeof text - len, "%s",
                 wrong ? "; where kekd asks that root first, it refuses the object" : "");
        note(opener, object, OPENING_PARTLY, wrong, text);
    } else {
        opener->result.counts[OPENING_GOOD]++;
    }
}

/* context, legs: in which its envelope opened, and by which. */
static enum kek_rc look_inside(struct opener *opener, const struct object *object,
                               const struct datakey *datakey, size_t context, unsigned legs,
                               const struct kek_secret *dek, struct kek_why *why)
{
    enum kek_rc rc = kek_kube_open(object->stored, object->key, dek, why);
    if (rc == KEK_OK) {
        count_roots(opener, datakey, legs, true);
        take_good(opener, object, datakey, context, legs);
        return KEK_OK;
    }
    if (rc == KEK_DAMAGED) {
        const struct opener_verdict verdict = verdict_of(datakey, legs);
        fail(opener, object, &verdict,
             "its data key opens and the object does not: it is damaged, or was moved here from "
             "another key of etcd or another --etcd-prefix");
        return KEK_OK;
    }
    return rc;
}

#define EVERY_LEG (~0u)

static enum kek_rc open_object(struct opener *opener, const struct object *object,
                               struct datakey *datakey, struct kek_why *why)
{
    const struct kek_kube_stored *stored = object->stored;
    struct kek_secret *opened = NULL;
    const struct seed *seed = find_seed(opener, stored->source);
    if (seed != NULL) {
        return look_inside(opener, object, datakey, seed->context, seed->legs, seed->dek, why);
    }
    enum kek_rc rc = open_envelope(opener, datakey, &stored->envelope, &opened, why);
    if (rc == KEK_DAMAGED) {
        const struct opener_verdict verdict = verdict_of(datakey, EVERY_LEG);
        fail(opener, object, &verdict, "its envelope opens in no context that is configured");
        return KEK_OK;
    }
    if (rc != KEK_OK) {
        return rc;
    }
    unsigned legs = datakey_proven(datakey, datakey->key);
    legs = datakey->mode == KEK_ENVELOPE_MODE_ALL ? EVERY_LEG : legs;
    bool kept = stored->kind == KEK_KUBE_KMS_V2 &&
                keep_seed(opener, stored->source, datakey->context, legs, opened);
    rc = look_inside(opener, object, datakey, datakey->context, legs, opened, why);
    if (!kept) {
        kek_secret_free(opened);
    }
    return rc;
}

/* Its data key does not open: by none of its KEKs, or not by all that are needed. */
static void fail_closed(struct opener *opener, const struct object *object,
                        const struct datakey *datakey)
{
    const struct opener_verdict verdict = verdict_of(datakey, EVERY_LEG);
    char text[KEK_WHY_TEXT];
    unsigned opened = 0;
    for (size_t i = 0; i < datakey->leg_count; i++) {
        opened |= datakey->legs[i].opening == OPENING_GOOD ? 1u << i : 0;
    }
    count_roots(opener, datakey, 0, false);
    if (inventory_keks_rules(opener->keks) == NULL) {
        fail(opener, object, &verdict, datakey->legs[0].why);
        return;
    }
    say_legs(opener, datakey, opened, text, sizeof text);
    fail(opener, object, &verdict, text);
}

/* One root opens what has one KEK. */
static bool is_foreign_form(const struct opener *opener, const struct kek_envelope *envelope)
{
    return inventory_keks_rules(opener->keks) == NULL &&
           (envelope->count != 1 || envelope->mode != KEK_ENVELOPE_MODE_ANY);
}

static bool is_refused(const struct opener *opener, const struct kek_envelope *envelope)
{
    const struct kek_root_rules *rules = inventory_keks_rules(opener->keks);
    const struct kek_root_form form = kek_root_form_of(envelope);
    return rules != NULL && kek_root_rules_check(rules, &form, NULL) != KEK_OK;
}

enum kek_rc opener_take(struct opener *opener, struct tally *tally, struct kek_bytes key,
                        struct kek_bytes value, struct kek_why *why)
{
    struct kek_kube_stored stored;
    struct kek_kube_name kube_name;
    struct datakey *datakey;
    if (kek_kube_parse(value, &stored, NULL) != KEK_OK || !stored.is_kekd) {
        return KEK_OK;
    }
    bool named = kek_kube_name(key, tally->prefix, &kube_name);
    const struct object object = {.key = key,
                                  .name = named ? &kube_name : NULL,
                                  .stored = &stored,
                                  .resource = named ? tally_find(tally, &kube_name) : NULL,
                                  .refused = is_refused(opener, &stored.envelope)};
    enum kek_rc rc = datakeys_get(opener->datakeys, &stored.envelope, &datakey, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (datakey->key_count == 0) {
        fail_closed(opener, &object, datakey);
        return KEK_OK;
    }
    if (is_foreign_form(opener, &stored.envelope)) {
        const struct opener_verdict verdict = verdict_of(datakey, EVERY_LEG);
        fail(opener, &object, &verdict, "its envelope has more than one KEK");
        return KEK_OK;
    }
    return open_object(opener, &object, datakey, why);
}

const struct opener_result *opener_finish(struct opener *opener)
{
    struct opener_result *result = &opener->result;
    for (size_t i = 0; i < opener->doubt_count; i++) {
        const struct opener_doubt *doubt = &opener->doubts[i];
        result->counts[join(&doubt->verdict, true)] += doubt->objects;
    }
    opener->doubt_count = 0;
    for (size_t i = 0; i < result->named_count; i++) {
        struct opener_named *named = &result->named[i];
        if (named->verdict.count > 0) {
            named->opening = join(&named->verdict, true);
        }
    }
    result->data_keys = datakeys_count(opener->datakeys);
    return result;
}
