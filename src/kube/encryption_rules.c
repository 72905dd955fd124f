/* From k8s.io/apiserver v0.34.9: pkg/apis/apiserver/validation/validation_encryption.go; for durations Go's
 * time.ParseDuration; for plain scalars resolve.go of sigs.k8s.io/yaml/goyaml.v2. */
#include "encryption_rules.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "kek/text.h"

static bool any_case(const char *text, const char *const *words)
{
    for (size_t i = 0; words[i] != NULL; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Decimal, with a fraction and an exponent, or in another base; "_" may stand between digits. */
static bool is_number(const char *text)
{
    const char *at = text + (*text == '+' || *text == '-' ? 1 : 0);
    static const char *const odd[] = {".inf", ".nan", NULL};
    if (any_case(at, odd)) {
        return true;
    }
    if (at[0] == '0' && at[1] != '\0' && strchr("xXbBoO", at[1]) != NULL) {
        return at[2] != '\0' && at[2 + strspn(at + 2, "0123456789abcdefABCDEF_")] == '\0';
    }
    size_t whole = strspn(at, "0123456789_");
    at += whole;
    size_t part = *at == '.' ? strspn(at + 1, "0123456789_") : 0;
    at += *at == '.' ? part + 1 : 0;
    if (whole + part == 0) {
        return false;
    }
    if (*at == 'e' || *at == 'E') {
        at += at[1] == '+' || at[1] == '-' ? 2 : 1;
        return *at != '\0' && at[strspn(at, "0123456789")] == '\0';
    }
    return *at == '\0';
}

bool encryption_is_text(const char *plain)
{
    static const char *const words[] = {"",   "~",   "null", "true", "false", "yes", "no",
                                        "on", "off", "y",    "n",    "<<",    NULL};
    return !any_case(plain, words) && !is_number(plain);
}

/* "deployments.apps" is a resource and, behind the first dot, its group; the core group is empty. */
struct group_resource {
    struct kek_bytes resource, group;
};

static struct group_resource split(const char *name)
{
    size_t len = strcspn(name, ".");
    return (struct group_resource){kek_bytes(name, len),
                                   kek_bytes_of(name + len + (name[len] == '.' ? 1 : 0))};
}

static bool is(struct kek_bytes bytes, const char *text)
{
    return kek_bytes_equal(bytes, kek_bytes_of(text));
}

const char *encryption_resource_problem(const char *resource)
{
    struct group_resource name = split(resource);
    if (resource[0] == '\0') {
        return "expected a resource, found nothing";
    }
    for (const char *at = resource; *at != '\0'; at++) {
        if (isupper((unsigned char)*at)) {
            return "a resource's name has no capital letters";
        }
    }
    if (strcmp(resource, "*") == 0) {
        return "\"*\" is not taken: \"*.\" is every resource of the core group, \"*.*\" every one";
    }
    if (strcmp(resource, "apiserveripinfo") == 0 || strcmp(resource, "serviceipallocations") == 0 ||
        strcmp(resource, "servicenodeportallocations") == 0) {
        return "resources without a REST API cannot be encrypted";
    }
    if (is(name.group, "events.k8s.io")) {
        return "events are stored as \"events\", of the core group";
    }
    if (is(name.group, "extensions")) {
        return "the group extensions has been removed";
    }
    if (is(name.group, "*") && !is(name.resource, "*")) {
        return "one resource of every group cannot be named";
    }
    return NULL;
}

bool encryption_covers(const char *wide, const char *resource)
{
    struct group_resource name = split(wide);
    if (strcmp(wide, resource) == 0) {
        return true;
    }
    return is(name.resource, "*") &&
           (is(name.group, "*") || kek_bytes_equal(name.group, split(resource).group));
}

bool encryption_overlap(const char *one, const char *other)
{
    return encryption_covers(one, other) || encryption_covers(other, one);
}

const char encryption_base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

bool encryption_secret_len(const char *base64, size_t *len)
{
    size_t taken = 0, padding = 0;
    for (const char *at = base64; *at != '\0'; at++) {
        if (*at == '\n' || *at == '\r') {
            continue;
        }
        padding += *at == '=' ? 1 : 0;
        if (*at != '=' && (padding > 0 || strchr(encryption_base64, *at) == NULL)) {
            return false;
        }
        taken++;
    }
    if (taken % 4 != 0 || padding > 2) {
        return false;
    }
    *len = taken / 4 * 3 - padding;
    return true;
}

/* Nanoseconds of a unit, and past it; 0: it is none. */
static double take_unit(const char **text)
{
    static const struct {
        const char *name;
        double ns;
    } units[] = {{"ns", 1},   {"us", 1e3}, {"\xc2\xb5s", 1e3}, {"\xce\xbcs", 1e3},
                 {"ms", 1e6}, {"s", 1e9},  {"m", 60e9},        {"h", 3600e9}};
    size_t len = strcspn(*text, ".0123456789");
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strlen(units[i].name) == len && memcmp(*text, units[i].name, len) == 0) {
            *text += len;
            return units[i].ns;
        }
    }
    return 0;
}

/* In nanoseconds; 0: it is none. */
static double read_duration(const char *text)
{
    double total = 0;
    text += *text == '+' ? 1 : 0;
    do {
        double value = 0, step = 1;
        size_t whole = strspn(text, "0123456789"), part = 0;
        for (size_t i = 0; i < whole; i++) {
            value = value * 10 + (*text++ - '0');
        }
        if (*text == '.') {
            part = strspn(++text, "0123456789");
            for (size_t i = 0; i < part; i++) {
                step /= 10;
                value += step * (*text++ - '0');
            }
        }
        double unit = whole + part == 0 ? 0 : take_unit(&text);
        if (unit == 0) {
            return 0;
        }
        total += value * unit;
    } while (*text != '\0');
    return total;
}

bool encryption_duration(const char *text)
{
    const double longest = 9.2e18; /* a little less than 64 bits have */
    double total = read_duration(text);
    return total >= 1 && total <= longest;
}

#define DEFAULT_TIMEOUT_MS 3000 /* of the API server */

uint64_t kek_encryption_timeout_ms(const struct kek_encryption_provider *provider)
{
    return provider->timeout == NULL ? DEFAULT_TIMEOUT_MS
                                     : (uint64_t)(read_duration(provider->timeout) / 1e6);
}

bool encryption_endpoint(const char *text)
{
    if (strncasecmp(text, "unix:", 5) != 0) {
        return false;
    }
    const char *at = text + 5;
    if (strncmp(at, "//", 2) == 0) { /* a host, of which dialing makes part of the path */
        at += 2;
        at += strspn(at, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-@");
        if (*at != '\0' && *at != '/') {
            return false;
        }
    }
    for (; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || *at == 0x7f ||
            (*at == '%' && !(isxdigit((unsigned char)at[1]) && isxdigit((unsigned char)at[2])))) {
            return false;
        }
    }
    return true;
}

bool encryption_cachesize(const char *text)
{
    uint64_t number = 0;
    bool less = *text == '-';
    return kek_text_decimal(text + (less ? 1 : 0), less ? UINT64_C(1) << 31 : INT32_MAX, &number) &&
           number != 0;
}
