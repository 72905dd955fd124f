#include "wire.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "common.h"

#define FRAME_HEAD 9
#define FRAME_MAX 16384u /* SETTINGS_MAX_FRAME_SIZE as nobody changes it */
#define IN_SIZE (256u * 1024)
#define BLOCK_MAX 256u /* bytes of a request's header block */
#define OUT_SIZE (WIRE_STREAMS_MAX * (sizeof(struct wire_request) + BLOCK_MAX) + 4096u)
#define WINDOW (1u << 30) /* what the peer may send before it needs a WINDOW_UPDATE */
#define SPAN 65536u       /* of stream numbers open at once: oldest to newest */
#define FREE 0u

/* The fields that every call of one kind shares; the paths first. `static_name` names the field from
 * the static table (RFC 7541 appendix A), 0: `name` does. */
struct field {
    uint8_t static_name;
    const char *name, *value;
};

static const struct field fields[] = {
    [WIRE_V2_STATUS] = {4, NULL, "/v2.KeyManagementService/Status"},
    [WIRE_V2_ENCRYPT] = {4, NULL, "/v2.KeyManagementService/Encrypt"},
    [WIRE_V2_DECRYPT] = {4, NULL, "/v2.KeyManagementService/Decrypt"},
    [WIRE_V1_VERSION] = {4, NULL, "/v1beta1.KeyManagementService/Version"},
    [WIRE_V1_ENCRYPT] = {4, NULL, "/v1beta1.KeyManagementService/Encrypt"},
    [WIRE_V1_DECRYPT] = {4, NULL, "/v1beta1.KeyManagementService/Decrypt"},
    [WIRE_PATHS] = {1, NULL, "localhost"},
    {31, NULL, "application/grpc"},
    {58, NULL, "kekd-bench"},
    {0, "te", "trailers"},
};
#define FIELDS (sizeof fields / sizeof fields[0])

/* An open call. */
struct stream {
    uint32_t tag;
    bool failed; /* :status other than 200 */
    int status;  /* -1 until the trailers */
    size_t len;
    uint64_t queued_ns;
    uint8_t data[WIRE_MESSAGE_MAX + 5];
};

/* What a header block says that matters here. */
struct block {
    bool http_ok; /* no :status, or 200 */
    int status;   /* grpc-status, -1 if absent */
};

/* A block of indexed fields only: what it says depends on the dynamic table alone. */
struct seen {
    uint64_t table; /* valid while this is the table's generation */
    size_t len;
    uint8_t bytes[16];
    struct block block;
};

struct wire {
    int fd;
    nghttp2_hd_inflater *inflater;
    uint64_t table; /* generation of the inflater's dynamic table */
    struct seen seen[4];
    unsigned seen_next;
    unsigned entries; /* of the dynamic table of the requests' blocks */
    unsigned entry_of[FIELDS];
    uint32_t next_id;
    int64_t send_window;
    uint32_t received; /* since the last WINDOW_UPDATE of ours */
    struct wire_bytes bytes;
    size_t in_at, in_len, out_len;
    uint16_t slot_of[SPAN]; /* by stream number; FREE or index + 1 */
    uint16_t free_slots[WIRE_STREAMS_MAX];
    unsigned free_count;
    struct stream streams[WIRE_STREAMS_MAX];
    struct stream done; /* the reply handed out last */
    uint8_t in[IN_SIZE];
    uint8_t out[OUT_SIZE];
};

/* -- writing frames ---------------------------------------------------------------------------- */

static void put32(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 24);
    at[1] = (uint8_t)(value >> 16);
    at[2] = (uint8_t)(value >> 8);
    at[3] = (uint8_t)value;
}

static uint32_t get32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static void put_head(uint8_t *at, size_t len, uint8_t type, uint8_t flags, uint32_t stream)
{
    put32(at, (uint32_t)len << 8 | type);
    at[4] = flags;
    put32(at + 5, stream);
}

