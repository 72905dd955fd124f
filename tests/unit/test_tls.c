/* TLS under the status listener, without a network: a client of OpenSSL's in the same process. */
#include "suite.h"

#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>

#include "certificate.h"
#include "ops_folder.h"
#include "src/ops/tls.h"

static const char request[] = "GET /status HTTP/1.1\r\n\r\n";

/* While the server runs, its OpenSSL has no memory for allocation number `failing`. */
static bool serving;
static unsigned long failing, allocations;

static bool is_out(void)
{
    return serving && failing > 0 && ++allocations == failing;
}

static void *take(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return is_out() ? NULL : malloc(size);
}

static void *take_again(void *old, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return is_out() ? NULL : realloc(old, size);
}

static void give_back(void *old, const char *file, int line)
{
    (void)file;
    (void)line;
    free(old);
}

static char *allow[] = {(char *)"friend", NULL};
static struct tls *tls;
static X509 *cert;
static EVP_PKEY *key;
static SSL_CTX *context;

static void make(const char *cn, int cn_len)
{
    struct kek_why why = {.text = ""};
    folder_make();
    certificate_make(folder_path("cert"), folder_path("key"), cn, cn_len, &cert, &key);
    ck_assert_int_eq(chmod(folder_path("key"), 0600), 0);
    tls = tls_new(&(struct tls_settings){.cert = folder_path("cert"),
                                         .key = folder_path("key"),
                                         .ca = folder_path("cert"),
                                         .allow = allow},
                  &why);
    ck_assert_msg(tls != NULL, "%s", why.text);
    context = SSL_CTX_new(TLS_client_method());
    ck_assert_int_eq(SSL_CTX_use_certificate(context, cert), 1);
    ck_assert_int_eq(SSL_CTX_use_PrivateKey(context, key), 1);
}

static void setup(void)
{
    make("friend", 6);
}

static void teardown(void)
{
    SSL_CTX_free(context);
    tls_free(tls);
    X509_free(cert);
    EVP_PKEY_free(key);
    folder_remove();
}

/* Both ends of one connection. */
struct pair {
    SSL *client;
    BIO *in, *out; /* the client's */
    struct tls_session *server;
    enum tls_state state;
    char plain[4096];
    size_t plain_len, received, sent;
};

static void pair_init(struct pair *pair)
{
    memset(pair, 0, sizeof *pair);
    serving = true;
    pair->server = tls_session_new(tls);
    serving = false;
    pair->client = SSL_new(context);
    pair->in = BIO_new(BIO_s_mem());
    pair->out = BIO_new(BIO_s_mem());
    SSL_set_bio(pair->client, pair->in, pair->out);
    SSL_set_connect_state(pair->client);
}

static void pair_done(struct pair *pair)
{
    tls_session_free(pair->server);
    SSL_free(pair->client);
    ERR_clear_error();
}

static void deliver(struct pair *pair, const char *bytes, size_t len)
{
    size_t got = 0;
    serving = true;
    pair->state = tls_take(pair->server, bytes, len, pair->plain + pair->plain_len,
                           sizeof pair->plain - pair->plain_len, &got);
    serving = false;
    pair->plain_len += got;
    pair->received += len;
}

static void return_output(struct pair *pair)
{
    struct kek_bytes output = tls_output(pair->server);
    pair->sent += output.len;
    ck_assert_int_eq(BIO_write(pair->in, output.data, (int)output.len), (int)output.len);
    tls_output_sent(pair->server);
    ck_assert_uint_eq(tls_output(pair->server).len, 0);
}

/* All that the client has to say, in pieces, and the answers. */
static void pump(struct pair *pair, size_t piece)
{
    char *bytes = NULL;
    size_t len = (size_t)BIO_get_mem_data(pair->out, &bytes);
    for (size_t at = 0; at < len; at += piece) {
        deliver(pair, bytes + at, len - at < piece ? len - at : piece);
    }
    ck_assert_int_eq(BIO_reset(pair->out), 1);
    return_output(pair);
}

