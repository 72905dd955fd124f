/*
 * kekctl kube config: the API server's EncryptionConfiguration, one phase further.
 *
 * kube_config.c reads and prints, kube_phases.c says in comments what a file is for and what comes next,
 * kube_check.c says whether a phase is safe.
 */
#ifndef KEKCTL_KUBE_CONFIG_H
#define KEKCTL_KUBE_CONFIG_H

#include "kek/encryption_config.h"
#include "kekctl/kekctl.h"

#define KUBE_DEFAULT_NAME "kekd"
#define KUBE_DIGEST_TEXT 72 /* "sha256:" and hex, with the NUL */

/* One phase, asked for and done. */
struct kube_change {
    const struct ctl *ctl;
    const struct kek_config *config; /* borrowed */
    const char *phase;               /* its word */
    const char *name;                /* of kekd's entry */
    struct kek_encryption_config *before, *after;
    struct kek_encryption_step step;
    /* Of the bytes of --from, as the API server's metric shows it of the file that it has taken; empty: there is no
     * file. */
    char from_digest[KUBE_DIGEST_TEXT];
};

/* The resources of the list that was meant, as a comment or sentence may have them. */
void kube_resources(const struct kube_change *change, char *text, size_t size);

/* Appends comment lines: what this file does, what must be so before, what comes next. */
enum kek_rc kube_comment(const struct kube_change *change, struct kek_buf *out,
                         struct kek_why *why) KEK_MUST_CHECK;

/* Prints what speaks for and against the phase; CTL_CHECK: it is not safe. */
enum ctl_exit kube_check(const struct kube_change *change);

#endif
