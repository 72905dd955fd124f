/*
 * IVs: random bytes, drawn many at a time, each handed out once and wiped.
 *
 * One call of the generator costs about as much as sealing a data key; batches, growing with use, spread
 * that.  A child of fork() has what its parent drew: it may exec, as kekd's do, and must not seal.  One
 * thread per pool.
 */
#ifndef ENVELOPE_IV_H
#define ENVELOPE_IV_H

#include "format.h"

struct kek_iv_pool;

struct kek_iv_pool *kek_iv_pool_new(void); /* NULL: no memory */
void kek_iv_pool_free(struct kek_iv_pool *pool);

/* False if the generator failed: then there is no IV, and nothing may be sealed. */
bool kek_iv_take(struct kek_iv_pool *pool, uint8_t iv[static ENVELOPE_IV_LEN]) KEK_MUST_CHECK;

#endif
