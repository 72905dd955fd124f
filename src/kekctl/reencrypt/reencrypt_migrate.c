#include "reencrypt_migrate.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/json.h"
#include "kek/text.h"

#define GROUP "storagemigration.k8s.io"
#define POLL_MS 1000u
#define STILL_EVERY_MS 5000u /* between looks whether the nodes announce what they did */
#define NUDGE_MS 10000u      /* between pushes of a migration that does not get on */
#define NUDGE_OBJECTS 64
#define MAKE_TRIES 3u
#define REMOVE_TRIES 5u
#define OTHER_WAY "kekctl reencrypt without --via does the same itself"

struct migration {
    struct reencrypt *reencrypt;
    struct guard *guard;
    uint64_t still_ms; /* when the nodes are looked at next */
    struct kek_kubeapi_call call;
    char version[32];
    char path[400]; /* of the one that was made; "": none */
    char said[300]; /* the last words of its conditions */
    uint64_t said_ms, nudged_ms;
    bool may_not_nudge; /* and it was said */
    const volatile sig_atomic_t *interrupted;
    /* What is tried to get it going. */
    struct kek_kubeapi_object objects[NUDGE_OBJECTS];
    size_t object_count;
};

/* Trouble on the way is no answer: the caller asks again. */
static enum kek_kubeapi_answer ask(struct migration *m, const char *method, const char *path,
                                   const char *send)
{
    kek_kubeapi_ask(m->reencrypt->api, &m->call, method, path, send);
    return kek_kubeapi_wait(m->reencrypt->api, &m->call);
}

static bool is_trouble(enum kek_kubeapi_answer answer)
{
    return answer == KEK_KUBEAPI_TROUBLE || answer == KEK_KUBEAPI_BUSY;
}

static void pause_a_poll(void)
{
    const struct timespec pause = {.tv_sec = POLL_MS / 1000};
    (void)nanosleep(&pause, NULL);
}

static bool find_version(struct migration *m)
{
    enum kek_kubeapi_answer answer = ask(m, "GET", "/apis/" GROUP, NULL);
    const char *version = json_string_value(
        json_object_get(json_object_get(m->call.json, "preferredVersion"), "version"));
    if (answer == KEK_KUBEAPI_MISSING) {
        ctl_say(m->reencrypt->ctl,
                "the API server has no group " GROUP " (on by default since Kubernetes 1.37; "
                "before, by a feature gate and --runtime-config): " OTHER_WAY);
        return false;
    }
    if (answer != KEK_KUBEAPI_GOOD || version == NULL || version[0] != 'v' ||
        strlen(version) >= sizeof m->version || strchr(version, '/') != NULL) {
        ctl_say(m->reencrypt->ctl, "which version of " GROUP " is served is not known: %s",
                answer == KEK_KUBEAPI_GOOD ? "no answer of an API server" : m->call.why.text);
        return false;
    }
    snprintf(m->version, sizeof m->version, "%s", version);
    return true;
}

/* To be freed; NULL: no memory. v1alpha1 wants the resource's version too. */
static char *describe(const struct migration *m, const struct kek_kubeapi_resource *resource,
                      const char *name)
{
    bool alpha = strcmp(m->version, "v1alpha1") == 0;
    json_t *what = json_pack("{s:s, s:s}", "group", resource->group, "resource", resource->name);
    if (alpha) {
        json_object_set_new(what, "version", json_string(resource->version));
    }
    char api[64];
    snprintf(api, sizeof api, GROUP "/%s", m->version);
    json_t *object = json_pack("{s:s, s:s, s:{s:s, s:{s:s}}, s:{s:o}}", "apiVersion", api, "kind",
                               "StorageVersionMigration", "metadata", "name", name, "labels",
                               "app.kubernetes.io/managed-by", "kekctl", "spec", "resource", what);
    char *text = object == NULL ? NULL : kek_json_text(object, JSON_COMPACT);
    json_decref(object);
    return text;
}

