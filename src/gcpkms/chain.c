#include "chain.h"

#include <string.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509_vfy.h>
#include <openssl/x509v3.h>

#include "kek/small_file.h"
#include "kek/text.h"

#define FILE_MAX (128u * 1024) /* bytes of a file of roots */
#define DEPTH_MAX 4
#define STRENGTH 2 /* OpenSSL's level for 112 bits */
#define NAME_TEXT 64

void kek_gcp_certificates_free(STACK_OF(X509) * certificates)
{
    sk_X509_pop_free(certificates, X509_free);
}

/* ---- reading ---- */

enum kek_rc kek_gcp_certificates_read(struct kek_bytes pem, STACK_OF(X509) * *certificates,
                                      struct kek_why *why)
{
    STACK_OF(X509) *made = sk_X509_new_null();
    BIO *bio = BIO_new_mem_buf(pem.data, (int)pem.len);
    char no_passphrase[] = ""; /* else OpenSSL asks the terminal for one */
    enum kek_rc rc = KEK_OK;
    if (made == NULL || bio == NULL) {
        rc = kek_fail(why, KEK_NO_MEMORY, "no memory for certificates");
    }
    while (rc == KEK_OK && BIO_ctrl_pending(bio) > 0) {
        X509 *one = PEM_read_bio_X509(bio, NULL, NULL, no_passphrase);
        unsigned long error = ERR_peek_last_error();
        if (one == NULL && ERR_GET_REASON(error) == PEM_R_NO_START_LINE) {
            break; /* blanks or a remark behind the last one */
        }
        if (one == NULL || sk_X509_push(made, one) == 0) {
            X509_free(one);
            rc = kek_fail(why, KEK_INVALID, "a certificate cannot be read as PEM");
        }
    }
    ERR_clear_error();
    BIO_free(bio);
    if (rc == KEK_OK && sk_X509_num(made) == 0) {
        rc = kek_fail(why, KEK_INVALID, "there is no certificate in PEM in it");
    }
    if (rc != KEK_OK) {
        kek_gcp_certificates_free(made);
        return rc;
    }
    *certificates = made;
    return KEK_OK;
}

enum kek_rc kek_gcp_certificates_file(const char *path, const char *what,
                                      STACK_OF(X509) * *certificates, struct kek_why *why)
{
    char named[64];
    KEK_AUTO_BUF struct kek_buf content;
    snprintf(named, sizeof named, "%s: ", what);
    const struct kek_small_file file = {
        .what = named, .path = path, .max = FILE_MAX, .forbidden = 022};
    kek_buf_init(&content, FILE_MAX);
    enum kek_rc rc = kek_small_file_read(&file, &content, NULL, why);
    if (rc != KEK_OK) {
        return rc;
    }
    struct kek_why inner;
    rc = kek_gcp_certificates_read(kek_bytes(content.data, content.len), certificates, &inner);
    return rc == KEK_OK ? rc : kek_fail(why, rc, "%s%s: %s", named, path, inner.text);
}

/* ---- words ---- */

void kek_gcp_chain_name(const X509 *certificate, char *out, size_t size)
{
    char name[NAME_TEXT];
    int len = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate), NID_commonName, name,
                                        sizeof name);
    kek_text_copy(out, size, len < 0 ? "without a name" : name);
}

static void date_of(const ASN1_TIME *time, char out[static 16])
{
    struct tm tm;
    if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(out, 16, "%Y-%m-%d", &tm) == 0) {
        snprintf(out, 16, "an unknown day");
    }
}

/* KEK_NOT_FOUND: this root is not the one that it leads to. */
static enum kek_rc say(X509_STORE_CTX *check, const struct kek_gcp_chain_rules *rules,
                       struct kek_why *why)
{
    char name[NAME_TEXT] = "", date[16];
    int error = X509_STORE_CTX_get_error(check);
    const X509 *at = X509_STORE_CTX_get_current_cert(check);
    if (at != NULL) {
        kek_gcp_chain_name(at, name, sizeof name);
    }
    switch (at == NULL ? X509_V_ERR_UNSPECIFIED : error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        date_of(X509_get0_notAfter(at), date);
        return kek_fail(why, KEK_INVALID, "the certificate of \"%s\" expired on %s", name, date);
    case X509_V_ERR_CERT_NOT_YET_VALID:
        date_of(X509_get0_notBefore(at), date);
        return kek_fail(why, KEK_INVALID, "the certificate of \"%s\" is valid only from %s", name,
                        date);
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
        return kek_fail(why, KEK_NOT_FOUND,
                        "it ends at the certificate of \"%s\", which no root of %s issued", name,
                        rules->roots_name);
    default:
        return kek_fail(why, KEK_INVALID, "the certificate of \"%s\": %s", name,
                        X509_verify_cert_error_string(error));
    }
}

