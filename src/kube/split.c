/*
 * The API server compares the whole "name:" with what it has configured.  Whoever has no configuration must
 * tell the name's end from a ':' in the name (allowed for all but kms v2) and from one in the bytes behind.
 * A name comes from a YAML file: it is UTF-8, and a control character in one is nobody's.
 */
#include "split.h"

#include <string.h>

#include "kek/text.h"

#define AES_BLOCK 16
#define GCM_LEAST (12 + 16)       /* nonce, tag */
#define CBC_LEAST (16 + 16)       /* IV, one block */
#define SECRETBOX_LEAST (24 + 16) /* nonce, tag */
#define SEED_INFO 32              /* what HKDF expands a seed with */

bool kek_kube_data_fits(enum kek_kube_kind kind, bool seed, size_t len)
{
    switch (kind) {
    case KEK_KUBE_AESCBC:
        return len >= CBC_LEAST && len % AES_BLOCK == 0;
    case KEK_KUBE_AESGCM:
    case KEK_KUBE_KMS_V1:
        return len >= GCM_LEAST;
    case KEK_KUBE_SECRETBOX:
        return len >= SECRETBOX_LEAST;
    case KEK_KUBE_KMS_V2:
        return len >= GCM_LEAST + (seed ? SEED_INFO : 0);
    default:
        return true;
    }
}

/* Could the name end before the ':' at `colon`, by the lengths behind it? */
static bool fits(enum kek_kube_kind kind, struct kek_bytes rest, size_t colon)
{
    const uint8_t *behind = rest.data + colon + 1;
    size_t len = rest.len - colon - 1;
    if (kind != KEK_KUBE_KMS_V1) {
        return kek_kube_data_fits(kind, false, len);
    }
    if (len < 2) {
        return false;
    }
    size_t wrapped = (size_t)behind[0] << 8 | behind[1];
    return wrapped <= len - 2 && kek_kube_data_fits(kind, false, len - 2 - wrapped);
}

/* How much of the beginning a name could be. */
static size_t text_len(struct kek_bytes rest)
{
    size_t at = 0;
    while (at < rest.len && rest.data[at] >= 0x20) {
        size_t len = kek_text_utf8_len(kek_bytes(rest.data + at, rest.len - at));
        if (len == 0) {
            break;
        }
        at += len;
    }
    return at;
}

size_t kek_kube_name_len(enum kek_kube_kind kind, struct kek_bytes rest, bool *ambiguous)
{
    *ambiguous = false;
    if (kind == KEK_KUBE_KMS_V2) {
        const uint8_t *colon = rest.len == 0 ? NULL : memchr(rest.data, ':', rest.len);
        return colon == NULL ? SIZE_MAX : (size_t)(colon - rest.data);
    }
    size_t text = text_len(rest);
    /* kms v1: the length of a wrapped key under 8 KiB begins with a control character, which no name
     * has: the ':' before the first one is the right one, whatever the name. */
    if (kind == KEK_KUBE_KMS_V1 && text > 0 && rest.data[text - 1] == ':' &&
        (text == rest.len || rest.data[text] < 0x20)) {
        return text - 1;
    }
    size_t first = SIZE_MAX;
    size_t found = SIZE_MAX;
    for (size_t i = 0; i < text; i++) {
        if (rest.data[i] != ':') {
            continue;
        }
        first = first == SIZE_MAX ? i : first;
        if (fits(kind, rest, i)) {
            *ambiguous = found != SIZE_MAX;
            found = found == SIZE_MAX ? i : found;
        }
    }
    return found == SIZE_MAX ? first : found;
}
