#include "suite1.h"

#include <pthread.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>

#include <utlist.h>

#include "kek/text.h"

#define MAC_LEN 64 /* bytes of HMAC-SHA-512 before it is truncated */
#define HKDF_MAX (255 * MAC_LEN)

#define KEYED_MAX 256 /* objects of a thread that have contexts at once */

/* OpenSSL's contexts, under the key of one object. */
struct keyed {
    struct kek_suite1 *owner;
    EVP_MAC_CTX *mac;
    EVP_CIPHER_CTX *encrypt, *decrypt; /* NULL until first used by anybody */
    bool encrypts, decrypts;           /* it is under the owner's key */
    uint8_t chain[ENVELOPE_BLOCK_LEN]; /* of `encrypt`: the last block of ciphertext */
    struct keyed *prev, *next;
};

struct kek_suite1 {
    struct kek_secret *key;
    struct keyed *keyed; /* NULL: others needed them since */
};

/* A key's contexts take more memory than all else of it, and a cache holds thousands of keys: those used least
 * recently give theirs to who needs some.  To key them anew takes 1 us. */
static _Thread_local struct {
    struct keyed *by_use; /* least recently first */
    unsigned count;
} all_keyed;

/* Fetching an algorithm costs more than using it: once per process, kept until it ends. */
static struct {
    pthread_mutex_t lock;
    EVP_CIPHER *aes;
    EVP_MAC_CTX *no_salt; /* HMAC-SHA-512 under HKDF's absent salt: only ever copied */
} fetched = {.lock = PTHREAD_MUTEX_INITIALIZER};

static EVP_MAC_CTX *fetch_hmac(void)
{
    static const uint8_t no_salt[MAC_LEN]; /* RFC 5869 section 2.2 */
    const OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST, (char *)"SHA512", 0),
        OSSL_PARAM_construct_end(),
    };
    EVP_MAC *hmac = EVP_MAC_fetch(NULL, "HMAC", NULL);
    EVP_MAC_CTX *mac = hmac == NULL ? NULL : EVP_MAC_CTX_new(hmac);
    EVP_MAC_free(hmac);
    if (mac == NULL || EVP_MAC_init(mac, no_salt, sizeof no_salt, params) != 1) {
        EVP_MAC_CTX_free(mac);
        return NULL;
    }
    return mac;
}

/* What there was no memory for the last time is fetched now. */
static bool have_algorithms(struct kek_why *why)
{
    (void)pthread_mutex_lock(&fetched.lock);
    if (fetched.aes == NULL) {
        fetched.aes = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
    }
    if (fetched.no_salt == NULL) {
        fetched.no_salt = fetch_hmac();
    }
    bool have = fetched.aes != NULL && fetched.no_salt != NULL;
    (void)pthread_mutex_unlock(&fetched.lock);
    if (!have) {
        kek_fail(why, KEK_INTERNAL,
                 "OpenSSL has no memory, or its configuration lacks AES-256-CBC or HMAC-SHA-512");
    }
    return have;
}

/* What was updated since the last initialisation. */
static bool finish_mac(EVP_MAC_CTX *mac, uint8_t digest[static MAC_LEN])
{
    size_t written = 0;
    return EVP_MAC_final(mac, digest, &written, MAC_LEN) == 1 && written == MAC_LEN;
}

/* RFC 5869 section 2.3: T(n) = HMAC(PRK, T(n-1) | info | n). */
static bool hkdf_expand(EVP_MAC_CTX *mac, struct kek_bytes info, uint8_t *out, size_t out_len,
                        uint8_t block[static MAC_LEN])
{
    for (size_t done = 0; done < out_len; done += MAC_LEN) {
        size_t len = out_len - done < MAC_LEN ? out_len - done : MAC_LEN;
        uint8_t number = (uint8_t)(done / MAC_LEN + 1);
        if ((done > 0 &&
             (EVP_MAC_init(mac, NULL, 0, NULL) != 1 || EVP_MAC_update(mac, block, MAC_LEN) != 1)) ||
            EVP_MAC_update(mac, info.data, info.len) != 1 || EVP_MAC_update(mac, &number, 1) != 1 ||
            !finish_mac(mac, block)) {
            return false;
        }
        memcpy(out + done, block, len);
    }
    return true;
}

