/*
 * The smallest HTTP/1.1 server that serves fixed pages: GET and HEAD, one request a connection.
 *
 * A request is at most HTTP_REQUEST_MAX bytes with its headers and gets `timeout_ms` from accept to the
 * last byte of the answer; a body is never read.  Whatever a peer does, it holds one of max_connections
 * places for that long, and nothing else.  Answers come from memory at once.  One thread: the loop's.
 */
#ifndef KEK_OPS_HTTP_H
#define KEK_OPS_HTTP_H

#include <uv.h>

#include "kek/bytes.h"

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

/* Appends the page to body, sets its type, and returns its status: 200, 404, 500, 503. */
typedef int http_page_fn(void *arg, const char *path, struct kek_buf *body, const char **type);

struct http_settings {
    http_page_fn *page;
    void *arg;
    size_t body_max; /* bytes of a page */
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

/* Closes every connection. The loop must run once more before it is closed. */
void http_server_free(struct http_server *server);

#endif
