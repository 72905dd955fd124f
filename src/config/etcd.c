/* The list `etcd`: where the API servers keep what this keyring's keys seal. kekctl alone reads it. */
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "load.h"

#define AT(member)                                      \
    .offset = offsetof(struct kek_config_etcd, member), \
    .size = sizeof(((struct kek_config_etcd *)0)->member)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static bool is_name(const char *text)
{
    return text[strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789-")] == '\0';
}

/* What etcd itself would take is larger; a name with a blank or a control character is a slip. */
static bool is_user(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    while (*at > ' ' && *at != 0x7f && *at != ':') {
        at++;
    }
    return *at == '\0';
}

/* As the API server keeps it: "/" and names between single slashes, without one at the end. */
bool kek_config_is_etcd_prefix(const char *text)
{
    if (strcmp(text, "/") == 0) {
        return true;
    }
    for (const char *at = text; *at != '\0';) {
        if (*at != '/') {
            return false;
        }
        at++;
        size_t len = strcspn(at, "/");
        bool dots = len <= 2 && strncmp(at, "..", len) == 0;
        if (len == 0 || dots) {
            return false;
        }
        for (size_t i = 0; i < len; i++) {
            if ((unsigned char)at[i] <= ' ' || (unsigned char)at[i] == 0x7f) {
                return false;
            }
        }
        at += len;
    }
    return text[0] == '/';
}

static const char *after_scheme(const char *url)
{
    if (strncmp(url, "https://", 8) == 0) {
        return url + 8;
    }
    return strncmp(url, "http://", 7) == 0 ? url + 7 : NULL;
}

/* A scheme, a host and a port; no path, no user. */
bool kek_config_is_endpoint(const char *text)
{
    const char *rest = after_scheme(text);
    return rest != NULL && kek_config_is_node(rest);
}

/* Of a HOST:PORT. */
static bool is_loopback(const char *node)
{
    size_t len = strspn(node, "0123456789.");
    return strncmp(node, "[::1]:", 6) == 0 || strncmp(node, "localhost:", 10) == 0 ||
           (strncmp(node, "127.", 4) == 0 && node[len] == ':');
}

/* Plain HTTP may carry a password only where it does not leave the machine. */
bool kek_config_endpoint_is_open(const char *endpoint)
{
    return strncmp(endpoint, "http://", 7) == 0 && !is_loopback(endpoint + 7);
}

static const struct text_rule name_rule = {is_name, "1 to 32 of a-z, 0-9 and \"-\""};
static const struct text_rule user_rule = {
    is_user, "the name of an etcd user of 1 to 255 bytes, without blanks and \":\""};
static const struct text_rule prefix_rule = {
    kek_config_is_etcd_prefix,
    "an absolute prefix of at most 255 bytes without \"/\" at its end, such as \"/registry\""};
static const struct text_rule endpoint_rule = {
    kek_config_is_endpoint, "https://HOST:PORT (or http://), such as \"https://10.0.0.11:2379\""};

static enum kek_rc load_endpoints(struct load *load, const struct kek_doc_node *node,
                                  const struct field *field, void *object)
{
    if (node->kind == KEK_DOC_LIST && kek_doc_node_count(node) == 0) {
        return load_refuse(load, node, "expected at least one endpoint");
    }
    enum kek_rc rc = load_texts(load, node, field, object);
    char **endpoints = ((struct kek_config_etcd *)object)->endpoints;
    for (size_t i = 1; rc == KEK_OK && endpoints[i] != NULL; i++) {
        for (size_t j = 0; rc == KEK_OK && j < i; j++) {
            if (strcasecmp(endpoints[i], endpoints[j]) == 0) {
                size_t mark = load_enter_item(load, i);
                rc = load_refuse(load, load_item(node, i),
                                 "expected each endpoint once, found \"%s\" again", endpoints[i]);
                load_leave(load, mark);
            }
        }
    }
    return rc;
}

static enum kek_rc check_etcd(struct load *load, const struct kek_doc_node *node, void *object);

static const struct field fields[] = {
    {"name", load_text, AT(name), 1, 32, true, .with = &name_rule},
    {"endpoints", load_endpoints, AT(endpoints), 1, 300, true, .with = &endpoint_rule},
    {"ca", load_text, AT(ca), 1, 4000, .with = &path_rule},
    {"cert", load_text, AT(cert), 1, 4000, .with = &path_rule},
    {"key", load_text, AT(key), 1, 4000, .with = &path_rule},
    {"user", load_text, AT(user), 1, 255, .with = &user_rule},
    {"password_file", load_text, AT(password_file), 1, 4000, .with = &path_rule},
    {"prefix", load_text, AT(prefix), 1, 255, .preset = "/registry", .with = &prefix_rule},
    {"context", load_text, AT(context), 0, 255, .with = &context_rule},
};
static const struct schema etcd_schema = {fields, COUNT(fields), check_etcd};
const struct list etcd_list = {&etcd_schema, sizeof(struct kek_config_etcd),
                               offsetof(struct kek_config, etcd_count)};

/* Two keys that say something together alone. */
static enum kek_rc check_pair(struct load *load, const struct kek_doc_node *node, const char *one,
                              const char *other)
{
    const struct kek_doc_node *first = load_find(node, one), *second = load_find(node, other);
    if ((first == NULL) == (second == NULL)) {
        return KEK_OK;
    }
    const struct kek_doc_node *there = first == NULL ? second : first;
    size_t mark = load_enter(load, there->key->text);
    enum kek_rc rc = load_refuse(load, there->key, "expected %s beside it, found none",
                                 first == NULL ? one : other);
    load_leave(load, mark);
    return rc;
}

static enum kek_rc refuse_endpoint(struct load *load, const struct kek_doc_node *node, size_t index,
                                   const char *format, const char *endpoint)
{
    const struct kek_doc_node *list = load_find(node, "endpoints");
    size_t mark = load_enter(load, "endpoints");
    load_enter_item(load, index);
    char text[KEK_WHY_TEXT];
    snprintf(text, sizeof text, "%s, found \"%s\"", format, endpoint);
    enum kek_rc rc = load_refuse(load, load_item(list, index), "%s", text);
    load_leave(load, mark);
    return rc;
}

static enum kek_rc check_etcd(struct load *load, const struct kek_doc_node *node, void *object)
{
    const struct kek_config_etcd *etcd = object;
    enum kek_rc rc = check_pair(load, node, "cert", "key");
    if (rc == KEK_OK) {
        rc = check_pair(load, node, "user", "password_file");
    }
    for (size_t i = 0; rc == KEK_OK && etcd->endpoints[i] != NULL; i++) {
        bool plain = strncmp(etcd->endpoints[i], "http:", 5) == 0;
        if (etcd->user != NULL && kek_config_endpoint_is_open(etcd->endpoints[i])) {
            rc = refuse_endpoint(load, node, i,
                                 "expected https where a password goes to another machine",
                                 etcd->endpoints[i]);
        } else if (plain && (etcd->ca != NULL || etcd->cert != NULL)) {
            rc = refuse_endpoint(load, node, i, "expected https beside ca or cert",
                                 etcd->endpoints[i]);
        }
    }
    return rc;
}

/* Is one of its endpoints the other's too? What is counted twice proves nothing. */
static bool same_place(const struct kek_config_etcd *one, const struct kek_config_etcd *other)
{
    for (size_t i = 0; one->endpoints[i] != NULL; i++) {
        for (size_t j = 0; other->endpoints[j] != NULL; j++) {
            if (strcasecmp(one->endpoints[i], other->endpoints[j]) == 0 &&
                strcmp(one->prefix, other->prefix) == 0) {
                return true;
            }
        }
    }
    return false;
}

static enum kek_rc check_unlike(struct load *load, const struct kek_doc_node *node,
                                const struct kek_config *config, size_t index)
{
    const struct kek_config_etcd *etcd = &config->etcd[index];
    enum kek_rc rc = KEK_OK;
    size_t mark = load_enter(load, "etcd");
    load_enter_item(load, index);
    for (size_t i = 0; rc == KEK_OK && i < index; i++) {
        if (strcmp(etcd->name, config->etcd[i].name) == 0) {
            load_enter(load, "name");
            rc = load_refuse(load, load_find(node, "name"),
                             "expected each name once, found \"%s\" again", etcd->name);
        } else if (same_place(etcd, &config->etcd[i])) {
            rc = load_refuse(load, node,
                             "expected each etcd once, found an endpoint of \"%s\" with the same "
                             "prefix",
                             config->etcd[i].name);
        }
    }
    load_leave(load, mark);
    return rc;
}

enum kek_rc etcd_check(struct load *load, const struct kek_doc_node *root,
                       struct kek_config *config)
{
    enum kek_rc rc = KEK_OK;
    for (size_t i = 0; rc == KEK_OK && i < config->etcd_count; i++) {
        struct kek_config_etcd *etcd = &config->etcd[i];
        rc = check_unlike(load, load_item(load_find(root, "etcd"), i), config, i);
        if (rc == KEK_OK && etcd->context == NULL) {
            etcd->context = strdup(config->context);
            rc = etcd->context == NULL ? load_no_memory(load) : KEK_OK;
        }
    }
    return rc;
}

void etcd_free(struct kek_config *config)
{
    for (size_t i = 0; i < config->etcd_count; i++) {
        struct kek_config_etcd *etcd = &config->etcd[i];
        for (size_t j = 0; etcd->endpoints != NULL && etcd->endpoints[j] != NULL; j++) {
            free(etcd->endpoints[j]);
        }
        free(etcd->endpoints);
        free(etcd->name);
        free(etcd->ca);
        free(etcd->cert);
        free(etcd->key);
        free(etcd->user);
        free(etcd->password_file);
        free(etcd->prefix);
        free(etcd->context);
    }
    free(config->etcd);
}