/* OpenSSL's own HKDF fetches its HMAC and its digest anew at each of its steps and took more than three
 * times as long: a fifth of all that kekd does for a call in strict mode. */
enum kek_rc kek_suite1_hkdf(struct kek_bytes ikm, struct kek_bytes info, uint8_t *out,
                            size_t out_len, struct kek_why *why)
{
    if (!have_algorithms(why)) {
        return KEK_INTERNAL;
    }
    uint8_t block[MAC_LEN];
    EVP_MAC_CTX *mac = EVP_MAC_CTX_dup(fetched.no_salt);
    bool derived = out_len <= HKDF_MAX && mac != NULL &&
                   EVP_MAC_update(mac, ikm.data, ikm.len) == 1 && finish_mac(mac, block) &&
                   EVP_MAC_init(mac, block, sizeof block, NULL) == 1 &&
                   hkdf_expand(mac, info, out, out_len, block);
    EVP_MAC_CTX_free(mac);
    kek_wipe(block, sizeof block);
    if (!derived) {
        return kek_fail(why, KEK_INTERNAL, "HKDF-SHA-512 failed");
    }
    return KEK_OK;
}

static const uint8_t *aes_key(const struct kek_suite1 *suite)
{
    return kek_secret_bytes(suite->key).data + SUITE1_HALF_LEN;
}

static void keyed_free(struct keyed *keyed)
{
    DL_DELETE(all_keyed.by_use, keyed);
    all_keyed.count--;
    if (keyed->owner != NULL) {
        keyed->owner->keyed = NULL;
    }
    EVP_CIPHER_CTX_free(keyed->encrypt);
    EVP_CIPHER_CTX_free(keyed->decrypt);
    EVP_MAC_CTX_free(keyed->mac);
    free(keyed);
}

/* Contexts that nobody has, or that somebody has not used for the longest time. NULL: no memory. */
static struct keyed *keyed_take(void)
{
    struct keyed *keyed;
    if (all_keyed.count < KEYED_MAX) {
        keyed = calloc(1, sizeof *keyed);
        EVP_MAC_CTX *mac = keyed == NULL ? NULL : EVP_MAC_CTX_dup(fetched.no_salt);
        if (mac == NULL) {
            free(keyed);
            return NULL;
        }
        keyed->mac = mac;
        all_keyed.count++;
    } else {
        keyed = all_keyed.by_use;
        DL_DELETE(all_keyed.by_use, keyed);
        keyed->owner->keyed = NULL;
    }
    DL_APPEND(all_keyed.by_use, keyed);
    keyed->owner = NULL;
    keyed->encrypts = keyed->decrypts = false;
    return keyed;
}

/* The contexts under this object's key. NULL: no memory. */
static struct keyed *keyed_of(struct kek_suite1 *suite)
{
    struct keyed *keyed = suite->keyed;
    if (keyed != NULL) {
        if (keyed->next != NULL) {
            DL_DELETE(all_keyed.by_use, keyed);
            DL_APPEND(all_keyed.by_use, keyed);
        }
        return keyed;
    }
    keyed = keyed_take();
    if (keyed == NULL) {
        return NULL;
    }
    if (EVP_MAC_init(keyed->mac, kek_secret_bytes(suite->key).data, SUITE1_HALF_LEN, NULL) != 1) {
        keyed_free(keyed);
        return NULL;
    }
    keyed->owner = suite;
    suite->keyed = keyed;
    return keyed;
}

