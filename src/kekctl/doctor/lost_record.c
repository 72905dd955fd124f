/* doctor: a state_dir that lacks what this node announced, as its audit log has it: another folder, or one that was emptied. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "kek/auto.h"
#include "kek/keyring.h"

#define END_BYTES (1u << 20) /* of the log, that are looked through */

static bool begins(const char *name, const char *with)
{
    return strncmp(name, with, strlen(with)) == 0;
}

/* But for what a login leaves, which a worker's start may just have made. */
static bool is_empty(const char *folder)
{
    DIR *items = opendir(folder);
    bool empty = items != NULL;
    for (const struct dirent *item = items == NULL ? NULL : readdir(items); item != NULL && empty;
         item = readdir(items)) {
        const char *name = item->d_name;
        empty = strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || begins(name, "login-") ||
                begins(name, "pin-");
    }
    if (items != NULL) {
        (void)closedir(items);
    }
    return empty;
}

/* The log's last lines, to be freed; NULL: there are none, or they cannot be read. */
static char *read_end(const char *log)
{
    struct stat about;
    KEK_AUTO_CLOSE int fd =
        log == NULL ? -1 : open(log, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &about) != 0 || !S_ISREG(about.st_mode) || about.st_size == 0) {
        return NULL;
    }
    char *text = malloc(END_BYTES + 1);
    off_t from = about.st_size > (off_t)END_BYTES ? about.st_size - (off_t)END_BYTES : 0;
    ssize_t len = text == NULL ? -1 : pread(fd, text, END_BYTES, from);
    if (len <= 0) {
        free(text);
        return NULL;
    }
    text[len] = '\0';
    return text;
}

/* A line of kekd, and not of kekctl, that announces a key, or used one that was; of that root, where there are several. */
static bool tells_announced(const char *line, const char *root)
{
    char of_root[128];
    snprintf(of_root, sizeof of_root, "\"root\":\"%.100s\"", root);
    bool used = strstr(line, "\"event\":\"call\"") != NULL &&
                strstr(line, "\"status\":\"OK\"") != NULL &&
                strstr(line, "\"method\":\"Encrypt\"") != NULL;
    return strstr(line, "\"seq\":0,") == NULL &&
           (used || strstr(line, "\"event\":\"primary\"") != NULL) &&
           (root[0] == '\0' || strstr(line, of_root) != NULL);
}

static bool was_announced(const char *end, const char *root)
{
    for (const char *at = end; *at != '\0';) {
        size_t len = strcspn(at, "\n");
        KEK_AUTO_FREE char *line = strndup(at, len);
        if (line != NULL && tells_announced(line, root)) {
            return true;
        }
        at += at[len] == '\n' ? len + 1 : len;
    }
    return false;
}

bool doctor_record_is_lost(const struct doctor *doctor, char what[static PATH_MAX])
{
    const struct kek_config *config = doctor->config;
    size_t count = kek_config_root_count(config);
    struct kek_generation last;
    struct kek_why why;
    char other[KEYRING_NAME];
    if (doctor->runner.there || doctor->elsewhere.pid != 0 ||
        doctor_record_is_anothers(config, other)) {
        return false; /* a kekd that runs writes it, or another line says where it is */
    }
    KEK_AUTO_FREE char *end = read_end(config->audit_file);
    if (end == NULL) {
        return false;
    }
    if (is_empty(config->state_dir)) {
        snprintf(what, PATH_MAX, "is empty");
        return true;
    }
    for (size_t i = 0; i < count; i++) {
        const struct kek_config *view = kek_config_view(config, i);
        const char *root = count > 1 ? view->root : "";
        char beside[KEK_KEYRING_NAME_TEXT]; /* whose lines they may be */
        if (!kek_keyring_beside(view, beside) &&
            kek_keyring_recorded(view, &last, &why) == KEK_NOT_FOUND && was_announced(end, root)) {
            snprintf(what, PATH_MAX, "has no record of the key that was announced%s%s",
                     root[0] == '\0' ? "" : " of root of trust ", root);
            return true;
        }
    }
    return false;
}
