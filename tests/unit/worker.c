#include "worker.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

#define PATIENCE 60 /* seconds for one reply, before the test is given up */

static char base[PATH_MAX];

static int remove_one(const char *path, const struct stat *about, int kind, struct FTW *ftw)
{
    (void)about;
    (void)kind;
    (void)ftw;
    return remove(path);
}

int worker_tests_run(Suite *suite)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(base, sizeof base, "%s/kek-worker.XXXXXX", tmp != NULL ? tmp : "/tmp");
    if (mkdtemp(base) == NULL) {
        perror(base);
        return 1;
    }
    int status = suite_run(suite);
    (void)nftw(base, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return status;
}

void worker_path(const char *name, char path[static PATH_MAX])
{
    char dir[PATH_MAX - 64];
    ck_assert_int_lt(snprintf(dir, sizeof dir, "%s/%d", base, (int)getpid()), (int)sizeof dir);
    ck_assert(mkdir(dir, 0700) == 0 || errno == EEXIST);
    ck_assert_int_lt(snprintf(path, PATH_MAX, "%s/%s", dir, name), PATH_MAX);
}

void worker_write(const char *path, const void *content, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, len), (ssize_t)len);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static const char *environment(const char *name)
{
    const char *value = getenv(name);
    ck_assert_msg(value != NULL, "%s is not set: run this by make check", name);
    return value;
}

/* Runs a program to its end, which must be good; what it prints goes into out. */
static void run(const char *const argv[], char *out, size_t size)
{
    int pipes[2];
    ck_assert_int_eq(pipe2(pipes, O_CLOEXEC), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(pipes[1], 1);
        execvp(argv[0], (char *const *)argv);
        _exit(127);
    }
    close(pipes[1]);
    size_t at = 0;
    ssize_t got;
    do {
        got = read(pipes[0], out + at, size - 1 - at);
        at += got > 0 ? (size_t)got : 0;
    } while (got > 0 && at < size - 1);
    out[at] = '\0';
    close(pipes[0]);
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s failed: %s", argv[0], out);
}

void token_make(struct token *token)
{
    char script[PATH_MAX], out[4 * PATH_MAX], path[PATH_MAX + 8];
    snprintf(script, sizeof script, "%s/softhsm-conf/make-token.sh", environment("abs_top_srcdir"));
    worker_path("token", token->dir);
    const char *argv[] = {script, token->dir, NULL};
    run(argv, out, sizeof out);
    char *uri = strstr(out, "\nURI=");
    ck_assert_ptr_nonnull(uri);
    *uri = '\0';
    uri += strlen("\nURI=");
    uri[strcspn(uri, "\n")] = '\0';
    ck_assert_int_lt(snprintf(token->uri, sizeof token->uri, "%s", uri), (int)sizeof token->uri);
    ck_assert_int_eq(setenv("SOFTHSM2_CONF", strchr(out, '=') + 1, 1), 0);
    snprintf(path, sizeof path, "%s/pin", token->dir);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, token->pin, sizeof token->pin - 1);
    ck_assert_int_gt(len, 0);
    token->pin[len] = '\0';
    close(fd);
}

void token_add(const struct token *token, const char *label)
{
    char out[1024];
    const char *argv[] = {"softhsm2-util", "--init-token", "--free", "--label",  label,
                          "--so-pin",      "12345678",     "--pin",  token->pin, NULL};
    run(argv, out, sizeof out);
}

/* The token's slot: the one whose token has an initialised PIN and our label. */
static bool open_token(const struct token *token, CK_FUNCTION_LIST *f, CK_SESSION_HANDLE *session)
{
    CK_SLOT_ID slots[16];
    CK_ULONG count = 16;
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK};
    if (f->C_Initialize(&args) != CKR_OK || f->C_GetSlotList(CK_TRUE, slots, &count) != CKR_OK) {
        return false;
    }
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (f->C_GetTokenInfo(slots[i], &info) == CKR_OK &&
            memcmp(info.label, "kek-test ", 9) == 0) {
            return f->C_OpenSession(slots[i], CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                    session) == CKR_OK &&
                   f->C_Login(*session, CKU_USER, (CK_UTF8CHAR *)token->pin, strlen(token->pin)) ==
                       CKR_OK;
        }
    }
    return false;
}

