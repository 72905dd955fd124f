/* The requests: their URLs and what they send. */
#include "api.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "objects.h"

#define AS_ONE "Accept: application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
#define AS_LIST "Accept: application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
#define AS_JSON "Accept: application/json, */*;q=0.1"
#define MERGE "Content-Type: application/merge-patch+json"
#define JSON "Content-Type: application/json"

static void no_memory(struct kek_kubeapi_call *call)
{
    kek_fail(&call->why, KEK_NO_MEMORY, "no memory to ask the API server");
    api_failed(call);
}

static char *text(const char *format, ...) KEK_PRINTF(1, 2);

/* To be freed; NULL: no memory. */
static char *text(const char *format, ...)
{
    char *made = NULL;
    va_list args;
    va_start(args, format);
    if (vasprintf(&made, format, args) < 0) {
        made = NULL;
    }
    va_end(args);
    return made;
}

/* Of a continue token, or a name, in a URL. */
static char *escape(const char *from)
{
    char *to = malloc(KEK_TEXT_ESCAPED(strlen(from)));
    if (to != NULL) {
        kek_text_escape(from, to);
    }
    return to;
}

static char *resource_url(const struct kek_kubeapi *api,
                          const struct kek_kubeapi_resource *resource, const char *space)
{
    bool core = resource->group[0] == '\0', in = space[0] != '\0';
    KEK_AUTO_FREE char *escaped = escape(space);
    return escaped == NULL
               ? NULL
               : text("%s/%s%s/%s%s%s/%s", api_server(api), core ? "api" : "apis/", resource->group,
                      resource->version, in ? "/namespaces/" : "", escaped, resource->name);
}

void kek_kubeapi_list(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                      const struct kek_kubeapi_resource *resource, const char *from,
                      kek_kubeapi_object_fn *on_object, void *arg)
{
    KEK_AUTO_FREE char *token = from == NULL ? NULL : escape(from);
    KEK_AUTO_FREE char *base = resource_url(api, resource, "");
    kek_kubeapi_end(api, call);
    call->what = "list";
    call->resource = resource;
    call->is_list = true;
    call->objects = objects_new(on_object, arg);
    if (base != NULL && (from == NULL || token != NULL)) {
        call->url = text("%s?limit=%u%s%s", base, KEK_KUBEAPI_PAGE,
                         from == NULL ? "" : "&continue=", from == NULL ? "" : token);
    }
    if (call->url == NULL || call->objects == NULL) {
        no_memory(call);
        return;
    }
    api_start(api, call, "GET", AS_LIST, NULL);
}

/* Would it be another path?  Names that were read from etcd are anybody's who can write there. */
static bool is_segment(const char *name)
{
    return name[0] != '\0' && strcmp(name, ".") != 0 && strcmp(name, "..") != 0 &&
           strchr(name, '/') == NULL;
}

/* Of one object. */
static bool prepare(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                    const struct kek_kubeapi_resource *resource,
                    const struct kek_kubeapi_object *object, const char *what)
{
    KEK_AUTO_FREE char *name = escape(object->name);
    KEK_AUTO_FREE char *base = resource_url(api, resource, object->space);
    kek_kubeapi_end(api, call);
    call->what = what;
    call->resource = resource;
    if (!is_segment(object->name) || (object->space[0] != '\0' && !is_segment(object->space))) {
        kek_fail(&call->why, KEK_INVALID, "no object of Kubernetes can have this name");
        call->answer = KEK_KUBEAPI_REFUSED;
        call->done = true;
        return false;
    }
    call->objects = objects_new(NULL, NULL);
    if (base != NULL && name != NULL) {
        call->url = text("%s/%s", base, name);
    }
    if (call->url == NULL || call->objects == NULL) {
        no_memory(call);
        return false;
    }
    return true;
}

void kek_kubeapi_rewrite(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                         const struct kek_kubeapi_resource *resource,
                         const struct kek_kubeapi_object *object)
{
    if (!prepare(api, call, resource, object, "patch")) {
        return;
    }
    json_t *metadata = json_pack("{s:s}", "resourceVersion", object->resource_version);
    if (object->uid[0] != '\0') {
        json_object_set_new(metadata, "uid", json_string(object->uid));
    }
    json_t *patch = json_pack("{s:o}", "metadata", metadata);
    call->send = patch == NULL ? NULL : json_dumps(patch, JSON_COMPACT);
    json_decref(patch);
    if (call->send == NULL) {
        no_memory(call);
        return;
    }
    api_start(api, call, "PATCH", AS_ONE, MERGE);
}

void kek_kubeapi_look(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                      const struct kek_kubeapi_resource *resource,
                      const struct kek_kubeapi_object *object)
{
    if (prepare(api, call, resource, object, "get")) {
        api_start(api, call, "GET", AS_ONE, NULL);
    }
}

void kek_kubeapi_ask(struct kek_kubeapi *api, struct kek_kubeapi_call *call, const char *method,
                     const char *path, const char *send)
{
    kek_kubeapi_end(api, call);
    call->what = method;
    call->url = text("%s%s", api_server(api), path);
    call->send = send == NULL ? NULL : strdup(send);
    if (call->url == NULL || (send != NULL && call->send == NULL)) {
        no_memory(call);
        return;
    }
    api_start(api, call, method, AS_JSON, JSON);
}

void kek_kubeapi_resource_name(const struct kek_kubeapi_resource *resource,
                               char text[static KEK_KUBEAPI_RESOURCE_TEXT])
{
    snprintf(text, KEK_KUBEAPI_RESOURCE_TEXT, "%s%s%s", resource->name,
             resource->group[0] == '\0' ? "" : ".", resource->group);
}

void kek_kubeapi_object_name(const struct kek_kubeapi_object *object,
                             char text[static KEK_KUBEAPI_OBJECT_TEXT])
{
    snprintf(text, KEK_KUBEAPI_OBJECT_TEXT, "%s%s%s", object->space,
             object->space[0] == '\0' ? "" : "/", object->name);
}

bool kek_kubeapi_is_later(const char *a, const char *b)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    bool decimal = a[strspn(a, "0123456789")] == '\0' && b[strspn(b, "0123456789")] == '\0';
    if (!decimal || a_len == b_len) {
        return decimal ? strcmp(a, b) > 0 : strcmp(a, b) != 0;
    }
    return a_len > b_len;
}
