#include "tls_files.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "kek/small_file.h"

#define FILE_MAX (256 * 1024) /* bytes of a PEM file */

const char *tls_files_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return reason == NULL ? "no reason is known" : reason;
}

/* OpenSSL's own readers would tell less of what is wrong with a file. What comes reads from `content`. */
static BIO *open_file(const char *what, const char *path, mode_t forbidden, struct kek_buf *content,
                      struct kek_why *why)
{
    const struct kek_small_file file = {
        .what = what, .path = path, .max = FILE_MAX, .forbidden = forbidden};
    kek_buf_init(content, FILE_MAX);
    if (kek_small_file_read(&file, content, NULL, why) != KEK_OK) {
        return NULL;
    }
    BIO *bio =
        BIO_new_mem_buf(content->len == 0 ? "" : (const void *)content->data, (int)content->len);
    if (bio == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", path);
    }
    return bio;
}

static enum kek_rc no_pem(struct kek_why *why, const char *what, const char *path,
                          const char *wanted)
{
    return kek_fail(why, KEK_INVALID, "status.%s: %s has no %s as PEM (%s)", what, path, wanted,
                    tls_files_reason());
}

/* Nobody is asked for a passphrase. */
static int no_passphrase(char *out, int size, int writing, void *asked)
{
    (void)out;
    (void)size;
    (void)writing;
    *(bool *)asked = true;
    return -1;
}

/* The next one of a file, freed by the caller. NULL: there is none, or *good is false; OpenSSL's queue says which. */
static X509 *next_certificate(BIO *bio, bool *good)
{
    bool asked = false;
    X509 *one = PEM_read_bio_X509(bio, NULL, no_passphrase, &asked);
    unsigned long error = ERR_peek_last_error();
    *good = one != NULL ||
            (ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE);
    return one;
}

static enum kek_rc bad_certificate(struct kek_why *why, const char *what, const char *path,
                                   size_t number)
{
    return kek_fail(why, KEK_INVALID,
                    "status.%s: %s: certificate %zu cannot be used (%s): correct it", what, path,
                    number, tls_files_reason());
}

/* The first certificate is this node's, those after it lead from it to the CA. */
static enum kek_rc load_cert(SSL_CTX *context, const char *path, struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf content;
    BIO *bio = open_file("status.cert: ", path, 0, &content, why);
    if (bio == NULL) {
        return why->rc;
    }
    bool good;
    X509 *own = next_certificate(bio, &good);
    if (own == NULL) {
        BIO_free(bio);
        return no_pem(why, "cert", path, "certificate");
    }
    good = SSL_CTX_use_certificate(context, own) == 1;
    X509_free(own);
    size_t number = 1;
    while (good) {
        number++;
        X509 *next = next_certificate(bio, &good);
        if (next == NULL) {
            break;
        }
        good = SSL_CTX_add1_chain_cert(context, next) == 1;
        X509_free(next);
    }
    BIO_free(bio);
    if (!good) {
        return bad_certificate(why, "cert", path, number);
    }
    ERR_clear_error(); /* that there was no further one */
    return KEK_OK;
}

static enum kek_rc load_key(SSL_CTX *context, const char *path, struct kek_why *why)
{
    bool asked = false;
    KEK_AUTO_BUF struct kek_buf content;
    BIO *bio = open_file("status.key: ", path, S_IRWXO | S_IWGRP, &content, why);
    if (bio == NULL) {
        return why->rc;
    }
    EVP_PKEY *key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &asked);
    BIO_free(bio);
    if (asked) {
        ERR_clear_error();
        EVP_PKEY_free(key);
        return kek_fail(why, KEK_INVALID,
                        "status.key: %s has a passphrase, and nobody is there to give it: write it "
                        "anew without one (openssl pkey -in ... -out ...)",
                        path);
    }
    if (key == NULL) {
        return no_pem(why, "key", path, "private key");
    }
    /* This also finds a key that is not the certificate's. */
    bool taken = SSL_CTX_use_PrivateKey(context, key) == 1;
    EVP_PKEY_free(key);
    if (!taken || SSL_CTX_check_private_key(context) != 1) {
        return kek_fail(why, KEK_INVALID,
                        "status.key: %s is not the key of the certificate in status.cert (%s)",
                        path, tls_files_reason());
    }
    return KEK_OK;
}

