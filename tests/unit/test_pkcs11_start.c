/* How kekd-pkcs11 starts, fails to start, is spoken to wrongly, and ends. */
#include "worker.h"

#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#define TOKEN KEK__PROVIDER__REPLY__RESULT_TOKEN
#define READY KEK__PROVIDER__REPLY__RESULT_READY
#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED

/* A Hello with this URI must fail at this step; the worker stays to be asked and leaves in order. */
static void expect_no_start_as(const char *role, const char *uri, int step, int cause,
                               const char *text)
{
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, uri);
    worker_spawn(&worker, role);
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_msg((int)reply->failed->step == step, "step %d: %s", reply->failed->step,
                  reply->failed->text);
    ck_assert_ptr_null(strstr(reply->failed->text, "hush"));
    expect_failed(reply, cause, text);
    expect_failed(worker_hello(&worker, &hello), KEK__PROVIDER__CAUSE__BAD_REQUEST,
                  "start has failed");
    worker_end(&worker);
}

static void expect_no_start(const char *uri, int step, int cause, const char *text)
{
    expect_no_start_as("serve", uri, step, cause, text);
}

START_TEST(hello_describes_the_token_and_login_makes_ready)
{
    struct token token;
    token_make(&token);
    char path[PATH_MAX + 8];
    struct stat about;
    snprintf(path, sizeof path, "%s/pin", token.dir);
    ck_assert_int_eq(stat(path, &about), 0);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, TOKEN);
    const Kek__Provider__Token *told = reply->token;
    ck_assert_uint_eq(told->protocol, KEK_PROVIDER_PROTOCOL);
    ck_assert_str_eq(told->label, "kek-test");
    ck_assert_str_eq(told->model, "SoftHSM v2");
    ck_assert_uint_eq(strlen(told->serial), 16);
    ck_assert(strstr(told->library, "SoftHSM") != NULL || told->library[0] != '\0');
    ck_assert_str_eq(told->pin_path, path);
    ck_assert_uint_eq(told->pin_inode, about.st_ino);
    ck_assert_uint_eq(told->pin_size, (uint64_t)about.st_size);
    ck_assert_int_eq(told->pin_mtime_ns,
                     (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec);
    ck_assert(!told->pin_count_low && !told->pin_final_try && !told->pin_locked);
    reply_free(reply);
    reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, READY);
    ck_assert_uint_eq(reply->ready->n_versions, 0);
    ck_assert_int_eq(reply->ready->alg, KEK_WRAP_NONE);
    reply_free(reply);
    expect_failed(worker_hello(&worker, &hello), KEK__PROVIDER__CAUSE__BAD_REQUEST, "once");
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "once");
    worker_end(&worker);
}
END_TEST

/* module-path and what stands in for it */
START_TEST(a_uri_must_name_a_module_and_a_token)
{
    static const struct {
        const char *uri;
        int step, cause;
        const char *text;
    } cases[] = {
        {"", KEK__PROVIDER__STEP__URI, KEK__PROVIDER__CAUSE__BAD_REQUEST, "not an RFC 7512 URI"},
        {"http://example.org", KEK__PROVIDER__STEP__URI, KEK__PROVIDER__CAUSE__BAD_REQUEST,
         "not an RFC 7512 URI"},
        {"pkcs11:token=%zz?module-path=/x", KEK__PROVIDER__STEP__URI,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "not an RFC 7512 URI"},
        {"pkcs11:token=t", KEK__PROVIDER__STEP__URI, KEK__PROVIDER__CAUSE__BAD_REQUEST,
         "module-path is missing"},
        {"pkcs11:token=t?module-path=libx.so", KEK__PROVIDER__STEP__URI,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "not absolute"},
        {"pkcs11:token=t?module-name=..%2Fx", KEK__PROVIDER__STEP__URI,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "plain name"},
        {"pkcs11:token=t?module-path=" SOFTHSM "&pin-value=hush", KEK__PROVIDER__STEP__URI,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "pin-value is refused"},
        {"pkcs11:token=t;object=k?module-path=" SOFTHSM, KEK__PROVIDER__STEP__URI,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "not an object"},
        {"pkcs11:token=t;colour=k?module-path=" SOFTHSM, KEK__PROVIDER__STEP__URI,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "not of RFC 7512"},
        {"pkcs11:token=t?module-path=/nonexistent/module.so", KEK__PROVIDER__STEP__MODULE,
         KEK__PROVIDER__CAUSE__UNSUPPORTED, "/nonexistent/module.so"},
        {"pkcs11:token=t?module-name=kek-nonexistent", KEK__PROVIDER__STEP__MODULE,
         KEK__PROVIDER__CAUSE__UNSUPPORTED, "kek-nonexistent"},
        {"pkcs11:token=other?module-path=" SOFTHSM, KEK__PROVIDER__STEP__TOKEN,
         KEK__PROVIDER__CAUSE__LINK, "the module shows 'kek-test' serial "},
        {"pkcs11:library-manufacturer=Nobody?module-path=" SOFTHSM, KEK__PROVIDER__STEP__MODULE,
         KEK__PROVIDER__CAUSE__BAD_REQUEST, "library attributes"},
        {"pkcs11:token=kek-test?module-path=" SOFTHSM, KEK__PROVIDER__STEP__PIN_FILE,
         KEK__PROVIDER__CAUSE__PIN_UNUSABLE, "no pin-source"},
        {"pkcs11:token=kek-test?module-path=" SOFTHSM "&pin-source=%7Ccat",
         KEK__PROVIDER__STEP__PIN_FILE, KEK__PROVIDER__CAUSE__PIN_UNUSABLE, "file:/absolute/path"},
    };
    struct token token;
    token_make(&token);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        expect_no_start(cases[i].uri, cases[i].step, cases[i].cause, cases[i].text);
    }
}
END_TEST