/* A string of under 127 bytes as it is, RFC 7541 section 5.2. */
static size_t put_text(uint8_t *at, const char *text)
{
    size_t len = strlen(text);
    at[0] = (uint8_t)len;
    memcpy(at + 1, text, len);
    return 1 + len;
}

/* A field by its place in the dynamic table; the first time it is spelled out and put there (RFC 7541
 * sections 6.1 and 6.2.1). */
static size_t put_field(struct wire *wire, uint8_t *at, unsigned which)
{
    const struct field *field = &fields[which];
    if (wire->entry_of[which] > 0) {
        at[0] = (uint8_t)(0x80 | (62 + wire->entries - wire->entry_of[which]));
        return 1;
    }
    size_t len = 0;
    at[len++] = (uint8_t)(0x40 | field->static_name);
    if (field->static_name == 0) {
        len += put_text(at + len, field->name);
    }
    wire->entry_of[which] = ++wire->entries;
    return len + put_text(at + len, field->value);
}

/* The fields of a call as grpc-go sends them. */
static size_t put_block(struct wire *wire, uint8_t *at, enum wire_path path)
{
    size_t len = 0;
    at[len++] = 0x83; /* :method POST */
    at[len++] = 0x86; /* :scheme http */
    len += put_field(wire, at + len, path);
    for (unsigned which = WIRE_PATHS; which < FIELDS; which++) {
        len += put_field(wire, at + len, which);
    }
    at[len++] = 0x00; /* a literal that enters no table: in life it is another one each time */
    len += put_text(at + len, "grpc-timeout");
    return len + put_text(at + len, "30S");
}

void wire_request_make(struct wire_request *request, enum wire_path path, const uint8_t *message,
                       size_t len)
{
    if (len > WIRE_MESSAGE_MAX) {
        bench_die("a request of %zu bytes is too large for this client", len);
    }
    request->path = path;
    request->len = FRAME_HEAD + 5 + len;
    put_head(request->frame, 5 + len, NGHTTP2_DATA, NGHTTP2_FLAG_END_STREAM, 0);
    request->frame[FRAME_HEAD] = 0; /* not compressed */
    put32(request->frame + FRAME_HEAD + 1, (uint32_t)len);
    if (len > 0) {
        memcpy(request->frame + FRAME_HEAD + 5, message, len);
    }
}

static uint8_t *out_room(struct wire *wire, size_t len)
{
    if (wire->out_len + len > OUT_SIZE) {
        wire_flush(wire);
    }
    uint8_t *at = wire->out + wire->out_len;
    wire->out_len += len;
    return at;
}

void wire_flush(struct wire *wire)
{
    size_t done = 0;
    while (done < wire->out_len) {
        ssize_t n = send(wire->fd, wire->out + done, wire->out_len - done, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            bench_die("write: %s", strerror(errno));
        }
        done += (size_t)n;
    }
    wire->bytes.sent += done;
    wire->out_len = 0;
}

/* -- reading frames ---------------------------------------------------------------------------- */

static struct block inflate(struct wire *wire, const uint8_t *at, size_t len)
{
    struct block block = {.http_ok = true, .status = -1};
    for (;;) {
        nghttp2_nv field;
        int flags = 0;
        ssize_t n = nghttp2_hd_inflate_hd2(wire->inflater, &field, &flags, at, len, 1);
        if (n < 0) {
            bench_die("a header block does not decode: %s", nghttp2_strerror((int)n));
        }
        at += n;
        len -= (size_t)n;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            bool one = field.valuelen == 1 && field.value[0] >= '0' && field.value[0] <= '9';
            bool two = field.valuelen == 2 && field.value[0] == '1' && field.value[1] >= '0' &&
                       field.value[1] <= '9';
            if (field.namelen == 7 && memcmp(field.name, ":status", 7) == 0) {
                block.http_ok = field.valuelen == 3 && memcmp(field.value, "200", 3) == 0;
            } else if (field.namelen == 11 && memcmp(field.name, "grpc-status", 11) == 0) {
                if (one) {
                    block.status = field.value[0] - '0';
                } else if (two) {
                    block.status = 10 + field.value[1] - '0';
                }
            }
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
            nghttp2_hd_inflate_end_headers(wire->inflater);
            return block;
        }
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) == 0 && len == 0) {
            bench_die("a header block is cut short");
        }
    }
}

