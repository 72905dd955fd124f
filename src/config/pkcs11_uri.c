/*
 * PKCS#11 URIs, RFC 7512, as far as a provider's uri needs them.
 *
 * No message repeats an attribute's value: one of them may be a PIN in the wrong place.
 */
#include <stdio.h>
#include <string.h>

#include "kek/config.h"
#include "kek/text.h"
#include "kek/vendor.h"

#define ATTRIBUTES_MAX 32
#define VALUE_MAX 1024

struct attribute {
    const char *name;
    size_t name_len;
    char value[VALUE_MAX]; /* decoded */
};

typedef enum kek_rc check_fn(const struct attribute *attribute, struct kek_why *why);

/* One known attribute. */
struct known {
    const char *name;
    bool query;
    size_t max; /* bytes of the value: what a token's description has room for (CK_TOKEN_INFO) */
    check_fn *check;
};

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

/* pk11-pchar and pk11-qchar of RFC 7512 section 2.3, less "%". */
static bool may_stand(char c, bool query)
{
    return c != '\0' && (is_alnum(c) || strchr("-._~:[]@!$'()*+,=", c) != NULL ||
                         strchr(query ? "/?|" : "&", c) != NULL);
}

static enum kek_rc no_object(const struct attribute *attribute, struct kek_why *why)
{
    return kek_fail(why, KEK_INVALID,
                    "expected a URI of a token, found %.*s, which names an object (keys are found "
                    "by the keyring)",
                    (int)attribute->name_len, attribute->name);
}

static enum kek_rc no_pin(const struct attribute *attribute, struct kek_why *why)
{
    (void)attribute;
    return kek_fail(why, KEK_INVALID,
                    "expected pin-source=file:/path, found pin-value (a PIN must not stand in a "
                    "configuration)");
}

static enum kek_rc number(const struct attribute *attribute, struct kek_why *why)
{
    size_t len = strlen(attribute->value);
    if (len == 0 || len > 18 || attribute->value[strspn(attribute->value, "0123456789")] != '\0') {
        return kek_fail(why, KEK_INVALID, "expected a decimal number as %.*s",
                        (int)attribute->name_len, attribute->name);
    }
    return KEK_OK;
}

static enum kek_rc filled(const struct attribute *attribute, struct kek_why *why)
{
    if (attribute->value[0] == '\0') {
        return kek_fail(why, KEK_INVALID, "expected a value for %.*s, found none",
                        (int)attribute->name_len, attribute->name);
    }
    return KEK_OK;
}

static enum kek_rc absolute(const struct attribute *attribute, struct kek_why *why)
{
    if (attribute->value[0] != '/') {
        return kek_fail(why, KEK_INVALID, "expected an absolute path as %.*s",
                        (int)attribute->name_len, attribute->name);
    }
    return KEK_OK;
}

static enum kek_rc bare_name(const struct attribute *attribute, struct kek_why *why)
{
    if (strchr(attribute->value, '/') != NULL) {
        return kek_fail(why, KEK_INVALID, "expected a name without a path as %.*s",
                        (int)attribute->name_len, attribute->name);
    }
    return filled(attribute, why);
}

/* file:/path or file:///path, but no host; or the name of a credential. */
static bool is_pin_source(const char *value)
{
    if (strncmp(value, "file:", 5) == 0) {
        const char *path = value + (strncmp(value, "file:///", 8) == 0 ? 7 : 5);
        return path[0] == '/' && path[1] != '/' && path[strlen(path) - 1] != '/';
    }
    if (strncmp(value, "credential:", 11) != 0) {
        return false;
    }
    const char *name = value + 11;
    return name[0] != '\0' && name[0] != '.' && strlen(name) <= 255 && strchr(name, '/') == NULL;
}

