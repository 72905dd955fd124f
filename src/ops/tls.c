#include "tls.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "kek/text.h"
#include "tls_files.h"

#define CHAIN_MAX (32 * 1024) /* bytes of a client's certificates */
#define CHAIN_DEPTH 5         /* of those that lead to a CA */

struct tls {
    SSL_CTX *context;
    struct tls_settings settings;
};

struct tls_session {
    SSL *ssl;
    BIO *in, *out; /* the ssl's */
    char *const *allow;
    enum tls_state state;
    bool allowed;
    char subject[TLS_SUBJECT_MAX];
    char why[160];
};

/* ---- who a client is ---- */

static void show_subject(struct tls_session *session, X509 *cert)
{
    X509_NAME *name = X509_get_subject_name(cert);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    unsigned char *text = NULL;
    int len = at < 0 ? -1
                     : ASN1_STRING_to_UTF8(&text,
                                           X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    kek_text_copy(session->subject, sizeof session->subject,
                  len < 0 ? "(without a common name)" : (const char *)text);
    if (len >= 0) {
        OPENSSL_free(text);
    }
}

/* The whole name: one with a NUL in it is no other's. */
static bool is_listed(char *const *allow, const ASN1_STRING *name)
{
    unsigned char *text = NULL;
    int len = ASN1_STRING_to_UTF8(&text, name);
    bool listed = false;
    for (size_t i = 0; len > 0 && allow[i] != NULL && !listed; i++) {
        listed = strlen(allow[i]) == (size_t)len && memcmp(allow[i], text, (size_t)len) == 0;
    }
    if (len >= 0) {
        OPENSSL_free(text);
    }
    return listed;
}

static bool has_listed_cn(char *const *allow, X509 *cert)
{
    X509_NAME *name = X509_get_subject_name(cert);
    bool listed = false;
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    while (at >= 0 && !listed) {
        listed = is_listed(allow, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
        at = X509_NAME_get_index_by_NID(name, NID_commonName, at);
    }
    return listed;
}

static bool has_listed_dns(char *const *allow, X509 *cert)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    bool listed = false;
    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !listed; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        listed = name->type == GEN_DNS && is_listed(allow, name->d.dNSName);
    }
    GENERAL_NAMES_free(names);
    return listed;
}

/* Only to keep the name of a certificate that is refused: what is decided stays so. */
static int on_verify(int good, X509_STORE_CTX *check)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(check, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_session *session = SSL_get_app_data(ssl);
    X509 *cert = X509_STORE_CTX_get0_cert(check);
    if (!good && cert != NULL) {
        show_subject(session, cert);
    }
    return good;
}

/* ---- a listener's ---- */

static bool set_rules(SSL_CTX *context)
{
    static const unsigned char id[] = "kekd status";
    SSL_CTX_set_options(context, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_TICKET |
                                     SSL_OP_NO_COMPRESSION | SSL_OP_CIPHER_SERVER_PREFERENCE);
    SSL_CTX_set_mode(context, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_max_cert_list(context, CHAIN_MAX);
    SSL_CTX_set_verify_depth(context, CHAIN_DEPTH);
    SSL_CTX_set_security_level(context, 2);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, on_verify);
    return SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION) == 1 &&
           SSL_CTX_set_num_tickets(context, 0) == 1 &&
           SSL_CTX_set1_groups_list(context, "X25519:P-256:P-384") == 1 &&
           SSL_CTX_set_cipher_list(context, "ECDHE+AESGCM:ECDHE+CHACHA20") == 1 &&
           SSL_CTX_set_session_id_context(context, id, sizeof id - 1) == 1;
}

struct tls *tls_new(const struct tls_settings *settings, struct kek_why *why)
{
    struct tls *tls = calloc(1, sizeof *tls);
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    if (tls == NULL || context == NULL || !set_rules(context)) {
        kek_fail(why, KEK_INTERNAL, "status: OpenSSL cannot be made ready for TLS (%s)",
                 tls_files_reason());
        SSL_CTX_free(context);
        free(tls);
        return NULL;
    }
    tls->context = context;
    tls->settings = *settings;
    if (tls_files_load(context, settings, why) != KEK_OK ||
        tls_files_check(context, settings, why) != KEK_OK) {
        tls_free(tls);
        return NULL;
    }
    return tls;
}

void tls_free(struct tls *tls)
{
    if (tls != NULL) {
        SSL_CTX_free(tls->context);
        free(tls);
    }
}

static int64_t end_of(const X509 *cert)
{
    struct tm utc = {0};
    return ASN1_TIME_to_tm(X509_get0_notAfter(cert), &utc) == 1 ? timegm(&utc) : 0;
}

int64_t tls_expires(const struct tls *tls)
{
    STACK_OF(X509) *chain = NULL;
    int64_t first = end_of(SSL_CTX_get0_certificate(tls->context));
    (void)SSL_CTX_get0_chain_certs(tls->context, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        int64_t end = end_of(sk_X509_value(chain, i));
        first = end < first ? end : first;
    }
    return first;
}

