/* kekctl doctor: what would keep a cluster from starting. */
#include "doctor.h"

#include <errno.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "become.h"
#include "below.h"
#include "kek/keyring.h"
#include "kek/text.h"
#include "kekctl/options.h"

/* ---- who it is that looks ---- */

static void say_user(struct doctor *doctor)
{
    const struct who *who = &doctor->who;
    struct lines *lines = &doctor->lines;
    char todo[LINES_TODO];
    if (!who->known && doctor->runner.hidden && geteuid() != 0) {
        doctor_command(doctor, todo, "doctor # as root");
        lines_add(lines, DOCTOR_WARN, "user", todo,
                  "uid %u, who asks, may not see which user kekd runs as: as root, doctor judges "
                  "as that one",
                  (unsigned)geteuid());
    } else if (who->missing[0] != '\0') {
        lines_add(lines, DOCTOR_FAIL, "user", who->todo,
                  "there is no user or group %s, which %s names", who->missing, who->source);
    } else if (!who->known) {
        lines_add(lines, DOCTOR_UNSEEN, "user",
                  getpwnam("kekd") == NULL
                      ? "systemd-sysusers kekd.conf # makes the user kekd, for User= of its unit"
                      : "--unit FILE, whose User= says it",
                  "which user kekd runs as nobody says (no unit, no kekd that runs, no state_dir "
                  "or socket): judged as "
                  "uid %u, as which kekd would run if it were started from here%s",
                  (unsigned)geteuid(), geteuid() == 0 ? ": as root" : "");
    } else if (who->uid != geteuid()) {
        doctor_command(doctor, todo, "doctor");
        lines_add(
            lines, DOCTOR_WARN, "user", todo,
            "kekd runs as %s (%s), and this is judged as uid %u: as root, doctor judges as %s",
            who->name, who->source, (unsigned)geteuid(), who->name);
    } else if (who->against[0] == '\0') {
        lines_add(lines, DOCTOR_OK, "user", NULL, "judged as %s (%s)", who->name, who->source);
    }
    if (who->against[0] != '\0') {
        lines_add(lines, DOCTOR_WARN, "user", who->todo, "judged as %s (%s), but %s", who->name,
                  who->source, who->against);
    }
}

/* Who cannot be told is taken for the one who asks. */
static void be_user(struct doctor *doctor)
{
    struct who *who = &doctor->who;
    bool change = who->known && who->missing[0] == '\0' && geteuid() == 0 && who->uid != 0;
    doctor->became = change && become(who);
    if (change && !doctor->became) {
        lines_add(&doctor->lines, DOCTOR_WARN, "user", NULL, "cannot become %s: %s", who->name,
                  strerror(errno));
    }
    say_user(doctor);
    if (!who->known) {
        snprintf(who->name, sizeof who->name, "%u", (unsigned)geteuid());
        snprintf(who->group, sizeof who->group, "%u", (unsigned)getegid());
    }
}

/* ---- the configuration ---- */

/* "install -d ... && ", where the folder of the file is missing; else nothing. */
static void make_folder(const char *path, char out[static PATH_MAX + 32])
{
    char folder[PATH_MAX], quoted[PATH_MAX];
    out[0] = '\0';
    if (below_folder(path, folder, sizeof folder) && access(folder, F_OK) != 0 && errno == ENOENT) {
        lines_quote(folder, quoted, sizeof quoted);
        snprintf(out, PATH_MAX + 32, "install -d -m 0755 %s && ", quoted);
    }
}

