/*
 * kekd-as UID GID GROUP[,GROUP...]|- PROGRAM [ARGUMENT...]
 *
 * Becomes that user with exactly these groups, keeps no capability, and runs the program in the same
 * process.  kekd starts a provider's workers through it where the provider has `user` or `groups`.
 */
#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "kek/text.h"

#define GROUPS_MAX 64

/* UINT32_MAX is (uid_t)-1, which is nobody: the kernel's "unchanged". */
static bool read_id(const char *text, char end, unsigned *id, const char **rest)
{
    uint64_t value;
    if (!kek_text_digits(&text, UINT32_MAX - 1, &value) || (*text != '\0' && *text != end)) {
        return false;
    }
    *id = (unsigned)value;
    *rest = *text == '\0' ? text : text + 1;
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
