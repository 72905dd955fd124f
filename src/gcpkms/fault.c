#include "fault.h"

#include <stdarg.h>
#include <stdio.h>

/* Of a worker that is ready.  TRANSIENT is BUSY, not LINK: a fresh process would meet the same network.  AUTHZ,
 * AUTH and POLICY are KEY_UNFIT: told, asked of another provider, and no reason to believe that the key is gone. */
static const struct {
    const char *name;
    Kek__Provider__Cause cause;
} classes[] = {
    [KEK_GCP_TRANSIENT] = {"TRANSIENT", KEK__PROVIDER__CAUSE__BUSY},
    [KEK_GCP_AUTH] = {"AUTH", KEK__PROVIDER__CAUSE__KEY_UNFIT},
    [KEK_GCP_AUTHZ] = {"AUTHZ", KEK__PROVIDER__CAUSE__KEY_UNFIT},
    [KEK_GCP_STATE] = {"KEYSTATE", KEK__PROVIDER__CAUSE__STATE},
    [KEK_GCP_NOT_FOUND] = {"NOTFOUND", KEK__PROVIDER__CAUSE__KEY_MISSING},
    [KEK_GCP_DATA] = {"INTEGRITY", KEK__PROVIDER__CAUSE__DATA},
    [KEK_GCP_POLICY] = {"POLICY", KEK__PROVIDER__CAUSE__KEY_UNFIT},
    [KEK_GCP_REQUEST] = {"REQUEST", KEK__PROVIDER__CAUSE__UNSUPPORTED},
    [KEK_GCP_LOCAL] = {"LOCAL", KEK__PROVIDER__CAUSE__INTERNAL},
};

bool kek_gcp_fail(struct kek_gcp_fault *fault, enum kek_gcp_class class, long status,
                  const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fault->class = class;
    kek_fail_native(&fault->why, kek_wire_rc(classes[class].cause),
                    status == 0 ? KEK_NATIVE_NONE : KEK_NATIVE_HTTP, (unsigned long)status,
                    "%s: %s", classes[class].name, text);
    return false;
}

bool kek_gcp_conceal(struct kek_gcp_fault *fault, struct kek_bytes secret)
{
    if (!kek_bridge_reveals(fault->why.text, secret)) {
        return false;
    }
    unsigned long status = fault->why.code;
    return kek_gcp_fail(fault, fault->class, (long)status,
                        "HTTP status %lu, and a text with a secret of ours in it", status);
}

bool kek_gcp_say(struct kek_provider_failure *failure, const struct kek_gcp_fault *fault)
{
    return kek_bridge_fail_why(failure, KEK__PROVIDER__STEP__PROVIDER_CALL,
                               (int)classes[fault->class].cause, &fault->why);
}

bool kek_gcp_say_start(struct kek_provider_failure *failure, const struct kek_gcp_fault *fault)
{
    bool credential = fault->class == KEK_GCP_AUTH || fault->class == KEK_GCP_AUTHZ;
    Kek__Provider__Cause cause = credential ? KEK__PROVIDER__CAUSE__PIN_UNUSABLE
                                 : fault->class == KEK_GCP_TRANSIENT ? KEK__PROVIDER__CAUSE__LINK
                                                                     : classes[fault->class].cause;
    return kek_bridge_fail_why(
        failure, credential ? KEK__PROVIDER__STEP__PIN_FILE : KEK__PROVIDER__STEP__TOKEN,
        (int)cause, &fault->why);
}
