/*
 * The certificate of the `status` listener, read from its files as a start of kekd reads it: for who looks before that.
 *
 * Blocks; one thread.
 */
#ifndef KEK_CERTIFICATE_H
#define KEK_CERTIFICATE_H

#include "kek/config.h"

struct kek_certificate {
    int64_t expires;    /* it, or the first of those that were sent with it; seconds since 1970 */
    bool is_valid;      /* at this moment, and what leads from it to the CA; else: */
    struct kek_why why; /* what is over, or not yet begun */
};

/* Of a configuration that has `status`. KEK_OK: kekd starts with it, valid or not. Else why says what kekd says then. */
enum kek_rc kek_certificate_check(const struct kek_config *config, struct kek_certificate *found,
                                  struct kek_why *why) KEK_MUST_CHECK;

#endif
