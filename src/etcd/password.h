/*
 * A password in a file: its first line.
 */
#ifndef ETCD_PASSWORD_H
#define ETCD_PASSWORD_H

#include "kek/secret.h"

#define PASSWORD_MAX 1024 /* bytes */

/* KEK_NOT_FOUND, KEK_DENIED: it cannot be read, or others may read it; KEK_INVALID: it is empty or too long. */
enum kek_rc password_read(const char *path, struct kek_secret **password,
                          struct kek_why *why) KEK_MUST_CHECK;

#endif
