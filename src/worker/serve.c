#include "serve.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kek/log.h"
#include "kek/text.h"

#define ARENA (64u * 1024) /* a PIN, and a few keys a session: 64 sessions fit many times */

/* A module's own exit handlers crash while a thread is inside it, so nobody returns from here. */
static _Noreturn void leave(int status)
{
    _exit(status);
}

/* One packet into buffer, or the end of the process. A packet that did not fit is longer than size. */
static size_t receive(uint8_t *buffer, size_t size)
{
    for (;;) {
        ssize_t len = recv(KEK_PROVIDER_SOCKET, buffer, size, MSG_TRUNC);
        if (len > 0) {
            return (size_t)len;
        }
        /* Nobody sends an empty packet, so 0 is the end of the file. ECONNRESET is the same: the
         * other side left without reading. */
        if (len == 0 || errno == ECONNRESET) {
            leave(0);
        }
        if (errno != EINTR) {
            kek_log(KEK_LOG_ERROR, "cannot read a request: %s", strerror(errno));
            leave(1);
        }
    }
}

static void reply_with(const struct kek_buf *reply)
{
    for (;;) {
        ssize_t sent = send(KEK_PROVIDER_SOCKET, reply->data, reply->len, MSG_NOSIGNAL);
        if (sent >= 0) {
            return;
        }
        if (errno == EPIPE || errno == ECONNRESET) {
            leave(0);
        }
        if (errno != EINTR) {
            kek_log(KEK_LOG_ERROR, "cannot send a reply: %s", strerror(errno));
            leave(1);
        }
    }
}

/* One request in, one reply out; session is NULL while the worker starts. */
static void serve_one(struct kek_serve *serve, struct kek_provider_session *session,
                      uint8_t *buffer, struct kek_buf *reply)
{
    size_t len = receive(buffer, KEK_PROVIDER_MESSAGE_MAX);
    bool answered;
    if (len > KEK_PROVIDER_MESSAGE_MAX) {
        len = KEK_PROVIDER_MESSAGE_MAX;
        answered = kek_serve_refuse(reply, "a request has at most 16384 bytes");
    } else if (session == NULL) {
        answered = kek_serve_start(serve, kek_bytes(buffer, len), reply);
    } else {
        answered = kek_serve_request(serve, session, kek_bytes(buffer, len), reply);
    }
    kek_wipe(buffer, len);
    kek_serve_add_again(reply);
    if (!answered) {
        kek_log(KEK_LOG_ERROR, "no memory for a reply");
        leave(1);
    }
    reply_with(reply);
    kek_buf_reset(reply);
}

struct thread {
    struct kek_serve *serve;
    struct kek_provider_session *session;
    uint8_t buffer[KEK_PROVIDER_MESSAGE_MAX];
};

static void *serve_session(void *arg)
{
    struct thread *thread = arg;
    struct kek_buf reply;
    kek_buf_init(&reply, KEK_PROVIDER_MESSAGE_MAX);
    for (;;) {
        serve_one(thread->serve, thread->session, thread->buffer, &reply);
    }
    return NULL;
}

/* A thread that a message wakes does not interrupt another: it would interrupt one that is inside the module, and
 * then wait for the lock which that one holds there.  Where this is forbidden, it only costs time. */
static void wait_for_turn(void)
{
    (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0});
}

/* Every session gets a thread, the first one this thread; the others inherit its scheduling. */
static _Noreturn void serve_sessions(struct kek_serve *serve)
{
    wait_for_turn();
    struct thread *own = NULL;
    for (uint32_t i = 0; i < serve->session_count; i++) {
        struct thread *thread = calloc(1, sizeof *thread);
        if (thread == NULL) {
            kek_log(KEK_LOG_ERROR, "no memory for %s",
                    kek_counted(serve->session_count, "session").text);
            leave(1);
        }
        thread->serve = serve;
        thread->session = serve->sessions[i];
        if (i == 0) {
            own = thread;
            continue;
        }
        pthread_t id;
        int rc = pthread_create(&id, NULL, serve_session, thread);
        if (rc != 0) {
            kek_log(KEK_LOG_ERROR, "cannot start a thread: %s", strerror(rc));
            leave(1);
        }
        (void)pthread_detach(id);
    }
    serve_session(own);
    leave(0);
}

