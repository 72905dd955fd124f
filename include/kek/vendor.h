/*
 * Vendors' PKCS#11 libraries, known by how their files' names begin, and what each asks of a node: a variable that says
 * where its configuration is, a group that may use its files, sockets or devices.
 *
 * For messages and for what is offered to an operator: no call to a library depends on it.
 */
#ifndef KEK_VENDOR_H
#define KEK_VENDOR_H

#include <stdbool.h>

struct kek_vendor {
    const char *library;  /* how its file's name begins */
    const char *variable; /* NULL: it is told by none */
    const char *group;    /* as its package makes it; NULL: none is known */
    bool is_softhsm;      /* a token is a folder, and an object a file of whoever made it */
};

/* By the library's path, or the last part of it. NULL: it is none of those that are known. */
const struct kek_vendor *kek_vendor_of_file(const char *path);

/* By a module-name of RFC 7512: the file's without "lib" and ".so". */
const struct kek_vendor *kek_vendor_of_name(const char *name);

#endif
