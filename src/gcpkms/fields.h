/*
 * Members of Google's JSON answers, whose texts and numbers are as proto3's JSON mapping has them. Pure.
 */
#ifndef GCPKMS_FIELDS_H
#define GCPKMS_FIELDS_H

#include "kek/bridge.h"

static inline void kek_gcp_json_auto(json_t **value)
{
    json_decref(*value);
}
#define KEK_GCP_AUTO_JSON __attribute__((cleanup(kek_gcp_json_auto))) json_t *

/* A text member; NULL: there is none, or it is no text. Borrowed. */
static inline const char *kek_gcp_json_text(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* An unsigned 64-bit integer, which proto3's JSON has as a text of digits. False: it is not that. */
bool kek_gcp_json_number(const json_t *object, const char *name, uint64_t max, uint64_t *number);

/* A moment of RFC 3339 in UTC ("2026-12-30T10:00:00.5Z") in seconds since 1970; 0: it is none. */
int64_t kek_gcp_json_moment(const json_t *object, const char *name);

#endif
