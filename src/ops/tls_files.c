#include "tls_files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#define FILE_MAX (256 * 1024) /* bytes of a PEM file */

const char *tls_files_reason(void)
{
    const char *reason = ERR_reason_error_string(ERR_peek_last_error());
    ERR_clear_error();
    return reason == NULL ? "no reason is known" : reason;
}

/* A file on its way in. OpenSSL's own readers would tell less of what is wrong with it. */
static BIO *open_file(const char *what, const char *path, bool secret, struct kek_why *why)
{
    struct stat st;
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        kek_fail_native(why, errno == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                        (unsigned long)errno, "status.%s: opening %s", what, path);
        return NULL;
    }
    if (!S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        kek_fail(why, KEK_INVALID, "status.%s: %s is no regular file of at most %d bytes", what,
                 path, FILE_MAX);
        return NULL;
    }
    if (secret && (st.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
        kek_fail(why, KEK_DENIED,
                 "status.%s: %s has mode %03o, so that others than its owner and group may read "
                 "it, or others than its owner write it: chmod 0640 or 0600",
                 what, path, (unsigned)st.st_mode & 0777);
        return NULL;
    }
    FILE *file = fdopen(fd, "r");
    BIO *bio = file == NULL ? NULL : BIO_new_fp(file, BIO_CLOSE);
    if (bio == NULL) {
        if (file != NULL) {
            fd = -1;
            fclose(file);
        }
        kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", path);
        return NULL;
    }
    fd = -1;
    return bio;
}

static enum kek_rc no_pem(struct kek_why *why, const char *what, const char *path,
                          const char *wanted)
{
    return kek_fail(why, KEK_INVALID, "status.%s: %s has no %s as PEM (%s)", what, path, wanted,
                    tls_files_reason());
}

/* The first certificate is this node's, those after it lead from it to the CA. */
static enum kek_rc load_cert(SSL_CTX *context, const char *path, struct kek_why *why)
{
    BIO *bio = open_file("cert", path, false, why);
    if (bio == NULL) {
        return why->rc;
    }
    X509 *own = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    if (own == NULL) {
        BIO_free(bio);
        return no_pem(why, "cert", path, "certificate");
    }
    bool good = SSL_CTX_use_certificate(context, own) == 1;
    X509 *next = good ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    while (next != NULL && good) {
        good = SSL_CTX_add1_chain_cert(context, next) == 1;
        X509_free(next);
        next = good ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    }
    X509_free(own);
    BIO_free(bio);
    if (!good) {
        return kek_fail(why, KEK_INVALID, "status.cert: %s cannot be used (%s)", path,
                        tls_files_reason());
    }
    ERR_clear_error(); /* that there was no further one */
    return KEK_OK;
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

static enum kek_rc load_key(SSL_CTX *context, const char *path, struct kek_why *why)
{
    bool asked = false;
    BIO *bio = open_file("key", path, true, why);
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
    BIO *bio = open_file("ca", path, false, why);
    if (bio == NULL) {
        return why->rc;
    }
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    size_t count = 0;
    bool good = true;
    X509 *ca = PEM_read_bio_X509(bio, NULL, NULL, NULL);
    while (ca != NULL && good) {
        /* The names that a client is told to have a certificate of. */
        good = X509_STORE_add_cert(store, ca) == 1 && SSL_CTX_add_client_CA(context, ca) == 1;
        count++;
        X509_free(ca);
        ca = good ? PEM_read_bio_X509(bio, NULL, NULL, NULL) : NULL;
    }
    BIO_free(bio);
    if (!good || count == 0) {
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

enum kek_rc tls_files_check(SSL_CTX *context, const struct tls_settings *settings,
                            struct kek_why *why)
{
    STACK_OF(X509) *chain = NULL;
    X509 *own = SSL_CTX_get0_certificate(context);
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    if (check == NULL || SSL_CTX_get0_chain_certs(context, &chain) != 1 ||
        X509_STORE_CTX_init(check, SSL_CTX_get_cert_store(context), own, chain) != 1 ||
        X509_STORE_CTX_set_purpose(check, X509_PURPOSE_SSL_SERVER) != 1) {
        X509_STORE_CTX_free(check);
        ERR_clear_error();
        return kek_fail(why, KEK_NO_MEMORY, "no memory to check %s", settings->cert);
    }
    bool good = X509_verify_cert(check) == 1;
    int error = X509_STORE_CTX_get_error(check);
    X509_STORE_CTX_free(check);
    ERR_clear_error();
    if (good) {
        return KEK_OK;
    }
    bool dated = error == X509_V_ERR_CERT_HAS_EXPIRED || error == X509_V_ERR_CERT_NOT_YET_VALID;
    /* A clock that is wrong makes a good certificate look so. */
    return kek_fail(
        why, KEK_INVALID, "status.cert: %s, held against status.ca %s: %s%s", settings->cert,
        settings->ca, X509_verify_cert_error_string(error),
        dated ? ": if this node's clock is right, put a new certificate there, or take the "
                "section status out"
              : ": it must lead there, and be for TLS servers and clients");
}
