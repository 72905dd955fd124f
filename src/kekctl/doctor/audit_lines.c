/* doctor: the audit log, as kekd's user finds it: its file and disk, and the end of its chain. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "below.h"
#include "doctor.h"
#include "kek/auto.h"
#include "kek/clock.h"
#include "kek/text.h"
#include "kekctl/key/on_record.h"
#include "writers.h"

#define AUDIT_BYTES_MIN \
    (64u << 20) /* free, for a day of a large cluster or a month of a small one */
#define FILE_SUBJECT "audit"
#define CHAIN_SUBJECT "audit chain"

/* ---- the file ---- */

static void judge_audit_space(struct doctor *doctor, const char *folder)
{
    struct statvfs space;
    char todo[LINES_TODO];
    uint64_t room = statvfs(folder, &space) == 0 ? (uint64_t)space.f_bavail * space.f_frsize : 0;
    if (room < AUDIT_BYTES_MIN) {
        lines_todo(todo, "make room on that disk, or in %s: audit.file: a file on another",
                   doctor->config->path);
        lines_add(&doctor->lines, DOCTOR_WARN, FILE_SUBJECT, todo,
                  "%s has %llu MiB free: what does not fit is not on record", folder,
                  (unsigned long long)(room >> 20));
    } else {
        lines_add(&doctor->lines, DOCTOR_OK, FILE_SUBJECT, NULL,
                  "%s can be written, %llu MiB are free", doctor->config->audit_file,
                  (unsigned long long)(room >> 20));
    }
}

