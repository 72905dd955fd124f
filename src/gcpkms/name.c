#include "name.h"

#include <stdio.h>
#include <string.h>

#include "kek/bridge.h"
#include "kek/text.h"

#define VERSIONS "/cryptoKeyVersions/"
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

/* The parts of a key's name, in their order. A project may be "example.com:name". */
static const struct part {
    const char *collection, *bytes;
    size_t max;
} parts[] = {
    {"projects", LOWER DIGIT "-.:", 63},
    {"locations", LOWER DIGIT "-", 63},
    {"keyRings", LOWER UPPER DIGIT "-_", 63},
    {"cryptoKeys", LOWER UPPER DIGIT "-_", 63},
};

#define PARTS (sizeof parts / sizeof parts[0])
#define FORM "projects/P/locations/L/keyRings/R/cryptoKeys/K"

/* Moves past "collection/"; false: that is not there. */
static bool take_collection(const char **at, const char *collection)
{
    size_t len = strlen(collection);
    if (strncmp(*at, collection, len) != 0 || (*at)[len] != '/') {
        return false;
    }
    *at += len + 1;
    return true;
}

enum kek_rc kek_gcp_key_check(const char *name, struct kek_why *why)
{
    const char *at = name;
    if (strlen(name) >= KEK_GCP_KEY_MAX) {
        return kek_fail(why, KEK_INVALID, "key: expected " FORM " of at most %d bytes",
                        KEK_GCP_KEY_MAX - 1);
    }
    for (size_t i = 0; i < PARTS; i++) {
        if (!take_collection(&at, parts[i].collection)) {
            return kek_fail(why, KEK_INVALID, "key: expected " FORM);
        }
        size_t len = strspn(at, parts[i].bytes);
        if (len == 0 || len > parts[i].max || at[len] != (i + 1 < PARTS ? '/' : '\0')) {
            return kek_fail(why, KEK_INVALID,
                            "key: expected " FORM ", and after %s/ 1 to %zu of \"%s\"",
                            parts[i].collection, parts[i].max, parts[i].bytes);
        }
        at += len + (i + 1 < PARTS ? 1 : 0);
    }
    return KEK_OK;
}

void kek_gcp_key_part(const char *key, const char *collection, char *out, size_t size)
{
    const char *at = key;
    out[0] = '\0';
    for (size_t i = 0; i < PARTS; i++) {
        bool wanted = strcmp(parts[i].collection, collection) == 0;
        if (!take_collection(&at, parts[i].collection)) {
            return;
        }
        size_t len = strcspn(at, "/");
        if (wanted) {
            snprintf(out, size, "%.*s", (int)len, at);
            return;
        }
        at += len + (at[len] == '/' ? 1 : 0);
    }
}

void kek_gcp_version_name(const char *key, uint32_t number, char name[static KEK_GCP_VERSION_MAX])
{
    snprintf(name, KEK_GCP_VERSION_MAX, "%s" VERSIONS "%u", key, number);
}

uint32_t kek_gcp_version_number(const char *key, const char *name)
{
    size_t len = strlen(key);
    uint64_t number = 0;
    if (strncmp(name, key, len) != 0 || strncmp(name + len, VERSIONS, strlen(VERSIONS)) != 0) {
        return 0;
    }
    const char *digits = name + len + strlen(VERSIONS);
    return digits[0] != '0' && kek_text_decimal(digits, UINT32_MAX, &number) ? (uint32_t)number : 0;
}

void kek_gcp_version_id(const char *key, uint32_t number, struct kek_id *kek_id)
{
    char name[KEK_GCP_VERSION_MAX];
    kek_gcp_version_name(key, number, name);
    kek_bridge_id(name, kek_id);
}
