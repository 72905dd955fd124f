/* A kubeconfig's user: a client certificate, a token, or a file with one. What else there is, is refused. */
#include "kubeconfig.h"
#include "values.h"

#include <string.h>

#define INSTEAD                                                                             \
    "use a client certificate or a token of a ServiceAccount that may list and patch what " \
    "is rewritten (kubectl create token NAME --duration=8h)"

/* Each would change who asks, or run something, if it were followed. */
static const struct {
    const char *key, *says;
} refused[] = {
    {"exec", "gets its credentials from a program (exec), which is not run here: " INSTEAD},
    {"auth-provider", "has an auth-provider, which is not followed here: " INSTEAD},
    {"username", "has a username and password, which API servers no longer take: " INSTEAD},
    {"password", "has a username and password, which API servers no longer take: " INSTEAD},
    {"as", "acts as somebody else (as), which is not done here: " INSTEAD},
    {"as-uid", "acts as somebody else (as-uid), which is not done here: " INSTEAD},
    {"as-groups", "acts as somebody else (as-groups), which is not done here: " INSTEAD},
    {"as-user-extra", "acts as somebody else (as-user-extra), which is not done here: " INSTEAD},
};

static enum kek_rc refuse_others(const struct reading *reading, const struct kek_doc_node *user,
                                 const char *name)
{
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        const struct kek_doc_node *found;
        enum kek_rc rc = reading_member(reading, user, refused[i].key, &found);
        if (rc != KEK_OK) {
            return rc;
        }
        if (found != NULL) {
            return reading_refuse(reading, found, "user \"%.60s\" %s", name, refused[i].says);
        }
    }
    return KEK_OK;
}

static enum kek_rc take_token(const struct reading *reading, const struct kek_doc_node *user,
                              struct kek_kubeconfig *config)
{
    const char *token;
    enum kek_rc rc = reading_text(reading, user, "token", &token);
    if (rc != KEK_OK || token == NULL) {
        return rc;
    }
    if (strlen(token) > KEK_KUBEAPI_TOKEN_MAX || strpbrk(token, " \t\r\n") != NULL) {
        return reading_refuse(reading, user, "token: expected one word of at most %u bytes",
                              KEK_KUBEAPI_TOKEN_MAX);
    }
    config->token = kek_secret_dup(kek_bytes_of(token));
    return config->token == NULL ? values_no_memory(reading) : KEK_OK;
}

static enum kek_rc take_certificate(const struct reading *reading, const struct kek_doc_node *user,
                                    struct kek_kubeconfig *config)
{
    enum kek_rc rc = values_pem(reading, user, "client-certificate", "CERTIFICATE", &config->cert);
    if (rc == KEK_OK && config->cert.len == 0) {
        rc = values_path(reading, user, "client-certificate", config->path, &config->cert_file);
    }
    if (rc == KEK_OK) {
        rc = values_pem_secret(reading, user, "client-key", "PRIVATE KEY", &config->key);
    }
    if (rc == KEK_OK && config->key == NULL) {
        rc = values_path(reading, user, "client-key", config->path, &config->key_file);
    }
    return rc;
}

static enum kek_rc check(const struct reading *reading, const struct kek_doc_node *user,
                         const char *name, const struct kek_kubeconfig *config)
{
    bool has_cert = config->cert.len > 0 || config->cert_file != NULL;
    bool has_key = config->key != NULL || config->key_file != NULL;
    bool has_token = config->token != NULL || config->token_file != NULL;
    bool is_plain = strncmp(config->server, "http://", 7) == 0;
    if (has_cert != has_key) {
        return reading_refuse(reading, user, "user \"%.60s\" has a client-%s and no client-%s",
                              name, has_cert ? "certificate" : "key",
                              has_cert ? "key" : "certificate");
    }
    if (is_plain && (has_cert || has_token)) {
        return reading_refuse(reading, user,
                              "user \"%.60s\" has credentials, which are not sent over http: "
                              "set the cluster's server to https://",
                              name);
    }
    if (!is_plain && !has_cert && !has_token) {
        return reading_refuse(reading, user,
                              "user \"%.60s\" has neither a client certificate nor a token: %s",
                              name, INSTEAD);
    }
    return KEK_OK;
}

enum kek_rc kubeconfig_user(const struct reading *reading, const struct kek_doc_node *user,
                            const char *name, struct kek_kubeconfig *config)
{
    enum kek_rc rc = refuse_others(reading, user, name);
    if (rc == KEK_OK) {
        rc = take_certificate(reading, user, config);
    }
    if (rc == KEK_OK) {
        rc = take_token(reading, user, config);
    }
    if (rc == KEK_OK) {
        rc = values_path(reading, user, "tokenFile", config->path, &config->token_file);
    }
    return rc == KEK_OK ? check(reading, user, name, config) : rc;
}
