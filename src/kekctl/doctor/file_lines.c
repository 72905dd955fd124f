/* doctor: the files and folders that kekd needs, as kekd's user finds them. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "below.h"
#include "doctor.h"
#include "kek/descriptors.h"
#include "kek/durable.h"
#include "writers.h"

#define STATE_BYTES_MIN (1u << 20) /* free, for a handful of small files */

/* ---- state_dir ---- */

/* A file without a name; on a file system that has none (NFS, some overlays), one whose name is gone at once. */
static int open_nameless(const char *folder)
{
    char path[PATH_MAX + 32];
    int fd = open(folder, O_TMPFILE | O_WRONLY | O_CLOEXEC, S_IRUSR | S_IWUSR);
    if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) {
        return fd;
    }
    snprintf(path, sizeof path, "%s/.doctor-XXXXXX", folder);
    fd = mkostemp(path, O_CLOEXEC);
    if (fd >= 0) {
        (void)unlink(path);
    }
    return fd;
}

static bool is_synced(const char *folder)
{
    static const char text[] = "doctor";
    KEK_AUTO_CLOSE int fd = open_nameless(folder);
    return fd >= 0 && kek_descriptor_write(fd, text, sizeof text) && fsync(fd) == 0;
}

static bool ends_with(const char *name, const char *end)
{
    size_t len = strlen(name), end_len = strlen(end);
    return len >= end_len && strcmp(name + len - end_len, end) == 0;
}

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* Is it one that kekd itself writes? kekctl's, and what somebody left there, it does not need. */
static bool is_kekds(const struct kek_config *config, const char *name)
{
    static const char login[] = "login-";
    bool keyring = begins(name, config->keyring);
    for (size_t i = 0; i < config->root_count; i++) {
        keyring = keyring || begins(name, config->roots[i].keyring);
    }
    return begins(name, login) ||
           (keyring &&
            (ends_with(name, ".json") || ends_with(name, ".lock") || ends_with(name, ".audit") ||
             ends_with(name, ".audit-log") || ends_with(name, ".audit-next")));
}

struct foreign {
    char name[256]; /* empty: there is none */
    bool is_kekds;
};

/* A file in it that kekd's user could not write: root ran something there, once. One of kekd's own before others. */
static void find_foreign(const struct kek_config *config, struct foreign *found)
{
    DIR *items = opendir(config->state_dir);
    *found = (struct foreign){.is_kekds = false};
    for (const struct dirent *item = items == NULL ? NULL : readdir(items);
         item != NULL && !found->is_kekds; item = readdir(items)) {
        char path[PATH_MAX + 256];
        struct stat about;
        snprintf(path, sizeof path, "%s/%s", config->state_dir, item->d_name);
        if (lstat(path, &about) == 0 && S_ISREG(about.st_mode) &&
            faccessat(AT_FDCWD, path, R_OK | W_OK, AT_EACCESS) != 0) {
            snprintf(found->name, sizeof found->name, "%s", item->d_name);
            found->is_kekds = is_kekds(config, item->d_name);
        }
    }
    if (items != NULL) {
        (void)closedir(items);
    }
}

static void say_forgets(struct doctor *doctor, enum doctor_verdict verdict, const char *path)
{
    char todo[LINES_TODO];
    lines_todo(todo, "in %s: state_dir: a folder on a disk", doctor->config->path);
    lines_add(&doctor->lines, verdict, "state_dir", todo,
              "%s is %sin memory (a tmpfs): after the machine's next start nobody knows which "
              "key is the right one",
              path, verdict == DOCTOR_FAIL ? "not there, and would be " : "");
}

/* What starts there would be a new node. */
static void say_lost(struct doctor *doctor, const char *path, const char *what)
{
    char todo[LINES_TODO];
    lines_todo(todo,
               "in %s: state_dir: the one that has it; or restore it (docs/operations.md, Backup), "
               "or copy another node's record in; only where this node is new: start kekd",
               doctor->config->path);
    lines_add(&doctor->lines, DOCTOR_FAIL, "state_dir", todo,
              "%s %s, and the audit log %s has lines of one that was", path, what,
              doctor->config->audit_file);
}

