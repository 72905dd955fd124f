/*
 * One encryption and one decryption by one version of the key.
 *
 * Each call names the version and brings associated data that says which KEK it is for and what it holds, so that no
 * other ciphertext of this key, whoever made it, passes for a data key.  docs/envelope-format.md has the layout.
 */
#include "transit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define PURPOSE "kekd/transit/1/data-key/"
#define AAD_MAX (sizeof PURPOSE + KEK_ID_TEXT)
#define BODY_MAX 4096
#define PREFIX_MAX 24 /* "vault:v4294967295:" */
#define PLAINTEXT "{\"plaintext\":\""

/* The associated data as its base64. */
static void associated(const struct transit_version *version, char out[static KEK_BASE64(AAD_MAX)])
{
    char text[AAD_MAX], id[KEK_ID_TEXT];
    kek_id_format(&version->id, id);
    int len = snprintf(text, sizeof text, PURPOSE "%s", id);
    kek_base64(kek_bytes(text, (size_t)len), out);
}

static void prefix_of(const struct transit_version *version, char prefix[static PREFIX_MAX])
{
    snprintf(prefix, PREFIX_MAX, "vault:v%" PRIu32 ":", version->number);
}

static bool no_room(struct kek_provider_failure *failure)
{
    return kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "no memory for a request");
}

static bool strange(const char *what, struct kek_provider_failure *failure)
{
    return kek_bridge_fail(failure, CALL_STEP, CAUSE(LINK), "the server's answer %s", what);
}

/* What was wrapped, if it is what was asked for; anything else is never sealed under. */
static bool take_wrapped(const struct transit_version *version, const json_t *data,
                         struct kek_provider_wrapped *wrapped, struct kek_provider_failure *failure)
{
    const char *text = json_string_value(json_object_get(data, "ciphertext"));
    const json_t *number = json_object_get(data, "key_version");
    char prefix[PREFIX_MAX];
    prefix_of(version, prefix);
    if (text == NULL) {
        return strange("has no ciphertext", failure);
    }
    if (strncmp(text, prefix, strlen(prefix)) != 0 ||
        (number != NULL && json_integer_value(number) != (json_int_t)version->number)) {
        return strange("is of another version of the key than was asked for", failure);
    }
    struct kek_provider_wrapped out = {.alg = KEK_WRAP_TRANSIT};
    if (!kek_unbase64(text + strlen(prefix), out.blob, sizeof out.blob, &out.len) ||
        !kek_wrap_alg_fits(out.alg, out.len)) {
        return strange("has a ciphertext that is no base64 of 60 to 72 bytes", failure);
    }
    *wrapped = out;
    return true;
}

/* A server, or what stands before it, may say back what it was asked: the data key is told nobody. */
static void hide(struct kek_bytes data_key, struct kek_provider_failure *failure)
{
    struct kek_why *why = &failure->why;
    if (kek_bridge_reveals(why->text, data_key)) {
        kek_fail_native(why, why->rc, why->native, why->code,
                        "encrypt: HTTP status %lu: it says what nobody else may read", why->code);
    }
}

bool transit_encrypt(struct kek_provider_session *session, const struct transit_version *version,
                     const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                     struct kek_bridge_answer *answer, struct kek_provider_failure *failure)
{
    const struct transit_settings *settings = &session->provider->settings;
    char url[TRANSIT_URL_MAX], aad[KEK_BASE64(AAD_MAX)];
    char plain[KEK_BASE64(KEK_DATA_KEY_LEN)];
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, BODY_MAX);
    *answer = (struct kek_bridge_answer){.rc = KEK_INTERNAL};
    transit_url(session->provider, url, "%s/encrypt/%s", settings->mount, settings->key);
    associated(version, aad);
    kek_base64(kek_secret_bytes(data_key), plain);
    bool good =
        transit_add(&body, PLAINTEXT "%s\",\"associated_data\":\"%s\",\"key_version\":%" PRIu32 "}",
                    plain, aad, version->number);
    kek_wipe(plain, sizeof plain);
    if (!good) {
        return no_room(failure);
    }
    if (!transit_ask(session, "POST", url, &body, answer, failure)) {
        hide(kek_bytes(body.data + sizeof PLAINTEXT - 1, sizeof plain - 1), failure);
        return false;
    }
    return take_wrapped(version, json_object_get(answer->json, "data"), wrapped, failure);
}

static bool take_data_key(const json_t *data, struct kek_secret **data_key,
                          struct kek_provider_failure *failure)
{
    const char *text = json_string_value(json_object_get(data, "plaintext"));
    KEK_AUTO(kek_secret) key = kek_secret_new(KEK_DATA_KEY_LEN);
    size_t len = 0;
    if (key == NULL) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(INTERNAL), "the arena for keys is full");
    }
    if (text == NULL || !kek_unbase64(text, kek_secret_data(key), KEK_DATA_KEY_LEN, &len) ||
        len != KEK_DATA_KEY_LEN) {
        return strange("has no plaintext of 32 bytes", failure);
    }
    *data_key = KEK_STEAL(key);
    return true;
}

bool transit_decrypt(struct kek_provider_session *session, const struct transit_version *version,
                     struct kek_bytes blob, struct kek_secret **data_key,
                     struct kek_bridge_answer *answer, struct kek_provider_failure *failure)
{
    const struct transit_settings *settings = &session->provider->settings;
    char url[TRANSIT_URL_MAX], aad[KEK_BASE64(AAD_MAX)], prefix[PREFIX_MAX];
    char sealed[KEK_BASE64(KEK_WRAPPED_MAX)];
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, BODY_MAX);
    *answer = (struct kek_bridge_answer){.rc = KEK_INTERNAL};
    transit_url(session->provider, url, "%s/decrypt/%s", settings->mount, settings->key);
    associated(version, aad);
    prefix_of(version, prefix);
    kek_base64(blob, sealed);
    if (!transit_add(&body, "{\"ciphertext\":\"%s%s\",\"associated_data\":\"%s\"}", prefix, sealed,
                     aad)) {
        return no_room(failure);
    }
    return transit_ask(session, "POST", url, &body, answer, failure) &&
           take_data_key(json_object_get(answer->json, "data"), data_key, failure);
}
