#include "transfer.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "kek/secret.h"
#include "kek/text.h"

#define SET(option, value) (good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)

/* ---- what may be asked ---- */

/* To be freed with curl_free; NULL: it has none. */
static char *part(CURLU *url, CURLUPart which)
{
    char *text = NULL;
    (void)curl_url_get(url, which, &text, 0);
    return text;
}

/* Without what may be secret, or long. */
static void show(struct transfer *transfer, CURLU *url)
{
    static const CURLUPart hidden[] = {CURLUPART_USER, CURLUPART_PASSWORD, CURLUPART_QUERY,
                                       CURLUPART_FRAGMENT};
    for (size_t i = 0; i < sizeof hidden / sizeof hidden[0]; i++) {
        (void)curl_url_set(url, hidden[i], NULL, 0);
    }
    char *text = part(url, CURLUPART_URL);
    kek_text_copy(transfer->shown, sizeof transfer->shown, text);
    curl_free(text);
}

/* "localhost" is this machine to libcurl whatever a resolver says; another name could lead anywhere. */
static bool is_loopback(const char *host)
{
    struct in_addr v4;
    if (strcmp(host, "localhost") == 0 || strcmp(host, "[::1]") == 0) {
        return true;
    }
    return inet_pton(AF_INET, host, &v4) == 1 && ntohl(v4.s_addr) >> 24 == IN_LOOPBACKNET;
}

static enum kek_rc check_plain(struct transfer *transfer, const char *host)
{
    const struct kek_remote_call *call = transfer->call;
    bool secret = call->credential != NULL || call->send_secret;
    bool here = call->socket != NULL || is_loopback(host);
    if (secret && (!here || transfer->settings->proxy != NULL)) {
        return kek_fail(&transfer->call->why, KEK_INVALID,
                        "%s: a password or token is sent by https:// alone, or to this machine's "
                        "own 127.0.0.1, [::1] or localhost",
                        transfer->shown);
    }
    return KEK_OK;
}

static enum kek_rc check_tls(struct transfer *transfer)
{
    const struct kek_remote_settings *with = transfer->settings;
    struct kek_why *why = &transfer->call->why;
    if (transfer->call->socket != NULL) {
        return kek_fail(why, KEK_INVALID, "%s: a Unix socket is asked by http:// alone",
                        transfer->shown);
    }
    if (with->ca == NULL && with->ca_pem.len == 0 && !with->system_ca) {
        return kek_fail(why, KEK_INVALID,
                        "%s: no CA is named that its certificate must lead to: set %s",
                        transfer->shown, with->ca_name == NULL ? "the CA" : with->ca_name);
    }
    return KEK_OK;
}

static enum kek_rc check_url(struct transfer *transfer, CURLU *url)
{
    const struct kek_remote_call *call = transfer->call;
    CURLUcode code = curl_url_set(url, CURLUPART_URL, call->url, 0);
    if (code != CURLUE_OK) {
        return kek_fail(&transfer->call->why, KEK_INVALID,
                        "this is no URL: %s: expected %s://HOST:PORT/...", curl_url_strerror(code),
                        call->plain ? "http" : "https");
    }
    char *scheme = part(url, CURLUPART_SCHEME);
    char *host = part(url, CURLUPART_HOST);
    char *user = part(url, CURLUPART_USER);
    enum kek_rc rc;
    show(transfer, url);
    if (scheme == NULL || strcmp(scheme, call->plain ? "http" : "https") != 0) {
        rc = kek_fail(&transfer->call->why, KEK_INVALID, "%s: only %s:// is asked", transfer->shown,
                      call->plain ? "http" : "https");
    } else if (user != NULL || host == NULL) {
        rc = kek_fail(&transfer->call->why, KEK_INVALID,
                      "%s: a user or password in a URL is not taken", transfer->shown);
    } else {
        rc = call->plain ? check_plain(transfer, host) : check_tls(transfer);
    }
    curl_free(scheme);
    curl_free(host);
    curl_free(user);
    return rc;
}

/* A line break would begin a header of its own. */
static enum kek_rc check_line(struct transfer *transfer, const char *line, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)line[i] < ' ' || line[i] == 0x7f) {
            return kek_fail(&transfer->call->why, KEK_INVALID,
                            "%s: a header of the request has a control character, such as a line "
                            "break, in byte %zu",
                            transfer->shown, i + 1);
        }
    }
    return KEK_OK;
}

enum kek_rc transfer_check(struct transfer *transfer)
{
    const struct kek_remote_call *call = transfer->call;
    CURLU *url = curl_url();
    if (url == NULL) {
        return kek_fail(&transfer->call->why, KEK_NO_MEMORY, "no memory to ask");
    }
    enum kek_rc rc = check_url(transfer, url);
    curl_url_cleanup(url);
    for (size_t i = 0; rc == KEK_OK && call->headers != NULL && call->headers[i] != NULL; i++) {
        rc = check_line(transfer, call->headers[i], strlen(call->headers[i]));
    }
    if (rc == KEK_OK && call->credential != NULL) {
        struct kek_bytes line = kek_secret_bytes(call->credential);
        rc = check_line(transfer, (const char *)line.data, line.len - 1);
    }
    return rc;
}

/* ---- what libcurl is told ---- */

static bool add_line(struct transfer *transfer, const char *line)
{
    struct curl_slist *lines = curl_slist_append(transfer->lines, line);
    transfer->lines = lines == NULL ? transfer->lines : lines;
    return lines != NULL;
}

