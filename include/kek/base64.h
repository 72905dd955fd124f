/* RFC 4648, section 4: standard base64, with its padding, in one line. Pure; any thread. */
#ifndef KEK_BASE64_H
#define KEK_BASE64_H

#include "kek/bytes.h"

#define KEK_BASE64(len) (((len) + 2) / 3 * 4 + 1) /* chars of so many bytes, with the NUL */

void kek_base64(struct kek_bytes bytes, char *out);

/* Only what kek_base64() writes is taken: no blanks, no other alphabet, no bits past the end, padding.
 * False: it is not that, or more than `size` bytes. */
bool kek_unbase64(const char *text, uint8_t *out, size_t size, size_t *len);

#endif
