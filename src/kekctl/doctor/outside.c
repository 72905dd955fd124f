/* What only root may read, read before root is given up: the API server's side, and the units. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "credentials.h"
#include "doctor.h"
#include "kek/doc.h"
#include "kek/durable.h"
#include "kek/keyring.h"
#include "kek/text.h"

#define MANIFEST "/etc/kubernetes/manifests/kube-apiserver.yaml"
#define PROGRAM "kube-apiserver"
#define SERVER_BYTES_MAX (256u * 1024)

/* In systemd's own order. */
static const char *const unit_folders[] = {"/etc/systemd/system", "/run/systemd/system",
                                           "/usr/local/lib/systemd/system",
                                           "/usr/lib/systemd/system", "/lib/systemd/system"};

/* ---- the units ---- */

#define UNIT_FOLDERS (sizeof unit_folders / sizeof unit_folders[0])

/* Where it is installed; false: nowhere. */
static bool find_unit(char path[static PATH_MAX])
{
    for (size_t i = 0; i < UNIT_FOLDERS; i++) {
        snprintf(path, PATH_MAX, "%s/kekd.service", unit_folders[i]);
        if (access(path, F_OK) == 0) {
            return true;
        }
    }
    return false;
}

static enum kek_rc read_installed(struct unit *unit, const char *path, struct kek_why *why)
{
    return unit_read_installed(unit, path, unit_folders, UNIT_FOLDERS, why);
}

static void read_units(struct doctor *doctor)
{
    struct outside *outside = &doctor->outside;
    const char *given = doctor->ctl.unit;
    struct kek_why why;
    char path[PATH_MAX];
    if (given == NULL && !find_unit(path)) {
        kek_fail(&outside->unit_why, KEK_NOT_FOUND, "no kekd.service is installed");
        return;
    }
    if (given != NULL) {
        snprintf(path, sizeof path, "%s", given);
    }
    char target[PATH_MAX];
    outside->is_masked = realpath(path, target) != NULL && strcmp(target, "/dev/null") == 0;
    if (outside->is_masked) {
        kek_fail(&outside->unit_why, KEK_DENIED,
                 "%s is masked (a link to /dev/null): systemd does not start it", path);
        return;
    }
    outside->unit_why.rc = KEK_OK;
    enum kek_rc rc = given != NULL ? unit_read(&outside->unit, path, &outside->unit_why)
                                   : read_installed(&outside->unit, path, &outside->unit_why);
    char *dot = strrchr(path, '.');
    if (rc != KEK_OK || dot == NULL) {
        return;
    }
    snprintf(dot, sizeof path - (size_t)(dot - path), ".socket");
    (void)!(given != NULL ? unit_read(&outside->socket, path, &why)
                          : read_installed(&outside->socket, path, &why));
}

/* ---- the API server ---- */

enum kek_rc api_server_read(const char *path, const char *listen, struct api_server *server,
                            struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf text;
    kek_buf_init(&text, SERVER_BYTES_MAX);
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    uint8_t *room = kek_buf_reserve(&text, SERVER_BYTES_MAX, why);
    ssize_t len = fd < 0 || room == NULL ? -1 : read(fd, room, SERVER_BYTES_MAX);
    if (len < 0) {
        return kek_fail_native(why, errno == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                               (unsigned long)errno, "reading %s", path);
    }
    enum kek_rc rc = api_server_parse(kek_bytes(room, (size_t)len), path, listen, server, why);
    snprintf(server->from, sizeof server->from, "%s", path);
    return rc;
}

static bool is_server(const char *pid)
{
    char path[64], name[32] = "";
    snprintf(path, sizeof path, "/proc/%.20s/comm", pid);
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, name, sizeof name - 1);
    return len == (ssize_t)strlen(PROGRAM) + 1 && strncmp(name, PROGRAM "\n", (size_t)len) == 0;
}

/* One that runs here, where /proc shows other users' processes. */
static bool find_process(struct outside *outside, const char *listen)
{
    DIR *folder = opendir("/proc");
    bool found = false;
    for (const struct dirent *item = folder == NULL ? NULL : readdir(folder);
         item != NULL && !found; item = readdir(folder)) {
        char path[64];
        struct stat about;
        snprintf(path, sizeof path, "/proc/%.20s/cmdline", item->d_name);
        found = item->d_name[0] >= '1' && item->d_name[0] <= '9' && is_server(item->d_name) &&
                api_server_read(path, listen, &outside->server, &outside->server_why) == KEK_OK;
        if (found && stat(path, &about) == 0) {
            outside->server.has_uid = true;
            outside->server.uid = about.st_uid;
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return found;
}

static void find_server(struct doctor *doctor, const char *listen)
{
    struct outside *outside = &doctor->outside;
    const char *path = doctor->ctl.api_server;
    outside->server_why.rc = KEK_OK;
    if (path == NULL && access(MANIFEST, F_OK) == 0) {
        path = MANIFEST;
    }
    if (path != NULL) {
        (void)!api_server_read(path, listen, &outside->server, &outside->server_why);
    } else if (!find_process(outside, listen)) {
        kek_fail(&outside->server_why, KEK_NOT_FOUND,
                 "no API server runs here, and there is no " MANIFEST);
    }
}

static void read_encryption(struct doctor *doctor)
{
    struct outside *outside = &doctor->outside;
    const char *path = doctor->ctl.encryption_config;
    const struct api_server *server = &outside->server;
    if (path == NULL && server->config[0] != '\0') {
        path = server->config_on_host[0] != '\0' ? server->config_on_host : server->config;
    }
    if (path == NULL || path[0] == '\0' || (path == server->config && path[0] != '/')) {
        return; /* where a relative path leads only the API server knows */
    }
    struct stat about;
    snprintf(outside->encryption_path, sizeof outside->encryption_path, "%s", path);
    outside->encryption_mode = stat(path, &about) == 0 ? about.st_mode & 07777 : 0;
    KEK_AUTO_BUF struct kek_buf yaml;
    kek_buf_init(&yaml, KEK_DOC_BYTES_MAX);
    if (kek_durable_read(path, KEK_DOC_BYTES_MAX, &yaml, &outside->encryption_why) == KEK_OK) {
        outside->encryption =
            kek_encryption_config_parse(kek_buf_bytes(&yaml), path, &outside->encryption_why);
    }
}

void outside_look(struct doctor *doctor)
{
    struct kek_why why;
    KEK_AUTO(kek_config) config = kek_config_load(doctor->ctl.config_path, &why);
    if (config != NULL) {
        doctor->runner = kek_keyring_runner(kek_config_view(config, 0));
        elsewhere_find(&doctor->elsewhere, config, doctor->ctl.config_path);
    }
    read_units(doctor);
    credentials_look(&doctor->outside);
    who_find(&doctor->who, &(struct who_facts){
                               .unit = &doctor->outside.unit,
                               .path = doctor->ctl.config_path,
                               .config = config,
                               .runner = doctor->runner,
                           });
    find_server(doctor, config == NULL ? "" : config->listen);
    read_encryption(doctor);
}

void outside_done(struct outside *outside)
{
    unit_done(&outside->unit);
    unit_done(&outside->socket);
    kek_encryption_config_free(outside->encryption);
}
