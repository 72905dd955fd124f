/*
 * HTTP requests to other machines, for programs that may block: many at once, each with its deadline and
 * its maximum, over connections that are kept while the struct kek_remote lives.
 *
 * https with TLS 1.2 or newer, and the peer's certificate and host name checked; http only where the caller
 * says that the user wrote it, and with a credential only to this machine itself.  No redirect is followed
 * and no proxy is taken from the environment.  A body past its maximum ends the call.  Every failure names
 * scheme, host and path, what went wrong and what to do; never a header, a query or what is sent.  Built on
 * libcurl; kekd itself does not link this room.  One thread.  The program ignores SIGPIPE.
 */
#ifndef KEK_REMOTE_H
#define KEK_REMOTE_H

#include "kek/bytes.h"

struct kek_secret;

#define KEK_REMOTE_CONNECT_MS \
    3000u /* TCP and TLS, at most; less where the whole deadline is less */
#define KEK_REMOTE_HEADERS_MAX \
    (64u * 1024)                  /* bytes of all headers of one answer, trailers included */
#define KEK_REMOTE_VALUE_MAX 1024 /* bytes of one header that is kept, with its NUL */

/* All borrowed, as they are while the remote lives. */
struct kek_remote_settings {
    const char *peer; /* who should answer, for messages: "kekd", "etcd"; NULL: "the server" */

    /* The client certificate, if any, and its key: PEM files, or the PEM text itself. */
    const char *cert, *key;
    struct kek_bytes cert_pem, key_pem;
    /* Who signs for the peer: a PEM file, PEM text, or the system's CAs.  None of them: https is refused. */
    const char *ca;
    struct kek_bytes ca_pem;
    bool system_ca;
    /* What the user calls them, for messages: "status.ca".  NULL: "the CA", "the certificate", "its key". */
    const char *ca_name, *cert_name, *key_name;

    /* HOST:PORT that every connection goes to, whatever the URL says: who answers there must be who the URL names.
     * NULL: where the URL says. */
    const char *connect_to;
    const char *
        proxy; /* http://, https:// or socks5h://HOST:PORT, which is tunnelled through; NULL: none */
};

/* A header or trailer of the answer that the caller wants. */
struct kek_remote_header {
    const char *name;                 /* borrowed; any case */
    char value[KEK_REMOTE_VALUE_MAX]; /* once it is done; cut to fit; empty: none came */
};

/* Takes a piece of the body as it comes.  Anything but KEK_OK ends the call with that rc and why. */
typedef enum kek_rc kek_remote_take_fn(void *arg, struct kek_bytes piece, struct kek_why *why);

/* One request and its answer.  The caller owns it; it stays where it is until it is done. */
struct kek_remote_call {
    const char *method; /* borrowed; NULL: GET */
    const char *url;    /* borrowed; a user or password in it is refused */
    bool plain;         /* http://, which the user wrote; else https:// */
    const char *socket; /* borrowed; the Unix socket to go through, of a plain URL; NULL: TCP */
    bool
        http2; /* plain: by prior knowledge, each call on a connection of its own where libcurl is older
                   than 8.0; https: if the peer has it */
    const char *const *headers; /* "Name: value", the last one NULL; borrowed. NULL: none */
    /* One more header line, with its NUL, such as "Authorization: Bearer ..."; borrowed until kek_remote_start()
     * returns. NULL: none */
    const struct kek_secret *credential;
    struct kek_bytes send; /* borrowed */
    bool send_secret;      /* what is sent holds a credential */

    uint64_t deadline_ms; /* of kek_clock_ms(), for all of it */
    uint64_t idle_ms;     /* the longest time in which nothing comes; 0: no such limit */

    kek_remote_take_fn *take; /* gets the body of a 2xx answer; NULL: it goes to `body` */
    void *take_arg;
    /* kek_buf_init with the most that is taken; the caller ends it.  Of an answer that is no 2xx it has
     * what fits, and the rest is dropped. */
    struct kek_buf body;
    struct kek_remote_header *wanted; /* the caller's; NULL: none */
    size_t wanted_count;

    /* Once it is done: */
    bool done;
    /* KEK_OK: a 2xx, and the body is whole.  Else why says why not.  By HTTP status: 401 and 403 KEK_DENIED,
     * 404 KEK_NOT_FOUND, 409 and 412 KEK_PRECONDITION, other 4xx KEK_INVALID, all else KEK_UNAVAILABLE; 408
     * and 429 are KEK_UNAVAILABLE too.  A certificate that is refused, on either side, is KEK_DENIED. */
    enum kek_rc rc;
    long status; /* of HTTP; 0: none came */
    struct kek_why why;
};

struct kek_remote;

/* NULL: out of memory, or libcurl cannot do TLS. */
struct kek_remote *kek_remote_new(const struct kek_remote_settings *settings, struct kek_why *why);

/* Begins it. What cannot begin is done at once, and says why: a caller looks at `done` alone. */
void kek_remote_start(struct kek_remote *remote, struct kek_remote_call *call);

/* Moves everything on, and waits until something has happened, `wait_ms` are over, or one of `fds` can be read
 * or has ended. Returns how many are not done. */
size_t kek_remote_turn(struct kek_remote *remote, const int *fds, size_t fd_count,
                       uint64_t wait_ms);

/* Starts it and turns until it is done. Returns its rc. */
enum kek_rc kek_remote_run(struct kek_remote *remote, struct kek_remote_call *call);

/* Ends one that nobody waits for any more: done, KEK_CANCELLED. One that is done stays as it is. */
void kek_remote_stop(struct kek_remote *remote, struct kek_remote_call *call);

/* Ends what is under way: done, KEK_CANCELLED. */
void kek_remote_free(struct kek_remote *remote);
KEK_DEFINE_AUTO(kek_remote);

#endif
