#include "kek/kube.h"

#include <string.h>

#include "kek/text.h"
#include "object.h"
#include "split.h"

#define ENCRYPTED "k8s:enc:"
#define ENCRYPTED_LEN (sizeof ENCRYPTED - 1)
#define UNKNOWN_MAX 64 /* bytes that are shown of a prefix that nobody knows */

/* k8s.io/apiserver pkg/server/options/encryptionconfig/config.go */
static const struct {
    enum kek_kube_kind kind;
    const char *name;
    const char *prefix; /* behind ENCRYPTED */
} kinds[] = {
    {KEK_KUBE_PLAIN, "plain", NULL},           {KEK_KUBE_AESCBC, "aescbc", "aescbc:v1:"},
    {KEK_KUBE_AESGCM, "aesgcm", "aesgcm:v1:"}, {KEK_KUBE_SECRETBOX, "secretbox", "secretbox:v1:"},
    {KEK_KUBE_KMS_V1, "kms v1", "kms:v1:"},    {KEK_KUBE_KMS_V2, "kms v2", "kms:v2:"},
    {KEK_KUBE_UNKNOWN, "unknown", NULL},
};

#define KINDS (sizeof kinds / sizeof kinds[0])

const char *kek_kube_kind_name(enum kek_kube_kind kind)
{
    return (size_t)kind < KINDS ? kinds[kind].name : "unknown";
}

static struct kek_bytes behind(struct kek_bytes bytes, size_t len)
{
    return kek_bytes(bytes.data + len, bytes.len - len);
}

static bool begins(struct kek_bytes bytes, const void *with, size_t len)
{
    return bytes.len >= len && memcmp(bytes.data, with, len) == 0;
}

/* Of "name:version:key:..." the first three parts, and of fewer all that is printable. */
static struct kek_bytes unknown_provider(struct kek_bytes rest)
{
    size_t colons = 0;
    size_t len = 0;
    while (len < rest.len && len < UNKNOWN_MAX && rest.data[len] >= 0x20 && rest.data[len] < 0x7f) {
        colons += rest.data[len] == ':';
        if (colons == 3) {
            break;
        }
        len++;
    }
    return kek_bytes(rest.data, len);
}

/* The kind by the prefix; *rest is what stands behind it. */
static enum kek_kube_kind find_kind(struct kek_bytes value, struct kek_bytes *rest)
{
    *rest = value;
    if (!begins(value, ENCRYPTED, ENCRYPTED_LEN)) {
        return KEK_KUBE_PLAIN;
    }
    *rest = behind(value, ENCRYPTED_LEN);
    for (size_t i = 0; i < KINDS; i++) {
        size_t len = kinds[i].prefix == NULL ? 0 : strlen(kinds[i].prefix);
        if (len > 0 && begins(*rest, kinds[i].prefix, len)) {
            *rest = behind(*rest, len);
            return kinds[i].kind;
        }
    }
    return KEK_KUBE_UNKNOWN;
}

/* kms v1: the length of the wrapped key (two bytes, big-endian), the wrapped key, what it covers. */
static enum kek_rc read_v1(struct kek_bytes rest, size_t start, struct kek_kube_stored *stored,
                           struct kek_why *why)
{
    if (rest.len < 2) {
        return kek_fail(why, KEK_DAMAGED, "offset %zu: ends inside the wrapped key's length",
                        start);
    }
    size_t len = (size_t)rest.data[0] << 8 | rest.data[1];
    if (len > rest.len - 2) {
        return kek_fail(why, KEK_DAMAGED, "offset %zu: %s, and a wrapped key of %zu", start + 2,
                        kek_counted(rest.len - 2, "byte").text, len);
    }
    stored->source = kek_bytes(rest.data + 2, len);
    stored->data = behind(rest, 2 + len);
    return KEK_OK;
}

/* A foreign plugin may write what it likes; what begins as one of ours must be whole. */
static enum kek_rc read_envelope(const uint8_t *value, struct kek_kube_stored *stored,
                                 struct kek_why *why)
{
    static const uint8_t magic[] = {'K', 'E', 'K', 0x01};
    if (!begins(stored->source, magic, sizeof magic)) {
        return KEK_OK;
    }
    enum kek_rc rc = kek_envelope_parse(stored->source, &stored->envelope, why);
    if (rc != KEK_OK) {
        return kek_fail_within(why, rc, "offset %zu: a damaged kekd envelope",
                               (size_t)(stored->source.data - value));
    }
    stored->is_kekd = true;
    return KEK_OK;
}

static enum kek_rc read_covered(struct kek_bytes value, struct kek_bytes rest,
                                struct kek_kube_stored *stored, struct kek_why *why)
{
    size_t start = (size_t)(rest.data - value.data);
    if (stored->kind == KEK_KUBE_KMS_V1) {
        return read_v1(rest, start, stored, why);
    }
    if (stored->kind == KEK_KUBE_KMS_V2) {
        return kek_kube_read_object(rest, start, stored, why);
    }
    stored->data = rest;
    return KEK_OK;
}

/* Can what is covered be opened at all? */
static enum kek_rc check_data(struct kek_bytes value, const struct kek_kube_stored *stored,
                              struct kek_why *why)
{
    bool seed = stored->source_type == KEK_KUBE_SOURCE_SEED;
    if (kek_kube_data_fits(stored->kind, seed, stored->data.len)) {
        return KEK_OK;
    }
    return kek_fail(why, KEK_DAMAGED, "offset %zu: %s, which %s never covers",
                    (size_t)(stored->data.data - value.data),
                    kek_counted(stored->data.len, "byte").text, kek_kube_kind_name(stored->kind));
}

static enum kek_rc read_encrypted(struct kek_bytes value, struct kek_bytes rest,
                                  struct kek_kube_stored *stored, struct kek_why *why)
{
    size_t start = (size_t)(rest.data - value.data);
    size_t name_len = kek_kube_name_len(stored->kind, rest, &stored->ambiguous);
    if (name_len == SIZE_MAX || name_len == 0) {
        return kek_fail(why, KEK_DAMAGED, "offset %zu: no name of a key or plugin, and ':'", start);
    }
    stored->provider = kek_bytes(rest.data, name_len);
    enum kek_rc covered = read_covered(value, behind(rest, name_len + 1), stored, why);
    /* Whatever is wrong with the rest, a whole envelope says which KEK it needs. */
    enum kek_rc envelope = read_envelope(value.data, stored, covered == KEK_OK ? why : NULL);
    if (covered != KEK_OK || envelope != KEK_OK) {
        return covered != KEK_OK ? covered : envelope;
    }
    return check_data(value, stored, why);
}

enum kek_rc kek_kube_parse(struct kek_bytes value, struct kek_kube_stored *stored,
                           struct kek_why *why)
{
    struct kek_bytes rest;
    memset(stored, 0, sizeof *stored);
    stored->kind = find_kind(value, &rest);
    switch (stored->kind) {
    case KEK_KUBE_PLAIN:
        stored->data = value;
        return KEK_OK;
    case KEK_KUBE_UNKNOWN:
        stored->provider = unknown_provider(rest);
        return KEK_OK;
    default:
        return read_encrypted(value, rest, stored, why);
    }
}
