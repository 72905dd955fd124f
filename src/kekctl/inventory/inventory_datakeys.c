#include "inventory_datakeys.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kekctl/key/key_views.h"

#define GIVE_UP 2 /* times in a row that a KEK cannot be asked for, until it is left alone */
#define CONFIRM 3 /* times that a provider's "damaged" is asked of a fresh process */
#define START_MAX_MS 30000u /* that a worker's successor is waited for */
#define PROVIDER_STRIKES 3u /* as keys.h gives a provider up */

struct datakeys {
    struct root_keys *keys;
    const struct inventory_keks *known;
    struct datakey list[DATAKEYS_MAX];
    size_t count;
    struct datakey_kek **keks; /* each stays where it is: data keys and results point at it */
    size_t kek_count, kek_room;
    struct datakey_kek rest; /* of what found no room */
    struct datakey *last;
    uint64_t clock; /* counts uses */
    uint64_t tried;
    unsigned confirmed[KEK_CONFIG_PROVIDERS_MAX]; /* "damaged", by a fresh process */
};

static const char *const names[] = {"opens",         "damaged",       "undecided",
                                    "no-key",        "suspended",     "unreachable",
                                    "other-context", "opens-in-part", "other-form"};
_Static_assert(sizeof names / sizeof names[0] == OPENING_OUTCOMES, "a name for each");

const char *opening_name(enum opening opening)
{
    return names[opening];
}

struct datakeys *datakeys_new(struct root_keys *keys, const struct inventory_keks *keks)
{
    struct datakeys *datakeys = calloc(1, sizeof *datakeys);
    if (datakeys != NULL) {
        datakeys->keys = keys;
        datakeys->known = keks;
    }
    return datakeys;
}

static void forget(struct datakey *datakey)
{
    free(datakey->header);
    for (size_t i = 0; i < datakey->key_count; i++) {
        kek_secret_free(datakey->keys[i]);
    }
    kek_envelope_key_free(datakey->expanded);
    *datakey = (struct datakey){.header = NULL};
}

void datakeys_free(struct datakeys *datakeys)
{
    for (size_t i = 0; datakeys != NULL && i < datakeys->count; i++) {
        forget(&datakeys->list[i]);
    }
    for (size_t i = 0; datakeys != NULL && i < datakeys->kek_count; i++) {
        free(datakeys->keks[i]);
    }
    if (datakeys != NULL) {
        free(datakeys->keks);
    }
    free(datakeys);
}

uint64_t datakeys_count(const struct datakeys *datakeys)
{
    return datakeys->tried;
}

unsigned datakey_proven(struct datakey *datakey, size_t key)
{
    unsigned legs = 0;
    for (size_t i = 0; i < datakey->leg_count; i++) {
        struct datakey_leg *leg = &datakey->legs[i];
        if (leg->opening == OPENING_GOOD && leg->key == key) {
            leg->kek->proven |= leg->asked;
            legs |= 1u << i;
        }
    }
    return legs;
}

enum opening datakey_final(const struct datakey_kek *kek, uint32_t asked, bool unasked)
{
    if ((kek->proven & asked) != 0) {
        return OPENING_DAMAGED;
    }
    return unasked ? OPENING_UNREACHABLE : OPENING_UNDECIDED;
}

/* Asking one provider. */

struct unwrapping {
    struct kek_pool_call *call;
    enum kek_rc rc;
    struct kek_why why;
    struct kek_secret *key;
};

static void unwrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                      const struct kek_why *why)
{
    struct unwrapping *unwrapping = arg;
    unwrapping->call = NULL;
    unwrapping->rc = rc;
    if (rc == KEK_OK) {
        unwrapping->key = KEK_STEAL(result->data_key);
    } else {
        unwrapping->why = *why;
    }
}

