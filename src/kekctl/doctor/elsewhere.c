#include "elsewhere.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/auto.h"
#include "kek/text.h"
#include "listening.h"
#include "started.h"

#define PROGRAM "kekd"
#define COMMAND_BYTES_MAX 8192
#define DELETED " (deleted)"
#define LOCK ".lock"
#define LOGIN "login-" /* of a PIN's lock, which stands beside those of keyrings */

/* What is asked of every process. */
struct asked {
    const struct kek_config *config;
    const char *path;
    struct listening listening; /* the sockets that the configuration names */
    struct stat state;
    bool has_state; /* `state` is set */
};

static ssize_t read_all(const char *path, char *text, size_t size)
{
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);
    text[len < 0 ? 0 : len] = '\0';
    return len;
}

static bool is_kekd(const char *pid)
{
    char path[64], name[32];
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    return read_all(path, name, sizeof name) > 0 && strcmp(name, PROGRAM "\n") == 0;
}

/* Was it started with the configuration? */
static bool is_started_so(const struct asked *asked, const char *pid)
{
    char path[64], root[64], text[COMMAND_BYTES_MAX];
    snprintf(path, sizeof path, "/proc/%.20s/cmdline", pid);
    snprintf(root, sizeof root, "/proc/%.20s/root", pid);
    ssize_t len = read_all(path, text, sizeof text);
    struct started started = {.path = asked->path, .root = access(root, X_OK) == 0 ? root : ""};
    for (ssize_t at = 0; at < len; at += (ssize_t)strlen(text + at) + 1) {
        (void)started_take(&started, text + at);
    }
    return len > 0 && started_is_same(&started);
}

static bool cut_end(char *text, const char *end)
{
    size_t len = strlen(text), end_len = strlen(end);
    bool has = len > end_len && strcmp(text + len - end_len, end) == 0;
    text[has ? len - end_len : len] = '\0';
    return has;
}

/* What one process has open. */
struct holds {
    bool listens;  /* at a socket of the configuration */
    bool is_here;  /* the configuration's state_dir */
    bool has_lock; /* of a keyring, and `lock` is its path without the end */
    bool is_gone;  /* nor is there a name of the folder any more */
    char lock[PATH_MAX];
};

/* Is it the lock of that name in the configuration's state_dir?  Where the kekd is in a container, its path is another. */
static bool is_lock_here(const struct asked *asked, const char *name, const struct stat *about)
{
    char path[2 * PATH_MAX];
    struct stat here;
    snprintf(path, sizeof path, "%s/%s", asked->config->state_dir, name);
    return stat(path, &here) == 0 && here.st_dev == about->st_dev && here.st_ino == about->st_ino;
}

static void take_link(struct holds *holds, const struct asked *asked, const char *path)
{
    char link[PATH_MAX];
    struct stat about;
    uint64_t inode;
    ssize_t len = readlink(path, link, sizeof link - 1);
    link[len < 0 ? 0 : len] = '\0';
    if (len <= 0 || stat(path, &about) != 0) {
        return;
    }
    const char *digits = link + strlen("socket:[");
    if (strncmp(link, "socket:[", strlen("socket:[")) == 0) {
        holds->listens = holds->listens || (kek_text_digits(&digits, UINT64_MAX, &inode) &&
                                            listening_has(&asked->listening, inode));
    } else if (S_ISDIR(about.st_mode)) {
        holds->is_here =
            holds->is_here || (asked->has_state && about.st_dev == asked->state.st_dev &&
                               about.st_ino == asked->state.st_ino);
    } else if (S_ISREG(about.st_mode)) {
        bool gone = cut_end(link, DELETED);
        const char *name = strrchr(link, '/');
        bool is_here = name != NULL && is_lock_here(asked, name + 1, &about);
        if (name != NULL && cut_end(link, LOCK) && strncmp(name + 1, LOGIN, strlen(LOGIN)) != 0) {
            holds->has_lock = true;
            holds->is_here = holds->is_here || is_here;
            holds->is_gone = gone;
            snprintf(holds->lock, sizeof holds->lock, "%s", link);
        }
    }
}

static void look_at(struct holds *holds, const struct asked *asked, const char *pid)
{
    char path[64];
    *holds = (struct holds){.listens = false};
    snprintf(path, sizeof path, "/proc/%.20s/fd", pid);
    DIR *folder = opendir(path);
    for (const struct dirent *item = folder == NULL ? NULL : readdir(folder); item != NULL;
         item = readdir(folder)) {
        char file[96];
        snprintf(file, sizeof file, "/proc/%.20s/fd/%.20s", pid, item->d_name);
        take_link(holds, asked, file);
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
}

bool elsewhere_is_keyring(const struct kek_config *config, const char *keyring)
{
    bool is = strcmp(config->keyring, keyring) == 0;
    for (size_t i = 0; i < config->root_count; i++) {
        is = is || strcmp(config->roots[i].keyring, keyring) == 0;
    }
    return is;
}

/* False: it is no such kekd. */
static bool judge(struct elsewhere *found, const struct asked *asked, const char *pid)
{
    struct holds holds;
    uint64_t number;
    if (!is_kekd(pid) || !kek_text_decimal(pid, INT32_MAX, &number)) {
        return false;
    }
    *found = (struct elsewhere){.is_started_so = is_started_so(asked, pid)};
    look_at(&holds, asked, pid);
    if (!holds.has_lock || (!found->is_started_so && !holds.listens)) {
        return false;
    }
    char *name = strrchr(holds.lock, '/');
    snprintf(found->keyring, sizeof found->keyring, "%.*s", (int)strcspn(name + 1, "@"), name + 1);
    *name = '\0';
    snprintf(found->state_dir, sizeof found->state_dir, "%s", holds.lock);
    found->is_here = holds.is_here;
    found->is_gone = holds.is_gone && !found->is_here;
    found->pid = (pid_t)number;
    return !found->is_here || !elsewhere_is_keyring(asked->config, found->keyring);
}

void elsewhere_find(struct elsewhere *found, const struct kek_config *config, const char *path)
{
    struct asked asked = {.config = config, .path = path};
    asked.has_state = stat(config->state_dir, &asked.state) == 0;
    listening_look(&asked.listening, config);
    *found = (struct elsewhere){.pid = 0};
    DIR *folder = opendir("/proc");
    for (const struct dirent *item = folder == NULL ? NULL : readdir(folder); item != NULL;
         item = readdir(folder)) {
        struct elsewhere one;
        if (item->d_name[0] >= '1' && item->d_name[0] <= '9' && judge(&one, &asked, item->d_name) &&
            (found->pid == 0 || one.is_started_so)) {
            *found = one;
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
}
