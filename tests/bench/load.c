/*
 * Calls kekd over its socket, one at a time or many at once, and prints one line of JSON.
 *
 * Every reply's status is checked; every Decrypt's plaintext is compared with what it must be; of the
 * Encrypts a sample is decrypted and compared once the measured part is over.  A wrong answer ends
 * the program with 1: what is measured is correct work.
 */
#include "wire.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#include "common.h"
#include "kms_v1beta1.pb-c.h"
#include "kms_v2.pb-c.h"

#define PLAIN_LEN 32 /* a data encryption key, or the seed of one */
#define ITEMS_DEFAULT 256u
#define CALLS_MAX 100000000u
#define SAMPLES_MAX 64u
#define SERIAL_MAX 1000000u /* latencies that are kept */
#define TIMEOUT_S 30u

enum method { METHOD_STATUS, METHOD_ENCRYPT, METHOD_DECRYPT };

struct options {
    const char *socket, *save, *from;
    enum method method;
    bool v1;
    uint32_t calls, streams, warmup;
    unsigned wait_s;
};

/* One plaintext, and what it became. */
struct item {
    uint8_t plain[PLAIN_LEN];
    size_t sealed_len, key_id_len;
    uint8_t sealed[1024];
    char key_id[64];
    struct wire_request request;
};

struct samples {
    uint32_t count, every;
    struct item *items;
};

/* Item i's plaintext is a function of i alone, so that another process can check it. */
static void fill_plain(uint8_t plain[static PLAIN_LEN], uint32_t i)
{
    uint64_t state = i;
    for (size_t at = 0; at < PLAIN_LEN; at += 8) {
        state += 0x9e3779b97f4a7c15u; /* splitmix64 */
        uint64_t word = state;
        word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9u;
        word = (word ^ (word >> 27)) * 0x94d049bb133111ebu;
        word ^= word >> 31;
        memcpy(plain + at, &word, 8);
    }
}

static struct item *make_items(uint32_t count)
{
    struct item *items = calloc(count, sizeof *items);
    if (items == NULL) {
        bench_die("out of memory");
    }
    for (uint32_t i = 0; i < count; i++) {
        fill_plain(items[i].plain, i);
    }
    return items;
}

/* -- messages ---------------------------------------------------------------------------------- */

static char uid_text[] = "0f5ab7a6-6c1e-4a2b-9f8f-2a30b2a7f001"; /* as long as the API server's */
static char v1_text[] = "v1beta1";

static void make_encrypt(struct item *item, bool v1)
{
    uint8_t message[WIRE_MESSAGE_MAX];
    ProtobufCBinaryData plain = {.data = item->plain, .len = sizeof item->plain};
    size_t len;
    if (v1) {
        V1beta1__EncryptRequest request = V1BETA1__ENCRYPT_REQUEST__INIT;
        request.version = v1_text;
        request.plain = plain;
        len = v1beta1__encrypt_request__pack(&request, message);
    } else {
        V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
        request.plaintext = plain;
        request.uid = uid_text;
        len = v2__encrypt_request__pack(&request, message);
    }
    wire_request_make(&item->request, v1 ? WIRE_V1_ENCRYPT : WIRE_V2_ENCRYPT, message, len);
}

static void make_decrypt(struct item *item, bool v1)
{
    uint8_t message[WIRE_MESSAGE_MAX];
    ProtobufCBinaryData sealed = {.data = item->sealed, .len = item->sealed_len};
    size_t len;
    if (v1) {
        V1beta1__DecryptRequest request = V1BETA1__DECRYPT_REQUEST__INIT;
        request.version = v1_text;
        request.cipher = sealed;
        len = v1beta1__decrypt_request__pack(&request, message);
    } else {
        V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
        request.ciphertext = sealed;
        request.uid = uid_text;
        request.key_id = item->key_id;
        len = v2__decrypt_request__pack(&request, message);
    }
    wire_request_make(&item->request, v1 ? WIRE_V1_DECRYPT : WIRE_V2_DECRYPT, message, len);
}

static void make_status(struct item *item, bool v1)
{
    if (v1) {
        V1beta1__VersionRequest request = V1BETA1__VERSION_REQUEST__INIT;
        uint8_t message[64];
        request.version = v1_text;
        size_t len = v1beta1__version_request__pack(&request, message);
        wire_request_make(&item->request, WIRE_V1_VERSION, message, len);
    } else {
        wire_request_make(&item->request, WIRE_V2_STATUS, NULL, 0);
    }
}

