/*
 * One fuzz target: LLVMFuzzerTestOneInput() takes any bytes, crashes on a defect, leaves nothing
 * behind.  Built with --enable-fuzzing, libFuzzer calls it; otherwise replay.c does, with the
 * seeds of tests/fuzz/seeds/<target>/ and what becomes of them when they are cut or changed.
 */
#ifndef KEK_FUZZ_H
#define KEK_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What must hold for every input. Stays in builds without assert(). */
#define FUZZ_CHECK(condition)                                                         \
    do {                                                                              \
        if (!(condition)) {                                                           \
            fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
            abort();                                                                  \
        }                                                                             \
    } while (0)

#endif
