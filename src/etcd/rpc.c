#include "rpc.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kek/text.h"
#include "message.h"

/* Codes of gRPC (google.rpc.Code) that etcd answers with. */
enum {
    INVALID_ARGUMENT = 3,
    PERMISSION_DENIED = 7,
    FAILED_PRECONDITION = 9,
    OUT_OF_RANGE = 11,
    UNAUTHENTICATED = 16,
    CODES = 17
};

enum { TYPE, STATUS, MESSAGE };

void rpc_start(struct kek_remote *remote, struct rpc *rpc)
{
    static const char *const plain[] = {"Content-Type: application/grpc", "TE: trailers", NULL};
    /* As etcd's own client asks for it (clientv3.WithRequireLeader). */
    static const char *const led[] = {"Content-Type: application/grpc", "TE: trailers",
                                      "hasleader: true", NULL};
    size_t len = strlen(rpc->endpoint);
    len -= len > 0 && rpc->endpoint[len - 1] == '/';
    snprintf(rpc->url, sizeof rpc->url, "%.*s%s", (int)len, rpc->endpoint, rpc->path);
    rpc->headers[TYPE].name = "content-type";
    rpc->headers[STATUS].name = "grpc-status";
    rpc->headers[MESSAGE].name = "grpc-message";
    rpc->call = (struct kek_remote_call){.method = "POST",
                                         .url = rpc->url,
                                         .plain = strncmp(rpc->url, "http://", 7) == 0,
                                         .socket = rpc->socket,
                                         .http2 = true,
                                         .headers = rpc->needs_leader ? led : plain,
                                         .credential = rpc->token,
                                         .send = rpc->request,
                                         .send_secret = rpc->secret,
                                         .deadline_ms = rpc->deadline_ms,
                                         .idle_ms = rpc->idle_ms,
                                         .take = rpc->take,
                                         .take_arg = rpc->arg,
                                         .wanted = rpc->headers,
                                         .wanted_count = 3};
    kek_buf_init(&rpc->call.body, MESSAGE_SMALL_MAX);
    kek_remote_start(remote, &rpc->call);
}

void rpc_done(struct rpc *rpc)
{
    kek_buf_done(&rpc->call.body);
}

static int hex(char digit)
{
    return digit >= '0' && digit <= '9'   ? digit - '0'
           : digit >= 'A' && digit <= 'F' ? digit - 'A' + 10
           : digit >= 'a' && digit <= 'f' ? digit - 'a' + 10
                                          : -1;
}

/* grpc-message has what is not printable ASCII as %XX. */
static void unescape(const char *text, char *out, size_t size)
{
    size_t len = 0;
    while (*text != '\0' && len + 1 < size) {
        int high = text[0] == '%' ? hex(text[1]) : -1;
        int low = high < 0 ? -1 : hex(text[2]);
        out[len++] = low < 0 ? *text : (char)(high << 4 | low);
        text += low < 0 ? 1 : 3;
    }
    out[len] = '\0';
    kek_text_clean(out);
}

static bool has(const char *message, const char *words)
{
    return strstr(message, words) != NULL;
}

/* By what etcd says (api/v3rpc/rpctypes/error.go): its codes alone do not tell these apart. */
static enum rpc_end end_of(uint64_t code, const char *message)
{
    switch (code) {
    case 0:
        return RPC_GOOD;
    case OUT_OF_RANGE: /* or a revision that this member does not have yet */
        return has(message, "compacted") ? RPC_COMPACTED : RPC_ELSEWHERE;
    case UNAUTHENTICATED:
        return RPC_TOKEN;
    case INVALID_ARGUMENT:
        return has(message, "user name is empty") || has(message, "auth store is old") ? RPC_TOKEN
                                                                                       : RPC_FAILED;
    case FAILED_PRECONDITION:
        return has(message, "authentication is not enabled") ? RPC_NO_AUTH : RPC_ELSEWHERE;
    case PERMISSION_DENIED:
        return RPC_FAILED;
    default:
        return RPC_ELSEWHERE;
    }
}

static enum kek_rc class_of(uint64_t code)
{
    switch (code) {
    case INVALID_ARGUMENT: /* "invalid user ID or password" is one, too */
    case PERMISSION_DENIED:
    case UNAUTHENTICATED:
        return KEK_DENIED;
    default:
        return KEK_UNAVAILABLE;
    }
}

enum rpc_end rpc_finish(const struct rpc *rpc, struct kek_why *why)
{
    const struct kek_remote_call *call = &rpc->call;
    char message[KEK_REMOTE_VALUE_MAX];
    uint64_t code = 0;
    unescape(rpc->headers[MESSAGE].value, message, sizeof message);
    bool is_grpc = strncasecmp(rpc->headers[TYPE].value, "application/grpc", 16) == 0;
    if (call->status != 0 && !is_grpc) {
        kek_fail_native(why, KEK_INVALID, KEK_NATIVE_HTTP, (unsigned long)call->status,
                        "%s: this is no etcd: HTTP status %ld and no gRPC", rpc->endpoint,
                        call->status);
        return RPC_ELSEWHERE;
    }
    if (call->rc != KEK_OK) {
        *why = call->why;
        return RPC_ELSEWHERE;
    }
    if (!kek_text_decimal(rpc->headers[STATUS].value, CODES, &code)) {
        kek_fail(why, KEK_UNAVAILABLE, "%s: the answer has no gRPC status: it was cut off",
                 rpc->endpoint);
        return RPC_ELSEWHERE;
    }
    if (code != 0) {
        kek_fail(why, class_of(code), "%s: %s (gRPC status %llu)", rpc->endpoint, message,
                 (unsigned long long)code);
    }
    return end_of(code, message);
}
