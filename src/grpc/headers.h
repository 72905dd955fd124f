/*
 * The header fields of a gRPC request, judged one by one as HPACK yields them, and the two encodings
 * that gRPC defines for header values: grpc-timeout and grpc-message.
 *
 * nghttp2's own HTTP checks are off, because they reset every stream whose :authority is a raw path
 * (clients before grpc-go 1.57, for a Unix socket).  What RFC 9113 section 8 and the gRPC protocol ask
 * of a request is therefore checked here.  Pure: no I/O, nothing allocated.
 */
#ifndef KEK_GRPC_HEADERS_H
#define KEK_GRPC_HEADERS_H

#include "kek/grpc.h"

#define KEK_GRPC_PATH_SHOWN 128    /* chars of a path in messages, NUL included */
#define KEK_GRPC_MESSAGE_SHOWN 256 /* chars of a refusal, NUL included */
#define KEK_GRPC_ENCODED_MAX 1024  /* bytes of a grpc-message value */

/* What is known of a request so far. Zeroed before the first field. */
struct kek_grpc_head {
    const struct kek_rpc_method *method; /* NULL: none, or not in the table */
    const char *malformed;               /* what is wrong with it as HTTP, NULL if nothing */
    size_t list_size;                    /* as RFC 9113 section 6.5.2 counts it */
    uint64_t timeout_ms;                 /* valid if a grpc-timeout was seen and is good */
    unsigned seen, bad;                  /* sets of the fields that matter */
    bool past_pseudo;                    /* a regular field has come */
    char path[KEK_GRPC_PATH_SHOWN];      /* printable, set only where method is NULL */
};

/* Why a call is refused before it reaches its method. */
struct kek_grpc_refusal {
    int http_status; /* 200 unless HTTP itself is what is wrong */
    enum kek_rpc_status status;
    char message[KEK_GRPC_MESSAGE_SHOWN];
};

/* Fills *refusal and returns false, so that a refusal is one statement. */
bool kek_grpc_refuse(struct kek_grpc_refusal *refusal, int http_status, enum kek_rpc_status status,
                     const char *format, ...) KEK_PRINTF(4, 5);

void kek_grpc_head_field(struct kek_grpc_head *head, const struct kek_grpc_settings *settings,
                         struct kek_bytes name, struct kek_bytes value);

/* The verdict once all fields are there; false fills *refusal. On success method is set, and
 * *timeout_ms is what the client asks for, capped at the settings' default. */
bool kek_grpc_head_check(const struct kek_grpc_head *head, const struct kek_grpc_settings *settings,
                         uint64_t *timeout_ms, struct kek_grpc_refusal *refusal) KEK_MUST_CHECK;

/* "1 to 8 digits, then one of H M S m u n"; fractions of a millisecond count as a whole one. */
bool kek_grpc_timeout_parse(struct kek_bytes text, uint64_t *ms) KEK_MUST_CHECK;

/* Percent-encodes for grpc-message; returns the length. Stops before what does not fit in
 * KEK_GRPC_ENCODED_MAX, never inside an escape or a UTF-8 character; a byte that is no UTF-8 is '?'. */
size_t kek_grpc_message_encode(const char *text, char out[static KEK_GRPC_ENCODED_MAX]);

#endif
