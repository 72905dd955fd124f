/*
 * What an answer means. An API server says why it refuses in an object of kind Status (apimachinery
 * pkg/apis/meta/v1): reason, message, details.retryAfterSeconds. Its texts come from outside.
 */
#include "api.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "objects.h"

#define MESSAGE_MAX 300
#define RETRY_MAX_S 300u /* the longest that a server may send us away for */

struct status {
    char message[MESSAGE_MAX], reason[64];
    bool is_named; /* it is about an object, which it names */
    uint64_t retry_s;
};

static void read_status(struct kek_kubeapi_call *call, struct status *status)
{
    struct kek_bytes body = kek_buf_bytes(&call->remote.body);
    json_t *json = body.len == 0 ? NULL : json_loadb((const char *)body.data, body.len, 0, NULL);
    json_t *details = json_object_get(json, "details");
    json_t *later = json_object_get(details, "retryAfterSeconds");
    const char *header = call->wanted[0].value, *shown;
    *status = (struct status){.retry_s = 0};
    kek_text_copy(status->reason, sizeof status->reason,
                  json_string_value(json_object_get(json, "reason")));
    shown = json_string_value(json_object_get(json, "message"));
    kek_text_copy(status->message, sizeof status->message,
                  shown != NULL ? shown : call->remote.why.text);
    const char *named = json_string_value(json_object_get(details, "name"));
    status->is_named = named != NULL && named[0] != '\0';
    if (json_is_integer(later) && json_integer_value(later) > 0) {
        status->retry_s = (uint64_t)json_integer_value(later);
    }
    (void)kek_text_decimal(header, RETRY_MAX_S, &status->retry_s);
    status->retry_s = status->retry_s > RETRY_MAX_S ? RETRY_MAX_S : status->retry_s;
    if (call->remote.status == 410) {
        const char *on =
            json_string_value(json_object_get(json_object_get(json, "metadata"), "continue"));
        call->continue_ = on == NULL || on[0] == '\0' ? NULL : strdup(on);
    }
    json_decref(json);
}

/* "admission webhook \"NAME\" denied the request: ..." (apiserver pkg/admission/plugin/webhook/errors), or
 * "failed calling webhook \"NAME\": ...". */
static void read_webhook(const char *message, char *by, size_t size)
{
    const char *at = strstr(message, "webhook \"");
    by[0] = '\0';
    if (at != NULL) {
        at += strlen("webhook \"");
        snprintf(by, size, "webhook %.*s", (int)strcspn(at, "\""), at);
    }
}

/* Of the authorizer; admission says 403 too. */
static bool is_rbac(const struct status *status)
{
    return strstr(status->message, "cannot ") != NULL &&
           strstr(status->message, " resource \"") != NULL;
}

static enum kek_kubeapi_answer forbidden(struct kek_kubeapi_call *call, const struct status *status)
{
    const struct kek_kubeapi_resource *resource = call->resource;
    if (resource == NULL) {
        kek_fail_native(&call->why, KEK_DENIED, KEK_NATIVE_HTTP, 403, "%s", status->message);
        return KEK_KUBEAPI_FORBIDDEN;
    }
    kek_fail_native(&call->why, KEK_DENIED, KEK_NATIVE_HTTP, 403,
                    "%s: the ClusterRole of this user lacks {apiGroups: [\"%s\"], resources: "
                    "[\"%s\"], verbs: [\"%s\"]}",
                    status->message, resource->group, resource->name, call->what);
    return KEK_KUBEAPI_FORBIDDEN;
}

static enum kek_kubeapi_answer say(struct kek_kubeapi_call *call, enum kek_rc rc,
                                   enum kek_kubeapi_answer answer, const struct status *status)
{
    kek_fail_native(&call->why, rc, KEK_NATIVE_HTTP, (unsigned long)call->remote.status,
                    "HTTP status %ld: %s", call->remote.status, status->message);
    return answer;
}

