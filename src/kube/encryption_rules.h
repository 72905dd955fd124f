/* What the API server lets stand in an EncryptionConfiguration, one value at a time. Pure. */
#ifndef KUBE_ENCRYPTION_RULES_H
#define KUBE_ENCRYPTION_RULES_H

#include "kek/encryption_config.h"

/* The API server reads YAML as JSON: a plain 12 or true is no text there, and must be in quotes. */
bool encryption_is_text(const char *plain);

/* What is wrong with a resource's name; NULL: nothing. Static. */
const char *encryption_resource_problem(const char *resource);

/* Does the one name everything that the other does? "*.apps" and "deployments.apps", "*.*" and all; a name
 * and itself. */
bool encryption_covers(const char *wide, const char *resource);

/* May two names stand in one list? The API server refuses a pair of which one masks the other. */
bool encryption_overlap(const char *one, const char *other);

/* The letters of standard base64, in their order. */
extern const char encryption_base64[];

/* Bytes of a secret of standard base64; false: it is none. */
bool encryption_secret_len(const char *base64, size_t *len);

/* A duration in Go's words that is more than nothing. */
bool encryption_duration(const char *text);

/* A URL of scheme unix. */
bool encryption_endpoint(const char *text);

/* A whole number of 32 bits, not 0. */
bool encryption_cachesize(const char *text);

#endif
