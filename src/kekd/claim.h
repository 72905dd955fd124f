/*
 * One kekd to a keyring in a state_dir, whatever its roots of trust are called.
 *
 * Each root's record has a lock of its own, by its name.  What is kept for all roots together (where the audit log's chain
 * stands, kekctl's inventories and rotations) goes by the file's `keyring` alone: two kekds whose roots have other names would
 * write it in turn.  So a kekd with named roots also holds the lock that one without holds for its only root.
 */
#ifndef KEKD_CLAIM_H
#define KEKD_CLAIM_H

#include "kek/config.h"
#include "kek/lock_file.h"

/* *lock is left as it was where there is one root without a name, whose keyring holds it.  KEK_UNAVAILABLE: another kekd
 * does, with its pid in why. */
enum kek_rc claim_state(const struct kek_config *config, struct kek_lock *lock,
                        struct kek_why *why) KEK_MUST_CHECK;

#endif
