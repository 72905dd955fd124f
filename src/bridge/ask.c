/* One request, and its answer as JSON. */
#include "kek/bridge.h"

#include <stdlib.h>
#include <string.h>

/* ---- libjansson's memory ---- */

/* What stands before every block, so that free knows what to wipe. */
union block {
    size_t len;
    max_align_t align;
};

static void *take(size_t size)
{
    size_t whole;
    if (__builtin_add_overflow(size, sizeof(union block), &whole)) {
        return NULL;
    }
    union block *block = malloc(whole);
    if (block == NULL) {
        return NULL;
    }
    block->len = whole;
    return block + 1;
}

static void give(void *pointer)
{
    if (pointer != NULL) {
        union block *block = (union block *)pointer - 1;
        kek_wipe(block, block->len);
        free(block);
    }
}

void kek_bridge_setup(void)
{
    json_set_alloc_funcs(take, give);
}

/* ---- the answer ---- */

json_t *kek_bridge_parse(struct kek_bytes text, struct kek_why *why)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        kek_fail(why, KEK_INVALID, "its answer is no JSON: line %d, column %d", error.line,
                 error.column);
        return NULL;
    }
    if (!json_is_object(json)) {
        json_decref(json);
        kek_fail(why, KEK_INVALID, "its answer is no JSON object");
        return NULL;
    }
    return json;
}

static struct kek_remote_call call_of(const struct kek_bridge_request *request)
{
    struct kek_remote_call call = {.method = request->method,
                                   .url = request->url,
                                   .plain = request->plain,
                                   .headers = request->headers,
                                   .credential = request->credential,
                                   .send = request->body,
                                   .send_secret = request->body_is_secret,
                                   .deadline_ms = request->deadline_ms};
    kek_buf_init(&call.body, request->max);
    return call;
}

void kek_bridge_ask(struct kek_remote *remote, const struct kek_bridge_request *request,
                    struct kek_bridge_answer *answer)
{
    struct kek_remote_call call = call_of(request);
    struct kek_why inner;
    *answer = (struct kek_bridge_answer){.rc = kek_remote_run(remote, &call)};
    answer->status = call.status;
    answer->why = call.why;
    bool refused =
        answer->rc != KEK_OK && (call.status < 200 || call.status >= 300) && call.status != 0;
    if (refused && call.why.native == KEK_NATIVE_HTTP) {
        kek_fail_native(&answer->why, answer->rc, KEK_NATIVE_HTTP, (unsigned long)call.status,
                        "%.200s: HTTP status %ld", request->url, call.status);
    }
    if ((answer->rc == KEK_OK || refused) && call.body.len > 0) {
        answer->json = kek_bridge_parse(kek_buf_bytes(&call.body), &inner);
    }
    if (answer->rc == KEK_OK && answer->json == NULL && call.body.len > 0) {
        answer->rc =
            kek_fail(&answer->why, KEK_UNAVAILABLE, "%.200s: %s", request->url, inner.text);
    }
    kek_buf_done(&call.body);
}

void kek_bridge_answer_done(struct kek_bridge_answer *answer)
{
    json_decref(answer->json);
    answer->json = NULL;
}

#define PIECE 12 /* bytes */

bool kek_bridge_reveals(const char *text, struct kek_bytes secret)
{
    size_t len = strlen(text), piece = secret.len < PIECE ? secret.len : PIECE;
    for (size_t i = 0; piece > 0 && i + piece <= secret.len; i++) {
        if (memmem(text, len, secret.data + i, piece) != NULL) {
            return true;
        }
    }
    return false;
}
