/*
 * One gRPC connection without any I/O: bytes in, calls to the service, bytes out.
 *
 * The owner feeds what the peer sent (receive), writes what there is to write (output, sent), asks
 * when it must look again (deadline, expire), and closes the connection once it is finished.  The
 * session ends every call exactly once, keeps each within its deadline, and has a maximum for all
 * that a peer can make it hold: streams, headers, one message a stream, KEK_GRPC_BUFFERED_MAX bytes
 * of unfinished messages, KEK_GRPC_OUTPUT_STEP bytes of output plus what open streams wait to send.
 * Times are of kek_clock_ms().  One thread.
 */
#ifndef KEK_GRPC_SESSION_H
#define KEK_GRPC_SESSION_H

#include <nghttp2/nghttp2.h>

#include "kek/grpc.h"

/* Request bytes held, per connection. A peer that goes by our windows stays below (flow.h): a share for
 * each of 256 streams and what is reserved are 2 MiB, and 64 KiB may have come before our SETTINGS. */
#define KEK_GRPC_BUFFERED_MAX (2u * 1024 * 1024 + 64u * 1024)
#define KEK_GRPC_OUTPUT_STEP (64u * 1024) /* no more is made while this much is unsent */
#define KEK_GRPC_QUEUE_MAX 4096u          /* frames waiting: above it nothing is read */
#define KEK_GRPC_PREFACE_MS 10000u        /* for the client's preface */
#define KEK_GRPC_STALL_MS 10000u          /* without one byte of output taken */
#define KEK_GRPC_OVERDUE_MS 1000u         /* for an answer to leave, past its deadline */
#define KEK_GRPC_GOAWAY_MS 500u           /* from the notice of a drain to its GOAWAY */
/* Streams a client may reset: so many at once, so many a second; past it the connection ends. A
 * client that loses a whole window of calls to its deadline every second stays below. */
#define KEK_GRPC_RESETS_BURST 2000u
#define KEK_GRPC_RESETS_RATE 256u

struct kek_grpc_session;

/* What the connections of a server share. */
struct kek_grpc_host {
    struct kek_grpc_settings settings;
    struct kek_grpc_stats stats;
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    struct kek_grpc_call *spare; /* calls to use again */
    size_t spare_count;
};

/* The host must not move afterwards. */
enum kek_rc kek_grpc_host_init(struct kek_grpc_host *host, const struct kek_grpc_settings *settings,
                               struct kek_why *why) KEK_MUST_CHECK;
void kek_grpc_host_done(struct kek_grpc_host *host); /* after the last session */

/* Our SETTINGS are in its output at once. `wake` is called when output appears, or the session
 * finishes, outside of receive, sent, expire, drain and close. */
struct kek_grpc_session *kek_grpc_session_new(struct kek_grpc_host *host,
                                              const struct kek_rpc_peer *peer, bool allowed,
                                              void (*wake)(void *arg), void *arg,
                                              struct kek_why *why);

/* KEK_INVALID, KEK_NO_MEMORY: the session is finished. The bytes may be wiped afterwards. */
enum kek_rc kek_grpc_session_receive(struct kek_grpc_session *session, struct kek_bytes bytes,
                                     struct kek_why *why) KEK_MUST_CHECK;

/* Whether to read at all: not while the peer makes us queue more than it takes. */
bool kek_grpc_session_wants_input(const struct kek_grpc_session *session);

/* What to write next, empty if nothing; borrowed until `sent`. */
struct kek_bytes kek_grpc_session_output(struct kek_grpc_session *session);
void kek_grpc_session_sent(struct kek_grpc_session *session, size_t len);
void kek_grpc_session_blocked(struct kek_grpc_session *session); /* the peer takes no more now */

/* The next time at which expire has something to do, or KEK_NEVER. */
uint64_t kek_grpc_session_deadline(const struct kek_grpc_session *session);
void kek_grpc_session_expire(struct kek_grpc_session *session, uint64_t now_ms);

/* No new calls: a notice, then, once the peer has seen it, GOAWAY; finished with the last call. */
void kek_grpc_session_drain(struct kek_grpc_session *session);

/* Answers what is open with UNAVAILABLE, which `output` then holds. */
void kek_grpc_session_abandon(struct kek_grpc_session *session);

/* Why it is this end that ends the connection, such as a peer's breach of the protocol; NULL: it is not. */
const char *kek_grpc_session_cut(const struct kek_grpc_session *session);

/* Nothing more will be read or written: the connection can be closed. */
bool kek_grpc_session_finished(const struct kek_grpc_session *session);

/* The connection is gone: every open call ends as CANCELLED, none will start. Allowed from within a
 * method. */
void kek_grpc_session_close(struct kek_grpc_session *session);

/* Closes and frees; not from within a method. */
void kek_grpc_session_free(struct kek_grpc_session *session);
KEK_DEFINE_AUTO(kek_grpc_session);

#endif