/* ---- verifying ---- */

static bool is_self_issued(X509 *one)
{
    return X509_NAME_cmp(X509_get_subject_name(one), X509_get_issuer_name(one)) == 0;
}

/* Borrowed. NULL: there is none. */
static X509 *leaf_of(STACK_OF(X509) * sent)
{
    for (int i = 0; i < sk_X509_num(sent); i++) {
        X509 *one = sk_X509_value(sent, i);
        bool issued_any = is_self_issued(one);
        for (int k = 0; k < sk_X509_num(sent) && !issued_any; k++) {
            issued_any = k != i && X509_NAME_cmp(X509_get_subject_name(one),
                                                 X509_get_issuer_name(sk_X509_value(sent, k))) == 0;
        }
        if (!issued_any) {
            return one;
        }
    }
    return NULL;
}

static int tolerate_bare(int good, X509_STORE_CTX *check)
{
    X509 *at = X509_STORE_CTX_get_current_cert(check);
    bool bare = X509_STORE_CTX_get_error(check) == X509_V_ERR_INVALID_CA &&
                X509_STORE_CTX_get_error_depth(check) == 1 &&
                X509_get_ext_by_NID(at, NID_basic_constraints, -1) < 0;
    if (good == 0 && bare) {
        X509_STORE_CTX_set_error(check, X509_V_OK);
        return 1;
    }
    return good;
}

static enum kek_rc verify(X509_STORE_CTX *check, const struct kek_gcp_chain_rules *rules,
                          STACK_OF(X509) * root, STACK_OF(X509) * *chain, struct kek_why *why)
{
    X509_VERIFY_PARAM *param = X509_STORE_CTX_get0_param(check);
    X509_STORE_CTX_set0_trusted_stack(check, root);
    X509_VERIFY_PARAM_set_time(param, rules->at);
    X509_VERIFY_PARAM_set_depth(param, DEPTH_MAX);
    X509_VERIFY_PARAM_set_auth_level(param, STRENGTH);
    if (rules->bare_issuer) {
        X509_STORE_CTX_set_verify_cb(check, tolerate_bare);
    }
    if (X509_verify_cert(check) != 1) {
        return say(check, rules, why);
    }
    *chain = X509_STORE_CTX_get1_chain(check);
    return *chain != NULL ? KEK_OK : kek_fail(why, KEK_NO_MEMORY, "no memory for certificates");
}

/* By one root alone: OpenSSL takes the first of several that have one name. */
static enum kek_rc verify_by(const struct kek_gcp_chain_rules *rules, X509 *root, X509 *leaf,
                             STACK_OF(X509) * sent, STACK_OF(X509) * *chain, struct kek_why *why)
{
    STACK_OF(X509) *alone = sk_X509_new_null();
    X509_STORE_CTX *check = X509_STORE_CTX_new();
    enum kek_rc rc = alone != NULL && check != NULL && sk_X509_push(alone, root) > 0 &&
                             X509_STORE_CTX_init(check, NULL, leaf, sent) == 1
                         ? verify(check, rules, alone, chain, why)
                         : kek_fail(why, KEK_NO_MEMORY, "no memory to verify certificates");
    X509_STORE_CTX_free(check);
    sk_X509_free(alone);
    ERR_clear_error();
    return rc;
}

/* Where several roots are there and none holds, the first that it leads to says why. */
enum kek_rc kek_gcp_chain_verify(const struct kek_gcp_chain_rules *rules, STACK_OF(X509) * sent,
                                 STACK_OF(X509) * *chain, struct kek_why *why)
{
    struct kek_why found = {.rc = KEK_NOT_FOUND}, one;
    X509 *leaf = leaf_of(sent);
    if (leaf == NULL) {
        return kek_fail(why, KEK_INVALID, "there is no certificate in it but roots");
    }
    for (int i = 0; i < sk_X509_num(rules->roots); i++) {
        if (verify_by(rules, sk_X509_value(rules->roots, i), leaf, sent, chain, &one) == KEK_OK) {
            return KEK_OK;
        }
        found = i == 0 || (found.rc == KEK_NOT_FOUND && one.rc != KEK_NOT_FOUND) ? one : found;
    }
    return kek_fail(why, found.rc == KEK_NOT_FOUND ? KEK_INVALID : found.rc, "%s", found.text);
}
