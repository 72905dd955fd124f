/* The audit log's file. */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_file.h"
#include "kek/auto.h"

/* Ends a line that a crash left unfinished, so that it spoils only itself. */
static int finish_torn_line(int fd)
{
    off_t end = lseek(fd, 0, SEEK_END);
    char last = '\n';
    if (end > 0 && pread(fd, &last, 1, end - 1) != 1) {
        return -1;
    }
    return last == '\n' || write(fd, "\n", 1) == 1 ? 0 : -1;
}

int audit_file_open(const char *path, int how, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd =
        open(path, O_RDWR | O_APPEND | how | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
             S_IRUSR | S_IWUSR);
    if (fd < 0) {
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "opening the audit file %s", path);
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        kek_fail(why, KEK_DENIED, "the audit file %s is not a regular file", path);
        return -1;
    }
    if (finish_torn_line(fd) != 0) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "writing the audit file %s", path);
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}
