/* The section `status`: where this node says what it announces, to whom, and which others there are. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/text.h"
#include "load.h"

#define AT(member) \
    .offset = offsetof(struct kek_config, member), .size = sizeof(((struct kek_config *)0)->member)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_"

static bool is_name(const char *text)
{
    return text[0] != '-' && text[strspn(text, NAME_LETTERS)] == '\0';
}

/* A subject's CN may have almost anything in it; a control character is nobody's. */
static bool is_subject(const char *text)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t len = 1;
    while (*at >= ' ' && *at != 0x7f && len > 0) {
        len = kek_text_char_len(at);
        at += len;
    }
    return *at == '\0';
}

bool kek_config_is_node(const char *text)
{
    uint64_t port = 0;
    bool v6 = text[0] == '[';
    const char *host = text + v6;
    size_t len = strspn(host, v6 ? "0123456789abcdefABCDEF:." : NAME_LETTERS);
    const char *after = host + len;
    if (len == 0 || len > 253 || host[0] == '-' || (v6 && *after != ']')) {
        return false;
    }
    after += v6;
    return *after == ':' && kek_text_decimal(after + 1, UINT16_MAX, &port) && port >= 1;
}

static const struct text_rule name_rule = {
    is_name, "a node's name of 1 to 253 letters, digits, \".\", \"-\" and \"_\""};
static const struct text_rule subject_rule = {
    is_subject, "the CN or a DNS name of a client's certificate, 1 to 253 bytes"};
static const struct text_rule node_rule = {
    kek_config_is_node, "a node's HOST:PORT, such as \"cp1.example.org:9479\" or \"[::1]:9479\""};

/* An empty list would let nobody in, which is said better by leaving the section out. */
static enum kek_rc load_allow(struct load *load, const struct kek_doc_node *node,
                              const struct field *field, void *object)
{
    if (node->kind == KEK_DOC_LIST && kek_doc_node_count(node) == 0) {
        return load_refuse(load, node, "expected at least one name, or no section status at all");
    }
    return load_texts(load, node, field, object);
}

static enum kek_rc load_nodes(struct load *load, const struct kek_doc_node *node,
                              const struct field *field, void *object)
{
    const struct kek_config *config = object;
    enum kek_rc rc = load_texts(load, node, field, object);
    char **nodes = config->status.nodes;
    for (size_t i = 1; rc == KEK_OK && nodes != NULL && nodes[i] != NULL; i++) {
        for (size_t j = 0; rc == KEK_OK && j < i; j++) {
            if (strcasecmp(nodes[i], nodes[j]) == 0) {
                size_t mark = load_enter_item(load, i);
                rc = load_refuse(load, load_item(node, i),
                                 "expected each node once, found \"%s\" again", nodes[i]);
                load_leave(load, mark);
            }
        }
    }
    return rc;
}

static const struct field fields[] = {
    {"listen", load_host_port, AT(status.host), .required = true,
     .with = &(const size_t){offsetof(struct kek_config, status.port)}},
    {"cert", load_text, AT(status.cert), 1, 4000, true, .with = &path_rule},
    {"key", load_text, AT(status.key), 1, 4000, true, .with = &path_rule},
    {"ca", load_text, AT(status.ca), 1, 4000, true, .with = &path_rule},
    {"allow", load_allow, AT(status.allow), 1, 253, true, .with = &subject_rule},
    {"nodes", load_nodes, AT(status.nodes), 1, 300, .with = &node_rule},
    {"name", load_text, AT(status.name), 1, 253, .with = &name_rule},
};
const struct schema status_schema = {fields, COUNT(fields), .check = NULL};

enum kek_rc status_default_name(struct load *load, struct kek_config *config)
{
    char name[254] = "";
    if (config->status.name != NULL) {
        return KEK_OK;
    }
    bool named = gethostname(name, sizeof name - 1) == 0 && name[0] != '\0';
    config->status.name = strdup(named ? name : "localhost");
    return config->status.name == NULL ? load_no_memory(load) : KEK_OK;
}

void status_free(struct kek_config *config)
{
    char **lists[] = {config->status.allow, config->status.nodes};
    for (size_t i = 0; i < COUNT(lists); i++) {
        for (size_t j = 0; lists[i] != NULL && lists[i][j] != NULL; j++) {
            free(lists[i][j]);
        }
        free(lists[i]);
    }
    free(config->status.host);
    free(config->status.cert);
    free(config->status.key);
    free(config->status.ca);
    free(config->status.name);
}
