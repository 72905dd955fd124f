#include "kek/audit_link.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include <openssl/evp.h>

#include "kek/text.h"

#define CHAIN_LEN (KEK_AUDIT_CHAIN_TEXT - 1)
#define HASH_LEN (KEK_SHA256_TEXT - 1)
#define CHAIN_NAME "\"chain\":\""
#define N_NAME "\",\"n\":"
#define PREV_NAME ",\"prev\":\""
#define HASH_NAME "\",\"hash\":\""
#define LINE_END "\"}\n"
#define DIGITS_MAX 20 /* of a uint64_t */

const char *kek_audit_place_log(const struct kek_audit_place *place)
{
    return place->file != NULL      ? place->file
           : place->journal != NULL ? place->journal
                                    : place->syslog;
}

bool kek_audit_hasher_init(struct kek_audit_hasher *hasher)
{
    hasher->md = EVP_MD_fetch(NULL, "SHA256", NULL);
    hasher->context = EVP_MD_CTX_new();
    if (hasher->md != NULL && hasher->context != NULL &&
        EVP_DigestInit_ex2(hasher->context, hasher->md, NULL) == 1) {
        return true;
    }
    kek_audit_hasher_done(hasher);
    return false;
}

void kek_audit_hasher_done(struct kek_audit_hasher *hasher)
{
    EVP_MD_CTX_free(hasher->context);
    EVP_MD_free(hasher->md);
    *hasher = (struct kek_audit_hasher){.md = NULL};
}

/* Of `body` and a line feed, in hex and without a NUL. */
static bool hash_of(struct kek_audit_hasher *hasher, struct kek_bytes body,
                    char hash[static KEK_SHA256_TEXT])
{
    uint8_t digest[HASH_LEN / 2];
    if (EVP_DigestInit_ex2(hasher->context, NULL, NULL) != 1 ||
        EVP_DigestUpdate(hasher->context, body.data, body.len) != 1 ||
        EVP_DigestUpdate(hasher->context, "\n", 1) != 1 ||
        EVP_DigestFinal_ex(hasher->context, digest, NULL) != 1) {
        return false;
    }
    kek_hex(kek_bytes(digest, sizeof digest), hash);
    return true;
}

bool kek_audit_owes(const struct kek_audit_owed *owed)
{
    return owed->lost > 0 || owed->waiting > 0 || owed->damaged;
}

bool kek_audit_end_begin(struct kek_audit_end *end)
{
    /* No secret, so the kernel's: OpenSSL would keep a generator for each thread that asks it. */
    uint8_t id[CHAIN_LEN / 2];
    if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id) {
        return false;
    }
    *end = (struct kek_audit_end){.n = 0};
    kek_hex(kek_bytes(id, sizeof id), end->chain);
    memset(end->hash, '0', HASH_LEN);
    return true;
}

size_t kek_audit_link_put(struct kek_audit_hasher *hasher, struct kek_audit_end *end,
                          struct kek_bytes line, char *out)
{
    size_t at = line.len - 2; /* less "}\n" */
    memcpy(out, line.data, at);
    at += (size_t)snprintf(out + at, KEK_AUDIT_LINK_MAX,
                           "," CHAIN_NAME "%s" N_NAME "%llu" PREV_NAME "%s\"", end->chain,
                           (unsigned long long)(end->n + 1), end->hash);
    char hash[KEK_SHA256_TEXT];
    if (!hash_of(hasher, kek_bytes(out, at), hash)) {
        return 0;
    }
    end->n++;
    memcpy(end->hash, hash, sizeof hash);
    at += (size_t)snprintf(out + at, sizeof HASH_NAME + HASH_LEN + sizeof LINE_END, "%s%s" LINE_END,
                           &HASH_NAME[1], hash);
    return at;
}

/* ---- reading, from the end of the line ---- */

/* Takes `literal` off the end of what is left. */
static bool takes(const char *line, size_t *left, const char *literal)
{
    size_t len = strlen(literal);
    if (*left < len || memcmp(line + *left - len, literal, len) != 0) {
        return false;
    }
    *left -= len;
    return true;
}

/* Takes so many lower-case hex digits off it, into text.  Inline, and without a way out of the loop: where `len` is a
 * constant, the compiler looks at many digits at once. */
static inline bool takes_hex(const char *line, size_t *left, size_t len, char *text)
{
    if (*left < len) {
        return false;
    }
    const char *from = line + *left - len;
    uint8_t bad = 0;
    for (size_t i = 0; i < len; i++) {
        uint8_t c = (uint8_t)from[i];
        bad |= (uint8_t)(c - '0') > 9 && (uint8_t)(c - 'a') > 5;
    }
    if (bad != 0) {
        return false;
    }
    memcpy(text, from, len);
    text[len] = '\0';
    *left -= len;
    return true;
}

static bool takes_number(const char *line, size_t *left, uint64_t *number)
{
    char text[DIGITS_MAX + 1];
    size_t len = 0;
    while (len < *left && len < DIGITS_MAX && line[*left - len - 1] >= '0' &&
           line[*left - len - 1] <= '9') {
        len++;
    }
    memcpy(text, line + *left - len, len);
    text[len] = '\0';
    *left -= len;
    return text[0] != '0' && kek_text_decimal(text, UINT64_MAX, number);
}

bool kek_audit_link_read(struct kek_bytes bytes, struct kek_audit_link *link)
{
    const char *line = (const char *)bytes.data;
    struct kek_audit_link found;
    size_t left = bytes.len;
    if (!takes(line, &left, LINE_END) || !takes_hex(line, &left, HASH_LEN, found.end.hash) ||
        !takes(line, &left, HASH_NAME)) {
        return false;
    }
    found.body = left + 1; /* with the quote that ends prev */
    if (!takes_hex(line, &left, HASH_LEN, found.prev) || !takes(line, &left, PREV_NAME) ||
        !takes_number(line, &left, &found.end.n) || !takes(line, &left, N_NAME) ||
        !takes_hex(line, &left, CHAIN_LEN, found.end.chain) ||
        !takes(line, &left, "," CHAIN_NAME)) {
        return false;
    }
    *link = found;
    return true;
}

bool kek_audit_link_sum(struct kek_audit_hasher *hasher, struct kek_bytes line,
                        const struct kek_audit_link *link, char hash[static KEK_SHA256_TEXT])
{
    return hash_of(hasher, kek_bytes(line.data, link->body), hash);
}

bool kek_audit_link_holds(struct kek_audit_hasher *hasher, struct kek_bytes line,
                          const struct kek_audit_link *link)
{
    char hash[KEK_SHA256_TEXT];
    return kek_audit_link_sum(hasher, line, link, hash) &&
           memcmp(hash, link->end.hash, HASH_LEN) == 0;
}

void kek_audit_mac_text(const struct kek_audit_end *end, char text[static KEK_AUDIT_MAC_TEXT])
{
    snprintf(text, KEK_AUDIT_MAC_TEXT, "kekd audit 1 %s %llu %s", end->chain,
             (unsigned long long)end->n, end->hash);
}
