/* KMS calls through keyring, data keys, pool and a real worker on SoftHSM: what is sealed opens again. */
#include "kms/call.h"
#include "kms_help.h"

static const struct kek_id id_9 = {{9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9}};

/* Status is refused at once, whatever the token has said so far; true once it has said that it has no key. */
static bool has_no_version(struct rig *r, void *nobody)
{
    rig_begin(r, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), nobody, &answer);
    ck_assert(answer.done);
    ck_assert_int_eq(answer.status, KEK_RPC_UNAVAILABLE);
    return strstr(answer.message, "has a key of keyring test") != NULL;
}

START_TEST(nothing_announced_is_unavailable_and_never_an_empty_key_id)
{
    struct kek_rpc_peer nobody = {0};
    rig_make_token(&rig);
    rig_start(&rig, "");
    rig_until(&rig, has_no_version, &nobody);
    finish();
}
END_TEST

START_TEST(round_trips_share_one_data_key_and_the_cache)
{
    struct sealed first, other;
    struct kek_datakey_stats stats;
    char key_id[KEK_KEY_ID_TEXT];
    start_with_one_version("context: prod\n");
    status_says("ok", key_id);
    encrypt_v2(seed, 32, &first);
    encrypt_v2(seed, 32, &other);
    ck_assert_str_eq(first.key_id, key_id);
    ck_assert_uint_eq(first.len, other.len);
    ck_assert_mem_ne(first.bytes, other.bytes, first.len);
    for (int i = 0; i < 50; i++) {
        opens(&first, seed);
        opens(&other, seed);
    }
    kek_datakey_stats(rig.store, &stats);
    ck_assert_uint_eq(stats.wraps, 1);
    ck_assert_uint_eq(stats.unwraps, 1); /* the check of the new data key */
    ck_assert_uint_eq(stats.flights, 0);
    rig_stop(&rig);

    /* A fresh one opens them all with a single unwrap, however many ask at once. */
    rig_start(&rig, "context: prod\n");
    rig_until_primary(&rig, 1);
    static struct answer answers[20];
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = (ProtobufCBinaryData){.data = first.bytes, .len = first.len};
    request.key_id = first.key_id;
    uint8_t bytes[2048];
    size_t len = protobuf_c_message_pack(&request.base, bytes);
    for (size_t i = 0; i < 20; i++) {
        rig_begin(&rig, "/v2.KeyManagementService/Decrypt", kek_bytes(bytes, len), &peer,
                  &answers[i]);
    }
    opens(&other, seed);
    for (size_t i = 0; i < 20; i++) {
        ck_assert(answers[i].done);
        ck_assert_int_eq(answers[i].status, KEK_RPC_OK);
    }
    kek_datakey_stats(rig.store, &stats);
    ck_assert_uint_le(stats.unwraps, 2); /* it, and perhaps the new sealing key's own check */
    finish();
}
END_TEST

START_TEST(strict_mode_is_one_hsm_operation_each_way)
{
    struct sealed sealed;
    struct kek_datakey_stats stats;
    start_with_one_version("data_key: {max_uses: 1}\n");
    for (unsigned i = 1; i <= 5; i++) {
        encrypt_v2(seed, 32, &sealed);
        opens(&sealed, seed);
        opens(&sealed, seed);
        kek_datakey_stats(rig.store, &stats);
        ck_assert_uint_eq(stats.wraps, i);
        ck_assert_uint_eq(stats.unwraps, 2 * i);
        ck_assert_uint_eq(stats.cache_entries, 0);
    }
    finish();
}
END_TEST

START_TEST(data_key_is_replaced_after_its_uses_and_made_ahead)
{
    struct sealed sealed[30];
    struct kek_datakey_stats stats;
    start_with_one_version("data_key: {max_uses: 10}\n");
    for (size_t i = 0; i < 30; i++) {
        encrypt_v2(seed, 32, &sealed[i]);
        rig_turn(&rig, 30);
    }
    kek_datakey_stats(rig.store, &stats);
    ck_assert_uint_ge(stats.wraps, 3);
    ck_assert_uint_le(stats.wraps, 5);
    for (size_t i = 0; i < 30; i++) {
        opens(&sealed[i], seed);
    }
    finish();
}
END_TEST

