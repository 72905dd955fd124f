/* doctor: the KMS socket, and who may call there. No connection is made. */
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "below.h"
#include "doctor.h"
#include "kek/listen.h"
#include "kek/text.h"
#include "listening.h"

#define SUBJECT "socket"

bool doctor_socket_is_systemds(const struct doctor *doctor)
{
    return doctor->outside.socket.path[0] != '\0' &&
           unit_lists(&doctor->outside.unit, "Unit", "Requires", "kekd.socket");
}

static void say_unfit(struct doctor *doctor, const struct kek_why *why)
{
    const char *path = doctor->config->listen;
    char folder[PATH_MAX], shown[PATH_MAX], todo[LINES_TODO];
    struct stat about;
    (void)below_folder(path, folder, sizeof folder);
    lines_quote(folder, shown, sizeof shown);
    if (why->rc == KEK_NOT_FOUND) {
        doctor_give(doctor, todo, "install -d -m 0755 -o %s -g %s %s", doctor->who.name,
                    doctor->who.group, shown);
    } else if (why->rc == KEK_INVALID) {
        lines_todo(todo, "in %s: listen: unix:///run/kekd/kms.sock", doctor->config->path);
    } else if (lstat(path, &about) == 0 && S_ISDIR(about.st_mode)) {
        lines_todo(todo, "in %s: listen: unix://%s/kms.sock", doctor->config->path, path);
    } else if (lstat(path, &about) == 0 && !S_ISSOCK(about.st_mode)) {
        lines_quote(path, shown, sizeof shown);
        lines_todo(todo, "mv %s %s.was-here", shown, shown);
    } else if (stat(folder, &about) == 0 && (about.st_mode & S_IWOTH) != 0) {
        lines_todo(todo, "chmod o-w %s", shown);
    } else {
        doctor_give(doctor, todo, "chown %s %s", doctor->who.name, shown);
    }
    lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo, "%s", why->text);
}

/* Of a kekd that is to start, or that runs: nobody else listens there, or it is what it made. */
static bool judge_holder(struct doctor *doctor)
{
    const char *path = doctor->config->listen;
    char shown[PATH_MAX], todo[LINES_TODO];
    struct stat about;
    bool listens =
        !doctor->runner.there && !doctor_socket_is_systemds(doctor) && listening_at(path);
    if (listens && doctor->runner.hidden) {
        doctor_say_unseen(doctor, SUBJECT,
                          "a process listens on %s, and uid %u may not see whether it is the kekd "
                          "on %s",
                          path, (unsigned)geteuid(), doctor->config->state_dir);
        return false;
    }
    if (listens) {
        lines_quote(path, shown, sizeof shown);
        lines_todo(todo, "ss -lxp src %s # who it is: end that, or in %s: listen: another socket",
                   shown, doctor->config->path);
        (void)doctor_elsewhere_waits(doctor, todo);
        lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo,
                  "another process listens on %s, which is no kekd on %s: a second one is refused",
                  path, doctor->config->state_dir);
        return false;
    }
    if (!doctor->runner.there) {
        return true;
    }
    if (lstat(path, &about) != 0) {
        char process[32] = "";
        if (doctor->runner.pid > 0) {
            snprintf(process, sizeof process, " (process %d)", (int)doctor->runner.pid);
        }
        /* A new start goes by the file: a mistyped one would cut off who calls now. */
        lines_todo(todo, "in %s: listen: as the API server's endpoint; where it is, %s",
                   doctor->config->path,
                   doctor_socket_is_systemds(doctor) ? "systemctl restart kekd.socket kekd.service"
                   : doctor->outside.unit_why.rc == KEK_OK ? "systemctl restart kekd.service"
                                                           : "start kekd anew");
        lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo,
                  "kekd runs%s, and %s is not there: nobody can call it by that", process, path);
        return false;
    }
    if ((about.st_mode & S_IWUSR) == 0) {
        lines_quote(path, shown, sizeof shown);
        lines_todo(todo, "chmod 0600 %s", shown);
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "%s has mode %04o: only who may pass over modes can call there", path,
                  (unsigned)about.st_mode & 07777);
        return false;
    }
    return true;
}

/* True: kekd, or systemd for it, can listen there. */
static bool judge_place(struct doctor *doctor)
{
    const char *path = doctor->config->listen;
    const struct unit *socket = &doctor->outside.socket;
    char folder[PATH_MAX], todo[LINES_TODO];
    struct kek_why why;
    const char *stream = unit_value(socket, "Socket", "ListenStream");
    if (doctor_socket_is_systemds(doctor) && stream != NULL && strcmp(stream, path) != 0) {
        lines_todo(todo, "in %s: listen: unix://%s", doctor->config->path, stream);
        lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo,
                  "%s has ListenStream=%s, and %s listens at %s", socket->path, stream,
                  doctor->config->path, path);
        return false;
    }
    enum kek_rc rc = kek_listen_check(path, &why);
    if (rc == KEK_NOT_FOUND && doctor_socket_is_systemds(doctor) && !doctor->runner.there) {
        return true;
    }
    if (rc == KEK_DENIED && doctor_is_stranger(doctor)) {
        doctor_say_unseen(doctor, SUBJECT, "%s", why.text);
        return false;
    }
    if (rc != KEK_OK) {
        say_unfit(doctor, &why);
        return false;
    }
    (void)below_folder(path, folder, sizeof folder);
    return judge_holder(doctor) && (doctor_socket_is_systemds(doctor) || doctor->runner.there ||
                                    doctor_reaches(doctor, SUBJECT, folder, W_OK | X_OK, false));
}