static void unwrap_by(struct keys *keys, size_t provider, const struct kek_envelope_entry *entry,
                      bool fresh, struct unwrapping *unwrapping)
{
    const struct kek_config_provider *config = &keys->config->providers[provider];
    uint64_t start =
        config->start_timeout_ms < START_MAX_MS ? config->start_timeout_ms : START_MAX_MS;
    const struct kek_pool_request request = {.op = KEK_POOL_UNWRAP,
                                             .provider = provider,
                                             .kek_id = entry->kek_id,
                                             .alg = entry->alg,
                                             .blob = entry->wrapped,
                                             .fresh = fresh,
                                             .deadline_ms =
                                                 kek_clock_ms() + 2 * config->timeout_ms + start};
    *unwrapping = (struct unwrapping){.rc = KEK_UNAVAILABLE};
    unwrapping->call =
        kek_pool_submit(keys->pool, &request, unwrapped, unwrapping, &unwrapping->why);
    if (unwrapping->call == NULL) {
        unwrapping->rc = unwrapping->why.rc;
    }
    while (unwrapping->call != NULL) {
        if (keys->listings[provider].strikes >= PROVIDER_STRIKES) {
            kek_pool_cancel(unwrapping->call);
            unwrapping->call = NULL;
            kek_fail(&unwrapping->why, KEK_UNAVAILABLE, "%s: its worker does not start",
                     config->name);
            break;
        }
        (void)uv_run(&keys->loop, UV_RUN_ONCE);
    }
}

/* AES-CBC does not authenticate, so a key that an envelope says is wrapped so is only tried where that is how
 * this provider wraps: docs/envelope-format.md. */
static bool may_be(const struct listing *listing, enum kek_wrap_alg alg)
{
    bool wraps_so = kek_wrap_alg_authenticates(alg);
    for (size_t i = 0; !wraps_so && i < listing->count; i++) {
        wraps_so = listing->versions[i].alg == alg;
    }
    return wraps_so;
}

/* What the providers together say. */
struct round {
    bool shown;   /* somebody has the KEK */
    bool refused; /* and may not unwrap under it */
};

/* The first few times that a provider says "damaged", a fresh process is asked too: the library of one that
 * has run for a while may have lost its way. */
static void unwrap_surely(struct keys *keys, size_t provider,
                          const struct kek_envelope_entry *entry, unsigned *confirmed,
                          struct unwrapping *unwrapping)
{
    unwrap_by(keys, provider, entry, false, unwrapping);
    if (unwrapping->rc == KEK_DAMAGED && *confirmed < CONFIRM) {
        (*confirmed)++;
        unwrap_by(keys, provider, entry, true, unwrapping);
    }
}

/* The data key, if this provider of the root opens it. */
static struct kek_secret *ask_one(struct datakeys *datakeys, size_t root, size_t provider,
                                  const struct kek_envelope_entry *entry, struct datakey_leg *leg,
                                  struct round *round)
{
    struct keys *keys = &datakeys->keys->list[root];
    const size_t place = root_keys_provider(datakeys->keys, root, provider);
    const struct listing *listing = &keys->listings[provider];
    const struct kek_version *version = view_find(keys, provider, &entry->kek_id);
    struct unwrapping unwrapping;
    if (listing->rc != KEK_OK) {
        leg->unasked = true;
        snprintf(leg->why, sizeof leg->why, "%s", listing->why.text);
        return NULL;
    }
    if (version == NULL) {
        return NULL;
    }
    round->shown = true;
    if (!version->can_unwrap || !version->eligible) {
        round->refused = true;
        return NULL;
    }
    if (!may_be(listing, entry->alg)) {
        leg->asked |= UINT32_C(1) << place;
        snprintf(leg->why, sizeof leg->why, "%s does not wrap by %s",
                 keys->config->providers[provider].name, kek_wrap_alg_name(entry->alg));
        return NULL;
    }
    unwrap_surely(keys, provider, entry, &datakeys->confirmed[place], &unwrapping);
    if (unwrapping.rc == KEK_OK) {
        leg->asked = UINT32_C(1) << place;
        return unwrapping.key;
    }
    snprintf(leg->why, sizeof leg->why, "%s", unwrapping.why.text);
    if (unwrapping.rc == KEK_DAMAGED) {
        leg->asked |= UINT32_C(1) << place;
    } else if (unwrapping.rc == KEK_PRECONDITION) {
        round->refused = true;
    } else {
        leg->unasked = true; /* a key that is gone since it was listed may be back, too */
    }
    return NULL;
}

/* Whoever may have the KEK: the providers of its root, or, where that is not known, all.  Sets leg->opening. */
static struct kek_secret *ask_all(struct datakeys *datakeys, const struct kek_envelope_entry *entry,
                                  struct datakey_leg *leg)
{
    struct root_keys *keys = datakeys->keys;
    struct round round = {.shown = false};
    for (size_t r = 0; r < keys->count; r++) {
        bool asked = leg->known == NULL || leg->known->root == r;
        for (size_t p = 0; asked && p < keys->list[r].config->provider_count; p++) {
            struct kek_secret *key = ask_one(datakeys, r, p, entry, leg, &round);
            if (key != NULL) {
                leg->opening = OPENING_GOOD;
                return key;
            }
        }
    }
    leg->opening = leg->asked != 0 ? OPENING_UNDECIDED
                   : leg->unasked  ? OPENING_UNREACHABLE
                   : round.shown   ? OPENING_SUSPENDED
                                   : OPENING_NO_KEY;
    return NULL;
}

