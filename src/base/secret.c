#include "kek/secret.h"

#include <errno.h>
#include <string.h>

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>

#include <openssl/crypto.h>
#include <openssl/rand.h>

struct kek_secret {
    size_t len;
    uint8_t data[];
};

enum kek_rc kek_secret_setup(size_t arena, bool *locked, struct kek_why *why)
{
    static bool arena_locked;
    if (CRYPTO_secure_malloc_initialized()) {
        *locked = arena_locked;
        return KEK_OK;
    }
    /* Without its default context, which it makes once, OpenSSL's generators crash. */
    if (OSSL_LIB_CTX_get0_global_default() == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "OpenSSL does not start");
    }
    /* 2 means that the arena is there, and that a guard page or mlock was refused. */
    int made = CRYPTO_secure_malloc_init(arena, 32);
    if (made == 0) {
        return kek_fail(why, KEK_NO_MEMORY, "cannot make a locked memory arena of %zu bytes",
                        arena);
    }
    arena_locked = made == 1;
    *locked = arena_locked;
    /* OpenSSL sets its generators up once, and what fails then it never tries again. */
    uint8_t first[16];
    if (RAND_priv_bytes(first, sizeof first) != 1 || RAND_bytes(first, sizeof first) != 1) {
        return kek_fail(why, KEK_INTERNAL, "OpenSSL gives no random bytes");
    }
    return KEK_OK;
}

static bool may_lock_everything(void)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_MEMLOCK, &limit) == 0 && limit.rlim_cur == RLIM_INFINITY;
}

void kek_secret_harden_process(void)
{
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
#ifndef KEK_SANITIZERS
    (void)setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
#endif
    /* With a finite limit, MCL_FUTURE would make a later allocation fail: the arena alone is locked. */
    if (may_lock_everything()) {
        (void)mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT);
    }
}

struct kek_secret *kek_secret_new(size_t len)
{
    size_t size;
    if (len == 0 || __builtin_add_overflow(len, sizeof(struct kek_secret), &size) ||
        !CRYPTO_secure_malloc_initialized()) {
        return NULL;
    }
    struct kek_secret *secret = OPENSSL_secure_zalloc(size);
    if (secret == NULL) {
        return NULL;
    }
    secret->len = len;
    return secret;
}

struct kek_secret *kek_secret_dup(struct kek_bytes bytes)
{
    struct kek_secret *secret = kek_secret_new(bytes.len);
    if (secret == NULL) {
        return NULL;
    }
    memcpy(secret->data, bytes.data, bytes.len);
    return secret;
}

struct kek_secret *kek_secret_random(size_t len)
{
    KEK_AUTO(kek_secret) secret = kek_secret_new(len);
    if (secret == NULL || RAND_priv_bytes(secret->data, (int)len) != 1) {
        return NULL;
    }
    return KEK_STEAL(secret);
}

void kek_secret_free(struct kek_secret *secret)
{
    if (secret != NULL) {
        OPENSSL_secure_clear_free(secret, sizeof *secret + secret->len);
    }
}

uint8_t *kek_secret_data(struct kek_secret *secret)
{
    return secret->data;
}

struct kek_bytes kek_secret_bytes(const struct kek_secret *secret)
{
    return kek_bytes(secret->data, secret->len);
}

bool kek_secret_equal(const struct kek_secret *a, const struct kek_secret *b)
{
    return a->len == b->len && CRYPTO_memcmp(a->data, b->data, a->len) == 0;
}
