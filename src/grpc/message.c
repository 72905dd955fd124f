#include "message.h"

#include <string.h>

/* A buffer larger than this is given back when its call has ended. */
#define KEPT_MAX 4096u

void kek_grpc_message_reset(struct kek_grpc_message *message)
{
    if (message->body.cap > KEPT_MAX) {
        kek_buf_done(&message->body);
    } else {
        kek_buf_reset(&message->body);
    }
    message->prefix_len = 0;
    message->declared = 0;
}

void kek_grpc_message_done(struct kek_grpc_message *message)
{
    kek_buf_done(&message->body);
}

static bool check_prefix(struct kek_grpc_message *message, size_t max,
                         struct kek_grpc_refusal *refusal)
{
    const uint8_t *p = message->prefix;
    if (p[0] == 1) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_UNIMPLEMENTED,
                               "compressed messages are not supported");
    }
    if (p[0] != 0) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_INVALID_ARGUMENT,
                               "the request is not a gRPC message: its first byte is %u",
                               (unsigned)p[0]);
    }
    message->declared =
        (uint32_t)p[1] << 24 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 8 | (uint32_t)p[4];
    if (message->declared > max) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_RESOURCE_EXHAUSTED,
                               "the request message of %u bytes is over the limit of %zu",
                               (unsigned)message->declared, max);
    }
    message->body.max = max;
    return true;
}

bool kek_grpc_message_feed(struct kek_grpc_message *message, size_t max, struct kek_bytes bytes,
                           struct kek_grpc_refusal *refusal)
{
    if (bytes.len == 0) {
        return true;
    }
    if (message->prefix_len < KEK_GRPC_PREFIX) {
        size_t missing = KEK_GRPC_PREFIX - message->prefix_len;
        size_t n = bytes.len < missing ? bytes.len : missing;
        memcpy(message->prefix + message->prefix_len, bytes.data, n);
        message->prefix_len += (uint8_t)n;
        if (message->prefix_len < KEK_GRPC_PREFIX) {
            return true;
        }
        if (!check_prefix(message, max, refusal)) {
            return false;
        }
        bytes = kek_bytes(bytes.data + n, bytes.len - n);
    }
    if (bytes.len > message->declared - message->body.len) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_INVALID_ARGUMENT,
                               "more than one message in the request of a unary call");
    }
    if (bytes.len > 0 && kek_buf_append(&message->body, bytes, NULL) != KEK_OK) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_RESOURCE_EXHAUSTED, "out of memory");
    }
    return true;
}

bool kek_grpc_message_end(const struct kek_grpc_message *message, struct kek_grpc_refusal *refusal)
{
    if (message->prefix_len == 0) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_INVALID_ARGUMENT,
                               "the request carries no message");
    }
    if (message->prefix_len < KEK_GRPC_PREFIX) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_INVALID_ARGUMENT,
                               "the request ends within its message's prefix");
    }
    if (message->body.len < message->declared) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_INVALID_ARGUMENT,
                               "the request message is truncated: %zu of %u bytes",
                               message->body.len, (unsigned)message->declared);
    }
    return true;
}
