/*
 * By LD_PRELOAD: a program ends by SIGKILL in place of the n-th thing that it does to files.
 *
 * KEK_KILLED=<program>:<n>   whose, by its name as the kernel has it, and which; 0: none
 * KEK_KILLED_COUNT=<file>    how many there were, in decimal, written at the program's own end
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

static atomic_ulong calls;
static unsigned long fatal;
static int counts;

__attribute__((constructor)) static void begin(void)
{
    const char *wanted = getenv("KEK_KILLED"), *colon;
    colon = wanted == NULL ? NULL : strchr(wanted, ':');
    if (colon == NULL || strlen(program_invocation_short_name) != (size_t)(colon - wanted) ||
        strncmp(program_invocation_short_name, wanted, (size_t)(colon - wanted)) != 0) {
        return;
    }
    counts = 1;
    fatal = strtoul(colon + 1, NULL, 10);
}

static void count(void)
{
    if (counts && atomic_fetch_add(&calls, 1) + 1 == fatal) {
        (void)raise(SIGKILL);
    }
}

__attribute__((destructor)) static void end(void)
{
    const char *path = getenv("KEK_KILLED_COUNT");
    FILE *file = counts && path != NULL ? fopen(path, "w") : NULL;
    if (file != NULL) {
        fprintf(file, "%lu\n", atomic_load(&calls));
        fclose(file);
    }
}

#define REAL(name) __typeof__(name) *real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name)

int fsync(int fd)
{
    REAL(fsync);
    count();
    return real(fd);
}

int rename(const char *from, const char *to)
{
    REAL(rename);
    count();
    return real(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to)
{
    REAL(renameat);
    count();
    return real(from_folder, from, to_folder, to);
}

int unlink(const char *path)
{
    REAL(unlink);
    count();
    return real(path);
}

int unlinkat(int folder, const char *path, int flags)
{
    REAL(unlinkat);
    count();
    return real(folder, path, flags);
}

int flock(int fd, int operation)
{
    REAL(flock);
    count();
    return real(fd, operation);
}

int open(const char *path, int flags, ...)
{
    REAL(open);
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if ((flags & O_ACCMODE) != O_RDONLY) {
        count();
    }
    return real(path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    REAL(openat);
    va_list args;
    va_start(args, flags);
    mode_t mode = (flags & O_CREAT) != 0 ? va_arg(args, mode_t) : 0;
    va_end(args);
    if ((flags & O_ACCMODE) != O_RDONLY) {
        count();
    }
    return real(folder, path, flags, mode);
}
