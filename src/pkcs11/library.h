/*
 * A provider's PKCS#11 library: looked at before it is loaded, since the loader has few words for what is
 * wrong with one, and the same for several things.
 */
#ifndef KEK_PKCS11_LIBRARY_H
#define KEK_PKCS11_LIBRARY_H

#include "uri.h"

/* Loads the module that the URI names; its functions live as long as the process. NULL, and `failure` says
 * why: it cannot be read by this uid, it is no ELF shared library, or of another architecture, or it has no
 * C_GetFunctionList, or what the loader says (a library that it needs is missing). */
CK_FUNCTION_LIST *kek_p11_library_load(const struct kek_p11_uri *uri, struct kek_why *why);

/* Adds to what failed inside the library where it looks for its own configuration, as this process has it: a
 * library that finds none, or another than was meant, says no more than CKR_GENERAL_ERROR or shows other tokens. */
void kek_p11_library_say_where(const struct kek_p11_uri *uri, struct kek_why *why);

#endif
