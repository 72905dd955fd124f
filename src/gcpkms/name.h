/*
 * Resource names of Cloud KMS: which key, and which of its versions.
 *
 * A name is checked byte by byte before a URL is made of it, and a name that an answer brings must be one of the
 * configured key's.  A version's kek id is the first 16 bytes of SHA-256 of its resource name: the same on every
 * node, and known without asking.  Pure; any thread.
 */
#ifndef GCPKMS_NAME_H
#define GCPKMS_NAME_H

#include "kek/kek.h"
#include "kek/rc.h"

#define KEK_GCP_KEY_MAX 256                        /* bytes of a key's name, with its NUL */
#define KEK_GCP_VERSION_MAX (KEK_GCP_KEY_MAX + 32) /* of a version's */

/* "projects/P/locations/L/keyRings/R/cryptoKeys/K", nothing before and nothing behind it. */
enum kek_rc kek_gcp_key_check(const char *name, struct kek_why *why) KEK_MUST_CHECK;

/* One part of a name that has been checked: what stands behind "keyRings/". */
void kek_gcp_key_part(const char *key, const char *collection, char *out, size_t size);

/* KEY/cryptoKeyVersions/N of a key that has been checked. */
void kek_gcp_version_name(const char *key, uint32_t number, char name[static KEK_GCP_VERSION_MAX]);

/* N of such a name; 0: it is no version of this key. */
uint32_t kek_gcp_version_number(const char *key, const char *name);

/* By kek_bridge_id(). */
void kek_gcp_version_id(const char *key, uint32_t number, struct kek_id *kek_id);

#endif
