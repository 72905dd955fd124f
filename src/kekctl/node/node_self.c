#include "node_self.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include <openssl/evp.h>

#include "kekctl/kms/grpc_client.h"
#include "kek/clock.h"
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

/* The record says which KEK it is, if it is of the same announcement. */
static json_t *primary_json(const struct kek_config *config, const struct said *said)
{
    struct kek_generation last;
    char hash[KEK_KEY_ID_HASH_TEXT], id[KEK_ID_TEXT];
    if (said->key_id[0] == '\0') {
        return json_null();
    }
    kek_key_id_hash(said->key_id, hash);
    json_t *primary =
        json_pack("{s:s, s:s, s:n}", "key_id", said->key_id, "key_id_hash", hash, "announced_at");
    bool known = kek_keyring_recorded(config, &last, NULL) == KEK_OK &&
                 strcmp(last.key_id, said->key_id) == 0;
    if (known) {
        kek_id_format(&last.kek_ids[0], id);
        json_object_set_new(primary, "version", json_integer(last.numbers[0]));
        json_object_set_new(primary, "kek_id", json_string(id));
    }
    return primary;
}

static bool show_context(const char *context, char hex[static 65])
{
    unsigned char digest[32];
    unsigned int len = 0;
    if (EVP_Digest(context, strlen(context), digest, &len, EVP_sha256(), NULL) != 1) {
        return false;
    }
    kek_hex(kek_bytes(digest, sizeof digest), hex);
    return true;
}

json_t *node_self(const struct kek_config *config, uint64_t deadline_ms, struct kek_why *why)
{
    struct said said = {.health = ""};
    char context[65], now[32];
    time_t seconds = (time_t)(kek_clock_wall_ms() / 1000);
    struct tm utc;
    if (!ask_socket(config, deadline_ms, &said, why)) {
        return NULL;
    }
    gmtime_r(&seconds, &utc);
    strftime(now, sizeof now, "%Y-%m-%dT%H:%M:%SZ", &utc);
    json_t *page = NULL;
    if (show_context(config->context, context)) {
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
