#include "guard.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#define LOOK_MS 20 /* between looks whether a child has ended */
#define WORD_MAX 4096

#define PIPE 3 /* the guard's end */

/* ---- in the guard's children ---- */

/* Their environment is their own: a variable ETCD_NAME, say, would count as an option. */
static void become(const char *program, char *const argv[], pid_t guard)
{
    static char path[] = "PATH=/usr/sbin:/usr/bin:/sbin:/bin", api[] = "ETCDCTL_API=3";
    static char *const environment[] = {path, api, NULL};
    sigset_t none;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != guard) {
        _exit(127);
    }
    int log = open(GUARD_LOG, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (log < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) {
        _exit(127);
    }
    (void)close(PIPE);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    (void)execve(program, argv, environment);
    (void)dprintf(STDERR_FILENO, "%s: %s\n", program, strerror(errno));
    _exit(127);
}

static pid_t start_restore(const struct guard_job *job)
{
    char file[WORD_MAX], cluster[WORD_MAX];
    char name[128];
    (void)snprintf(file, sizeof file, "%s", job->file);
    (void)snprintf(name, sizeof name, "%s", job->name);
    (void)snprintf(cluster, sizeof cluster, "%s=unix://peer:1", job->name);
    char *argv[] = {(char[]){"restore"},
                    (char[]){"snapshot"},
                    (char[]){"restore"},
                    file,
                    (char[]){"--data-dir"},
                    (char[]){"data"},
                    (char[]){"--name"},
                    name,
                    (char[]){"--initial-cluster"},
                    cluster,
                    (char[]){"--initial-advertise-peer-urls"},
                    (char[]){"unix://peer:1"},
                    (char[]){"--initial-cluster-token"},
                    name,
                    NULL};
    pid_t guard = getpid(), pid = fork();
    if (pid == 0) {
        become(job->restore, argv, guard);
    }
    return pid;
}

static pid_t start_etcd(const struct guard_job *job)
{
    char name[128];
    (void)snprintf(name, sizeof name, "%s", job->name);
    char client[] = "unix://" GUARD_CLIENT;
    char *argv[] = {(char[]){"etcd"},
                    (char[]){"--name"},
                    name,
                    (char[]){"--data-dir"},
                    (char[]){"data"},
                    (char[]){"--listen-client-urls"},
                    client,
                    (char[]){"--advertise-client-urls"},
                    client,
                    (char[]){"--listen-peer-urls"},
                    (char[]){"unix://peer:1"},
                    (char[]){"--logger"},
                    (char[]){"zap"},
                    (char[]){"--log-level"},
                    (char[]){"error"},
                    NULL};
    pid_t guard = getpid(), pid = fork();
    if (pid == 0) {
        become(job->etcd, argv, guard);
    }
    return pid;
}

/* ---- the guard ---- */

/* Nobody writes to the pipe: it is readable when its other end is gone. */
static bool is_wanted(int timeout_ms)
{
    struct pollfd fd = {.fd = PIPE, .events = POLLIN};
    int ready = poll(&fd, 1, timeout_ms);
    return ready == 0 || (ready < 0 && errno == EINTR);
}

static void tell(char what)
{
    (void)!send(PIPE, &what, 1, MSG_NOSIGNAL);
}

/* Until it has ended (true), or is not wanted any more (false: it is ended). */
static bool wait_for(pid_t pid, int *status)
{
    while (is_wanted(LOOK_MS)) {
        pid_t ended = waitpid(pid, status, WNOHANG);
        if (ended == pid || (ended < 0 && errno == ECHILD)) {
            return true;
        }
    }
    (void)kill(pid, SIGKILL);
    (void)waitpid(pid, status, 0);
    return false;
}

static void work(const struct guard_job *job)
{
    int status = 1;
    pid_t pid = start_restore(job);
    if (pid > 0 && !wait_for(pid, &status)) {
        return;
    }
    if (status != 0) {
        tell(GUARD_FAILED);
        return;
    }
    tell(GUARD_RESTORED);
    pid = start_etcd(job);
    if (pid < 0 || wait_for(pid, &status)) {
        tell(GUARD_ENDED);
    }
}

/* Descriptors of the caller's: none stays but the pipe, as 3. False: then there is nothing to be told. */
static bool keep_pipe_alone(int pipe_end)
{
    int null = open("/dev/null", O_RDWR);
    bool good = null >= 0 && dup2(null, STDIN_FILENO) >= 0 && dup2(null, STDOUT_FILENO) >= 0 &&
                dup2(null, STDERR_FILENO) >= 0 && dup2(pipe_end, PIPE) >= 0;
    return good && close_range(PIPE + 1, ~0u, 0) == 0;
}

/* A signal to the terminal's process group ends the caller, and so this one, in its time. */
static void ignore_signals(void)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE, SIGTSTP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        (void)signal(signals[i], SIG_IGN);
    }
    (void)signal(SIGCHLD, SIG_DFL);
    (void)setsid();
}

static _Noreturn void guard(const struct guard_job *job, int pipe_end)
{
    ignore_signals();
    if (keep_pipe_alone(pipe_end) && chdir(job->folder) == 0) {
        work(job);
        while (is_wanted(-1)) { /* the log is there for as long as it may be read */
        }
    }
    (void)guard_remove(job->folder);
    _exit(0);
}

pid_t guard_start(const struct guard_job *job, int *fd, struct kek_why *why)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0) {
        kek_fail_native(why, KEK_EXHAUSTED, KEK_NATIVE_ERRNO, (unsigned long)errno, "no socket");
        return -1;
    }
    pid_t pid = fork();
    if (pid == 0) {
        guard(job, ends[1]);
    }
    (void)close(ends[1]);
    if (pid < 0) {
        kek_fail_native(why, KEK_EXHAUSTED, KEK_NATIVE_ERRNO, (unsigned long)errno, "no process");
        (void)close(ends[0]);
        return -1;
    }
    *fd = ends[0];
    return pid;
}

/* ---- the folder ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path);
}

bool guard_remove(const char *folder)
{
    return nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT;
}
