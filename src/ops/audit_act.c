/* What an operator did, in one line: blocking, and by itself, since the program that did it ends. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_file.h"
#include "audit_text.h"
#include "kek/audit_act.h"
#include "kek/auto.h"
#include "kek/clock.h"

/* Made before kekd was ever started: it must be able to open it, and its user owns the folder. */
static enum kek_rc give_to_kekd(int fd, const char *path, struct kek_why *why)
{
    struct stat st;
    KEK_AUTO_FREE char *copy = strdup(path);
    if (copy == NULL || stat(dirname(copy), &st) != 0 || fchown(fd, st.st_uid, st.st_gid) != 0) {
        enum kek_rc rc =
            kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                            "giving the new audit file %s to the owner of its folder", path);
        unlink(path);
        return rc;
    }
    return KEK_OK;
}

int kek_audit_act_open(const char *path, struct kek_why *why)
{
    int fd = audit_file_open(path, 0, why);
    if (fd >= 0 || why->code != ENOENT) {
        return fd;
    }
    fd = audit_file_open(path, O_CREAT | O_EXCL, why);
    if (fd >= 0 && give_to_kekd(fd, path, why) != KEK_OK) {
        close(fd);
        return -1;
    }
    return fd;
}

/* Who logged in, whoever they became since: audit(8)'s loginuid.  False: nobody did, as in a boot script. */
static bool login_uid(uint64_t *uid)
{
    char text[16] = "";
    KEK_AUTO_CLOSE int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) {
        return false;
    }
    *uid = strtoull(text, NULL, 10);
    return *uid != UINT32_MAX;
}

static void put_who(struct audit_text *line)
{
    uint64_t uid;
    PUT(line, ",\"peer_uid\":");
    audit_put_uint(line, getuid());
    PUT(line, ",\"peer_pid\":");
    audit_put_uint(line, (uint64_t)getpid());
    if (login_uid(&uid)) {
        PUT(line, ",\"login_uid\":");
        audit_put_uint(line, uid);
    }
}

static size_t render(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                     const struct kek_audit_act *act)
{
    struct audit_text line = audit_text_begin(out, stamp, act->event);
    put_who(&line);
    if (act->provider != NULL) {
        audit_put_provider(&line, act->provider);
    }
    if (act->token != NULL) {
        PUT(&line, ",\"token\":");
        audit_put_text(&line, act->token, TOKEN_MAX);
    }
    if (act->kek_id != NULL) {
        audit_put_version(&line, act->version);
        audit_put_kek_id(&line, act->kek_id);
        PUT(&line, ",\"state\":");
        audit_put_text(&line, act->state, SIZE_MAX);
    }
    if (act->forgotten != NULL) {
        PUT(&line, ",\"forgotten\":");
        audit_put_uint(&line, *act->forgotten);
    }
    PUT(&line, ",\"outcome\":");
    audit_put_text(&line, act->outcome, SIZE_MAX);
    if (act->why != NULL) {
        audit_put_why(&line, act->why);
    }
    return audit_text_finish(&line, out);
}

enum kek_rc kek_audit_act(int fd, const struct kek_audit_act *act, struct kek_why *why)
{
    char node[HOST_NAME_MAX + 1] = "", line[AUDIT_LINE_MAX];
    (void)gethostname(node, sizeof node - 1);
    struct audit_stamp stamp = {.wall_ms = kek_clock_wall_ms(), .node = node, .second = -1};
    size_t len = render(line, &stamp, act);
    /* In one piece: kekd appends to the file, too. */
    ssize_t written = write(fd, line, len);
    if (written != (ssize_t)len) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO,
                               (unsigned long)(written < 0 ? errno : ENOSPC),
                               "writing the audit file");
    }
    return KEK_OK;
}