static void shake(struct pair *pair, size_t piece)
{
    for (int i = 0; i < 3; i++) {
        (void)SSL_do_handshake(pair->client);
        pump(pair, piece);
    }
}

static void ask(struct pair *pair, size_t piece)
{
    shake(pair, piece);
    ck_assert_int_eq(SSL_write(pair->client, request, sizeof request - 1), sizeof request - 1);
    pump(pair, piece);
}

START_TEST(a_client_of_the_list_is_heard_and_answered_however_its_bytes_come)
{
    static const size_t pieces[] = {1, 7, 1000, 100000};
    for (size_t i = 0; i < 4; i++) {
        struct pair pair;
        char answer[32];
        pair_init(&pair);
        ask(&pair, pieces[i]);
        ck_assert_int_eq(pair.state, TLS_OPEN);
        ck_assert_uint_eq(pair.plain_len, sizeof request - 1);
        ck_assert_mem_eq(pair.plain, request, sizeof request - 1);
        ck_assert(tls_allowed(pair.server));
        ck_assert_str_eq(tls_subject(pair.server), "friend");
        ck_assert(tls_say(pair.server, kek_bytes_of("head "), kek_bytes_of("body")));
        return_output(&pair);
        ck_assert_int_eq(SSL_read(pair.client, answer, sizeof answer), 5);
        ck_assert_int_eq(SSL_read(pair.client, answer + 5, sizeof answer - 5), 4);
        ck_assert_mem_eq(answer, "head body", 9);
        ck_assert_int_eq(SSL_read(pair.client, answer, sizeof answer), 0);
        ck_assert_int_eq(SSL_get_shutdown(pair.client) & SSL_RECEIVED_SHUTDOWN,
                         SSL_RECEIVED_SHUTDOWN);
        pair_done(&pair);
    }
}
END_TEST

START_TEST(a_client_that_is_not_on_the_list_is_known_and_not_allowed)
{
    static const struct {
        const char *cn;
        int len;
        const char *shown;
    } others[] = {{"friend\0x", 8, "friend"}, {"friends", 7, "friends"}, {"frien", 5, "frien"}};
    for (size_t i = 0; i < 3; i++) {
        struct pair pair;
        teardown();
        make(others[i].cn, others[i].len);
        pair_init(&pair);
        ask(&pair, 100000);
        ck_assert_int_eq(pair.state, TLS_OPEN);
        ck_assert(!tls_allowed(pair.server));
        ck_assert_str_eq(tls_subject(pair.server), others[i].shown);
        pair_done(&pair);
    }
}
END_TEST

START_TEST(a_flood_of_key_updates_makes_no_more_than_it_sends)
{
    struct pair pair;
    pair_init(&pair);
    shake(&pair, 100000);
    size_t received = pair.received, sent = pair.sent;
    for (int i = 0; i < 500; i++) {
        ck_assert_int_eq(SSL_key_update(pair.client, SSL_KEY_UPDATE_REQUESTED), 1);
        ck_assert_int_eq(SSL_do_handshake(pair.client), 1);
    }
    pump(&pair, 4096);
    ck_assert_int_eq(pair.state, TLS_OPEN);
    ck_assert_uint_gt(pair.received - received, 10000);
    ck_assert_uint_le(pair.sent - sent, pair.received - received);
    pair_done(&pair);
}
END_TEST

START_TEST(a_client_that_ends_is_ended)
{
    struct pair pair;
    pair_init(&pair);
    ask(&pair, 100000);
    (void)SSL_shutdown(pair.client);
    pump(&pair, 100000);
    ck_assert_int_eq(pair.state, TLS_ENDED);
    ck_assert(tls_say(pair.server, kek_bytes_of("late"), kek_bytes(NULL, 0)));
    pair_done(&pair);
}
END_TEST

