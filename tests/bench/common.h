/* What the benchmark's programs share: the clock, percentiles, numbers on a command line, and the
 * one way to fail. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stddef.h>
#include <stdint.h>

/* Says what happened on standard error and ends the program with 1. */
_Noreturn void bench_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

uint64_t bench_now_ns(void); /* CLOCK_MONOTONIC */

/* A whole number from 1 to max, or the program ends; `name` says which in the message. */
uint32_t bench_number(const char *name, const char *text, uint32_t max);

/* The time from start_ns to now, as a latency is kept. */
uint32_t bench_since(uint64_t start_ns);

/* Sorts the latencies and prints `"p50_ns": A, "p99_ns": B, "min_ns": C`. */
void bench_print_latency(uint32_t *latency_ns, size_t count);

#endif
