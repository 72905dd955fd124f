/*
 * The main() of a fuzz target that is not built for libFuzzer: replays every seed as it is, cut off
 * at each length, and with each byte changed.  Seeds are the files and folders given, or else
 * $abs_top_srcdir/tests/fuzz/seeds/<target without "fuzz_">.  Exit 0: nothing crashed; 1: no seeds,
 * or one could not be read; a crash names the seed and the change on stderr.
 *
 * A seed has at most SEED_MAX bytes; past VARIANTS_MAX positions only every nth is cut and changed,
 * so that the work stays bounded.  Each input is a heap block of exactly its size, so that a read
 * past its end is a sanitizer's error.
 */
#include "fuzz.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#ifdef KEK_SANITIZERS
#include <sanitizer/common_interface_defs.h>
#endif

#define SEED_MAX (64u * 1024)
#define VARIANTS_MAX 2048u
#define PATH_LEN 4096

static char running[PATH_LEN + 64]; /* the input under way, for whoever reads a crash */
static size_t seeds;

static void say_running(void)
{
    (void)!write(STDERR_FILENO, running, strlen(running));
}

static void on_crash(int sig)
{
    say_running();
    signal(sig, SIG_DFL);
    raise(sig);
}

static void watch_for_crashes(void)
{
    signal(SIGABRT, on_crash);
#ifdef KEK_SANITIZERS
    __sanitizer_set_death_callback(say_running);
#else
    signal(SIGSEGV, on_crash);
    signal(SIGBUS, on_crash);
    signal(SIGFPE, on_crash);
    signal(SIGILL, on_crash);
#endif
}

static void run(const uint8_t *data, size_t size, const char *path, const char *change, size_t at)
{
    snprintf(running, sizeof running, "input: %s, %s %zu\n", path, change, at);
    uint8_t *exact = malloc(size == 0 ? 1 : size);
    if (exact == NULL) {
        fprintf(stderr, "no memory for %zu bytes\n", size);
        exit(1);
    }
    memcpy(exact, data, size);
    /* An empty input's pointer must not be read at all, so it may as well point past the block. */
    LLVMFuzzerTestOneInput(size == 0 ? exact + 1 : exact, size);
    free(exact);
}

static void run_variants(uint8_t *data, size_t size, const char *path)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    size_t stride = size / VARIANTS_MAX + 1;
    run(data, size, path, "whole", size);
    for (size_t at = 0; at < size; at += stride) {
        run(data, at, path, "cut at", at);
    }
    for (size_t at = 0; at < size; at += stride) {
        for (size_t i = 0; i < sizeof changes; i++) {
            data[at] ^= changes[i];
            run(data, size, path, "changed at", at);
            data[at] ^= changes[i];
        }
    }
}

static int replay_file(const char *path)
{
    static uint8_t data[SEED_MAX + 1];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    size_t size = fread(data, 1, sizeof data, file);
    int failed = ferror(file);
    fclose(file);
    if (failed != 0 || size > SEED_MAX) {
        fprintf(stderr, "%s: %s\n", path, failed != 0 ? "cannot be read" : "too large for a seed");
        return 1;
    }
    run_variants(data, size, path);
    seeds++;
    return 0;
}

static int replay(const char *path)
{
    struct stat st;
    if (stat(path, &st) != 0) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    if (!S_ISDIR(st.st_mode)) {
        return replay_file(path);
    }
    DIR *folder = opendir(path);
    if (folder == NULL) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    int failed = 0;
    for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) {
        char inner[PATH_LEN];
        if (entry->d_name[0] == '.') {
            continue;
        }
        if (snprintf(inner, sizeof inner, "%s/%s", path, entry->d_name) >= (int)sizeof inner) {
            fprintf(stderr, "%s/%s: path too long\n", path, entry->d_name);
            failed = 1;
            continue;
        }
        failed |= replay_file(inner);
    }
    closedir(folder);
    return failed;
}

/* The seeds that belong to a target, by the name it runs under. */
static int replay_own(const char *program)
{
    const char *srcdir = getenv("abs_top_srcdir");
    const char *slash = strrchr(program, '/');
    const char *name = slash == NULL ? program : slash + 1;
    char path[PATH_LEN];
    if (srcdir == NULL || strncmp(name, "fuzz_", 5) != 0) {
        fprintf(stderr, "usage: %s SEED-OR-FOLDER...   (or set abs_top_srcdir)\n", program);
        return 1;
    }
    if (snprintf(path, sizeof path, "%s/tests/fuzz/seeds/%s", srcdir, name + 5) >=
        (int)sizeof path) {
        fprintf(stderr, "%s: path too long\n", srcdir);
        return 1;
    }
    return replay(path);
}

int main(int argc, char **argv)
{
    watch_for_crashes();
    int failed = 0;
    if (argc < 2) {
        failed = replay_own(argv[0]);
    }
    for (int i = 1; i < argc; i++) {
        failed |= replay(argv[i]);
    }
    if (seeds == 0) {
        fprintf(stderr, "%s: no seeds\n", argv[0]);
        failed = 1;
    }
    return failed;
}
