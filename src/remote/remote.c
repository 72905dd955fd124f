#include "kek/remote.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include <curl/curl.h>

#include "kek/clock.h"
#include "kek/text.h"

struct transfer {
    struct kek_remote *remote;
    struct kek_remote_get *get; /* the caller's */
    CURL *easy;
    bool too_large;
    char error[CURL_ERROR_SIZE];
    struct transfer *next;
};

struct kek_remote {
    struct kek_remote_settings settings;
    CURLM *multi;
    struct transfer *transfers;
};

struct kek_remote *kek_remote_new(const struct kek_remote_settings *settings, struct kek_why *why)
{
    struct kek_remote *remote = calloc(1, sizeof *remote);
    bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (remote != NULL && ready) {
        remote->multi = curl_multi_init();
    }
    if (remote == NULL || remote->multi == NULL) {
        free(remote);
        if (ready) {
            curl_global_cleanup();
        }
        kek_fail(why, KEK_NO_MEMORY, "libcurl cannot be used: no memory, or no TLS in it");
        return NULL;
    }
    remote->settings = *settings;
    return remote;
}

/* ---- how it ended, in words ---- */

static void take_off(struct transfer *transfer)
{
    struct transfer **link = &transfer->remote->transfers;
    while (*link != transfer) {
        link = &(*link)->next;
    }
    *link = transfer->next;
    (void)curl_multi_remove_handle(transfer->remote->multi, transfer->easy);
    curl_easy_cleanup(transfer->easy);
    free(transfer);
}

static enum kek_rc say_tls(struct kek_remote_get *get, const char *error)
{
    return kek_fail(&get->why, KEK_DENIED,
                    "%s: %s: its certificate must lead to status.ca and have this host's name, and "
                    "status.cert must be one that it lets in",
                    get->url, error);
}

static enum kek_rc say_status(struct kek_remote_get *get)
{
    char first[160];
    size_t len = get->body.len < sizeof first - 1 ? get->body.len : sizeof first - 1;
    const char *end = len == 0 ? NULL : memchr(get->body.data, '\n', len);
    len = end == NULL ? len : (size_t)(end - (const char *)get->body.data);
    if (len > 0) {
        memcpy(first, get->body.data, len);
    }
    first[len] = '\0';
    kek_text_clean(first);
    const char *todo = get->status == 403
                           ? ": have its status.allow name the subject of status.cert"
                       : get->status == 404 ? ": no kekd serves its status there"
                                            : "";
    return kek_fail_native(&get->why, get->status == 403 ? KEK_DENIED : KEK_UNAVAILABLE,
                           KEK_NATIVE_HTTP, (unsigned long)get->status,
                           "%s: HTTP status %ld (%s)%s", get->url, get->status, first, todo);
}

/* Not in curl's words: the milliseconds in them would make each try look like news. */
static enum kek_rc say_no_connection(struct transfer *transfer)
{
    struct kek_remote_get *get = transfer->get;
    long code = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &code);
    return kek_fail(&get->why, KEK_UNAVAILABLE,
                    "%s: %s: does kekd run there, and listen on this address?", get->url,
                    code == 0 ? curl_easy_strerror(CURLE_COULDNT_CONNECT) : strerror((int)code));
}

static enum kek_rc say_failure(struct transfer *transfer, CURLcode code)
{
    struct kek_remote_get *get = transfer->get;
    const char *error = transfer->error[0] == '\0' ? curl_easy_strerror(code) : transfer->error;
    kek_text_clean(transfer->error);
    if (transfer->too_large || code == CURLE_FILESIZE_EXCEEDED) {
        return kek_fail(&get->why, KEK_TOO_LARGE,
                        "%s: the answer has more than %zu bytes: this is no kekd", get->url,
                        get->body.max);
    }
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return kek_fail(&get->why, KEK_DEADLINE,
                        "%s: no answer in time: does it run, and can it be reached from here?",
                        get->url);
    case CURLE_COULDNT_RESOLVE_HOST:
        return kek_fail(&get->why, KEK_UNAVAILABLE, "%s: %s: is the name right?", get->url, error);
    case CURLE_COULDNT_CONNECT:
        return say_no_connection(transfer);
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CONNECT_ERROR:
        return say_tls(get, error);
    case CURLE_RECV_ERROR: /* TLS 1.3: a certificate is refused after the handshake */
        return strstr(error, "alert") != NULL
                   ? say_tls(get, error)
                   : kek_fail(&get->why, KEK_UNAVAILABLE, "%s: %s", get->url, error);
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return kek_fail(&get->why, KEK_INVALID,
                        "%s: %s: look at the files of status.cert, status.key and status.ca",
                        get->url, error);
    case CURLE_OUT_OF_MEMORY:
        return kek_fail(&get->why, KEK_NO_MEMORY, "%s: no memory", get->url);
    default:
        return kek_fail(&get->why, KEK_UNAVAILABLE, "%s: %s", get->url, error);
    }
}

