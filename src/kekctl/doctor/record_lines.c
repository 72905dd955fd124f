/* doctor: a state_dir with another keyring's record alone: the name is mistyped, or a keyring begins.  Nobody is asked then whose
 * answer would begin a record of that name. */
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"

#define SUBJECT "keyring"

/* "KEYRING" of "KEYRING.json", "KEYRING@ROOT.audit"; false: the file is no record of a keyring. */
static bool keyring_of(const struct dirent *item, char keyring[static KEYRING_NAME])
{
    const char *dot = strrchr(item->d_name, '.');
    bool is = dot != NULL && dot != item->d_name &&
              (strcmp(dot, ".json") == 0 || strcmp(dot, ".audit") == 0);
    snprintf(keyring, KEYRING_NAME, "%.*s", is ? (int)strcspn(item->d_name, "@.") : 0,
             item->d_name);
    if (is && strchr(item->d_name, '@') == NULL) {
        snprintf(keyring, KEYRING_NAME, "%.*s", (int)(dot - item->d_name), item->d_name);
    }
    return is;
}

/* Beside one that a kekd or kekctl keeps of a keyring stands its lock, or it is the audit log's. */
static bool is_kept(const char *state_dir, const struct dirent *item, const char *keyring)
{
    char lock[PATH_MAX + 300];
    snprintf(lock, sizeof lock, "%s/%s.lock", state_dir, keyring);
    return strcmp(strrchr(item->d_name, '.'), ".audit") == 0 || access(lock, F_OK) == 0;
}

bool doctor_record_is_anothers(const struct kek_config *config, char other[static KEYRING_NAME])
{
    DIR *folder = opendir(config->state_dir);
    bool own = false;
    other[0] = '\0';
    for (const struct dirent *item = folder == NULL ? NULL : readdir(folder); item != NULL && !own;
         item = readdir(folder)) {
        char keyring[KEYRING_NAME];
        if (!keyring_of(item, keyring)) {
            continue;
        }
        own = elsewhere_is_keyring(config, keyring);
        if (!own && is_kept(config->state_dir, item, keyring)) {
            snprintf(other, KEYRING_NAME, "%s", keyring);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return !own && other[0] != '\0';
}

bool doctor_record_waits(const struct doctor *doctor, char todo[static LINES_TODO])
{
    bool waits = doctor_elsewhere_waits(doctor, todo);
    if (!waits && doctor->begins_record) {
        lines_todo(todo, "the line of " SUBJECT " first");
    }
    return waits || doctor->begins_record;
}

/* What makes the first key of the keyring's first root, and puts it on record. */
static void say_begin(const struct doctor *doctor, char todo[static LINES_TODO])
{
    const struct kek_config *config = doctor->config;
    bool roots = config->root_count > 1;
    size_t first = roots ? config->roots[0].first_provider : 0;
    size_t count = roots ? config->roots[0].provider_count : config->provider_count;
    doctor_user_command(doctor, todo, "%s%s%skey generate --new-keyring%s%s",
                        roots ? "--root " : "", roots ? config->roots[0].name : "",
                        roots ? " " : "", count > 1 ? " --provider " : "",
                        count > 1 ? config->providers[first].name : "");
}

void doctor_record(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    char other[KEYRING_NAME], todo[LINES_TODO], begin[LINES_TODO];
    if (kek_config_audit_log(config) == NULL || doctor->elsewhere.pid != 0 ||
        !doctor_record_is_anothers(config, other)) {
        return; /* without a log a login leaves nothing, and what the tokens show is said */
    }
    doctor->begins_record = true;
    say_begin(doctor, begin);
    lines_todo(todo,
               "in %s: keyring: %s # or, where %s is to begin here: start kekd if its token has a "
               "key of it; if none has: %s",
               config->path, other, config->keyring, begin);
    lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo,
              "%s has a record of keyring %s, and none of %s: is the configuration's keyring "
              "misspelt?",
              config->state_dir, other, config->keyring);
}