/* ---- callers ---- */

static bool is_allowed(const struct kek_config *config, uid_t uid)
{
    for (size_t i = 0; i < config->allow_uid_count; i++) {
        if (config->allow_uids[i] == uid) {
            return true;
        }
    }
    return false;
}

static void say_stranger(struct doctor *doctor, uid_t uid)
{
    char todo[LINES_TODO];
    size_t at = (size_t)snprintf(todo, sizeof todo, "in %s: allow_uids: [%u", doctor->config->path,
                                 (unsigned)uid);
    for (size_t i = 0; i < doctor->config->allow_uid_count && at + 16 < sizeof todo; i++) {
        at += (size_t)snprintf(todo + at, sizeof todo - at, ", %u",
                               (unsigned)doctor->config->allow_uids[i]);
    }
    snprintf(todo + at, sizeof todo - at, "]");
    const struct api_server *server = &doctor->outside.server;
    bool found = server->from[0] != '\0';
    lines_add(&doctor->lines, DOCTOR_FAIL, "peer", todo,
              "the API server%s%s%s is uid %u%s, which allow_uids does not name", found ? " (" : "",
              server->from, found ? ")" : "", (unsigned)uid,
              server->has_uid ? "" : " unless it is told otherwise");
}

/* As far as this machine's lists of users and groups say. */
static bool is_of_group(uid_t uid, gid_t gid)
{
    const struct passwd *user = getpwuid(uid);
    gid_t groups[WHO_GROUPS_MAX];
    int count = WHO_GROUPS_MAX;
    if (user == NULL || getgrouplist(user->pw_name, user->pw_gid, groups, &count) < 0) {
        return false;
    }
    for (int i = 0; i < count; i++) {
        if (groups[i] == gid) {
            return true;
        }
    }
    return false;
}

/* Octal digits, as systemd takes a mode; `preset` where there are none. */
static mode_t mode_of(const char *text, mode_t preset)
{
    mode_t mode = 0;
    for (const char *at = text == NULL ? "" : text; *at >= '0' && *at <= '7'; at++) {
        mode = mode << 3 | (mode_t)(*at - '0');
    }
    return text == NULL ? preset : mode & 07777;
}

/* Of the socket that is there, or that systemd is to make (systemd.socket(5)). False: kekd makes it, for allow_uids. */
static bool about_socket(const struct doctor *doctor, struct stat *about)
{
    const struct unit *unit = &doctor->outside.socket;
    const char *user = unit_value(unit, "Socket", "SocketUser");
    const char *group = unit_value(unit, "Socket", "SocketGroup");
    uint64_t number;
    if (lstat(doctor->config->listen, about) == 0) {
        return true;
    }
    if (!doctor_socket_is_systemds(doctor)) {
        return false;
    }
    const struct passwd *owner = user == NULL ? NULL : getpwnam(user);
    const struct group *owners = group == NULL ? NULL : getgrnam(group);
    bool numbered = user != NULL && kek_text_decimal(user, UINT32_MAX - 1, &number);
    *about = (struct stat){.st_mode = mode_of(unit_value(unit, "Socket", "SocketMode"), 0666),
                           .st_uid = owner != NULL ? owner->pw_uid
                                     : numbered    ? (uid_t)number
                                                   : 0,
                           .st_gid = owners != NULL  ? owners->gr_gid
                                     : owner != NULL ? owner->pw_gid
                                                     : 0};
    return true;
}

/* A socket of mode 0600 is its owner's and root's, one of 0660 its group's too. */
static bool may_connect(const struct doctor *doctor, uid_t uid)
{
    struct stat about;
    if (uid == 0 || !about_socket(doctor, &about)) {
        return true;
    }
    mode_t bit = about.st_uid == uid ? S_IWUSR : is_of_group(uid, about.st_gid) ? S_IWGRP : S_IWOTH;
    return (about.st_mode & bit) != 0;
}

static void judge_peer(struct doctor *doctor)
{
    const struct api_server *server = &doctor->outside.server;
    uid_t uid = server->has_uid ? server->uid : 0;
    char todo[LINES_TODO];
    if (server->is_apart) {
        lines_todo(todo, "in %s: hostUsers: true", server->from);
        lines_add(
            &doctor->lines, DOCTOR_FAIL, "peer", todo,
            "the API server's Pod has a user namespace (hostUsers: false): its uid %u is another "
            "one to kekd, which allow_uids does not name",
            (unsigned)uid);
    } else if (!is_allowed(doctor->config, uid)) {
        say_stranger(doctor, uid);
    } else if (!may_connect(doctor, uid)) {
        lines_todo(todo,
                   "in [Socket] of kekd.socket: SocketUser=%u # then systemctl daemon-reload && "
                   "systemctl restart kekd.socket",
                   (unsigned)uid);
        lines_add(&doctor->lines, DOCTOR_FAIL, "peer", todo,
                  "uid %u, the API server's, may not connect to %s", (unsigned)uid,
                  doctor->config->listen);
    } else {
        lines_add(&doctor->lines, DOCTOR_OK, "peer", NULL, "uid %u may call%s", (unsigned)uid,
                  server->has_uid ? "" : ", which the API server has unless it is told otherwise");
    }
}

void doctor_socket(struct doctor *doctor)
{
    if (judge_place(doctor)) {
        lines_add(&doctor->lines, DOCTOR_OK, SUBJECT, NULL, "%s, which %s makes",
                  doctor->config->listen, doctor_socket_is_systemds(doctor) ? "systemd" : "kekd");
    }
    judge_peer(doctor);
}
