#include "kek/wire.h"

#include <string.h>

#include "provider.pb-c.h"

enum kek_rc kek_wire_rc(int cause)
{
    switch ((Kek__Provider__Cause)cause) {
    case KEK__PROVIDER__CAUSE__DATA:
        return KEK_DAMAGED;
    case KEK__PROVIDER__CAUSE__LINK:
    case KEK__PROVIDER__CAUSE__BUSY:
        return KEK_UNAVAILABLE;
    case KEK__PROVIDER__CAUSE__STATE:
        return KEK_PRECONDITION;
    case KEK__PROVIDER__CAUSE__KEY_MISSING:
        return KEK_NOT_FOUND;
    case KEK__PROVIDER__CAUSE__KEY_UNFIT:
    case KEK__PROVIDER__CAUSE__PIN_REFUSED:
    case KEK__PROVIDER__CAUSE__PIN_UNUSABLE:
        return KEK_DENIED;
    case KEK__PROVIDER__CAUSE__UNSUPPORTED:
        return KEK_UNIMPLEMENTED;
    default: /* INTERNAL, BAD_REQUEST, and what this protocol does not know */
        return KEK_INTERNAL;
    }
}

bool kek_wire_is_trial(const char *keyring)
{
    return strncmp(keyring, KEK_PROVIDER_CONFORMANCE_KEYRING,
                   strlen(KEK_PROVIDER_CONFORMANCE_KEYRING)) == 0 ||
           strncmp(keyring, KEK_PROVIDER_PROBE_KEYRING, strlen(KEK_PROVIDER_PROBE_KEYRING)) == 0;
}
