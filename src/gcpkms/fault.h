/*
 * What went wrong with a call to Cloud KMS, in the classes that are acted on differently, and what of the worker's
 * protocol each of them is.  A fault's text names the call, the HTTP status and Google's own word for it; never a
 * token, a key, a plaintext or what was sent.
 */
#ifndef GCPKMS_FAULT_H
#define GCPKMS_FAULT_H

#include "kek/bridge.h"

#include "provider.pb-c.h"

enum kek_gcp_class {
    KEK_GCP_TRANSIENT = 0, /* nobody answered, or later another answer may come: tried again */
    KEK_GCP_AUTH,          /* the credential or its token is refused, or cannot be read */
    KEK_GCP_AUTHZ,         /* who we are may not do this */
    KEK_GCP_STATE,         /* the version is not enabled */
    KEK_GCP_NOT_FOUND,     /* there is no such key or version */
    KEK_GCP_DATA,          /* this ciphertext with this AAD does not open */
    KEK_GCP_POLICY,        /* an answer of another version, or of too low a protection */
    KEK_GCP_REQUEST, /* Google does not take the request: a defect, or the wrong kind of key */
    KEK_GCP_LOCAL,   /* no memory here */
};

struct kek_gcp_fault {
    enum kek_gcp_class class;
    struct kek_why why; /* KEK_NATIVE_HTTP where an HTTP status came */
};

/* Fills *fault and returns false, so that a failure is one statement. status 0: none came. */
bool kek_gcp_fail(struct kek_gcp_fault *fault, enum kek_gcp_class class, long status,
                  const char *format, ...) KEK_PRINTF(4, 5);

/* Takes what Google said out of the text if it reveals this: whoever answers may send back what he was sent.  Returns
 * false. */
bool kek_gcp_conceal(struct kek_gcp_fault *fault, struct kek_bytes secret);

/* The same as a provider's function says it, after a start too: PROVIDER_CALL. Returns false. */
bool kek_gcp_say(struct kek_provider_failure *failure, const struct kek_gcp_fault *fault);

/* And of a start, where nothing counts as a try of a PIN. Returns false. */
bool kek_gcp_say_start(struct kek_provider_failure *failure, const struct kek_gcp_fault *fault);

#endif