static void start(struct kek_serve *serve)
{
    static uint8_t buffer[KEK_PROVIDER_MESSAGE_MAX];
    KEK_AUTO_BUF struct kek_buf reply;
    kek_buf_init(&reply, KEK_PROVIDER_MESSAGE_MAX);
    while (serve->stage != KEK_SERVE_READY) {
        serve_one(serve, NULL, buffer, &reply);
    }
}

static bool is_our_socket(int fd)
{
    int domain = 0, type = 0;
    socklen_t len = sizeof domain;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) != 0) {
        return false;
    }
    len = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && domain == AF_UNIX &&
           type == SOCK_SEQPACKET;
}

/* A socket pair's credentials are those of the process that made it: our parent, if it still lives.
 * Comparing with 1 would not do: in a container kekd itself may be process 1. */
static bool parent_lives(void)
{
    struct ucred maker;
    socklen_t len = sizeof maker;
    return getsockopt(KEK_PROVIDER_SOCKET, SOL_SOCKET, SO_PEERCRED, &maker, &len) == 0 &&
           (maker.pid == 0 || maker.pid == getppid());
}

static bool parse_role(int argc, char **argv, bool *officer)
{
    if (argc != 3 || strcmp(argv[1], "--role") != 0) {
        return false;
    }
    *officer = strcmp(argv[2], "officer") == 0;
    return *officer || strcmp(argv[2], "serve") == 0;
}

static void isolate(void)
{
    (void)close_range(KEK_PROVIDER_SOCKET + 1, ~0U, 0);
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGTERM, SIG_IGN);
    (void)signal(SIGINT, SIG_IGN);
    (void)signal(SIGHUP, SIG_IGN);
    (void)signal(SIGQUIT, SIG_IGN);
    (void)umask(077);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
}

int kek_provider_main(int argc, char **argv, const struct kek_provider_ops *ops)
{
    isolate();
    const char *program = program_invocation_short_name;
    struct kek_serve serve = {.ops = ops};
    if (!parse_role(argc, argv, &serve.officer)) {
        fprintf(stderr, "usage: %s --role serve|officer (kekd and kekctl run it)\n", program);
        return 2;
    }
    if (!is_our_socket(KEK_PROVIDER_SOCKET)) {
        fprintf(stderr,
                "%s: descriptor %d is not a SOCK_SEQPACKET socket; this program is run by kekd and "
                "kekctl, not by hand\n",
                program, KEK_PROVIDER_SOCKET);
        return 2;
    }
    if (!parent_lives()) {
        leave(0);
    }
    (void)fcntl(KEK_PROVIDER_SOCKET, F_SETFD, FD_CLOEXEC);
    const char *format = getenv(KEK_LOG_FORMAT_VARIABLE);
    kek_log_setup(program, KEK_LOG_INFO,
                  format != NULL && strcmp(format, "json") == 0 ? KEK_LOG_JSON : KEK_LOG_TEXT);
    struct kek_why why;
    bool locked;
    if (kek_secret_setup(ops->arena == 0 ? ARENA : ops->arena, &locked, &why) != KEK_OK) {
        kek_log(KEK_LOG_ERROR, "%s", why.text);
        leave(1);
    }
    kek_secret_harden_process();
    start(&serve);
    /* Not before: in an outage there is a fresh worker each second. */
    if (!locked) {
        kek_log(KEK_LOG_WARN, "memory for keys is not locked: raise RLIMIT_MEMLOCK");
    }
    serve_sessions(&serve);
}