/* Each byte of what a client says in the handshake, changed or the last one. */
START_TEST(a_handshake_that_is_damaged_or_cut_is_never_open)
{
    for (size_t at = 0;; at += 37) {
        struct pair pair;
        char *bytes = NULL;
        pair_init(&pair);
        (void)SSL_do_handshake(pair.client);
        bool first = at < (size_t)BIO_get_mem_data(pair.out, &bytes);
        if (!first) {
            pump(&pair, 100000);
            (void)SSL_do_handshake(pair.client);
        }
        size_t offset = first ? at : at - pair.received;
        size_t len = (size_t)BIO_get_mem_data(pair.out, &bytes);
        if (offset >= len) {
            pair_done(&pair);
            break;
        }
        struct pair cut = pair;
        deliver(&cut, bytes, offset);
        ck_assert_int_ne(cut.state, TLS_OPEN);
        pair.server = cut.server;
        bytes[offset] ^= 0x41;
        deliver(&pair, bytes + offset, len - offset);
        ck_assert_msg(pair.state != TLS_OPEN || first, "open at %zu", at);
        if (pair.state == TLS_FAILED) {
            ck_assert_str_ne(tls_why(pair.server), "");
            deliver(&pair, "more", 4); /* changes nothing */
            ck_assert_int_eq(pair.state, TLS_FAILED);
            ck_assert(!tls_say(pair.server, kek_bytes_of("x"), kek_bytes_of("y")));
        }
        pair_done(&pair);
    }
}
END_TEST

START_TEST(whoever_shows_no_certificate_or_speaks_no_tls_is_refused)
{
    struct pair pair;
    SSL_CTX_free(context);
    context = SSL_CTX_new(TLS_client_method());
    pair_init(&pair);
    shake(&pair, 100000);
    ck_assert_int_eq(pair.state, TLS_FAILED);
    ck_assert_str_eq(tls_why(pair.server), "peer did not return a certificate");
    ck_assert_str_eq(tls_subject(pair.server), "");
    ck_assert_uint_gt(pair.sent, 0);
    pair_done(&pair);

    static const struct {
        const char *text;
        enum tls_state state;
    } others[] = {{"GET / HTTP/1.1\r\n\r\n", TLS_NO_TLS},
                  {"SSH-2.0-OpenSSH_9.2\r\n", TLS_FAILED},
                  {"\x16\x03\x01\xff\xff\x01zzzzzzzz", TLS_FAILED},
                  {"\x16\x03", TLS_SHAKING}};
    for (size_t i = 0; i < 4; i++) {
        pair_init(&pair);
        deliver(&pair, others[i].text, strlen(others[i].text));
        ck_assert_int_eq(pair.state, others[i].state);
        pair_done(&pair);
    }
}
END_TEST

/* Whatever allocation of the server's fails, this session fails or goes well, and the next one goes well. */
START_TEST(out_of_memory_ends_one_session)
{
    bool reached = true;
    for (unsigned long n = 1; reached; n += n < 60 ? 1 : 17) {
        struct pair pair;
        failing = n;
        allocations = 0;
        pair_init(&pair);
        if (pair.server != NULL) {
            (void)SSL_do_handshake(pair.client);
            pump(&pair, 100000);
            (void)SSL_do_handshake(pair.client);
            pump(&pair, 100000);
            (void)SSL_write(pair.client, request, sizeof request - 1);
            pump(&pair, 100000);
            serving = true;
            bool said = tls_say(pair.server, kek_bytes_of("head"), kek_bytes_of("body"));
            serving = false;
            ck_assert(!said || (pair.state == TLS_OPEN &&
                                memcmp(pair.plain, request, sizeof request - 1) == 0));
        }
        reached = allocations >= n;
        failing = 0;
        pair_done(&pair);
    }
    struct pair pair;
    pair_init(&pair);
    ask(&pair, 100000);
    ck_assert_int_eq(pair.state, TLS_OPEN);
    pair_done(&pair);
}
END_TEST

