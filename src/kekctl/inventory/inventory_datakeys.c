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
    struct keys *keys;
    struct datakey list[DATAKEYS_MAX];
    size_t count;
    struct datakey_kek keks[DATAKEYS_KEKS_MAX];
    size_t kek_count;
    struct datakey *last;
    uint64_t clock; /* counts uses */
    uint64_t tried;
    unsigned confirmed[KEK_CONFIG_PROVIDERS_MAX]; /* "damaged", by a fresh process */
};

static const char *const names[] = {"opens",  "damaged",   "undecided",
                                    "no-key", "suspended", "unreachable"};
_Static_assert(sizeof names / sizeof names[0] == OPENING_OUTCOMES, "a name for each");

const char *opening_name(enum opening opening)
{
    return names[opening];
}

struct datakeys *datakeys_new(struct keys *keys)
{
    struct datakeys *datakeys = calloc(1, sizeof *datakeys);
    if (datakeys != NULL) {
        datakeys->keys = keys;
    }
    return datakeys;
}

static void forget(struct datakey *datakey)
{
    free(datakey->header);
    kek_secret_free(datakey->key);
    kek_envelope_key_free(datakey->expanded);
    *datakey = (struct datakey){.header = NULL};
}

void datakeys_free(struct datakeys *datakeys)
{
    for (size_t i = 0; datakeys != NULL && i < datakeys->count; i++) {
        forget(&datakeys->list[i]);
    }
    free(datakeys);
}

uint64_t datakeys_count(const struct datakeys *datakeys)
{
    return datakeys->tried;
}

void datakey_proven(struct datakey *datakey)
{
    datakey->kek->proven |= datakey->asked;
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
static void unwrap_surely(struct datakeys *datakeys, size_t provider,
                          const struct kek_envelope_entry *entry, struct unwrapping *unwrapping)
{
    unwrap_by(datakeys->keys, provider, entry, false, unwrapping);
    if (unwrapping->rc == KEK_DAMAGED && datakeys->confirmed[provider] < CONFIRM) {
        datakeys->confirmed[provider]++;
        unwrap_by(datakeys->keys, provider, entry, true, unwrapping);
    }
}

static bool ask_one(struct datakeys *datakeys, size_t provider,
                    const struct kek_envelope_entry *entry, struct datakey *datakey,
                    struct round *round)
{
    struct keys *keys = datakeys->keys;
    const struct listing *listing = &keys->listings[provider];
    const struct kek_version *version = view_find(keys, provider, &entry->kek_id);
    struct unwrapping unwrapping;
    if (listing->rc != KEK_OK) {
        datakey->unasked = true;
        snprintf(datakey->why, sizeof datakey->why, "%s", listing->why.text);
        return false;
    }
    if (version == NULL) {
        return false;
    }
    round->shown = true;
    if (!version->can_unwrap || !version->eligible) {
        round->refused = true;
        return false;
    }
    if (!may_be(listing, entry->alg)) {
        datakey->asked |= UINT32_C(1) << provider;
        snprintf(datakey->why, sizeof datakey->why, "%s does not wrap by %s",
                 keys->config->providers[provider].name, kek_wrap_alg_name(entry->alg));
        return false;
    }
    unwrap_surely(datakeys, provider, entry, &unwrapping);
    if (unwrapping.rc == KEK_OK) {
        datakey->asked = UINT32_C(1) << provider;
        datakey->key = unwrapping.key;
        return true;
    }
    snprintf(datakey->why, sizeof datakey->why, "%s", unwrapping.why.text);
    if (unwrapping.rc == KEK_DAMAGED) {
        datakey->asked |= UINT32_C(1) << provider;
    } else if (unwrapping.rc == KEK_PRECONDITION) {
        round->refused = true;
    } else {
        datakey->unasked = true; /* a key that is gone since it was listed may be back, too */
    }
    return false;
}

static enum opening ask_all(struct datakeys *datakeys, const struct kek_envelope_entry *entry,
                            struct datakey *datakey)
{
    struct keys *keys = datakeys->keys;
    struct round round = {.shown = false};
    if (keys == NULL || keys->pool == NULL) {
        snprintf(datakey->why, sizeof datakey->why, "there is no provider to ask");
        datakey->unasked = true;
        return OPENING_UNREACHABLE;
    }
    datakeys->tried++;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (ask_one(datakeys, p, entry, datakey, &round)) {
            return OPENING_GOOD;
        }
    }
    if (datakey->asked != 0) {
        return OPENING_UNDECIDED;
    }
    if (datakey->unasked) {
        return OPENING_UNREACHABLE;
    }
    return round.shown ? OPENING_SUSPENDED : OPENING_NO_KEY;
}

/* Keeping them. */

static struct datakey_kek *kek_of(struct datakeys *datakeys, const struct kek_id *id)
{
    for (size_t i = 0; i < datakeys->kek_count; i++) {
        if (kek_id_equal(&datakeys->keks[i].id, id)) {
            return &datakeys->keks[i];
        }
    }
    /* More KEKs than any keyring has: they share the last place, where each one is new. */
    size_t at = datakeys->kek_count;
    if (at == DATAKEYS_KEKS_MAX) {
        at--;
    } else {
        datakeys->kek_count++;
    }
    datakeys->keks[at] = (struct datakey_kek){.id = *id};
    return &datakeys->keks[at];
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

static enum kek_rc add(struct datakeys *datakeys, const struct kek_envelope *envelope,
                       struct datakey **out, struct kek_why *why)
{
    struct datakey *datakey = make_room(datakeys);
    datakey->header = malloc(envelope->header.len);
    if (datakey->header == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a data key");
    }
    memcpy(datakey->header, envelope->header.data, envelope->header.len);
    datakey->header_len = envelope->header.len;
    datakey->kek = kek_of(datakeys, &envelope->entries[0].kek_id);
    if (datakey->kek->strikes >= GIVE_UP) {
        datakey->opening = OPENING_UNREACHABLE;
        datakey->unasked = true;
        snprintf(datakey->why, sizeof datakey->why,
                 "its KEK could not be asked for twice, and was left alone");
    } else {
        datakey->opening = ask_all(datakeys, &envelope->entries[0], datakey);
        bool unreachable = datakey->opening == OPENING_UNREACHABLE;
        datakey->kek->strikes = unreachable ? datakey->kek->strikes + 1 : 0;
    }
    *out = datakey;
    return KEK_OK;
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
