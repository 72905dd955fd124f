/*
 * A keyring that has no record in a state_dir where another one has: it is misspelt, or begins there.  What makes a first key of it,
 * or brings one into use, is done only where --new-keyring says that it begins.
 */
#ifndef KEKCTL_NEW_KEYRING_H
#define KEKCTL_NEW_KEYRING_H

#include "keys.h"

/* Is there no doubt, or was it said that the keyring begins?  False after saying, behind `undone` ("no key was made"), what there
 * is, and what to do. No token is asked. */
bool new_keyring_is_meant(const struct keys *keys, const char *undone) KEK_MUST_CHECK;

/* The same of a command that makes no first key. */
bool new_keyring_has_begun(const struct keys *keys, const char *undone) KEK_MUST_CHECK;

/* For who met no version of the keyring: what makes the first one, or that the name may be misspelt. */
#define NEW_KEYRING_HINT 512
void new_keyring_hint(const struct keys *keys, char hint[static NEW_KEYRING_HINT]);

#endif