/* Only one-byte indexed fields, RFC 7541 section 6.1: decoding it changes nothing. */
static bool is_indexed_only(const uint8_t *at, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (at[i] < 0x81 || at[i] == 0xff) {
            return false;
        }
    }
    return true;
}

static struct block read_block(struct wire *wire, const uint8_t *at, size_t len)
{
    if (len > sizeof wire->seen[0].bytes || !is_indexed_only(at, len)) {
        wire->table++;
        return inflate(wire, at, len);
    }
    for (size_t i = 0; i < sizeof wire->seen / sizeof wire->seen[0]; i++) {
        const struct seen *seen = &wire->seen[i];
        if (seen->table == wire->table && seen->len == len && memcmp(seen->bytes, at, len) == 0) {
            return seen->block;
        }
    }
    struct seen *seen = &wire->seen[wire->seen_next++ % (sizeof wire->seen / sizeof *seen)];
    seen->table = wire->table;
    seen->len = len;
    memcpy(seen->bytes, at, len);
    seen->block = inflate(wire, at, len);
    return seen->block;
}

static struct stream *find_stream(struct wire *wire, uint32_t id)
{
    uint16_t slot = wire->slot_of[(id >> 1) % SPAN];
    if (slot == FREE) {
        bench_die("a frame for stream %u, which is not open", id);
    }
    return &wire->streams[slot - 1];
}

static void finish_stream(struct wire *wire, uint32_t id, struct wire_reply *reply)
{
    uint16_t slot = wire->slot_of[(id >> 1) % SPAN];
    struct stream *stream = &wire->streams[slot - 1];
    wire->slot_of[(id >> 1) % SPAN] = FREE;
    wire->free_slots[wire->free_count++] = (uint16_t)(slot - 1);

    reply->tag = stream->tag;
    reply->queued_ns = stream->queued_ns;
    reply->status = stream->failed ? -1 : stream->status;
    reply->message = wire->done.data;
    reply->len = 0;
    if (reply->status != 0) {
        return;
    }
    if (stream->len < 5 || stream->data[0] != 0 || get32(stream->data + 1) != stream->len - 5) {
        bench_die("a reply without exactly one uncompressed message");
    }
    reply->len = stream->len - 5;
    memcpy(wire->done.data, stream->data + 5, reply->len);
}

static void take_data(struct wire *wire, uint32_t id, const uint8_t *at, size_t len)
{
    struct stream *stream = find_stream(wire, id);
    if (len > sizeof stream->data - stream->len) {
        bench_die("a reply larger than %d bytes", WIRE_MESSAGE_MAX);
    }
    memcpy(stream->data + stream->len, at, len);
    stream->len += len;
    wire->received += (uint32_t)len;
    if (wire->received >= WINDOW / 2) {
        uint8_t *frame = out_room(wire, FRAME_HEAD + 4);
        put_head(frame, 4, NGHTTP2_WINDOW_UPDATE, 0, 0);
        put32(frame + FRAME_HEAD, wire->received);
        wire->received = 0;
    }
}

