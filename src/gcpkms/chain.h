/*
 * Certificates that a service sends, held to roots that the operator chose.  OpenSSL does it; nothing is asked over
 * the network.
 *
 * Among what was sent is one certificate that issued none of the others: the leaf.  It must lead to a root, each
 * certificate must be valid at that time, and keys and digests have 112 bits of strength at least.  Which order they
 * come in does not matter, and a root among them counts for nothing.
 */
#ifndef GCPKMS_CHAIN_H
#define GCPKMS_CHAIN_H

#include <time.h>

#include <openssl/x509.h>

#include "kek/bytes.h"
#include "kek/rc.h"

/* The certificates of a PEM text, which has nothing else between BEGIN and END; never NULL on success, and to be
 * freed by kek_gcp_certificates_free().  KEK_INVALID: there is none, or one cannot be read. */
enum kek_rc kek_gcp_certificates_read(struct kek_bytes pem, STACK_OF(X509) * *certificates,
                                      struct kek_why *why) KEK_MUST_CHECK;
/* The same from a file that nobody else may write to. `what`: the setting that names it. */
enum kek_rc kek_gcp_certificates_file(const char *path, const char *what,
                                      STACK_OF(X509) * *certificates,
                                      struct kek_why *why) KEK_MUST_CHECK;
void kek_gcp_certificates_free(STACK_OF(X509) * certificates); /* NULL is none */

struct kek_gcp_chain_rules {
    const char *roots_name; /* the setting that names the roots, for messages */
    STACK_OF(X509) * roots;
    time_t at;
    /* The certificate that issued the leaf may be without basicConstraints, as those of the HSM's cards are, which are
     * of X.509's first version.  One that says that it is no CA is refused all the same. */
    bool bare_issuer;
};

/* *chain: from the leaf to the root, to be freed likewise.  KEK_INVALID: it does not hold, and `why` says what of it. */
enum kek_rc kek_gcp_chain_verify(const struct kek_gcp_chain_rules *rules, STACK_OF(X509) * sent,
                                 STACK_OF(X509) * *chain, struct kek_why *why) KEK_MUST_CHECK;

/* The leaf's common name, printable. */
void kek_gcp_chain_name(const X509 *certificate, char *out, size_t size);

#endif
