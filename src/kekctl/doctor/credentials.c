#include "credentials.h"

#include <errno.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "secrets.h"

#define SERVICE "Service"

/* systemd.exec(5). A line that names no file has the value itself, or where systemd looks for it. */
static bool gives(const struct unit_entry *entry, const char *name)
{
    static const char *const givers[] = {"LoadCredential", "LoadCredentialEncrypted",
                                         "SetCredential", "SetCredentialEncrypted"};
    size_t len = strlen(name);
    if (strcmp(entry->key, "ImportCredential") == 0) {
        return fnmatch(entry->value, name, 0) == 0;
    }
    for (size_t i = 0; i < sizeof givers / sizeof givers[0]; i++) {
        if (strcmp(entry->key, givers[i]) == 0) {
            return strncmp(entry->value, name, len) == 0 &&
                   (entry->value[len] == ':' || entry->value[len] == '\0');
        }
    }
    return false;
}

void credentials_look(struct outside *outside)
{
    for (size_t i = 0; i < outside->unit.count; i++) {
        const struct unit_entry *entry = &outside->unit.entries[i];
        const char *colon = strchr(entry->value, ':');
        bool loads = strcmp(entry->key, "LoadCredential") == 0 ||
                     strcmp(entry->key, "LoadCredentialEncrypted") == 0;
        if (!loads || colon == NULL || colon[1] != '/' ||
            outside->credential_count == CREDENTIALS_MAX) {
            continue;
        }
        struct credential *credential = &outside->credentials[outside->credential_count++];
        struct stat about;
        snprintf(credential->name, sizeof credential->name, "%.*s", (int)(colon - entry->value),
                 entry->value);
        snprintf(credential->path, sizeof credential->path, "%s", colon + 1);
        credential->error = stat(credential->path, &about) == 0 ? 0 : errno;
        credential->is_empty =
            credential->error == 0 && S_ISREG(about.st_mode) && about.st_size == 0;
        credential->mode = credential->error == 0 ? about.st_mode & 07777 : 0;
    }
}

/* What the unit takes it from, as root saw it; false: a line says what is wrong there. */
static bool judge_source(struct doctor *doctor, const char *subject,
                         const struct credential *credential, const char *variable)
{
    char todo[LINES_TODO], shown[PATH_MAX];
    lines_quote(credential->path, shown, sizeof shown);
    if (credential->error == ENOENT || credential->is_empty) {
        lines_todo(todo, "put it into %s # then systemctl restart kekd.service", shown);
        if (variable != NULL) {
            lines_todo(todo,
                       ": \"${%s:?}\" && printf '%%s\\n' \"$%s\" | install -m 0400 /dev/stdin %s "
                       "# then systemctl restart kekd.service",
                       variable, variable, shown);
        }
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "%s takes %s from %s, which is %s",
                  doctor->outside.unit.path, credential->name, credential->path,
                  credential->is_empty ? "empty" : "not there: systemd does not start kekd so");
        return false;
    }
    if ((credential->mode & 077) != 0) {
        lines_todo(todo, "chmod go-rwx %s", shown);
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                  "%s has mode %04o, so others than root may use it", credential->path,
                  (unsigned)credential->mode);
    }
    return true;
}

/* As systemd has given it to a kekd that runs. */
static bool judge_given(struct doctor *doctor, const char *subject, const char *name,
                        const char *variable)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    char path[PATH_MAX];
    if (folder == NULL || snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path) {
        return true;
    }
    const struct secret_file file = {.what = "credential ",
                                     .path = path,
                                     .forbidden = 037,
                                     .public = DOCTOR_FAIL,
                                     .is_line = variable != NULL};
    return secrets_judge(doctor, subject, &file, NULL);
}

bool credentials_judge(struct doctor *doctor, const char *subject, const char *name,
                       const char *variable)
{
    const struct outside *outside = &doctor->outside;
    char todo[LINES_TODO], place[UNIT_PLACE];
    bool given = false;
    for (size_t i = 0; i < outside->unit.count; i++) {
        given = given || (strcmp(outside->unit.entries[i].section, SERVICE) == 0 &&
                          gives(&outside->unit.entries[i], name));
    }
    if (outside->unit.path[0] != '\0' && !given) {
        unit_place(&outside->unit, SERVICE, "LoadCredential", place);
        lines_todo(todo, "in %s: LoadCredential=%s:/etc/kekd/%s", place, name, name);
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "%s does not give the credential %s",
                  outside->unit.path, name);
        return false;
    }
    for (size_t i = 0; i < outside->credential_count; i++) {
        if (strcmp(outside->credentials[i].name, name) == 0 &&
            !judge_source(doctor, subject, &outside->credentials[i], variable)) {
            return false;
        }
    }
    return judge_given(doctor, subject, name, variable);
}
