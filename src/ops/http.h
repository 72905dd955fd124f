/*
 * The smallest HTTP/1.1 server that serves fixed pages: GET and HEAD, one request a connection.
 *
 * A request is at most HTTP_REQUEST_MAX bytes with its headers and gets `timeout_ms` from accept to the
 * last byte of the answer; a body is never read.  Whatever a peer does, it holds one of max_connections
 * places for that long, and nothing else.  With TLS, a place that a handshake was begun in and no client that
 * is let in came from is held for all of `timeout_ms`, so that whoever shakes hands in a row costs no more
 * than places / timeout_ms handshakes.  Answers come from memory, at once or when the page is there.
 * One thread: the loop's.
 */
#ifndef KEK_OPS_HTTP_H
#define KEK_OPS_HTTP_H

#include <uv.h>

#include "kek/bytes.h"
#include "tls.h"

#define HTTP_REQUEST_MAX 4096u
#define HTTP_PATH_MAX 64u
#define HTTP_TIMEOUT_MS 10000u
#define HTTP_CONNECTIONS_MAX 16u

struct http_request {
    bool head;                /* HEAD: the answer's headers only */
    char path[HTTP_PATH_MAX]; /* without scheme, host and query; empty if longer: no such page */
};

/* Pure. 0: more bytes are needed; 200: *request is set; else the status to refuse with: 400, 405, 431
 * (the headers would pass HTTP_REQUEST_MAX), 505. RFC 9112; a bare LF ends a line too. */
int http_parse(const char *data, size_t len, struct http_request *request);

/* Pure. The head of an answer with a body of `len` bytes; its length is returned. type: at most 64 bytes. */
#define HTTP_HEAD_MAX 256
size_t http_head(int status, const char *type, size_t len, char head[static HTTP_HEAD_MAX]);
const char *http_reason(int status); /* "OK", "Not Found", ... Static. */

/* A request whose page is made later. */
struct http_reply;
#define HTTP_LATER 0

/* Appends the page to body, sets its type, and returns its status: 200, 404, 500, 503.  HTTP_LATER: `reply` is
 * the page's from now on, and http_reply_done() is called once, never before this returns. */
typedef int http_page_fn(void *arg, const char *path, struct http_reply *reply,
                         struct kek_buf *body, const char **type);
/* Where to append the page then. */
struct kek_buf *http_reply_body(struct http_reply *reply);
/* The connection, and its server, may be gone by then. */
void http_reply_done(struct http_reply *reply, int status, const char *type);

/* How a connection of a TLS server went. */
enum http_outcome {
    HTTP_SERVED = 0, /* the client was let in, and got an answer */
    HTTP_FORBIDDEN,  /* its certificate is good, and its name is not on the list */
    HTTP_REFUSED,    /* no handshake: no certificate, a wrong one, no TLS */
    HTTP_OUTCOMES,
};
struct http_event {
    enum http_outcome outcome;
    const char *peer;    /* its address */
    const char *subject; /* the CN of the certificate that it showed; "" if none */
    const char *why;     /* of HTTP_REFUSED */
};

struct http_settings {
    http_page_fn *page;
    void *arg;
    const char *name; /* of the configuration's key, for messages; static */
    void (*observed)(void *arg, const struct http_event *event); /* NULL: nobody looks */
    size_t body_max;                                             /* bytes of a page */
    uint64_t timeout_ms;
    size_t max_connections; /* one more is closed at accept */
};

struct http_server;

struct http_server *http_server_new(uv_loop_t *loop, const struct http_settings *settings,
                                    struct kek_why *why);
enum kek_rc http_server_listen(struct http_server *server, const char *host, uint16_t port,
                               struct kek_why *why) KEK_MUST_CHECK;
uint16_t http_server_port(const struct http_server *server); /* 0: not listening */
size_t http_server_connections(const struct http_server *server);

/* Every connection from now on begins with a TLS handshake. Borrowed; may be exchanged for another one. */
void http_server_set_tls(struct http_server *server, const struct tls *tls);

/* Closes every connection. The loop must run once more before it is closed. */
void http_server_free(struct http_server *server);

#endif
