/*
 * A worker that speaks proto/provider.proto and misbehaves on command.
 *
 * FAKE_DIR holds what it is told and what it tells:
 *   start, start-NAME   words that rule its start and life (NAME: the provider's, wins)
 *   pin, pin-NAME       the PIN file; "right" is right
 *   go                  what `late` and `wait` wait for
 *   log                 one line per event: "<event> <provider> <pid> ..."
 * An unwrap's blob is a list of words, "[once:]verb[@provider]"; @ confines one to that provider, and
 * `once:` to the first worker that meets this very blob.  See do_verb(); other words mean nothing.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "provider.pb-c.h"

#include "kek/bytes.h"
#include "kek/wire.h"

static const char *folder;
static char words[512] = " ";
static char name[64] = "?";
static atomic_ulong operations;
static atomic_bool stubborn; /* stays after end-of-file */
static unsigned long crash_after, kill_after;
static unsigned long memory, growth;   /* what it says that it has, and more of at each answer */
static atomic_ulong told_of_memory;    /* answers that said it */
static _Thread_local bool asks_memory; /* this thread's request does */

static void path_of(const char *file, char path[static 4096])
{
    snprintf(path, 4096, "%s/%s", folder, file);
}

static void tell(const char *event, const char *more)
{
    char path[4096], line[512];
    path_of("log", path);
    int len = snprintf(line, sizeof line, "%s %s %d %s\n", event, name, (int)getpid(), more);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666);
    if (fd < 0 || write(fd, line, (size_t)len) != len) {
        _exit(99);
    }
    close(fd);
}

static bool exists(const char *file)
{
    char path[4096];
    path_of(file, path);
    return access(path, F_OK) == 0;
}

static void await(const char *file)
{
    while (!exists(file)) {
        usleep(2000);
    }
}

static bool read_words(const char *file)
{
    char path[4096];
    path_of(file, path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return false;
    }
    ssize_t len = read(fd, words + 1, sizeof words - 3);
    close(fd);
    words[len < 0 ? 1 : len + 1] = '\0';
    strncat(words, " ", 2);
    return true;
}

static bool told(const char *word)
{
    char spaced[64];
    snprintf(spaced, sizeof spaced, " %s ", word);
    return strstr(words, spaced) != NULL;
}

static unsigned long told_number(const char *word)
{
    char spaced[64];
    snprintf(spaced, sizeof spaced, " %s=", word);
    const char *at = strstr(words, spaced);
    return at == NULL ? 0 : strtoul(at + strlen(spaced), NULL, 10);
}

static void put(const void *data, size_t len)
{
    if (send(KEK_PROVIDER_SOCKET, data, len, MSG_NOSIGNAL) != (ssize_t)len) {
        _exit(0);
    }
}

static void reply_with(const Kek__Provider__Reply *reply)
{
    uint8_t out[KEK_PROVIDER_MESSAGE_MAX];
    Kek__Provider__Reply with_memory = *reply;
    with_memory.memory = asks_memory ? memory + growth * atomic_fetch_add(&told_of_memory, 1) : 0;
    put(out, kek__provider__reply__pack(&with_memory, out));
}

static void fail_with(uint64_t id, int step, int cause, uint64_t native, const char *text)
{
    Kek__Provider__Failed failed = KEK__PROVIDER__FAILED__INIT;
    failed.step = (Kek__Provider__Step)step;
    failed.cause = (Kek__Provider__Cause)cause;
    failed.native = native;
    failed.text = (char *)(uintptr_t)text;
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_FAILED;
    reply.failed = &failed;
    reply_with(&reply);
}

static Kek__Provider__Version the_version(uint8_t *kek_id)
{
    Kek__Provider__Version version = KEK__PROVIDER__VERSION__INIT;
    memset(kek_id, 7, KEK_ID_LEN);
    unsigned long number = told_number("number");
    version.number = number == 0 ? 1 : (uint32_t)number;
    version.kek_id = (ProtobufCBinaryData){.data = kek_id, .len = KEK_ID_LEN};
    version.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    version.can_wrap = version.can_unwrap = version.eligible = 1;
    version.label = (char *)"k.v1";
    version.refusal = (char *)"";
    return version;
}