static enum kek_kubeapi_answer busy(struct kek_kubeapi_call *call, const struct status *status)
{
    call->retry_ms = status->retry_s * 1000;
    return say(call, KEK_UNAVAILABLE, KEK_KUBEAPI_BUSY, status);
}

/* One that names no object is of the path: the resource is not served any more, or not yet (apimachinery
 * pkg/api/errors NewNotFound; what an API server's mux says has no name). */
static enum kek_kubeapi_answer missing(struct kek_kubeapi_call *call, const struct status *status)
{
    bool is_object = call->resource != NULL && !call->is_list;
    if (is_object && !status->is_named) {
        kek_fail_native(&call->why, KEK_NOT_FOUND, KEK_NATIVE_HTTP, 404,
                        "HTTP status 404: the API server does not serve the resource now: %s",
                        status->message);
        return KEK_KUBEAPI_REFUSED;
    }
    return say(call, KEK_NOT_FOUND, KEK_KUBEAPI_MISSING, status);
}

static enum kek_kubeapi_answer refused(struct kek_kubeapi_call *call, const struct status *status)
{
    read_webhook(status->message, call->by, sizeof call->by);
    return say(call, KEK_DENIED, KEK_KUBEAPI_REFUSED, status);
}

static enum kek_kubeapi_answer of_status(struct kek_kubeapi_call *call)
{
    struct status status;
    read_status(call, &status);
    switch (call->remote.status) {
    case 401:
        kek_fail_native(&call->why, KEK_DENIED, KEK_NATIVE_HTTP, 401,
                        "HTTP status 401: the API server does not know who asks: the kubeconfig's "
                        "token or client certificate has expired, or is of another cluster");
        return KEK_KUBEAPI_STOP;
    case 403:
        return is_rbac(&status) ? forbidden(call, &status) : refused(call, &status);
    case 404:
        return missing(call, &status);
    case 409:
        return say(call, KEK_PRECONDITION, KEK_KUBEAPI_CONFLICT, &status);
    case 410:
        return say(call, KEK_PRECONDITION, KEK_KUBEAPI_EXPIRED, &status);
    case 429:
        return busy(call, &status);
    case 503:
        if (status.retry_s > 0) {
            return busy(call, &status);
        }
        break;
    default:
        break;
    }
    if (call->remote.status >= 500 || call->remote.status == 408) {
        read_webhook(status.message, call->by, sizeof call->by);
        return say(call, KEK_UNAVAILABLE, KEK_KUBEAPI_TROUBLE, &status);
    }
    return refused(call, &status);
}

/* Nothing came, or half of it. */
static enum kek_kubeapi_answer of_failure(struct kek_kubeapi_call *call)
{
    call->why = call->remote.why;
    switch (call->remote.rc) {
    case KEK_UNAVAILABLE:
    case KEK_DEADLINE:
        return KEK_KUBEAPI_TROUBLE;
    default:
        return KEK_KUBEAPI_STOP; /* a certificate, memory, what is no API server */
    }
}

static enum kek_kubeapi_answer of_good(struct kek_kubeapi_call *call)
{
    struct kek_bytes body = kek_buf_bytes(&call->remote.body);
    if (call->objects == NULL) {
        call->json = body.len == 0 ? NULL : json_loadb((const char *)body.data, body.len, 0, NULL);
        return KEK_KUBEAPI_GOOD;
    }
    if (objects_end(call->objects, call, &call->why) != KEK_OK) {
        (void)kek_fail_within(&call->why, call->why.rc, "%s", call->what);
        return KEK_KUBEAPI_STOP;
    }
    return KEK_KUBEAPI_GOOD;
}

void answer_read(struct kek_kubeapi_call *call)
{
    if (call->remote.rc == KEK_OK) {
        call->answer = of_good(call);
    } else if (call->remote.status == 0 ||
               (call->remote.status >= 200 && call->remote.status < 300)) {
        call->answer = of_failure(call);
    } else {
        call->answer = of_status(call);
    }
}
