/* Lines of an audit file, as they lie there, or chained first as kekd would have: then every hash holds. */
#include "fuzz.h"

#include <string.h>

#include "kek/text.h"
#include "kekctl/audit/check.h"

#define LINE_MAX_BYTES (16u * 1024)
#define INTERVAL_MS 60000u

static void take_raw(struct check *check, struct kek_bytes rest)
{
    uint64_t lines = 0;
    while (rest.len > 0) {
        const uint8_t *feed = memchr(rest.data, '\n', rest.len);
        size_t len = feed == NULL ? rest.len : (size_t)(feed + 1 - rest.data);
        if (feed == NULL) {
            check_piece(check, len);
        } else {
            check_line(check, kek_bytes(rest.data, len));
            lines++;
        }
        rest = kek_bytes(rest.data + len, rest.len - len);
    }
    FUZZ_CHECK(check->lines == lines);
}

static void take_chained(struct check *check, struct kek_bytes rest)
{
    struct kek_audit_hasher hasher;
    struct kek_audit_end end = {.chain = "0123456789abcdef"};
    char out[LINE_MAX_BYTES + KEK_AUDIT_LINK_MAX];
    memset(end.hash, '0', KEK_SHA256_TEXT - 1);
    FUZZ_CHECK(kek_audit_hasher_init(&hasher));
    const uint8_t *feed;
    while (rest.len > 0 && (feed = memchr(rest.data, '\n', rest.len)) != NULL) {
        size_t len = (size_t)(feed + 1 - rest.data);
        if (len >= 2 && len <= LINE_MAX_BYTES) {
            size_t chained = kek_audit_link_put(&hasher, &end, kek_bytes(rest.data, len), out);
            FUZZ_CHECK(chained > len && chained <= len + KEK_AUDIT_LINK_MAX);
            check_line(check, kek_bytes(out, chained));
        }
        rest = kek_bytes(rest.data + len, rest.len - len);
    }
    kek_audit_hasher_done(&hasher);
    FUZZ_CHECK(check->chain_count == (end.n > 0 ? 1 : 0) && check->lines == end.n);
    FUZZ_CHECK(end.n == 0 || check->chains[0].end.n == end.n);
}

/* Whatever lines say of themselves, no chain is broken that is whole. */
static void is_of_what_lines_say(const struct check_problem *problem)
{
    FUZZ_CHECK(problem->kind == CHECK_TOLD || problem->kind == CHECK_MAC ||
               problem->kind == CHECK_UNMACED || problem->kind == CHECK_UNCHAINED);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct check check;
    if (size == 0) {
        return 0;
    }
    bool chained = data[0] == '+';
    FUZZ_CHECK(check_init(&check, NULL, INTERVAL_MS));
    check_file(&check, "audit");
    (chained ? take_chained : take_raw)(&check, kek_bytes(data + 1, size - 1));
    check_end(&check);
    FUZZ_CHECK(check.problem_count <= CHECK_PROBLEMS_MAX && check.chain_count <= CHECK_CHAINS_MAX);
    for (size_t i = 0; i < check.problem_count; i++) {
        char shown[CHECK_TEXT];
        FUZZ_CHECK(check.problems[i].text[0] != '\0');
        kek_text_copy(shown, sizeof shown, check.problems[i].text);
        FUZZ_CHECK(strcmp(shown, check.problems[i].text) == 0);
        if (chained) {
            is_of_what_lines_say(&check.problems[i]);
        }
    }
    check_done(&check);
    return 0;
}