static enum kek_rc pin_source(const struct attribute *attribute, struct kek_why *why)
{
    if (!is_pin_source(attribute->value)) {
        return kek_fail(why, KEK_INVALID, "expected file:/absolute/path or credential:NAME as %.*s",
                        (int)attribute->name_len, attribute->name);
    }
    return KEK_OK;
}

enum { TOKEN, SERIAL, SLOT_ID, MODULE_PATH, MODULE_NAME };

static const struct known known[] = {
    [TOKEN] = {"token", false, 32, filled},
    [SERIAL] = {"serial", false, 16, filled},
    [SLOT_ID] = {"slot-id", false, 18, number},
    [MODULE_PATH] = {"module-path", true, VALUE_MAX - 1, absolute},
    [MODULE_NAME] = {"module-name", true, 255, bare_name},
    {"pin-source", true, VALUE_MAX - 1, pin_source},
    {"pin-value", true, VALUE_MAX - 1, no_pin},
    {"admin-pin-source", true, VALUE_MAX - 1, pin_source}, /* ours: for the officers' worker */
    {"manufacturer", false, 32, filled},
    {"model", false, 16, filled},
    {"library-manufacturer", false, 32, filled},
    {"library-description", false, 32, filled},
    {"library-version", false, 7, filled},
    {"slot-description", false, 64, filled},
    {"slot-manufacturer", false, 32, filled},
    {"object", false, VALUE_MAX - 1, no_object},
    {"id", false, VALUE_MAX - 1, no_object},
    {"type", false, VALUE_MAX - 1, no_object},
};
#define KNOWN_COUNT (sizeof known / sizeof known[0])

static bool is_named(const struct attribute *attribute, const char *name)
{
    return strlen(name) == attribute->name_len &&
           memcmp(attribute->name, name, attribute->name_len) == 0;
}

/* A known name that stands at `at` with its "="; KNOWN_COUNT: none does. */
static size_t known_at(const char *at, const char *end)
{
    size_t i = 0, len = 0;
    for (; i < KNOWN_COUNT; i++) {
        len = strlen(known[i].name);
        if ((size_t)(end - at) > len && at[len] == '=' && memcmp(at, known[i].name, len) == 0) {
            break;
        }
    }
    return i;
}

/* The known name that is probably meant; KNOWN_COUNT: none. */
static size_t find_meant(const struct attribute *attribute)
{
    char name[40];
    size_t best = SIZE_MAX, found = KNOWN_COUNT;
    snprintf(name, sizeof name, "%.*s", (int)attribute->name_len, attribute->name);
    for (size_t i = 0; attribute->name_len < sizeof name && i < KNOWN_COUNT; i++) {
        size_t slip = kek_text_slip(name, known[i].name);
        if (slip < best) {
            best = slip;
            found = i;
        }
    }
    return found;
}

static size_t find_known(const struct attribute *attribute)
{
    size_t i = 0;
    while (i < KNOWN_COUNT && !is_named(attribute, known[i].name)) {
        i++;
    }
    return i;
}

/* An unknown attribute before the question mark would narrow the choice of a token in a way that nobody
 * follows; after it, vendors may have their own, unless it looks like one that is misspelt. */
static enum kek_rc check_unknown(const struct attribute *attribute, bool query, size_t at,
                                 struct kek_why *why)
{
    size_t meant = find_meant(attribute);
    if (meant < KNOWN_COUNT) {
        return kek_fail(why, KEK_INVALID,
                        "expected a known attribute at character %zu, did you mean \"%s\"?", at,
                        known[meant].name);
    }
    if (!query) {
        return kek_fail(why, KEK_INVALID,
                        "expected only attributes of RFC 7512 before the question mark, found "
                        "another at character %zu",
                        at);
    }
    return KEK_OK;
}

