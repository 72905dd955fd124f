/*
 * A gRPC client that costs next to nothing, so that a measurement shows the server.
 *
 * One connection over a Unix socket with blocking reads and writes.  A request's DATA frame is made
 * beforehand; its header block is, as grpc-go's is from the second call on, one byte for each field
 * that the connection's dynamic table holds, and the timeout spelled out.  Every reply's gRPC status is read: a header block goes through nghttp2's inflater,
 * except one made of indexed fields alone that was inflated before under the same dynamic table.
 * Whatever the peer does wrong ends the program with a line on standard error.  One thread.
 */
#ifndef BENCH_WIRE_H
#define BENCH_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_STREAMS_MAX 256       /* open at once */
#define WIRE_MESSAGE_MAX 2048      /* bytes of a request's or a reply's message */
#define WIRE_CALLS_MAX 1000000000u /* of one connection: stream ids are 31 bits */

enum wire_path {
    WIRE_V2_STATUS,
    WIRE_V2_ENCRYPT,
    WIRE_V2_DECRYPT,
    WIRE_V1_VERSION,
    WIRE_V1_ENCRYPT,
    WIRE_V1_DECRYPT,
    WIRE_PATHS,
};

struct wire_request {
    enum wire_path path;
    size_t len; /* of the DATA frame */
    uint8_t frame[WIRE_MESSAGE_MAX + 16];
};

/* `message` without its gRPC prefix. */
void wire_request_make(struct wire_request *request, enum wire_path path, const uint8_t *message,
                       size_t len);

struct wire;

/* Connects and sends the preface. NULL: nobody listens there (errno says why). Every later read or
 * write that takes longer than timeout_s ends the program. */
struct wire *wire_open(const char *socket_path, unsigned timeout_s);
void wire_close(struct wire *wire);

/* Queues one call; `tag` comes back with its reply. At most WIRE_STREAMS_MAX are open at once. */
void wire_queue(struct wire *wire, const struct wire_request *request, uint32_t tag);
void wire_flush(struct wire *wire); /* one write(2) of all that is queued */

struct wire_reply {
    uint32_t tag;
    uint64_t queued_ns; /* when the call was queued */
    int status;         /* gRPC's; -1: the stream was reset, or ended without a status */
    const uint8_t *message;
    size_t len;
};

/* The next complete reply; its message is valid until the next call of any function here. With
 * `block` it flushes and waits; else false means that none is here yet. */
bool wire_next(struct wire *wire, bool block, struct wire_reply *reply);

/* One call, from request to reply. */
void wire_call(struct wire *wire, const struct wire_request *request, struct wire_reply *reply);

struct wire_bytes {
    uint64_t sent, received;
};
struct wire_bytes wire_bytes(const struct wire *wire);

#endif