static void judge_state_content(struct doctor *doctor, const char *path, const char *shown)
{
    const struct written written = {.what = "",
                                    .path = path,
                                    .at = path,
                                    .is_alone = true,
                                    .is_needed = true,
                                    .so = "put other files in it"};
    struct lines *lines = &doctor->lines;
    char todo[LINES_TODO];
    char lost[PATH_MAX];
    struct foreign foreign;
    struct statvfs space;
    find_foreign(doctor->config, &foreign);
    if (foreign.name[0] != '\0') {
        doctor_give(doctor, todo, "chown -R %s:%s %s", doctor->who.name, doctor->who.group, shown);
        lines_add(lines, foreign.is_kekds ? DOCTOR_FAIL : DOCTOR_WARN, "state_dir", todo,
                  "%s in %s is not user %s's to write", foreign.name, path, doctor->who.name);
    }
    if (foreign.is_kekds) {
        return;
    }
    if (doctor_record_is_lost(doctor, lost)) {
        say_lost(doctor, path, lost);
        return;
    }
    if (statvfs(path, &space) == 0 && (uint64_t)space.f_bavail * space.f_frsize < STATE_BYTES_MIN) {
        lines_add(lines, DOCTOR_FAIL, "state_dir", "make room on that disk",
                  "the disk of %s is full", path);
    } else if (!is_synced(path)) {
        lines_todo(todo, "in %s: state_dir: a folder on another disk", doctor->config->path);
        lines_add(lines, DOCTOR_FAIL, "state_dir", todo,
                  "what is written in %s cannot be synced to disk: %s", path, strerror(errno));
    } else if (kek_durable_forgets(path)) {
        say_forgets(doctor, DOCTOR_WARN, path);
    } else if (!writers_judge(doctor, "state_dir", &written) &&
               !writers_judge_files(doctor, "state_dir", path) && foreign.name[0] == '\0') {
        lines_add(lines, DOCTOR_OK, "state_dir", NULL, "%s is user %s's, on a disk, and syncs",
                  path, doctor->who.name);
    }
}

/* The audit log has lines: some state_dir had their record. */
static bool was_here(const struct doctor *doctor)
{
    const char *log = doctor->config->audit_file;
    struct stat about;
    return log != NULL && stat(log, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0;
}

/* Made anew where it was mistyped, it would be that of another node. */
static void say_gone(struct doctor *doctor, const char *path)
{
    char todo[LINES_TODO];
    lines_todo(todo,
               "in %s: state_dir: the one that is there; or restore it (docs/operations.md, "
               "Backup); only where this node is new: mkdir, for user %s",
               doctor->config->path, doctor->who.name);
    (void)doctor_elsewhere_waits(doctor, todo);
    lines_add(&doctor->lines, DOCTOR_FAIL, "state_dir", todo,
              "%s is not there, and the audit log %s has lines of one that was", path,
              doctor->config->audit_file);
}

static void judge_state(struct doctor *doctor)
{
    const char *path = doctor->config->state_dir;
    char shown[PATH_MAX], todo[LINES_TODO], folder[PATH_MAX];
    struct stat about;
    lines_quote(path, shown, sizeof shown);
    if (doctor_is_stranger(doctor) && (stat(path, &about) == 0 || errno == EACCES)) {
        doctor_say_unseen(doctor, "state_dir", "%s is for kekd's user, and uid %u asks", path,
                          (unsigned)geteuid());
        return;
    }
    if (below_folder(path, folder, sizeof folder) && access(folder, F_OK) == 0 &&
        !doctor_reaches(doctor, "state_dir", folder, X_OK, false)) {
        return;
    }
    if (stat(path, &about) != 0 && kek_durable_forgets(path)) {
        say_forgets(doctor, DOCTOR_FAIL, path);
    } else if (stat(path, &about) != 0) {
        bool made = below_folder(path, folder, sizeof folder) &&
                    faccessat(AT_FDCWD, folder, W_OK | X_OK, AT_EACCESS) == 0;
        if (was_here(doctor)) {
            say_gone(doctor, path);
        } else {
            doctor_say_missing(doctor, made ? DOCTOR_WARN : DOCTOR_FAIL, "state_dir", path, "0700");
        }
    } else if (!S_ISDIR(about.st_mode)) {
        lines_todo(todo, "in %s: state_dir: a folder", doctor->config->path);
        lines_add(&doctor->lines, DOCTOR_FAIL, "state_dir", todo, "%s is not a folder", path);
    } else if (doctor_is_everybodys(path)) {
        lines_todo(todo, "in %s: state_dir: %s/kekd", doctor->config->path, path);
        lines_add(&doctor->lines, DOCTOR_FAIL, "state_dir", todo,
                  "%s is everybody's, and state_dir is to be kekd's alone", path);
    } else if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
        /* Not what is in it, which may be anybody's where the path is mistyped: kekd's own files there are told of next. */
        doctor_give(doctor, todo, "chown %s:%s %s && chmod 0700 %s", doctor->who.name,
                    doctor->who.group, shown, shown);
        lines_add(&doctor->lines, DOCTOR_FAIL, "state_dir", todo,
                  "user %s cannot use %s (uid %u, mode %04o)", doctor->who.name, path,
                  (unsigned)about.st_uid, (unsigned)about.st_mode & 07777);
    } else {
        judge_state_content(doctor, path, shown);
    }
}

void doctor_files(struct doctor *doctor)
{
    size_t before = doctor->lines.counts[DOCTOR_FAIL];
    judge_state(doctor);
    /* Where it is missing, a worker's start would make it. */
    doctor->state_good = doctor->lines.counts[DOCTOR_FAIL] == before &&
                         doctor->elsewhere.pid == 0 &&
                         access(doctor->config->state_dir, R_OK | W_OK | X_OK) == 0;
    doctor_record(doctor);
    doctor_audit_file(doctor);
    doctor_audit_sockets(doctor);
    doctor_audit_look(doctor);
    doctor_status(doctor);
    doctor_provider_files(doctor);
}