/* SoftHSM itself says CKR_GENERAL_ERROR, or shows the tokens of another configuration. */
START_TEST(a_library_that_may_lack_its_configuration_is_told_of_with_its_variable)
{
    static const char uri[] = "pkcs11:token=kek-surely-nobodys?module-path=" SOFTHSM;
    struct token token;
    char here[PATH_MAX + 64], none[128];
    token_make(&token);
    snprintf(here, sizeof here, "(as SOFTHSM2_CONF has it)");
    snprintf(none, sizeof none, "(SOFTHSM2_CONF is /nonexistent/conf, which uid %u cannot read: ",
             (unsigned)geteuid());
    expect_no_start(uri, KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK, here);
    ck_assert_int_eq(setenv("SOFTHSM2_CONF", "/nonexistent/conf", 1), 0);
    expect_no_start(uri, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__LINK, none);
}
END_TEST

/* What the configuration would not have let through. */
START_TEST(a_setting_that_is_missing_or_unknown_ends_the_start)
{
    struct token token;
    token_make(&token);
    for (int fault = 0; fault < 3; fault++) {
        struct worker worker;
        Kek__Provider__Hello hello;
        hello_init(&hello, token.uri);
        if (fault == 0) {
            hello.n_settings = 0;
        } else {
            hello_set(&hello, "strategy", fault == 1 ? "any" : "");
        }
        worker_spawn(&worker, "serve");
        Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
        ck_assert_int_eq(reply->failed->step,
                         fault == 0 ? KEK__PROVIDER__STEP__URI : KEK__PROVIDER__STEP__PROTOCOL);
        expect_failed(reply, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      fault == 0 ? "not an RFC 7512 URI" : "unknown strategy");
        worker_end(&worker);
    }
}
END_TEST

static void expect_no_module(const char *uri, const char *text)
{
    expect_no_start(uri, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__UNSUPPORTED, text);
}

/* The head of an ELF file and nothing behind it: none of them comes to the loader. */
START_TEST(a_module_of_another_architecture_is_named_so)
{
    Elf64_Ehdr own;
    char path[PATH_MAX], uri[PATH_MAX + 64];
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    ck_assert_int_eq(read(fd, &own, sizeof own), sizeof own);
    close(fd);
    worker_path("other.so", path);
    snprintf(uri, sizeof uri, "pkcs11:token=t?module-path=%s", path);
    Elf64_Ehdr other = own;
    other.e_machine = own.e_machine == EM_S390 ? EM_X86_64 : EM_S390;
    worker_write(path, &other, sizeof other, 0600);
    expect_no_module(uri, own.e_machine == EM_S390 ? "is for x86-64 (" : "is for IBM Z (");
    other.e_machine = 0xfffe;
    worker_write(path, &other, sizeof other, 0600);
    expect_no_module(uri, "is for ELF machine 65534 (");
    other = own;
    other.e_ident[EI_CLASS] = own.e_ident[EI_CLASS] == ELFCLASS32 ? ELFCLASS64 : ELFCLASS32;
    worker_write(path, &other, sizeof other, 0600);
    expect_no_module(uri, own.e_ident[EI_CLASS] == ELFCLASS32 ? "(64 bits" : "(32 bits");
}
END_TEST

