/* A list of an API server: the same objects come of it whole and cut in two. */
#include "fuzz.h"

#include <string.h>

#include "src/kubeapi/objects.h"

static uint64_t sum;

static enum kek_rc on_object(void *arg, const struct kek_kubeapi_object *object,
                             struct kek_why *why)
{
    (void)arg;
    (void)why;
    FUZZ_CHECK(object->name[0] != '\0' && object->resource_version[0] != '\0');
    FUZZ_CHECK(memchr(object->name, '\0', sizeof object->name) != NULL);
    for (const char *at = object->name; *at != '\0'; at++) {
        sum = 31 * sum + (unsigned char)*at;
    }
    return KEK_OK;
}

static enum kek_rc read_all(const uint8_t *data, size_t size, size_t cut, uint64_t *result)
{
    struct kek_why why = {.text = ""};
    struct kek_kubeapi_call call = {.done = false};
    KEK_AUTO(objects) objects = objects_new(on_object, NULL);
    sum = 0;
    enum kek_rc rc = objects_take(objects, kek_bytes(data, cut), &why);
    if (rc == KEK_OK) {
        rc = objects_take(objects, kek_bytes(data + cut, size - cut), &why);
    }
    if (rc == KEK_OK) {
        rc = objects_end(objects, &call, &why);
    }
    FUZZ_CHECK((rc == KEK_OK) == (why.text[0] == '\0'));
    free(call.continue_);
    *result = sum;
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t whole, cut;
    enum kek_rc first = read_all(data, size, 0, &whole);
    enum kek_rc second = read_all(data, size, size / 2, &cut);
    FUZZ_CHECK(first == second && whole == cut);
    return 0;
}