void token_do(const struct token *token,
              bool (*work)(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg), void *arg)
{
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        void *library = dlopen(SOFTHSM, RTLD_NOW);
        CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
        if (library != NULL) {
            *(void **)&get = dlsym(library, "C_GetFunctionList");
        }
        CK_FUNCTION_LIST *f;
        CK_SESSION_HANDLE session;
        bool good = get != NULL && get(&f) == CKR_OK && open_token(token, f, &session) &&
                    work(f, session, arg);
        _exit(good ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "work on the token failed");
}

static void put(CK_ATTRIBUTE *attributes, CK_ULONG *count, CK_ATTRIBUTE attribute)
{
    for (CK_ULONG i = 0; i < *count; i++) {
        if (attributes[i].type == attribute.type) {
            attributes[i] = attribute;
            return;
        }
    }
    attributes[(*count)++] = attribute;
}

static bool make_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    const struct odd_key *key = arg;
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG len = 32;
    CK_ATTRIBUTE attributes[24] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_WRAP, &yes, sizeof yes},
        {CKA_UNWRAP, &yes, sizeof yes},
        {CKA_ENCRYPT, &no, sizeof no},
        {CKA_DECRYPT, &no, sizeof no},
        {CKA_SIGN, &no, sizeof no},
        {CKA_VERIFY, &no, sizeof no},
        {CKA_DERIVE, &no, sizeof no},
        {CKA_LABEL, (void *)key->label, strlen(key->label)},
        {CKA_ID, (void *)key->id, key->id_len},
    };
    CK_ULONG count = 15;
    CK_OBJECT_HANDLE object;
    for (size_t i = 0; i < key->change_count; i++) {
        put(attributes, &count, key->change[i]);
    }
    if (key->value != NULL) {
        put(attributes, &count, (CK_ATTRIBUTE){CKA_VALUE, (void *)key->value, key->value_len});
        return f->C_CreateObject(session, attributes, count, &object) == CKR_OK;
    }
    if (key->change_count == 0 || key->change[0].type != CKA_VALUE_LEN) {
        put(attributes, &count, (CK_ATTRIBUTE){CKA_VALUE_LEN, &len, sizeof len});
    }
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    return f->C_GenerateKey(session, &mechanism, attributes, count, &object) == CKR_OK;
}

void token_make_key(const struct token *token, const struct odd_key *key)
{
    token_do(token, make_key, (void *)key);
}

/* The only file of the folder that ends so and is not the token's own. */
static void only_file(const char *folder, const char *end, char path[static PATH_MAX])
{
    DIR *dir = opendir(folder);
    ck_assert_ptr_nonnull(dir);
    int found = 0;
    for (struct dirent *entry = readdir(dir); entry != NULL; entry = readdir(dir)) {
        size_t len = strlen(entry->d_name), tail = strlen(end);
        if (entry->d_name[0] != '.' && len >= tail &&
            strcmp(entry->d_name + len - tail, end) == 0 &&
            strcmp(entry->d_name, "token.object") != 0) {
            ck_assert_int_lt(snprintf(path, PATH_MAX, "%s/%s", folder, entry->d_name), PATH_MAX);
            found++;
        }
    }
    closedir(dir);
    ck_assert_int_eq(found, 1);
}

void token_multiply_key(const struct token *token, unsigned copies)
{
    char tokens[PATH_MAX + 8], store[PATH_MAX], key[PATH_MAX], copy[PATH_MAX + 64];
    uint8_t content[16 * 1024];
    snprintf(tokens, sizeof tokens, "%s/tokens", token->dir);
    only_file(tokens, "", store);
    only_file(store, ".object", key);
    int fd = open(key, O_RDONLY | O_CLOEXEC);
    ssize_t len = read(fd, content, sizeof content);
    ck_assert_int_gt(len, 0);
    ck_assert_int_lt(len, (ssize_t)sizeof content);
    close(fd);
    for (unsigned i = 0; i < copies; i++) {
        snprintf(copy, sizeof copy, "%s/%08x-c0c0-c0c0-c0c0-c0c0c0c0c0c0.object", store, i);
        worker_write(copy, content, (size_t)len, 0600);
        memcpy(copy + strlen(copy) - strlen("object"), "lock", sizeof "lock");
        worker_write(copy, "", 0, 0600);
    }
}