static void append(const char *name, const char *text)
{
    FILE *file = fopen(folder_path(name), "ae");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
}

static void refuses(const char *cert_file, const char *ca_file, const char *text)
{
    struct kek_why why = {.text = ""};
    const struct tls *loaded = tls_new(&(struct tls_settings){.cert = folder_path(cert_file),
                                                              .key = folder_path("key"),
                                                              .ca = folder_path(ca_file),
                                                              .allow = allow},
                                       &why);
    ck_assert_ptr_null(loaded);
    ck_assert_msg(strstr(why.text, text) != NULL, "%s", why.text);
}

/* One that is passed over in silence would be missed when the first one is over. */
START_TEST(a_damaged_certificate_behind_good_ones_is_named)
{
    FILE *file = fopen(folder_path("both"), "we");
    ck_assert(file != NULL && PEM_write_X509(file, cert) == 1 && fclose(file) == 0);
    append("both", "a remark\n");
    struct kek_why why = {.text = ""};
    struct tls *good = tls_new(&(struct tls_settings){.cert = folder_path("both"),
                                                      .key = folder_path("key"),
                                                      .ca = folder_path("both"),
                                                      .allow = allow},
                               &why);
    ck_assert_msg(good != NULL, "%s", why.text);
    tls_free(good);
    append("both", "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n");
    refuses("cert", "both", "certificate 2 cannot be used");
    refuses("both", "cert", "certificate 2 cannot be used");
}
END_TEST

/* A terminal is asked before standard input is, so this process leaves its own. */
START_TEST(nobody_is_asked_for_the_passphrase_of_a_certificate)
{
    char left[8] = "", *pem;
    int ends[2];
    BIO *bio = BIO_new(BIO_s_mem());
    ck_assert_int_eq(PEM_ASN1_write_bio((i2d_of_void *)i2d_X509, PEM_STRING_X509, bio, cert,
                                        EVP_aes_128_cbc(), (unsigned char[]){"secret"}, 6, NULL,
                                        NULL),
                     1);
    ck_assert_int_eq(BIO_write(bio, "", 1), 1);
    ck_assert_int_gt(BIO_get_mem_data(bio, &pem), 1);
    append("encrypted", pem);
    BIO_free(bio);
    (void)setsid();
    ck_assert_int_eq(pipe(ends), 0);
    ck_assert_int_eq(write(ends[1], "secret\n", 7), 7);
    ck_assert_int_eq(dup2(ends[0], STDIN_FILENO), STDIN_FILENO);
    ck_assert_int_eq(close(ends[1]), 0);
    refuses("cert", "encrypted", "certificate 1 cannot be used");
    refuses("encrypted", "cert", "status.cert");
    ck_assert_int_eq(read(STDIN_FILENO, left, sizeof left), 7);
}
END_TEST

int main(void)
{
    /* Before anything of OpenSSL's is allocated. */
    if (CRYPTO_set_mem_functions(take, take_again, give_back) != 1) {
        return 1;
    }
    Suite *suite = suite_create("tls");
    TCase *tcase = tcase_create("tls");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, a_client_of_the_list_is_heard_and_answered_however_its_bytes_come);
    tcase_add_test(tcase, a_client_that_is_not_on_the_list_is_known_and_not_allowed);
    tcase_add_test(tcase, a_flood_of_key_updates_makes_no_more_than_it_sends);
    tcase_add_test(tcase, a_client_that_ends_is_ended);
    tcase_add_test(tcase, a_handshake_that_is_damaged_or_cut_is_never_open);
    tcase_add_test(tcase, whoever_shows_no_certificate_or_speaks_no_tls_is_refused);
    tcase_add_test(tcase, out_of_memory_ends_one_session);
    tcase_add_test(tcase, a_damaged_certificate_behind_good_ones_is_named);
    tcase_add_test(tcase, nobody_is_asked_for_the_passphrase_of_a_certificate);
    return suite_run(suite);
}
