/*
 * One call under way, and the files of this room that know of it: remote.c starts and ends it, setup.c tells
 * libcurl what it is, answer.c takes what comes, words.c says what went wrong.
 */
#ifndef REMOTE_TRANSFER_H
#define REMOTE_TRANSFER_H

#include <curl/curl.h>

#include "kek/remote.h"

#define SHOWN_MAX 256 /* bytes of a URL in a message, with the NUL */

struct transfer {
    const struct kek_remote_settings *settings;
    struct kek_remote_call *call; /* the caller's */
    CURL *easy;
    struct curl_slist *lines; /* of the request's header */
    struct curl_slist *way;   /* where it connects to; NULL: where the URL says */
    bool secret_line;         /* the last of them is a credential */
    char shown[SHOWN_MAX];    /* the URL, as messages have it */
    uint64_t last_ms;         /* when something came last */
    bool *moved;              /* set whenever something comes; the remote's */
    size_t header_bytes;      /* of the answer, so far */
    enum kek_rc failed;       /* KEK_OK, or why we ended it; call->why says it */
    char error[CURL_ERROR_SIZE];
    struct transfer *next;
};

/* ---- setup.c ---- */

/* Is it a call that may be made?  Fills transfer->shown first: messages need it. */
enum kek_rc transfer_check(struct transfer *transfer) KEK_MUST_CHECK;

/* False: no memory, or libcurl cannot do it. */
bool transfer_set_up(struct transfer *transfer, uint64_t left_ms);

void transfer_drop_lines(struct transfer *transfer);

/* ---- answer.c: libcurl's callbacks; arg is the transfer ---- */

size_t transfer_on_header(char *bytes, size_t one, size_t len, void *arg);
size_t transfer_on_body(char *bytes, size_t one, size_t len, void *arg);

/* ---- words.c ---- */

/* Fills the call's why, and returns the class. */
enum kek_rc transfer_say_status(struct transfer *transfer);
enum kek_rc transfer_say_failure(struct transfer *transfer, CURLcode code);

#endif
