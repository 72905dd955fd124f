/*
 * Is what a Cloud HSM states about a version of the key true, and is it what kekd wants of one?
 *
 * Two chains of certificates must end at roots that the operator chose: the manufacturer's (of the HSM's card, and by
 * that of its partition) and the owner's (Google, which issued certificates of its own for the same two keys).  The
 * partition's key must have signed the statement, and the statement must be of this version: an AES key of 256 bits,
 * generated in the HSM, that never could leave it.  Each of these is a check with an outcome and words of its own.
 * No I/O but the files of the roots; any thread.
 */
#ifndef GCPKMS_VERIFY_H
#define GCPKMS_VERIFY_H

#include <time.h>

#include "kek/wire.h"

/* Which chain a certificate is of, as Cloud KMS calls them. */
#define KEK_GCP_CAVIUM "caviumCerts"
#define KEK_GCP_CARD "googleCardCerts"
#define KEK_GCP_PARTITION "googlePartitionCerts"

struct kek_gcp_roots {
    const char *manufacturer, *owner; /* files; empty: not set, and nothing leads there */
};

/* Fills checks and facts of what was received: format, statement and certificates. `version`: its resource name. */
void kek_gcp_verify(struct kek_provider_attested *attested, const char *version,
                    const struct kek_gcp_roots *roots, time_t now);

/* There is no statement, for this reason: that check fails, and nothing else is tried. */
void kek_gcp_verify_nothing(struct kek_provider_attested *attested, const char *reason);

/* Everything was tried and holds. */
bool kek_gcp_verified(const struct kek_provider_attested *attested);

#endif