/* Before the value is looked at: it may be a PIN. */
static enum kek_rc check_place(const struct attribute *attribute, bool query, size_t at,
                               uint32_t *seen, struct kek_why *why)
{
    if (is_named(attribute, "pin-value")) {
        return no_pin(attribute, why);
    }
    size_t i = find_known(attribute);
    if (i == KNOWN_COUNT) {
        return check_unknown(attribute, query, at, why);
    }
    if (known[i].query != query) {
        return kek_fail(why, KEK_INVALID, "expected %s %s the question mark", known[i].name,
                        known[i].query ? "after" : "before");
    }
    if ((*seen >> i & 1) != 0) {
        return kek_fail(why, KEK_INVALID, "expected %s once, found it again", known[i].name);
    }
    *seen |= UINT32_C(1) << i;
    return KEK_OK;
}

static enum kek_rc check_value(const struct attribute *attribute, struct kek_why *why)
{
    size_t i = find_known(attribute);
    if (i == KNOWN_COUNT) {
        return KEK_OK;
    }
    if (strlen(attribute->value) > known[i].max) {
        return kek_fail(why, KEK_INVALID, "expected at most %zu bytes as %s", known[i].max,
                        known[i].name);
    }
    return known[i].check(attribute, why);
}

/* What parts two attributes is easily mistaken: what looks like a further one within a value is one. */
static enum kek_rc check_separator(const char *uri, const char *at, const char *end, bool query,
                                   struct kek_why *why)
{
    if (strchr(";&?", *at) == NULL) {
        return KEK_OK;
    }
    size_t i = known_at(at + 1, end);
    if (i == KNOWN_COUNT) {
        return KEK_OK;
    }
    if (known[i].check == no_pin) {
        return no_pin(NULL, why);
    }
    return kek_fail(why, KEK_INVALID, "expected \"%c\" before %s, found \"%c\" at character %zu",
                    !known[i].query ? ';'
                    : query         ? '&'
                                    : '?',
                    known[i].name, *at, (size_t)(at - uri) + 1);
}

/* Decodes a value that ends at `end`. */
static enum kek_rc decode(const char *uri, const char *at, const char *end, bool query, char *out,
                          struct kek_why *why)
{
    size_t len = 0;
    while (at < end) {
        char c = *at;
        size_t step = 1;
        enum kek_rc rc = check_separator(uri, at, end, query, why);
        if (rc != KEK_OK) {
            return rc;
        }
        if (c == '%') {
            int high = end - at > 2 ? kek_hex_digit(at[1]) : -1;
            int low = end - at > 2 ? kek_hex_digit(at[2]) : -1;
            if (high < 0 || low < 0 || (high == 0 && low == 0)) {
                return kek_fail(why, KEK_INVALID,
                                "expected two hex digits, not 00, after the %% at character %zu",
                                (size_t)(at - uri) + 1);
            }
            c = (char)(high << 4 | low);
            step = 3;
        } else if (!may_stand(c, query)) {
            return kek_fail(why, KEK_INVALID,
                            "character %zu must be written as %%%02X in a PKCS#11 URI",
                            (size_t)(at - uri) + 1, (unsigned)(unsigned char)c);
        }
        if (len == VALUE_MAX - 1) {
            return kek_fail(why, KEK_INVALID, "expected values of at most %d bytes", VALUE_MAX - 1);
        }
        out[len++] = c;
        at += step;
    }
    out[len] = '\0';
    return KEK_OK;
}

