/*
 * Which slot holds the token that a URI names.
 *
 * A slot whose HSM is dead may not answer at all, and nothing here can end a call of the module: so
 * no slot is asked that need not be.  A slot that the URI names (slot-id) is asked alone.  Else the
 * slot where an earlier worker of this kekd found the token is asked first, and if the same token is
 * still there, alone.  Else the slots are asked in the module's order: until one matches, where the URI
 * has a serial, which within one module no two tokens share; all of them, where a second one with the
 * same label must not go unnoticed.
 */
#ifndef KEK_PKCS11_TOKEN_H
#define KEK_PKCS11_TOKEN_H

#include "errors.h"
#include "uri.h"

/* Texts of PKCS#11 have a fixed width and are padded by blanks (section 3.1); some modules end them by a
 * NUL, with whatever after it.  This makes blanks of that. */
void kek_p11_text_pad(uint8_t *text, size_t width);
/* Such a text as a C string; `out` has room for width + 1. */
void kek_p11_text(const uint8_t *text, size_t width, char *out);

/* `seen` is NULL if no earlier worker found the token. The texts of *info are padded by blanks. */
bool kek_p11_token_find(CK_FUNCTION_LIST *f, const struct kek_p11_uri *uri,
                        const Kek__Provider__Seen *seen, CK_SLOT_ID *slot, CK_TOKEN_INFO *info,
                        struct kek_provider_failure *failure);

#endif