struct kek_suite1 *kek_suite1_new(struct kek_secret *key, struct kek_why *why)
{
    KEK_AUTO(kek_suite1) suite = calloc(1, sizeof *suite);
    if (suite == NULL) {
        kek_secret_free(key);
        kek_fail(why, KEK_NO_MEMORY, "no memory for a key object");
        return NULL;
    }
    suite->key = key;
    if (!have_algorithms(why)) {
        return NULL;
    }
    if (keyed_of(suite) == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for an HMAC context");
        return NULL;
    }
    return KEK_STEAL(suite);
}

void kek_suite1_free(struct kek_suite1 *suite)
{
    if (suite == NULL) {
        return;
    }
    if (suite->keyed != NULL) {
        keyed_free(suite->keyed);
    }
    kek_secret_free(suite->key);
    free(suite);
}

/* One direction's context, keyed and without OpenSSL's padding: what is padded is done here, and
 * checked only under a right tag. */
static EVP_CIPHER_CTX *cipher_of(const struct kek_suite1 *suite, EVP_CIPHER_CTX **ctx, bool *keyed,
                                 int encrypt)
{
    static const uint8_t no_iv[ENVELOPE_IV_LEN];
    if (*keyed) {
        return *ctx;
    }
    if (*ctx == NULL) {
        EVP_CIPHER_CTX *fresh = EVP_CIPHER_CTX_new();
        if (fresh == NULL ||
            EVP_CipherInit_ex2(fresh, fetched.aes, NULL, NULL, encrypt, NULL) != 1 ||
            EVP_CIPHER_CTX_set_padding(fresh, 0) != 1) {
            EVP_CIPHER_CTX_free(fresh);
            return NULL;
        }
        *ctx = fresh;
    }
    *keyed = EVP_CipherInit_ex2(*ctx, NULL, aes_key(suite), no_iv, encrypt, NULL) == 1;
    return *keyed ? *ctx : NULL;
}

static EVP_CIPHER_CTX *decrypting(struct kek_suite1 *suite)
{
    struct keyed *keyed = keyed_of(suite);
    return keyed == NULL ? NULL : cipher_of(suite, &keyed->decrypt, &keyed->decrypts, 0);
}

/* Takes the next whole blocks through; len is a multiple of the block length, and may be 0. */
static bool blocks(EVP_CIPHER_CTX *ctx, const uint8_t *in, size_t len, uint8_t *out)
{
    int written = 0;
    return len == 0 ||
           (EVP_CipherUpdate(ctx, out, &written, in, (int)len) == 1 && (size_t)written == len);
}

/* All the state of CBC encryption is the block of ciphertext before, which is added to the next block: it is
 * added once more here, with the IV, and what remains is the IV.  A new initialisation took twice the
 * instructions of encrypting 48 bytes.  Encrypts in place. */
static bool encrypt_after(struct kek_suite1 *suite, const uint8_t *iv, uint8_t *bytes, size_t len)
{
    struct keyed *keyed = keyed_of(suite);
    if (keyed == NULL) {
        return false;
    }
    if (!keyed->encrypts) {
        memset(keyed->chain, 0, sizeof keyed->chain);
    }
    EVP_CIPHER_CTX *aes = cipher_of(suite, &keyed->encrypt, &keyed->encrypts, 1);
    for (size_t i = 0; i < ENVELOPE_BLOCK_LEN; i++) {
        bytes[i] ^= iv[i] ^ keyed->chain[i];
    }
    if (aes == NULL || !blocks(aes, bytes, len, bytes)) {
        keyed->encrypts = false;
        return false;
    }
    memcpy(keyed->chain, bytes + len - sizeof keyed->chain, sizeof keyed->chain);
    return true;
}

/* All the state of CBC decryption is the block of ciphertext before. Going through that block (or
 * the IV) once more, its output thrown away, takes a seventh of the time of a new initialisation. */
static bool decrypt_after(EVP_CIPHER_CTX *ctx, const uint8_t *before, const uint8_t *in, size_t len,
                          uint8_t *out)
{
    uint8_t thrown_away[ENVELOPE_BLOCK_LEN];
    bool done = blocks(ctx, before, sizeof thrown_away, thrown_away) && blocks(ctx, in, len, out);
    kek_wipe(thrown_away, sizeof thrown_away);
    return done;
}

