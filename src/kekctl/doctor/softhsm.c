#include "softhsm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "below.h"
#include "environment.h"
#include "kek/text.h"
#include "variables.h"

#define KEY "directories.tokendir"
#define DEFAULT_CONF "/etc/softhsm/softhsm2.conf" /* as its package has it, and the folder: */
#define DEFAULT_FOLDER "/var/lib/softhsm/tokens"

/* ---- its configuration ---- */

struct conf {
    const char *path;
    bool is_read;
    char folder[PATH_MAX]; /* of its tokens; empty: it names none */
    unsigned line;         /* that names it, or is meant to; 0: none is */
    char text[PATH_MAX];   /* what stands there */
};

/* Cuts blanks off both ends. */
static char *trim(char *text)
{
    text += strspn(text, " \t");
    size_t len = strlen(text);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) != NULL) {
        len--;
    }
    text[len] = '\0';
    return text;
}

/* Is it written for KEY, and mistyped? */
static bool is_meant(const char *text)
{
    char name[64];
    snprintf(name, sizeof name, "%.*s", (int)strcspn(text, "= \t"), text);
    return name[0] != '\0' && kek_text_slip(name, KEY) != SIZE_MAX;
}

static void take_line(struct conf *conf, unsigned number, char *line)
{
    line[strcspn(line, "#")] = '\0'; /* as SoftHSM takes it */
    char *text = trim(line), *equals = strchr(text, '=');
    bool meant = is_meant(text);
    if (!meant) {
        return;
    }
    bool names = equals != NULL && conf->folder[0] == '\0';
    if (conf->line == 0 || names) {
        conf->line = number;
        snprintf(conf->text, sizeof conf->text, "%s", text);
    }
    if (equals != NULL) {
        *equals = '\0';
        char *folder = trim(equals + 1);
        for (size_t len = strlen(folder); len > 1 && folder[len - 1] == '/'; len--) {
            folder[len - 1] = '\0';
        }
        if (strcmp(trim(text), KEY) == 0) {
            snprintf(conf->folder, sizeof conf->folder, "%s", folder);
        }
    }
}