START_TEST(no_data_key_seals_more_than_its_uses_even_in_a_burst)
{
    enum { BURST = 40, USES = 5, WRAPPED_AT = 26, WRAPPED = 40 };
    static struct answer answers[BURST];
    V1beta1__EncryptRequest request = V1BETA1__ENCRYPT_REQUEST__INIT;
    uint8_t bytes[128];
    start_with_one_version("data_key: {max_uses: 5}\n");
    request.plain = (ProtobufCBinaryData){.data = (uint8_t *)seed, .len = 32};
    size_t len = protobuf_c_message_pack(&request.base, bytes);
    for (size_t i = 0; i < BURST; i++) {
        rig_begin(&rig, "/v1beta1.KeyManagementService/Encrypt", kek_bytes(bytes, len), &peer,
                  &answers[i]);
    }
    for (size_t i = 0; i < BURST; i++) {
        rig_wait(&rig, &answers[i]);
    }
    for (size_t i = 0; i < BURST; i++) {
        unsigned same = 0;
        ck_assert_msg(answers[i].status == KEK_RPC_OK, "%s", answers[i].message);
        for (size_t j = 0; j < BURST; j++) {
            /* A field's tag and length come before the envelope: three bytes. */
            same += memcmp(answers[i].reply + 3 + WRAPPED_AT, answers[j].reply + 3 + WRAPPED_AT,
                           WRAPPED) == 0;
        }
        ck_assert_uint_le(same, USES);
    }
    finish();
}
END_TEST

START_TEST(damage_of_any_kind_gets_one_message_and_changes_nothing)
{
    struct sealed sealed;
    char first_message[512] = "";
    start_with_one_version("");
    encrypt_v2(seed, 32, &sealed);
    for (size_t cut = 1; cut < sealed.len; cut++) {
        ck_assert_int_eq(decrypt_v2(sealed.bytes, cut, sealed.key_id), KEK_RPC_INVALID_ARGUMENT);
        if (cut == 1) {
            snprintf(first_message, sizeof first_message, "%s", answer.message);
        }
        ck_assert_str_eq(answer.message, first_message);
    }
    for (size_t at = 0; at < sealed.len; at++) {
        uint8_t bent[1024];
        memcpy(bent, sealed.bytes, sealed.len);
        bent[at] ^= 0x10;
        enum kek_rpc_status status = decrypt_v2(bent, sealed.len, sealed.key_id);
        ck_assert_msg(status == KEK_RPC_INVALID_ARGUMENT, "byte %zu: %s", at,
                      kek_rpc_status_name(status));
    }
    ck_assert_int_eq(decrypt_v2(sealed.bytes, 0, sealed.key_id), KEK_RPC_INVALID_ARGUMENT);
    opens(&sealed, seed);
    finish();
}
END_TEST

START_TEST(key_id_must_be_that_of_the_envelope)
{
    struct sealed sealed;
    char foreign[KEK_KEY_ID_TEXT];
    start_with_one_version("");
    encrypt_v2(seed, 32, &sealed);
    ck_assert_int_eq(decrypt_v2(sealed.bytes, sealed.len, ""), KEK_RPC_INVALID_ARGUMENT);
    ck_assert_int_eq(decrypt_v2(sealed.bytes, sealed.len, "kek1-0"), KEK_RPC_INVALID_ARGUMENT);
    ck_assert_int_eq(kek_key_id(kek_bytes_of(""), 1, &id_2, 1, foreign, NULL), KEK_OK);
    ck_assert_int_eq(decrypt_v2(sealed.bytes, sealed.len, foreign), KEK_RPC_INVALID_ARGUMENT);

    /* An envelope of a KEK nobody has, under its own rightful key_id. */
    memcpy(sealed.bytes + 8, id_9.bytes, KEK_ID_LEN);
    ck_assert_int_eq(kek_key_id(kek_bytes_of(""), 1, &id_9, 1, foreign, NULL), KEK_OK);
    ck_assert_int_eq(decrypt_v2(sealed.bytes, sealed.len, foreign), KEK_RPC_INVALID_ARGUMENT);
    ck_assert_ptr_nonnull(strstr(answer.message, "no HSM here has the KEK"));
    finish();
}
END_TEST

