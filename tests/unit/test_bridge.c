/* What the workers of services share: names, JSON, credentials, and the token that is kept. */
#include "suite.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/bridge.h"
#include "kek/clock.h"

#include "provider.pb-c.h"

#define CAUSE(name) KEK__PROVIDER__CAUSE__##name

/* SHA-256("abc") of FIPS 180-2. */
START_TEST(a_kek_id_is_the_first_half_of_its_names_digest)
{
    struct kek_id id;
    char text[KEK_ID_TEXT];
    kek_bridge_id("abc", &id);
    kek_id_format(&id, text);
    ck_assert_str_eq(text, "ba7816bf8f01cfea414140de5dae2223");
}
END_TEST

/* RFC 4648, section 10. */
START_TEST(only_a_whole_object_is_taken_for_an_answer)
{
    static const char *const bad[] = {
        "", "[]", "1", "{\"a\":1", "{\"a\":1,\"a\":2}", "{} {}", "{\"a\":\"\xff\"}"};
    struct kek_why why;
    json_t *good = kek_bridge_parse(kek_bytes_of("{\"a\":1}"), &why);
    ck_assert_ptr_nonnull(good);
    json_decref(good);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(kek_bridge_parse(kek_bytes_of(bad[i]), &why) == NULL, "%s", bad[i]);
        ck_assert(strstr(why.text, "JSON") != NULL);
    }
}
END_TEST

START_TEST(what_a_server_says_back_of_a_secret_is_noticed)
{
    struct kek_bytes secret = kek_bytes_of("X-Vault-Token: s.0123456789abcdef");
    ck_assert(kek_bridge_reveals("bad token s.0123456789abcdef", secret));
    ck_assert(kek_bridge_reveals("of 0123456789ab", secret));
    ck_assert(!kek_bridge_reveals("of 0123456789a", secret));
    ck_assert(!kek_bridge_reveals("permission denied", secret));
    ck_assert(kek_bridge_reveals("the token short is bad", kek_bytes_of("short")));
    ck_assert(!kek_bridge_reveals("permission denied", kek_bytes_of("")));
}
END_TEST

/* ---- Hello ---- */

START_TEST(nine_tenths_of_what_kekd_waits_are_ours)
{
    Kek__Provider__Hello hello = KEK__PROVIDER__HELLO__INIT;
    ck_assert_uint_eq(kek_bridge_call_ms(&hello), 900);
    ck_assert_uint_eq(kek_bridge_start_ms(&hello), 27000);
    hello.call_ms = 2000;
    hello.start_ms = 60000;
    ck_assert_uint_eq(kek_bridge_call_ms(&hello), 1800);
    ck_assert_uint_eq(kek_bridge_start_ms(&hello), 54000);
}
END_TEST

START_TEST(a_version_of_a_service_is_named_by_its_number_alone)
{
    static char none[] = "", label[] = "k8s.v2";
    Kek__Provider__NamedVersion first = KEK__PROVIDER__NAMED_VERSION__INIT, second = first;
    Kek__Provider__NamedVersion *versions[] = {&first, &second};
    Kek__Provider__Hello hello = KEK__PROVIDER__HELLO__INIT;
    struct kek_bridge_names names = {.count = 0};
    struct kek_provider_failure failure = {0};
    first.number = 1;
    first.state = KEK__PROVIDER__STATE__SUSPENDED;
    second.number = 2;
    first.label = second.label = none;
    hello.versions = versions;
    hello.n_versions = 2;
    ck_assert(kek_bridge_names_read(&hello, &names, &failure));
    ck_assert_int_eq(kek_bridge_names_find(&names, 1)->state, KEK_STATE_SUSPENDED);
    ck_assert_ptr_nonnull(kek_bridge_names_find(&names, 2));
    ck_assert_ptr_null(kek_bridge_names_find(&names, 3));
    second.label = label;
    ck_assert(!kek_bridge_names_read(&hello, &names, &failure));
    ck_assert_int_eq(failure.cause, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    ck_assert_ptr_nonnull(strstr(failure.why.text, "label"));
}
END_TEST

/* ---- files ---- */

static char folder[] = "/tmp/kek-bridge-XXXXXX";
static char path[64];

static void write_file(const char *text, size_t len, mode_t mode)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, len), (ssize_t)len);
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
}

static enum kek_rc read_back(char *out, struct kek_why *why)
{
    KEK_AUTO(kek_secret) secret = NULL;
    struct kek_bridge_file file;
    enum kek_rc rc = kek_bridge_read_secret(path, "token_file", &secret, &file, why);
    if (rc == KEK_OK) {
        struct kek_bytes bytes = kek_secret_bytes(secret);
        memcpy(out, bytes.data, bytes.len);
        out[bytes.len] = '\0';
        ck_assert_uint_ne(file.inode, 0);
    }
    return rc;
}

