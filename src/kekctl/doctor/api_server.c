/* An API server's command line, in a Pod's manifest or as it stands. Pure. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "below.h"
#include "doctor.h"
#include "kek/doc.h"
#include "kek/text.h"

#define FLAG "--encryption-provider-config"
#define RELOADS "--encryption-provider-config-automatic-reload"
#define PROGRAM "kube-apiserver"
#define DEPTH_MAX 32
#define BLANKS " \t\r\n"

struct reading {
    struct api_server *server;
    bool value_comes; /* the word before was FLAG */
    bool is_line;     /* a word was the program's, or an option */
};

static bool take_word(void *arg, const char *word)
{
    struct reading *reading = arg;
    struct api_server *server = reading->server;
    if (reading->value_comes || strncmp(word, FLAG "=", strlen(FLAG "=")) == 0) {
        const char *value = reading->value_comes ? word : word + strlen(FLAG "=");
        snprintf(server->config, sizeof server->config, "%s", value);
    }
    server->reloads =
        server->reloads || strcmp(word, RELOADS) == 0 || strcmp(word, RELOADS "=true") == 0;
    reading->value_comes = strcmp(word, FLAG) == 0;
    size_t len = strlen(word), program = strlen(PROGRAM);
    reading->is_line = reading->is_line || strncmp(word, "--", 2) == 0 ||
                       (len >= program && strcmp(word + len - program, PROGRAM) == 0);
    return true;
}

/* ---- a manifest ---- */

static const struct kek_doc_node *member(const struct kek_doc_node *node, const char *key)
{
    if (node == NULL || node->kind != KEK_DOC_MAPPING) {
        return NULL;
    }
    for (const struct kek_doc_node *at = node->members; at != NULL; at = at->next) {
        if (strcmp(at->key->text, key) == 0) {
            return at;
        }
    }
    return NULL;
}

static const struct kek_doc_node *first_of(const struct kek_doc_node *list)
{
    return list != NULL && list->kind == KEK_DOC_LIST ? list->members : NULL;
}

static void take_words(const struct kek_doc_node *container, const char *key,
                       struct reading *reading)
{
    for (const struct kek_doc_node *at = first_of(member(container, key)); at != NULL;
         at = at->next) {
        if (at->kind == KEK_DOC_SCALAR) {
            (void)take_word(reading, at->text);
        }
    }
}

static const char *text_of(const struct kek_doc_node *node)
{
    return node != NULL && node->kind == KEK_DOC_SCALAR ? node->text : NULL;
}

/* The node's folder that is mounted by this name; NULL: it is none of the node's, or there is none. */
static const char *host_path(const struct kek_doc_node *spec, const char *name)
{
    for (const struct kek_doc_node *at = first_of(member(spec, "volumes")); at != NULL;
         at = at->next) {
        const char *volume = text_of(member(at, "name"));
        if (volume != NULL && strcmp(volume, name) == 0) {
            return text_of(member(member(at, "hostPath"), "path"));
        }
    }
    return NULL;
}

/* The mount that the path is in: the deepest one. */
static const struct kek_doc_node *mount_of(const struct kek_doc_node *container, const char *path)
{
    const struct kek_doc_node *found = NULL;
    size_t deepest = 0;
    for (const struct kek_doc_node *at = first_of(member(container, "volumeMounts")); at != NULL;
         at = at->next) {
        const char *where = text_of(member(at, "mountPath"));
        if (where != NULL && below_is(path, where) && strlen(where) >= deepest) {
            deepest = strlen(where);
            found = at;
        }
    }
    return found;
}

/* Where on the node lies what the container has at the path? False: nowhere. */
static bool sees(const struct kek_doc_node *spec, const struct kek_doc_node *container,
                 const char *path, char on_host[static PATH_MAX])
{
    const struct kek_doc_node *mount = mount_of(container, path);
    const char *name = text_of(member(mount, "name")), *sub = text_of(member(mount, "subPath"));
    const char *host = name == NULL ? NULL : host_path(spec, name);
    if (host == NULL) {
        return false;
    }
    const char *rest = path + strlen(text_of(member(mount, "mountPath")));
    rest += strspn(rest, "/");
    size_t len = strlen(host);
    len -= len > 0 && host[len - 1] == '/' ? 1 : 0;
    snprintf(on_host, PATH_MAX, "%.*s%s%s%s%s", (int)len, host, sub == NULL ? "" : "/",
             sub == NULL ? "" : sub, *rest == '\0' ? "" : "/", rest);
    return true;
}

