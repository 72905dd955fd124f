#include "kek/descriptors.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <unistd.h>

bool kek_descriptors_fill(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
        if (fcntl(fd, F_GETFD) >= 0) {
            continue;
        }
        /* Those below are open, so this one is the lowest that is free. */
        if (open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd) {
            return false;
        }
    }
    return true;
}

bool kek_descriptor_read(int fd, void *data, size_t size, size_t *len)
{
    size_t have = 0;
    while (have < size) {
        ssize_t got = read(fd, (uint8_t *)data + have, size - have);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got < 0) {
            return false;
        }
        if (got == 0) {
            break;
        }
        have += (size_t)got;
    }
    *len = have;
    return true;
}

bool kek_descriptor_write(int fd, const void *data, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t put = write(fd, (const uint8_t *)data + done, len - done);
        if (put < 0 && errno == EINTR) {
            continue;
        }
        if (put < 0) {
            return false;
        }
        done += (size_t)put;
    }
    return true;
}
