/* What the tests of the configuration have in common. */
#ifndef UNIT_CONFIG_HELP_H
#define UNIT_CONFIG_HELP_H

#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "kek/config.h"

#define URI "pkcs11:token=t?module-path=/m.so&pin-source=file:/pin"
/* Six lines; a case adds keys of the provider (four spaces) or of the root as line 7. */
#define BASE                         \
    "listen: unix:///run/kms.sock\n" \
    "keyring: k\n"                   \
    "providers:\n"                   \
    "  - name: a\n"                  \
    "    type: pkcs11\n"             \
    "    uri: \"" URI "\"\n"

/* Nine lines: the providers a and b. */
#define TWO BASE "  - name: b\n    type: pkcs11\n    uri: \"" URI "\"\n"

/* Filler of `count` bytes between two texts. */
static inline char *filled(const char *before, char filler, size_t count, const char *after)
{
    size_t head = strlen(before), tail = strlen(after);
    char *text = malloc(head + count + tail + 1);
    ck_assert_ptr_nonnull(text);
    memcpy(text, before, head);
    memset(text + head, filler, count);
    memcpy(text + head + count, after, tail + 1);
    return text;
}

#endif
