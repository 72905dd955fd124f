/*
 * IVs: random bytes, drawn many at a time, each handed out once and wiped.
 *
 * One call of the generator costs about as much as sealing a data key; batches, growing with use, spread
 * that.  A child of fork() draws its own: what was drawn before belongs to the parent.  (A raw clone() or
 * _Fork() passes pthread_atfork() by: do not seal in such a child.)  One thread per pool.
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
