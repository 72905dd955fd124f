/* A server on a Unix socket and clients of it, on one loop that the test turns. */
#ifndef UNIT_GRPC_SITE_H
#define UNIT_GRPC_SITE_H

#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "../../src/grpc/server.h"
#include "../../src/grpc/session.h"
#include "grpc_peer.h"
#include "kek/clock.h"

#define TURNS_MAX 20000 /* of the loop, in any wait */

struct site {
    uv_loop_t loop;
    struct kek_grpc_server *server;
    struct service service;
    struct sockaddr_un address;
    socklen_t address_len;
    unsigned drained;
};

struct client {
    struct peer *peer;
    int fd;
    bool lost; /* the server closed the connection */
};

/* The kernel picks an abstract name: nothing stays behind, and no two runs meet. */
static inline int listening_socket(struct site *site)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_ge(fd, 0);
    site->address.sun_family = AF_UNIX;
    ck_assert_int_eq(bind(fd, (const struct sockaddr *)&site->address, sizeof(sa_family_t)), 0);
    ck_assert_int_eq(listen(fd, 64), 0);
    site->address_len = sizeof site->address;
    ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&site->address, &site->address_len), 0);
    return fd;
}

static inline struct site *site_new(void)
{
    struct site *site = calloc(1, sizeof *site);
    struct kek_why why;
    ck_assert_ptr_nonnull(site);
    kek_clock_fake(test_clock);
    ck_assert_int_eq(uv_loop_init(&site->loop), 0);
    const struct kek_grpc_settings settings = service_settings(&site->service);
    site->server = kek_grpc_server_new(&site->loop, &settings, &why);
    ck_assert_ptr_nonnull(site->server);
    ck_assert_int_eq(kek_grpc_server_listen(site->server, listening_socket(site), &why), KEK_OK);
    return site;
}

static inline void site_free(struct site *site)
{
    kek_grpc_server_free(site->server);
    ck_assert_int_eq(uv_run(&site->loop, UV_RUN_DEFAULT), 0);
    ck_assert_int_eq(uv_loop_close(&site->loop), 0);
    free(site);
}

static inline struct kek_grpc_stats stats_of(struct site *site)
{
    struct kek_grpc_stats stats;
    kek_grpc_server_stats(site->server, &stats);
    return stats;
}

static inline int connect_to(const struct site *site)
{
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(connect(fd, (const struct sockaddr *)&site->address, site->address_len), 0);
    return fd;
}

static inline struct client client_new(const struct site *site)
{
    return (struct client){.peer = peer_new(-1), .fd = connect_to(site)};
}

static inline void client_free(struct client *client)
{
    peer_free(client->peer);
    close(client->fd);
}

static inline void client_move(struct client *client)
{
    const uint8_t *data;
    for (size_t n = peer_output(client->peer, &data); n > 0 && !client->lost;
         n = peer_output(client->peer, &data)) {
        ssize_t sent = send(client->fd, data, n, MSG_NOSIGNAL);
        client->lost = sent < 0;
        ck_assert(sent < 0 || sent == (ssize_t)n);
    }
    uint8_t buffer[65536];
    ssize_t n = client->lost ? 0 : recv(client->fd, buffer, sizeof buffer, 0);
    if (n > 0) {
        peer_input(client->peer, buffer, (size_t)n);
    } else if (n == 0 || errno == ECONNRESET) {
        client->lost = true;
    }
}

/* Runs both sides until *done is true. */
static inline void run_until(struct site *site, struct client *client, const bool *done)
{
    for (int turn = 0; !*done; turn++) {
        ck_assert_int_lt(turn, TURNS_MAX);
        client_move(client);
        uv_run(&site->loop, UV_RUN_NOWAIT);
    }
}

/* Runs until nothing has moved for a while; for what must not happen. */
static inline void run_some(struct site *site, struct client *client)
{
    for (int turn = 0; turn < 50; turn++) {
        client_move(client);
        uv_run(&site->loop, UV_RUN_NOWAIT);
    }
}

static inline struct peer_answer *call(struct site *site, struct client *client,
                                       const struct peer_request *request)
{
    struct peer_answer *answer = peer_answer(client->peer, peer_call(client->peer, request));
    run_until(site, client, &answer->closed);
    return answer;
}

static inline struct peer_answer *start_late(struct site *site, struct client *client)
{
    const struct peer_request late = {.path = "/t.T/Late"};
    struct peer_answer *answer = peer_answer(client->peer, peer_call(client->peer, &late));
    run_some(site, client);
    ck_assert(!answer->seen);
    return answer;
}

/* One connection was not accepted or was ended by us, and this was said of it. */
static inline void check_cut(const struct site *site, bool known, const char *why)
{
    ck_assert_uint_eq(site->service.cuts, 1);
    ck_assert_str_eq(site->service.cut_why, why);
    ck_assert(site->service.cut_known == known);
}

#endif
