#include "reencrypt_proof.h"

#include <inttypes.h>

#include "kek/text.h"
#include "kekctl/inventory/inventory_state.h"

#define FIRST_PATIENCE_MS 60000u

bool reencrypt_proof_is_there(const struct reencrypt *reencrypt, const struct guard *guard)
{
    return reencrypt_etcd_is_there(reencrypt->config) && (reencrypt->decrypts || guard->has_kek_id);
}

static struct reencrypt_etcd *read_etcd(struct reencrypt *reencrypt, const struct guard *guard,
                                        const char *now, struct kek_why *why)
{
    struct reencrypt_etcd *etcd =
        reencrypt_etcd_new(reencrypt, reencrypt->decrypts ? NULL : guard->key_id, why);
    if (etcd == NULL) {
        return NULL;
    }
    const struct reencrypt_reading *reading = reencrypt_etcd_reading(etcd);
    const struct kek_counted objects = kek_counted(reading->objects, "object");
    if (reencrypt->decrypts) {
        ctl_say(reencrypt->ctl, "etcd holds %s%s, %" PRIu64 " not in clear", objects.text, now,
                reading->old);
    } else {
        ctl_say(reencrypt->ctl, "etcd holds %s%s, %" PRIu64 " not under version %" PRIu32,
                objects.text, now, reading->old, guard->version);
    }
    return etcd;
}

static enum kek_rc on_object(void *arg, const struct kek_kubeapi_object *object,
                             struct kek_why *why)
{
    bool *any = arg;
    (void)object;
    (void)why;
    *any = true;
    return KEK_OK;
}

/* Where this user may not list, nothing is known. */
static bool has_objects(struct reencrypt *reencrypt, const struct reencrypt_resource *resource)
{
    bool any = false;
    struct kek_kubeapi_call call = {.done = false};
    kek_kubeapi_list(reencrypt->api, &call, &resource->api, NULL, on_object, &any);
    bool good = kek_kubeapi_wait(reencrypt->api, &call) == KEK_KUBEAPI_GOOD;
    kek_kubeapi_end(reencrypt->api, &call);
    return good && any;
}

/* A prefix that is none of the API server's, or an etcd that is not its own, would have nothing left at once. */
static bool is_its_own(struct reencrypt *reencrypt, struct kek_why *why)
{
    for (size_t i = 0; i < reencrypt->resource_count; i++) {
        const struct reencrypt_resource *resource = &reencrypt->resources[i];
        bool found = resource->since[0] != '\0';
        if (!found && has_objects(reencrypt, resource)) {
            kek_fail(why, KEK_PRECONDITION,
                     "nothing was rewritten: the API server has %s, and no etcd of this context in "
                     "%s has any: is an endpoint another cluster's, its prefix "
                     "another one, or are they stored under another name (events.events.k8s.io as "
                     "events)?",
                     resource->name, reencrypt->config->path);
            return false;
        }
    }
    return true;
}

struct reencrypt_etcd *reencrypt_proof_begin(struct reencrypt *reencrypt, const struct guard *guard,
                                             struct kek_why *why)
{
    KEK_AUTO(reencrypt_etcd) etcd = read_etcd(reencrypt, guard, "", why);
    return etcd == NULL || !is_its_own(reencrypt, why) ? NULL : KEK_STEAL(etcd);
}

static enum ctl_exit no_look(void *arg, struct kek_why *why)
{
    (void)arg;
    (void)why;
    return CTL_GOOD;
}

static void no_tell(void *arg, uint64_t left)
{
    (void)arg;
    (void)left;
}

static void not_stalled(void *arg, const struct kek_why *why)
{
    (void)arg;
    (void)why;
}

bool reencrypt_proof_first(struct reencrypt *reencrypt, const struct guard *guard,
                           const volatile sig_atomic_t *interrupted, struct kek_why *why)
{
    static const struct reencrypt_beside nothing = {
        .look = no_look, .tell = no_tell, .stalled = not_stalled};
    const struct reencrypt_settings settings = {.parallel = 1,
                                                .patience_ms = FIRST_PATIENCE_MS,
                                                .first_only = true,
                                                .interrupted = interrupted};
    KEK_AUTO(reencrypt_etcd) etcd = reencrypt_proof_begin(reencrypt, guard, why);
    if (etcd == NULL) {
        return false;
    }
    struct reencrypt_source source = reencrypt_etcd_source(etcd);
    enum reencrypt_end end = reencrypt_run(reencrypt, &source, &nothing, &settings, why);
    return end != REENCRYPT_STOPPED || why->rc == KEK_DENIED;
}

/* In the words of `inventory`. */
static const char *state_of(const struct reencrypt *reencrypt,
                            const struct reencrypt_reading *reading)
{
    static const enum inventory_state states[2][3] = {
        {INVENTORY_ENCRYPTED, INVENTORY_ENCRYPTION_PENDING, INVENTORY_ENCRYPTION_ERROR},
        {INVENTORY_DECRYPTED, INVENTORY_DECRYPTION_PENDING, INVENTORY_DECRYPTION_ERROR}};
    size_t how = reading->damaged > 0 ? 2 : reading->old > 0 ? 1 : 0;
    return inventory_state_name(states[reencrypt->decrypts][how]);
}

json_t *reencrypt_proof_end(struct reencrypt *reencrypt, const struct guard *guard, bool *good)
{
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO(reencrypt_etcd) etcd = read_etcd(reencrypt, guard, " now", &why);
    if (etcd == NULL) {
        ctl_say(reencrypt->ctl, "what is left in etcd is not known: %s", why.text);
        *good = false;
        return NULL;
    }
    const struct reencrypt_reading *reading = reencrypt_etcd_reading(etcd);
    json_t *version = reencrypt->decrypts ? json_null() : json_integer(guard->version);
    *good = *good && reading->old == 0;
    return json_pack("{s:s, s:o, s:I, s:I, s:I, s:I}", "state", state_of(reencrypt, reading),
                     "version", version, "objects", (json_int_t)reading->objects, "left",
                     (json_int_t)reading->old, "damaged", (json_int_t)reading->damaged, "kms_v1",
                     (json_int_t)reading->v1);
}
