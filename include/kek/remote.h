/*
 * HTTPS GET for programs that may block: several at once, each with its deadline and its maximum.
 *
 * https only, with the peer's certificate and host name checked against one CA file, and a client
 * certificate.  No redirect is followed, no proxy is taken from the environment, nothing is kept from one
 * call to the next.  A body past its maximum ends the transfer.  Every failure names the URL, what went
 * wrong and what to do.  Built on libcurl; kekd itself does not link this room.  One thread.
 */
#ifndef KEK_REMOTE_H
#define KEK_REMOTE_H

#include "kek/bytes.h"

#define KEK_REMOTE_CONNECT_MS \
    3000u /* TCP and TLS, at most; less where the whole deadline is less */

struct kek_remote_settings {
    /* PEM files; all borrowed, as they are while the remote lives.  NULL: then only `plain` URLs work. */
    const char *cert;
    const char *key;
    const char *ca;
};

/* One GET.  The caller owns it; it stays where it is until it is done. */
struct kek_remote_get {
    const char *url; /* borrowed */
    /* http to this machine's own listener, a numeric address, and nothing else. No certificate is shown. */
    bool plain;
    uint64_t deadline_ms; /* of kek_clock_ms() */
    struct kek_buf body;  /* kek_buf_init with the most that is taken; the caller ends it */
    /* Once it is done: */
    bool done;
    enum kek_rc rc; /* KEK_OK: a status of 200, and the body is whole; else why says why not */
    long status;    /* of HTTP; 0: none came */
    struct kek_why why;
};

struct kek_remote;

/* NULL: out of memory, or libcurl cannot do TLS. */
struct kek_remote *kek_remote_new(const struct kek_remote_settings *settings, struct kek_why *why);

/* Begins it. What cannot begin is done at once, and says why: a caller looks at `done` alone. */
void kek_remote_start(struct kek_remote *remote, struct kek_remote_get *get);

/* Moves everything on, and waits until something has happened, `wait_ms` are over, or one of `fds` can be read
 * or has ended. Returns how many are not done. */
size_t kek_remote_turn(struct kek_remote *remote, const int *fds, size_t fd_count,
                       uint64_t wait_ms);

/* Ends what is under way: done, KEK_CANCELLED. */
void kek_remote_free(struct kek_remote *remote);
KEK_DEFINE_AUTO(kek_remote);

#endif
