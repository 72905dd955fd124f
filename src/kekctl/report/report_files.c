#include "report_files.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/descriptors.h"
#include "kek/durable.h"

#define FOLDER_MODE 0750
#define FILE_MODE 0640

static const char *const names[REPORT_FILES] = {REPORT_JSON, REPORT_SIGNATURE, REPORT_HTML};

/* One that gets its name later. */
struct fresh {
    char beside[PATH_MAX], path[PATH_MAX]; /* empty: it is not there */
};

static enum kek_rc fail(struct kek_why *why, const char *what, const char *path)
{
    return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno, "%s %s",
                           what, path);
}

static enum kek_rc path_in(const char *folder, const char *name, char path[static PATH_MAX],
                           struct kek_why *why)
{
    int len = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return len > 0 && len < PATH_MAX ? KEK_OK
                                     : kek_fail(why, KEK_INVALID, "the path of --out is too long");
}

static enum kek_rc refuse(struct kek_why *why, const char *path)
{
    return kek_fail(why, KEK_PRECONDITION,
                    "%s is there already, and a report is never written over: name another folder",
                    path);
}

enum kek_rc report_files_prepare(const char *folder, struct kek_why *why)
{
    char path[PATH_MAX];
    struct stat st;
    if (mkdir(folder, FOLDER_MODE) != 0 && errno != EEXIST) {
        return fail(why, "making the folder", folder);
    }
    if (stat(folder, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return kek_fail(why, KEK_INVALID, "%s is no folder", folder);
    }
    if (access(folder, W_OK | X_OK) != 0) {
        return fail(why, "writing in the folder", folder);
    }
    for (size_t i = 0; i < REPORT_FILES; i++) {
        enum kek_rc rc = path_in(folder, names[i], path, why);
        if (rc != KEK_OK) {
            return rc;
        }
        if (lstat(path, &st) == 0) {
            return refuse(why, path);
        }
    }
    return KEK_OK;
}

static enum kek_rc write_beside(const char *folder, const char *name, struct kek_bytes content,
                                struct fresh *fresh, struct kek_why *why)
{
    char beside[PATH_MAX];
    enum kek_rc rc = path_in(folder, name, fresh->path, why);
    if (rc == KEK_OK) {
        rc = path_in(folder, ".report-XXXXXX", beside, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO_CLOSE int fd = mkostemp(beside, O_CLOEXEC);
    if (fd < 0) {
        return fail(why, "making a file in", folder);
    }
    memcpy(fresh->beside, beside, sizeof beside);
    if (!kek_descriptor_write(fd, content.data, content.len) || fchmod(fd, FILE_MODE) != 0 ||
        fsync(fd) != 0) {
        return fail(why, "writing", fresh->path);
    }
    return KEK_OK;
}

/* link(2) takes no name that is there. Sets how many have theirs. */
static enum kek_rc name_all(const struct fresh *fresh, size_t count, size_t *named,
                            struct kek_why *why)
{
    for (*named = 0; *named < count; (*named)++) {
        if (link(fresh[*named].beside, fresh[*named].path) != 0) {
            return errno == EEXIST ? refuse(why, fresh[*named].path)
                                   : fail(why, "making", fresh[*named].path);
        }
    }
    return KEK_OK;
}

enum kek_rc report_files_write(const char *folder, struct kek_bytes json,
                               struct kek_bytes signature, struct kek_bytes html,
                               struct kek_why *why)
{
    const struct kek_bytes contents[REPORT_FILES] = {json, signature, html};
    KEK_AUTO_FREE struct fresh *fresh = calloc(REPORT_FILES, sizeof *fresh);
    size_t count = 0, named = 0;
    enum kek_rc rc =
        fresh == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory to write the report") : KEK_OK;
    for (size_t i = 0; rc == KEK_OK && i < REPORT_FILES; i++) {
        if (contents[i].len > 0) {
            rc = write_beside(folder, names[i], contents[i], &fresh[count++], why);
        }
    }
    if (rc == KEK_OK) {
        rc = name_all(fresh, count, &named, why);
    }
    if (rc == KEK_OK) {
        rc = kek_durable_sync_folder(fresh[0].path, why);
    }
    for (size_t i = 0; fresh != NULL && i < count; i++) {
        if (fresh[i].beside[0] != '\0') {
            (void)unlink(fresh[i].beside);
        }
        if (rc != KEK_OK && i < named) {
            (void)unlink(fresh[i].path);
        }
    }
    return rc;
}
