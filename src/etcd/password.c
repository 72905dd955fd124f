#include "password.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/descriptors.h"

static enum kek_rc check(int fd, const char *path, struct kek_why *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        return kek_fail(why, KEK_INVALID, "password_file %s: this is no file", path);
    }
    if ((st.st_mode & (S_IRWXO | S_IWGRP)) != 0) {
        return kek_fail(why, KEK_DENIED,
                        "password_file %s: its mode %04o lets others in: chmod 0640 or less", path,
                        (unsigned)st.st_mode & 07777);
    }
    return KEK_OK;
}

static enum kek_rc read_line(int fd, const char *path, struct kek_secret *line, size_t *len,
                             struct kek_why *why)
{
    uint8_t *data = kek_secret_data(line);
    if (!kek_descriptor_read(fd, data, PASSWORD_MAX + 2, len)) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "password_file %s", path);
    }
    const uint8_t *end = memchr(data, '\n', *len);
    *len = end == NULL ? *len : (size_t)(end - data);
    if (*len > 0 && data[*len - 1] == '\r') {
        --*len;
    }
    if (*len == 0 || *len > PASSWORD_MAX) {
        return kek_fail(why, KEK_INVALID,
                        "password_file %s: its first line has %s: expected 1 to %d bytes", path,
                        *len == 0 ? "nothing" : "more", PASSWORD_MAX);
    }
    return KEK_OK;
}

enum kek_rc password_read(const char *path, struct kek_secret **password, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    size_t len = 0;
    if (fd < 0) {
        int error = errno;
        return kek_fail_native(why, error == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                               (unsigned long)error, "password_file %s", path);
    }
    enum kek_rc rc = check(fd, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO(kek_secret) line = kek_secret_new(PASSWORD_MAX + 2);
    if (line == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no locked memory for a password");
    }
    rc = read_line(fd, path, line, &len, why);
    if (rc != KEK_OK) {
        return rc;
    }
    *password = kek_secret_dup(kek_bytes(kek_secret_data(line), len));
    return *password != NULL ? KEK_OK
                             : kek_fail(why, KEK_NO_MEMORY, "no locked memory for a password");
}