void transfer_drop_lines(struct transfer *transfer)
{
    struct curl_slist *last = transfer->lines;
    while (last != NULL && last->next != NULL) {
        last = last->next;
    }
    if (transfer->secret_line) {
        kek_wipe(last->data, strlen(last->data));
    }
    curl_slist_free_all(transfer->lines);
    transfer->lines = NULL;
    transfer->secret_line = false;
}

static bool set_lines(struct transfer *transfer)
{
    const struct kek_remote_call *call = transfer->call;
    /* Nobody is asked whether it would take the body: that costs a second where it does not answer. */
    bool good = add_line(transfer, "Expect:");
    for (size_t i = 0; good && call->headers != NULL && call->headers[i] != NULL; i++) {
        good = add_line(transfer, call->headers[i]);
    }
    if (good && call->credential != NULL) {
        good = add_line(transfer, (const char *)kek_secret_bytes(call->credential).data);
        transfer->secret_line = good;
    }
    CURL *easy = transfer->easy;
    SET(CURLOPT_HTTPHEADER, transfer->lines);
    return good;
}

static bool set_blob(CURL *easy, CURLoption option, struct kek_bytes pem)
{
    struct curl_blob blob = {
        .data = (void *)(uintptr_t)pem.data, .len = pem.len, .flags = CURL_BLOB_NOCOPY};
    return pem.len == 0 || curl_easy_setopt(easy, option, &blob) == CURLE_OK;
}

static bool set_tls(CURL *easy, const struct kek_remote_settings *with)
{
    bool good = true;
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    if (!with->system_ca) {
        SET(CURLOPT_CAPATH, NULL); /* the system's CAs are none of ours */
        SET(CURLOPT_CAINFO, with->ca);
    }
    SET(CURLOPT_SSLCERT, with->cert);
    SET(CURLOPT_SSLKEY, with->key);
    SET(CURLOPT_KEYPASSWD, ""); /* a key under a password is refused: nobody is asked for it */
    return good && set_blob(easy, CURLOPT_CAINFO_BLOB, with->ca_pem) &&
           set_blob(easy, CURLOPT_SSLCERT_BLOB, with->cert_pem) &&
           set_blob(easy, CURLOPT_SSLKEY_BLOB, with->key_pem);
}

/* libcurl 7.88 ends the second request of an HTTP/2 connection without TLS with "Error in the HTTP2 framing
 * layer" (curl issue 10634, mended in 8.0.0). */
static bool reuses(const struct kek_remote_call *call)
{
    return !call->plain || !call->http2 ||
           curl_version_info(CURLVERSION_NOW)->version_num >= 0x080000;
}

static bool set_way(CURL *easy, const struct kek_remote_settings *with,
                    const struct kek_remote_call *call)
{
    bool good = true;
    long plain2 = CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE, tls2 = CURL_HTTP_VERSION_2TLS;
    SET(CURLOPT_PROTOCOLS_STR, call->plain ? "http" : "https");
    SET(CURLOPT_PROXY, with->proxy == NULL ? "" : with->proxy);
    SET(CURLOPT_NOPROXY, ""); /* no_proxy of the environment does not count either */
    SET(CURLOPT_HTTPPROXYTUNNEL, 1L);
    SET(CURLOPT_UNIX_SOCKET_PATH, call->socket);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION,
        !call->http2 ? (long)CURL_HTTP_VERSION_1_1 : (call->plain ? plain2 : tls2));
    SET(CURLOPT_PIPEWAIT,
        call->http2 && reuses(call) ? 1L : 0L); /* many streams of one connection */
    SET(CURLOPT_FRESH_CONNECT, reuses(call) ? 0L : 1L);
    SET(CURLOPT_FORBID_REUSE, reuses(call) ? 0L : 1L);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a resolver that hangs holds up nobody */
    return good && (call->plain || set_tls(easy, with));
}

static bool set_request(CURL *easy, const struct kek_remote_call *call)
{
    bool good = true;
    SET(CURLOPT_URL, call->url);
    if (call->send.len > 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->send.len);
        SET(CURLOPT_POSTFIELDS, call->send.data); /* not copied */
    } else if (call->method != NULL && strcmp(call->method, "POST") == 0) {
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)0);
        SET(CURLOPT_POSTFIELDS, "");
    }
    if (call->method != NULL && strcmp(call->method, "HEAD") == 0) {
        SET(CURLOPT_NOBODY, 1L);
    } else {
        SET(CURLOPT_CUSTOMREQUEST, call->method == NULL ? "GET" : call->method);
    }
    return good;
}

bool transfer_set_up(struct transfer *transfer, uint64_t left_ms)
{
    CURL *easy = transfer->easy;
    const struct kek_remote_call *call = transfer->call;
    uint64_t connect_ms = left_ms < KEK_REMOTE_CONNECT_MS ? left_ms : KEK_REMOTE_CONNECT_MS;
    bool good = true;
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)left_ms);
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_HEADERFUNCTION, transfer_on_header);
    SET(CURLOPT_HEADERDATA, transfer);
    SET(CURLOPT_WRITEFUNCTION, transfer_on_body);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_PRIVATE, transfer);
    return good && set_request(easy, call) && set_way(easy, transfer->settings, call) &&
           set_lines(transfer);
}
