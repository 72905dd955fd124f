/* From a kubeconfig, or its bytes, to one of its contexts. */
#include "kubeconfig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/durable.h"
#include "kek/text.h"

#define FILE_SHOWN 100 /* bytes: of a longer path its end stands for it */

const char *kek_kubeconfig_path(const char *given, struct kek_why *why)
{
    const char *path = given != NULL ? given : getenv("KUBECONFIG");
    if (path == NULL || path[0] == '\0') {
        return KEK_KUBECONFIG_DEFAULT;
    }
    if (given == NULL && strchr(path, ':') != NULL) {
        kek_fail(why, KEK_INVALID,
                 "KUBECONFIG names several files, which are not merged here: name one by "
                 "--kubeconfig (kubectl config view --flatten --minify writes one)");
        return NULL;
    }
    return path;
}

void kek_kubeconfig_free(struct kek_kubeconfig *config)
{
    if (config == NULL) {
        return;
    }
    free(config->path);
    free(config->context);
    free(config->server);
    free(config->server_name);
    free(config->proxy);
    free(config->ca_file);
    kek_buf_done(&config->ca);
    free(config->cert_file);
    free(config->key_file);
    kek_buf_done(&config->cert);
    kek_secret_free(config->key);
    kek_secret_free(config->token);
    free(config->token_file);
    free(config);
}

/* What stood in it may have been a key: libyaml frees without wiping. */
static void wipe_document(yaml_document_t *doc)
{
    for (yaml_node_t *node = doc->nodes.start; node < doc->nodes.top; node++) {
        if (node->type == YAML_SCALAR_NODE) {
            kek_wipe(node->data.scalar.value, node->data.scalar.length);
        }
    }
    yaml_document_delete(doc);
}

static void wipe_parser(yaml_parser_t *parser)
{
    kek_wipe(parser->raw_buffer.start, (size_t)(parser->raw_buffer.end - parser->raw_buffer.start));
    kek_wipe(parser->buffer.start, (size_t)(parser->buffer.end - parser->buffer.start));
    yaml_parser_delete(parser);
}

static enum kek_rc take_context(const struct reading *reading, const char *wanted,
                                struct kek_kubeconfig *config)
{
    yaml_node_t *root = yaml_document_get_root_node(reading->doc), *context, *cluster, *user;
    const char *cluster_name = NULL, *user_name = NULL;
    enum kek_rc rc = KEK_OK;
    if (wanted == NULL) {
        rc = reading_text(reading, root, "current-context", &wanted);
    }
    if (rc == KEK_OK && wanted == NULL) {
        return reading_refuse(reading, root,
                              "there is no current-context: name one by --kube-context");
    }
    if (rc == KEK_OK) {
        rc = reading_named(reading, "contexts", wanted, "context", &context);
    }
    if (rc == KEK_OK) {
        rc = reading_text(reading, context, "cluster", &cluster_name);
    }
    if (rc == KEK_OK) {
        rc = reading_text(reading, context, "user", &user_name);
    }
    if (rc == KEK_OK && (cluster_name == NULL || user_name == NULL)) {
        return reading_refuse(reading, context, "context \"%.60s\" names no %s", wanted,
                              cluster_name == NULL ? "cluster" : "user");
    }
    if (rc == KEK_OK) {
        rc = reading_named(reading, "clusters", cluster_name, "cluster", &cluster);
    }
    if (rc == KEK_OK) {
        rc = kubeconfig_cluster(reading, cluster, config);
    }
    if (rc == KEK_OK) {
        rc = reading_named(reading, "users", user_name, "user", &user);
    }
    if (rc == KEK_OK) {
        rc = kubeconfig_user(reading, user, user_name, config);
    }
    if (rc == KEK_OK) {
        config->context = strdup(wanted);
        rc = config->context == NULL
                 ? kek_fail(reading->why, KEK_NO_MEMORY, "no memory to read %s", reading->file)
                 : KEK_OK;
    }
    return rc;
}

