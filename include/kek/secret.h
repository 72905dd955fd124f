/*
 * Key bytes and PINs.
 *
 * A kek_secret lives in a locked arena with guard pages (OpenSSL's secure heap) that core dumps
 * leave out; it is wiped when freed, compared in constant time, and never formatted.  The process
 * calls kek_secret_setup() once, before any thread starts; after that any thread may make and free
 * secrets.  A full arena makes kek_secret_new() return NULL, never plain memory.
 */
#ifndef KEK_SECRET_H
#define KEK_SECRET_H

#include "kek/bytes.h"

struct kek_secret;

/* Makes the arena: `arena` bytes, a power of two.  KEK_OK with *locked = false means that the memory
 * limit (RLIMIT_MEMLOCK) did not allow locking: the caller says so loudly.  Calling it again is
 * harmless and changes nothing. */
enum kek_rc kek_secret_setup(size_t arena, bool *locked, struct kek_why *why) KEK_MUST_CHECK;

/* Marks the process not dumpable, sets RLIMIT_CORE to 0 and, where the memory limit allows, locks
 * every page the process touches (mlockall on fault), so that buffers on a plaintext's way are not
 * swapped either.  Sanitizer builds keep RLIMIT_CORE. */
void kek_secret_harden_process(void);

struct kek_secret *kek_secret_new(size_t len); /* zeroed; len >= 1; NULL: arena full */
struct kek_secret *kek_secret_dup(struct kek_bytes bytes);
struct kek_secret *kek_secret_random(size_t len); /* NULL: arena full or no randomness */
void kek_secret_free(struct kek_secret *secret);

uint8_t *kek_secret_data(struct kek_secret *secret);
struct kek_bytes kek_secret_bytes(const struct kek_secret *secret);
bool kek_secret_equal(const struct kek_secret *a, const struct kek_secret *b);

KEK_DEFINE_AUTO(kek_secret);

#endif