/* The key_id of an envelope of this mode and these KEKs, in that context. */
static void named(uint8_t mode, const struct kek_id *kek_ids, uint8_t count, size_t context,
                  char key_id[static KEK_KEY_ID_TEXT])
{
    struct call one = {.kms = rig.kms, .kek_id = kek_ids[0]};
    one.envelope.mode = mode;
    one.envelope.count = count;
    for (size_t i = 0; i < count; i++) {
        one.envelope.entries[i] = (struct kek_envelope_entry){KEK_WRAP_AES_KW, kek_ids[i], {0}};
    }
    ck_assert_int_eq(call_name_key_id(&one, context, key_id, NULL), KEK_OK);
}

START_TEST(key_id_is_that_of_all_keks_of_an_envelope_in_their_order_and_its_mode)
{
    const char *contexts[] = {"new", "old"};
    const struct kek_id kek_ids[] = {id_1, id_2}, turned[] = {id_2, id_1}; /* 1 is the keyring's */
    char right[KEK_KEY_ID_TEXT], key_id[KEK_KEY_ID_TEXT], first[KEK_KEY_ID_TEXT];
    start_with_one_version("context: new\ncontext_accept: [old]\n");
    for (size_t i = 0; i < 2; i++) {
        struct kek_bytes context = kek_bytes_of(contexts[i]);
        ck_assert_int_eq(kek_key_id(context, KEK_ENVELOPE_MODE_ANY, kek_ids, 1, first, NULL),
                         KEK_OK);
        named(KEK_ENVELOPE_MODE_ANY, kek_ids, 1, i, key_id);
        ck_assert_str_eq(key_id, first);
        for (uint8_t mode = KEK_ENVELOPE_MODE_ANY; mode <= KEK_ENVELOPE_MODE_ALL; mode++) {
            ck_assert_int_eq(kek_key_id(context, mode, kek_ids, 2, right, NULL), KEK_OK);
            named(mode, kek_ids, 2, i, key_id);
            ck_assert_str_eq(key_id, right);
            ck_assert_str_ne(key_id, first);
            named(mode, turned, 2, i, key_id);
            ck_assert_str_ne(key_id, right);
        }
        named(KEK_ENVELOPE_MODE_ALL, kek_ids, 1, i, key_id);
        ck_assert_str_ne(key_id, first);
    }
    finish();
}
END_TEST

/* Whoever can write etcd must not make two roots of one, whatever key_id comes with them. */
START_TEST(envelope_of_two_keks_is_refused_under_every_key_id)
{
    enum { HEAD = 7, ENTRY = 1 + KEK_ID_LEN + 2 };
    struct sealed sealed;
    uint8_t two[2048];
    char both[KEK_KEY_ID_TEXT];
    const struct kek_id kek_ids[] = {id_1, id_1};
    start_with_one_version("");
    encrypt_v2(seed, 32, &sealed);
    ck_assert_int_eq(kek_key_id(kek_bytes_of(""), 1, kek_ids, 2, both, NULL), KEK_OK);
    size_t entry = ENTRY + ((size_t)sealed.bytes[HEAD + 17] << 8 | sealed.bytes[HEAD + 18]);
    memcpy(two, sealed.bytes, HEAD + entry);
    memcpy(two + HEAD + entry, sealed.bytes + HEAD, sealed.len - HEAD);
    two[6] = 2;
    ck_assert_int_eq(decrypt_v2(two, sealed.len + entry, both), KEK_RPC_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(rig.why, "with 2 KEKs, and this configuration has one root"));
    ck_assert_int_eq(decrypt_v2(two, sealed.len + entry, sealed.key_id),
                     KEK_RPC_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(rig.why, "with 2 KEKs, and this configuration has one root"));
    opens(&sealed, seed);
    finish();
}
END_TEST

