/* What the cases share: a data key wrapped, and opened. */
#include <stdio.h>
#include <string.h>

#include "suite.h"

bool suite_was_interrupted(const struct suite *suite)
{
    return suite->rig.interrupted > 0;
}

void suite_wrapped_wipe(struct suite_wrapped *wrapped)
{
    kek_secret_free(wrapped->data_key);
    *wrapped = (struct suite_wrapped){.there = false};
}

bool suite_wrap(struct suite *suite, enum rig_role role, const struct kek_id *kek_id,
                struct suite_wrapped *wrapped, struct suite_result *result)
{
    suite_wrapped_wipe(wrapped);
    wrapped->data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (wrapped->data_key == NULL) {
        suite_fail(result, "no locked memory for a data key");
        return false;
    }
    const struct rig_answer *answer = rig_wrap(&suite->rig, role, kek_id, wrapped->data_key);
    if (answer->rc != KEK_OK) {
        suite_refused(result, "wrapping a data key", &answer->why);
        return false;
    }
    wrapped->alg = answer->alg;
    wrapped->len = answer->blob_len;
    memcpy(wrapped->blob, answer->blob, answer->blob_len);
    wrapped->there = true;
    return true;
}

bool suite_open(struct suite *suite, enum rig_role role, const struct kek_id *kek_id,
                const struct suite_wrapped *wrapped, const char *who, struct suite_result *result)
{
    const struct rig_answer *answer =
        rig_unwrap(&suite->rig, role, kek_id, wrapped->alg, kek_bytes(wrapped->blob, wrapped->len));
    if (answer->rc != KEK_OK) {
        char what[96];
        snprintf(what, sizeof what, "%s does not unwrap it", who);
        suite_refused(result, what, &answer->why);
        return false;
    }
    if (!kek_secret_equal(answer->data_key, wrapped->data_key)) {
        suite_fail(result, "%s gives back another data key", who);
        return false;
    }
    return true;
}
