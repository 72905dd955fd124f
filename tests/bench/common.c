#include "common.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

void bench_die(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

uint64_t bench_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

uint32_t bench_number(const char *name, const char *text, uint32_t max)
{
    char *end = NULL;
    errno = 0;
    unsigned long value = strtoul(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || value < 1 || value > max) {
        bench_die("%s: expected a whole number from 1 to %u, found \"%s\"", name, max, text);
    }
    return (uint32_t)value;
}

uint32_t bench_since(uint64_t start_ns)
{
    uint64_t spent = bench_now_ns() - start_ns;
    return spent > UINT32_MAX ? UINT32_MAX : (uint32_t)spent;
}

static int compare(const void *a, const void *b)
{
    uint32_t left = *(const uint32_t *)a;
    uint32_t right = *(const uint32_t *)b;
    return (left > right) - (left < right);
}

void bench_print_latency(uint32_t *latency_ns, size_t count)
{
    qsort(latency_ns, count, sizeof *latency_ns, compare);
    printf("\"p50_ns\": %u, \"p99_ns\": %u, \"min_ns\": %u", latency_ns[count / 2],
           latency_ns[count * 99 / 100], latency_ns[0]);
}
