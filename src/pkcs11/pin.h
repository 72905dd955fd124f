/*
 * The PIN, from the file that a pin-source names: "file:/absolute/path" or "credential:NAME", which
 * is $CREDENTIALS_DIRECTORY/NAME.
 *
 * It is one line of 1 to 255 bytes (small_file.h), since whatever else is in the file would cost a try of
 * the PIN, and nobody but its owner may use it.  A credential may be readable by its group but not writable: the service
 * manager shows a file mask so where it let one user in by an access list, and keeps the folder.
 */
#ifndef KEK_PKCS11_PIN_H
#define KEK_PKCS11_PIN_H

#include "kek/provider.h"

#include <limits.h>

#define KEK_PIN_MAX 255

/* What a refused PIN is remembered by. The service manager makes a credential anew at each start of its
 * service, with a new inode and mtime, and a refused PIN would be tried once by each: for one, the inode
 * stands for its name and the mtime is 0, so that only another size tells another PIN. */
struct kek_pin_file {
    uint64_t inode;
    int64_t mtime_ns;
    uint64_t size;
    char path[PATH_MAX]; /* as it was opened: where to look for a change */
};

enum kek_rc kek_pin_read(const char *source, struct kek_secret **pin, struct kek_pin_file *file,
                         struct kek_why *why) KEK_MUST_CHECK;

#endif