static void keep_sealed(struct item *item, ProtobufCBinaryData sealed, const char *key_id)
{
    size_t key_id_len = strlen(key_id);
    if (sealed.len == 0 || sealed.len > sizeof item->sealed || key_id_len >= sizeof item->key_id) {
        bench_die("Encrypt answered with %zu bytes and a key_id of %zu", sealed.len, key_id_len);
    }
    memcpy(item->sealed, sealed.data, sealed.len);
    item->sealed_len = sealed.len;
    memcpy(item->key_id, key_id, key_id_len + 1);
    item->key_id_len = key_id_len;
}

static void read_encrypt(struct item *item, const struct wire_reply *reply, bool v1)
{
    if (v1) {
        V1beta1__EncryptResponse *answer =
            v1beta1__encrypt_response__unpack(NULL, reply->len, reply->message);
        if (answer == NULL) {
            bench_die("Encrypt answered with something that is no EncryptResponse");
        }
        keep_sealed(item, answer->cipher, "");
        v1beta1__encrypt_response__free_unpacked(answer, NULL);
    } else {
        V2__EncryptResponse *answer =
            v2__encrypt_response__unpack(NULL, reply->len, reply->message);
        if (answer == NULL) {
            bench_die("Encrypt answered with something that is no EncryptResponse");
        }
        keep_sealed(item, answer->ciphertext, answer->key_id);
        v2__encrypt_response__free_unpacked(answer, NULL);
    }
}

/* DecryptResponse is one field in v1 and v2: 1, bytes. */
static void check_decrypt(const struct item *item, const struct wire_reply *reply)
{
    if (reply->len != 2 + PLAIN_LEN || reply->message[0] != 0x0a ||
        reply->message[1] != PLAIN_LEN || memcmp(reply->message + 2, item->plain, PLAIN_LEN) != 0) {
        bench_die("Decrypt answered with another plaintext than was encrypted");
    }
}

static void check_status(const struct wire_reply *reply)
{
    if (reply->status != 0) {
        bench_die("a call failed with gRPC status %d", reply->status);
    }
}

/* -- items in a file: u16 key_id length | key_id | u16 length | ciphertext, host order ---------- */

static void save_items(const char *path, const struct item *items, uint32_t count)
{
    FILE *file = fopen(path, "wb");
    if (file == NULL) {
        bench_die("%s: %s", path, strerror(errno));
    }
    for (uint32_t i = 0; i < count; i++) {
        uint16_t key_id_len = (uint16_t)items[i].key_id_len;
        uint16_t sealed_len = (uint16_t)items[i].sealed_len;
        fwrite(&key_id_len, sizeof key_id_len, 1, file);
        fwrite(items[i].key_id, 1, key_id_len, file);
        fwrite(&sealed_len, sizeof sealed_len, 1, file);
        fwrite(items[i].sealed, 1, sealed_len, file);
    }
    bool failed = ferror(file) != 0;
    if (fclose(file) != 0 || failed) {
        bench_die("%s: cannot write", path);
    }
}

static bool read_part(FILE *file, void *part, size_t size, size_t *len)
{
    uint16_t part_len = 0;
    if (fread(&part_len, sizeof part_len, 1, file) != 1 || part_len > size) {
        return false;
    }
    *len = part_len;
    return fread(part, 1, part_len, file) == part_len;
}

static void load_items(const char *path, struct item *items, uint32_t count)
{
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        bench_die("%s: %s", path, strerror(errno));
    }
    for (uint32_t i = 0; i < count; i++) {
        struct item *item = &items[i];
        if (!read_part(file, item->key_id, sizeof item->key_id - 1, &item->key_id_len) ||
            !read_part(file, item->sealed, sizeof item->sealed, &item->sealed_len)) {
            bench_die("%s: fewer than %u ciphertexts", path, count);
        }
    }
    fclose(file);
}

/* -- the measured loops ------------------------------------------------------------------------ */

struct run {
    const struct options *options;
    struct wire *wire;
    struct item *items;
    uint32_t item_count;
    struct samples samples;
    uint32_t *latency_ns; /* of every call, NULL: not kept */
};

static void take_reply(struct run *run, const struct wire_reply *reply, uint32_t call)
{
    check_status(reply);
    struct item *item = &run->items[call % run->item_count];
    if (run->options->method == METHOD_DECRYPT) {
        check_decrypt(item, reply);
    } else if (run->options->method == METHOD_ENCRYPT) {
        if (run->options->save != NULL) {
            read_encrypt(item, reply, run->options->v1);
        } else if (call % run->samples.every == 0 && run->samples.count < SAMPLES_MAX) {
            struct item *sample = &run->samples.items[run->samples.count++];
            memcpy(sample->plain, item->plain, PLAIN_LEN);
            read_encrypt(sample, reply, run->options->v1);
        }
    }
}

