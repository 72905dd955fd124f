#include "transfer.h"

#include <string.h>
#include <strings.h>

#include "kek/clock.h"

static bool is_blank(char byte)
{
    return byte == ' ' || byte == '\t' || byte == '\r' || byte == '\n';
}

/* Is it "Name: ..." of this name? Moves *bytes to the value. */
static bool is_named(const char *name, const char **bytes, size_t *len)
{
    size_t named = strlen(name);
    if (*len <= named || (*bytes)[named] != ':' || strncasecmp(*bytes, name, named) != 0) {
        return false;
    }
    *bytes += named + 1;
    *len -= named + 1;
    return true;
}

static void keep(struct kek_remote_header *header, const char *value, size_t len)
{
    while (len > 0 && is_blank(value[0])) {
        value++;
        len--;
    }
    while (len > 0 && is_blank(value[len - 1])) {
        len--;
    }
    len = len < sizeof header->value ? len : sizeof header->value - 1;
    memcpy(header->value, value, len);
    header->value[len] = '\0';
}

/* One line at a time, trailers too; an interim answer (1xx) has its own status line, and counts for nothing. */
size_t transfer_on_header(char *bytes, size_t one, size_t len, void *arg)
{
    struct transfer *transfer = arg;
    struct kek_remote_call *call = transfer->call;
    size_t all = one * len;
    bool first = all >= 5 && memcmp(bytes, "HTTP/", 5) == 0;
    *transfer->moved = true;
    transfer->last_ms = kek_clock_ms();
    transfer->header_bytes += all;
    if (transfer->header_bytes > KEK_REMOTE_HEADERS_MAX) {
        transfer->failed =
            kek_fail(&call->why, KEK_TOO_LARGE, "%s: the answer's header has more than %u bytes",
                     transfer->shown, KEK_REMOTE_HEADERS_MAX);
        return 0;
    }
    for (size_t i = 0; i < call->wanted_count; i++) {
        const char *value = bytes;
        size_t value_len = all;
        if (first) {
            call->wanted[i].value[0] = '\0';
        } else if (is_named(call->wanted[i].name, &value, &value_len)) {
            keep(&call->wanted[i], value, value_len);
        }
    }
    return all;
}

static enum kek_rc collect(struct transfer *transfer, struct kek_bytes piece, bool good)
{
    struct kek_remote_call *call = transfer->call;
    size_t room = call->body.max - call->body.len;
    if (!good && piece.len > room) {
        piece.len = room;
    }
    if (piece.len > room) {
        return kek_fail(&call->why, KEK_TOO_LARGE, "%s: the answer has more than %zu bytes",
                        transfer->shown, call->body.max);
    }
    return kek_buf_append(&call->body, piece, &call->why);
}

size_t transfer_on_body(char *bytes, size_t one, size_t len, void *arg)
{
    struct transfer *transfer = arg;
    struct kek_remote_call *call = transfer->call;
    struct kek_bytes piece = kek_bytes(bytes, one * len);
    long status = 0;
    *transfer->moved = true;
    transfer->last_ms = kek_clock_ms();
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &status);
    bool good = status >= 200 && status < 300;
    transfer->failed = good && call->take != NULL ? call->take(call->take_arg, piece, &call->why)
                                                  : collect(transfer, piece, good);
    return transfer->failed == KEK_OK ? piece.len : CURL_WRITEFUNC_ERROR;
}