/* Keeping them. */

/* NULL: no memory. */
static struct datakey_kek *add_kek(struct datakeys *datakeys, const struct kek_id *id)
{
    if (datakeys->kek_count == DATAKEYS_KEKS_MAX) {
        return &datakeys->rest;
    }
    if (datakeys->kek_count == datakeys->kek_room) {
        size_t room = datakeys->kek_room == 0 ? 16 : 2 * datakeys->kek_room;
        struct datakey_kek **grown = realloc(datakeys->keks, room * sizeof(struct datakey_kek *));
        if (grown == NULL) {
            return NULL;
        }
        datakeys->keks = grown;
        datakeys->kek_room = room;
    }
    struct datakey_kek *kek = calloc(1, sizeof *kek);
    if (kek != NULL) {
        kek->id = *id;
        datakeys->keks[datakeys->kek_count++] = kek;
    }
    return kek;
}

static struct datakey_kek *kek_of(struct datakeys *datakeys, const struct kek_id *id)
{
    for (size_t i = 0; i < datakeys->kek_count; i++) {
        if (kek_id_equal(&datakeys->keks[i]->id, id)) {
            return datakeys->keks[i];
        }
    }
    return add_kek(datakeys, id);
}

static bool is_of(const struct datakey *datakey, struct kek_bytes header)
{
    return datakey->header_len == header.len &&
           memcmp(datakey->header, header.data, header.len) == 0;
}

/* A place for a new one: a fresh one, or that of the one that was not used for longest. */
static struct datakey *make_room(struct datakeys *datakeys)
{
    if (datakeys->count < DATAKEYS_MAX) {
        return &datakeys->list[datakeys->count++];
    }
    struct datakey *oldest = &datakeys->list[0];
    for (size_t i = 1; i < DATAKEYS_MAX; i++) {
        oldest = datakeys->list[i].used < oldest->used ? &datakeys->list[i] : oldest;
    }
    forget(oldest);
    return oldest;
}

/* Why nobody is asked for it, as nothing is to be had by that. NULL: somebody is. */
static const char *left_alone(const struct datakeys *datakeys, const struct datakey_leg *leg)
{
    return leg->kek == &datakeys->rest
               ? "there are more KEKs than are told apart, and nobody was asked for its own"
           : leg->kek->strikes >= GIVE_UP
               ? "its KEK could not be asked for twice, and was left alone"
               : NULL;
}

static bool anybody_runs(const struct datakeys *datakeys)
{
    bool runs = false;
    for (size_t r = 0; datakeys->keys != NULL && r < datakeys->keys->count; r++) {
        runs = runs || datakeys->keys->list[r].pool != NULL;
    }
    return runs;
}

static void is_unreachable(struct datakey_leg *leg, const char *why)
{
    leg->opening = OPENING_UNREACHABLE;
    leg->unasked = true;
    snprintf(leg->why, sizeof leg->why, "%s", why);
}

/* *asked: somebody was. */
static struct kek_secret *look(struct datakeys *datakeys, const struct kek_envelope_entry *entry,
                               struct datakey_leg *leg, bool *asked)
{
    struct kek_secret *key = NULL;
    const char *alone = left_alone(datakeys, leg);
    if (alone != NULL) {
        is_unreachable(leg, alone);
        return NULL;
    }
    if (anybody_runs(datakeys)) {
        *asked = true;
        key = ask_all(datakeys, entry, leg);
    } else {
        is_unreachable(leg, "there is no provider to ask");
    }
    bool unreachable = leg->opening == OPENING_UNREACHABLE;
    leg->kek->strikes = unreachable ? leg->kek->strikes + 1 : 0;
    return key;
}

/* Mode any: takes the key that a leg gave, which others may have given before. */
static void take_key(struct datakey *datakey, struct datakey_leg *leg, struct kek_secret *key)
{
    leg->key = 0;
    while (leg->key < datakey->key_count && !kek_secret_equal(datakey->keys[leg->key], key)) {
        leg->key++;
    }
    if (leg->key < datakey->key_count) {
        kek_secret_free(key);
        return;
    }
    datakey->keys[datakey->key_count++] = key;
}