static bool make(struct migration *m, const struct kek_kubeapi_resource *resource)
{
    char path[128], name[64];
    uint64_t number;
    if (getentropy(&number, sizeof number) != 0) {
        ctl_say(m->reencrypt->ctl, "no random numbers: %s", strerror(errno));
        return false;
    }
    snprintf(name, sizeof name, "kekctl-reencrypt-%016" PRIx64, number);
    KEK_AUTO_FREE char *send = describe(m, resource, name);
    snprintf(path, sizeof path, "/apis/" GROUP "/%s/storageversionmigrations", m->version);
    if (send == NULL) {
        ctl_say(m->reencrypt->ctl, "no memory for a StorageVersionMigration");
        return false;
    }
    snprintf(m->path, sizeof m->path, "%s/%s", path, name);
    enum kek_kubeapi_answer answer = ask(m, "POST", path, send);
    for (unsigned tries = 1; tries < MAKE_TRIES && is_trouble(answer); tries++) {
        pause_a_poll();
        answer = ask(m, "POST", path, send);
    }
    /* The name is ours: who has it is what an answer that was lost told of. */
    if (answer != KEK_KUBEAPI_GOOD && answer != KEK_KUBEAPI_CONFLICT) {
        ctl_say(m->reencrypt->ctl, "%s: no StorageVersionMigration could be made: %s",
                resource->name, m->call.why.text);
        m->path[0] = is_trouble(answer) ? m->path[0] : '\0'; /* it may be there all the same */
        return false;
    }
    return true;
}

/* It is asked for more than once where the answer is lost. */
static void remove_it(struct migration *m)
{
    for (unsigned tries = 0; tries < REMOVE_TRIES && m->path[0] != '\0'; tries++) {
        if (tries > 0) {
            pause_a_poll();
        }
        enum kek_kubeapi_answer answer = ask(m, "DELETE", m->path, NULL);
        if (answer == KEK_KUBEAPI_GOOD || answer == KEK_KUBEAPI_MISSING) {
            m->path[0] = '\0';
        }
    }
    if (m->path[0] != '\0') {
        ctl_say(m->reencrypt->ctl, "%s could not be removed: %s", m->path, m->call.why.text);
    }
}

/* The condition of this type that is true; NULL: there is none. */
static const json_t *condition(const json_t *object, const char *type)
{
    size_t i;
    const json_t *item, *list = json_object_get(json_object_get(object, "status"), "conditions");
    json_array_foreach(list, i, item)
    {
        const char *own = json_string_value(json_object_get(item, "type"));
        const char *status = json_string_value(json_object_get(item, "status"));
        if (own != NULL && status != NULL && strcmp(own, type) == 0 &&
            strcmp(status, "True") == 0) {
            return item;
        }
    }
    return NULL;
}

/* Whether the controller has said something that it did not say before. */
static void hear(struct migration *m, const struct reencrypt_resource *resource,
                 const json_t *running)
{
    char said[sizeof m->said];
    const char *message = json_string_value(json_object_get(running, "message"));
    kek_text_copy(said, sizeof said,
                  running == NULL   ? "kube-controller-manager has not begun it"
                  : message == NULL ? "Running"
                                    : message);
    if (strcmp(said, m->said) != 0) {
        memcpy(m->said, said, sizeof said);
        m->said_ms = kek_clock_ms();
        ctl_say(m->reencrypt->ctl, "%s: %s", resource->name, said);
    }
}

static enum kek_rc on_object(void *arg, const struct kek_kubeapi_object *object,
                             struct kek_why *why)
{
    struct migration *m = arg;
    (void)why;
    if (m->object_count < NUDGE_OBJECTS) {
        m->objects[m->object_count++] = *object;
    }
    return KEK_OK;
}

static void cannot_nudge(struct migration *m, const struct reencrypt_resource *resource)
{
    if (!m->may_not_nudge) {
        ctl_say(
            m->reencrypt->ctl,
            "%s: the migration waits for somebody to write to the resource, and this user may not: "
            "%s",
            resource->name, m->call.why.text);
    }
    m->may_not_nudge = true;
}

/* The controller begins once its garbage collector's watch has seen something newer than the migration (Kubernetes
 * 1.37, pkg/controller/storageversionmigrator): in a resource to which nobody writes, that may be never.  So one
 * object is rewritten here. */
static void nudge(struct migration *m, const struct reencrypt_resource *resource)
{
    struct kek_kubeapi *api = m->reencrypt->api;
    m->nudged_ms = kek_clock_ms();
    m->object_count = 0;
    kek_kubeapi_list(api, &m->call, &resource->api, NULL, on_object, m);
    if (kek_kubeapi_wait(api, &m->call) != KEK_KUBEAPI_GOOD) {
        cannot_nudge(m, resource);
        return;
    }
    for (size_t i = 0; i < m->object_count && *m->interrupted == 0; i++) {
        kek_kubeapi_rewrite(api, &m->call, &resource->api, &m->objects[i]);
        enum kek_kubeapi_answer answer = kek_kubeapi_wait(api, &m->call);
        if (answer == KEK_KUBEAPI_FORBIDDEN) {
            cannot_nudge(m, resource);
            return;
        }
        if (is_trouble(answer)) {
            return; /* the next push begins anew */
        }
        if (answer == KEK_KUBEAPI_GOOD &&
            strcmp(m->call.object.resource_version, m->objects[i].resource_version) != 0) {
            return;
        }
    }
}