static void say_start(const char *role)
{
    char more[300];
    gid_t groups[16];
    int count = getgroups(16, groups);
    int len =
        snprintf(more, sizeof more, "%s uid=%d gid=%d listen=%s show=%s extra=%d groups=", role,
                 (int)getuid(), (int)getgid(), getenv("LISTEN_FDS") == NULL ? "no" : "yes",
                 getenv("FAKE_SHOW") == NULL ? "" : getenv("FAKE_SHOW"), fcntl(4, F_GETFD) != -1);
    for (int i = 0; i < count; i++) {
        len += snprintf(more + len, sizeof more - (size_t)len, "%d,", (int)groups[i]);
    }
    tell("start", more);
}

static void path_of_pin(char path[static 4096])
{
    char file[96];
    snprintf(file, sizeof file, "pin-%s", name);
    path_of(exists(file) ? file : "pin", path);
}

static void send_token(uint64_t id)
{
    char path[4096];
    struct stat st = {0};
    path_of_pin(path);
    (void)!stat(path, &st);
    Kek__Provider__Token token = KEK__PROVIDER__TOKEN__INIT;
    token.protocol = KEK_PROVIDER_PROTOCOL + (told("other-protocol") ? 1 : 0);
    token.serial = told("other-token") ? (char *)"S-2" : (char *)"S-1";
    token.label = told("other-label") ? (char *)"t2" : (char *)"t";
    token.model = (char *)"fake\x01model";
    token.firmware = (char *)"1.0";
    token.library = (char *)"fake 1.0";
    token.pin_path = path;
    token.pin_inode = st.st_ino;
    token.pin_mtime_ns = st.st_mtim.tv_sec * 1000000000LL + st.st_mtim.tv_nsec;
    token.pin_size = (uint64_t)st.st_size;
    token.pin_count_low = told("low");
    token.pin_final_try = told("final");
    token.pin_locked = told("locked");
    token.slot = 7;
    token.max_sessions = told("few-sessions") ? 8 : 0;
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_TOKEN;
    reply.token = &token;
    reply_with(&reply);
}

static bool pin_is_right(void)
{
    char path[4096], pin[16] = "";
    path_of_pin(path);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? 0 : read(fd, pin, sizeof pin - 1);
    if (fd >= 0) {
        close(fd);
    }
    return len == 5 && memcmp(pin, "right", 5) == 0;
}

static void send_ready(uint64_t id)
{
    uint8_t kek_id[KEK_ID_LEN];
    Kek__Provider__Version version = the_version(kek_id), *versions[65];
    for (size_t i = 0; i < 65; i++) {
        versions[i] = &version;
    }
    Kek__Provider__Ready ready = KEK__PROVIDER__READY__INIT;
    ready.n_versions = told("too-many") ? 65 : told("none") ? 0 : 1;
    ready.versions = versions;
    ready.alg =
        told("proves-none") ? KEK__PROVIDER__WRAP_ALG__NONE : KEK__PROVIDER__WRAP_ALG__AES_KW;
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_READY;
    reply.ready = &ready;
    reply_with(&reply);
}

static void stay(void)
{
    for (;;) {
        pause();
    }
}

static void leave(void)
{
    if (stubborn || told("ignore-eof")) {
        stay();
    }
    _exit(0);
}

static void on_hello(uint64_t id, const Kek__Provider__Hello *hello)
{
    char file[96];
    snprintf(name, sizeof name, "%s", hello->provider);
    snprintf(file, sizeof file, "start-%s", name);
    if (!read_words(file)) {
        read_words("start");
    }
    crash_after = told_number("crash-after");
    kill_after = told_number("kill-after");
    memory = told_number("memory");
    growth = told_number("growth");
    char more[400];
    int at = snprintf(more, sizeof more, "sessions=%u keyring=%s versions=%zu alg=%d",
                      hello->sessions, hello->keyring, hello->n_versions, (int)hello->alg);
    for (size_t i = 0; i < hello->n_settings && (size_t)at < sizeof more; i++) {
        at += snprintf(more + at, sizeof more - (size_t)at, " %s=%s", hello->settings[i]->key,
                       hello->settings[i]->value);
    }
    if ((size_t)at < sizeof more) {
        snprintf(more + at, sizeof more - (size_t)at,
                 " peak=%u call=%u start=%u known=%zu seen=%d/%s", hello->peak_sessions,
                 hello->call_ms, hello->start_ms, hello->n_known,
                 hello->seen == NULL ? -1 : (int)hello->seen->slot,
                 hello->seen == NULL ? "" : hello->seen->serial);
    }
    tell("hello", more);
    if (told("exit")) {
        _exit(3);
    } else if (told("never") || told(hello->seen != NULL ? "dead-there" : "dead-elsewhere")) {
        stay();
    } else if (told("late")) {
        await("go");
    } else if (told("garbage")) {
        put("\xff\xff\xff", 3);
        return;
    } else if (told("module")) {
        fail_with(id, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__LINK, 0x30, "no module");
        return;
    } else if (told("pin-unusable")) {
        fail_with(id, KEK__PROVIDER__STEP__PIN_FILE, KEK__PROVIDER__CAUSE__PIN_UNUSABLE, 0,
                  "the PIN file is readable by others");
        return;
    }
    send_token(id);
}

