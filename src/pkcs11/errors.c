#include "errors.h"

#include <stdarg.h>
#include <string.h>

static const struct {
    CK_RV rv;
    const char *name;
    enum kek_p11_class class;
} values[] = {
#define RV(name, class)    \
    {                      \
        name, #name, class \
    }
    RV(CKR_OK, KEK_P11_OK),
    RV(CKR_CANCEL, KEK_P11_AMBIGUOUS),
    RV(CKR_HOST_MEMORY, KEK_P11_BUSY),
    RV(CKR_SLOT_ID_INVALID, KEK_P11_LINK),
    RV(CKR_GENERAL_ERROR, KEK_P11_AMBIGUOUS),
    RV(CKR_FUNCTION_FAILED, KEK_P11_AMBIGUOUS),
    RV(CKR_ARGUMENTS_BAD, KEK_P11_AMBIGUOUS),
    RV(CKR_NEED_TO_CREATE_THREADS, KEK_P11_AMBIGUOUS),
    RV(CKR_CANT_LOCK, KEK_P11_AMBIGUOUS),
    RV(CKR_ATTRIBUTE_READ_ONLY, KEK_P11_TEMPLATE),
    RV(CKR_ATTRIBUTE_SENSITIVE, KEK_P11_STATE),
    RV(CKR_ATTRIBUTE_TYPE_INVALID, KEK_P11_TEMPLATE),
    RV(CKR_ATTRIBUTE_VALUE_INVALID, KEK_P11_TEMPLATE),
    RV(CKR_ACTION_PROHIBITED, KEK_P11_STATE),
    RV(CKR_DATA_INVALID, KEK_P11_DATA),
    RV(CKR_DATA_LEN_RANGE, KEK_P11_DATA),
    RV(CKR_DEVICE_ERROR, KEK_P11_AMBIGUOUS),
    RV(CKR_DEVICE_MEMORY, KEK_P11_BUSY),
    RV(CKR_DEVICE_REMOVED, KEK_P11_LINK),
    RV(CKR_ENCRYPTED_DATA_INVALID, KEK_P11_DATA),
    RV(CKR_ENCRYPTED_DATA_LEN_RANGE, KEK_P11_DATA),
    RV(CKR_AEAD_DECRYPT_FAILED, KEK_P11_DATA),
    RV(CKR_FUNCTION_CANCELED, KEK_P11_AMBIGUOUS),
    RV(CKR_FUNCTION_NOT_SUPPORTED, KEK_P11_UNSUPPORTED),
    RV(CKR_KEY_HANDLE_INVALID, KEK_P11_HANDLE),
    RV(CKR_KEY_SIZE_RANGE, KEK_P11_STATE),
    RV(CKR_KEY_TYPE_INCONSISTENT, KEK_P11_STATE),
    RV(CKR_KEY_FUNCTION_NOT_PERMITTED, KEK_P11_STATE),
    RV(CKR_KEY_NOT_WRAPPABLE, KEK_P11_STATE),
    RV(CKR_KEY_UNEXTRACTABLE, KEK_P11_STATE),
    RV(CKR_MECHANISM_INVALID, KEK_P11_UNSUPPORTED),
    RV(CKR_MECHANISM_PARAM_INVALID, KEK_P11_UNSUPPORTED),
    RV(CKR_OBJECT_HANDLE_INVALID, KEK_P11_HANDLE),
    RV(CKR_OPERATION_ACTIVE, KEK_P11_SESSION),
    RV(CKR_OPERATION_NOT_INITIALIZED, KEK_P11_SESSION),
    RV(CKR_PIN_INCORRECT, KEK_P11_PIN),
    RV(CKR_PIN_INVALID, KEK_P11_PIN),
    RV(CKR_PIN_LEN_RANGE, KEK_P11_PIN),
    RV(CKR_PIN_EXPIRED, KEK_P11_PIN),
    RV(CKR_PIN_LOCKED, KEK_P11_PIN),
    RV(CKR_SESSION_CLOSED, KEK_P11_SESSION),
    RV(CKR_SESSION_COUNT, KEK_P11_BUSY),
    RV(CKR_SESSION_HANDLE_INVALID, KEK_P11_SESSION),
    RV(CKR_SESSION_READ_ONLY, KEK_P11_STATE),
    RV(CKR_TEMPLATE_INCOMPLETE, KEK_P11_TEMPLATE),
    RV(CKR_TEMPLATE_INCONSISTENT, KEK_P11_TEMPLATE),
    RV(CKR_TOKEN_NOT_PRESENT, KEK_P11_LINK),
    RV(CKR_TOKEN_NOT_RECOGNIZED, KEK_P11_LINK),
    RV(CKR_TOKEN_WRITE_PROTECTED, KEK_P11_STATE),
    RV(CKR_UNWRAPPING_KEY_HANDLE_INVALID, KEK_P11_HANDLE),
    RV(CKR_UNWRAPPING_KEY_SIZE_RANGE, KEK_P11_STATE),
    RV(CKR_UNWRAPPING_KEY_TYPE_INCONSISTENT, KEK_P11_STATE),
    RV(CKR_USER_ALREADY_LOGGED_IN, KEK_P11_AMBIGUOUS), /* C_Login: as good as CKR_OK */
    RV(CKR_USER_NOT_LOGGED_IN, KEK_P11_LINK),
    RV(CKR_USER_PIN_NOT_INITIALIZED, KEK_P11_LINK), /* there was none to compare with */
    RV(CKR_USER_TYPE_INVALID, KEK_P11_AMBIGUOUS),
    RV(CKR_USER_ANOTHER_ALREADY_LOGGED_IN, KEK_P11_LINK),
    RV(CKR_USER_TOO_MANY_TYPES, KEK_P11_BUSY),
    RV(CKR_WRAPPED_KEY_INVALID, KEK_P11_DATA),
    RV(CKR_WRAPPED_KEY_LEN_RANGE, KEK_P11_DATA),
    RV(CKR_WRAPPING_KEY_HANDLE_INVALID, KEK_P11_HANDLE),
    RV(CKR_WRAPPING_KEY_SIZE_RANGE, KEK_P11_STATE),
    RV(CKR_WRAPPING_KEY_TYPE_INCONSISTENT, KEK_P11_STATE),
    RV(CKR_RANDOM_NO_RNG, KEK_P11_AMBIGUOUS),
    RV(CKR_BUFFER_TOO_SMALL, KEK_P11_AMBIGUOUS),
    RV(CKR_CRYPTOKI_NOT_INITIALIZED, KEK_P11_LINK),
    RV(CKR_CRYPTOKI_ALREADY_INITIALIZED, KEK_P11_AMBIGUOUS),
    RV(CKR_MUTEX_BAD, KEK_P11_AMBIGUOUS),
    RV(CKR_FIPS_SELF_TEST_FAILED, KEK_P11_LINK),
    RV(CKR_LIBRARY_LOAD_FAILED, KEK_P11_LINK),
    RV(CKR_FUNCTION_REJECTED, KEK_P11_STATE),
    RV(CKR_TOKEN_RESOURCE_EXCEEDED, KEK_P11_BUSY),
#undef RV
};

