#include "kek/certificate.h"

#include "tls.h"

enum kek_rc kek_certificate_check(const struct kek_config *config, struct kek_certificate *found,
                                  struct kek_why *why)
{
    const struct tls_settings settings = {.cert = config->status.cert,
                                          .key = config->status.key,
                                          .ca = config->status.ca,
                                          .allow = config->status.allow};
    struct kek_why own; /* where nobody wants to know, the code is needed all the same */
    why = why == NULL ? &own : why;
    struct tls *tls = tls_new(&settings, why);
    if (tls == NULL) {
        return why->rc;
    }
    *found = (struct kek_certificate){.expires = tls_expires(tls)};
    found->is_valid = tls_check_now(tls, &found->why) == KEK_OK;
    tls_free(tls);
    return KEK_OK;
}
