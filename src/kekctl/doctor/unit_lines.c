/* doctor: is kekd's unit there, as it was shipped, and for this configuration? */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "below.h"
#include "doctor.h"
#include "reach.h"

#define SERVICE "Service"

/* Is the configuration that is judged the one that the unit starts kekd with? */
struct started {
    const char *path;
    bool next, named, same;
};

/* However it is named. */
static bool is_one_file(const char *one, const char *other)
{
    struct stat about, other_about;
    return strcmp(one, other) == 0 ||
           (stat(one, &about) == 0 && stat(other, &other_about) == 0 &&
            about.st_dev == other_about.st_dev && about.st_ino == other_about.st_ino);
}

static bool take_word(void *arg, const char *word)
{
    static const char option[] = "--config=";
    struct started *started = arg;
    bool joined = strncmp(word, option, strlen(option)) == 0;
    if (started->next || joined) {
        started->named = true;
        started->same = is_one_file(joined ? word + strlen(option) : word, started->path);
    }
    started->next = strcmp(word, "--config") == 0 || strcmp(word, "-c") == 0;
    return true;
}

static void judge_start(struct doctor *doctor)
{
    const struct unit *unit = &doctor->outside.unit;
    struct started started = {.path = doctor->ctl.config_path};
    char todo[LINES_TODO], path[PATH_MAX];
    unit_each(unit, SERVICE, "ExecStart", take_word, &started);
    started.same =
        started.named ? started.same : is_one_file(doctor->ctl.config_path, CTL_DEFAULT_CONFIG);
    if (!started.same) {
        lines_todo(todo, "in %s: ExecStart=.../kekd --config %s", unit->path,
                   realpath(doctor->ctl.config_path, path) == NULL ? "(the whole path of that file)"
                                                                   : path);
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s starts kekd with another configuration than %s, which is judged here",
                  unit->path, doctor->ctl.config_path);
    }
}

static bool is_there(void *arg, const char *word)
{
    struct reach *program = arg;
    word += strspn(word, "@-:+!|"); /* systemd.service(5), before the program's path */
    if (word[0] == '/') {
        reach(word, X_OK, program);
    }
    return false;
}

/* What the unit is to start, and what becomes of it when it ends. */
static void judge_service(struct doctor *doctor)
{
    const struct unit *unit = &doctor->outside.unit;
    struct reach program = {.end = REACH_GOOD};
    const char *type = unit_value(unit, SERVICE, "Type");
    const char *restart = unit_value(unit, SERVICE, "Restart");
    char todo[LINES_TODO];
    bool elsewhere = unit_value(unit, SERVICE, "RootDirectory") != NULL ||
                     unit_value(unit, SERVICE, "RootImage") != NULL;
    if (!elsewhere) { /* there, the path is another root's */
        unit_each(unit, SERVICE, "ExecStart", is_there, &program);
    }
    if (program.end == REACH_MISSING) {
        lines_todo(todo, "in [Service] of %s: ExecStart= with the path of kekd", unit->path);
        lines_add(&doctor->lines, DOCTOR_FAIL, "unit", todo, "%s starts what is not there: %s",
                  unit->path, program.at);
    }
    if (type != NULL && strcmp(type, "oneshot") == 0) {
        lines_todo(todo, "in [Service] of %s: Type=notify", unit->path);
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s has Type=oneshot: its start ends only when kekd does", unit->path);
    }
    if (restart == NULL || strcmp(restart, "no") == 0) {
        lines_todo(todo, "in [Service] of %s: Restart=always", unit->path);
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s has Restart=no: a kekd that ends stays away", unit->path);
    }
}

static void judge_hardening(struct doctor *doctor)
{
    const struct unit *unit = &doctor->outside.unit;
    char lacking[600], todo[LINES_TODO];
    size_t count = unit_unhardened(unit, lacking, sizeof lacking);
    if (count > 0) {
        lines_todo(todo, "in [Service] of %s: %s", unit->path, lacking);
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s gives kekd %zu more rights than the unit that comes with it", unit->path,
                  count);
    }
}

