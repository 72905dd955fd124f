/* One provider of an EncryptionConfiguration. */
#include <string.h>

#include "encryption_read.h"
#include "encryption_rules.h"

void encryption_provider_free(struct kek_encryption_provider *provider)
{
    if (provider == NULL) {
        return;
    }
    for (size_t i = 0; i < provider->key_count; i++) {
        if (provider->keys[i].secret != NULL) {
            kek_wipe(provider->keys[i].secret, strlen(provider->keys[i].secret));
        }
        free(provider->keys[i].secret);
        free(provider->keys[i].name);
    }
    free(provider->keys);
    free(provider->name);
    free(provider->endpoint);
    free(provider->timeout);
    free(provider->cachesize);
    free(provider);
}

static enum kek_rc take_secret(struct encryption_reader *reader, const struct kek_doc_node *node,
                               const struct kek_doc_node *at, enum kek_kube_kind kind,
                               char **secret)
{
    size_t len = 0;
    enum kek_rc rc = encryption_take_text(reader, node, at, secret);
    if (rc != KEK_OK) {
        return rc;
    }
    if (!encryption_secret_len(*secret, &len)) {
        return encryption_refuse(reader, node, "expected base64");
    }
    bool aes = kind != KEK_KUBE_SECRETBOX;
    if (len != 32 && !(aes && (len == 16 || len == 24))) {
        return encryption_refuse(reader, node, "expected %s bytes in base64, found %zu",
                                 aes ? "16, 24 or 32" : "32", len);
    }
    return KEK_OK;
}

static enum kek_rc take_key(struct encryption_reader *reader, const struct kek_doc_node *node,
                            enum kek_kube_kind kind, struct kek_encryption_key *key)
{
    static const char *const names[] = {"name", "secret", NULL};
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX];
    enum kek_rc rc = encryption_take_mapping(reader, node, names, values);
    if (rc != KEK_OK) {
        return rc;
    }
    size_t mark = encryption_enter(reader, ".name");
    rc = encryption_take_text(reader, values[0], node, &key->name);
    encryption_leave(reader, mark);
    if (rc != KEK_OK) {
        return rc;
    }
    mark = encryption_enter(reader, ".secret");
    rc = take_secret(reader, values[1], node, kind, &key->secret);
    encryption_leave(reader, mark);
    return rc;
}

static enum kek_rc take_keys(struct encryption_reader *reader, const struct kek_doc_node *node,
                             struct kek_encryption_provider *provider)
{
    static const char *const names[] = {"keys", NULL};
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX];
    enum kek_rc rc = encryption_take_mapping(reader, node, names, values);
    if (rc != KEK_OK) {
        return rc;
    }
    size_t mark = encryption_enter(reader, ".keys");
    rc = encryption_take_list(reader, values[0], node);
    if (rc != KEK_OK) {
        return rc;
    }
    provider->keys = calloc(kek_doc_node_count(values[0]), sizeof provider->keys[0]);
    if (provider->keys == NULL) {
        return encryption_no_memory(reader);
    }
    for (const struct kek_doc_node *item = values[0]->members; item != NULL; item = item->next) {
        size_t key_mark = encryption_enter(reader, "[%zu]", provider->key_count);
        rc = take_key(reader, item, provider->kind, &provider->keys[provider->key_count++]);
        if (rc != KEK_OK) {
            return rc;
        }
        encryption_leave(reader, key_mark);
    }
    encryption_leave(reader, mark);
    return KEK_OK;
}

static bool is_version(const char *text)
{
    return strcmp(text, "v1") == 0 || strcmp(text, "v2") == 0;
}

enum { KMS_API = 0, KMS_NAME, KMS_CACHESIZE, KMS_ENDPOINT, KMS_TIMEOUT };
static const char *const kms_fields[] = {"apiVersion", "name",    "cachesize",
                                         "endpoint",   "timeout", NULL};

/* A number, which YAML has without quotes. */
static enum kek_rc take_cachesize(struct encryption_reader *reader, const struct kek_doc_node *node,
                                  struct kek_encryption_provider *provider)
{
    if (provider->kind == KEK_KUBE_KMS_V2) {
        return encryption_refuse(reader, node, "is for apiVersion v1 alone");
    }
    if (node->kind != KEK_DOC_SCALAR || !node->plain || !encryption_cachesize(node->text)) {
        return encryption_refuse(reader, node, "expected a whole number that is not 0");
    }
    provider->cachesize = strdup(node->text);
    return provider->cachesize == NULL ? encryption_no_memory(reader) : KEK_OK;
}