enum kek_rc tls_check_now(const struct tls *tls, struct kek_why *why)
{
    return tls_files_check_now(tls->context, &tls->settings, why);
}

/* ---- a session ---- */

struct tls_session *tls_session_new(const struct tls *tls)
{
    struct tls_session *session = calloc(1, sizeof *session);
    if (session == NULL) {
        return NULL;
    }
    session->allow = tls->settings.allow;
    session->ssl = SSL_new(tls->context);
    session->in = BIO_new(BIO_s_mem());
    session->out = BIO_new(BIO_s_mem());
    if (session->ssl == NULL || session->in == NULL || session->out == NULL ||
        SSL_set_app_data(session->ssl, session) != 1) {
        BIO_free(session->in);
        BIO_free(session->out);
        session->in = session->out = NULL;
        tls_session_free(session);
        ERR_clear_error();
        return NULL;
    }
    /* "Nothing there" is "not yet", not the end. */
    BIO_set_mem_eof_return(session->in, -1);
    BIO_set_mem_eof_return(session->out, -1);
    SSL_set_bio(session->ssl, session->in, session->out);
    SSL_set_accept_state(session->ssl);
    return session;
}

void tls_session_free(struct tls_session *session)
{
    if (session != NULL) {
        SSL_free(session->ssl); /* and its BIOs */
        free(session);
    }
}

static enum tls_state fail(struct tls_session *session)
{
    unsigned long error = ERR_peek_last_error();
    long verified = SSL_get_verify_result(session->ssl);
    bool http = ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST;
    const char *reason =
        verified == X509_V_OK ? tls_files_reason() : X509_verify_cert_error_string(verified);
    ERR_clear_error();
    snprintf(session->why, sizeof session->why, "%s", reason);
    session->state = http ? TLS_NO_TLS : TLS_FAILED;
    return session->state;
}

/* What the last call of libssl left: all is well and it wants more, or it is over. */
static enum tls_state after(struct tls_session *session, int returned)
{
    switch (SSL_get_error(session->ssl, returned)) {
    case SSL_ERROR_WANT_READ:
        return session->state;
    case SSL_ERROR_ZERO_RETURN:
        session->state = TLS_ENDED;
        return session->state;
    default:
        return fail(session);
    }
}

static enum tls_state shake(struct tls_session *session)
{
    int done = SSL_do_handshake(session->ssl);
    if (done != 1) {
        return after(session, done);
    }
    X509 *cert = SSL_get0_peer_certificate(session->ssl);
    if (cert == NULL || SSL_get_verify_result(session->ssl) != X509_V_OK) {
        return fail(session);
    }
    show_subject(session, cert);
    session->allowed = has_listed_cn(session->allow, cert) || has_listed_dns(session->allow, cert);
    session->state = TLS_OPEN;
    return session->state;
}

enum tls_state tls_take(struct tls_session *session, const void *data, size_t data_len, void *plain,
                        size_t room, size_t *len)
{
    *len = 0;
    if (session->state > TLS_OPEN || data_len > INT32_MAX) {
        return session->state;
    }
    ERR_clear_error();
    if (data_len > 0 && BIO_write(session->in, data, (int)data_len) != (int)data_len) {
        return fail(session);
    }
    if (session->state == TLS_SHAKING && shake(session) != TLS_OPEN) {
        return session->state;
    }
    while (*len < room) {
        size_t got = 0;
        int read = SSL_read_ex(session->ssl, (char *)plain + *len, room - *len, &got);
        if (read != 1) {
            /* What came before the end is still good. */
            return after(session, read);
        }
        *len += got;
    }
    return session->state;
}

static bool say(struct tls_session *session, struct kek_bytes bytes)
{
    size_t written = 0;
    return bytes.len == 0 || (SSL_write_ex(session->ssl, bytes.data, bytes.len, &written) == 1 &&
                              written == bytes.len);
}

bool tls_say(struct tls_session *session, struct kek_bytes head, struct kek_bytes body)
{
    if (session->state != TLS_OPEN && session->state != TLS_ENDED) {
        return false;
    }
    ERR_clear_error();
    bool said = say(session, head) && say(session, body) && SSL_shutdown(session->ssl) >= 0;
    ERR_clear_error();
    return said;
}

struct kek_bytes tls_output(const struct tls_session *session)
{
    char *data = NULL;
    long len = BIO_get_mem_data(session->out, &data);
    return kek_bytes(data, len < 0 ? 0 : (size_t)len);
}

void tls_output_sent(struct tls_session *session)
{
    (void)BIO_reset(session->out);
}

bool tls_allowed(const struct tls_session *session)
{
    return session->allowed;
}

const char *tls_subject(const struct tls_session *session)
{
    return session->subject;
}

const char *tls_why(const struct tls_session *session)
{
    return session->why;
}