/* What the sandbox hides, however its modes are. */
static void judge_path(struct doctor *doctor, const char *key, const char *path, bool writes)
{
    const struct unit *unit = &doctor->outside.unit;
    char todo[LINES_TODO];
    if (!unit_lets_see(unit, path)) {
        lines_add(&doctor->lines, DOCTOR_FAIL, "unit",
                  "put it elsewhere, as in /etc/kekd or "
                  "/var/lib/kekd",
                  "%s: %s is hidden from kekd by ProtectHome= of %s", key, path, unit->path);
    } else if (writes && !unit_lets_write(unit, path)) {
        lines_todo(todo, "in [Service] of %s: ReadWritePaths=%s", unit->path, path);
        lines_add(&doctor->lines, DOCTOR_FAIL, "unit", todo,
                  "%s: kekd cannot write in %s, by ProtectSystem= or ProtectHome= of %s", key, path,
                  unit->path);
    }
}

static void judge_paths(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    char folder[PATH_MAX];
    judge_path(doctor, "state_dir", config->state_dir, true);
    if (config->audit_file != NULL && below_folder(config->audit_file, folder, sizeof folder)) {
        judge_path(doctor, "audit.file", folder, true);
    }
    for (size_t i = 0; i < config->provider_count; i++) {
        char path[PATH_MAX];
        const char *uri = kek_config_setting(&config->providers[i], "uri");
        if (uri != NULL && kek_config_pkcs11_attribute(uri, "module-path", path, sizeof path)) {
            judge_path(doctor, "module-path", path, false);
        }
    }
}

/* Where it is installed, and not only named: does anybody start it when the machine starts? */
static void judge_enabled(struct doctor *doctor)
{
    static const char *const links[] = {"/etc/systemd/system/multi-user.target.wants/kekd.service",
                                        "/etc/systemd/system/sockets.target.wants/kekd.socket"};
    for (size_t i = 0; i < sizeof links / sizeof links[0]; i++) {
        struct stat about;
        if (doctor->ctl.unit == NULL && lstat(links[i], &about) != 0) {
            lines_add(&doctor->lines, DOCTOR_WARN, "unit",
                      "systemctl enable --now kekd.socket kekd.service",
                      "nothing starts kekd when the machine starts: there is no %s", links[i]);
            return;
        }
    }
}

/* kekd's own environment is the unit's; what it says counts for a library as much as `env`. */
static bool take_variable(void *arg, const char *word)
{
    char name[128];
    size_t len = strcspn(word, "=");
    (void)arg;
    if (word[len] == '=' && len < sizeof name) {
        snprintf(name, sizeof name, "%.*s", (int)len, word);
        (void)setenv(name, word + len + 1, 1);
    }
    return true;
}

/* Of a kekd that runs: its credentials, which its user may read. */
static void find_credentials(const struct unit *unit)
{
    char folder[PATH_MAX + 32];
    const char *slash = strrchr(unit->path, '/');
    snprintf(folder, sizeof folder, "/run/credentials/%s", slash == NULL ? unit->path : slash + 1);
    if (getenv("CREDENTIALS_DIRECTORY") == NULL && access(folder, R_OK | X_OK) == 0) {
        (void)setenv("CREDENTIALS_DIRECTORY", folder, 1);
    }
}

void doctor_unit(struct doctor *doctor)
{
    const struct outside *outside = &doctor->outside;
    const struct unit *unit = &outside->unit;
    struct lines *lines = &doctor->lines;
    size_t before = lines->counts[DOCTOR_WARN] + lines->counts[DOCTOR_FAIL];
    if (outside->unit_why.rc == KEK_NOT_FOUND) {
        lines_add(lines, DOCTOR_UNSEEN, "unit",
                  "--unit FILE, or install kekd's unit (make install)",
                  "not looked at: %s; a static pod starts kekd, or nothing does when the machine "
                  "starts",
                  outside->unit_why.text);
        return;
    }
    if (outside->unit_why.rc != KEK_OK) {
        lines_add(lines, DOCTOR_FAIL, "unit", "correct that file, then systemctl daemon-reload",
                  "%s", outside->unit_why.text);
        return;
    }
    unit_each(unit, SERVICE, "Environment", take_variable, NULL);
    find_credentials(unit);
    judge_enabled(doctor);
    judge_start(doctor);
    judge_service(doctor);
    judge_hardening(doctor);
    if (doctor->config != NULL) {
        judge_paths(doctor);
    }
    if (lines->counts[DOCTOR_WARN] + lines->counts[DOCTOR_FAIL] == before) {
        lines_add(lines, DOCTOR_OK, "unit", NULL, "%s, as it comes with kekd", unit->path);
    }
}
