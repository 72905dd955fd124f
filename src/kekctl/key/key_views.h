/*
 * What the listings of all providers say together of one key.
 *
 * Two keys under one number: the one that was announced is the version, else the one with the smaller
 * CKA_ID; the other is *surplus*, and kekd seals nothing under it.
 */
#ifndef KEKCTL_KEY_VIEWS_H
#define KEKCTL_KEY_VIEWS_H

#include "announced.h"

/* The provider's key of this kek id, one that may be used first; NULL: it shows none. Borrowed. */
const struct kek_version *view_find(const struct keys *keys, size_t provider,
                                    const struct kek_id *kek_id);

/* May data keys be wrapped under it? */
bool view_active(const struct kek_version *version);

bool view_surplus(const struct keys *keys, const struct kek_version *version,
                  const struct announced *announced);

/* The state of the provider's i-th version, by all providers' versions and what was announced: what is not
 * newer than that is never pre-active. */
enum kek_state view_state(const struct keys *keys, size_t provider, size_t i,
                          const struct announced *announced);

/* The same of one that is suspended, once it opens again. */
enum kek_state view_state_resumed(const struct keys *keys, const struct kek_version *version,
                                  const struct announced *announced);

/* Can the command's argument mean a version at all? CTL_USAGE after saying that it cannot. */
enum ctl_exit view_check_argument(const struct ctl *ctl);

/* Which key a VERSION means: its number, or its kek id as 32 hexadecimal digits.  False: why says which
 * there are, or which keys have that number. */
bool view_pick(const struct keys *keys, const char *text, struct kek_version *version,
               struct kek_why *why);

#endif
