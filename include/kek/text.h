/*
 * Text from outside (a client, a token, a library) before it is shown: valid UTF-8 only, for protobuf,
 * JSON and gRPC take nothing else.  Pure; any thread.
 */
#ifndef KEK_TEXT_H
#define KEK_TEXT_H

#include <stddef.h>

/* Bytes of the character that starts at `text`, which is NUL-terminated; 0 if it is no valid UTF-8
 * (RFC 3629: no overlong form, no surrogate, nothing past U+10FFFF) or a control character past ASCII
 * (U+0080 to U+009F). At the NUL: 1. */
size_t kek_text_char_len(const unsigned char *text);

/* One line of valid UTF-8, in place: each control character, and each byte that is not UTF-8 (such as
 * the rest of a character that was cut), becomes '?'. */
void kek_text_clean(char *text);

#endif
