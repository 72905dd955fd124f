#include "values.h"

#include <stdio.h>
#include <string.h>

#include "kek/base64.h"

#define PEM_MAX (256u * 1024) /* bytes of a chain */

enum kek_rc values_no_memory(const struct reading *reading)
{
    return kek_fail(reading->why, KEK_NO_MEMORY, "no memory to read %s", reading->file);
}

enum kek_rc values_text(const struct reading *reading, const struct kek_doc_node *mapping,
                        const char *key, char **text)
{
    const char *value;
    enum kek_rc rc = reading_text(reading, mapping, key, &value);
    if (rc != KEK_OK || value == NULL) {
        return rc;
    }
    *text = strdup(value);
    return *text == NULL ? values_no_memory(reading) : KEK_OK;
}

enum kek_rc values_path(const struct reading *reading, const struct kek_doc_node *mapping,
                        const char *key, const char *file, char **path)
{
    const char *value, *slash = strrchr(file, '/');
    enum kek_rc rc = reading_text(reading, mapping, key, &value);
    if (rc != KEK_OK || value == NULL) {
        return rc;
    }
    int folder = value[0] == '/' || slash == NULL ? 0 : (int)(slash - file) + 1;
    if (asprintf(path, "%.*s%s", folder, file, value) < 0) {
        *path = NULL;
        return values_no_memory(reading);
    }
    return KEK_OK;
}

/* Does the text have one that begins? The name of its end is the PEM reader's to check. */
static bool has_kind(struct kek_bytes pem, const char *kind)
{
    char begin[64];
    int len = snprintf(begin, sizeof begin, "%s-----", kind);
    return memmem(pem.data, pem.len, "-----BEGIN ", 11) != NULL &&
           memmem(pem.data, pem.len, begin, (size_t)len) != NULL;
}

/* The base64 of `KEY-data`; NULL in *node: it is not there. */
static enum kek_rc find_data(const struct reading *reading, const struct kek_doc_node *mapping,
                             const char *name, const struct kek_doc_node **node)
{
    enum kek_rc rc = reading_scalar(reading, mapping, name, node);
    if (rc == KEK_OK && *node != NULL && strlen((*node)->text) > PEM_MAX) {
        return reading_refuse(reading, *node, "%s: more than %u bytes", name, PEM_MAX);
    }
    return rc;
}

/* Into memory of `out`'s size at least, which is the caller's kind of memory. */
static enum kek_rc take_data(const struct reading *reading, const struct kek_doc_node *node,
                             const char *name, const char *kind, uint8_t *out, size_t *len)
{
    if (!kek_unbase64(node->text, out, strlen(node->text), len)) {
        return reading_refuse(reading, node, "%s: this is no base64 (one line, with its padding)",
                              name);
    }
    if (!has_kind(kek_bytes(out, *len), kind)) {
        return reading_refuse(reading, node, "%s: there is no %s in PEM in it", name, kind);
    }
    return KEK_OK;
}

enum kek_rc values_pem(const struct reading *reading, const struct kek_doc_node *mapping,
                       const char *key, const char *kind, struct kek_buf *pem)
{
    char name[64];
    size_t len = 0;
    const struct kek_doc_node *node;
    snprintf(name, sizeof name, "%s-data", key);
    enum kek_rc rc = find_data(reading, mapping, name, &node);
    if (rc != KEK_OK || node == NULL) {
        return rc;
    }
    uint8_t *out = kek_buf_reserve(pem, strlen(node->text), reading->why);
    if (out == NULL) {
        return values_no_memory(reading);
    }
    rc = take_data(reading, node, name, kind, out, &len);
    pem->len += rc == KEK_OK ? len : 0;
    return rc;
}

enum kek_rc values_pem_secret(const struct reading *reading, const struct kek_doc_node *mapping,
                              const char *key, const char *kind, struct kek_secret **pem)
{
    char name[64];
    size_t len = 0;
    const struct kek_doc_node *node;
    snprintf(name, sizeof name, "%s-data", key);
    enum kek_rc rc = find_data(reading, mapping, name, &node);
    if (rc != KEK_OK || node == NULL) {
        return rc;
    }
    KEK_AUTO(kek_secret) wide = kek_secret_new(strlen(node->text));
    if (wide == NULL) {
        return values_no_memory(reading);
    }
    rc = take_data(reading, node, name, kind, kek_secret_data(wide), &len);
    if (rc != KEK_OK) {
        return rc;
    }
    *pem = kek_secret_dup(kek_bytes(kek_secret_data(wide), len));
    return *pem == NULL ? values_no_memory(reading) : KEK_OK;
}