static enum kek_rc take_kms_field(struct encryption_reader *reader, size_t field,
                                  const struct kek_doc_node *node, const struct kek_doc_node *at,
                                  struct kek_encryption_provider *provider)
{
    switch (field) {
    case KMS_NAME:
        return encryption_take_text(reader, node, at, &provider->name);
    case KMS_ENDPOINT:
        return encryption_take_ruled(reader, node, at, encryption_endpoint, "a URL unix://...",
                                     &provider->endpoint);
    case KMS_TIMEOUT:
        return node == NULL
                   ? KEK_OK
                   : encryption_take_ruled(reader, node, at, encryption_duration,
                                           "a duration above 0, as \"3s\"", &provider->timeout);
    case KMS_CACHESIZE:
        return node == NULL ? KEK_OK : take_cachesize(reader, node, provider);
    default:
        return KEK_OK;
    }
}

/* Which of the two APIs: v1 where nothing is said. */
static enum kek_rc take_version(struct encryption_reader *reader, const struct kek_doc_node *node,
                                struct kek_encryption_provider *provider)
{
    KEK_AUTO_FREE char *version = NULL;
    /* An empty text is the default, too. */
    bool given = node != NULL && !(node->kind == KEK_DOC_SCALAR && node->text[0] == '\0');
    if (given) {
        enum kek_rc rc =
            encryption_take_ruled(reader, node, node, is_version, "v1 or v2", &version);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    provider->kind = given && strcmp(version, "v2") == 0 ? KEK_KUBE_KMS_V2 : KEK_KUBE_KMS_V1;
    return KEK_OK;
}

static enum kek_rc take_kms(struct encryption_reader *reader, const struct kek_doc_node *node,
                            struct kek_encryption_provider *provider)
{
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX];
    enum kek_rc rc = encryption_take_mapping(reader, node, kms_fields, values);
    for (size_t i = 0; rc == KEK_OK && i < ENCRYPTION_NAMES_MAX; i++) {
        size_t mark = encryption_enter(reader, ".%s", kms_fields[i]);
        rc = i == KMS_API ? take_version(reader, values[i], provider)
                          : take_kms_field(reader, i, values[i], node, provider);
        encryption_leave(reader, mark);
    }
    if (rc == KEK_OK && provider->kind == KEK_KUBE_KMS_V2 && strchr(provider->name, ':') != NULL) {
        return encryption_refuse(reader, values[KMS_NAME], "the name of a v2 plugin has no \":\"");
    }
    return rc;
}

static enum kek_rc take_identity(struct encryption_reader *reader, const struct kek_doc_node *node)
{
    static const char *const names[] = {NULL};
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX];
    return encryption_take_mapping(reader, node, names, values);
}

static const struct {
    const char *name;
    enum kek_kube_kind kind;
} kinds[] = {{"aescbc", KEK_KUBE_AESCBC},
             {"aesgcm", KEK_KUBE_AESGCM},
             {"secretbox", KEK_KUBE_SECRETBOX},
             {"identity", KEK_KUBE_PLAIN},
             {"kms", KEK_KUBE_KMS_V1}};

enum kek_rc encryption_take_provider(struct encryption_reader *reader,
                                     const struct kek_doc_node *node,
                                     struct kek_encryption_provider *provider)
{
    static const char *const names[] = {"aescbc", "aesgcm", "secretbox", "identity", "kms", NULL};
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX], *only = NULL;
    enum kek_rc rc = encryption_take_mapping(reader, node, names, values);
    for (size_t i = 0; rc == KEK_OK && i < ENCRYPTION_NAMES_MAX; i++) {
        if (values[i] != NULL && only != NULL) {
            return encryption_refuse(reader, values[i]->key,
                                     "more than one provider in one item of the list");
        }
        if (values[i] != NULL) {
            only = values[i];
            provider->kind = kinds[i].kind;
        }
    }
    if (rc == KEK_OK && only == NULL) {
        return encryption_refuse(reader, node,
                                 "expected aescbc, aesgcm, secretbox, identity or kms");
    }
    if (rc != KEK_OK) {
        return rc;
    }
    provider->line = only->key->line;
    provider->column = only->key->column;
    size_t mark = encryption_enter(reader, ".%s", only->key->text);
    rc = provider->kind == KEK_KUBE_PLAIN    ? take_identity(reader, only)
         : provider->kind == KEK_KUBE_KMS_V1 ? take_kms(reader, only, provider)
                                             : take_keys(reader, only, provider);
    encryption_leave(reader, mark);
    return rc;
}