/* Mode all: the shares together are the key. */
static enum kek_rc join(struct datakey *datakey, struct kek_secret *const *shares,
                        struct kek_why *why)
{
    size_t len = 0, at = 0;
    for (size_t i = 0; i < datakey->leg_count; i++) {
        if (shares[i] == NULL) {
            return KEK_OK;
        }
        len += kek_secret_bytes(shares[i]).len;
    }
    struct kek_secret *joined = kek_secret_new(len);
    if (joined == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a data key");
    }
    for (size_t i = 0; i < datakey->leg_count; i++) {
        const struct kek_bytes share = kek_secret_bytes(shares[i]);
        memcpy(kek_secret_data(joined) + at, share.data, share.len);
        at += share.len;
    }
    datakey->keys[datakey->key_count++] = joined;
    return KEK_OK;
}

static enum kek_rc open_legs(struct datakeys *datakeys, const struct kek_envelope *envelope,
                             struct datakey *datakey, struct kek_why *why)
{
    struct kek_secret *shares[KEK_ENVELOPE_ENTRIES_MAX] = {NULL};
    bool asked = false;
    enum kek_rc rc = KEK_OK;
    for (size_t i = 0; i < datakey->leg_count; i++) {
        struct kek_secret *key = look(datakeys, &envelope->entries[i], &datakey->legs[i], &asked);
        if (key != NULL && datakey->mode == KEK_ENVELOPE_MODE_ANY) {
            take_key(datakey, &datakey->legs[i], key);
        } else {
            shares[i] = key;
        }
    }
    if (datakey->mode == KEK_ENVELOPE_MODE_ALL) {
        rc = join(datakey, shares, why);
    }
    for (size_t i = 0; i < datakey->leg_count; i++) {
        kek_secret_free(shares[i]);
    }
    datakeys->tried += asked ? 1 : 0;
    return rc;
}

/* One root of trust opens by one KEK, whatever stands in the envelope. */
static size_t legs_of(const struct datakeys *datakeys, const struct kek_envelope *envelope)
{
    return inventory_keks_rules(datakeys->known) == NULL ? 1 : envelope->count;
}

static enum kek_rc add(struct datakeys *datakeys, const struct kek_envelope *envelope,
                       struct datakey **out, struct kek_why *why)
{
    struct datakey_kek *keks[KEK_ENVELOPE_ENTRIES_MAX];
    size_t count = legs_of(datakeys, envelope);
    uint8_t *header = malloc(envelope->header.len);
    bool whole = header != NULL;
    for (size_t i = 0; whole && i < count; i++) {
        keks[i] = kek_of(datakeys, &envelope->entries[i].kek_id);
        whole = keks[i] != NULL;
    }
    if (!whole) {
        free(header);
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a data key");
    }
    struct datakey *datakey = make_room(datakeys);
    memcpy(header, envelope->header.data, envelope->header.len);
    datakey->header = header;
    datakey->header_len = envelope->header.len;
    datakey->mode = count == 1 ? KEK_ENVELOPE_MODE_ANY : envelope->mode; /* one share is the key */
    datakey->leg_count = count;
    for (size_t i = 0; i < count; i++) {
        datakey->legs[i].kek = keks[i];
        datakey->legs[i].known = inventory_kek_find(datakeys->known, &envelope->entries[i].kek_id);
    }
    *out = datakey;
    return open_legs(datakeys, envelope, datakey, why);
}

enum kek_rc datakeys_get(struct datakeys *datakeys, const struct kek_envelope *envelope,
                         struct datakey **datakey, struct kek_why *why)
{
    struct datakey *found = datakeys->last;
    if (found == NULL || found->header == NULL || !is_of(found, envelope->header)) {
        found = NULL;
        for (size_t i = 0; found == NULL && i < datakeys->count; i++) {
            found = datakeys->list[i].header != NULL && is_of(&datakeys->list[i], envelope->header)
                        ? &datakeys->list[i]
                        : NULL;
        }
    }
    if (found == NULL) {
        enum kek_rc rc = add(datakeys, envelope, &found, why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    found->used = ++datakeys->clock;
    datakeys->last = found;
    *datakey = found;
    return KEK_OK;
}
