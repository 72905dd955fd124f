#include "signature.h"

#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>

#include "kek/small_file.h"

#define KEY_MAX (64u << 10) /* bytes of a PEM file */
#define RSA_BITS_MIN 2048

struct kind {
    const char *name;
    const char *digest; /* NULL: the algorithm has its own */
    bool pss;
};

struct signature_key {
    EVP_PKEY *pkey;
    const struct kind *kind;
};

static const struct kind ed25519 = {.name = "Ed25519"};
static const struct kind p256 = {.name = "ECDSA P-256 with SHA-256", .digest = "SHA256"};
static const struct kind p384 = {.name = "ECDSA P-384 with SHA-384", .digest = "SHA384"};
static const struct kind rsa_pss = {
    .name = "RSA-PSS with SHA-256", .digest = "SHA256", .pss = true};

/* NULL: reports are not signed by such a key. */
static const struct kind *kind_of(const EVP_PKEY *pkey)
{
    char group[32] = "";
    if (EVP_PKEY_is_a(pkey, "ED25519") == 1) {
        return &ed25519;
    }
    if (EVP_PKEY_is_a(pkey, "RSA") == 1 || EVP_PKEY_is_a(pkey, "RSA-PSS") == 1) {
        return EVP_PKEY_get_bits(pkey) >= RSA_BITS_MIN ? &rsa_pss : NULL;
    }
    if (EVP_PKEY_is_a(pkey, "EC") == 1 &&
        EVP_PKEY_get_group_name(pkey, group, sizeof group, NULL) == 1) {
        return strcmp(group, "prime256v1") == 0  ? &p256
               : strcmp(group, "secp384r1") == 0 ? &p384
                                                 : NULL;
    }
    return NULL;
}

/* OpenSSL's own word. */
static enum kek_rc fail_openssl(struct kek_why *why, const char *what)
{
    char text[160] = "no memory";
    unsigned long code = ERR_peek_last_error();
    if (code != 0) {
        ERR_error_string_n(code, text, sizeof text);
    }
    ERR_clear_error();
    return kek_fail(why, KEK_INTERNAL, "%s: %s", what, text);
}

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *buffer, int size, int writing, void *asked)
{
    (void)buffer;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

static struct signature_key *take(EVP_PKEY *pkey, const char *path, struct kek_why *why)
{
    const struct kind *kind = kind_of(pkey);
    struct signature_key *key = kind == NULL ? NULL : malloc(sizeof *key);
    if (key == NULL) {
        EVP_PKEY_free(pkey);
        kek_fail(why, kind == NULL ? KEK_INVALID : KEK_NO_MEMORY, "%s: %s", path,
                 kind == NULL ? "expected a key of Ed25519, of ECDSA on P-256 or P-384, or of RSA "
                                "with 2048 bits or more"
                              : "no memory");
        return NULL;
    }
    *key = (struct signature_key){.pkey = pkey, .kind = kind};
    return key;
}

static EVP_PKEY *parse(const struct kek_buf *pem, bool private_key, bool *encrypted)
{
    BIO *bio = BIO_new_mem_buf(pem->data, (int)pem->len);
    EVP_PKEY *pkey = NULL;
    if (bio != NULL) {
        pkey = private_key ? PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, encrypted)
                           : PEM_read_bio_PUBKEY(bio, NULL, no_passphrase, encrypted);
    }
    BIO_free(bio);
    ERR_clear_error();
    return pkey;
}

static struct signature_key *load(const struct kek_small_file *file, bool private_key,
                                  struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf pem;
    bool encrypted = false;
    kek_buf_init(&pem, KEY_MAX);
    if (kek_small_file_read(file, &pem, NULL, why) != KEK_OK) {
        return NULL;
    }
    EVP_PKEY *pkey = parse(&pem, private_key, &encrypted);
    if (pkey == NULL) {
        kek_fail(why, KEK_INVALID, "%s%s %s", file->what, file->path,
                 encrypted     ? "is encrypted: expected a key without a passphrase"
                 : private_key ? "has no private key in PEM that can be read"
                               : "has no public key in PEM that can be read (openssl pkey -pubout "
                                 "makes one of a private key)");
        return NULL;
    }
    return take(pkey, file->path, why);
}

struct signature_key *signature_key_private(const char *path, struct kek_why *why)
{
    const struct kek_small_file file = {
        .what = "signing key ", .path = path, .max = KEY_MAX, .forbidden = 0077, .owned = true};
    return load(&file, true, why);
}

struct signature_key *signature_key_public(const char *path, struct kek_why *why)
{
    const struct kek_small_file file = {.what = "public key ", .path = path, .max = KEY_MAX};
    return load(&file, false, why);
}

void signature_key_free(struct signature_key *key)
{
    if (key != NULL) {
        EVP_PKEY_free(key->pkey);
        free(key);
    }
}

const char *signature_key_name(const struct signature_key *key)
{
    return key->kind->name;
}

bool signature_key_digest(const struct signature_key *key, char text[static KEK_SHA256_TEXT])
{
    unsigned char *der = NULL;
    int len = i2d_PUBKEY(key->pkey, &der);
    bool made = len > 0 && kek_sha256_text(kek_bytes(der, (size_t)len), text);
    OPENSSL_free(der);
    return made;
}

/* Padding, and a salt as long as the digest (RFC 8017 section 9.1). */
static bool set_up(const struct kind *kind, EVP_PKEY_CTX *context)
{
    return !kind->pss || (EVP_PKEY_CTX_set_rsa_padding(context, RSA_PKCS1_PSS_PADDING) == 1 &&
                          EVP_PKEY_CTX_set_rsa_pss_saltlen(context, RSA_PSS_SALTLEN_DIGEST) == 1);
}

enum kek_rc signature_make(const struct signature_key *key, struct kek_bytes content,
                           struct kek_buf *signature, struct kek_why *why)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options = NULL;
    size_t len = 0;
    uint8_t *out = NULL;
    bool good = context != NULL &&
                EVP_DigestSignInit_ex(context, &options, key->kind->digest, NULL, NULL, key->pkey,
                                      NULL) == 1 &&
                set_up(key->kind, options) &&
                EVP_DigestSign(context, NULL, &len, content.data, content.len) == 1;
    out = good ? kek_buf_reserve(signature, len, why) : NULL;
    good = out != NULL && EVP_DigestSign(context, out, &len, content.data, content.len) == 1;
    EVP_MD_CTX_free(context);
    if (!good) {
        return fail_openssl(why, "the report could not be signed");
    }
    signature->len += len;
    return KEK_OK;
}

enum kek_rc signature_check(const struct signature_key *key, struct kek_bytes content,
                            struct kek_bytes signature, struct kek_why *why)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    EVP_PKEY_CTX *options = NULL;
    if (context == NULL ||
        EVP_DigestVerifyInit_ex(context, &options, key->kind->digest, NULL, NULL, key->pkey,
                                NULL) != 1 ||
        !set_up(key->kind, options)) {
        EVP_MD_CTX_free(context);
        return fail_openssl(why, "the signature could not be looked at");
    }
    int verified =
        EVP_DigestVerify(context, signature.data, signature.len, content.data, content.len);
    EVP_MD_CTX_free(context);
    ERR_clear_error();
    return verified == 1
               ? KEK_OK
               : kek_fail(why, KEK_DAMAGED, "it is not this key's signature of this file");
}
