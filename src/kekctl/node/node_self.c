#include "node_self.h"

#include <stdio.h>
#include <string.h>

#include "kekctl/kms/grpc_client.h"
#include "kek/clock.h"
#include "kek/digest.h"
#include "kek/keyring.h"
#include "kek/text.h"
#include "kms_v2.pb-c.h"

#define ARENA (256u * 1024)
#define TEXT_MAX 1024

struct said {
    char health[16], what[TEXT_MAX];
    char key_id[129]; /* "": none */
};

static void take_status(const struct grpc_reply *reply, struct said *said)
{
    V2__StatusResponse *status =
        v2__status_response__unpack(NULL, reply->message.len, reply->message.data);
    if (status == NULL) {
        kek_text_copy(said->health, sizeof said->health, "unknown");
        kek_text_copy(said->what, sizeof said->what, "its Status is none");
        return;
    }
    bool good = strcmp(status->healthz, "ok") == 0;
    kek_text_copy(said->health, sizeof said->health, good ? "ok" : "not ok");
    kek_text_copy(said->what, sizeof said->what, good ? "" : status->healthz);
    kek_text_copy(said->key_id, sizeof said->key_id, status->key_id);
    v2__status_response__free_unpacked(status, NULL);
}

/* False: nobody is there. That Status fails is an answer. */
static bool ask_socket(const struct kek_config *config, uint64_t deadline_ms, struct said *said,
                       struct kek_why *why)
{
    bool locked;
    uint64_t now = kek_clock_ms();
    if (kek_secret_setup(ARENA, &locked, why) != KEK_OK) {
        return false;
    }
    KEK_AUTO(grpc_client)
    client = grpc_client_connect(config->listen, deadline_ms > now ? deadline_ms - now : 1, why);
    if (client == NULL) {
        size_t at = strlen(why->text);
        snprintf(why->text + at, sizeof why->text - at, "; %s", grpc_client_advice(why));
        return false;
    }
    struct grpc_reply reply = {0};
    struct grpc_status status;
    if (!grpc_client_call(client, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0),
                          deadline_ms, &reply, &status)) {
        kek_text_copy(said->health, sizeof said->health, "not ok");
        kek_text_copy(said->what, sizeof said->what, status.message);
        return true;
    }
    take_status(&reply, said);
    grpc_reply_done(&reply);
    return true;
}

/* RFC 3339 in UTC, with milliseconds. */
static json_t *date(int64_t wall_ms)
{
    char text[40];
    struct tm utc;
    time_t seconds = (time_t)(wall_ms / 1000);
    if (gmtime_r(&seconds, &utc) == NULL || strftime(text, 24, "%Y-%m-%dT%H:%M:%S", &utc) == 0) {
        return json_null();
    }
    snprintf(text + strlen(text), 8, ".%03dZ", (int)(wall_ms % 1000));
    return json_string(text);
}

/* The record says which KEK it is and when it was announced, if it is of the same announcement. */
static json_t *primary_json(const struct kek_config *config, const struct said *said)
{
    struct kek_keyring_primary last;
    struct kek_why why;
    char hash[KEK_KEY_ID_HASH_TEXT], id[KEK_ID_TEXT];
    if (said->key_id[0] == '\0') {
        return json_null();
    }
    kek_key_id_hash(said->key_id, hash);
    json_t *primary =
        json_pack("{s:s, s:s, s:n}", "key_id", said->key_id, "key_id_hash", hash, "announced_at");
    KEK_AUTO(kek_keyring) ring = kek_keyring_read(config, &why);
    bool known = ring != NULL && kek_keyring_primary(ring, &last) &&
                 strcmp(last.generation.key_id, said->key_id) == 0;
    if (known) {
        kek_id_format(&last.generation.kek_ids[0], id);
        json_object_set_new(primary, "version", json_integer(last.generation.numbers[0]));
        json_object_set_new(primary, "kek_id", json_string(id));
    }
    if (known && last.announced_ms > 0) {
        json_object_set_new(primary, "announced_at", date(last.announced_ms));
    }
    return primary;
}

json_t *node_self(const struct kek_config *config, uint64_t deadline_ms, struct kek_why *why)
{
    struct said said = {.health = ""};
    char context[KEK_SHA256_TEXT], now[KEK_CLOCK_TEXT];
    if (!ask_socket(config, deadline_ms, &said, why)) {
        return NULL;
    }
    kek_clock_text_seconds(kek_clock_wall_ms(), now);
    json_t *page = NULL;
    if (kek_sha256_text(kek_bytes_of(config->context), context)) {
        page = json_pack("{s:b, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:o}", "partial", true,
                         "node", config->status.name, "version", "", "keyring", config->keyring,
                         "context_sha256", context, "config_sha256", config->digest, "now", now,
                         "health", said.health, "what", said.what, "todo", "", "primary",
                         primary_json(config, &said));
    }
    if (page == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for this node's status");
    }
    return page;
}
