/* A call's status, out of what the server sent, or said by the client itself. Pure. */
#ifndef KEKCTL_GRPC_STATUS_H
#define KEKCTL_GRPC_STATUS_H

#include "kek/rpc.h"

struct grpc_status {
    unsigned code;              /* enum kek_rpc_status, or any other number a server sent */
    char message[KEK_WHY_TEXT]; /* printable ASCII */
};

/* Always false. */
bool grpc_status_fail(struct grpc_status *status, enum kek_rpc_status code, const char *format, ...)
    KEK_PRINTF(3, 4);

/* grpc-message is percent-encoded; what a terminal must not get becomes "?". */
void grpc_status_message(struct grpc_status *status, const uint8_t *value, size_t len);

/* gRPC's own table, "HTTP to gRPC Status Code Mapping". */
enum kek_rpc_status grpc_status_of_http(unsigned http);

/* Of HTTP/2's error codes: gRPC over HTTP/2, "Errors". */
enum kek_rpc_status grpc_status_of_reset(uint32_t code);

#endif
