/* The pool over the real worker and a SoftHSM token. */
#include "pool_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

static char conf[1100], uri[1100];

/* Makes the folder's token by the script everybody uses; its two lines are conf and uri. */
static void make_token(const char *folder)
{
    char script[512], token[100], said[1024];
    const char *source = getenv("abs_top_srcdir");
    snprintf(script, sizeof script, "%s/softhsm-conf/make-token.sh", source == NULL ? "." : source);
    snprintf(token, sizeof token, "%s/token", folder);
    int out[2];
    ck_assert_int_eq(pipe(out), 0);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        dup2(out[1], STDOUT_FILENO);
        close(out[0]);
        execl("/bin/sh", "sh", script, token, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    size_t len = 0;
    for (ssize_t n = 1; n > 0 && len<sizeof said - 1; len += n> 0 ? (size_t)n : 0) {
        n = read(out[0], said + len, sizeof said - 1 - len);
    }
    close(out[0]);
    said[len] = '\0';
    int status;
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s: %s", script, said);
    char *second = strstr(said, "\nURI=");
    ck_assert_ptr_nonnull(second);
    *second = '\0';
    snprintf(conf, sizeof conf, "%s", said);
    snprintf(uri, sizeof uri, "%.*s", (int)strcspn(second + 5, "\n"), second + 5);
}

static void init(struct rig *rig)
{
    rig_init(rig, 1);
    make_token(rig->folder);
    rig->env[0][0] = conf;
    rig_set(rig, 0, "uri", uri);
    rig->settings.worker_dir = getenv("abs_top_builddir");
    ck_assert_ptr_nonnull(rig->settings.worker_dir);
}

static void done(struct rig *rig)
{
    rig_done(rig);
    char token[100];
    snprintf(token, sizeof token, "%s/token", rig->folder);
    pid_t pid = fork();
    ck_assert_int_ge(pid, 0);
    if (pid == 0) {
        execl("/bin/rm", "rm", "-rf", rig->folder, (char *)NULL);
        _exit(127);
    }
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static struct kek_id generate_key(struct rig *rig)
{
    static const struct kek_id id = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
    struct outcome out;
    rig->settings.officer = true;
    rig_start(rig);
    struct kek_pool_request request = {
        .op = KEK_POOL_GENERATE, .kek_id = id, .number = 1, .state = KEK_STATE_ACTIVE};
    rig_submit(rig, &out, &request, 60000);
    rig_wait(rig, &out);
    ck_assert_msg(out.rc == KEK_OK, "%s", out.why.text);
    rig_close(rig);
    rig->settings.officer = false;
    rig->settings.may = NULL;
    return id;
}

START_TEST(a_generated_key_wraps_and_unwraps_over_recycled_workers)
{
    enum { ROUNDS = 500 };
    struct rig rig;
    struct outcome out;
    init(&rig);
    struct kek_id id = generate_key(&rig);
    rig.providers[0].processes = 2;
    rig.providers[0].recycle_after = 100;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    size_t count = kek_pool_workers(rig.pool, 0, workers);
    ck_assert_uint_eq(count, 2);
    for (size_t i = 0; i < count; i++) {
        ck_assert_uint_eq(workers[i].version_count, 1);
        ck_assert(kek_id_equal(&workers[i].versions[0].id, &id));
        ck_assert(workers[i].versions[0].eligible);
    }
    ck_assert_uint_gt(strlen(rig_status(&rig, 0).serial), 0);
    for (size_t i = 0; i < ROUNDS; i++) {
        KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
        struct kek_pool_request wrap = {
            .op = KEK_POOL_WRAP, .provider = KEK_POOL_ANY, .kek_id = id, .data_key = key};
        rig_submit(&rig, &out, &wrap, 0);
        rig_wait(&rig, &out);
        ck_assert_msg(out.rc == KEK_OK, "%s", out.why.text);
        uint8_t blob[64];
        memcpy(blob, out.blob, out.blob_len);
        struct kek_pool_request unwrap = {.op = KEK_POOL_UNWRAP,
                                          .provider = KEK_POOL_ANY,
                                          .kek_id = id,
                                          .alg = out.alg,
                                          .blob = kek_bytes(blob, out.blob_len)};
        rig_submit(&rig, &out, &unwrap, 0);
        rig_wait(&rig, &out);
        ck_assert_msg(out.rc == KEK_OK, "%s", out.why.text);
        ck_assert(kek_bytes_equal(kek_bytes(out.key, sizeof out.key), kek_secret_bytes(key)));
        if (i % 100 == 0) {
            blob[5] ^= 1;
            rig_submit(&rig, &out, &unwrap, 0);
            rig_wait(&rig, &out);
            ck_assert_int_eq(out.rc, KEK_DAMAGED);
        }
    }
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled >= 1);
    ck_assert_uint_eq(rig_status(&rig, 0).failures, ROUNDS / 100); /* the damaged ones */
    ck_assert_uint_eq(rig_status(&rig, 0).crashed + rig_status(&rig, 0).killed, 0);
    done(&rig);
}
END_TEST

START_TEST(an_unknown_key_is_not_found)
{
    struct rig rig;
    struct outcome out;
    init(&rig);
    generate_key(&rig);
    rig_start(&rig);
    rig_do(&rig, &out, KEK_POOL_ANY, "0123456789012345678901234567890123456789", 0);
    ck_assert_int_eq(out.rc, KEK_NOT_FOUND);
    done(&rig);
}
END_TEST

START_TEST(a_wrong_pin_is_refused_once_and_right_again_without_a_restart)
{
    struct rig rig;
    char pin[128];
    init(&rig);
    snprintf(pin, sizeof pin, "%s/token/pin", rig.folder);
    struct kek_buf right;
    kek_buf_init(&right, 256);
    int fd = open(pin, O_RDONLY | O_CLOEXEC);
    uint8_t *at = kek_buf_reserve(&right, 200, NULL);
    ck_assert(fd >= 0 && at != NULL);
    ssize_t len = read(fd, at, 200);
    ck_assert_int_gt(len, 0);
    close(fd);
    rig_write(&rig, "token/pin", "not-the-pin");
    ck_assert_int_eq(chmod(pin, 0600), 0);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 4);
    ck_assert_int_eq(rig_status(&rig, 0).why.native, KEK_NATIVE_PKCS11);
    ck_assert_uint_eq(rig_status(&rig, 0).why.code, 0xa0);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_PIN_REFUSED);
    fd = open(pin, O_WRONLY | O_TRUNC | O_CLOEXEC);
    ck_assert_int_eq(write(fd, at, (size_t)len), len);
    close(fd);
    kek_buf_done(&right);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-token");
    TCase *tcase = tcase_create("softhsm");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_generated_key_wraps_and_unwraps_over_recycled_workers);
    tcase_add_test(tcase, an_unknown_key_is_not_found);
    tcase_add_test(tcase, a_wrong_pin_is_refused_once_and_right_again_without_a_restart);
    return suite_run(suite);
}