START_TEST(a_library_that_is_no_module_is_refused)
{
    /* Any shared library will do; this program is linked with this one. */
    void *library = dlopen("libprotobuf-c.so.1", RTLD_NOW);
    ck_assert_ptr_nonnull(library);
    Dl_info about;
    ck_assert_int_ne(dladdr(dlsym(library, "protobuf_c_message_unpack"), &about), 0);
    char real[PATH_MAX], uri[PATH_MAX + 64], path[PATH_MAX];
    ck_assert_ptr_nonnull(realpath(about.dli_fname, real));
    snprintf(uri, sizeof uri, "pkcs11:token=t?module-path=%s", real);
    expect_no_module(uri, "is a library, but no PKCS#11 module: it has no C_GetFunctionList");

    worker_path("text.so", path);
    snprintf(uri, sizeof uri, "pkcs11:token=t?module-path=%s", path);
    expect_no_module(uri, ": No such file");
    worker_write(path, "not a library\n", 14, 0600);
    expect_no_module(uri, "text.so is not a shared library (it is no ELF file)");
    worker_write(path, "", 0, 0600);
    expect_no_module(uri, "text.so is not a shared library (it is no ELF file)");
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_no_module(uri, "text.so is not a file");
    dlclose(library);
}
END_TEST

START_TEST(two_tokens_that_match_are_one_too_many)
{
    struct token token;
    token_make(&token);
    token_add(&token, "kek-test");
    expect_no_start(token.uri, KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                    "2 tokens match the URI ('kek-test' serial ");
}
END_TEST