/* CTL_GOOD and CTL_CHECK: it has ended so. CTL_USAGE: it goes on. */
static enum ctl_exit look(struct migration *m, const struct reencrypt_resource *resource,
                          uint64_t patience_ms)
{
    struct ctl *ctl = m->reencrypt->ctl;
    enum kek_kubeapi_answer answer = ask(m, "GET", m->path, NULL);
    if (answer == KEK_KUBEAPI_GOOD) {
        const json_t *failed = condition(m->call.json, "Failed");
        if (condition(m->call.json, "Succeeded") != NULL) {
            ctl_say(ctl, "%s: the migration succeeded", resource->name);
            return CTL_GOOD;
        }
        if (failed != NULL) {
            const char *message = json_string_value(json_object_get(failed, "message"));
            kek_text_copy(m->said, sizeof m->said, message);
            ctl_say(ctl, "%s: the migration failed: %s; " OTHER_WAY, resource->name, m->said);
            return CTL_CHECK;
        }
        hear(m, resource, condition(m->call.json, "Running"));
        const char *from = json_string_value(
            json_object_get(json_object_get(m->call.json, "status"), "resourceVersion"));
        uint64_t now = kek_clock_ms();
        if (from != NULL && from[0] != '\0' &&
            (m->nudged_ms == 0 ||
             (now - m->nudged_ms >= NUDGE_MS && now - m->said_ms >= NUDGE_MS))) {
            nudge(m, resource);
        }
    } else if (!is_trouble(answer)) {
        ctl_say(ctl, "%s: the migration is not to be seen any more: %s", resource->name,
                m->call.why.text);
        return CTL_CHECK;
    }
    if (kek_clock_ms() - m->said_ms >= patience_ms) {
        ctl_say(ctl,
                "%s: the migration does not get on (%s, for %llu s); it may rewrite nothing for as "
                "long as it stays so: " OTHER_WAY,
                resource->name, m->said, (unsigned long long)(patience_ms / 1000));
        return CTL_CHECK;
    }
    return CTL_USAGE;
}

/* False after saying that another key is announced by now.  A kekd that is not well lets nothing be written by itself. */
static bool is_still_so(struct migration *m, const struct reencrypt_resource *resource)
{
    struct kek_why why = {.rc = KEK_OK};
    if (kek_clock_ms() < m->still_ms) {
        return true;
    }
    enum guard_verdict verdict = guard_still(m->guard, &why);
    m->still_ms = kek_clock_ms() + STILL_EVERY_MS;
    if (verdict == GUARD_REFUSED) {
        ctl_say(m->reencrypt->ctl, "%s: stopped, and what the migration has rewritten stays so: %s",
                resource->name, why.text);
    }
    return verdict != GUARD_REFUSED;
}

static enum ctl_exit follow(struct migration *m, const struct reencrypt_resource *resource,
                            uint64_t patience_ms)
{
    m->said[0] = '\0';
    m->said_ms = kek_clock_ms();
    m->nudged_ms = 0;
    while (*m->interrupted == 0) {
        enum ctl_exit code = look(m, resource, patience_ms);
        if (code != CTL_USAGE) {
            return code;
        }
        if (!is_still_so(m, resource)) {
            return CTL_CHECK;
        }
        pause_a_poll();
    }
    ctl_say(m->reencrypt->ctl,
            "%s: interrupted; the migration is removed, and what it has rewritten "
            "stays so",
            resource->name);
    return CTL_CHECK;
}

enum ctl_exit reencrypt_migrate(struct reencrypt *reencrypt, struct guard *guard,
                                uint64_t patience_ms, const volatile sig_atomic_t *interrupted)
{
    struct migration m = {.reencrypt = reencrypt, .guard = guard, .interrupted = interrupted};
    enum ctl_exit code = find_version(&m) ? CTL_GOOD : CTL_FAILED;
    for (size_t i = 0; i < reencrypt->resource_count && code == CTL_GOOD; i++) {
        code = !is_still_so(&m, &reencrypt->resources[i]) ? CTL_CHECK
               : make(&m, &reencrypt->resources[i].api)
                   ? follow(&m, &reencrypt->resources[i], patience_ms)
               : i == 0 ? CTL_FAILED
                        : CTL_CHECK;
        remove_it(&m);
    }
    kek_kubeapi_end(reencrypt->api, &m.call);
    return code;
}
