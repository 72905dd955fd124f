/* doctor: is kekd's unit there, as it was shipped, and for this configuration? */
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "below.h"
#include "doctor.h"
#include "kek/durable.h"
#include "reach.h"
#include "started.h"

#define SERVICE "Service"

/* What is to be done in the unit, where the key belongs. */
static void say_setting(const struct doctor *doctor, const char *key, char todo[static LINES_TODO],
                        const char *format, ...) KEK_PRINTF(4, 5);
static void say_setting(const struct doctor *doctor, const char *key, char todo[static LINES_TODO],
                        const char *format, ...)
{
    char place[UNIT_PLACE], setting[LINES_TODO];
    va_list args;
    va_start(args, format);
    lines_vtodo(setting, format, args);
    va_end(args);
    bool is_new = unit_place(&doctor->outside.unit, SERVICE, key, place);
    bool is_start =
        strcmp(key, "ExecStart") == 0; /* of which there may be one (systemd.service(5)) */
    lines_todo(todo, "in %s: %s%s", place, is_new && is_start ? "ExecStart= (empty), then " : "",
               setting);
}

static void judge_start(struct doctor *doctor)
{
    const struct unit *unit = &doctor->outside.unit;
    struct started started = {.path = doctor->ctl.config_path, .root = ""};
    char todo[LINES_TODO], path[PATH_MAX];
    unit_each(unit, SERVICE, "ExecStart", started_take, &started);
    if (!started_is_same(&started) && unit_value(unit, SERVICE, "ExecStart") != NULL) {
        say_setting(doctor, "ExecStart", todo, "ExecStart=.../kekd --config %s",
                    realpath(doctor->ctl.config_path, path) == NULL
                        ? "(the whole path of that file)"
                        : path);
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s starts kekd with another configuration than %s, which is judged here",
                  unit_source(unit, SERVICE, "ExecStart"), doctor->ctl.config_path);
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
    if (unit_value(unit, SERVICE, "ExecStart") == NULL) {
        say_setting(doctor, "ExecStart", todo, "ExecStart=(the path of kekd) --config %s",
                    doctor->ctl.config_path);
        lines_add(&doctor->lines, DOCTOR_FAIL, "unit", todo,
                  "%s has no ExecStart=: it starts nothing", unit->path);
    }
    bool elsewhere = unit_value(unit, SERVICE, "RootDirectory") != NULL ||
                     unit_value(unit, SERVICE, "RootImage") != NULL;
    if (!elsewhere) { /* there, the path is another root's */
        unit_each(unit, SERVICE, "ExecStart", is_there, &program);
    }
    if (program.end == REACH_MISSING) {
        say_setting(doctor, "ExecStart", todo, "ExecStart= with the path of kekd");
        lines_add(&doctor->lines, DOCTOR_FAIL, "unit", todo, "%s starts what is not there: %s",
                  unit_source(unit, SERVICE, "ExecStart"), program.at);
    }
    if (type != NULL && strcmp(type, "oneshot") == 0) {
        say_setting(doctor, "Type", todo, "Type=notify");
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s has Type=oneshot: its start ends only when kekd does",
                  unit_source(unit, SERVICE, "Type"));
    }
    if (restart == NULL || strcmp(restart, "no") == 0) {
        say_setting(doctor, "Restart", todo, "Restart=always");
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "%s has Restart=no: a kekd that ends stays away",
                  unit_source(unit, SERVICE, "Restart"));
    }
}

static void judge_hardening(struct doctor *doctor)
{
    const struct unit *unit = &doctor->outside.unit;
    char todo[LINES_TODO];
    size_t count = unit_unhardened(unit, todo, sizeof todo);
    if (count > 0) {
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
                  "put it elsewhere, as in /etc/kekd or /var/lib/kekd, or take out what hides it "
                  "(ProtectHome=, PrivateTmp=, InaccessiblePaths=, TemporaryFileSystem=)",
                  "%s: %s is hidden from kekd by %s", key, path, unit->path);
    } else if (writes && !unit_lets_write(unit, path)) {
        say_setting(doctor, "ReadWritePaths", todo, "ReadWritePaths=%s", path);
        if (strcmp(key, "state_dir") == 0 && kek_durable_forgets(path)) {
            lines_todo(todo, "the line of state_dir first"); /* which has it moved */
        }
        (void)doctor_elsewhere_waits(doctor, todo);
        lines_add(
            &doctor->lines, DOCTOR_FAIL, "unit", todo,
            "%s: kekd cannot write in %s, by ProtectSystem=, ProtectHome= or ReadOnlyPaths= of "
            "%s",
            key, path, unit->path);
    }
}