START_TEST(a_token_without_a_store_is_no_token)
{
    struct token token;
    token_make(&token);
    char path[PATH_MAX + 16], away[PATH_MAX + 16];
    snprintf(path, sizeof path, "%s/tokens", token.dir);
    snprintf(away, sizeof away, "%s/away", token.dir);
    ck_assert_int_eq(rename(path, away), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_no_start(token.uri, KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK,
                    "none that is initialized");
}
END_TEST

/* All that a line may be or not: test_small_file.c. */
static const struct {
    const char *what;
    const char *before; /* the right PIN between these two; NULL: `after` alone */
    const char *after;
    size_t after_len;
    mode_t mode;
    const char *text; /* of the failure; NULL: starts */
} pins[] = {
    {"as it is", "", "", 0, 0600, NULL},
    {"read-only", "", "", 0, 0400, NULL},
    {"from Windows", "", "\r\n", 2, 0600, NULL},
    {"group-readable", "", "", 0, 0640, "mode 0640"},
    {"world-readable", "", "", 0, 0604, "mode 0604"},
    {"empty", NULL, "", 0, 0600, "is empty"},
    {"a second line", "", "\ncomment\n", 9, 0600, "more than one line"},
    {"a tab", "", "\t\n", 2, 0600, "control character"},
    {"a byte order mark", "\xef\xbb\xbf", "\r\n", 2, 0600, "byte order mark"},
};

START_TEST(a_pin_file_is_taken_or_refused)
{
    struct token token;
    token_make(&token);
    char path[PATH_MAX + 8], content[96] = "";
    snprintf(path, sizeof path, "%s/pin", token.dir);
    (void)unlink(path);
    if (pins[_i].before != NULL) {
        snprintf(content, sizeof content, "%s%s", pins[_i].before, token.pin);
    }
    size_t len = strlen(content);
    memcpy(content + len, pins[_i].after, pins[_i].after_len);
    worker_write(path, content, len + pins[_i].after_len, pins[_i].mode);
    if (pins[_i].text != NULL) {
        expect_no_start(token.uri, KEK__PROVIDER__STEP__PIN_FILE,
                        KEK__PROVIDER__CAUSE__PIN_UNUSABLE, pins[_i].text);
        return;
    }
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    worker_end(&worker);
}
END_TEST

START_TEST(a_pin_file_of_another_kind_is_refused)
{
    struct token token;
    token_make(&token);
    char path[PATH_MAX + 8], aside[PATH_MAX + 8], long_pin[258];
    snprintf(path, sizeof path, "%s/pin", token.dir);
    snprintf(aside, sizeof aside, "%s/aside", token.dir);
    ck_assert_int_eq(rename(path, aside), 0);
    int step = KEK__PROVIDER__STEP__PIN_FILE, cause = KEK__PROVIDER__CAUSE__PIN_UNUSABLE;
    char text[80];
    snprintf(text, sizeof text, "cannot be opened by uid %u: No such file", (unsigned)geteuid());
    expect_no_start(token.uri, step, cause, text);

    ck_assert_int_eq(mkdir(path, 0700), 0);
    expect_no_start(token.uri, step, cause, "is no regular file");
    ck_assert_int_eq(rmdir(path), 0);

    ck_assert_int_eq(mkfifo(path, 0600), 0);
    expect_no_start(token.uri, step, cause, "is no regular file");
    ck_assert_int_eq(unlink(path), 0);

    memset(long_pin, '1', sizeof long_pin);
    worker_write(path, long_pin, 256, 0600);
    expect_no_start(token.uri, step, cause, "more than 255 bytes");
    worker_write(path, long_pin, 257, 0600);
    expect_no_start(token.uri, step, cause, "more than 255 bytes");
    worker_write(path, long_pin, 258, 0600);
    expect_no_start(token.uri, step, cause, "more than 255 bytes");
    ck_assert_int_eq(unlink(path), 0);

    /* What is at the end of a link counts, not the link. */
    ck_assert_int_eq(symlink("aside", path), 0);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    worker_end(&worker);
    ck_assert_int_eq(chmod(aside, 0644), 0);
    expect_no_start(token.uri, step, cause, "mode 0644");
    ck_assert_int_eq(unlink(aside), 0);
    expect_no_start(token.uri, step, cause, "cannot be opened");
}
END_TEST

START_TEST(a_pin_may_be_a_credential)
{
    struct token token;
    char folder[PATH_MAX], path[PATH_MAX + 8], uri[512];
    int step = KEK__PROVIDER__STEP__PIN_FILE, cause = KEK__PROVIDER__CAUSE__PIN_UNUSABLE;
    token_make(&token);
    snprintf(uri, sizeof uri,
             "pkcs11:token=kek-test?module-path=" SOFTHSM "&pin-source=credential:hsm-a");
    unsetenv("CREDENTIALS_DIRECTORY");
    expect_no_start(uri, step, cause, "CREDENTIALS_DIRECTORY is not set");
    worker_path("credentials", folder);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    setenv("CREDENTIALS_DIRECTORY", folder, 1);
    expect_no_start(uri, step, cause, "No such file");
    ck_assert_int_lt(snprintf(path, sizeof path, "%s/hsm-a", folder), (int)sizeof path);
    worker_write(path, token.pin, strlen(token.pin), 0440);
    struct worker worker;
    worker_start(&worker, "serve", uri);
    worker_end(&worker);
    ck_assert_int_eq(chmod(path, 0444), 0);
    expect_no_start(uri, step, cause, "mode 0444");
    expect_no_start("pkcs11:token=kek-test?module-path=" SOFTHSM "&pin-source=credential:..", step,
                    cause, "not the name of a credential");
}
END_TEST

START_TEST(an_officer_may_have_a_pin_that_the_others_cannot_read)
{
    struct token token;
    char pin[PATH_MAX + 8], admin[PATH_MAX + 8], uri[3 * PATH_MAX];
    int step = KEK__PROVIDER__STEP__PIN_FILE, cause = KEK__PROVIDER__CAUSE__PIN_UNUSABLE;
    token_make(&token);
    snprintf(pin, sizeof pin, "%s/pin", token.dir);
    snprintf(admin, sizeof admin, "%s/admin", token.dir);
    int len = snprintf(uri, sizeof uri, "%s&admin-pin-source=file:%s", token.uri, admin);
    ck_assert_int_lt(len, (int)sizeof uri);
    struct worker worker;
    worker_start(&worker, "serve", uri);
    worker_end(&worker);
    expect_no_start_as("officer", uri, step, cause, "admin cannot be opened");
    ck_assert_int_eq(rename(pin, admin), 0);
    worker_start(&worker, "officer", uri);
    worker_end(&worker);
    expect_no_start(uri, step, cause, "pin cannot be opened");
}
END_TEST

START_TEST(nothing_is_served_before_hello_and_login)
{
    struct token token;
    token_make(&token);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    worker_spawn(&worker, "officer");
    struct kek_id id = id_of(1);
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "must be Hello");
    expect_failed(worker_list(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "must be Hello");
    reply_free(worker_hello(&worker, &hello));
    expect_failed(worker_list(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "must be Login");
    expect_failed(worker_destroy(&worker, &id), KEK__PROVIDER__CAUSE__BAD_REQUEST, "must be Login");
    Kek__Provider__Reply *reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, READY);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

/* Sends raw bytes; the reply must be a refusal of id 0, and the next request is served. */
static void expect_refused(struct worker *worker, const void *packet, size_t len, const char *text)
{
    ck_assert_int_eq(send(worker->socket, packet, len, MSG_NOSIGNAL), (ssize_t)len);
    Kek__Provider__Reply *reply = worker_receive(worker);
    ck_assert_uint_eq(reply->id, 0);
    expect_failed(reply, KEK__PROVIDER__CAUSE__BAD_REQUEST, text);
}

START_TEST(packets_that_are_no_requests_are_refused)
{
    struct token token;
    token_make(&token);
    static uint8_t packet[32 * 1024];
    memset(packet, 0xff, sizeof packet);
    struct worker worker;
    worker_spawn(&worker, "serve");
    expect_refused(&worker, packet, 1, "not a request");
    expect_refused(&worker, packet, 16384, "not a request");
    expect_refused(&worker, packet, 16385, "at most 16384");
    expect_refused(&worker, packet, sizeof packet, "at most 16384");
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    reply_free(worker_hello(&worker, &hello));
    reply_free(worker_login(&worker));
    expect_refused(&worker, packet, 100, "not a request");
    expect_refused(&worker, packet, 16385, "at most 16384");
    static const uint8_t truncated[] = {0x2a, 0x20, 0x0a, 0x10, 1, 2, 3};
    expect_refused(&worker, truncated, sizeof truncated, "not a request");
    static const uint8_t only_id[] = {0x08, 0x00};
    expect_refused(&worker, only_id, sizeof only_id, "nothing that this worker knows");
    Kek__Provider__Reply *reply = worker_list(&worker);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

/* The exit status of the program run with this on descriptor 3 and these arguments. */
static int run_by_hand(int socket, const char *first, const char *second)
{
    char program[PATH_MAX];
    snprintf(program, sizeof program, "%s/kekd-pkcs11", getenv("abs_top_builddir"));
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        (void)dup2(socket, 3);
        (void)dup2(open("/dev/null", O_WRONLY), STDERR_FILENO);
        execl(program, program, first, second, (char *)NULL);
        _exit(127);
    }
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status));
    return WEXITSTATUS(status);
}

