/* doctor: what each provider's worker reads beside its library, certificates and files with a secret in them; and kekctl's
 * for each etcd. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "as_worker.h"
#include "credentials.h"
#include "doctor.h"
#include "pins.h"
#include "reach.h"
#include "secret_settings.h"

static void judge_setting(struct doctor *doctor, const struct kek_config_provider *provider,
                          const struct kek_config_setting *setting, const char *subject)
{
    const struct secret_setting *kind = secret_setting_of(provider, setting->key);
    const char *path = secret_setting_path(setting);
    char what[80];
    if (kind != NULL && !kind->officers &&
        strncmp(setting->value, CREDENTIAL, strlen(CREDENTIAL)) == 0) {
        (void)credentials_judge(doctor, subject, setting->value + strlen(CREDENTIAL), NULL);
    }
    if (path == NULL) {
        return;
    }
    if (kind == NULL) {
        (void)doctor_reaches(doctor, subject, path, R_OK, false);
        return;
    }
    snprintf(what, sizeof what, "%s: ", setting->key);
    struct secret_file file = kind->file;
    file.what = what;
    file.path = path;
    file.public = file.public == DOCTOR_OK ? DOCTOR_FAIL : file.public;
    (void)!(kind->officers ? secrets_judge_mode(doctor, subject, &file)
                           : secrets_judge(doctor, subject, &file, NULL));
}

/* ---- whom its workers run as ---- */

/* What the unit must let kekd do then (capabilities(7)). */
static bool may_change_user(const struct doctor *doctor)
{
    const struct unit *unit = &doctor->outside.unit;
    static const char *const needed[] = {"CAP_SETUID", "CAP_SETGID", "CAP_KILL"};
    bool may = true;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        may = may && unit_lists(unit, "Service", "AmbientCapabilities", needed[i]);
    }
    return may || unit->path[0] == '\0' || doctor->who.uid == 0;
}

static void judge_account(struct doctor *doctor, const struct kek_config_provider *provider)
{
    char subject[64], todo[LINES_TODO], place[UNIT_PLACE];
    snprintf(subject, sizeof subject, "worker of %s", provider->name);
    if (provider->user != NULL && getpwnam(provider->user) == NULL) {
        lines_todo(
            todo,
            "useradd --system --shell /usr/sbin/nologin %s # or user: of one that is there, in %s",
            provider->user, doctor->config->path);
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "there is no user %s",
                  provider->user);
    }
    for (size_t i = 0; provider->groups != NULL && provider->groups[i] != NULL; i++) {
        if (getgrnam(provider->groups[i]) == NULL) {
            lines_todo(todo, "groupadd --system %s # or groups: of those that are there, in %s",
                       provider->groups[i], doctor->config->path);
            lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "there is no group %s",
                      provider->groups[i]);
        }
    }
    if ((provider->user != NULL || provider->groups != NULL) && !may_change_user(doctor)) {
        unit_place(&doctor->outside.unit, "Service", "AmbientCapabilities", place);
        lines_todo(todo,
                   "in %s: CapabilityBoundingSet=CAP_SETUID CAP_SETGID CAP_KILL, "
                   "AmbientCapabilities=CAP_SETUID CAP_SETGID CAP_KILL",
                   place);
        lines_add(
            &doctor->lines, DOCTOR_FAIL, subject, todo,
            "it is to run as another user (user, groups), and the unit lets kekd become none");
    }
}

/* ---- its files ---- */

/* That it is missing is its worker's to say. */
static void judge_module(struct doctor *doctor, const struct kek_config_provider *provider,
                         const char *subject)
{
    const char *uri = kek_config_setting(provider, "uri");
    char path[PATH_MAX];
    struct reach found;
    if (uri == NULL || !kek_config_pkcs11_attribute(uri, "module-path", path, sizeof path) ||
        path[0] != '/') {
        return;
    }
    reach(path, R_OK, &found);
    if (found.end == REACH_SHUT || found.end == REACH_DENIED) {
        (void)doctor_reaches(doctor, subject, path, R_OK, false);
    }
}

static void judge_files(struct doctor *doctor, const struct kek_config_provider *provider)
{
    char subject[64];
    snprintf(subject, sizeof subject, "files of %s", provider->name);
    for (size_t i = 0; i < provider->setting_count; i++) {
        judge_setting(doctor, provider, &provider->settings[i], subject);
    }
    judge_module(doctor, provider, subject);
}

static void judge_provider(struct doctor *doctor, const struct kek_config_provider *provider)
{
    char subject[64], todo[LINES_TODO];
    const struct lines *lines = &doctor->lines;
    size_t before = lines->counts[DOCTOR_FAIL] + lines->counts[DOCTOR_WARN];
    snprintf(subject, sizeof subject, "files of %s", provider->name);
    judge_account(doctor, provider);
    if (provider->user == NULL) {
        judge_files(doctor, provider);
    } else if (!as_worker(doctor, provider, judge_files)) {
        doctor_command(doctor, todo, "key list # as root: its workers say what they cannot read");
        lines_add(&doctor->lines, DOCTOR_UNSEEN, subject, todo,
                  "not looked at: its workers run as user %s, who reads them", provider->user);
        return;
    }
    if (kek_config_setting(provider, "uri") != NULL) {
        pins_judge(doctor, provider);
    } else if (lines->counts[DOCTOR_FAIL] + lines->counts[DOCTOR_WARN] == before) {
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL, "all that it names can be read");
    }
}

/* kekctl's alone, whoever runs it: kekd asks no etcd. */
static void judge_etcd(struct doctor *doctor, const struct kek_config_etcd *etcd)
{
    const struct secret_file files[] = {
        {.what = "key: ", .path = etcd->key, .forbidden = S_IRWXO | S_IWGRP},
        {.what = "password_file: ", .path = etcd->password_file, .forbidden = S_IRWXO | S_IWGRP}};
    char subject[64];
    snprintf(subject, sizeof subject, "etcd %s", etcd->name);
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        if (files[i].path != NULL) {
            (void)!secrets_judge_mode(doctor, subject, &files[i]);
        }
    }
}

void doctor_provider_files(struct doctor *doctor)
{
    for (size_t i = 0; i < doctor->config->etcd_count; i++) {
        judge_etcd(doctor, &doctor->config->etcd[i]);
    }

    for (size_t i = 0; i < doctor->config->provider_count; i++) {
        doctor_about(doctor, &doctor->config->providers[i]);
        judge_provider(doctor, &doctor->config->providers[i]);
    }
    doctor_about(doctor, NULL);
}
