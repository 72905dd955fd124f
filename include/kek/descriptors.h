/*
 * File descriptors: the standard ones are never somebody else's file, and all of a file is read or written
 * although the system takes and gives it in pieces.
 *
 * A program may be started with any of the descriptors 0 to 2 closed.  The next file or socket it opens
 * would be that descriptor, and what is meant for the terminal would be written there: a plaintext
 * into kekd's own socket, a log line into a state file.  libuv aborts when it closes such a one.
 */
#ifndef KEK_DESCRIPTORS_H
#define KEK_DESCRIPTORS_H

#include <stdbool.h>
#include <stddef.h>

/* First thing in main(): opens what is closed of 0 to 2 on /dev/null, each in the direction it is not
 * for, so that using it goes on failing (EBADF).  False: there is no /dev/null, and the program must
 * not go on. */
bool kek_descriptors_fill(void) __attribute__((warn_unused_result));

/* Reads until `size` bytes are there or the file ends: *len < size says that it has. Blocks where the
 * descriptor does. False: errno says why. */
bool kek_descriptor_read(int fd, void *data, size_t size, size_t *len)
    __attribute__((warn_unused_result));

/* Writes all of it. Blocks where the descriptor does. False: errno says why, and some may be written. */
bool kek_descriptor_write(int fd, const void *data, size_t len) __attribute__((warn_unused_result));

#endif
