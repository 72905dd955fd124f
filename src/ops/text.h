/*
 * What a string from outside may hold before it is printed: valid UTF-8 only.  Pure; any thread.
 */
#ifndef KEK_OPS_TEXT_H
#define KEK_OPS_TEXT_H

#include <stddef.h>

/* Bytes of the character that starts at `text`, which is NUL-terminated; 0 if it is no valid UTF-8
 * (RFC 3629: no overlong form, no surrogate, nothing past U+10FFFF). At the NUL: 1. */
size_t text_char_len(const unsigned char *text);

#endif