const char *kek_p11_rv_name(CK_RV rv)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (values[i].rv == rv) {
            return values[i].name;
        }
    }
    return (rv & CKR_VENDOR_DEFINED) != 0 ? "vendor-defined" : "unknown";
}

enum kek_p11_class kek_p11_class_of(CK_RV rv)
{
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        if (values[i].rv == rv) {
            return values[i].class;
        }
    }
    return KEK_P11_AMBIGUOUS;
}

/* For calls after which nothing was found out: what cannot be told is taken for a lost token. */
static Kek__Provider__Cause cause_of(enum kek_p11_class class)
{
    switch (class) {
    case KEK_P11_STATE:
        return KEK__PROVIDER__CAUSE__STATE;
    case KEK_P11_TEMPLATE:
    case KEK_P11_UNSUPPORTED:
        return KEK__PROVIDER__CAUSE__UNSUPPORTED;
    case KEK_P11_PIN:
        return KEK__PROVIDER__CAUSE__PIN_REFUSED;
    case KEK_P11_BUSY:
        return KEK__PROVIDER__CAUSE__BUSY;
    case KEK_P11_SESSION:
    case KEK_P11_HANDLE:
    case KEK_P11_DATA:
    case KEK_P11_LINK:
    case KEK_P11_AMBIGUOUS:
        return KEK__PROVIDER__CAUSE__LINK;
    case KEK_P11_OK:
        break;
    }
    return KEK__PROVIDER__CAUSE__INTERNAL;
}

bool kek_p11_fail(struct kek_provider_failure *failure, Kek__Provider__Step step,
                  Kek__Provider__Cause cause, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)kek_provider_fail(failure, (int)step, (int)cause, format, args);
    va_end(args);
    return false;
}

bool kek_p11_fail_as(struct kek_provider_failure *failure, Kek__Provider__Step step,
                     Kek__Provider__Cause cause, struct kek_p11_outcome outcome)
{
    failure->step = step;
    failure->cause = cause;
    kek_fail_native(&failure->why, kek_wire_rc(cause), KEK_NATIVE_PKCS11, outcome.rv,
                    "%s: %s (0x%lx)", outcome.call, kek_p11_rv_name(outcome.rv), outcome.rv);
    return false;
}

bool kek_p11_passed(struct kek_p11_outcome first, struct kek_p11_outcome second)
{
    return kek_p11_class_of(first.rv) == KEK_P11_BUSY &&
           kek_p11_class_of(second.rv) != KEK_P11_BUSY;
}

void kek_p11_again(struct kek_p11_outcome first)
{
    struct kek_why why;
    kek_fail_native(&why, KEK_UNAVAILABLE, KEK_NATIVE_PKCS11, first.rv, "%s: %s (0x%lx)",
                    first.call, kek_p11_rv_name(first.rv), first.rv);
    kek_provider_again(&why);
}

bool kek_p11_fail_rv(struct kek_provider_failure *failure, Kek__Provider__Step step,
                     struct kek_p11_outcome outcome)
{
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    if (class == KEK_P11_PIN && strcmp(outcome.call, "C_Login") != 0) {
        class = KEK_P11_LINK; /* whatever is meant: no PIN was tried */
    }
    return kek_p11_fail_as(failure, step, cause_of(class), outcome);
}
