#include "suite_json.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kekctl/output.h"

#define CODE_NAME 64

/* What the worker called that code, "CKR_DEVICE_ERROR (0x30)" in its text; empty where it named none. */
static void code_name(const struct suite_result *result, char name[static CODE_NAME])
{
    char code[40];
    snprintf(code, sizeof code, " (0x%lx)", result->code);
    const char *end = strstr(result->says, code), *at = end;
    while (at != NULL && at > result->says &&
           (isupper((unsigned char)at[-1]) || isdigit((unsigned char)at[-1]) || at[-1] == '_')) {
        at--;
    }
    bool named = at != NULL && strncmp(at, "CKR_", 4) == 0 && end - at < CODE_NAME;
    snprintf(name, CODE_NAME, "%.*s", named ? (int)(end - at) : 0, named ? at : "");
}

/* JSON's null where there is nothing. */
static json_t *native_json(const struct suite_result *result)
{
    char name[CODE_NAME];
    const char *kind = kek_native_name(result->native);
    if (kind == NULL) {
        return json_null();
    }
    code_name(result, name);
    return json_pack("{s:s, s:I, s:s}", "kind", kind, "code", (json_int_t)result->code, "name",
                     result->native == KEK_NATIVE_PKCS11 ? name : "");
}

static json_t *measure_json(const struct suite_measure *measure)
{
    if (measure->count == 0) {
        return json_null();
    }
    uint64_t took_us = measure->took_us == 0 ? 1 : measure->took_us;
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I}", "count", (json_int_t)measure->count, "wrong",
                     (json_int_t)measure->wrong, "per_second",
                     (json_int_t)(measure->count * 1000000 / took_us), "median_us",
                     (json_int_t)measure->median_us, "p99_us", (json_int_t)measure->p99_us,
                     "most_us", (json_int_t)measure->most_us);
}

static json_t *case_json(const struct suite_case *this, const struct suite_result *result)
{
    return json_pack("{s:s, s:s, s:s, s:o, s:s, s:o, s:I, s:I, s:o, s:o}", "name", this->name,
                     "title", this->title, "outcome", suite_outcome_name(result->outcome), "says",
                     output_text(result->says), "cause",
                     result->cause == KEK_OK ? "" : kek_rc_name(result->cause), "native",
                     native_json(result), "again", (json_int_t)result->again, "took_ms",
                     (json_int_t)(result->took_us / 1000), "wraps", measure_json(&result->wraps),
                     "unwraps", measure_json(&result->unwraps));
}

json_t *suite_json_cases(void)
{
    json_t *cases = json_array();
    for (size_t i = 0; cases != NULL && i < suite_case_count; i++) {
        if (json_array_append_new(cases, json_pack("{s:s, s:s}", "name", suite_cases[i].name,
                                                   "title", suite_cases[i].title)) != 0) {
            json_decref(cases);
            return NULL;
        }
    }
    return cases == NULL ? NULL : json_pack("{s:o}", "cases", cases);
}

json_t *suite_json(const struct suite *suite)
{
    char began[KEK_CLOCK_TEXT], ended[KEK_CLOCK_TEXT];
    const struct kek_config_provider *provider = &suite->config->providers[suite->provider];
    json_t *cases = json_array();
    for (size_t i = 0; cases != NULL && i < suite_case_count; i++) {
        if (json_array_append_new(cases, case_json(&suite_cases[i], &suite->results[i])) != 0) {
            json_decref(cases);
            return NULL;
        }
    }
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:{s:o, s:o, s:o, s:o, s:o}, s:s, s:s, s:s, s:b, s:b, "
        "s:{s:I, s:I, s:I, s:I}, s:o}",
        "format", CONFORMANCE_FORMAT, "kekctl", PACKAGE_VERSION, "provider", provider->name, "type",
        provider->type, "token", "label", output_text(suite->token.label), "serial",
        output_text(suite->token.serial), "model", output_text(suite->token.model), "firmware",
        output_text(suite->token.firmware), "library", output_text(suite->token.library), "keyring",
        suite->rig.keyring, "began", kek_clock_text_seconds(suite->began_ms, began), "ended",
        kek_clock_text_seconds(suite->ended_ms, ended), "interrupted",
        suite_was_interrupted(suite) ? 1 : 0, "left", suite->left ? 1 : 0, "summary", "pass",
        (json_int_t)suite_count(suite, SUITE_PASS), "fail",
        (json_int_t)suite_count(suite, SUITE_FAIL), "not_supported",
        (json_int_t)suite_count(suite, SUITE_NOT_SUPPORTED), "skipped",
        (json_int_t)suite_count(suite, SUITE_SKIPPED), "cases", cases);
}
