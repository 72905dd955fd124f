#include "telling.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kek/clock.h"

#define TIME "{\"time\":\""
#define TIME_BYTES 24 /* "2006-01-02T15:04:05.678Z" */
#define SEQ "\",\"seq\":"
#define EVENT ",\"event\":\""
#define HEAD_BYTES \
    512 /* time, seq and a node's name of 64 bytes, each escaped to six, end before */

/* The event's name and what follows; NULL: there is none where it must be. */
static const char *event_of(struct kek_bytes line, size_t *len)
{
    size_t head = line.len < HEAD_BYTES ? line.len : HEAD_BYTES;
    const char *at = memmem(line.data, head, EVENT, sizeof EVENT - 1);
    if (at == NULL) {
        return NULL;
    }
    at += sizeof EVENT - 1;
    *len = line.len - (size_t)(at - (const char *)line.data);
    return at;
}

static bool begins(const char *text, size_t len, const char *with)
{
    return len >= strlen(with) && memcmp(text, with, strlen(with)) == 0;
}

static void copy(const json_t *object, const char *key, char *out, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    snprintf(out, size, "%s", text == NULL ? "" : text);
}

/* The bytes of a text in hex; 0: it is none, or is longer than max. */
static size_t take_hex(const json_t *object, const char *key, uint8_t *bytes, size_t max)
{
    const char *text = json_string_value(json_object_get(object, key));
    size_t digits = text == NULL ? 0 : strlen(text), len = digits / 2;
    if (len > max || digits % 2 != 0) {
        return 0;
    }
    for (size_t i = 0; i < len; i++) {
        int high = kek_hex_digit(text[2 * i]), low = kek_hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return 0;
        }
        bytes[i] = (uint8_t)(16 * high + low);
    }
    return len;
}

static uint64_t number_of(const json_t *object, const char *key)
{
    json_int_t number = json_integer_value(json_object_get(object, key));
    return number < 0 ? 0 : (uint64_t)number;
}

static void take_mac(const json_t *object, struct telling *telling)
{
    telling->covers = number_of(object, "covers");
    copy(object, "provider", telling->provider, sizeof telling->provider);
    telling->mac_len = take_hex(object, "mac", telling->mac, sizeof telling->mac);
    if (take_hex(object, "mac_key", telling->mac_key.bytes, KEK_ID_LEN) != KEK_ID_LEN ||
        telling->mac_len < KEK_PROVIDER_MAC_MIN) {
        telling->mac_len = 0;
    }
}

static bool has(const char *event, size_t len, const char *field)
{
    return memmem(event, len, field, strlen(field)) != NULL;
}

static enum telling_kind kind_of_mac(const char *event, size_t len)
{
    return has(event, len, ",\"outcome\":\"failed\"") ? TELLING_MAC_FAILED
           : has(event, len, ",\"outcome\":\"none\"") ? TELLING_MAC_NONE
                                                      : TELLING_MAC;
}

void telling_read(struct kek_bytes line, struct telling *telling)
{
    size_t len;
    const char *event = event_of(line, &len);
    telling->kind = TELLING_NOTHING;
    if (event == NULL) {
        return;
    }
    if (begins(event, len, "torn\"")) {
        telling->kind = TELLING_TORN;
    } else if (begins(event, len, "broken\"")) {
        telling->kind = TELLING_BROKEN;
    } else if (begins(event, len, "mac\",")) {
        telling->kind = kind_of_mac(event, len);
    } else if (begins(event, len, "start\"")) {
        telling->kind = TELLING_START;
    } else if (begins(event, len, "dropped\"")) {
        telling->kind = TELLING_DROPPED;
    } else {
        return;
    }
    json_t *object = json_loadb((const char *)line.data, line.len, 0, NULL);
    telling->bytes = number_of(object, "bytes");
    telling->lines = number_of(object, "lines");
    telling->at_most = number_of(object, "at_most");
    telling->at_most = telling->at_most < telling->lines ? telling->lines : telling->at_most;
    copy(object, "sha256", telling->sha256, sizeof telling->sha256);
    copy(object, "error", telling->error, sizeof telling->error);
    if (telling->kind == TELLING_MAC) {
        take_mac(object, telling);
    }
    json_decref(object);
}

/* Every line begins with its time and its number, which kekd counts from 1. */
void telling_time(struct kek_bytes line, struct telling *telling)
{
    const char *at = (const char *)line.data;
    const size_t name = sizeof TIME - 1, seq = sizeof SEQ - 1;
    char time[TIME_BYTES + 1] = "";
    telling->is_kekds = false;
    telling->wall_ms = 0;
    if (line.len <= name + TIME_BYTES + seq || memcmp(at, TIME, name) != 0 ||
        memcmp(at + name + TIME_BYTES, SEQ, seq) != 0) {
        return;
    }
    memcpy(time, at + name, TIME_BYTES);
    telling->wall_ms = kek_clock_parse(time);
    char digit = at[name + TIME_BYTES + seq];
    telling->is_kekds = telling->wall_ms > 0 && digit >= '1' && digit <= '9';
}