static void on_login(uint64_t id)
{
    tell("login", "");
    if (told("never-login")) {
        stay();
    } else if (told("late-login")) {
        await("go");
    } else if (told("slow-login")) {
        usleep(300000);
    } else if (told("abort-login")) {
        abort();
    } else if (told("kill-login")) {
        raise(SIGKILL);
    } else if (told("link-login")) {
        fail_with(id, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK, 0x30,
                  "C_Login: CKR_DEVICE_ERROR");
        return;
    } else if (told("away-login")) {
        fail_with(id, KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK, 0xe0,
                  "C_Login: CKR_TOKEN_NOT_PRESENT");
        return;
    } else if (told("probe")) {
        fail_with(id, KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__INTERNAL, 5, "no strategy");
        return;
    }
    if (told("final-at-login")) {
        fail_with(id, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__PIN_REFUSED, 0,
                  "one more wrong PIN locks it: not tried");
        return;
    }
    if (told("refuse-login") || !pin_is_right()) {
        fail_with(id, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__PIN_REFUSED, 0xa0,
                  "C_Login: CKR_PIN_INCORRECT");
        return;
    }
    tell("logged-in", "");
    send_ready(id);
}

static void key_of(ProtobufCBinaryData blob, uint8_t key[static KEK_DATA_KEY_LEN])
{
    for (size_t i = 0; i < KEK_DATA_KEY_LEN; i++) {
        key[i] = blob.data[i % blob.len] ^ 0x5a;
    }
}

static bool send_unwrapped(const Kek__Provider__Request *request, uint64_t id, size_t len)
{
    uint8_t key[KEK_DATA_KEY_LEN];
    key_of(request->unwrap->blob, key);
    Kek__Provider__Unwrapped unwrapped = KEK__PROVIDER__UNWRAPPED__INIT;
    unwrapped.data_key = (ProtobufCBinaryData){.data = key, .len = len};
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_UNWRAPPED;
    reply.unwrapped = &unwrapped;
    reply_with(&reply);
    return true;
}

static void send_wrapped(const Kek__Provider__Request *request)
{
    uint8_t blob[40] = "wrapped:";
    for (size_t i = 0; i < KEK_DATA_KEY_LEN && i < request->wrap->data_key.len; i++) {
        blob[8 + i] = request->wrap->data_key.data[i] ^ 0x5a;
    }
    Kek__Provider__Wrapped wrapped = KEK__PROVIDER__WRAPPED__INIT;
    wrapped.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    wrapped.blob = (ProtobufCBinaryData){.data = blob, .len = told("odd-wrap") ? 39 : 40};
    uint8_t key[KEK_DATA_KEY_LEN];
    Kek__Provider__Unwrapped opened = KEK__PROVIDER__UNWRAPPED__INIT;
    opened.data_key = (ProtobufCBinaryData){.data = key, .len = told("odd-witness") ? 31 : 32};
    if (request->wrap->witness != NULL || told("unasked-witness")) {
        key_of(request->wrap->witness != NULL ? request->wrap->witness->blob : wrapped.blob, key);
        wrapped.opened = told("deaf-to-witness") ? NULL : &opened;
    }
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = request->id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_WRAPPED;
    reply.wrapped = &wrapped;
    reply_with(&reply);
}

