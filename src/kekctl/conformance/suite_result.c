#include "suite_result.h"

#include <stdio.h>
#include <string.h>

const char *suite_outcome_name(enum suite_outcome outcome)
{
    static const char *const names[] = {[SUITE_PASS] = "PASS",
                                        [SUITE_FAIL] = "FAIL",
                                        [SUITE_NOT_SUPPORTED] = "NOT SUPPORTED",
                                        [SUITE_SKIPPED] = "SKIPPED"};
    return names[outcome];
}

static void KEK_PRINTF(3, 0)
    end(struct suite_result *result, enum suite_outcome outcome, const char *format, va_list args)
{
    result->outcome = outcome;
    result->cause = KEK_OK;
    result->native = KEK_NATIVE_NONE;
    result->code = 0;
    vsnprintf(result->says, sizeof result->says, format, args);
}

#define END(outcome)                      \
    va_list args;                         \
    va_start(args, format);               \
    end(result, (outcome), format, args); \
    va_end(args)

void suite_pass(struct suite_result *result, const char *format, ...)
{
    END(SUITE_PASS);
}

void suite_fail(struct suite_result *result, const char *format, ...)
{
    END(SUITE_FAIL);
}

void suite_lacks(struct suite_result *result, const char *format, ...)
{
    END(SUITE_NOT_SUPPORTED);
}

void suite_skip(struct suite_result *result, const char *format, ...)
{
    END(SUITE_SKIPPED);
}

void suite_blame(struct suite_result *result, const struct kek_why *why)
{
    result->cause = why->rc;
    result->native = why->native;
    result->code = why->code;
}

void suite_also(struct suite_result *result, const char *format, ...)
{
    size_t at = strlen(result->says);
    va_list args;
    if (at > 0) {
        snprintf(result->says + at, sizeof result->says - at, "; ");
        at = strlen(result->says);
    }
    va_start(args, format);
    vsnprintf(result->says + at, sizeof result->says - at, format, args);
    va_end(args);
}

void suite_refused(struct suite_result *result, const char *what, const struct kek_why *why)
{
    *result =
        (struct suite_result){.outcome = why->rc == KEK_CANCELLED ? SUITE_SKIPPED : SUITE_FAIL,
                              .cause = why->rc,
                              .native = why->native,
                              .code = why->code};
    snprintf(result->says, sizeof result->says, "%s: %s", what, why->text);
}

void suite_declined(struct suite_result *result, const char *what, const struct kek_why *why)
{
    suite_refused(result, what, why);
    if (why->rc == KEK_UNIMPLEMENTED) {
        result->outcome = SUITE_NOT_SUPPORTED;
    }
}
