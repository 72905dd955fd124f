/* A Cloud HSM's statement, decompressed. */
#include "fuzz.h"

#include "statement.h"

static void check_inside(struct kek_bytes part, const uint8_t *data, size_t size)
{
    FUZZ_CHECK(part.data >= data && part.data + part.len <= data + size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_gcp_statement statement;
    struct kek_why why = {.rc = KEK_OK};
    if (kek_gcp_statement_read(kek_bytes(data, size), &statement, &why) != KEK_OK) {
        FUZZ_CHECK(why.rc == KEK_INVALID && why.text[0] != '\0');
        return 0;
    }
    FUZZ_CHECK(statement.is_signed.len + statement.signature.len == size);
    FUZZ_CHECK(statement.count <= KEK_GCP_ATTRIBUTES_MAX);
    for (size_t i = 0; i < statement.count; i++) {
        check_inside(statement.values[i].bytes, data, statement.is_signed.len);
    }
    return 0;
}