/* What mends what the configuration's reader refuses: it takes root's file or kekd's own, which nobody else may write. */
static void say_what_to_do(const struct doctor *doctor, const char *path,
                           char todo[static LINES_TODO])
{
    char quoted[PATH_MAX], make[PATH_MAX + 32];
    struct stat about;
    lines_quote(path, quoted, sizeof quoted);
    if (stat(path, &about) != 0) {
        make_folder(path, make);
        lines_todo(todo, "%skekctl config example >%s # and set its token and module", make,
                   quoted);
    } else if (about.st_uid != 0 && about.st_uid != geteuid()) {
        lines_todo(todo, "chown root %s", quoted);
    } else if ((about.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        lines_todo(todo, "chmod go-w %s", quoted);
    } else {
        doctor_command(doctor, todo, "config check # after correcting what it names");
    }
}

static void load(struct doctor *doctor)
{
    struct lines *lines = &doctor->lines;
    char todo[LINES_TODO], path[PATH_MAX];
    if (realpath(doctor->ctl.config_path, path) == NULL) {
        snprintf(path, sizeof path, "%s", doctor->ctl.config_path);
    }
    bool missing = access(path, F_OK) != 0 && errno == ENOENT;
    if (geteuid() != 0 && !doctor->became && !missing && access(path, R_OK) != 0 &&
        errno == EACCES) {
        doctor_command(doctor, todo, "doctor # as root");
        lines_add(lines, DOCTOR_FAIL, "configuration", todo, "uid %u, who asks, may not read %s",
                  (unsigned)geteuid(), path);
        return;
    }
    if (path[0] == '/' && !missing && !doctor_reaches(doctor, "configuration", path, R_OK, false)) {
        return;
    }
    say_what_to_do(doctor, path, todo);
    lines_hear(lines, DOCTOR_FAIL, "configuration", todo);
    doctor->config = ctl_config(&doctor->ctl);
    if (doctor->config != NULL) {
        lines_add(lines, DOCTOR_OK, "configuration", NULL, "%s is good, sha256 %.16s...",
                  doctor->config->path, doctor->config->digest);
        lines_todo(todo, "in %s: destroy_after: 24h and quarantine: 24h, or more",
                   doctor->config->path);
        lines_hear(lines, DOCTOR_WARN, "configuration", todo);
        ctl_warn_of_short(&doctor->ctl, doctor->config);
        lines_todo(todo,
                   "in %s: once everything is rewritten, take needed: false out (docs/roots.md)",
                   doctor->config->path);
        lines_hear(lines, DOCTOR_WARN, "configuration", todo);
        ctl_warn_of_change(&doctor->ctl, doctor->config);
    }
}

static void count_nodes(struct doctor *doctor)
{
    size_t count = 0;
    while (doctor->config->status.nodes != NULL && doctor->config->status.nodes[count] != NULL) {
        count++;
    }
    count = doctor->ctl.nodes.count > count ? doctor->ctl.nodes.count : count;
    doctor->nodes = count == 0 ? 1 : count;
}

/* Once more as kekd's user, where that is another one now. */
static void look_for_runner(struct doctor *doctor)
{
    doctor->runner = kek_keyring_runner(kek_config_view(doctor->config, 0));
}

static void look(struct doctor *doctor)
{
    doctor_elsewhere(doctor);
    doctor_unit(doctor);
    if (doctor->config == NULL) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, "all else", "the configuration first, by its line",
                  "not looked at: the configuration says where everything is");
        return;
    }
    count_nodes(doctor);
    look_for_runner(doctor);
    doctor_files(doctor);
    doctor_socket(doctor);
    doctor_listeners(doctor);
    doctor_system(doctor);
    doctor_tokens(doctor);
    doctor_sessions(doctor);
    doctor_roots(doctor);
    doctor_audit_lost(doctor);
    doctor_audit_chain(doctor);
    doctor_nodes(doctor);
    doctor_kube(doctor);
    doctor_backup(doctor);
}

/* Each root has tokens of its own, so a backup is of one. */
static bool is_of_one_root(struct ctl *ctl)
{
    struct kek_why why;
    KEK_AUTO(kek_config) config = kek_config_load(ctl->config_path, &why);
    return config == NULL || config->root_count <= 1 || ctl->root != NULL;
}

enum ctl_exit ctl_doctor(struct ctl *ctl)
{
    if (ctl->has_backup && !is_of_one_root(ctl)) {
        return ctl_usage(ctl, "--i-have-a-backup is the word about one root of trust: say which "
                              "one, by --root NAME");
    }
    struct doctor *doctor = calloc(1, sizeof *doctor);
    if (doctor == NULL) {
        ctl_say(ctl, "no memory");
        return CTL_FAILED;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    lines_open(&doctor->lines);
    doctor->ctl = *ctl;
    doctor->ctl.hear = lines_heard;
    doctor->ctl.hear_arg = &doctor->lines;
    outside_look(doctor);
    be_user(doctor);
    load(doctor);
    look(doctor);
    enum ctl_exit code = lines_print(&doctor->lines, ctl, doctor->who.name);
    lines_close(&doctor->lines);
    kek_config_free(doctor->config);
    outside_done(&doctor->outside);
    free(doctor);
    return code;
}
