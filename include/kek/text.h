/*
 * Text from outside.  Before it is shown (a client's, a token's, a library's): valid UTF-8 only, for
 * protobuf, JSON and gRPC take nothing else.  Numbers in it: decimal digits only.  Pure; any thread.
 */
#ifndef KEK_TEXT_H
#define KEK_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of the character that starts at `text`, which is NUL-terminated; 0 if it is no valid UTF-8
 * (RFC 3629: no overlong form, no surrogate, nothing past U+10FFFF) or a control character past ASCII
 * (U+0080 to U+009F). At the NUL: 1. */
size_t kek_text_char_len(const unsigned char *text);

/* One line of valid UTF-8, in place: each control character, and each byte that is not UTF-8 (such as
 * the rest of a character that was cut), becomes '?'. */
void kek_text_clean(char *text);

/* Copies what fits, and cleans that; out is NUL-terminated. NULL is the empty text. */
void kek_text_copy(char *out, size_t size, const char *text);

/* Writes *text as it stands within the quotes of a JSON string, without them and without a NUL: quotes,
 * backslashes and control characters escaped, U+FFFD for what is no UTF-8. It stops where a character
 * begins at or past `max` bytes of the text, or does not fit, and moves *text to there. Returns the
 * bytes written; at most six for each byte of the text. */
size_t kek_text_json(const char **text, size_t max, char *out, size_t size);

/* The decimal digits at the start of *text, which moves past them. False, and nothing has moved: there is
 * none (a sign or a blank is none), or the number is larger than max. */
bool kek_text_digits(const char **text, uint64_t max, uint64_t *number);

/* The same where nothing may follow. */
bool kek_text_decimal(const char *text, uint64_t max, uint64_t *number);

/* Is `name` written wrongly for `meant`?  How many letters must be inserted, deleted or replaced to get from
 * one to the other; SIZE_MAX: so many that it is another word (more than a third of the name's letters and
 * one), or one of them is longer than 32 bytes. */
size_t kek_text_slip(const char *name, const char *meant);

#endif
