#include "transfer.h"

#include <string.h>

#include "kek/text.h"

static const char * or (const char *name, const char *otherwise)
{
    return name == NULL ? otherwise : name;
}

static const char *peer(const struct transfer *transfer)
{
    return or (transfer->settings->peer, "the server");
}

static enum kek_rc say_tls(struct transfer *transfer, const char *error)
{
    const struct kek_remote_settings *with = transfer->settings;
    bool shows = with->cert != NULL || with->cert_pem.len > 0;
    return kek_fail(&transfer->call->why, KEK_DENIED,
                    "%s: %s: its certificate must lead to %s%s and have this host's name, and %s%s",
                    transfer->shown, error,
                    with->system_ca ? "one of the system's CAs, for want of " : "",
                    or (with->ca_name, "the CA"), or (with->cert_name, "the certificate"),
                    shows ? " must be one that it lets in" : ", which is not set, may be wanted");
}

static enum kek_rc class_of(long status)
{
    switch (status) {
    case 401:
    case 403:
        return KEK_DENIED;
    case 404:
        return KEK_NOT_FOUND;
    case 409:
    case 412:
        return KEK_PRECONDITION;
    case 408:
    case 429:
        return KEK_UNAVAILABLE;
    default:
        return status >= 400 && status < 500 ? KEK_INVALID : KEK_UNAVAILABLE;
    }
}

enum kek_rc transfer_say_status(struct transfer *transfer)
{
    struct kek_remote_call *call = transfer->call;
    char first[160];
    size_t len = call->body.len < sizeof first - 1 ? call->body.len : sizeof first - 1;
    const char *end = len == 0 ? NULL : memchr(call->body.data, '\n', len);
    len = end == NULL ? len : (size_t)(end - (const char *)call->body.data);
    if (len > 0) {
        memcpy(first, call->body.data, len);
    }
    first[len] = '\0';
    kek_text_clean(first);
    return kek_fail_native(&call->why, class_of(call->status), KEK_NATIVE_HTTP,
                           (unsigned long)call->status, "%s: HTTP status %ld (%s)", transfer->shown,
                           call->status, first);
}

/* Not in curl's words: the milliseconds in them would make each try look like news. */
static enum kek_rc say_no_connection(struct transfer *transfer)
{
    long code = 0;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_OS_ERRNO, &code);
    return kek_fail(&transfer->call->why, KEK_UNAVAILABLE,
                    "%s: %s: does %s run there, and listen on this address?", transfer->shown,
                    code == 0 ? curl_easy_strerror(CURLE_COULDNT_CONNECT) : strerror((int)code),
                    peer(transfer));
}

static enum kek_rc say_files(struct transfer *transfer, const char *error)
{
    const struct kek_remote_settings *with = transfer->settings;
    return kek_fail(&transfer->call->why, KEK_INVALID, "%s: %s: look at the files of %s, %s and %s",
                    transfer->shown, error, or (with->cert_name, "the certificate"),
                    or (with->key_name, "its key"), or (with->ca_name, "the CA"));
}

/* Without an answer over http://: what a port of TLS does, too. */
static enum kek_rc say_plain(struct transfer *transfer, const char *error)
{
    return kek_fail(&transfer->call->why, KEK_UNAVAILABLE,
                    "%s: %s: %s has ended there, or this port is one of TLS: then it is https://",
                    transfer->shown, error, peer(transfer));
}

/* With TLS 1.3 a certificate is refused after the handshake: by an alert, which the end of the connection may
 * overtake. */
static enum kek_rc say_broken(struct transfer *transfer, const char *error)
{
    const struct kek_remote_settings *with = transfer->settings;
    bool shows = with->cert != NULL || with->cert_pem.len > 0;
    if (strstr(error, "alert") != NULL) {
        return say_tls(transfer, error);
    }
    if (transfer->call->status != 0) {
        return kek_fail(&transfer->call->why, KEK_UNAVAILABLE, "%s: %s", transfer->shown, error);
    }
    return kek_fail(&transfer->call->why, KEK_UNAVAILABLE,
                    "%s: %s: %s runs there, and may not let %s%s in", transfer->shown, error,
                    peer(transfer), shows ? "" : "a client without ",
                    or (with->cert_name, "the certificate"));
}

static bool is_broken(CURLcode code)
{
    return code == CURLE_RECV_ERROR || code == CURLE_SEND_ERROR || code == CURLE_GOT_NOTHING ||
           code == CURLE_HTTP2 || code == CURLE_HTTP2_STREAM || code == CURLE_PARTIAL_FILE;
}

enum kek_rc transfer_say_failure(struct transfer *transfer, CURLcode code)
{
    struct kek_why *why = &transfer->call->why;
    const char *shown = transfer->shown;
    const char *error = transfer->error[0] == '\0' ? curl_easy_strerror(code) : transfer->error;
    kek_text_clean(transfer->error);
    if (is_broken(code) && transfer->call->plain && transfer->call->status == 0) {
        return say_plain(transfer, error);
    }
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return kek_fail(why, KEK_DEADLINE,
                        "%s: no answer in time: does it run, and can it be reached from here?",
                        shown);
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return kek_fail(why, KEK_UNAVAILABLE, "%s: %s: is the name right?", shown, error);
    case CURLE_COULDNT_CONNECT:
        return say_no_connection(transfer);
    case CURLE_FILESIZE_EXCEEDED:
        return kek_fail(why, KEK_TOO_LARGE, "%s: the answer has more than %zu bytes", shown,
                        transfer->call->body.max);
    case CURLE_PEER_FAILED_VERIFICATION:
        return say_tls(transfer, error);
    case CURLE_SSL_CONNECT_ERROR:
        return strstr(error, "alert") != NULL || strstr(error, "certificate") != NULL
                   ? say_tls(transfer, error)
                   : kek_fail(why, KEK_UNAVAILABLE, "%s: %s: is this port one of TLS?", shown,
                              error);
    case CURLE_RECV_ERROR:
    case CURLE_SEND_ERROR:
    case CURLE_HTTP2:
        return say_broken(transfer, error);
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
        return say_files(transfer, error);
    case CURLE_OUT_OF_MEMORY:
        return kek_fail(why, KEK_NO_MEMORY, "%s: no memory", shown);
    default:
        return kek_fail(why, KEK_UNAVAILABLE, "%s: %s", shown, error);
    }
}