static void read_conf(const struct kek_config_provider *provider, struct conf *conf)
{
    const char *named = variables_get(provider, "SOFTHSM2_CONF");
    char line[PATH_MAX + sizeof KEY];
    *conf = (struct conf){.path = named == NULL ? DEFAULT_CONF : named};
    FILE *file = fopen(conf->path, "re");
    conf->is_read = file != NULL;
    for (unsigned number = 1; file != NULL && fgets(line, sizeof line, file) != NULL; number++) {
        take_line(conf, number, line);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

bool softhsm_folder(const struct kek_config_provider *provider, char folder[static PATH_MAX])
{
    struct conf conf;
    read_conf(provider, &conf);
    memcpy(folder, conf.folder, PATH_MAX);
    return folder[0] == '/';
}

/* ---- where tokens are ---- */

/* A folder with tokens in it, each a folder with a file of this name. */
static bool has_tokens(const char *folder)
{
    DIR *items = opendir(folder);
    bool has = false;
    for (const struct dirent *item = items == NULL ? NULL : readdir(items); item != NULL && !has;
         item = readdir(items)) {
        char file[2 * PATH_MAX];
        snprintf(file, sizeof file, "%s/%s/token.object", folder, item->d_name);
        has = item->d_name[0] != '.' && access(file, F_OK) == 0;
    }
    if (items != NULL) {
        (void)closedir(items);
    }
    return has;
}

struct places {
    size_t count;
    char first[PATH_MAX], second[PATH_MAX];
};

static void add(struct places *places, const char *folder)
{
    if (!has_tokens(folder) || strcmp(folder, places->first) == 0 ||
        strcmp(folder, places->second) == 0) {
        return;
    }
    char *place = places->count == 0 ? places->first : places->second;
    if (places->count < 2) {
        snprintf(place, PATH_MAX, "%s", folder);
    }
    places->count++;
}

/* Folders in this one, and what is in them by that name. rest: "/tokens", or empty. */
static void add_in(struct places *places, const char *folder, const char *rest)
{
    DIR *items = opendir(folder);
    for (const struct dirent *item = items == NULL ? NULL : readdir(items); item != NULL;
         item = readdir(items)) {
        char path[PATH_MAX], deeper[PATH_MAX];
        if (item->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", strcmp(folder, "/") == 0 ? "" : folder,
                     item->d_name) >= PATH_MAX) {
            continue;
        }
        add(places, path);
        if (rest[0] != '\0' && snprintf(deeper, sizeof deeper, "%s%s", path, rest) < PATH_MAX) {
            add(places, deeper);
        }
    }
    if (items != NULL) {
        (void)closedir(items);
    }
}

/* Beside what the configuration names, by a slip in one name of the path; else beside the configuration; else where its
 * package has them. */
static void find_places(const struct conf *conf, struct places *places)
{
    char folder[PATH_MAX], above[PATH_MAX];
    *places = (struct places){.count = 0};
    snprintf(folder, sizeof folder, "%s", conf->folder);
    while (conf->folder[0] == '/' && below_folder(folder, above, sizeof above)) {
        const char *rest = conf->folder + strlen(folder);
        memcpy(folder, above, sizeof folder);
        if (access(folder, F_OK) == 0) {
            add(places, folder);
            add_in(places, folder, rest);
            break;
        }
    }
    if (places->count == 0 && below_folder(conf->path, folder, sizeof folder)) {
        add_in(places, folder, "");
    }
    if (places->count == 0) {
        add(places, DEFAULT_FOLDER);
    }
}

bool softhsm_say_configuration(const struct doctor *doctor,
                               const struct kek_config_provider *provider, bool failed,
                               bool was_there, char todo[static LINES_TODO])
{
    struct conf conf;
    struct stat about;
    struct places places;
    char where[PATH_MAX + 64], has[PATH_MAX + 64], folder[PATH_MAX];
    read_conf(provider, &conf);
    bool is_folder = conf.folder[0] == '/' &&
                     (stat(conf.folder, &about) == 0 ? S_ISDIR(about.st_mode) : errno == EACCES);
    if (!conf.is_read || is_folder) {
        return false;
    }
    find_places(&conf, &places);
    if (conf.line == 0 && (places.count == 1 ? strcmp(places.first, DEFAULT_FOLDER) == 0
                                             : !failed && places.count == 0)) {
        return false; /* a line that says what holds without it mends nothing */
    }
    if (conf.line > 0) {
        snprintf(where, sizeof where, "in %s, line %u: ", conf.path, conf.line);
        snprintf(has, sizeof has, "it has: %s", conf.text);
    } else {
        snprintf(where, sizeof where, "in %s, a line more: ", conf.path);
        snprintf(has, sizeof has, "it has no such line");
    }
    if (places.count > 1) {
        lines_todo(todo, "%s" KEY " = the folder of the provider's token, as %s or %s # %s", where,
                   places.first, places.second, has);
    } else if (places.count == 1) {
        lines_todo(todo, "%s" KEY " = %s # %s", where, places.first, has);
    } else if (was_there) {
        lines_todo(todo,
                   "%s" KEY " = the folder with a folder for each token # %s; where it is lost: "
                   "docs/operations.md, Backup",
                   where, has);
    } else if (conf.folder[0] == '/') {
        lines_quote(conf.folder, folder, sizeof folder);
        doctor_give(doctor, todo,
                    "install -d -m 0700 -o %s -g %s %s # or, where that path is mistyped, correct "
                    "%s, line %u",
                    doctor->who.name, doctor->who.group, folder, conf.path, conf.line);
    } else {
        lines_todo(todo, "%s" KEY " = a folder of user %s # %s", where, doctor->who.name, has);
    }
    return true;
}

/* ---- tokens that are there, and whose files kekd's user may not use, so that SoftHSM passes over them without a word ---- */

struct shut {
    size_t count;
    char first[PATH_MAX];
};

static bool is_shut(const char *folder)
{
    char file[PATH_MAX + 16];
    snprintf(file, sizeof file, "%s/token.object", folder);
    if (faccessat(AT_FDCWD, folder, R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
        return errno == EACCES;
    }
    return faccessat(AT_FDCWD, file, R_OK | W_OK, AT_EACCESS) != 0 && errno == EACCES;
}

/* any: whoever's they are; else root's alone, as who makes a token as root leaves them. */
static void find_shut(const char *folder, bool any, struct shut *found)
{
    DIR *items = opendir(folder);
    *found = (struct shut){.count = 0};
    for (const struct dirent *item = items == NULL ? NULL : readdir(items); item != NULL;
         item = readdir(items)) {
        char path[PATH_MAX];
        struct stat about;
        if (item->d_name[0] == '.' ||
            snprintf(path, sizeof path, "%s/%s", folder, item->d_name) >= (int)sizeof path ||
            lstat(path, &about) != 0 || !S_ISDIR(about.st_mode) || (!any && about.st_uid != 0) ||
            !is_shut(path)) {
            continue;
        }
        found->count++;
        snprintf(found->first, sizeof found->first, "%s", path);
    }
    if (items != NULL) {
        (void)closedir(items);
    }
}

bool softhsm_say_shut(const struct doctor *doctor, const struct kek_config_provider *provider,
                      bool was_there, char todo[static LINES_TODO])
{
    char folder[PATH_MAX], shown[PATH_MAX], env[LINES_TODO];
    struct shut found;
    if (doctor_is_stranger(doctor) || !softhsm_folder(provider, folder)) {
        return false;
    }
    find_shut(folder, was_there, &found);
    lines_quote(found.count == 1 ? found.first : folder, shown, sizeof shown);
    environment_put(provider, env);
    if (found.count == 1) {
        doctor_give(
            doctor, todo,
            "chown -R %s %s && chmod -R u+rwX %s # if it is the token of uri:, whose files user "
            "%s may not use",
            doctor->who.name, shown, shown, doctor->who.name);
    } else if (found.count > 1) {
        doctor_give(
            doctor, todo,
            "chown -R %s FOLDER # the one below %s that is the token of uri:, whose files "
            "user %s may not use (as root, %ssofthsm2-util --show-slots says its serial, which "
            "ends the folder's name)",
            doctor->who.name, shown, doctor->who.name, env);
    }
    return found.count > 0;
}
