#include "kek/kube.h"

#include <string.h>

#include "places.h"

#define PARTS_MAX 4 /* group, resource, namespace, name; services/specs, namespace, name */

static struct kek_bytes without_slashes(struct kek_bytes bytes)
{
    while (bytes.len > 0 && bytes.data[0] == '/') {
        bytes = kek_bytes(bytes.data + 1, bytes.len - 1);
    }
    while (bytes.len > 0 && bytes.data[bytes.len - 1] == '/') {
        bytes.len--;
    }
    return bytes;
}

/* What stands below "/prefix/". The API server joins whatever it is given to that. */
static bool below(struct kek_bytes key, struct kek_bytes prefix, struct kek_bytes *rest)
{
    prefix = without_slashes(prefix);
    size_t len = prefix.len == 0 ? 1 : prefix.len + 2;
    if (key.len <= len || key.data[0] != '/' || key.data[len - 1] != '/' ||
        (prefix.len > 0 && memcmp(key.data + 1, prefix.data, prefix.len) != 0)) {
        return false;
    }
    *rest = kek_bytes(key.data + len, key.len - len);
    return true;
}

/* The parts between the slashes; 0: one is empty, or there are too many. */
static size_t take_apart(struct kek_bytes rest, struct kek_bytes parts[static PARTS_MAX])
{
    size_t count = 0;
    size_t start = 0;
    for (size_t i = 0; i <= rest.len; i++) {
        if (i < rest.len && rest.data[i] != '/') {
            continue;
        }
        if (i == start || count == PARTS_MAX) {
            return 0;
        }
        parts[count++] = kek_bytes(rest.data + start, i - start);
        start = i + 1;
    }
    return count;
}

static bool has_dot(struct kek_bytes bytes)
{
    return memchr(bytes.data, '.', bytes.len) != NULL;
}

/* "services/specs" and "services/endpoints" are the only folders of two parts. There are two at least. */
static struct kek_bytes folder_of(const struct kek_bytes *parts, size_t *used)
{
    *used = 1;
    if (kek_bytes_equal(parts[0], kek_bytes_of("services"))) {
        *used = 2;
        return kek_bytes(parts[0].data, (size_t)(parts[1].data - parts[0].data) + parts[1].len);
    }
    return parts[0];
}

bool kek_kube_name(struct kek_bytes etcd_key, struct kek_bytes prefix, struct kek_kube_name *name)
{
    struct kek_bytes rest;
    struct kek_bytes parts[PARTS_MAX];
    size_t count = below(etcd_key, prefix, &rest) ? take_apart(rest, parts) : 0;
    if (count < 2) {
        return false;
    }
    struct kek_kube_name found = {.resource = parts[0]};
    size_t used;
    const struct kube_place *place = kek_kube_place(folder_of(parts, &used));
    if (place != NULL) {
        found.resource = place->resource == NULL ? parts[0] : kek_bytes_of(place->resource);
        found.group = kek_bytes_of(place->group);
        found.never_encrypted = place->never_encrypted;
    } else if (count == PARTS_MAX || (count == 3 && has_dot(parts[0]))) {
        /* What a CustomResourceDefinition, or a server of its own beside the API server, brought. */
        found.group = parts[0];
        found.resource = parts[1];
        used = 2;
    } else {
        found.group = kek_bytes_of("");
        found.group_unknown = true;
        used = has_dot(parts[0]) ? count : 1; /* a group alone is nobody's folder */
    }
    size_t left = count - used;
    if (left < 1 || left > 2) {
        return false;
    }
    found.ns = left == 2 ? parts[used] : kek_bytes(NULL, 0);
    found.name = parts[count - 1];
    *name = found;
    return true;
}

/* Past `size` it is only counted. A key may have any byte, and a NUL would end the text before its length. */
static size_t put(char *out, size_t size, size_t len, struct kek_bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++, len++) {
        if (len + 1 < size) {
            out[len] = (char)(bytes.data[i] == '\0' ? '?' : bytes.data[i]);
        }
    }
    return len;
}

size_t kek_kube_resource(const struct kek_kube_name *name, char *out, size_t size)
{
    size_t len = put(out, size, 0, name->resource);
    if (name->group.len > 0) {
        len = put(out, size, len, kek_bytes_of("."));
        len = put(out, size, len, name->group);
    }
    if (size > 0) {
        out[len < size ? len : size - 1] = '\0';
    }
    return len;
}