/* Feeds the pieces, gathered so that a small message is one call: a call costs more than a copy. */
static bool mac_pieces(EVP_MAC_CTX *mac, const struct kek_bytes *pieces, size_t count)
{
    KEK_UNFILLED uint8_t gathered[512];
    size_t len = 0;
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len > sizeof gathered - len) {
            if (EVP_MAC_update(mac, gathered, len) != 1) {
                return false;
            }
            len = 0;
        }
        if (pieces[i].len > sizeof gathered) {
            if (EVP_MAC_update(mac, pieces[i].data, pieces[i].len) != 1) {
                return false;
            }
        } else if (pieces[i].len > 0) {
            memcpy(gathered + len, pieces[i].data, pieces[i].len);
            len += pieces[i].len;
        }
    }
    return EVP_MAC_update(mac, gathered, len) == 1;
}

/* RFC 7518 section 5.2.2.1, steps 4 to 6: AAD | IV | ciphertext | AAD length in bits. */
static bool make_tag(struct kek_suite1 *suite, const struct kek_suite1_aad *aad, const uint8_t *iv,
                     struct kek_bytes ciphertext, uint8_t mac[static MAC_LEN])
{
    uint64_t aad_bits = ((uint64_t)aad->header.len + aad->context.len) * 8;
    uint8_t big_endian[8];
    for (int i = 7; i >= 0; i--) {
        big_endian[i] = (uint8_t)aad_bits;
        aad_bits >>= 8;
    }
    const struct kek_bytes pieces[] = {aad->header, aad->context, kek_bytes(iv, ENVELOPE_IV_LEN),
                                       ciphertext, kek_bytes(big_endian, sizeof big_endian)};
    struct keyed *keyed = keyed_of(suite);
    return keyed != NULL && EVP_MAC_init(keyed->mac, NULL, 0, NULL) == 1 &&
           mac_pieces(keyed->mac, pieces, sizeof pieces / sizeof pieces[0]) &&
           finish_mac(keyed->mac, mac);
}

enum kek_rc kek_suite1_encrypt(struct kek_suite1 *suite, const struct kek_suite1_aad *aad,
                               const uint8_t iv[static ENVELOPE_IV_LEN], struct kek_bytes plaintext,
                               uint8_t *ciphertext, uint8_t tag[static ENVELOPE_TAG_LEN],
                               struct kek_why *why)
{
    if (plaintext.len > KEK_ENVELOPE_PLAINTEXT_MAX) {
        return kek_fail(why, KEK_TOO_LARGE, "plaintext of %zu bytes, at most %u may be",
                        plaintext.len, KEK_ENVELOPE_PLAINTEXT_MAX);
    }
    size_t padding = ENVELOPE_BLOCK_LEN - plaintext.len % ENVELOPE_BLOCK_LEN;
    struct kek_bytes made = kek_bytes(ciphertext, plaintext.len + padding);
    if (plaintext.len > 0) {
        memcpy(ciphertext, plaintext.data, plaintext.len);
    }
    memset(ciphertext + plaintext.len, (int)padding, padding);
    uint8_t mac[MAC_LEN];
    if (!encrypt_after(suite, iv, ciphertext, made.len) || !make_tag(suite, aad, iv, made, mac)) {
        kek_wipe(ciphertext, made.len);
        return kek_fail(why, KEK_INTERNAL, "AES-256-CBC or HMAC-SHA-512 failed");
    }
    memcpy(tag, mac, ENVELOPE_TAG_LEN);
    return KEK_OK;
}

/* How many bytes of the last block are plaintext; ENVELOPE_BLOCK_LEN if its padding is wrong. */
static size_t tail_len(const uint8_t last[static ENVELOPE_BLOCK_LEN])
{
    uint8_t pad = last[ENVELOPE_BLOCK_LEN - 1];
    if (pad < 1 || pad > ENVELOPE_BLOCK_LEN) {
        return ENVELOPE_BLOCK_LEN;
    }
    for (size_t i = ENVELOPE_BLOCK_LEN - pad; i < ENVELOPE_BLOCK_LEN; i++) {
        if (last[i] != pad) {
            return ENVELOPE_BLOCK_LEN;
        }
    }
    return (size_t)ENVELOPE_BLOCK_LEN - pad;
}