static void run_serial(struct run *run, uint32_t calls)
{
    struct wire_reply reply;
    for (uint32_t call = 0; call < calls; call++) {
        uint64_t start = bench_now_ns();
        wire_call(run->wire, &run->items[call % run->item_count].request, &reply);
        if (run->latency_ns != NULL) {
            run->latency_ns[call] = bench_since(start);
        }
        take_reply(run, &reply, call);
    }
}

/* Keeps `streams` calls open until the last was made. */
static void run_parallel(struct run *run, uint32_t calls)
{
    uint32_t made = 0;
    uint32_t answered = 0;
    struct wire_reply reply;
    while (made < calls && made < run->options->streams) {
        wire_queue(run->wire, &run->items[made % run->item_count].request, made);
        made++;
    }
    while (answered < calls) {
        bool more = wire_next(run->wire, true, &reply);
        while (more) {
            if (run->latency_ns != NULL) {
                run->latency_ns[reply.tag] = bench_since(reply.queued_ns);
            }
            take_reply(run, &reply, reply.tag);
            answered++;
            if (made < calls) {
                wire_queue(run->wire, &run->items[made % run->item_count].request, made);
                made++;
            }
            more = wire_next(run->wire, false, &reply);
        }
    }
}

static void run_calls(struct run *run, uint32_t calls)
{
    if (run->options->streams == 1) {
        run_serial(run, calls);
    } else {
        run_parallel(run, calls);
    }
}

/* -- before and after -------------------------------------------------------------------------- */

/* Encrypts every item, unmeasured. */
static void seal_items(struct run *run)
{
    struct wire_reply reply;
    for (uint32_t i = 0; i < run->item_count; i++) {
        make_encrypt(&run->items[i], run->options->v1);
        wire_call(run->wire, &run->items[i].request, &reply);
        check_status(&reply);
        read_encrypt(&run->items[i], &reply, run->options->v1);
    }
}

static void open_items(struct run *run, struct item *items, uint32_t count)
{
    struct wire_reply reply;
    for (uint32_t i = 0; i < count; i++) {
        make_decrypt(&items[i], run->options->v1);
        wire_call(run->wire, &items[i].request, &reply);
        check_status(&reply);
        check_decrypt(&items[i], &reply);
    }
}

static void make_requests(struct run *run)
{
    const struct options *options = run->options;
    if (options->from != NULL) {
        load_items(options->from, run->items, run->item_count);
    } else if (options->method == METHOD_DECRYPT) {
        seal_items(run);
    }
    for (uint32_t i = 0; i < run->item_count; i++) {
        if (options->method == METHOD_DECRYPT) {
            make_decrypt(&run->items[i], options->v1);
        } else if (options->method == METHOD_ENCRYPT) {
            make_encrypt(&run->items[i], options->v1);
        } else {
            make_status(&run->items[i], options->v1);
        }
    }
}

/* Calls Status until it is answered well, and says when that was: for a server that is starting. */
static int wait_for_status(const struct options *options)
{
    struct item item;
    make_status(&item, options->v1);
    uint64_t until = bench_now_ns() + options->wait_s * UINT64_C(1000000000);
    int last = -1;
    while (bench_now_ns() < until) {
        struct wire *wire = wire_open(options->socket, options->wait_s);
        if (wire != NULL) {
            struct wire_reply reply;
            do {
                wire_call(wire, &item.request, &reply);
                last = reply.status;
                if (last == 0) {
                    printf("{\"answered_ns\": %llu}\n", (unsigned long long)bench_now_ns());
                    wire_close(wire);
                    return 0;
                }
                nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
            } while (bench_now_ns() < until);
            wire_close(wire);
        }
        nanosleep(&(struct timespec){.tv_nsec = 500000}, NULL);
    }
    bench_die("no good Status in %u s (last gRPC status: %d)", options->wait_s, last);
}

