/* UTF-8 in bytes that no NUL ends. text.h's is for text that is shown; this is Go's utf8.Valid. */
#ifndef KEK_KUBE_UTF8_H
#define KEK_KUBE_UTF8_H

#include "kek/bytes.h"

/* Bytes of the first character; 0: none, or no valid UTF-8 (RFC 3629). */
size_t kek_kube_char_len(const uint8_t *bytes, size_t len);

bool kek_kube_utf8(struct kek_bytes bytes);

#endif