/* Decrypts what carries a right tag. The last block goes first: it says how much room the plaintext
 * needs, so that plaintext never lies anywhere but in its own secret and one wiped block. */
static enum kek_rc decrypt_authentic(EVP_CIPHER_CTX *aes, const uint8_t *iv,
                                     struct kek_bytes ciphertext,
                                     uint8_t last[static ENVELOPE_BLOCK_LEN],
                                     struct kek_secret **plaintext, struct kek_why *why)
{
    size_t whole = ciphertext.len - ENVELOPE_BLOCK_LEN;
    const uint8_t *before_last = whole == 0 ? iv : ciphertext.data + whole - ENVELOPE_BLOCK_LEN;
    if (!decrypt_after(aes, before_last, ciphertext.data + whole, ENVELOPE_BLOCK_LEN, last)) {
        return kek_fail(why, KEK_INTERNAL, "AES-256-CBC failed");
    }
    size_t tail = tail_len(last);
    if (tail == ENVELOPE_BLOCK_LEN) {
        return kek_fail(why, KEK_DAMAGED, "padding is wrong under a right tag");
    }
    if (whole + tail == 0) {
        return kek_fail(why, KEK_DAMAGED, "envelope has no plaintext in it");
    }
    KEK_AUTO(kek_secret) opened = kek_secret_new(whole + tail);
    if (opened == NULL) {
        return kek_fail(why, KEK_EXHAUSTED, "locked arena is full: no room for %zu bytes",
                        whole + tail);
    }
    if (!decrypt_after(aes, iv, ciphertext.data, whole, kek_secret_data(opened))) {
        return kek_fail(why, KEK_INTERNAL, "AES-256-CBC failed");
    }
    memcpy(kek_secret_data(opened) + whole, last, tail);
    *plaintext = KEK_STEAL(opened);
    return KEK_OK;
}

enum kek_rc kek_suite1_decrypt(struct kek_suite1 *suite, const struct kek_suite1_aad *aad,
                               const uint8_t iv[static ENVELOPE_IV_LEN],
                               struct kek_bytes ciphertext,
                               const uint8_t tag[static ENVELOPE_TAG_LEN],
                               struct kek_secret **plaintext, struct kek_why *why)
{
    if (ciphertext.len == 0 || ciphertext.len % ENVELOPE_BLOCK_LEN != 0 ||
        ciphertext.len > kek_format_ciphertext_len(KEK_ENVELOPE_PLAINTEXT_MAX)) {
        return kek_fail(why, KEK_DAMAGED, "a ciphertext of %s cannot be",
                        kek_counted(ciphertext.len, "byte").text);
    }
    uint8_t mac[MAC_LEN];
    if (!make_tag(suite, aad, iv, ciphertext, mac)) {
        return kek_fail(why, KEK_INTERNAL, "HMAC-SHA-512 failed");
    }
    /* A forged envelope's right tag would let its forger seal: it does not stay on the stack. */
    bool authentic = CRYPTO_memcmp(mac, tag, ENVELOPE_TAG_LEN) == 0;
    kek_wipe(mac, sizeof mac);
    if (!authentic) {
        return kek_fail(why, KEK_DAMAGED,
                        "tag does not match: damaged, of another context, or of another key");
    }
    EVP_CIPHER_CTX *aes = decrypting(suite);
    if (aes == NULL) {
        return kek_fail(why, KEK_INTERNAL, "AES-256-CBC cannot be set up");
    }
    uint8_t last[ENVELOPE_BLOCK_LEN];
    enum kek_rc rc = decrypt_authentic(aes, iv, ciphertext, last, plaintext, why);
    kek_wipe(last, sizeof last);
    return rc;
}
