/*
 * Linked into kekd, kekd-pkcs11 and kekctl for tests: the n-th allocation fails, once.
 *
 * KEK_OOM=<program>:<n>      of the project's own code: the linker sends its calls of malloc and so on
 *                            through here, and its calls of OpenSSL's secure heap
 * KEK_OOM=<program>:<n>:all  of the libraries' too, as far as they have a hook for it: OpenSSL, libuv,
 *                            jansson
 * KEK_OOM_MARK=<file>        tells where it was; made when that allocation has failed, once: a process
 *                            that finds it there has no failure
 *
 * Under the sanitizers the worker that is meant is searched for leaks, too, at its end, which is _exit().
 * That needs ASAN_OPTIONS=fast_unwind_on_malloc=0: libraries have no frame pointers, and without them
 * nobody knows whose a leak is.
 */
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/crypto.h>

#ifdef KEK_SANITIZERS
#include <sanitizer/lsan_interface.h>
#endif

#define FRAMES 16

static atomic_ulong allocations;
static unsigned long failing;
static bool named; /* it is this program that has the failure */
static bool libraries;
static const char *mark;

static bool fails(void)
{
    if (failing == 0 || atomic_fetch_add(&allocations, 1) + 1 != failing) {
        return false;
    }
    int fd = mark == NULL ? -1 : open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd >= 0) {
        void *frames[FRAMES];
        backtrace_symbols_fd(frames, backtrace(frames, FRAMES), fd);
        (void)close(fd);
    }
    errno = ENOMEM;
    return true;
}

#define WRAP(type, name, parameters, arguments)          \
    type __real_##name parameters;                       \
    type __wrap_##name parameters;                       \
    type __wrap_##name parameters                        \
    {                                                    \
        return fails() ? NULL : __real_##name arguments; \
    }

WRAP(void *, malloc, (size_t size), (size))
WRAP(void *, calloc, (size_t count, size_t size), (count, size))
WRAP(void *, realloc, (void *at, size_t size), (at, size))
WRAP(char *, strdup, (const char *text), (text))
WRAP(char *, strndup, (const char *text, size_t len), (text, len))
WRAP(void *, CRYPTO_secure_malloc, (size_t size, const char *file, int line), (size, file, line))
WRAP(void *, CRYPTO_secure_zalloc, (size_t size, const char *file, int line), (size, file, line))

int __wrap_asprintf(char **out, const char *format, ...) __attribute__((format(printf, 2, 3)));
int __wrap___asprintf_chk(char **out, int flag, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

int __wrap_asprintf(char **out, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int len = fails() ? -1 : vasprintf(out, format, args);
    va_end(args);
    return len;
}

int __wrap___asprintf_chk(char **out, int flag, const char *format, ...)
{
    (void)flag;
    va_list args;
    va_start(args, format);
    int len = fails() ? -1 : vasprintf(out, format, args);
    va_end(args);
    return len;
}

/* ---- the end of a worker ---- */

_Noreturn void __real__exit(int status);
_Noreturn void __wrap__exit(int status);

#ifdef KEK_SANITIZERS
const char *__lsan_default_options(void)
{
    return "print_suppressions=0";
}

/* What a library leaks is not ours: SoftHSM at every unwrap, OpenSSL out of memory while it sets itself up, which goes on in
 * the first fetch of an algorithm.  And its random generators hang from its secure heap, where nobody looks for pointers. */
#define LEAKS                                                                                     \
    "leak:libsofthsm2.so\nleak:OSSL_LIB_CTX_get0_global_default\nleak:OBJ_NAME_do_all\nleak:EVP_" \
    "RAND_instantiate\n"

const char *__lsan_default_suppressions(void)
{
    const char *wish = getenv("KEK_OOM"); /* this is asked before begin() */
    return wish != NULL && strstr(wish, ":all") != NULL ? LEAKS "leak:EVP_*_fetch\n" : LEAKS;
}
#endif

_Noreturn void __wrap__exit(int status)
{
#ifdef KEK_SANITIZERS
    if (named) {
        (void)__lsan_do_recoverable_leak_check();
    }
#endif
    __real__exit(status);
}

/* ---- the libraries' ---- */

static void *lib_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

static void *lib_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

static void *lib_realloc(void *at, size_t size)
{
    return fails() ? NULL : __real_realloc(at, size);
}

static void *openssl_malloc(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return size == 0 ? NULL : lib_malloc(size);
}

static void *openssl_realloc(void *at, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return lib_realloc(at, size);
}

static void openssl_free(void *at, const char *file, int line)
{
    (void)file;
    (void)line;
    free(at);
}

/* Not every program has these. */
__attribute__((weak)) int uv_replace_allocator(void *(*)(size_t), void *(*)(void *, size_t),
                                               void *(*)(size_t, size_t), void (*)(void *));
__attribute__((weak)) void json_set_alloc_funcs(void *(*)(size_t), void (*)(void *));

__attribute__((constructor)) static void begin(void)
{
    const char *wish = getenv("KEK_OOM");
    size_t len = wish == NULL ? 0 : strcspn(wish, ":");
    if (len == 0 || wish[len] == '\0' || strlen(program_invocation_short_name) != len ||
        strncmp(wish, program_invocation_short_name, len) != 0) {
        return;
    }
    char *end;
    named = true;
    failing = strtoul(wish + len + 1, &end, 10);
    libraries = strcmp(end, ":all") == 0;
    mark = getenv("KEK_OOM_MARK");
    if (mark != NULL && access(mark, F_OK) == 0) {
        failing = 0; /* an earlier process had its failure: this one takes its place */
    }
    if (!libraries) {
        return;
    }
    if (CRYPTO_set_mem_functions(openssl_malloc, openssl_realloc, openssl_free) != 1) {
        abort();
    }
    if (uv_replace_allocator != NULL) {
        uv_replace_allocator(lib_malloc, lib_realloc, lib_calloc, free);
    }
    if (json_set_alloc_funcs != NULL) {
        json_set_alloc_funcs(lib_malloc, free);
    }
}
