/* NaCl's secretbox, as far as telling whether a box opens: nothing is decrypted.  Pure; any thread. */
#ifndef KUBE_SECRETBOX_H
#define KUBE_SECRETBOX_H

#include "kek/secret.h"

/* nonce [24] | tag [16] | ciphertext, as golang.org/x/crypto/nacl/secretbox and the API server write it.  KEK_OK;
 * KEK_DAMAGED: it does not open, or the key has not 32 bytes; KEK_EXHAUSTED: no room for the keys that follow from it;
 * KEK_INTERNAL: OpenSSL has no Poly1305. */
enum kek_rc secretbox_opens(struct kek_bytes key, struct kek_bytes box) KEK_MUST_CHECK;

#endif
