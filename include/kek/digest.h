/* A SHA-256 in text: what two nodes compare without showing what it is of. Pure; any thread. */
#ifndef KEK_DIGEST_H
#define KEK_DIGEST_H

#include "kek/bytes.h"

#define KEK_SHA256_TEXT 65 /* bytes, with the NUL */

/* In lower-case hex. False: no memory, and text is as it was. */
bool kek_sha256_text(struct kek_bytes bytes, char text[static KEK_SHA256_TEXT]) KEK_MUST_CHECK;

#endif