static void take_uid(const struct kek_doc_node *of, struct api_server *server)
{
    const struct kek_doc_node *user = member(member(of, "securityContext"), "runAsUser");
    uint64_t uid;
    if (user != NULL && user->kind == KEK_DOC_SCALAR &&
        kek_text_decimal(user->text, UINT32_MAX - 1, &uid)) {
        server->has_uid = true;
        server->uid = (uid_t)uid;
    }
}

static bool names_program(const struct kek_doc_node *container)
{
    static const char *const keys[] = {"command", "args"};
    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        const struct kek_doc_node *word = first_of(member(container, keys[i]));
        for (; word != NULL; word = word->next) {
            size_t len = word->kind == KEK_DOC_SCALAR ? strlen(word->text) : 0;
            size_t program = strlen(PROGRAM);
            if (len >= program && strcmp(word->text + len - program, PROGRAM) == 0) {
                return true;
            }
        }
    }
    return false;
}

/* The API server's, beside others of its Pod; the first where none is told to be. */
static const struct kek_doc_node *container_of(const struct kek_doc_node *spec)
{
    const struct kek_doc_node *first = first_of(member(spec, "containers"));
    for (const struct kek_doc_node *at = first; at != NULL; at = at->next) {
        if (names_program(at)) {
            return at;
        }
    }
    return first;
}

static void take_pod(const struct kek_doc_node *pod, const char *listen, struct api_server *server)
{
    const struct kek_doc_node *spec = member(pod, "spec");
    const struct kek_doc_node *container = container_of(spec);
    struct reading reading = {.server = server};
    server->is_pod = true;
    const char *host_users = text_of(member(spec, "hostUsers"));
    server->is_apart = host_users != NULL && strcmp(host_users, "false") == 0;
    server->has_uid = true; /* a container's user is root where nobody says otherwise */
    take_words(container, "command", &reading);
    take_words(container, "args", &reading);
    server->sees_socket = sees(spec, container, listen, server->socket_on_host);
    server->sees_config =
        server->config[0] == '\0' || sees(spec, container, server->config, server->config_on_host);
    take_uid(spec, server);
    take_uid(container, server); /* which counts more */
}

/* ---- a command line ---- */

static enum kek_rc take_line(struct kek_bytes text, const char *name, struct api_server *server,
                             struct kek_why *why)
{
    struct reading reading = {.server = server};
    KEK_AUTO_FREE char *copy = malloc(text.len + 1);
    if (copy == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a command line");
    }
    for (size_t i = 0; i < text.len; i++) {
        bool blank = text.data[i] == '\0' || strchr(BLANKS "\\", text.data[i]) != NULL;
        copy[i] = blank ? '\0' : (char)text.data[i];
    }
    copy[text.len] = '\0';
    for (size_t i = 0; i < text.len; i += strlen(copy + i) + 1) {
        if (copy[i] != '\0') {
            (void)take_word(&reading, copy + i);
        }
    }
    if (!reading.is_line) {
        return kek_fail(why, KEK_INVALID,
                        "%s cannot be read as a Pod's manifest or the command line of a " PROGRAM,
                        name);
    }
    return KEK_OK;
}

enum kek_rc api_server_parse(struct kek_bytes text, const char *name, const char *listen,
                             struct api_server *server, struct kek_why *why)
{
    static const struct kek_doc_limits limits = {
        .bytes = KEK_DOC_BYTES_MAX, .depth = DEPTH_MAX, .nodes = KEK_DOC_NODES_MAX};
    struct kek_why no_yaml; /* and then it is a command line */
    *server = (struct api_server){.from = ""};
    KEK_AUTO(kek_doc_node) doc = kek_doc_node_parse(text, name, &limits, &no_yaml);
    const struct kek_doc_node *kind = member(doc, "kind");
    if (kind != NULL && kind->kind == KEK_DOC_SCALAR && strcmp(kind->text, "Pod") == 0) {
        take_pod(doc, listen, server);
        return KEK_OK;
    }
    if (doc != NULL && doc->kind == KEK_DOC_MAPPING) {
        return kek_fail(why, KEK_INVALID, "%s is no Pod's manifest and no command line", name);
    }
    if (doc == NULL && text.len > 0 && memmem(text.data, text.len, "apiVersion:", 11) != NULL) {
        return kek_fail(why, no_yaml.rc, "%s", no_yaml.text);
    }
    return take_line(text, name, server, why);
}