/* libyaml's words, and where. */
static enum kek_rc not_yaml(const yaml_parser_t *parser, const char *file, struct kek_why *why)
{
    if (parser->error == YAML_MEMORY_ERROR) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", file);
    }
    return kek_fail(why, KEK_INVALID, "%s:%zu: this is no YAML: %s", file,
                    parser->problem_mark.line + 1,
                    parser->problem == NULL ? "it cannot be read" : parser->problem);
}

static enum kek_rc read_yaml(struct kek_bytes yaml, const char *file, const char *context,
                             struct kek_kubeconfig *config, struct kek_why *why)
{
    yaml_parser_t parser;
    yaml_document_t doc;
    if (!yaml_parser_initialize(&parser)) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", file);
    }
    yaml_parser_set_encoding(&parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&parser, yaml.len == 0 ? (const uint8_t *)"" : yaml.data,
                                 yaml.len);
    if (!yaml_parser_load(&parser, &doc)) {
        enum kek_rc rc = not_yaml(&parser, file, why);
        wipe_parser(&parser);
        return rc;
    }
    struct reading reading = {.doc = &doc, .file = file, .why = why};
    enum kek_rc rc = yaml_document_get_root_node(&doc) == NULL
                         ? kek_fail(why, KEK_INVALID, "%s: the file is empty", file)
                         : take_context(&reading, context, config);
    wipe_document(&doc);
    wipe_parser(&parser);
    if (rc != KEK_OK) {
        kek_text_clean(why->text); /* names are of the file */
    }
    return rc;
}

struct kek_kubeconfig *kek_kubeconfig_parse(struct kek_bytes yaml, const char *path,
                                            const char *context, struct kek_why *why)
{
    struct kek_why unheard;
    why = why == NULL ? &unheard : why;
    size_t len = strlen(path);
    const char *file = len > FILE_SHOWN ? path + len - FILE_SHOWN : path;
    if (yaml.len > KEK_KUBECONFIG_MAX) {
        kek_fail(why, KEK_TOO_LARGE, "%s: larger than %u bytes", file, KEK_KUBECONFIG_MAX);
        return NULL;
    }
    KEK_AUTO(kek_kubeconfig) config = calloc(1, sizeof *config);
    if (config != NULL) {
        config->path = strdup(path);
        kek_buf_init(&config->ca, KEK_KUBECONFIG_MAX);
        kek_buf_init(&config->cert, KEK_KUBECONFIG_MAX);
    }
    if (config == NULL || config->path == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", file);
        return NULL;
    }
    return read_yaml(yaml, file, context, config, why) == KEK_OK ? KEK_STEAL(config) : NULL;
}

/* Who may write it says which server gets the credentials. */
static enum kek_rc check_file(int fd, const char *path, bool *is_open, struct kek_why *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "cannot examine %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return kek_fail(why, KEK_DENIED, "%s: expected a regular file", path);
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return kek_fail(why, KEK_DENIED,
                        "%s: expected a file that only its owner may write, found mode %04o (chmod "
                        "600)",
                        path, (unsigned)(st.st_mode & 07777));
    }
    *is_open = (st.st_mode & (S_IRGRP | S_IROTH)) != 0;
    return KEK_OK;
}

struct kek_kubeconfig *kek_kubeconfig_load(const char *path, const char *context,
                                           struct kek_why *why)
{
    bool is_open = false;
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        int code = errno;
        kek_fail_native(why, code == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                        (unsigned long)code, "cannot open the kubeconfig %.200s", path);
        return NULL;
    }
    if (check_file(fd, path, &is_open, why) != KEK_OK) {
        return NULL;
    }
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, KEK_KUBECONFIG_MAX);
    if (kek_durable_read_open(fd, path, KEK_KUBECONFIG_MAX, &content, why) != KEK_OK) {
        return NULL;
    }
    struct kek_kubeconfig *config =
        kek_kubeconfig_parse(kek_buf_bytes(&content), path, context, why);
    if (config != NULL) {
        config->is_open = is_open;
    }
    return config;
}
