/*
 * One connection of the HTTP server, from accept to its end: the handshake if there is one, the request, the
 * answer, and waiting for the peer's end.  http.c accepts connections and has the places for them.
 */
#ifndef KEK_OPS_HTTP_CONNECTION_H
#define KEK_OPS_HTTP_CONNECTION_H

#include "http.h"

/* The server, as its connections see it. */
struct http_places {
    struct http_settings settings;
    const struct tls *tls; /* NULL: plain */
    struct connection *first;
    size_t count;
};

struct connection;

/* Takes a place; NULL: out of memory. Its stream is to be accepted into, then it begins or is closed. */
struct connection *connection_new(uv_loop_t *loop, struct http_places *places);
uv_stream_t *connection_stream(struct connection *connection);
/* False: it cannot, and is to be closed. */
bool connection_begin(struct connection *connection);
void connection_close(struct connection *connection);

/* Closes all of them; they know no server any more. */
void connections_end(struct http_places *places);

#endif
