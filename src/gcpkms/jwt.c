#include "jwt.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "kek/bridge.h"
#include "kek/json.h"

#define SIGNATURE_MAX 1024 /* bytes: a key of 8192 bits */

/* The URL's alphabet, and no padding (RFC 7515, section 2). */
static void encode(struct kek_bytes bytes, char *out)
{
    kek_base64(bytes, out);
    for (; *out != '\0'; out++) {
        *out = *out == '+' ? '-' : *out == '/' ? '_' : *out;
        if (*out == '=') {
            *out = '\0';
            return;
        }
    }
}

static enum kek_rc add_encoded(struct kek_buf *jwt, struct kek_bytes bytes, struct kek_why *why)
{
    char *at = (char *)kek_buf_reserve(jwt, KEK_BASE64(bytes.len), why);
    if (at == NULL) {
        return KEK_NO_MEMORY;
    }
    encode(bytes, at);
    jwt->len += strlen(at);
    return KEK_OK;
}

/* Takes the object over; NULL is no memory. */
static enum kek_rc add_object(struct kek_buf *jwt, json_t *object, struct kek_why *why)
{
    KEK_AUTO_FREE char *text =
        object == NULL ? NULL : kek_json_text(object, JSON_COMPACT | JSON_PRESERVE_ORDER);
    json_decref(object);
    return text == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory for a token's claims")
                        : add_encoded(jwt, kek_bytes_of(text), why);
}

static EVP_PKEY *read_key(const struct kek_secret *pem)
{
    struct kek_bytes text = kek_secret_bytes(pem);
    BIO *bio = BIO_new_mem_buf(text.data, (int)text.len);
    char no_password[] = "";
    EVP_PKEY *key = bio == NULL ? NULL : PEM_read_bio_PrivateKey(bio, NULL, NULL, no_password);
    BIO_free(bio);
    return key;
}

static enum kek_rc sign(EVP_PKEY *key, struct kek_bytes what, uint8_t *out, size_t *len,
                        struct kek_why *why)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context != NULL && EVP_PKEY_is_a(key, "RSA") == 1 &&
                EVP_PKEY_get_size(key) <= SIGNATURE_MAX &&
                EVP_DigestSignInit(context, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestSign(context, out, len, what.data, what.len) == 1;
    EVP_MD_CTX_free(context);
    return good ? KEK_OK
                : kek_fail(why, KEK_INVALID,
                           "\"private_key\" signs nothing by RS256: expected an RSA key");
}

enum kek_rc kek_gcp_jwt_sign(const struct kek_gcp_claims *claims, const struct kek_secret *pem,
                             struct kek_buf *jwt, struct kek_why *why)
{
    uint8_t signature[SIGNATURE_MAX];
    size_t len = sizeof signature;
    enum kek_rc rc = add_object(
        jwt, json_pack("{s:s,s:s,s:s}", "alg", "RS256", "typ", "JWT", "kid", claims->key_id), why);
    if (rc == KEK_OK) {
        rc = kek_buf_append(jwt, kek_bytes(".", 1), why);
    }
    if (rc == KEK_OK) {
        rc = add_object(jwt,
                        json_pack("{s:s,s:s,s:s,s:I,s:I}", "iss", claims->issuer, "scope",
                                  claims->scope, "aud", claims->audience, "iat",
                                  (json_int_t)claims->now, "exp",
                                  (json_int_t)(claims->now + KEK_GCP_JWT_LIFE)),
                        why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    EVP_PKEY *key = read_key(pem);
    rc = key == NULL ? kek_fail(why, KEK_INVALID, "\"private_key\" is no private key in PEM")
                     : sign(key, kek_buf_bytes(jwt), signature, &len, why);
    EVP_PKEY_free(key);
    if (rc == KEK_OK) {
        rc = kek_buf_append(jwt, kek_bytes(".", 1), why);
    }
    return rc == KEK_OK ? add_encoded(jwt, kek_bytes(signature, len), why) : rc;
}
