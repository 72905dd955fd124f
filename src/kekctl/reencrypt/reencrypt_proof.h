/*
 * What is in etcd before and after: what nobody has to believe the API server for.
 */
#ifndef KEKCTL_REENCRYPT_PROOF_H
#define KEKCTL_REENCRYPT_PROOF_H

#include "reencrypt_etcd.h"
#include "reencrypt_guard.h"
#include "reencrypt_run.h"

/* Is there an etcd by which this can be seen? */
bool reencrypt_proof_is_there(const struct reencrypt *reencrypt, const struct guard *guard);

/* Reads it, and says what was found. NULL: why says why not; also that it is not the API server's: there is no object
 * of a resource in it of which that has some. */
struct reencrypt_etcd *reencrypt_proof_begin(struct reencrypt *reencrypt, const struct guard *guard,
                                             struct kek_why *why);

/* Has one object written and looks at it, before somebody else writes all of them.  False: why says why not to. Where
 * this user may not write, nobody looks. */
bool reencrypt_proof_first(struct reencrypt *reencrypt, const struct guard *guard,
                           const volatile sig_atomic_t *interrupted, struct kek_why *why);

/* At the end. For the report; NULL: it cannot be read. *good stays as it is if nothing is left. */
json_t *reencrypt_proof_end(struct reencrypt *reencrypt, const struct guard *guard, bool *good);

#endif