static void take_control(struct wire *wire, uint8_t type, uint8_t flags, uint32_t id,
                         const uint8_t *at, size_t len)
{
    if (type == NGHTTP2_SETTINGS && (flags & NGHTTP2_FLAG_ACK) == 0) {
        for (size_t i = 0; i + 6 <= len; i += 6) {
            if (at[i + 1] == NGHTTP2_SETTINGS_HEADER_TABLE_SIZE && get32(at + i + 2) < 4096) {
                bench_die("a smaller header table than the default, which this client needs");
            }
        }
        put_head(out_room(wire, FRAME_HEAD), 0, NGHTTP2_SETTINGS, NGHTTP2_FLAG_ACK, 0);
    } else if (type == NGHTTP2_PING && (flags & NGHTTP2_FLAG_ACK) == 0 && len == 8) {
        uint8_t *frame = out_room(wire, FRAME_HEAD + 8);
        put_head(frame, 8, NGHTTP2_PING, NGHTTP2_FLAG_ACK, 0);
        memcpy(frame + FRAME_HEAD, at, 8);
    } else if (type == NGHTTP2_WINDOW_UPDATE && id == 0 && len == 4) {
        wire->send_window += get32(at) & 0x7fffffffu;
    } else if (type == NGHTTP2_GOAWAY) {
        bench_die("the server says goodbye (GOAWAY)");
    } else if (type == NGHTTP2_CONTINUATION) {
        bench_die("a header block in several frames, which this client does not read");
    }
}

/* One whole frame; true if it ends a call. */
static bool take_frame(struct wire *wire, const uint8_t *frame, size_t len,
                       struct wire_reply *reply)
{
    uint8_t type = frame[3];
    uint8_t flags = frame[4];
    uint32_t id = get32(frame + 5) & 0x7fffffffu;
    const uint8_t *payload = frame + FRAME_HEAD;

    if (type == NGHTTP2_DATA || type == NGHTTP2_HEADERS) {
        if ((flags & (NGHTTP2_FLAG_PADDED | NGHTTP2_FLAG_PRIORITY)) != 0) {
            bench_die("a padded frame or one with a priority, which this client does not read");
        }
    }
    if (type == NGHTTP2_DATA) {
        take_data(wire, id, payload, len);
    } else if (type == NGHTTP2_HEADERS) {
        if ((flags & NGHTTP2_FLAG_END_HEADERS) == 0) {
            bench_die("a header block in several frames, which this client does not read");
        }
        struct block block = read_block(wire, payload, len);
        struct stream *stream = find_stream(wire, id);
        stream->failed = stream->failed || !block.http_ok;
        if (block.status >= 0) {
            stream->status = block.status;
        }
    } else if (type == NGHTTP2_RST_STREAM) {
        find_stream(wire, id)->failed = true;
    } else {
        take_control(wire, type, flags, id, payload, len);
        return false;
    }
    if (type == NGHTTP2_RST_STREAM || (flags & NGHTTP2_FLAG_END_STREAM) != 0) {
        finish_stream(wire, id, reply);
        return true;
    }
    return false;
}

static void read_more(struct wire *wire)
{
    if (wire->in_at > 0) {
        memmove(wire->in, wire->in + wire->in_at, wire->in_len - wire->in_at);
        wire->in_len -= wire->in_at;
        wire->in_at = 0;
    }
    ssize_t n;
    do {
        n = read(wire->fd, wire->in + wire->in_len, IN_SIZE - wire->in_len);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        bench_die("read: %s", strerror(errno));
    }
    if (n == 0) {
        bench_die("the server closed the connection");
    }
    wire->in_len += (size_t)n;
    wire->bytes.received += (uint64_t)n;
}

bool wire_next(struct wire *wire, bool block, struct wire_reply *reply)
{
    for (;;) {
        size_t have = wire->in_len - wire->in_at;
        if (have >= FRAME_HEAD) {
            const uint8_t *frame = wire->in + wire->in_at;
            size_t len = get32(frame) >> 8;
            if (len > FRAME_MAX) {
                bench_die("a frame of %zu bytes", len);
            }
            if (have >= FRAME_HEAD + len) {
                wire->in_at += FRAME_HEAD + len;
                if (take_frame(wire, frame, len, reply)) {
                    return true;
                }
                continue;
            }
        }
        if (!block) {
            return false;
        }
        wire_flush(wire);
        read_more(wire);
    }
}

/* -- calls ------------------------------------------------------------------------------------- */