static void send_listed(uint64_t id)
{
    uint8_t kek_id[KEK_ID_LEN];
    Kek__Provider__Version version = the_version(kek_id), *versions = &version;
    version.number = 2;
    Kek__Provider__Listed listed = KEK__PROVIDER__LISTED__INIT;
    listed.n_versions = 1;
    listed.versions = &versions;
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_LISTED;
    reply.listed = &listed;
    reply_with(&reply);
}

static void send_done(uint64_t id)
{
    Kek__Provider__Done done = KEK__PROVIDER__DONE__INIT;
    Kek__Provider__Reply reply = KEK__PROVIDER__REPLY__INIT;
    reply.id = id;
    reply.result_case = KEK__PROVIDER__REPLY__RESULT_DONE;
    reply.done = &done;
    reply_with(&reply);
}

/* Failures a verb asks for. */
static bool do_failure(const char *verb, uint64_t id)
{
    static const struct {
        const char *verb;
        int cause;
    } table[] = {
        {"data", KEK__PROVIDER__CAUSE__DATA},
        {"link", KEK__PROVIDER__CAUSE__LINK},
        {"state", KEK__PROVIDER__CAUSE__STATE},
        {"missing", KEK__PROVIDER__CAUSE__KEY_MISSING},
        {"unfit", KEK__PROVIDER__CAUSE__KEY_UNFIT},
        {"pin", KEK__PROVIDER__CAUSE__PIN_REFUSED},
        {"unusable", KEK__PROVIDER__CAUSE__PIN_UNUSABLE},
        {"busy", KEK__PROVIDER__CAUSE__BUSY},
        {"unsupported", KEK__PROVIDER__CAUSE__UNSUPPORTED},
        {"badrequest", KEK__PROVIDER__CAUSE__BAD_REQUEST},
        {"internal", KEK__PROVIDER__CAUSE__INTERNAL},
        {"future", 99},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        if (strcmp(verb, table[i].verb) == 0) {
            fail_with(id, KEK__PROVIDER__STEP__PROVIDER_CALL, table[i].cause, 0x42, "told so");
            return true;
        }
    }
    return false;
}

/* True: the verb has dealt with the request. */
static bool do_verb(const char *verb, const Kek__Provider__Request *request)
{
    uint64_t id = request->id;
    if (strcmp(verb, "crash") == 0) {
        abort();
    } else if (strcmp(verb, "kill") == 0) {
        raise(SIGKILL);
    } else if (strcmp(verb, "exit") == 0) {
        _exit(4);
    } else if (strcmp(verb, "hang") == 0) {
        stay();
    } else if (strcmp(verb, "shut") == 0) {
        stubborn = true;
        shutdown(KEK_PROVIDER_SOCKET, SHUT_RDWR);
        stay();
    } else if (strcmp(verb, "wait") == 0) {
        await("go");
    } else if (strcmp(verb, "garbage") == 0) {
        put("\xff\xff\xff", 3);
        return true;
    } else if (strcmp(verb, "badid") == 0) {
        return send_unwrapped(request, id + 64, KEK_DATA_KEY_LEN);
    } else if (strcmp(verb, "twice") == 0) {
        send_unwrapped(request, id, KEK_DATA_KEY_LEN);
    } else if (strcmp(verb, "short") == 0) {
        return send_unwrapped(request, id, KEK_DATA_KEY_LEN - 1);
    } else if (strcmp(verb, "big") == 0) {
        static const uint8_t big[2 * KEK_PROVIDER_MESSAGE_MAX];
        put(big, sizeof big);
        return true;
    } else if (strcmp(verb, "kind") == 0) {
        send_done(id);
        return true;
    } else if (strcmp(verb, "answer-and-exit") == 0) {
        send_unwrapped(request, id, KEK_DATA_KEY_LEN);
        _exit(0);
    }
    return do_failure(verb, id);
}

