/*
 * A provider's RFC 7512 URI: which module, which token, where its PIN is.
 *
 * It names a token, so attributes of objects are refused, as are pin-value (it would stand in
 * configurations and logs) and anything that p11-kit does not know.
 */
#ifndef KEK_PKCS11_URI_H
#define KEK_PKCS11_URI_H

#include <stdbool.h>

#include "kek/rc.h"

#include <p11-kit/p11-kit.h>
#include <p11-kit/uri.h>

struct kek_p11_uri;

struct kek_p11_uri *kek_p11_uri_new(const char *text, struct kek_why *why);
void kek_p11_uri_free(struct kek_p11_uri *uri);
KEK_DEFINE_AUTO(kek_p11_uri);

/* Borrowed. The path is NULL if the URI has a module-name instead; the source NULL if it has none. */
const char *kek_p11_uri_module_path(const struct kek_p11_uri *uri);
const char *kek_p11_uri_module_name(const struct kek_p11_uri *uri);
/* An officer's worker uses admin-pin-source where there is one. NULL: there is none for this role. */
const char *kek_p11_uri_pin_source(const struct kek_p11_uri *uri, bool officer);

/* Whether it names a slot by its number. */
bool kek_p11_uri_slot(const struct kek_p11_uri *uri, CK_SLOT_ID *slot);
bool kek_p11_uri_has_serial(const struct kek_p11_uri *uri);

/* Of infos whose texts are padded by blanks, which is what p11-kit compares with. */
bool kek_p11_uri_matches_module(const struct kek_p11_uri *uri, const CK_INFO *info);
bool kek_p11_uri_matches_token(const struct kek_p11_uri *uri, CK_SLOT_ID slot,
                               const CK_SLOT_INFO *slot_info, const CK_TOKEN_INFO *token_info);

#endif