START_TEST(old_context_opens_and_never_seals)
{
    struct sealed old, now;
    V1beta1__EncryptRequest v1 = V1BETA1__ENCRYPT_REQUEST__INIT;
    uint8_t cipher[1024];
    start_with_one_version("context: old\n");
    encrypt_v2(seed, 32, &old);
    v1.version = (char *)"v1beta1";
    v1.plain = (ProtobufCBinaryData){.data = (uint8_t *)"ping", .len = 4};
    call("/v1beta1.KeyManagementService/Encrypt", &v1.base);
    ck_assert_int_eq(answer.status, KEK_RPC_OK);
    V1beta1__EncryptResponse *sealed =
        v1beta1__encrypt_response__unpack(NULL, answer.len, answer.reply);
    size_t cipher_len = sealed->cipher.len;
    memcpy(cipher, sealed->cipher.data, cipher_len);
    v1beta1__encrypt_response__free_unpacked(sealed, NULL);
    rig_stop(&rig);

    /* A node that never was of the old context: its own state_dir would not be taken for the new one. */
    char record[128];
    snprintf(record, sizeof record, "%s/state/test.json", rig.folder);
    ck_assert_int_eq(remove(record), 0);
    rig_start(&rig, "context: new\n");
    rig_until_primary(&rig, 1);
    ck_assert_int_eq(decrypt_v2(old.bytes, old.len, old.key_id), KEK_RPC_INVALID_ARGUMENT);
    rig_stop(&rig);

    rig_start(&rig, "context: new\ncontext_accept: [other, old]\n");
    rig_until_primary(&rig, 1);
    opens(&old, seed);
    encrypt_v2(seed, 32, &now);
    ck_assert_str_ne(now.key_id, old.key_id);
    V1beta1__DecryptRequest back = V1BETA1__DECRYPT_REQUEST__INIT;
    back.cipher = (ProtobufCBinaryData){.data = cipher, .len = cipher_len};
    for (int i = 0; i < 2; i++) {
        call("/v1beta1.KeyManagementService/Decrypt", &back.base);
        ck_assert_msg(answer.status == KEK_RPC_OK, "%s", answer.message);
        V1beta1__DecryptResponse *opened =
            v1beta1__decrypt_response__unpack(NULL, answer.len, answer.reply);
        ck_assert_uint_eq(opened->plain.len, 4);
        ck_assert_mem_eq(opened->plain.data, "ping", 4);
        v1beta1__decrypt_response__free_unpacked(opened, NULL);
    }
    finish();
}
END_TEST

static uint64_t unwraps(void)
{
    struct kek_datakey_stats stats;
    kek_datakey_stats(rig.store, &stats);
    return stats.unwraps;
}

/* v1 does not say in which context a ciphertext was sealed: trying them all is one operation. */
START_TEST(one_unwrap_serves_all_contexts_and_junk_costs_no_more)
{
    uint8_t cipher[1024];
    start_with_one_version("context: old\n");
    V1beta1__EncryptRequest v1 = V1BETA1__ENCRYPT_REQUEST__INIT;
    v1.plain = (ProtobufCBinaryData){.data = (uint8_t *)"ping", .len = 4};
    call("/v1beta1.KeyManagementService/Encrypt", &v1.base);
    ck_assert_int_eq(answer.status, KEK_RPC_OK);
    V1beta1__EncryptResponse *sealed =
        v1beta1__encrypt_response__unpack(NULL, answer.len, answer.reply);
    size_t len = sealed->cipher.len;
    memcpy(cipher, sealed->cipher.data, len);
    v1beta1__encrypt_response__free_unpacked(sealed, NULL);
    rig_stop(&rig);

    rig_start(&rig, "context: new\ncontext_accept: [other, third, old]\n"
                    "data_key: {max_uses: 1}\n");
    rig_until_primary(&rig, 1);
    V1beta1__DecryptRequest back = V1BETA1__DECRYPT_REQUEST__INIT;
    back.cipher = (ProtobufCBinaryData){.data = cipher, .len = len};
    for (int i = 0; i < 2; i++) {
        uint64_t before = unwraps();
        call("/v1beta1.KeyManagementService/Decrypt", &back.base);
        ck_assert_int_eq(answer.status, i == 0 ? KEK_RPC_OK : KEK_RPC_INVALID_ARGUMENT);
        ck_assert_uint_eq(unwraps() - before, 1);
        cipher[len - 1] ^= 1;
    }
    finish();
}
END_TEST