/* Is the word for us, and not spent? Leaves its verb. */
static bool is_due(const char *blob, char *word, const char **verb)
{
    bool once = strncmp(word, "once:", 5) == 0;
    word += once ? 5 : 0;
    char *at = strchr(word, '@');
    if (at != NULL) {
        *at = '\0';
        if (strcmp(at + 1, name) != 0) {
            return false;
        }
    }
    *verb = word;
    if (!once) {
        return true;
    }
    char marker[200], path[4096];
    snprintf(marker, sizeof marker, "once-%s", blob);
    for (char *c = marker; *c != '\0'; c++) {
        *c = *c == '/' || *c == ' ' ? '_' : *c;
    }
    path_of(marker, path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

static void on_unwrap(const Kek__Provider__Request *request)
{
    char blob[128] = "", rest[128];
    const char *verb = "";
    size_t len = request->unwrap->blob.len;
    memcpy(blob, request->unwrap->blob.data, len < sizeof blob - 1 ? len : sizeof blob - 1);
    memcpy(rest, blob, sizeof rest);
    for (char *word = rest, *end; *word != '\0'; word = end) {
        end = word + strcspn(word, " ");
        if (*end != '\0') {
            *end++ = '\0';
        }
        if (is_due(blob, word, &verb) && do_verb(verb, request)) {
            return;
        }
    }
    send_unwrapped(request, request->id, KEK_DATA_KEY_LEN);
}

/* Its text is the failure that is wanted. */
static void on_mac(const Kek__Provider__Request *request)
{
    char verb[32] = "";
    size_t len = request->mac->text.len;
    memcpy(verb, request->mac->text.data, len < sizeof verb - 1 ? len : sizeof verb - 1);
    if (!do_failure(verb, request->id)) {
        send_done(request->id);
    }
}

static void on_operation(const Kek__Provider__Request *request)
{
    unsigned long count = atomic_fetch_add(&operations, 1) + 1;
    char more[32];
    asks_memory = request->say_memory;
    snprintf(more, sizeof more, "%d%s", (int)request->op_case, asks_memory ? " memory" : "");
    tell("op", more);
    if (count == crash_after) {
        abort();
    } else if (count == kill_after) {
        raise(SIGKILL);
    }
    switch (request->op_case) {
    case KEK__PROVIDER__REQUEST__OP_UNWRAP:
        on_unwrap(request);
        break;
    case KEK__PROVIDER__REQUEST__OP_WRAP:
        if (request->wrap->witness != NULL) {
            tell("witness", "");
        }
        if (told("wait-wrap")) {
            await("go");
        }
        send_wrapped(request);
        break;
    case KEK__PROVIDER__REQUEST__OP_LIST:
        if (told("hang-list")) {
            stay();
        }
        send_listed(request->id);
        break;
    case KEK__PROVIDER__REQUEST__OP_MAC:
        on_mac(request);
        break;
    default:
        if (told("abort-officer")) {
            abort();
        } else if (told("hang-officer")) {
            stay();
        }
        send_done(request->id);
        break;
    }
}

static Kek__Provider__Request *take(uint8_t *in)
{
    ssize_t len = recv(KEK_PROVIDER_SOCKET, in, KEK_PROVIDER_MESSAGE_MAX, 0);
    if (len <= 0) {
        leave();
    }
    Kek__Provider__Request *request = kek__provider__request__unpack(NULL, (size_t)len, in);
    if (request == NULL) {
        _exit(98);
    }
    return request;
}

static void *serve(void *arg)
{
    (void)arg;
    static _Thread_local uint8_t in[KEK_PROVIDER_MESSAGE_MAX];
    for (;;) {
        Kek__Provider__Request *request = take(in);
        on_operation(request);
        kek__provider__request__free_unpacked(request, NULL);
    }
    return NULL;
}

int main(int argc, char **argv)
{
    static uint8_t in[KEK_PROVIDER_MESSAGE_MAX];
    folder = getenv("FAKE_DIR");
    if (folder == NULL || argc != 3 || strcmp(argv[1], "--role") != 0) {
        return 2;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY); /* a test holds it */
    say_start(argv[2]);
    Kek__Provider__Request *request = take(in);
    unsigned sessions = request->hello->sessions;
    on_hello(request->id, request->hello);
    kek__provider__request__free_unpacked(request, NULL);
    request = take(in);
    on_login(request->id);
    kek__provider__request__free_unpacked(request, NULL);
    for (unsigned i = 1; i < sessions; i++) {
        pthread_t thread;
        if (pthread_create(&thread, NULL, serve, NULL) != 0) {
            return 97;
        }
    }
    serve(NULL);
}