static void finish(struct transfer *transfer, CURLcode code)
{
    struct kek_remote_get *get = transfer->get;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &get->status);
    if (code != CURLE_OK) {
        get->rc = say_failure(transfer, code);
    } else {
        get->rc = get->status == 200 ? KEK_OK : say_status(get);
    }
    get->done = true;
    take_off(transfer);
}

/* ---- one GET ---- */

static size_t on_body(char *bytes, size_t one, size_t len, void *arg)
{
    struct transfer *transfer = arg;
    enum kek_rc rc =
        kek_buf_append(&transfer->get->body, kek_bytes(bytes, one * len), &transfer->get->why);
    transfer->too_large = rc == KEK_TOO_LARGE;
    return rc == KEK_OK ? one * len : 0;
}

/* "http://127.0.0.1:9478/..." or "http://[::1]:9478/...": a name could lead anywhere. */
static bool is_numeric(const char *url)
{
    static const char scheme[] = "http://";
    char host[INET6_ADDRSTRLEN];
    struct in6_addr address;
    if (strncmp(url, scheme, sizeof scheme - 1) != 0) {
        return false;
    }
    const char *at = url + sizeof scheme - 1;
    bool v6 = *at == '[';
    at += v6;
    size_t len = strcspn(at, v6 ? "]" : ":/");
    if (len == 0 || len >= sizeof host) {
        return false;
    }
    memcpy(host, at, len);
    host[len] = '\0';
    return inet_pton(v6 ? AF_INET6 : AF_INET, host, &address) == 1;
}

#define SET(option, value) (good = good && curl_easy_setopt(easy, option, value) == CURLE_OK)

static bool set_tls(CURL *easy, const struct kek_remote_settings *settings)
{
    bool good = true;
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_CAPATH, NULL); /* the system's CAs are none of ours */
    SET(CURLOPT_CAINFO, settings->ca);
    SET(CURLOPT_SSLCERT, settings->cert);
    SET(CURLOPT_SSLKEY, settings->key);
    return good;
}

static bool set_up(struct transfer *transfer, uint64_t left_ms)
{
    CURL *easy = transfer->easy;
    const struct kek_remote_get *get = transfer->get;
    uint64_t connect_ms = left_ms < KEK_REMOTE_CONNECT_MS ? left_ms : KEK_REMOTE_CONNECT_MS;
    bool good = true;
    SET(CURLOPT_URL, get->url);
    SET(CURLOPT_PROTOCOLS_STR, get->plain ? "http" : "https");
    SET(CURLOPT_PROXY, "");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_HTTP09_ALLOWED, 0L);
    SET(CURLOPT_FORBID_REUSE, 1L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L); /* a resolver that hangs holds up nobody */
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)connect_ms);
    SET(CURLOPT_TIMEOUT_MS, (long)left_ms);
    SET(CURLOPT_MAXFILESIZE_LARGE, (curl_off_t)get->body.max);
    SET(CURLOPT_ERRORBUFFER, transfer->error);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, transfer);
    SET(CURLOPT_PRIVATE, transfer);
    return good && (get->plain || set_tls(easy, &transfer->remote->settings));
}

