/*
 * TLS under the HTTP server: bytes in, bytes out, no I/O; OpenSSL's libssl with its buffers in memory.
 *
 * A server of TLS 1.2 or 1.3 that asks each client for a certificate: it must lead to a CA, be for TLS
 * clients, and its subject's CN or one of its DNS names must be on a list.  No renegotiation, no resumption, no
 * compression.  What a peer makes it keep is bounded by what the peer sent, and that by its caller.
 * Out of memory fails one session.  One thread.
 */
#ifndef KEK_OPS_TLS_H
#define KEK_OPS_TLS_H

#include "kek/bytes.h"

#define TLS_SUBJECT_MAX 128 /* bytes of a client's name as it is shown, with the NUL */

struct tls_settings {
    const char *cert, *key, *ca; /* paths of PEM files */
    char *const *allow;          /* NULL-terminated, copied by nobody: it outlives the tls */
};

struct tls;

/* Reads and checks the files: each is there and as it must be, the key is the certificate's and nobody else
 * may read it, the certificate leads to the CA and is for TLS servers; not that it is valid today. Blocks. NULL: why names
 * the file and what to do. settings: their texts outlive the tls. */
struct tls *tls_new(const struct tls_settings *settings, struct kek_why *why);
/* Its sessions may live on. */
void tls_free(struct tls *tls);

/* When its certificate, or the first of those that were sent with it, ends to be valid; seconds since 1970. */
int64_t tls_expires(const struct tls *tls);

/* Is its certificate valid at this moment, and what leads from it to the CA? KEK_INVALID: why says what is over, or not yet
 * begun. KEK_NO_MEMORY. */
enum kek_rc tls_check_now(const struct tls *tls, struct kek_why *why) KEK_MUST_CHECK;

enum tls_state {
    TLS_SHAKING = 0, /* more bytes of the peer are needed */
    TLS_OPEN,   /* the client has shown its certificate; whether it is let in is tls_allowed()'s */
    TLS_ENDED,  /* the peer said that nothing more comes */
    TLS_NO_TLS, /* the peer speaks plain HTTP */
    TLS_FAILED, /* why says why; an alert may be in the output */
};

struct tls_session;

/* NULL: out of memory. */
struct tls_session *tls_session_new(const struct tls *tls);
void tls_session_free(struct tls_session *session);

/* Takes what came from the peer, and puts at most `room` bytes of what it says into `plain`. Sets *len, to 0 where
 * there are none. Once it failed or ended it takes nothing more. */
enum tls_state tls_take(struct tls_session *session, const void *data, size_t data_len, void *plain,
                        size_t room, size_t *len);

/* What is to be said to the peer, then that nothing more comes. False: out of memory, or not open. */
bool tls_say(struct tls_session *session, struct kek_bytes head, struct kek_bytes body);

/* What is to be sent, at least one byte; it stays until it is taken off. Empty: nothing. */
struct kek_bytes tls_output(const struct tls_session *session);
void tls_output_sent(struct tls_session *session);

/* Of an open session. */
bool tls_allowed(const struct tls_session *session);
/* The CN of the certificate that was shown, valid or not; "" if none was. */
const char *tls_subject(const struct tls_session *session);
const char *tls_why(const struct tls_session *session); /* of a failed one: one line */

#endif
