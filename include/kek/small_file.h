/*
 * A small file that somebody else wrote: a configuration, a password, a key.
 *
 * It is opened once, and what was opened is what is checked and read.  Symbolic links are followed (Kubernetes mounts
 * secrets behind two of them): what counts is the file at their end.  A named pipe holds nobody up.  Messages name the
 * file, what is wrong, and what to do.  Blocks; any thread.
 */
#ifndef KEK_SMALL_FILE_H
#define KEK_SMALL_FILE_H

#include <sys/stat.h>

#include "kek/secret.h"

struct kek_small_file {
    const char *what; /* stands before the path in messages: "PIN file ", "status.key: ", "" */
    const char *path;
    size_t max;       /* bytes */
    mode_t forbidden; /* permission bits of its mode that must not be set; 0: whatever they are */
    bool owned;       /* by root or by this process's user, nobody else */
};

/* Adds all of it to `content`. *about is the file as it was read; may be NULL.
 * KEK_NOT_FOUND; KEK_DENIED: it cannot be opened, or who may use it is wrong; KEK_TOO_LARGE; KEK_INVALID: it is no
 * regular file. */
enum kek_rc kek_small_file_read(const struct kek_small_file *file, struct kek_buf *content,
                                struct stat *about, struct kek_why *why) KEK_MUST_CHECK;

/* A file of one line, without its line end (LF or CR LF), straight into locked memory. Refused as well, with
 * KEK_INVALID: it is empty, or has a second line, a NUL or other control character or a byte order mark in it, none of
 * which a person means to be part of a password. No message has a byte of it. */
enum kek_rc kek_small_file_line(const struct kek_small_file *file, struct kek_secret **line,
                                struct stat *about, struct kek_why *why) KEK_MUST_CHECK;

/* Where the service manager has put the credential of this name, "credential:NAME" in settings: a file of its
 * CREDENTIALS_DIRECTORY.  KEK_DENIED: it gave none. */
enum kek_rc kek_small_file_credential(const char *name, char *path, size_t size,
                                      struct kek_why *why) KEK_MUST_CHECK;

/* A path for messages: of one that is so long that no room would be left to say what is wrong, the end. */
#define KEK_SMALL_FILE_SHOWN (120 + 4)
void kek_small_file_show(const char *path, char shown[static KEK_SMALL_FILE_SHOWN]);

#endif
