/*
 * A blocking gRPC client for unary calls over a Unix socket, one call at a time.
 *
 * It speaks as the API server does: HTTP/2 with prior knowledge, an empty SETTINGS, no request
 * before the server's own SETTINGS, :authority "localhost", grpc-timeout.  Everything that can go
 * wrong with a call is a gRPC status, also what never reached the server (UNAVAILABLE,
 * DEADLINE_EXCEEDED).  Messages may be plaintext: the reply lives in kek_secret, and so does what
 * comes off the socket.  The process must have called kek_secret_setup().
 */
#ifndef KEKCTL_GRPC_CLIENT_H
#define KEKCTL_GRPC_CLIENT_H

#include "grpc_status.h"
#include "kek/secret.h"

#define GRPC_CLIENT_MESSAGE_MAX (68u * 1024) /* bytes of a reply's message, at most */

struct grpc_client;

struct grpc_reply {
    struct kek_secret *body; /* NULL: none */
    struct kek_bytes message;
};
void grpc_reply_done(struct grpc_reply *reply);

/* Connects within timeout_ms, at least 1: a server that hangs has a backlog that is full one day, and
 * then connect(2) waits. NULL on failure; why has the errno and names the socket. */
struct grpc_client *grpc_client_connect(const char *socket_path, uint64_t timeout_ms,
                                        struct kek_why *why);

/* Whom to look at where that failed, by the errno of `why`: a sentence. Static. */
const char *grpc_client_advice(const struct kek_why *why);

/* Takes a connected stream socket, also on failure. */
struct grpc_client *grpc_client_new(int fd, struct kek_why *why);
void grpc_client_free(struct grpc_client *client);
KEK_DEFINE_AUTO(grpc_client);

/* One call that ends by deadline_ms of kek_clock_ms(). True: status is OK and the reply is the
 * caller's to end. A client whose call failed is good for nothing but to be freed. */
bool grpc_client_call(struct grpc_client *client, const char *path, struct kek_bytes message,
                      uint64_t deadline_ms, struct grpc_reply *reply, struct grpc_status *status);

/* Of a call that failed: did the server say, or can it be told, that it never looked at it, since it ends this connection?
 * Then it may be sent again on another one (gRPC A6, transparent retries). */
bool grpc_client_untaken(const struct grpc_client *client);

#endif