START_TEST(a_credential_is_one_line_that_nobody_else_reads)
{
    static const struct {
        const char *text;
        mode_t mode;
        enum kek_rc rc;
        const char *says; /* where it is not taken as "token" */
    } cases[] = {
        {"token", 0600, KEK_OK, ""},
        {"token\n", 0400, KEK_OK, ""},
        {"token\r\n", 0600, KEK_OK, ""},
        {"token\n", 0640, KEK_DENIED, "nobody but its owner may use it"},
        {"", 0600, KEK_INVALID, "is empty"},
        {"\n", 0600, KEK_INVALID, "is empty"},
        {"to\nken\n", 0600, KEK_INVALID, "more than one line"},
        {"to\tken\n", 0600, KEK_INVALID, "a control character"},
        {"to ken\n", 0600, KEK_INVALID, "is not one line of letters"},
        {"to\"ken\n", 0600, KEK_INVALID, "is not one line of letters"},
        {"to\\ken\n", 0600, KEK_INVALID, "is not one line of letters"},
        {"t\xc3\xb6ken\n", 0600, KEK_INVALID, "is not one line of letters"},
    };
    char out[KEK_BRIDGE_SECRET_MAX + 1], long_text[KEK_BRIDGE_SECRET_MAX + 2];
    struct kek_why why;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/token", folder);
    ck_assert_int_eq(read_back(out, &why), KEK_NOT_FOUND);
    ck_assert(why.native == KEK_NATIVE_ERRNO);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        write_file(cases[i].text, strlen(cases[i].text), cases[i].mode);
        enum kek_rc rc = read_back(out, &why);
        ck_assert_msg(rc == cases[i].rc, "%zu: %s", i, kek_rc_name(rc));
        if (rc == KEK_OK) {
            ck_assert_str_eq(out, "token");
        } else {
            ck_assert_msg(strstr(why.text, cases[i].says) != NULL, "%s", why.text);
            ck_assert(strstr(why.text, "ken\n") == NULL);
        }
        unlink(path);
    }
    memset(long_text, 'a', sizeof long_text);
    write_file(long_text, KEK_BRIDGE_SECRET_MAX, 0600);
    ck_assert_int_eq(read_back(out, &why), KEK_OK);
    write_file(long_text, KEK_BRIDGE_SECRET_MAX + 1, 0600);
    ck_assert_int_eq(read_back(out, &why), KEK_TOO_LARGE);
    unlink(path);
    rmdir(folder);
}
END_TEST

/* ---- the token ---- */

static pthread_mutex_t of_grants = PTHREAD_MUTEX_INITIALIZER;
static unsigned grants, renewals, slow_ms;
static int fails_as; /* a cause; 0: it does not fail */
static uint64_t lifetime_ms, renewed_ms;

static bool give(void *arg, const struct kek_secret *renew, uint64_t deadline_ms,
                 struct kek_bridge_grant *grant, struct kek_provider_failure *failure)
{
    char text[32];
    (void)arg;
    (void)deadline_ms;
    ck_assert_int_eq(pthread_mutex_trylock(&of_grants), 0); /* one at a time */
    usleep(slow_ms * 1000);
    if (fails_as != 0) {
        renewals += renew != NULL;
        grants += renew == NULL;
        pthread_mutex_unlock(&of_grants);
        return kek_bridge_fail(failure, KEK__PROVIDER__STEP__LOGIN, fails_as, "refused");
    }
    if (renew != NULL) {
        renewals++;
        grant->token = kek_secret_dup(kek_secret_bytes(renew));
    } else {
        snprintf(text, sizeof text, "X-Vault-Token: %u", ++grants);
        grant->token = kek_secret_dup(kek_bytes(text, strlen(text) + 1));
    }
    grant->lifetime_ms = renew != NULL ? renewed_ms : lifetime_ms;
    pthread_mutex_unlock(&of_grants);
    return true;
}

static struct kek_bridge_token *begin(void)
{
    struct kek_provider_failure failure;
    struct kek_bridge_token *token = kek_bridge_token_new(give, NULL, 1000);
    ck_assert_ptr_nonnull(token);
    grants = renewals = slow_ms = 0;
    fails_as = 0;
    ck_assert(kek_bridge_token_get(token, kek_clock_ms() + 1000, &failure));
    return token;
}

struct asker {
    struct kek_bridge_token *token;
    pthread_t id;
    bool good;
};

static void *find_it_refused(void *arg)
{
    struct asker *asker = arg;
    struct kek_bridge_line line = {.line = NULL};
    struct kek_provider_failure failure;
    ck_assert(kek_bridge_token_line(asker->token, &line));
    line.serial = 1; /* as it was before the first asked */
    asker->good = kek_bridge_token_refused(asker->token, &line, kek_clock_ms() + 5000, &failure);
    kek_bridge_line_done(&line);
    return NULL;
}