void worker_spawn(struct worker *worker, const char *role)
{
    char program[PATH_MAX];
    snprintf(program, sizeof program, "%s/kekd-pkcs11", environment("abs_top_builddir"));
    int pair[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        if (pair[1] == 3) {
            (void)fcntl(3, F_SETFD, 0);
        } else {
            dup2(pair[1], 3);
        }
        execl(program, program, "--role", role, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    struct timeval patience = {.tv_sec = PATIENCE};
    ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    *worker = (struct worker){.pid = pid, .socket = pair[0]};
}

void worker_end(struct worker *worker)
{
    close(worker->socket);
    int status;
    ck_assert_int_eq(waitpid(worker->pid, &status, 0), worker->pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the worker ended with %x",
                  (unsigned)status);
}

void worker_send(struct worker *worker, Kek__Provider__Request *request)
{
    uint8_t packet[32 * 1024];
    size_t len = kek__provider__request__get_packed_size(request);
    ck_assert_uint_le(len, sizeof packet);
    kek__provider__request__pack(request, packet);
    ck_assert_int_eq(send(worker->socket, packet, len, MSG_NOSIGNAL), (ssize_t)len);
}

Kek__Provider__Reply *worker_receive(struct worker *worker)
{
    uint8_t packet[16 * 1024 + 1];
    ssize_t len = recv(worker->socket, packet, sizeof packet, 0);
    ck_assert_msg(len > 0, "no reply: %s", len == 0 ? "end of file" : strerror(errno));
    ck_assert_int_le(len, 16 * 1024);
    Kek__Provider__Reply *reply = kek__provider__reply__unpack(NULL, (size_t)len, packet);
    ck_assert_ptr_nonnull(reply);
    return reply;
}

Kek__Provider__Reply *worker_ask(struct worker *worker, Kek__Provider__Request *request)
{
    request->id = ++worker->id;
    worker_send(worker, request);
    Kek__Provider__Reply *reply = worker_receive(worker);
    ck_assert_uint_eq(reply->id, worker->id);
    return reply;
}

void reply_free(Kek__Provider__Reply *reply)
{
    kek__provider__reply__free_unpacked(reply, NULL);
}

/* The settings of the Hellos of a test, which lie on its stack. */
static struct settings {
    const Kek__Provider__Hello *of;
    Kek__Provider__Setting items[3];
    Kek__Provider__Setting *pointers[3];
} settings_of[16];

void hello_set(Kek__Provider__Hello *hello, const char *key, const char *value)
{
    struct settings *settings = settings_of;
    while (settings->of != hello) {
        settings++;
        ck_assert(settings < settings_of + sizeof settings_of / sizeof settings_of[0]);
    }
    size_t i = 0;
    while (i < hello->n_settings && strcmp(settings->items[i].key, key) != 0) {
        i++;
    }
    ck_assert_uint_lt(i, sizeof settings->items / sizeof settings->items[0]);
    kek__provider__setting__init(&settings->items[i]);
    settings->items[i].key = (char *)key;
    settings->items[i].value = (char *)value;
    settings->pointers[i] = &settings->items[i];
    hello->settings = settings->pointers;
    hello->n_settings += i == hello->n_settings;
}

void hello_init(Kek__Provider__Hello *hello, const char *uri)
{
    kek__provider__hello__init(hello);
    hello->protocol = KEK_PROVIDER_PROTOCOL;
    hello->provider = (char *)"test";
    hello->keyring = (char *)"ring";
    hello->sessions = 1;
    struct settings *settings = settings_of;
    while (settings->of != NULL && settings->of != hello) {
        settings++;
        ck_assert(settings < settings_of + sizeof settings_of / sizeof settings_of[0]);
    }
    settings->of = hello;
    hello_set(hello, "uri", uri);
}

Kek__Provider__Reply *worker_hello(struct worker *worker, Kek__Provider__Hello *hello)
{
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_HELLO;
    request.hello = hello;
    return worker_ask(worker, &request);
}

Kek__Provider__Reply *worker_login(struct worker *worker)
{
    Kek__Provider__Login login = KEK__PROVIDER__LOGIN__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LOGIN;
    request.login = &login;
    return worker_ask(worker, &request);
}

void worker_start_with(struct worker *worker, const char *role, Kek__Provider__Hello *hello)
{
    worker_spawn(worker, role);
    Kek__Provider__Reply *reply = worker_hello(worker, hello);
    ck_assert_msg(reply->result_case == KEK__PROVIDER__REPLY__RESULT_TOKEN, "Hello: %s",
                  reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED ? reply->failed->text
                                                                            : "?");
    reply_free(reply);
    reply = worker_login(worker);
    ck_assert_msg(reply->result_case == KEK__PROVIDER__REPLY__RESULT_READY, "Login: %s",
                  reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED ? reply->failed->text
                                                                            : "?");
    reply_free(reply);
}

void worker_start(struct worker *worker, const char *role, const char *uri)
{
    Kek__Provider__Hello hello;
    hello_init(&hello, uri);
    worker_start_with(worker, role, &hello);
}

Kek__Provider__Reply *worker_list(struct worker *worker)
{
    Kek__Provider__List list = KEK__PROVIDER__LIST__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LIST;
    request.list = &list;
    return worker_ask(worker, &request);
}

static ProtobufCBinaryData binary(const void *data, size_t len)
{
    return (ProtobufCBinaryData){.len = len, .data = (uint8_t *)data};
}

Kek__Provider__Reply *worker_wrap(struct worker *worker, const struct kek_id *id,
                                  const uint8_t key[static KEK_DATA_KEY_LEN])
{
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    wrap.kek_id = binary(id->bytes, sizeof id->bytes);
    wrap.data_key = binary(key, KEK_DATA_KEY_LEN);
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
    request.wrap = &wrap;
    return worker_ask(worker, &request);
}

Kek__Provider__Reply *worker_unwrap(struct worker *worker, const struct kek_id *id, int alg,
                                    const void *blob, size_t len)
{
    return worker_unwrap_by(worker, id, 0, alg, blob, len);
}

Kek__Provider__Reply *worker_unwrap_by(struct worker *worker, const struct kek_id *id,
                                       uint64_t handle, int alg, const void *blob, size_t len)
{
    Kek__Provider__Unwrap unwrap = KEK__PROVIDER__UNWRAP__INIT;
    unwrap.kek_id = binary(id->bytes, sizeof id->bytes);
    unwrap.alg = (Kek__Provider__WrapAlg)alg;
    unwrap.blob = binary(blob, len);
    unwrap.handle = handle;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_UNWRAP;
    request.unwrap = &unwrap;
    return worker_ask(worker, &request);
}

Kek__Provider__Reply *worker_generate(struct worker *worker, uint32_t number,
                                      const struct kek_id *id, int state)
{
    Kek__Provider__Generate generate = KEK__PROVIDER__GENERATE__INIT;
    generate.number = number;
    generate.kek_id = binary(id->bytes, sizeof id->bytes);
    generate.state = (Kek__Provider__State)state;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_GENERATE;
    request.generate = &generate;
    return worker_ask(worker, &request);
}

Kek__Provider__Reply *worker_set_state(struct worker *worker, const struct kek_id *id, int state)
{
    Kek__Provider__SetState set = KEK__PROVIDER__SET_STATE__INIT;
    set.kek_id = binary(id->bytes, sizeof id->bytes);
    set.state = (Kek__Provider__State)state;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_SET_STATE;
    request.set_state = &set;
    return worker_ask(worker, &request);
}

Kek__Provider__Reply *worker_destroy(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Destroy destroy = KEK__PROVIDER__DESTROY__INIT;
    destroy.kek_id = binary(id->bytes, sizeof id->bytes);
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_DESTROY;
    request.destroy = &destroy;
    return worker_ask(worker, &request);
}

void expect_done(Kek__Provider__Reply *reply)
{
    ck_assert_msg(reply->result_case == KEK__PROVIDER__REPLY__RESULT_DONE, "%s",
                  reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED ? reply->failed->text
                                                                            : "not Done");
    reply_free(reply);
}

void expect_failed(Kek__Provider__Reply *reply, int cause, const char *text)
{
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
    ck_assert_msg((int)reply->failed->cause == cause, "cause %d, not %d: %s",
                  (int)reply->failed->cause, cause, reply->failed->text);
    ck_assert_msg(strstr(reply->failed->text, text) != NULL, "'%s' does not say '%s'",
                  reply->failed->text, text);
    reply_free(reply);
}

struct kek_id id_of(uint8_t byte)
{
    struct kek_id id;
    memset(id.bytes, byte, sizeof id.bytes);
    return id;
}

void token_make_with_key(struct token *token, struct kek_id *id)
{
    token_make(token);
    *id = id_of(0x11);
    struct worker worker;
    worker_start(&worker, "officer", token->uri);
    expect_done(worker_generate(&worker, 1, id, KEK__PROVIDER__STATE__ACTIVE));
    worker_end(&worker);
}