/* Wherever it stands: ASCII is looked at by the word. */
START_TEST(uid_that_is_not_utf8_anywhere_is_refused)
{
    enum { LEN = 21 };
    static const struct {
        const char *bytes;
        enum kek_rpc_status status;
    } pieces[] = {{"\xff", KEK_RPC_INVALID_ARGUMENT},
                  {"\xc3", KEK_RPC_INVALID_ARGUMENT},
                  {"\xc3\xa9", KEK_RPC_OK},
                  {"\xf0\x9f\x94\x91", KEK_RPC_OK}};
    start_with_one_version("");
    for (size_t i = 0; i < sizeof pieces / sizeof pieces[0]; i++) {
        size_t len = strlen(pieces[i].bytes);
        for (size_t at = 0; at + len <= LEN; at++) {
            char uid[LEN + 1] = "";
            memset(uid, 'u', LEN);
            memcpy(uid + at, pieces[i].bytes, len);
            V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
            request.plaintext = (ProtobufCBinaryData){.data = (uint8_t *)seed, .len = 32};
            request.uid = uid;
            call("/v2.KeyManagementService/Encrypt", &request.base);
            ck_assert_int_eq(answer.status, pieces[i].status);
        }
    }
    finish();
}
END_TEST

START_TEST(v2_plaintext_over_the_limit_is_refused_and_the_largest_fits)
{
    static char big[2048];
    struct sealed sealed;
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    memset(big, 'x', sizeof big);
    start_with_one_version("");
    encrypt_v2(big, 895, &sealed);
    ck_assert_uint_le(sealed.len, 1024);
    ck_assert_uint_gt(sealed.len, 1024 - 16);
    static const size_t refused[] = {0, 896, 1024, 2048};
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        request.plaintext = (ProtobufCBinaryData){.data = (uint8_t *)big, .len = refused[i]};
        call("/v2.KeyManagementService/Encrypt", &request.base);
        ck_assert_int_eq(answer.status, KEK_RPC_INVALID_ARGUMENT);
    }
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kms");
    TCase *tcase = tcase_create("kms");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, nothing_announced_is_unavailable_and_never_an_empty_key_id);
    tcase_add_test(tcase, round_trips_share_one_data_key_and_the_cache);
    tcase_add_test(tcase, strict_mode_is_one_hsm_operation_each_way);
    tcase_add_test(tcase, data_key_is_replaced_after_its_uses_and_made_ahead);
    tcase_add_test(tcase, no_data_key_seals_more_than_its_uses_even_in_a_burst);
    tcase_add_test(tcase, damage_of_any_kind_gets_one_message_and_changes_nothing);
    tcase_add_test(tcase, key_id_must_be_that_of_the_envelope);
    tcase_add_test(tcase, key_id_is_that_of_all_keks_of_an_envelope_in_their_order_and_its_mode);
    tcase_add_test(tcase, envelope_of_two_keks_is_refused_under_every_key_id);
    tcase_add_test(tcase, old_context_opens_and_never_seals);
    tcase_add_test(tcase, one_unwrap_serves_all_contexts_and_junk_costs_no_more);
    tcase_add_test(tcase, uid_that_is_not_utf8_anywhere_is_refused);
    tcase_add_test(tcase, v2_plaintext_over_the_limit_is_refused_and_the_largest_fits);
    return suite_run(suite);
}
