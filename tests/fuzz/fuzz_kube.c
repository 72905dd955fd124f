/* What lies in etcd: 32 bytes of a data key, a byte that says how long the etcd key is, that key, the value. */
#include "fuzz.h"

#include <string.h>

#include "kek/kube.h"

#define DEK_LEN 32

static void lies_within(struct kek_bytes view, struct kek_bytes bytes)
{
    FUZZ_CHECK(view.len == 0 || (view.data >= bytes.data && view.len <= bytes.len &&
                                 (size_t)(view.data - bytes.data) <= bytes.len - view.len));
}

static void check_stored(const struct kek_kube_stored *stored, struct kek_bytes value)
{
    lies_within(stored->provider, value);
    lies_within(stored->key_id, value);
    lies_within(stored->source, value);
    lies_within(stored->data, value);
    FUZZ_CHECK(strcmp(kek_kube_kind_name(stored->kind), "unknown") != 0 ||
               stored->kind == KEK_KUBE_UNKNOWN);
    bool kms = stored->kind == KEK_KUBE_KMS_V1 || stored->kind == KEK_KUBE_KMS_V2;
    FUZZ_CHECK(kms || (stored->source.len == 0 && !stored->is_kekd));
    if (stored->is_kekd) {
        lies_within(stored->envelope.header, stored->source);
        lies_within(stored->envelope.tag, stored->source);
        FUZZ_CHECK(stored->envelope.count >= 1);
    }
}

/* The parts of a key, put together again, are the key's. */
static void name_it(struct kek_bytes key)
{
    struct kek_kube_name name;
    char resource[512];
    if (!kek_kube_name(key, kek_bytes_of("/registry"), &name)) {
        return;
    }
    FUZZ_CHECK(name.resource.len > 0 && name.name.len > 0);
    lies_within(name.ns, key);
    lies_within(name.name, key);
    FUZZ_CHECK(name.name.data + name.name.len == key.data + key.len);
    FUZZ_CHECK(memchr(name.name.data, '/', name.name.len) == NULL);
    size_t len = kek_kube_resource(&name, resource, sizeof resource);
    FUZZ_CHECK(len == name.resource.len + (name.group.len > 0 ? 1 + name.group.len : 0));
}

static void open_it(const struct kek_kube_stored *stored, struct kek_bytes key, const uint8_t *dek)
{
    bool locked;
    struct kek_why why = {.rc = KEK_OK};
    FUZZ_CHECK(kek_secret_setup(64 * 1024, &locked, NULL) == KEK_OK);
    KEK_AUTO(kek_secret) secret = kek_secret_dup(kek_bytes(dek, DEK_LEN));
    FUZZ_CHECK(secret != NULL);
    enum kek_rc rc = kek_kube_open(stored, key, secret, &why);
    bool keyless = stored->kind == KEK_KUBE_PLAIN || stored->kind == KEK_KUBE_UNKNOWN;
    FUZZ_CHECK(keyless ? rc == KEK_INVALID : rc == KEK_OK || rc == KEK_DAMAGED);
    FUZZ_CHECK(why.rc == rc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size <= DEK_LEN || size - DEK_LEN - 1 < data[DEK_LEN]) {
        return 0;
    }
    struct kek_bytes key = kek_bytes(data + DEK_LEN + 1, data[DEK_LEN]);
    struct kek_bytes value = kek_bytes(key.data + key.len, size - DEK_LEN - 1 - key.len);
    struct kek_kube_stored stored;
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc = kek_kube_parse(value, &stored, &why);
    FUZZ_CHECK(rc == KEK_OK || rc == KEK_DAMAGED);
    FUZZ_CHECK(why.rc == rc && (rc == KEK_OK || why.text[0] != '\0'));
    check_stored(&stored, value);
    name_it(key);
    open_it(&stored, key, data);
    return 0;
}
