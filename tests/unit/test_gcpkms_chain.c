/* Certificates of a service: how they are read, and what is said of a chain that does not hold. */
#include "suite.h"

#include <string.h>
#include <time.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "chain.h"

#define DAY 86400L

struct party {
    EVP_PKEY *key;
    X509 *certificate;
};

/* issuer: NULL: its own, and a CA.  It is valid from then until a day later. */
static struct party make(const char *name, const struct party *issuer, long from)
{
    struct party made = {.key = EVP_EC_gen("P-256"), .certificate = X509_new()};
    const struct party *by = issuer == NULL ? &made : issuer;
    X509 *one = made.certificate;
    X509_EXTENSION *is_ca =
        X509V3_EXT_conf_nid(NULL, NULL, NID_basic_constraints, "critical,CA:TRUE");
    ck_assert(X509_set_version(one, 2) == 1 && X509_set_pubkey(one, made.key) == 1);
    ck_assert_int_eq(ASN1_INTEGER_set(X509_get_serialNumber(one), 1), 1);
    ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notBefore(one), from));
    ck_assert_ptr_nonnull(X509_gmtime_adj(X509_getm_notAfter(one), from + DAY));
    ck_assert_int_eq(X509_NAME_add_entry_by_NID(X509_get_subject_name(one), NID_commonName,
                                                MBSTRING_UTF8, (const unsigned char *)name, -1, -1,
                                                0),
                     1);
    ck_assert_int_eq(X509_set_issuer_name(one, X509_get_subject_name(by->certificate)), 1);
    ck_assert(issuer != NULL || X509_add_ext(one, is_ca, -1) == 1);
    ck_assert_int_gt(X509_sign(one, by->key, EVP_sha256()), 0);
    X509_EXTENSION_free(is_ca);
    return made;
}

static void done(struct party *party)
{
    EVP_PKEY_free(party->key);
    X509_free(party->certificate);
}

static STACK_OF(X509) * stack_of(X509 *one, X509 *other)
{
    STACK_OF(X509) *all = sk_X509_new_null();
    ck_assert_int_gt(sk_X509_push(all, one), 0);
    ck_assert(other == NULL || sk_X509_push(all, other) > 0);
    return all;
}

/* A terminal is asked before standard input is, so this process leaves its own. */
START_TEST(certificate_that_is_encrypted_is_refused_and_nobody_is_asked_for_a_passphrase)
{
    unsigned char passphrase[] = "secret";
    struct party party = make("one", NULL, 0);
    BIO *bio = BIO_new(BIO_s_mem());
    STACK_OF(X509) *read_of = NULL;
    struct kek_why why;
    char *pem, left[8] = "";
    int ends[2];
    ck_assert_int_eq(PEM_ASN1_write_bio((i2d_of_void *)i2d_X509, PEM_STRING_X509, bio,
                                        party.certificate, EVP_aes_128_cbc(), passphrase, 6, NULL,
                                        NULL),
                     1);
    long len = BIO_get_mem_data(bio, &pem);
    (void)setsid();
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "secret\n", 7), 7);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    ck_assert_int_eq(close(ends[1]), 0);
    ck_assert_int_eq(kek_gcp_certificates_read(kek_bytes(pem, (size_t)len), &read_of, &why),
                     KEK_INVALID);
    ck_assert_int_eq(read(STDIN_FILENO, left, sizeof left), 7);
    BIO_free(bio);
    done(&party);
}
END_TEST

START_TEST(chain_that_does_not_hold_says_why_by_the_root_that_it_leads_to)
{
    struct party other = make("other", NULL, 0), root = make("root", NULL, -3 * DAY);
    struct party leaf = make("leaf", &root, -3 * DAY);
    STACK_OF(X509) *sent = stack_of(leaf.certificate, NULL), *chain = NULL;
    struct kek_gcp_chain_rules rules = {.roots_name = "owner_root", .at = time(NULL)};
    X509 *orders[][2] = {{other.certificate, root.certificate},
                         {root.certificate, other.certificate}};
    struct kek_why why;
    for (size_t i = 0; i < 2; i++) {
        rules.roots = stack_of(orders[i][0], orders[i][1]);
        rules.at = time(NULL);
        ck_assert_int_eq(kek_gcp_chain_verify(&rules, sent, &chain, &why), KEK_INVALID);
        ck_assert_ptr_nonnull(strstr(why.text, "expired on"));
        rules.at = time(NULL) - 3 * DAY + 60;
        ck_assert_int_eq(kek_gcp_chain_verify(&rules, sent, &chain, &why), KEK_OK);
        ck_assert_int_eq(sk_X509_num(chain), 2);
        kek_gcp_certificates_free(chain);
        sk_X509_free(rules.roots);
    }
    rules.roots = stack_of(other.certificate, NULL);
    ck_assert_int_eq(kek_gcp_chain_verify(&rules, sent, &chain, &why), KEK_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "which no root of owner_root issued"));
    sk_X509_free(rules.roots);
    sk_X509_free(sent);
    done(&leaf);
    done(&root);
    done(&other);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gcpkms_chain");
    TCase *all = tcase_create("all");
    tcase_add_test(all,
                   certificate_that_is_encrypted_is_refused_and_nobody_is_asked_for_a_passphrase);
    tcase_add_test(all, chain_that_does_not_hold_says_why_by_the_root_that_it_leads_to);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
