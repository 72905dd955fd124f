#include "announced.h"

#include <stdio.h>
#include <string.h>

#include "grpc_client.h"
#include "kek/clock.h"
#include "kek/keyring.h"
#include "kms_v2.pb-c.h"

static void add(struct announced *announced, const char *node, const struct kek_id *kek_id,
                uint32_t number)
{
    if (announced->count < ANNOUNCED_MAX) {
        snprintf(announced->by[announced->count].node, ANNOUNCED_NODE, "%s", node);
        announced->by[announced->count].kek_id = *kek_id;
        announced->by[announced->count].number = number;
        announced->count++;
    }
}

bool announced_on_record(const struct keys *keys, struct announced *announced, struct kek_why *why)
{
    struct kek_generation last;
    announced->count = 0;
    enum kek_rc rc = kek_keyring_recorded(keys->config, &last, why);
    for (size_t i = 0; rc == KEK_OK && i < last.count; i++) {
        add(announced, "this node", &last.kek_ids[i], last.numbers[i]);
    }
    return rc == KEK_OK || rc == KEK_NOT_FOUND;
}

/* The key_id that this node's kekd answers a Status with; empty where none runs or nothing is announced. */
static void ask_status(const struct keys *keys, char key_id[static KEK_KEY_ID_TEXT])
{
    struct kek_why why;
    struct grpc_reply reply = {0};
    struct grpc_status status;
    key_id[0] = '\0';
    KEK_AUTO(grpc_client)
    client = grpc_client_connect(keys->config->listen, keys->ctl->timeout_ms, &why);
    if (client == NULL ||
        !grpc_client_call(client, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0),
                          kek_clock_ms() + keys->ctl->timeout_ms, &reply, &status)) {
        return;
    }
    V2__StatusResponse *answer =
        v2__status_response__unpack(NULL, reply.message.len, reply.message.data);
    grpc_reply_done(&reply);
    if (answer != NULL) {
        snprintf(key_id, KEK_KEY_ID_TEXT, "%s", answer->key_id);
        v2__status_response__free_unpacked(answer, NULL);
    }
}

/* The key that this key_id is of, among those that the providers show. */
static const struct kek_version *named_by(const struct keys *keys, const char *key_id)
{
    char own[KEK_KEY_ID_TEXT];
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; i < listing->count; i++) {
            const struct kek_version *v = &listing->versions[i];
            if (kek_key_id(kek_bytes_of(keys->config->context), KEK_ENVELOPE_MODE_ANY, &v->id, 1,
                           own, NULL) == KEK_OK &&
                strcmp(own, key_id) == 0) {
                return v;
            }
        }
    }
    return NULL;
}

bool announced_by(const struct keys *keys, struct announced *announced, struct kek_why *why)
{
    char key_id[KEK_KEY_ID_TEXT];
    if (!announced_on_record(keys, announced, why)) {
        (void)kek_fail_within(why, why->rc, "which version this node announced last is not known");
        return false;
    }
    ask_status(keys, key_id);
    if (key_id[0] == '\0') {
        return true;
    }
    const struct kek_version *version = named_by(keys, key_id);
    if (version == NULL) {
        kek_fail(why, KEK_PRECONDITION,
                 "the kekd at %s announces %s, and no provider of this configuration shows the key "
                 "of that name: is it the configuration that kekd runs with?",
                 keys->config->listen, key_id);
        return false;
    }
    if (announced_where(announced, &version->id) == NULL) {
        add(announced, "this node's kekd", &version->id, version->number);
    }
    return true;
}

const char *announced_where(const struct announced *announced, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < announced->count; i++) {
        if (kek_id_equal(&announced->by[i].kek_id, kek_id)) {
            return announced->by[i].node;
        }
    }
    return NULL;
}

uint32_t announced_newest(const struct announced *announced)
{
    uint32_t newest = 0;
    for (size_t i = 0; i < announced->count; i++) {
        newest = announced->by[i].number > newest ? announced->by[i].number : newest;
    }
    return newest;
}