static enum kek_rc load_ca(SSL_CTX *context, const char *path, struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf content;
    BIO *bio = open_file("status.ca: ", path, 0, &content, why);
    if (bio == NULL) {
        return why->rc;
    }
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    size_t number = 0;
    bool good = true;
    while (good) {
        number++;
        X509 *ca = next_certificate(bio, &good);
        if (ca == NULL) {
            break;
        }
        /* The names that a client is told to have a certificate of. */
        good = X509_STORE_add_cert(store, ca) == 1 && SSL_CTX_add_client_CA(context, ca) == 1;
        X509_free(ca);
    }
    BIO_free(bio);
    if (!good) {
        return bad_certificate(why, "ca", path, number);
    }
    if (number == 1) {
        return no_pem(why, "ca", path, "certificate");
    }
    ERR_clear_error();
    return KEK_OK;
}

enum kek_rc tls_files_load(SSL_CTX *context, const struct tls_settings *settings,
                           struct kek_why *why)
{
    struct kek_why own; /* where nobody wants to know, the code is needed all the same */
    why = why == NULL ? &own : why;
    enum kek_rc rc = load_cert(context, settings->cert, why);
    if (rc == KEK_OK) {
        rc = load_key(context, settings->key, why);
    }
    return rc == KEK_OK ? load_ca(context, settings->ca, why) : rc;
}

/* X509_V_OK, or what is wrong. flags: X509_V_FLAG_... False: no memory. */
static bool verify(SSL_CTX *context, unsigned long flags, int *error)
{
    STACK_OF(X509) *chain = NULL;
    X509 *own = SSL_CTX_get0_certificate(context);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    bool ready = check != NULL && SSL_CTX_get0_chain_certs(context, &chain) == 1 &&
                 X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), own, chain) == 1 &&
                 X509_STORE_CTX_set_purpose(check, X509_PURPOSE_SSL_SERVER) == 1;
    if (ready) {
        X509_VERIFY_PARAM_set_flags(X509_STORE_CTX_get0_param(check), flags);
        *error = X509_verify_cert(check) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(check);
    }
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    return ready;
}

static enum kek_rc no_memory(const struct tls_settings *settings, struct kek_why *why)
{
    return kek_fail(why, KEK_NO_MEMORY, "no memory to check %s", settings->cert);
}

enum kek_rc tls_files_check(SSL_CTX *context, const struct tls_settings *settings,
                            struct kek_why *why)
{
    int error;
    /* One that is over is a matter for a warning: the node's KMS must not hang on it. */
    if (!verify(context, X509_V_FLAG_NO_CHECK_TIME, &error)) {
        return no_memory(settings, why);
    }
    if (error == X509_V_OK) {
        return KEK_OK;
    }
    return kek_fail(
        why, KEK_INVALID,
        "status.cert: %s, held against status.ca %s: %s: it must lead there, and be for "
        "TLS servers and clients",
        settings->cert, settings->ca, X509_verify_cert_error_string(error));
}

enum kek_rc tls_files_check_now(SSL_CTX *context, const struct tls_settings *settings,
                                struct kek_why *why)
{
    int error;
    if (!verify(context, 0, &error)) {
        return no_memory(settings, why);
    }
    if (error == X509_V_OK) {
        return KEK_OK;
    }
    return kek_fail(why, KEK_INVALID, "status.cert: %s, held against status.ca %s: %s",
                    settings->cert, settings->ca, X509_verify_cert_error_string(error));
}