static enum kek_rc refuse(const struct kek_remote *remote, struct kek_remote_get *get)
{
    if (get->plain && !is_numeric(get->url)) {
        return kek_fail(&get->why, KEK_INVALID,
                        "%s: plain HTTP is for a numeric address of this machine alone", get->url);
    }
    if (!get->plain && strncmp(get->url, "https://", 8) != 0) {
        return kek_fail(&get->why, KEK_INVALID, "%s: only https:// is asked", get->url);
    }
    if (!get->plain && (remote->settings.cert == NULL || remote->settings.key == NULL ||
                        remote->settings.ca == NULL)) {
        return kek_fail(&get->why, KEK_INVALID,
                        "%s: the configuration names no certificate to ask with: set status.cert, "
                        "status.key and status.ca",
                        get->url);
    }
    return KEK_OK;
}

static enum kek_rc begin(struct kek_remote *remote, struct kek_remote_get *get)
{
    uint64_t now = kek_clock_ms();
    enum kek_rc rc = refuse(remote, get);
    if (rc != KEK_OK) {
        return rc;
    }
    if (get->deadline_ms <= now) {
        return kek_fail(&get->why, KEK_DEADLINE, "%s: no time is left to ask", get->url);
    }
    struct transfer *transfer = calloc(1, sizeof *transfer);
    CURL *easy = curl_easy_init();
    if (transfer == NULL || easy == NULL) {
        curl_easy_cleanup(easy);
        free(transfer);
        return kek_fail(&get->why, KEK_NO_MEMORY, "%s: no memory", get->url);
    }
    *transfer =
        (struct transfer){.remote = remote, .get = get, .easy = easy, .next = remote->transfers};
    remote->transfers = transfer;
    if (!set_up(transfer, get->deadline_ms - now) ||
        curl_multi_add_handle(remote->multi, easy) != CURLM_OK) {
        take_off(transfer);
        return kek_fail(&get->why, KEK_INTERNAL, "%s: libcurl cannot ask this", get->url);
    }
    return KEK_OK;
}

void kek_remote_start(struct kek_remote *remote, struct kek_remote_get *get)
{
    get->done = false;
    get->status = 0;
    get->rc = begin(remote, get);
    get->done = get->rc != KEK_OK;
}

/* ---- moving on ---- */

/* Returns how many came to their end. */
static size_t perform(struct kek_remote *remote)
{
    int running = 0, left = 0;
    size_t ended = 0;
    (void)curl_multi_perform(remote->multi, &running);
    CURLMsg *message = curl_multi_info_read(remote->multi, &left);
    while (message != NULL) {
        void *transfer = NULL;
        CURLcode code = message->data.result; /* the message goes with its handle */
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(transfer, code);
        ended++;
        message = curl_multi_info_read(remote->multi, &left);
    }
    return ended;
}

static size_t count(const struct kek_remote *remote)
{
    size_t number = 0;
    for (const struct transfer *t = remote->transfers; t != NULL; t = t->next) {
        number++;
    }
    return number;
}

static void wait_for(struct kek_remote *remote, const int *fds, size_t fd_count, uint64_t wait_ms)
{
    int ready = 0;
    struct curl_waitfd *extra = calloc(fd_count + 1, sizeof *extra);
    if (extra == NULL) {
        return; /* the caller turns again */
    }
    for (size_t i = 0; i < fd_count; i++) {
        extra[i] = (struct curl_waitfd){.fd = fds[i], .events = CURL_WAIT_POLLIN};
    }
    (void)curl_multi_poll(remote->multi, extra, (unsigned)fd_count,
                          wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms, &ready);
    free(extra);
}

size_t kek_remote_turn(struct kek_remote *remote, const int *fds, size_t fd_count, uint64_t wait_ms)
{
    if (perform(remote) == 0) {
        wait_for(remote, fds, fd_count, wait_ms);
        (void)perform(remote);
    }
    return count(remote);
}

void kek_remote_free(struct kek_remote *remote)
{
    if (remote == NULL) {
        return;
    }
    while (remote->transfers != NULL) {
        struct kek_remote_get *get = remote->transfers->get;
        get->rc = kek_fail(&get->why, KEK_CANCELLED, "%s: nobody waits for it any more", get->url);
        get->done = true;
        take_off(remote->transfers);
    }
    (void)curl_multi_cleanup(remote->multi);
    curl_global_cleanup();
    free(remote);
}
