/*
 * A gRPC client for tests: nghttp2's client side over memory, which may be told to misbehave, and a
 * service whose methods answer at once, later, with an error or never.
 */
#ifndef KEK_TESTS_GRPC_PEER_H
#define KEK_TESTS_GRPC_PEER_H

#include <nghttp2/nghttp2.h>

#include "kek/grpc.h"

#define PEER_ANSWERS 2048 /* streams whose answer is kept: ids up to twice this */

struct peer_answer {
    bool seen;       /* something came for this stream */
    int http_status; /* 0: none yet */
    int grpc_status; /* -1: none yet */
    bool grpc_type;  /* content-type application/grpc */
    bool end;        /* END_STREAM seen */
    bool closed;     /* the stream is closed */
    bool reset;      /* by the server */
    uint32_t code;   /* closed with */
    char message[1100];
    uint8_t body[8192]; /* the first bytes */
    size_t body_len;
    size_t received; /* bytes of DATA, and a sum of all of them in their order */
    uint32_t sum;
};

struct peer {
    nghttp2_session *http;
    struct peer_answer *answers; /* by stream id / 2 */
    bool pad;                    /* set: frames are padded */
    bool goaway;
    uint32_t goaway_code;
    int32_t goaway_last;
    unsigned goaways, pings_acked, settings, settings_acked;
    uint32_t max_streams, window, max_header_list; /* as the server's SETTINGS say */
};

/* A request; what is zero is what a good client sends. */
struct peer_request {
    const char *path;      /* "/t.T/Echo" */
    const char *authority; /* "localhost" */
    bool no_authority;
    const char *method, *content_type, *timeout, *encoding; /* content_type "": none */
    const char *extra_name,
        *extra_value;    /* one more field, sent last (first if it begins with ':') */
    size_t extra_fields; /* and so many of 100 bytes */
    const uint8_t *body; /* raw; NULL: a good message of `message` */
    size_t body_len;
    const char *message;
    bool headers_only; /* END_STREAM on HEADERS */
    bool unfinished;   /* no END_STREAM after the body */
    bool trailers;     /* a trailer block ends the request */
    size_t frame;      /* bytes of each DATA frame; 0: as many as fit */
};

uint32_t peer_sum(uint32_t sum, const uint8_t *data, size_t len);

/* `window`: SETTINGS_INITIAL_WINDOW_SIZE, negative for the default. */
struct peer *peer_new(int window);
void peer_free(struct peer *peer);
int32_t peer_call(struct peer *peer, const struct peer_request *request);
struct peer_answer *peer_answer(struct peer *peer, int32_t stream);
void peer_widen(struct peer *peer, int32_t window); /* the connection's */
void peer_reset(struct peer *peer, int32_t stream);
void peer_ping(struct peer *peer);
/* What it sends next; *data is valid until the next call. 0: nothing. */
size_t peer_output(struct peer *peer, const uint8_t **data);
void peer_input(struct peer *peer, const uint8_t *data, size_t len);

#define SERVICE_BIG_MAX (5u * 1024 * 1024)

/* The service. Zeroed is ready. */
struct service {
    unsigned started, ended, rejections, allowed_asked;
    enum kek_rpc_status ended_status, rejected_status;
    char rejected_path[256], rejected_message[256];
    struct kek_rpc *late[512]; /* calls of /t.T/Late that are open; NULL where one ended */
    size_t late_count;
    uint64_t deadline_ms; /* of the last call */
    uid_t uid;
    unsigned cuts; /* connections that were not accepted or ended by us */
    char cut_why[256];
    bool cut_known; /* whose the last one was */
    bool deny;
    void (*in_start)(struct service *service); /* called first by every method */
    size_t big;                                /* bytes /t.T/Big answers with */
};
const uint8_t *service_big(void); /* the bytes, SERVICE_BIG_MAX of them */
extern const struct kek_rpc_method service_methods[];
extern const size_t service_method_count;
struct kek_grpc_settings service_settings(struct service *service);
void service_answer_late(struct service *service, size_t i, const char *message);

/* The clock. */
extern uint64_t test_now_us;
uint64_t test_clock(void);

#endif
