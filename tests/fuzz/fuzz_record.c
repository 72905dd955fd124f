/* The keyring's state file: what is taken in is what is written again. */
#include "fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "keyring/ring.h"

static struct kek_config config = {.keyring = (char *)"k8s-test", .context = (char *)""};

static struct kek_keyring *ring_new(void)
{
    struct kek_keyring *ring = calloc(1, sizeof *ring);
    FUZZ_CHECK(ring != NULL);
    ring->settings.config = &config;
    ring->lock = KEK_LOCK_NONE;
    ring->record_path = strdup("f");
    FUZZ_CHECK(ring->record_path != NULL);
    return ring;
}

static void check_same(const struct kek_keyring *a, const struct kek_keyring *b)
{
    const struct kek_generation *left = &a->primary.generation, *right = &b->primary.generation;
    const struct version *x, *y = b->versions;
    FUZZ_CHECK(a->announced == b->announced && a->version_count == b->version_count);
    FUZZ_CHECK(kek_generation_equal(left, right) && left->numbers[0] == right->numbers[0]);
    FUZZ_CHECK(strcmp(left->key_id, right->key_id) == 0);
    DL_FOREACH (a->versions, x) {
        FUZZ_CHECK(x->number == y->number && kek_id_equal(&x->id, &y->id));
        FUZZ_CHECK(kek_bytes_equal(kek_bytes(x->witness, x->witness_len),
                                   kek_bytes(y->witness, y->witness_len)));
        y = y->next;
    }
}

static void check_again(const struct kek_keyring *ring)
{
    struct kek_envelope envelope;
    const struct version *version;
    DL_FOREACH (ring->versions, version) {
        FUZZ_CHECK(version->agreed && version->number >= 1);
        FUZZ_CHECK(kek_envelope_parse(kek_bytes(version->witness, version->witness_len), &envelope,
                                      NULL) == KEK_OK);
        FUZZ_CHECK(kek_id_equal(&envelope.entries[0].kek_id, &version->id));
        FUZZ_CHECK(envelope.entries[0].alg == version->witness_alg);
    }
    FUZZ_CHECK(!ring->announced || version_primary(ring) != NULL);
    char *text = record_text(ring, NULL);
    FUZZ_CHECK(text != NULL);
    struct kek_keyring *again = ring_new();
    FUZZ_CHECK(record_parse(again, kek_bytes_of(text), NULL) == KEK_OK);
    check_same(ring, again);
    kek_keyring_free(again);
    free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_why why = {.rc = KEK_OK};
    struct kek_keyring *ring = ring_new();
    if (record_parse(ring, kek_bytes(data, size), &why) == KEK_OK) {
        check_again(ring);
    } else {
        FUZZ_CHECK(why.rc == KEK_DAMAGED && strncmp(why.text, "f:", 2) == 0);
    }
    kek_keyring_free(ring);
    return 0;
}
