#include "node_ssh.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kek/text.h"

#define COMPLAINT_MAX 4096 /* bytes of what ssh says on standard error */

bool node_ssh_is_host(const char *host)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@:[]%";
    size_t len = strlen(host);
    return len > 0 && len <= 200 && host[0] != '-' && host[strspn(host, letters)] == '\0';
}

static void over(struct node_ssh *ssh, enum kek_rc rc)
{
    ssh->rc = rc;
    ssh->done = true;
}

/* In a process group of its own, so that what ssh starts goes with it. */
static int spawn(struct node_ssh *ssh, int out, int err)
{
    char *const arguments[] = {(char *)"ssh",
                               (char *)"-o",
                               (char *)"BatchMode=yes",
                               (char *)(uintptr_t)ssh->host,
                               (char *)"--",
                               (char *)"kekctl",
                               (char *)"node",
                               (char *)"status",
                               (char *)"--node",
                               (char *)"self",
                               (char *)"--output",
                               (char *)"json",
                               NULL};
    posix_spawn_file_actions_t files;
    posix_spawnattr_t how;
    sigset_t defaults;
    int failed = posix_spawn_file_actions_init(&files);
    if (failed != 0) {
        return failed;
    }
    failed = posix_spawnattr_init(&how);
    if (failed != 0) {
        posix_spawn_file_actions_destroy(&files);
        return failed;
    }
    (void)sigemptyset(&defaults);
    (void)sigaddset(&defaults, SIGPIPE); /* which this program ignores */
    (void)posix_spawnattr_setflags(&how, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGDEF);
    (void)posix_spawnattr_setpgroup(&how, 0);
    (void)posix_spawnattr_setsigdefault(&how, &defaults);
    failed = posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    failed = failed != 0 ? failed : posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    failed = failed != 0 ? failed : posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    failed =
        failed != 0 ? failed : posix_spawnp(&ssh->pid, "ssh", &files, &how, arguments, environ);
    posix_spawn_file_actions_destroy(&files);
    posix_spawnattr_destroy(&how);
    return failed;
}

void node_ssh_start(struct node_ssh *ssh, const char *host, size_t max)
{
    int out[2] = {-1, -1}, err[2] = {-1, -1};
    *ssh = (struct node_ssh){.host = host, .out = -1, .err = -1};
    kek_buf_init(&ssh->output, max);
    kek_buf_init(&ssh->complaint, COMPLAINT_MAX);
    int failed = pipe2(out, O_CLOEXEC) != 0 || pipe2(err, O_CLOEXEC) != 0 ? errno : 0;
    if (failed == 0) {
        /* Ours alone are not to block. */
        (void)fcntl(out[0], F_SETFL, O_NONBLOCK);
        (void)fcntl(err[0], F_SETFL, O_NONBLOCK);
        failed = spawn(ssh, out[1], err[1]);
    }
    int theirs[] = {out[1], err[1]};
    for (size_t i = 0; i < 2; i++) {
        if (theirs[i] >= 0) {
            close(theirs[i]);
        }
    }
    ssh->out = out[0];
    ssh->err = err[0];
    if (failed != 0) {
        ssh->pid = 0;
        over(ssh, kek_fail_native(&ssh->why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO,
                                  (unsigned long)failed, "ssh:%s: ssh cannot be started", host));
    }
}

size_t node_ssh_fds(const struct node_ssh *ssh, int fds[static 2])
{
    size_t count = 0;
    if (!ssh->done && ssh->out >= 0) {
        fds[count++] = ssh->out;
    }
    if (!ssh->done && ssh->err >= 0) {
        fds[count++] = ssh->err;
    }
    return count;
}

/* Reads what is there. False: something had no room, and is lost. */
static bool drain(int *fd, struct kek_buf *into)
{
    uint8_t bytes[4096];
    bool whole = true;
    while (*fd >= 0) {
        ssize_t len = read(*fd, bytes, sizeof bytes);
        if (len < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (len <= 0) {
            close(*fd);
            *fd = -1;
        } else if (kek_buf_append(into, kek_bytes(bytes, (size_t)len), NULL) != KEK_OK) {
            whole = false;
        }
    }
    return whole;
}

static void first_line(const struct kek_buf *complaint, char line[static 200])
{
    size_t len = complaint->len < 199 ? complaint->len : 199;
    const void *end = len == 0 ? NULL : memchr(complaint->data, '\n', len);
    len = end == NULL ? len : (size_t)((const uint8_t *)end - complaint->data);
    if (len > 0) {
        memcpy(line, complaint->data, len);
    }
    line[len] = '\0';
    line[strcspn(line, "\r")] = '\0';
    kek_text_clean(line);
}

/* kekctl's own exit codes are 0 and 3 where it has an answer; 255 is ssh's. */
static void judge(struct node_ssh *ssh, int how)
{
    char line[200];
    if (WIFEXITED(how) && (WEXITSTATUS(how) == 0 || WEXITSTATUS(how) == 3)) {
        over(ssh, KEK_OK);
        return;
    }
    first_line(&ssh->complaint, line);
    if (WIFEXITED(how)) {
        over(ssh,
             kek_fail(&ssh->why, KEK_UNAVAILABLE, "ssh:%s: exit %d: %s%s", ssh->host,
                      WEXITSTATUS(how), line,
                      WEXITSTATUS(how) == 255 ? ": does `ssh -o BatchMode=yes` get there?" : ""));
    } else {
        over(ssh, kek_fail(&ssh->why, KEK_UNAVAILABLE, "ssh:%s: ended by signal %d", ssh->host,
                           WTERMSIG(how)));
    }
}

void node_ssh_turn(struct node_ssh *ssh)
{
    int how;
    if (ssh->done) {
        return;
    }
    bool ended = waitpid(ssh->pid, &how, WNOHANG) == ssh->pid;
    (void)drain(&ssh->err, &ssh->complaint); /* of which the beginning is enough */
    if (!drain(&ssh->out, &ssh->output)) {
        over(ssh, kek_fail(&ssh->why, KEK_TOO_LARGE,
                           "ssh:%s: the answer has more than %zu bytes: this is no kekctl",
                           ssh->host, ssh->output.max));
    }
    if (ended) {
        ssh->pid = 0;
    }
    if (ended && !ssh->done) {
        judge(ssh, how);
    }
}

void node_ssh_end(struct node_ssh *ssh)
{
    if (ssh->pid > 0) {
        (void)kill(-ssh->pid, SIGKILL);
        (void)waitpid(ssh->pid, NULL, 0);
        ssh->pid = 0;
    }
    if (!ssh->done) {
        over(ssh, kek_fail(&ssh->why, KEK_DEADLINE, "ssh:%s: no answer in time", ssh->host));
    }
    if (ssh->out >= 0) {
        close(ssh->out);
    }
    if (ssh->err >= 0) {
        close(ssh->err);
    }
    ssh->out = ssh->err = -1;
    kek_buf_done(&ssh->complaint);
}
