/*
 * A whole decimal number as the service manager writes it into the environment: digits only, no sign,
 * no blank, nothing after it.  Pure; any thread.
 */
#ifndef KEK_OPS_DECIMAL_H
#define KEK_OPS_DECIMAL_H

#include <stdbool.h>
#include <stdint.h>

/* False: it is not one, or larger than max. */
static inline bool decimal_parse(const char *text, uint64_t max, uint64_t *value)
{
    uint64_t sum = 0;
    if (*text == '\0') {
        return false;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9' || __builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*text - '0'), &sum)) {
            return false;
        }
    }
    if (sum > max) {
        return false;
    }
    *value = sum;
    return true;
}

#endif