START_TEST(of_many_who_find_it_refused_one_asks)
{
    struct asker askers[8];
    struct kek_bridge_token *token = begin();
    slow_ms = 50;
    for (size_t i = 0; i < 8; i++) {
        askers[i].token = token;
        ck_assert_int_eq(pthread_create(&askers[i].id, NULL, find_it_refused, &askers[i]), 0);
    }
    for (size_t i = 0; i < 8; i++) {
        pthread_join(askers[i].id, NULL);
        ck_assert(askers[i].good);
    }
    ck_assert_uint_eq(grants, 2);
    kek_bridge_token_free(token);
}
END_TEST

START_TEST(a_credential_that_was_refused_is_never_shown_again)
{
    struct kek_bridge_token *token = begin();
    struct kek_bridge_line line = {.line = NULL};
    struct kek_provider_failure failure;
    ck_assert(kek_bridge_token_line(token, &line));
    fails_as = CAUSE(PIN_REFUSED);
    for (int i = 0; i < 3; i++) {
        ck_assert(!kek_bridge_token_refused(token, &line, kek_clock_ms() + 1000, &failure));
        ck_assert_int_eq(failure.cause, CAUSE(PIN_REFUSED));
        usleep(i == 0 ? 1100 * 1000 : 0); /* past the second in which nothing is asked again */
    }
    ck_assert_uint_eq(grants, 2);
    kek_bridge_line_done(&line);
    kek_bridge_token_free(token);
}
END_TEST

START_TEST(an_outage_is_asked_about_once_a_second)
{
    struct kek_bridge_token *token = begin();
    struct kek_bridge_line line = {.line = NULL};
    struct kek_provider_failure failure;
    ck_assert(kek_bridge_token_line(token, &line));
    fails_as = CAUSE(LINK);
    for (int i = 0; i < 5; i++) {
        ck_assert(!kek_bridge_token_refused(token, &line, kek_clock_ms() + 1000, &failure));
    }
    ck_assert_uint_eq(grants, 2);
    fails_as = 0;
    usleep(1100 * 1000);
    ck_assert(kek_bridge_token_refused(token, &line, kek_clock_ms() + 1000, &failure));
    kek_bridge_line_done(&line);
    kek_bridge_token_free(token);
}
END_TEST

START_TEST(it_is_renewed_before_it_ends_and_stays_the_same)
{
    struct kek_bridge_line line = {.line = NULL};
    lifetime_ms = renewed_ms = 1000;
    struct kek_bridge_token *token = begin();
    uint64_t began = kek_clock_ms();
    ck_assert(kek_bridge_token_keep(token));
    ck_assert(kek_bridge_token_line(token, &line));
    while (__atomic_load_n(&renewals, __ATOMIC_SEQ_CST) == 0) {
        ck_assert_uint_lt(kek_clock_ms() - began, 20000);
        usleep(10000);
    }
    ck_assert_uint_ge(kek_clock_ms() - began, 600);
    ck_assert_uint_eq(grants, 1);
    const struct kek_secret *before = line.line;
    ck_assert(kek_bridge_token_line(token, &line));
    ck_assert_ptr_eq(line.line, before);
    kek_bridge_line_done(&line); /* the thread goes with the process */
}
END_TEST

START_TEST(one_that_lives_shorter_and_shorter_is_got_anew)
{
    lifetime_ms = 1000;
    renewed_ms = 400;
    struct kek_bridge_token *token = begin();
    uint64_t began = kek_clock_ms();
    ck_assert(kek_bridge_token_keep(token));
    while (__atomic_load_n(&grants, __ATOMIC_SEQ_CST) < 2) {
        ck_assert_uint_lt(kek_clock_ms() - began, 20000);
        usleep(10000);
    }
    ck_assert_uint_ge(renewals, 1);
}
END_TEST

int main(void)
{
    bool locked;
    if (kek_secret_setup(65536, &locked, NULL) != KEK_OK) {
        return 99;
    }
    kek_bridge_setup();
    Suite *suite = suite_create("bridge");
    TCase *tests = tcase_create("bridge");
    tcase_add_test(tests, a_kek_id_is_the_first_half_of_its_names_digest);
    tcase_add_test(tests, only_a_whole_object_is_taken_for_an_answer);
    tcase_add_test(tests, what_a_server_says_back_of_a_secret_is_noticed);
    tcase_add_test(tests, nine_tenths_of_what_kekd_waits_are_ours);
    tcase_add_test(tests, a_version_of_a_service_is_named_by_its_number_alone);
    tcase_add_test(tests, a_credential_is_one_line_that_nobody_else_reads);
    tcase_add_test(tests, of_many_who_find_it_refused_one_asks);
    tcase_add_test(tests, a_credential_that_was_refused_is_never_shown_again);
    tcase_add_test(tests, an_outage_is_asked_about_once_a_second);
    tcase_add_test(tests, it_is_renewed_before_it_ends_and_stays_the_same);
    tcase_add_test(tests, one_that_lives_shorter_and_shorter_is_got_anew);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