static double cpu_seconds(void)
{
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void measure(struct run *run)
{
    const struct options *options = run->options;
    if (options->warmup > 0) {
        run_calls(run, options->warmup);
    }
    run->samples.count = 0;
    if (options->calls <= SERIAL_MAX) {
        run->latency_ns = calloc(options->calls, sizeof *run->latency_ns);
        if (run->latency_ns == NULL) {
            bench_die("out of memory");
        }
    }
    struct wire_bytes before = wire_bytes(run->wire);
    double cpu = cpu_seconds();
    uint64_t start = bench_now_ns();
    run_calls(run, options->calls);
    double seconds = (double)(bench_now_ns() - start) / 1e9;
    cpu = cpu_seconds() - cpu;
    struct wire_bytes after = wire_bytes(run->wire);

    double calls = options->calls;
    printf("{\"calls\": %u, \"seconds\": %.6f, \"per_second\": %.1f, \"client_cpu\": %.6f, "
           "\"request_bytes\": %.0f, \"reply_bytes\": %.0f",
           options->calls, seconds, calls / seconds, cpu,
           (double)(after.sent - before.sent) / calls,
           (double)(after.received - before.received) / calls);
    if (run->latency_ns != NULL) {
        printf(", ");
        bench_print_latency(run->latency_ns, options->calls);
        free(run->latency_ns);
    }
}

static int run_load(const struct options *options)
{
    struct run run = {.options = options, .item_count = ITEMS_DEFAULT};
    if (options->save != NULL || options->from != NULL) {
        run.item_count = options->calls;
    }
    run.wire = wire_open(options->socket, TIMEOUT_S);
    if (run.wire == NULL) {
        bench_die("%s: %s", options->socket, strerror(errno));
    }
    run.items = make_items(run.item_count);
    run.samples.items = make_items(SAMPLES_MAX);
    run.samples.every = options->calls / SAMPLES_MAX + 1;
    make_requests(&run);
    measure(&run);

    uint32_t verified = run.samples.count;
    if (options->method == METHOD_DECRYPT) {
        verified = options->calls;
    } else {
        open_items(&run, run.samples.items, run.samples.count);
    }
    if (options->save != NULL) {
        save_items(options->save, run.items, run.item_count);
    }
    printf(", \"verified\": %u}\n", verified);
    wire_close(run.wire);
    free(run.samples.items);
    free(run.items);
    return 0;
}

/* -- command line ------------------------------------------------------------------------------ */

static enum method parse_method(const char *text)
{
    if (strcmp(text, "status") == 0) {
        return METHOD_STATUS;
    }
    if (strcmp(text, "encrypt") == 0) {
        return METHOD_ENCRYPT;
    }
    if (strcmp(text, "decrypt") == 0) {
        return METHOD_DECRYPT;
    }
    bench_die("--method: expected status, encrypt or decrypt, found \"%s\"", text);
}

int main(int argc, char **argv)
{
    static const struct option known[] = {
        {"socket", required_argument, NULL, 's'},
        {"method", required_argument, NULL, 'm'},
        {"v1", no_argument, NULL, '1'},
        {"calls", required_argument, NULL, 'c'},
        {"streams", required_argument, NULL, 'n'},
        {"warmup", required_argument, NULL, 'u'},
        {"save", required_argument, NULL, 'o'},
        {"from", required_argument, NULL, 'i'},
        {"wait", required_argument, NULL, 'w'},
        {0},
    };
    struct options options = {.method = METHOD_STATUS, .calls = 1, .streams = 1};
    for (;;) {
        int c = getopt_long(argc, argv, "", known, NULL);
        if (c == -1) {
            break;
        }
        switch (c) {
        case 's':
            options.socket = optarg;
            break;
        case 'm':
            options.method = parse_method(optarg);
            break;
        case '1':
            options.v1 = true;
            break;
        case 'c':
            options.calls = bench_number("--calls", optarg, CALLS_MAX);
            break;
        case 'n':
            options.streams = bench_number("--streams", optarg, WIRE_STREAMS_MAX);
            break;
        case 'u':
            options.warmup = bench_number("--warmup", optarg, CALLS_MAX);
            break;
        case 'o':
            options.save = optarg;
            break;
        case 'i':
            options.from = optarg;
            break;
        case 'w':
            options.wait_s = bench_number("--wait", optarg, 600);
            break;
        default:
            return 2;
        }
    }
    if (options.socket == NULL || optind != argc || options.calls == 0 || options.streams == 0) {
        fprintf(stderr, "usage: load --socket PATH [--method status|encrypt|decrypt] [--v1] "
                        "[--calls N] [--streams N] [--warmup N] [--save FILE] [--from FILE] | "
                        "--wait SECONDS\n");
        return 2;
    }
    return options.wait_s > 0 ? wait_for_status(&options) : run_load(&options);
}
