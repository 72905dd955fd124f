/*
 * A throw-away certificate that is its own CA, with its key, as PEM files: for tests whose programs make
 * both ends.  What the openssl command makes is used by the tests in Python.
 */
#ifndef TEST_CERTIFICATE_H
#define TEST_CERTIFICATE_H

#include <stdio.h>
#include <stdlib.h>

#include <openssl/pem.h>
#include <openssl/x509v3.h>

static inline X509 *certificate_sign(EVP_PKEY *key, const unsigned char *cn, int cn_len)
{
    X509 *cert = X509_new();
    X509_NAME *name = X509_get_subject_name(cert);
    X509_EXTENSION *is_ca =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    bool good =
        X509_set_version(cert, 2) == 1 && ASN1_INTEGER_set(X509_get_serialNumber(cert), 1) == 1 &&
        X509_gmtime_adj(X509_getm_notBefore(cert), -60) != NULL &&
        X509_gmtime_adj(X509_getm_notAfter(cert), 3600) != NULL &&
        X509_NAME_add_entry_by_NID(name, NID_commonName, MBSTRING_UTF8, cn, cn_len, -1, 0) == 1 &&
        X509_set_issuer_name(cert, name) == 1 && X509_set_pubkey(cert, key) == 1 &&
        X509_add_ext(cert, is_ca, -1) == 1 && X509_sign(cert, key, EVP_sha256()) > 0;
    X509_EXTENSION_free(is_ca);
    if (!good) {
        abort();
    }
    return cert;
}

/* Writes both; the caller frees the two. */
static inline void certificate_make(const char *cert_path, const char *key_path, const char *cn,
                                    int cn_len, X509 **cert, EVP_PKEY **key)
{
    FILE *cert_file = fopen(cert_path, "w"), *key_file = fopen(key_path, "w");
    *key = EVP_EC_gen("P-256");
    *cert = certificate_sign(*key, (const unsigned char *)cn, cn_len);
    if (cert_file == NULL || key_file == NULL || PEM_write_X509(cert_file, *cert) != 1 ||
        PEM_write_PrivateKey(key_file, *key, NULL, NULL, 0, NULL, NULL) != 1 ||
        fclose(cert_file) != 0 || fclose(key_file) != 0) {
        abort();
    }
}

#endif