START_TEST(run_by_hand_it_says_so_and_leaves_with_2)
{
    int stream[2], packets[2], pipes[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, stream), 0);
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, packets), 0);
    ck_assert_int_eq(pipe(pipes), 0);
    ck_assert_int_eq(run_by_hand(stream[0], "--role", "serve"), 2);
    ck_assert_int_eq(run_by_hand(pipes[0], "--role", "serve"), 2);
    ck_assert_int_eq(run_by_hand(packets[0], "--role", "king"), 2);
    ck_assert_int_eq(run_by_hand(packets[0], "--role", NULL), 2);
    ck_assert_int_eq(run_by_hand(packets[0], "--help", NULL), 2);
    close(packets[1]);
    ck_assert_int_eq(run_by_hand(packets[0], "--role", "serve"), 0);
}
END_TEST

/* A worker whose parent dies goes too, though somebody else still holds the other end. */
START_TEST(a_worker_dies_with_its_parent)
{
    struct token token;
    token_make(&token);
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    int hold[2], tell[2];
    ck_assert_int_eq(pipe(hold), 0);
    ck_assert_int_eq(pipe(tell), 0);
    pid_t parent = fork();
    ck_assert_int_ge(parent, 0);
    if (parent == 0) {
        struct worker worker;
        close(hold[1]);
        worker_start(&worker, "serve", token.uri);
        if (fork() == 0) {
            char byte;
            _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
        }
        _exit(write(tell[1], &worker.pid, sizeof worker.pid) == sizeof worker.pid ? 0 : 1);
    }
    close(hold[0]);
    pid_t pid;
    ck_assert_int_eq(read(tell[0], &pid, sizeof pid), (ssize_t)sizeof pid);
    int status;
    ck_assert_int_eq(waitpid(parent, &status, 0), parent);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    close(hold[1]);
    ck_assert_int_gt(wait(&status), 0);
    ck_assert_int_eq(status, 0);
}
END_TEST