static enum kek_rc take_attribute(const char *uri, const char *at, const char *end, bool query,
                                  uint32_t *seen, struct kek_why *why)
{
    struct attribute attribute = {.name = at};
    while (at < end && (is_alnum(*at) || *at == '-' || *at == '_')) {
        at++;
    }
    attribute.name_len = (size_t)(at - attribute.name);
    if (attribute.name_len == 0 || at == end || *at != '=') {
        return kek_fail(why, KEK_INVALID, "expected name=value at character %zu",
                        (size_t)(attribute.name - uri) + 1);
    }
    enum kek_rc rc = check_place(&attribute, query, (size_t)(attribute.name - uri) + 1, seen, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = decode(uri, at + 1, end, query, attribute.value, why);
    return rc == KEK_OK ? check_value(&attribute, why) : rc;
}

/* The attributes between `at` and `end`. */
static enum kek_rc take_part(const char *uri, const char *at, const char *end, bool query,
                             uint32_t *seen, size_t *count, struct kek_why *why)
{
    while (at < end) {
        if (++*count > ATTRIBUTES_MAX) {
            return kek_fail(why, KEK_INVALID, "expected at most %d attributes", ATTRIBUTES_MAX);
        }
        const char *stop = memchr(at, query ? '&' : ';', (size_t)(end - at));
        stop = stop == NULL ? end : stop;
        enum kek_rc rc = take_attribute(uri, at, stop, query, seen, why);
        if (rc != KEK_OK) {
            return rc;
        }
        if (stop + 1 == end) {
            return kek_fail(why, KEK_INVALID, "expected name=value at the end");
        }
        at = stop + 1;
    }
    return KEK_OK;
}

static bool has(uint32_t seen, size_t which)
{
    return (seen >> which & 1) != 0;
}

static enum kek_rc check_whole(uint32_t seen, struct kek_why *why)
{
    if (!has(seen, TOKEN) && !has(seen, SERIAL) && !has(seen, SLOT_ID)) {
        return kek_fail(why, KEK_INVALID, "expected token, serial or slot-id, found none of them");
    }
    if (has(seen, MODULE_PATH) == has(seen, MODULE_NAME)) {
        return kek_fail(why, KEK_INVALID, "expected module-path or module-name, found %s",
                        has(seen, MODULE_PATH) ? "both" : "neither");
    }
    return KEK_OK;
}

enum kek_rc kek_config_check_pkcs11_uri(const char *uri, struct kek_why *why)
{
    static const char scheme[] = "pkcs11:";
    if (strncmp(uri, scheme, sizeof scheme - 1) != 0) {
        return kek_fail(why, KEK_INVALID, "expected a URI that starts with pkcs11:");
    }
    uint32_t seen = 0; /* bits by the index in known[] */
    size_t count = 0;
    const char *path = uri + sizeof scheme - 1;
    const char *query = strchr(path, '?');
    const char *path_end = query == NULL ? path + strlen(path) : query;
    enum kek_rc rc = take_part(uri, path, path_end, false, &seen, &count, why);
    if (rc == KEK_OK && query != NULL) {
        rc = take_part(uri, query + 1, query + strlen(query), true, &seen, &count, why);
    }
    return rc == KEK_OK ? check_whole(seen, why) : rc;
}

bool kek_config_pkcs11_attribute(const char *uri, const char *name, char *value, size_t size)
{
    size_t len = strlen(name);
    bool query = false;
    for (const char *at = strchr(uri, ':'); at != NULL && *at != '\0';) {
        query = query || *at == '?';
        at++;
        size_t end = strcspn(at, query ? "&" : ";?");
        if (strncmp(at, name, len) == 0 && at[len] == '=') {
            char text[VALUE_MAX];
            struct kek_why why;
            bool fits = decode(uri, at + len + 1, at + end, query, text, &why) == KEK_OK &&
                        strlen(text) < size;
            if (fits) {
                memcpy(value, text, strlen(text) + 1);
            }
            return fits;
        }
        at += end;
    }
    return false;
}

const struct kek_vendor *kek_config_vendor(const struct kek_config_provider *provider)
{
    const char *uri = kek_config_setting(provider, "uri");
    char module[VALUE_MAX];
    if (uri != NULL && kek_config_pkcs11_attribute(uri, "module-path", module, sizeof module)) {
        return kek_vendor_of_file(module);
    }
    if (uri != NULL && kek_config_pkcs11_attribute(uri, "module-name", module, sizeof module)) {
        return kek_vendor_of_name(module);
    }
    return NULL;
}
