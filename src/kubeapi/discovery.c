/* Which resources the server has: by its own lists (GET /api/v1, /apis/GROUP, /apis/GROUP/VERSION). */
#include "api.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"

#define TRIES 5
#define PAUSE_MS 500u

static enum kek_rc ask(struct kek_kubeapi *api, struct kek_kubeapi_call *call, const char *path,
                       const char *name, struct kek_why *why)
{
    for (unsigned tries = 1;; tries++) {
        kek_kubeapi_ask(api, call, "GET", path, NULL);
        enum kek_kubeapi_answer answer = kek_kubeapi_wait(api, call);
        bool again = answer == KEK_KUBEAPI_TROUBLE || answer == KEK_KUBEAPI_BUSY;
        if (!again || tries == TRIES) {
            break;
        }
        usleep(PAUSE_MS * 1000u * tries);
    }
    if (call->answer == KEK_KUBEAPI_MISSING) {
        return kek_fail(why, KEK_NOT_FOUND,
                        "%s: the API server has no such group (kubectl api-resources shows all)",
                        name);
    }
    if (call->answer != KEK_KUBEAPI_GOOD) {
        *why = call->why;
        return why->rc;
    }
    return call->json != NULL
               ? KEK_OK
               : kek_fail(why, KEK_INVALID, "%s%s: the answer is no JSON: is an API server there?",
                          api_server(api), path);
}

static enum kek_rc find_version(struct kek_kubeapi *api, const char *name,
                                struct kek_kubeapi_resource *resource, struct kek_why *why)
{
    char path[300];
    struct kek_kubeapi_call call = {.done = false};
    if (resource->group[0] == '\0') {
        snprintf(resource->version, sizeof resource->version, "v1");
        return KEK_OK;
    }
    snprintf(path, sizeof path, "/apis/%s", resource->group);
    enum kek_rc rc = ask(api, &call, path, name, why);
    const char *version = json_string_value(
        json_object_get(json_object_get(call.json, "preferredVersion"), "version"));
    if (rc == KEK_OK && (version == NULL || strlen(version) >= sizeof resource->version ||
                         strpbrk(version, "/?#%") != NULL)) {
        rc = kek_fail(why, KEK_INVALID, "%s: the API server does not say which version it prefers",
                      name);
    }
    if (rc == KEK_OK) {
        snprintf(resource->version, sizeof resource->version, "%s", version);
    }
    kek_kubeapi_end(api, &call);
    return rc;
}

static bool has_verb(const json_t *item, const char *verb)
{
    size_t i;
    const json_t *one;
    json_array_foreach(json_object_get(item, "verbs"), i, one)
    {
        if (json_is_string(one) && strcmp(json_string_value(one), verb) == 0) {
            return true;
        }
    }
    return false;
}

static enum kek_rc take(const json_t *list, const char *name, struct kek_kubeapi_resource *resource,
                        struct kek_why *why)
{
    size_t i;
    const json_t *item;
    json_array_foreach(json_object_get(list, "resources"), i, item)
    {
        const char *own = json_string_value(json_object_get(item, "name"));
        if (own == NULL || strcmp(own, resource->name) != 0) {
            continue;
        }
        if (!has_verb(item, "list") || !has_verb(item, "patch")) {
            return kek_fail(why, KEK_UNIMPLEMENTED,
                            "%s: the API server does not let it be listed and patched", name);
        }
        resource->is_namespaced = json_is_true(json_object_get(item, "namespaced"));
        return KEK_OK;
    }
    return kek_fail(why, KEK_NOT_FOUND,
                    "%s: the API server has no such resource (a plural with its group, such as "
                    "secrets or things.group.example.com; kubectl api-resources shows all)",
                    name);
}

/* "things.group.example.com" */
static enum kek_rc split(const char *name, struct kek_kubeapi_resource *resource,
                         struct kek_why *why)
{
    size_t len = strcspn(name, ".");
    const char *group = name[len] == '.' ? name + len + 1 : "";
    bool good = len > 0 && len < sizeof resource->name && strlen(group) < sizeof resource->group &&
                (name[len] == '\0' || group[0] != '\0') &&
                name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-.")] == '\0';
    if (!good) {
        return kek_fail(why, KEK_INVALID,
                        "\"%.80s\": expected a resource, such as secrets or "
                        "things.group.example.com",
                        name);
    }
    *resource = (struct kek_kubeapi_resource){.is_namespaced = false};
    memcpy(resource->name, name, len);
    snprintf(resource->group, sizeof resource->group, "%s", group);
    return KEK_OK;
}

enum kek_rc kek_kubeapi_discover(struct kek_kubeapi *api, const char *name,
                                 struct kek_kubeapi_resource *resource, struct kek_why *why)
{
    char path[400];
    struct kek_kubeapi_resource found;
    struct kek_kubeapi_call call = {.done = false};
    enum kek_rc rc = split(name, &found, why);
    if (rc == KEK_OK) {
        rc = find_version(api, name, &found, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    bool core = found.group[0] == '\0';
    snprintf(path, sizeof path, "/%s%s/%s", core ? "api" : "apis/", found.group, found.version);
    rc = ask(api, &call, path, name, why);
    if (rc == KEK_OK) {
        rc = take(call.json, name, &found, why);
    }
    kek_kubeapi_end(api, &call);
    if (rc == KEK_OK) {
        *resource = found;
    }
    return rc;
}
