/* Keys put on a token, and what a worker lists and opens of them. */
#ifndef UNIT_PKCS11_LIST_H
#define UNIT_PKCS11_LIST_H

#include "fault.h"

#include <stdio.h>
#include <string.h>

#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED
#define WRAPPED KEK__PROVIDER__REPLY__RESULT_WRAPPED
#define UNWRAPPED KEK__PROVIDER__REPLY__RESULT_UNWRAPPED
#define LISTED KEK__PROVIDER__REPLY__RESULT_LISTED

static const uint8_t data_key[KEK_DATA_KEY_LEN] = "an entirely unremarkable dek 32";

static inline const char *text_of(const Kek__Provider__Reply *reply)
{
    return reply->result_case == FAILED ? reply->failed->text : "no failure";
}

static inline void plant(const struct token *token, const char *label, struct kek_id id)
{
    const struct odd_key key = {.label = label, .id = id.bytes, .id_len = sizeof id.bytes};
    token_make_key(token, &key);
}

/* The rows of one List; to be freed. */
static inline Kek__Provider__Reply *listed_by(struct worker *worker)
{
    Kek__Provider__Reply *reply = worker_list(worker);
    ck_assert_msg(reply->result_case == LISTED, "list: %s", text_of(reply));
    return reply;
}

/* The row of a number, with this say on eligibility; NULL: there is none. */
static inline const Kek__Provider__Version *row(const Kek__Provider__Reply *list, uint32_t number,
                                                bool eligible)
{
    for (size_t i = 0; i < list->listed->n_versions; i++) {
        const Kek__Provider__Version *version = list->listed->versions[i];
        if (version->number == number && (bool)version->eligible == eligible) {
            return version;
        }
    }
    return NULL;
}

/* data_key, wrapped; to be freed. */
static inline Kek__Provider__Reply *wrapped_by(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Reply *reply = worker_wrap(worker, id, data_key);
    ck_assert_msg(reply->result_case == WRAPPED, "wrap: %s", text_of(reply));
    return reply;
}

/* The blob opens to data_key. */
static inline void expect_unwraps(struct worker *worker, const struct kek_id *id, int alg,
                                  ProtobufCBinaryData blob)
{
    Kek__Provider__Reply *reply = worker_unwrap(worker, id, alg, blob.data, blob.len);
    ck_assert_msg(reply->result_case == UNWRAPPED, "unwrap: %s", text_of(reply));
    ck_assert_uint_eq(reply->unwrapped->data_key.len, KEK_DATA_KEY_LEN);
    ck_assert_mem_eq(reply->unwrapped->data_key.data, data_key, KEK_DATA_KEY_LEN);
    reply_free(reply);
}

static inline void expect_opens(struct worker *worker, const struct kek_id *id,
                                const Kek__Provider__Reply *blob)
{
    expect_unwraps(worker, id, (int)blob->wrapped->alg, blob->wrapped->blob);
}

#endif
