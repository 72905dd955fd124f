/*
 * What a CK_RV is called, what kind of trouble it is, and how a failure goes on the wire.
 *
 * One return value has many meanings (SoftHSM says CKR_GENERAL_ERROR for a damaged blob and for a
 * vanished token), so a class is what the worker does next, not yet the verdict.
 */
#ifndef KEK_PKCS11_ERRORS_H
#define KEK_PKCS11_ERRORS_H

#include "kek/provider.h"

#include "calls.h"
#include "provider.pb-c.h"

enum kek_p11_class {
    KEK_P11_OK = 0,
    KEK_P11_SESSION,     /* the session is gone or stuck: a new one, once */
    KEK_P11_HANDLE,      /* an object handle is gone: find the key again, once */
    KEK_P11_DATA,        /* the blob is bad */
    KEK_P11_STATE,       /* the key may not do this */
    KEK_P11_TEMPLATE,    /* the attributes given are refused: the next template */
    KEK_P11_UNSUPPORTED, /* the mechanism or function does not exist */
    KEK_P11_PIN,         /* never again by itself */
    KEK_P11_BUSY,        /* no session or memory now */
    KEK_P11_LINK,        /* the token or its library is gone */
    KEK_P11_AMBIGUOUS,   /* anything else: a known answer decides */
};

const char *kek_p11_rv_name(CK_RV rv); /* "CKR_PIN_INCORRECT"; "unknown" */
enum kek_p11_class kek_p11_class_of(CK_RV rv);

/* Both return false, so that a failure is one statement. */
bool kek_p11_fail(struct kek_provider_failure *failure, Kek__Provider__Step step,
                  Kek__Provider__Cause cause, const char *format, ...) KEK_PRINTF(4, 5);
/* Did the token have no room for it at first, and then say what it makes of it? */
bool kek_p11_passed(struct kek_p11_outcome first, struct kek_p11_outcome second);
/* It failed so, and was done at the second try: told to whoever asked (kek_provider_again()). */
void kek_p11_again(struct kek_p11_outcome first);
/* "C_WrapKey: CKR_DEVICE_REMOVED (0x32)", with the cause that its class leads to; never DATA, which only
 * a known answer tells. */
bool kek_p11_fail_rv(struct kek_provider_failure *failure, Kek__Provider__Step step,
                     struct kek_p11_outcome outcome);
/* The same with a cause that was found out otherwise. */
bool kek_p11_fail_as(struct kek_provider_failure *failure, Kek__Provider__Step step,
                     Kek__Provider__Cause cause, struct kek_p11_outcome outcome);

#endif
