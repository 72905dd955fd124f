/*
 * KMS v2 and v1beta1: messages to calls and back; the one place that combines roots, data keys and
 * envelopes.
 *
 * It is a service in the sense of kek/rpc.h: kek_kms_methods() is its table.  Status is answered from
 * memory.  Every call ends in exactly one kek_kms_event, for audit and metrics; a failure is logged
 * here, once, with the request's uid, the key_id and the native code.
 * One thread: the loop's.
 */
#ifndef KEK_KMS_H
#define KEK_KMS_H

#include "kek/datakey.h"
#include "kek/rpc.h"

struct kek_kms;

enum kek_kms_method {
    KEK_KMS_V2_STATUS = 0,
    KEK_KMS_V2_ENCRYPT,
    KEK_KMS_V2_DECRYPT,
    KEK_KMS_V1_VERSION,
    KEK_KMS_V1_ENCRYPT,
    KEK_KMS_V1_DECRYPT,
    KEK_KMS_METHODS,
};

/* "v2.Encrypt" and so on; "other" past the end. */
const char *kek_kms_method_name(enum kek_kms_method method);

/* A KEK that a call used, of one of several roots of trust. */
struct kek_kms_kek {
    const char *root; /* its name */
    struct kek_id kek_id;
    uint32_t version;     /* its number; 0: not known */
    const char *provider; /* whose HSM answered last for it; NULL: none did */
    bool unopened;        /* a Decrypt asked its HSM, and what it opened came from none of it */
};

/* A call that has ended. Everything borrowed, valid while the observer runs. */
struct kek_kms_event {
    enum kek_kms_method method;
    enum kek_rpc_status status;
    uint64_t duration_us;
    const struct kek_rpc_peer *peer;
    const char *uid;    /* the request's, escaped by whoever prints it; "" for v1 */
    const char *key_id; /* of the KEK used, or as the client named it; "" if none */
    const struct kek_id
        *kek_id;          /* the KEK used, or the one that the ciphertext names; NULL: none */
    uint32_t version;     /* its number; 0: not known */
    bool hsm;             /* it waited for an HSM operation */
    const char *provider; /* whose HSM answered last; NULL: none did */
    /* Several roots of trust: every KEK that it sealed under, or by which it opened or tried to, in the order of the
     * roots; the count is 0 where there is one root, or none was used. */
    const struct kek_kms_kek *keks;
    size_t kek_count;
    const char *
        damaged_root; /* of a success: to whom it is damaged, where another opened it; NULL: none */
    const struct kek_why *why; /* NULL on success, or what that root's HSM says */
};

typedef void kek_kms_observer_fn(void *arg, const struct kek_kms_event *event);

struct kek_kms_settings {
    const struct kek_config *config; /* borrowed */
    struct kek_roots *roots;         /* borrowed */
    struct kek_datakey_store *store; /* borrowed */
    kek_kms_observer_fn *observer;   /* NULL: none */
    void *arg;
};

struct kek_kms *kek_kms_new(const struct kek_kms_settings *settings, struct kek_why *why);
void kek_kms_free(struct kek_kms *kms);

/* The table to give to a transport, with the kek_kms as its service. Static. */
const struct kek_rpc_method *kek_kms_methods(size_t *count);

/* SO_PEERCRED's uid against allow_uids. */
bool kek_kms_allowed(void *kms, const struct kek_rpc_peer *peer);

/* Bytes, with the NUL: a verdict fits whole, and a Status stays short for what shows it on one line. */
#define KEK_KMS_HEALTHZ_MAX 1024
_Static_assert(sizeof(((struct kek_keyring_verdict *)NULL)->what) +
                       sizeof(((struct kek_keyring_verdict *)NULL)->todo) <=
                   KEK_KMS_HEALTHZ_MAX,
               "nothing that is to be done is cut off");

/* What healthz says: "ok", or one line: what is wrong, and what to do about it. KEK_PRECONDITION: the Status call itself must fail
 * (loss); KEK_UNAVAILABLE: nothing was ever announced. */
enum kek_rc kek_kms_healthz(const struct kek_kms *kms, char *text, size_t size,
                            struct kek_why *why) KEK_MUST_CHECK;

/* The generations that an Encrypt may still seal under, the announced one first: after a change also what
 * Status said before, as long as some connection may follow it and calls that began so may last. Returns
 * how many were written. */
size_t kek_kms_sealing(const struct kek_kms *kms, struct kek_generation *generations, size_t max);

#endif
