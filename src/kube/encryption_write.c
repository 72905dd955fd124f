/* From the struct to YAML. */
#include <stdio.h>
#include <string.h>

#include "encryption_rules.h"
#include "kek/encryption_config.h"

/* What has come of the output so far; the first failure stays. */
struct writer {
    struct kek_buf *out;
    struct kek_why *why;
    enum kek_rc rc;
};

static void put_bytes(struct writer *writer, const char *text, size_t len)
{
    if (writer->rc == KEK_OK) {
        writer->rc = kek_buf_append(writer->out, kek_bytes(text, len), writer->why);
    }
}

static void put(struct writer *writer, const char *text)
{
    put_bytes(writer, text, strlen(text));
}

/* Letters, digits and what stands in names, paths and base64, so that nobody takes it for anything else. */
static bool is_bare(const char *text)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ/";
    static const char rest[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._+=-";
    if (strncmp(text, "unix:", 5) == 0) {
        text += 5;
    }
    return text[0] != '\0' && strchr(first, text[0]) != NULL && text[strspn(text, rest)] == '\0' &&
           encryption_is_text(text);
}

/* One character of a text in double quotes; what is not ASCII is the bytes of UTF-8, which YAML takes but for a
 * few that nobody sees. */
static void put_quoted(struct writer *writer, const char *text)
{
    put(writer, "\"");
    for (const char *at = text; *at != '\0'; at++) {
        unsigned char c = (unsigned char)*at;
        char escaped[8];
        if (c == '"' || c == '\\') {
            snprintf(escaped, sizeof escaped, "\\%c", c);
        } else if (c < 0x20 || c == 0x7f) {
            snprintf(escaped, sizeof escaped, "\\x%02x", c);
        } else {
            snprintf(escaped, sizeof escaped, "%c", c);
        }
        put(writer, escaped);
    }
    put(writer, "\"");
}

/* "<indented key>: <text>" */
static void put_text(struct writer *writer, const char *key, const char *text)
{
    put(writer, key);
    if (is_bare(text)) {
        put(writer, text);
    } else {
        put_quoted(writer, text);
    }
    put(writer, "\n");
}

static void put_kms(struct writer *writer, const struct kek_encryption_provider *provider)
{
    put(writer, "      - kms:\n");
    put_text(writer, "          apiVersion: ", provider->kind == KEK_KUBE_KMS_V2 ? "v2" : "v1");
    put_text(writer, "          name: ", provider->name);
    put_text(writer, "          endpoint: ", provider->endpoint);
    if (provider->timeout != NULL) { /* a duration begins with a digit and ends with a unit */
        put(writer, "          timeout: ");
        put(writer, provider->timeout);
        put(writer, "\n");
    }
    if (provider->cachesize != NULL) {
        put(writer, "          cachesize: ");
        put(writer, provider->cachesize);
        put(writer, "\n");
    }
}

static void put_provider(struct writer *writer, const struct kek_encryption_provider *provider)
{
    if (provider->kind == KEK_KUBE_PLAIN) {
        put(writer, "      - identity: {}\n");
        return;
    }
    if (provider->name != NULL) {
        put_kms(writer, provider);
        return;
    }
    put(writer, "      - ");
    put(writer, kek_kube_kind_name(provider->kind));
    put(writer, ":\n          keys:\n");
    for (size_t i = 0; i < provider->key_count; i++) {
        put_text(writer, "            - name: ", provider->keys[i].name);
        put_text(writer, "              secret: ", provider->keys[i].secret);
    }
}

enum kek_rc kek_encryption_config_write(const struct kek_encryption_config *config,
                                        const char *comment, struct kek_buf *out,
                                        struct kek_why *why)
{
    struct writer writer = {.out = out, .why = why, .rc = KEK_OK};
    put(&writer, comment == NULL ? "" : comment);
    put(&writer,
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n");
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        put(&writer, "  - resources:\n");
        for (size_t j = 0; j < rule->resource_count; j++) {
            put_text(&writer, "      - ", rule->resources[j]);
        }
        put(&writer, "    providers:\n");
        for (size_t j = 0; j < rule->provider_count; j++) {
            put_provider(&writer, rule->providers[j]);
        }
    }
    return writer.rc;
}