/* What its worker reads: "/path", "file:/path". */
static void judge_provider_paths(struct doctor *doctor, const struct kek_config_provider *provider)
{
    static const char *const attributes[] = {"module-path", "pin-source"};
    static const char file[] = "file:";
    const char *uri = kek_config_setting(provider, "uri");
    char value[PATH_MAX];
    for (size_t i = 0; uri != NULL && i < sizeof attributes / sizeof attributes[0]; i++) {
        if (kek_config_pkcs11_attribute(uri, attributes[i], value, sizeof value)) {
            const char *path = value + (strncmp(value, file, strlen(file)) == 0 ? strlen(file) : 0);
            judge_path(doctor, attributes[i], path, false);
        }
    }
    for (size_t i = 0; i < provider->setting_count; i++) {
        const struct kek_config_setting *setting = &provider->settings[i];
        bool officers = strncmp(setting->key, "admin_", strlen("admin_")) == 0;
        const char *path = setting->value;
        path += strncmp(path, file, strlen(file)) == 0 ? strlen(file) : 0;
        if (path[0] == '/' && !officers) {
            judge_path(doctor, setting->key, path, false);
        }
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
    if (!doctor_socket_is_systemds(doctor) && below_folder(config->listen, folder, sizeof folder)) {
        judge_path(doctor, "listen", folder, true);
    }
    if (config->status.cert != NULL) {
        judge_path(doctor, "status.cert", config->status.cert, false);
        judge_path(doctor, "status.key", config->status.key, false);
        judge_path(doctor, "status.ca", config->status.ca, false);
    }
    for (size_t i = 0; i < config->provider_count; i++) {
        judge_provider_paths(doctor, &config->providers[i]);
    }
}

/* Does a target, or another unit, that starts want this one? */
static bool is_wanted(const char *unit)
{
    static const char *const folders[] = {"/etc/systemd/system", "/run/systemd/system",
                                          "/usr/lib/systemd/system", "/lib/systemd/system"};
    static const char *const kinds[] = {"wants", "requires"};
    char pattern[128];
    bool found = false;
    for (size_t i = 0; i < 2 * sizeof folders / sizeof folders[0] && !found; i++) {
        glob_t links;
        snprintf(pattern, sizeof pattern, "%s/*.%s/%s", folders[i / 2], kinds[i % 2], unit);
        found = glob(pattern, GLOB_NOSORT, NULL, &links) == 0;
        globfree(&links);
    }
    return found;
}

/* Where it is installed, and not only named: does anybody start it when the machine starts? */
static void judge_enabled(struct doctor *doctor)
{
    bool has_socket = doctor_socket_is_systemds(doctor);
    bool service = is_wanted("kekd.service"), socket = !has_socket || is_wanted("kekd.socket");
    if (doctor->ctl.unit == NULL && (!service || !socket)) {
        char todo[LINES_TODO];
        lines_todo(todo, "systemctl enable --now %skekd.service", has_socket ? "kekd.socket " : "");
        (void)doctor_elsewhere_waits(doctor, todo);
        lines_add(&doctor->lines, DOCTOR_WARN, "unit", todo,
                  "nothing starts %s when the machine starts: no target wants it",
                  service ? "kekd.socket" : "kekd.service");
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
    if (outside->unit_why.rc == KEK_NOT_FOUND && doctor->ctl.unit != NULL) {
        lines_add(lines, DOCTOR_FAIL, "unit", "--unit: the path of kekd's unit", "%s",
                  outside->unit_why.text);
        return;
    }
    if (outside->unit_why.rc == KEK_NOT_FOUND) {
        lines_add(lines, DOCTOR_UNSEEN, "unit",
                  "--unit FILE, or install kekd's unit (make install)",
                  "not looked at: %s; a static pod starts kekd, or nothing does when the machine "
                  "starts",
                  outside->unit_why.text);
        return;
    }
    if (outside->is_masked) {
        lines_add(lines, DOCTOR_FAIL, "unit", "systemctl unmask kekd.service", "%s",
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