/* Its parent died before it could ask to be killed with it: here that is seen by a grandchild of whoever
 * made the socket, which nobody has closed. */
START_TEST(a_worker_whose_parent_is_gone_already_leaves_at_once)
{
    int pair[2], status;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    pid_t other = fork();
    ck_assert_int_ge(other, 0);
    if (other == 0) {
        _exit(run_by_hand(pair[1], "--role", "serve"));
    }
    ck_assert_int_eq(waitpid(other, &status, 0), other);
    ck_assert_int_eq(status, 0);
    close(pair[0]);
    close(pair[1]);
}
END_TEST

START_TEST(signals_meant_for_the_service_do_not_end_a_worker)
{
    struct token token;
    token_make(&token);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    static const int signals[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        ck_assert_int_eq(kill(worker.pid, signals[i]), 0);
    }
    Kek__Provider__Reply *reply = worker_list(&worker);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

START_TEST(a_worker_keeps_no_descriptor_but_its_own_and_cannot_be_dumped)
{
    struct token token;
    token_make(&token);
    char path[PATH_MAX];
    worker_path("inherited", path);
    FILE *inherited = fopen(path, "w");
    ck_assert_ptr_nonnull(inherited);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    char link[64], target[PATH_MAX];
    for (int fd = 4; fd < 64; fd++) {
        snprintf(link, sizeof link, "/proc/%d/fd/%d", (int)worker.pid, fd);
        ssize_t len = readlink(link, target, sizeof target - 1);
        if (len < 0) {
            continue;
        }
        target[len] = '\0';
        ck_assert_str_ne(target, path);
    }
    /* Of a process that is not dumpable, /proc belongs to root. */
    struct stat about;
    snprintf(link, sizeof link, "/proc/%d/mem", (int)worker.pid);
    ck_assert_int_eq(stat(link, &about), 0);
    ck_assert_uint_eq(about.st_uid, 0);
    fclose(inherited);
    worker_end(&worker);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 start");
    TCase *c = tcase_create("start");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, hello_describes_the_token_and_login_makes_ready);
    tcase_add_test(c, a_uri_must_name_a_module_and_a_token);
    tcase_add_test(c, a_library_that_may_lack_its_configuration_is_told_of_with_its_variable);
    tcase_add_test(c, a_setting_that_is_missing_or_unknown_ends_the_start);
    tcase_add_test(c, a_library_that_is_no_module_is_refused);
    tcase_add_test(c, a_module_of_another_architecture_is_named_so);
    tcase_add_test(c, two_tokens_that_match_are_one_too_many);
    tcase_add_test(c, a_token_without_a_store_is_no_token);
    tcase_add_loop_test(c, a_pin_file_is_taken_or_refused, 0, sizeof pins / sizeof pins[0]);
    tcase_add_test(c, a_pin_file_of_another_kind_is_refused);
    tcase_add_test(c, a_pin_may_be_a_credential);
    tcase_add_test(c, an_officer_may_have_a_pin_that_the_others_cannot_read);
    tcase_add_test(c, nothing_is_served_before_hello_and_login);
    tcase_add_test(c, packets_that_are_no_requests_are_refused);
    tcase_add_test(c, run_by_hand_it_says_so_and_leaves_with_2);
    tcase_add_test(c, a_worker_dies_with_its_parent);
    tcase_add_test(c, a_worker_whose_parent_is_gone_already_leaves_at_once);
    tcase_add_test(c, signals_meant_for_the_service_do_not_end_a_worker);
    tcase_add_test(c, a_worker_keeps_no_descriptor_but_its_own_and_cannot_be_dumped);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
