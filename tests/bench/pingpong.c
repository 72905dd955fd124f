/*
 * The limit under every call: two processes that send each other a request and a reply of the given
 * sizes over a Unix stream socket, with blocking reads and writes and nothing in between.  Prints one
 * line of JSON with the round trip's p50, p99 and minimum, and the round trips in a second.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common.h"

#define SIZE_MAX_BYTES 65536u
#define ROUNDS_MAX 10000000u

static uint8_t buffer[SIZE_MAX_BYTES];

/* False at the end of the stream. */
static bool read_all(int fd, size_t len)
{
    size_t done = 0;
    while (done < len) {
        ssize_t n = read(fd, buffer + done, len - done);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return false;
        }
        done += (size_t)n;
    }
    return true;
}

static bool write_all(int fd, size_t len)
{
    return send(fd, buffer, len, MSG_NOSIGNAL) == (ssize_t)len;
}

_Noreturn static void echo(int fd, size_t request_len, size_t reply_len)
{
    while (read_all(fd, request_len) && write_all(fd, reply_len)) {
    }
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: pingpong ROUNDS REQUEST_BYTES REPLY_BYTES\n");
        return 2;
    }
    size_t rounds = bench_number("ROUNDS", argv[1], ROUNDS_MAX);
    size_t request_len = bench_number("REQUEST_BYTES", argv[2], SIZE_MAX_BYTES);
    size_t reply_len = bench_number("REPLY_BYTES", argv[3], SIZE_MAX_BYTES);
    uint32_t *ns = calloc(rounds, sizeof *ns);
    int ends[2];
    if (ns == NULL || socketpair(AF_UNIX, SOCK_STREAM, 0, ends) != 0) {
        bench_die("cannot begin: %s", strerror(errno));
    }
    pid_t child = fork();
    if (child < 0) {
        bench_die("fork: %s", strerror(errno));
    }
    if (child == 0) {
        close(ends[0]);
        echo(ends[1], request_len, reply_len);
    }
    close(ends[1]);
    uint64_t began = bench_now_ns();
    for (size_t i = 0; i < rounds; i++) {
        uint64_t start = bench_now_ns();
        if (!write_all(ends[0], request_len) || !read_all(ends[0], reply_len)) {
            bench_die("the other process is gone");
        }
        ns[i] = bench_since(start);
    }
    double seconds = (double)(bench_now_ns() - began) / 1e9;
    close(ends[0]);
    waitpid(child, NULL, 0);
    printf("{\"per_second\": %.1f, ", (double)rounds / seconds);
    bench_print_latency(ns, rounds);
    printf("}\n");
    free(ns);
    return 0;
}
