/*
 * Text from outside.  Before it is shown (a client's, a token's, a library's): valid UTF-8 only, for
 * protobuf, JSON and gRPC take nothing else.  Numbers in it: decimal digits only.  And counts in messages.
 * Pure; any thread.
 */
#ifndef KEK_TEXT_H
#define KEK_TEXT_H

#include "kek/bytes.h"

/* Bytes of the first character; 0: there is none, or it is no valid UTF-8 (RFC 3629: no overlong form, no
 * surrogate, nothing past U+10FFFF). NUL is one, as control characters are. */
size_t kek_text_utf8_len(struct kek_bytes bytes);

/* Are all of its characters so? Nothing is. Go's utf8.Valid. */
bool kek_text_is_utf8(struct kek_bytes bytes);

/* For what is to be shown. Bytes of the character that starts at `text`, which is NUL-terminated; 0 if it is
 * no valid UTF-8 or a control character past ASCII (U+0080 to U+009F), which a terminal obeys. At the NUL: 1. */
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

/* As it may stand in a URL between two slashes, or in a query: what is not unreserved (RFC 3986, section 2.3) becomes
 * %XX.  `out` has room for KEK_TEXT_ESCAPED(strlen(text)). */
#define KEK_TEXT_ESCAPED(len) (3 * (len) + 1)
void kek_text_escape(const char *text, char *out);

/* The decimal digits at the start of *text, which moves past them. False, and nothing has moved: there is
 * none (a sign or a blank is none), or the number is larger than max. */
bool kek_text_digits(const char **text, uint64_t max, uint64_t *number);

/* The same where nothing may follow. */
bool kek_text_decimal(const char *text, uint64_t max, uint64_t *number);

/* A message without the "NAME: " that it begins with, for whoever says the name himself: within `text`. */
const char *kek_text_after_name(const char *text, const char *name);

/* Is `name` written wrongly for `meant`?  How many letters must be inserted, deleted or replaced to get from
 * one to the other; SIZE_MAX: so many that it is another word (more than a third of the name's letters and
 * one), or one of them is longer than 32 bytes. */
size_t kek_text_slip(const char *name, const char *meant);

/* For messages: "1 object", "2 objects", "0 data keys".  `noun` is in the singular, one word or more; the
 * plural ends in s, in ies where a consonant and y stand there, in es after s, x, ch or sh.  The text lives as
 * long as the full expression that asks for it: kek_counted(n, "object").text as an argument of printf. */
struct kek_counted {
    char text[64];
};
struct kek_counted kek_counted(uint64_t count, const char *noun);

/* For messages: a command of kekctl about one root of trust, as it is typed: "key resume --root spare", and "key resume"
 * where there is but one root (NULL or ""). `words`: at most 31 bytes. It lives as long as what kek_counted() returns. */
struct kek_command {
    char text[72];
};
struct kek_command kek_command(const char *root, const char *words);

#endif
