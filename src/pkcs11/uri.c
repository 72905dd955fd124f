#include "uri.h"

#include <string.h>

struct kek_p11_uri {
    P11KitUri *parsed;
};

static enum kek_rc check(P11KitUri *parsed, struct kek_why *why)
{
    if (p11_kit_uri_get_pin_value(parsed) != NULL) {
        return kek_fail(why, KEK_INVALID,
                        "uri: pin-value is refused, it shows the PIN to everyone who sees the "
                        "configuration; use pin-source=file:/path");
    }
    CK_ULONG count = 0;
    (void)p11_kit_uri_get_attributes(parsed, &count);
    if (count > 0) {
        return kek_fail(why, KEK_INVALID,
                        "uri: it must name a token, not an object (object, id and type are not for "
                        "here)");
    }
    if (p11_kit_uri_any_unrecognized(parsed)) {
        return kek_fail(why, KEK_INVALID, "uri: it has an attribute that is not of RFC 7512");
    }
    const char *path = p11_kit_uri_get_module_path(parsed);
    const char *name = p11_kit_uri_get_module_name(parsed);
    if (path == NULL && name == NULL) {
        return kek_fail(why, KEK_INVALID, "uri: module-path is missing");
    }
    if (path != NULL && path[0] != '/') {
        return kek_fail(why, KEK_INVALID, "uri: module-path '%s' is not absolute", path);
    }
    if (name != NULL && (name[0] == '\0' || strchr(name, '/') != NULL)) {
        return kek_fail(why, KEK_INVALID, "uri: module-name '%s' is not a plain name", name);
    }
    return KEK_OK;
}

struct kek_p11_uri *kek_p11_uri_new(const char *text, struct kek_why *why)
{
    KEK_AUTO(kek_p11_uri) uri = calloc(1, sizeof *uri);
    if (uri == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a URI");
        return NULL;
    }
    uri->parsed = p11_kit_uri_new();
    int rc = p11_kit_uri_parse(text, P11_KIT_URI_FOR_ANY, uri->parsed);
    if (rc != P11_KIT_URI_OK) {
        kek_fail(why, KEK_INVALID, "uri: not an RFC 7512 URI: %s", p11_kit_uri_message(rc));
        return NULL;
    }
    if (check(uri->parsed, why) != KEK_OK) {
        return NULL;
    }
    return KEK_STEAL(uri);
}

void kek_p11_uri_free(struct kek_p11_uri *uri)
{
    if (uri != NULL) {
        p11_kit_uri_free(uri->parsed);
        free(uri);
    }
}

const char *kek_p11_uri_module_path(const struct kek_p11_uri *uri)
{
    return p11_kit_uri_get_module_path(uri->parsed);
}

const char *kek_p11_uri_module_name(const struct kek_p11_uri *uri)
{
    return p11_kit_uri_get_module_name(uri->parsed);
}

const char *kek_p11_uri_pin_source(const struct kek_p11_uri *uri, bool officer)
{
    const char *admin = p11_kit_uri_get_vendor_query(uri->parsed, "admin-pin-source");
    return officer && admin != NULL ? admin : p11_kit_uri_get_pin_source(uri->parsed);
}

bool kek_p11_uri_slot(const struct kek_p11_uri *uri, CK_SLOT_ID *slot)
{
    CK_SLOT_ID named = p11_kit_uri_get_slot_id(uri->parsed);
    if (named == (CK_SLOT_ID)-1) {
        return false;
    }
    *slot = named;
    return true;
}

bool kek_p11_uri_has_serial(const struct kek_p11_uri *uri)
{
    return p11_kit_uri_get_token_info(uri->parsed)->serialNumber[0] != '\0';
}

bool kek_p11_uri_matches_module(const struct kek_p11_uri *uri, const CK_INFO *info)
{
    return p11_kit_uri_match_module_info(uri->parsed, info) != 0;
}

bool kek_p11_uri_matches_token(const struct kek_p11_uri *uri, CK_SLOT_ID slot,
                               const CK_SLOT_INFO *slot_info, const CK_TOKEN_INFO *token_info)
{
    CK_SLOT_ID named;
    return (!kek_p11_uri_slot(uri, &named) || named == slot) &&
           p11_kit_uri_match_slot_info(uri->parsed, slot_info) != 0 &&
           p11_kit_uri_match_token_info(uri->parsed, token_info) != 0;
}