void wire_queue(struct wire *wire, const struct wire_request *request, uint32_t tag)
{
    uint32_t id = wire->next_id;
    uint16_t *slot_of = &wire->slot_of[(id >> 1) % SPAN];
    if (wire->free_count == 0 || *slot_of != FREE || (id >> 1) >= WIRE_CALLS_MAX) {
        bench_die("too many calls open, or made, on one connection");
    }
    wire->send_window -= (int64_t)(request->len - FRAME_HEAD);
    if (wire->send_window < 0) {
        bench_die("the server's flow-control window is exhausted");
    }
    wire->next_id += 2;
    uint16_t slot = wire->free_slots[--wire->free_count];
    *slot_of = (uint16_t)(slot + 1);
    struct stream *stream = &wire->streams[slot];
    stream->tag = tag;
    stream->failed = false;
    stream->status = -1;
    stream->len = 0;

    uint8_t *at = out_room(wire, FRAME_HEAD + BLOCK_MAX + request->len);
    size_t block = put_block(wire, at + FRAME_HEAD, request->path);
    put_head(at, block, NGHTTP2_HEADERS, NGHTTP2_FLAG_END_HEADERS, id);
    at += FRAME_HEAD + block;
    memcpy(at, request->frame, request->len);
    put32(at + 5, id);
    wire->out_len -= BLOCK_MAX - block;
    stream->queued_ns = bench_now_ns();
}

void wire_call(struct wire *wire, const struct wire_request *request, struct wire_reply *reply)
{
    wire_queue(wire, request, 0);
    wire_flush(wire);
    wire_next(wire, true, reply);
}

struct wire_bytes wire_bytes(const struct wire *wire)
{
    return wire->bytes;
}

static int connect_to(const char *socket_path, unsigned timeout_s)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    size_t len = strlen(socket_path);
    if (len >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    memcpy(address.sun_path, socket_path, len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    struct timeval limit = {.tv_sec = timeout_s};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        int cause = errno;
        close(fd);
        errno = cause;
        return -1;
    }
    return fd;
}

/* Preface, SETTINGS (a stream window of 1 MiB, no push), and the connection's window. */
static void send_preface(struct wire *wire)
{
    static const uint8_t settings[] = {0, NGHTTP2_SETTINGS_ENABLE_PUSH,         0, 0,    0, 0,
                                       0, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, 0, 0x10, 0, 0};
    memcpy(out_room(wire, NGHTTP2_CLIENT_MAGIC_LEN), NGHTTP2_CLIENT_MAGIC,
           NGHTTP2_CLIENT_MAGIC_LEN);
    uint8_t *frame = out_room(wire, FRAME_HEAD + sizeof settings);
    put_head(frame, sizeof settings, NGHTTP2_SETTINGS, 0, 0);
    memcpy(frame + FRAME_HEAD, settings, sizeof settings);
    frame = out_room(wire, FRAME_HEAD + 4);
    put_head(frame, 4, NGHTTP2_WINDOW_UPDATE, 0, 0);
    put32(frame + FRAME_HEAD, WINDOW - 65535);
    wire_flush(wire);
}

struct wire *wire_open(const char *socket_path, unsigned timeout_s)
{
    int fd = connect_to(socket_path, timeout_s);
    if (fd < 0) {
        return NULL;
    }
    struct wire *wire = calloc(1, sizeof *wire);
    if (wire == NULL || nghttp2_hd_inflate_new(&wire->inflater) != 0) {
        bench_die("out of memory");
    }
    wire->fd = fd;
    wire->table = 1;
    wire->next_id = 1;
    wire->send_window = 65535;
    for (uint16_t i = 0; i < WIRE_STREAMS_MAX; i++) {
        wire->free_slots[wire->free_count++] = i;
    }
    send_preface(wire);
    return wire;
}

void wire_close(struct wire *wire)
{
    nghttp2_hd_inflate_del(wire->inflater);
    close(wire->fd);
    free(wire);
}
