/*
 * kekd-as UID GID GROUP[,GROUP...]|- PROGRAM [ARGUMENT...]
 *
 * Becomes that user with exactly these groups, keeps no capability, and runs the program in the same
 * process.  kekd starts a provider's workers through it where the provider has `user` or `groups`.
 */
#include <errno.h>
#include <grp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define GROUPS_MAX 64

static bool read_id(const char *text, char end, unsigned *id, const char **rest)
{
    char *stop;
    errno = 0;
    unsigned long value = strtoul(text, &stop, 10);
    if (*text < '0' || *text > '9' || errno != 0 || value >= 0xffffffffu ||
        (*stop != '\0' && *stop != end)) {
        return false;
    }
    *id = (unsigned)value;
    *rest = *stop == '\0' ? stop : stop + 1;
    return true;
}

static bool read_groups(const char *text, gid_t *groups, size_t *count)
{
    *count = 0;
    if (strcmp(text, "-") == 0) {
        return true;
    }
    while (*text != '\0') {
        if (*count == GROUPS_MAX || !read_id(text, ',', &groups[*count], &text)) {
            return false;
        }
        (*count)++;
    }
    return *count > 0;
}

static int say(const char *what)
{
    fprintf(stderr, "kekd-as: %s: %s\n", what, strerror(errno));
    return 126;
}

int main(int argc, char **argv)
{
    uid_t uid;
    gid_t gid, groups[GROUPS_MAX];
    size_t count;
    const char *rest;
    if (argc < 5 || !read_id(argv[1], '\0', &uid, &rest) || !read_id(argv[2], '\0', &gid, &rest) ||
        !read_groups(argv[3], groups, &count)) {
        fprintf(stderr, "usage: kekd-as UID GID GROUP[,GROUP...]|- PROGRAM [ARGUMENT...]\n");
        return 2;
    }
    if (setgroups(count, groups) != 0) {
        return say("setgroups");
    }
    if (setresgid(gid, gid, gid) != 0) {
        return say("setresgid");
    }
    if (setresuid(uid, uid, uid) != 0) {
        return say("setresuid");
    }
    /* Nothing but this process's own user comes along over exec: no ambient capability. */
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) != 0) {
        return say("clearing ambient capabilities");
    }
    execv(argv[4], argv + 4);
    return say(argv[4]);
}