/* As kekd opens it, but that it is not made. */
static int open_audit(const char *path)
{
    KEK_AUTO_CLOSE int fd =
        open(path, O_RDWR | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    return fd < 0 ? errno : 0;
}

/* False: it is there, and no file that kekd takes. */
static bool is_audit_file(struct doctor *doctor, const char *path)
{
    struct stat about;
    char target[PATH_MAX], todo[LINES_TODO];
    if (lstat(path, &about) != 0 || S_ISREG(about.st_mode)) {
        return true;
    }
    if (!S_ISLNK(about.st_mode)) {
        lines_todo(todo, "in %s: audit.file: a file", doctor->config->path);
        lines_add(&doctor->lines, DOCTOR_FAIL, FILE_SUBJECT, todo, "%s is no file", path);
        return false;
    }
    lines_todo(todo, "in %s: audit.file: %s", doctor->config->path,
               realpath(path, target) == NULL ? "a file" : target);
    lines_add(&doctor->lines, DOCTOR_FAIL, FILE_SUBJECT, todo,
              "%s is a symbolic link, which kekd does not follow", path);
    return false;
}

static bool opens_audit(struct doctor *doctor, const char *path)
{
    int error = open_audit(path);
    if (error == 0) {
        return true;
    }
    char todo[LINES_TODO];
    lines_todo(todo, "in %s: audit.file: a file on another disk", doctor->config->path);
    lines_add(&doctor->lines, DOCTOR_FAIL, FILE_SUBJECT, todo,
              "user %s cannot open %s to write: %s", doctor->who.name, path, strerror(error));
    return false;
}

/* Of the file, if it is there, and of its folder. */
static void judge_writers(struct doctor *doctor, const char *path, const char *folder)
{
    struct written written = {
        .what = "", .path = path, .at = path, .is_needed = true, .so = "change it"};
    (void)writers_judge(doctor, FILE_SUBJECT, &written);
    written.what = "the folder of ";
    written.at = folder;
    written.so = "put another one in its place";
    (void)writers_judge(doctor, FILE_SUBJECT, &written);
}

/* kekctl writes nothing there, and kekd goes on there once it has started so. */
static void judge_place(struct doctor *doctor)
{
    char log[PATH_MAX], todo[LINES_TODO];
    if (!ctl_audit_elsewhere(doctor->config, log)) {
        return;
    }
    lines_todo(todo,
               "in %s: audit.file: %s # or, where it is to go on in %s, start kekd with this "
               "configuration (kekd-audit(5))",
               doctor->config->path, log, kek_config_audit_log(doctor->config));
    lines_add(&doctor->lines, DOCTOR_FAIL, FILE_SUBJECT, todo,
              "the chain is in %s, by kekd's record: kekctl writes nothing in %s, and changes no "
              "key",
              log, kek_config_audit_log(doctor->config));
}

void doctor_audit_file(struct doctor *doctor)
{
    const char *path = doctor->config->audit_file;
    char folder[PATH_MAX];
    struct stat about;
    judge_place(doctor);
    if (kek_config_audit_log(doctor->config) == NULL) {
        char todo[LINES_TODO];
        lines_todo(todo, "in %s: audit.file: /var/log/kekd/audit.jsonl", doctor->config->path);
        lines_add(&doctor->lines, DOCTOR_WARN, FILE_SUBJECT, todo,
                  "no audit log: nothing is put on record of who used a key and who changed one, "
                  "which cannot be made up for later");
    }
    if (path == NULL || !below_folder(path, folder, sizeof folder)) {
        return;
    }
    if (stat(folder, &about) != 0 && errno == ENOENT) {
        doctor_say_missing(doctor, DOCTOR_FAIL, FILE_SUBJECT, folder, "0750");
        return;
    }
    bool made = lstat(path, &about) == 0;
    if (is_audit_file(doctor, path) &&
        doctor_reaches(doctor, FILE_SUBJECT, made ? path : folder, made ? R_OK | W_OK : W_OK | X_OK,
                       false) &&
        (!made || opens_audit(doctor, path))) {
        judge_writers(doctor, path, folder);
        judge_audit_space(doctor, folder);
    }
}

/* ---- the chain ---- */

/* The command that reads all of it. */
static void verify_command(const struct doctor *doctor, char todo[static LINES_TODO])
{
    char config[PATH_MAX], file[PATH_MAX];
    lines_quote(doctor->config->path, config, sizeof config);
    lines_quote(doctor->config->audit_file, file, sizeof file);
    lines_todo(todo, "kekctl --config %s audit verify %s # the whole chain, and its MACs", config,
               file);
}

/* By doctor itself: there was no record when it came. */
static bool is_begun(const struct doctor *doctor, const struct chain_end *end)
{
    char path[PATH_MAX];
    struct kek_why why;
    return !end->has_record &&
           kek_config_state_file(doctor->config, "audit", path, &why) == KEK_OK &&
           access(path, F_OK) == 0;
}

static void say_problem(struct doctor *doctor, const struct chain_end *end)
{
    const struct check_problem *problem = &end->check.problems[0];
    size_t more = end->check.problem_count - 1 + end->check.more;
    char todo[LINES_TODO], place[96] = "", shown[PATH_MAX];
    lines_quote(doctor->config->audit_file, shown, sizeof shown);
    if (end->has_record) {
        doctor_user_command(
            doctor, todo,
            "audit verify %s # the whole chain, and its MACs; this line ends once the file is kept "
            "elsewhere (mv) and kekd had SIGHUP",
            shown);
    } else {
        lines_todo(todo,
                   "in %s: state_dir: where the record is; or restore it (docs/operations.md, "
                   "Backup); on a node that is new kekd begins another chain",
                   doctor->config->path);
    }
    if (problem->at.file != NULL && problem->at.line > 0 && problem->at.line < end->lines) {
        snprintf(place, sizeof place, "%s before the last, ",
                 kek_counted(end->lines - problem->at.line, "line").text);
    }
    lines_add(&doctor->lines, DOCTOR_WARN, CHAIN_SUBJECT, todo, "%s%s%s%s%s", place, problem->text,
              more > 0 ? "; and more: " : "", more > 0 ? kek_counted(more, "problem").text : "",
              is_begun(doctor, end) ? "; doctor's own logins have begun a new chain there" : "");
}

/* False: a line says that they do not come. */
static bool judge_macs(struct doctor *doctor, const struct chain_macs *macs)
{
    const struct kek_config *config = doctor->config;
    bool keyed = doctor->mac_provider[0] != '\0';
    char when[KEK_CLOCK_TEXT], todo[LINES_TODO];
    doctor_user_command(doctor, todo, "audit verify %s # kekd's log says why none is made",
                        config->audit_file);
    if (macs->failed_ms > 0) {
        lines_add(&doctor->lines, DOCTOR_WARN, CHAIN_SUBJECT, todo,
                  "no token makes its MAC since %s: lines after that are chained and nothing more",
                  kek_clock_text_seconds(macs->failed_ms, when));
        return false;
    }
    bool late = doctor->runner.there &&
                pace_is_late(macs->waits_ms, config->audit_mac_interval_ms, kek_clock_wall_ms());
    if (late && (macs->last_ms > 0 || keyed)) {
        lines_add(&doctor->lines, DOCTOR_WARN, CHAIN_SUBJECT, todo,
                  "kekd's lines since %s have no MAC%s%s, and audit.mac_interval is %" PRIu64 " s",
                  kek_clock_text_seconds(macs->waits_ms, when),
                  keyed ? ", though there is a key for it with " : "", doctor->mac_provider,
                  config->audit_mac_interval_ms / 1000);
        return false;
    }
    return true;
}

static void say_good(struct doctor *doctor, const struct chain_end *end)
{
    char when[KEK_CLOCK_TEXT], maced[256];
    const char *todo = NULL;
    if (end->macs.last_ms > 0) {
        snprintf(maced, sizeof maced, "MACed at %s",
                 kek_clock_text_seconds(end->macs.last_ms, when));
    } else if (doctor->mac_provider[0] != '\0') {
        snprintf(maced, sizeof maced, "without a MAC yet (%s has a key for it)",
                 doctor->mac_provider);
    } else {
        snprintf(maced, sizeof maced,
                 "without MACs: no token that answers has a key for them, so who can write the "
                 "file and state_dir can make another chain");
        todo = doctor->mac_todo;
    }
    lines_add(&doctor->lines, DOCTOR_OK, CHAIN_SUBJECT, todo,
              "its end is whole, and at line %" PRIu64 " of chain %s, as on record or further; %s",
              end->record.n, end->record.chain, maced);
}

/* kekd writes on to a file that was taken away, until it is told to open its path anew. */
static void say_missing_file(struct doctor *doctor, const struct chain_end *end,
                             char todo[static LINES_TODO])
{
    if (doctor->runner.pid > 0) {
        lines_todo(todo, "kill -HUP %d # kekd opens it anew", (int)doctor->runner.pid);
    } else if (doctor->runner.there) {
        lines_todo(todo, "a SIGHUP to the kekd that runs here: it opens it anew");
    }
    lines_add(&doctor->lines, DOCTOR_WARN, CHAIN_SUBJECT, todo,
              "%s is not there, and chain %s is on record with %s: they are in files that were "
              "renamed, or gone",
              doctor->config->audit_file, end->record.chain,
              kek_counted(end->record.n, "line").text);
}

static void judge_end(struct doctor *doctor, const struct chain_end *end)
{
    char todo[LINES_TODO];
    verify_command(doctor, todo);
    if (!end->has_file && end->has_record) {
        say_missing_file(doctor, end, todo);
    } else if (end->check.problem_count > 0) {
        say_problem(doctor, end);
    } else if (!end->has_record) {
        lines_add(&doctor->lines, DOCTOR_OK, CHAIN_SUBJECT, NULL, "it %s",
                  is_begun(doctor, end) ? "was not begun: doctor's own logins have begun it"
                                        : "is not begun: kekd's or kekctl's first line begins it");
    } else if (judge_macs(doctor, &end->macs)) {
        say_good(doctor, end);
    }
}

void doctor_audit_look(struct doctor *doctor)
{
    struct doctor_chain *chain = &doctor->chain;
    doctor_audit_lost_look(doctor);
    if (doctor->config->audit_file != NULL) {
        chain->rc = chain_end_read(&chain->end, doctor->config, &chain->why);
    }
}

void doctor_audit_chain(struct doctor *doctor)
{
    struct doctor_chain *chain = &doctor->chain;
    char todo[LINES_TODO];
    if (doctor->config->audit_file == NULL) {
        return; /* the line about the file says it */
    }
    if (doctor_record_waits(doctor, todo)) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, CHAIN_SUBJECT, todo,
                  "not looked at: the record that it is held against may be the wrong one");
    } else if (chain->rc == KEK_OK) {
        judge_end(doctor, &chain->end);
    } else {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, CHAIN_SUBJECT,
                  "the lines of audit and state_dir first", "not looked at: %s", chain->why.text);
    }
    chain_end_close(&chain->end);
}
