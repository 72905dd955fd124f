/*
 * The names of what is in etcd under another key than the primary, by the kek ids inside each envelope, and of what is
 * under the primary by KMS v1, since only the API server knows whether it writes by v2 now; or, where all is to be in
 * clear, of what is not.
 *
 * All of it is read at one revision before anything is rewritten, and the names are kept in a file without a name in
 * state_dir (some 150 bytes an object): so memory is flat, how many there are is known, and an interrupted run needs
 * no record, since the next one finds what is left.  Read again afterwards, it is the proof.
 */
#ifndef KEKCTL_REENCRYPT_ETCD_H
#define KEKCTL_REENCRYPT_ETCD_H

#include "reencrypt.h"

struct reencrypt_etcd;

struct reencrypt_reading {
    uint64_t objects; /* of the resources that are meant */
    uint64_t old;     /* of them, not as is wanted */
    uint64_t
        damaged; /* of those, not what their prefix says, or of no name: no API server opens them */
    uint64_t v1; /* of those, under KMS v1 */
};

/* Does the configuration name an etcd in which this kekd's context seals? */
bool reencrypt_etcd_is_there(const struct kek_config *config);

/* Reads every such etcd. key_id: what all is to be under, borrowed for its life; NULL where all is to be in clear. NULL: why says which one, and why not. */
struct reencrypt_etcd *reencrypt_etcd_new(struct reencrypt *reencrypt, const char *key_id,
                                          struct kek_why *why);
void reencrypt_etcd_free(struct reencrypt_etcd *etcd);
KEK_DEFINE_AUTO(reencrypt_etcd);

const struct reencrypt_reading *reencrypt_etcd_reading(const struct reencrypt_etcd *etcd);

/* Each damaged one is on the list of causes first. */
struct reencrypt_source reencrypt_etcd_source(struct reencrypt_etcd *etcd);

#endif
