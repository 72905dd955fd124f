/* From a kubeconfig, or its bytes, to one of its contexts. */
#include "kubeconfig.h"

#include <stdio.h>
#include <string.h>

#include "kek/small_file.h"
#include "kek/text.h"

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

static enum kek_rc take_context(const struct reading *reading, const char *wanted,
                                struct kek_kubeconfig *config)
{
    const struct kek_doc_node *context, *cluster, *user;
    const char *cluster_name = NULL, *user_name = NULL;
    enum kek_rc rc = KEK_OK;
    if (wanted == NULL) {
        rc = reading_text(reading, reading->root, "current-context", &wanted);
    }
    if (rc == KEK_OK && wanted == NULL) {
        return reading_refuse(reading, NULL,
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

struct kek_kubeconfig *kek_kubeconfig_parse(struct kek_bytes yaml, const char *path,
                                            const char *context, struct kek_why *why)
{
    struct kek_why unheard;
    why = why == NULL ? &unheard : why;
    /* Wide enough for hundreds of clusters, and for what tools keep in `extensions`. */
    const struct kek_doc_limits limits = {.bytes = KEK_KUBECONFIG_MAX, .depth = 32, .nodes = 65536};
    char file[KEK_SMALL_FILE_SHOWN];
    kek_small_file_show(path, file);
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
    KEK_AUTO(kek_doc_node) root = kek_doc_node_parse(yaml, file, &limits, why);
    struct reading reading = {.root = root, .file = file, .why = why};
    if (root == NULL || take_context(&reading, context, config) != KEK_OK) {
        kek_text_clean(why->text); /* names are of the file */
        return NULL;
    }
    return KEK_STEAL(config);
}

struct kek_kubeconfig *kek_kubeconfig_load(const char *path, const char *context,
                                           struct kek_why *why)
{
    /* Who may write it says which server gets the credentials. */
    const struct kek_small_file file = {.what = "kubeconfig ",
                                        .path = path,
                                        .max = KEK_KUBECONFIG_MAX,
                                        .forbidden = S_IWGRP | S_IWOTH};
    struct stat about;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, KEK_KUBECONFIG_MAX);
    if (kek_small_file_read(&file, &content, &about, why) != KEK_OK) {
        kek_fail_within(why, why->rc, "no API server to ask (--kubeconfig)");
        return NULL;
    }
    struct kek_kubeconfig *config =
        kek_kubeconfig_parse(kek_buf_bytes(&content), path, context, why);
    if (config != NULL) {
        config->is_open = (about.st_mode & (S_IRGRP | S_IROTH)) != 0;
    }
    return config;
}
