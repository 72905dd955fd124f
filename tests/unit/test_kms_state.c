/* KMS calls while the KEK changes, is gone, or the HSM is; and calls that end early. */
#include "kms_help.h"

#include "kek/text.h"

/* The linker sends this program's malloc through here.  Check's own requests, which are smaller, go on. */
#define SMALL 128
void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);
static bool malloc_fails;

void *__wrap_malloc(size_t size)
{
    return malloc_fails && size > SMALL ? NULL : __real_malloc(size);
}

static bool is_closed(struct rig *r, void *arg)
{
    (void)arg;
    return kek_keyring_find(r->ring, &id_1) == KEK_KEYRING_CLOSED;
}

/* Later, for as long as one test looks. */
static uint64_t later_us;
static uint64_t later(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + later_us;
}

static size_t sealing_after(uint64_t ms, struct kek_generation *generations)
{
    later_us = ms * 1000;
    kek_clock_fake(later);
    size_t count = kek_kms_sealing(rig.kms, generations, 4);
    kek_clock_fake(NULL);
    return count;
}

START_TEST(rotation_follows_the_status_of_its_own_connection)
{
    struct sealed one, two;
    struct kek_generation sealing[4];
    char key_id_1[KEK_KEY_ID_TEXT], key_id_2[KEK_KEY_ID_TEXT];
    struct kek_rpc_peer fresh = {0};
    start_with_one_version("");
    status_says("ok", key_id_1);
    encrypt_v2(seed, 32, &one);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    ck_assert_uint_eq(kek_kms_sealing(rig.kms, sealing, 4), 1);
    rig_until_primary(&rig, 2);

    /* Calls may go on under version 1 until nobody can follow it any more. */
    ck_assert_uint_eq(sealing_after(0, sealing), 2);
    ck_assert_uint_eq(sealing[0].numbers[0], 2);
    ck_assert_uint_eq(sealing[1].numbers[0], 1);
    ck_assert_uint_eq(sealing_after(95000, sealing), 2);
    ck_assert_uint_eq(sealing_after(101000, sealing), 1);
    ck_assert_uint_eq(sealing[0].numbers[0], 2);
    ck_assert_uint_eq(kek_kms_sealing(rig.kms, sealing, 1), 1);
    ck_assert_uint_eq(kek_kms_sealing(rig.kms, sealing, 0), 0);

    /* This connection heard of version 1 only: it still gets that one. */
    encrypt_v2(seed, 32, &two);
    ck_assert_str_eq(two.key_id, key_id_1);
    status_says("ok", key_id_2);
    ck_assert_str_ne(key_id_1, key_id_2);
    encrypt_v2(seed, 32, &two);
    ck_assert_str_eq(two.key_id, key_id_2);
    peer = fresh;
    encrypt_v2(seed, 32, &two);
    ck_assert_str_eq(two.key_id, key_id_2);
    opens(&one, seed);
    opens(&two, seed);

    /* Version 1 loses WRAP: deactivated, it still opens. Then UNWRAP goes with the key: closed. */
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 1, &id_1, KEK_STATE_DEACTIVATED),
                     KEK_OK);
    rig_turn(&rig, 2500);
    opens(&one, seed);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_DESTROY, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_until(&rig, is_closed, NULL);
    ck_assert_int_eq(decrypt_v2(one.bytes, one.len, one.key_id), KEK_RPC_FAILED_PRECONDITION);
    opens(&two, seed);
    finish();
}
END_TEST

/* What left long before the last change is neither followed nor listed for that change's sake. */
START_TEST(what_was_announced_two_changes_ago_has_its_own_time)
{
    static const struct kek_id id_3 = {{3}};
    struct sealed sealed;
    struct kek_generation sealing[4];
    char key_ids[4][KEK_KEY_ID_TEXT];
    struct kek_rpc_peer told_1, told_2;
    start_with_one_version("");
    status_says("ok", key_ids[1]);
    told_1 = peer;
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_until_primary(&rig, 2);
    status_says("ok", key_ids[2]);
    told_2 = peer;
    rig_turn(&rig, 4000);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 3, &id_3, KEK_STATE_ACTIVE), KEK_OK);
    rig_until_primary(&rig, 3);
    status_says("ok", key_ids[3]);

    ck_assert_uint_eq(sealing_after(0, sealing), 3);
    ck_assert_uint_eq(sealing_after(98000, sealing), 2);
    ck_assert_uint_eq(sealing[0].numbers[0], 3);
    ck_assert_uint_eq(sealing[1].numbers[0], 2);
    ck_assert_uint_eq(sealing_after(106000, sealing), 1);

    later_us = UINT64_C(88000000);
    kek_clock_fake(later);
    peer = told_2;
    encrypt_v2(seed, 32, &sealed);
    ck_assert_str_eq(sealed.key_id, key_ids[2]);
    peer = told_1;
    encrypt_v2(seed, 32, &sealed);
    ck_assert_str_eq(sealed.key_id, key_ids[3]);
    kek_clock_fake(NULL);
    finish();
}
END_TEST

/* The token is ahead of what kekd knows: version 1 is retired, version 2 is active, both only just now. */
static void turn_over(const char *yaml)
{
    start_with_one_version(yaml);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_PRE_ACTIVE), KEK_OK);
    rig_turn(&rig, 1200);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 1, &id_1, KEK_STATE_DEACTIVATED),
                     KEK_OK);
}

START_TEST(encrypt_under_way_when_its_version_is_retired_is_sealed_under_the_next_one)
{
    struct sealed sealed;
    char key_id[KEK_KEY_ID_TEXT];
    turn_over("data_key: {max_uses: 1}\n");
    encrypt_v2(seed, 32, &sealed); /* the token refuses to wrap under version 1 */
    status_says("ok", key_id);
    ck_assert_str_eq(sealed.key_id, key_id);
    opens(&sealed, seed);
    ck_assert_mem_eq(sealed.bytes + 8, &id_2, KEK_ID_LEN);
    finish();
}
END_TEST

/* Connections that Status told of version 1 go on with it for 90 s, and no longer than it may wrap. */
START_TEST(version_that_is_retired_while_a_connection_follows_its_status_gives_way_to_the_next_one)
{
    struct sealed sealed;
    char key_id[KEK_KEY_ID_TEXT];
    bool retired = false;
    start_with_one_version(_i == 0 ? "" : "data_key: {max_uses: 1}\n");
    status_says("ok", key_id);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_until_primary(&rig, 2);
    encrypt_v2(seed, 32, &sealed);
    ck_assert_str_eq(sealed.key_id, key_id);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 1, &id_1, KEK_STATE_DEACTIVATED),
                     KEK_OK);
    for (uint64_t end = kek_clock_ms() + 30000; !retired && kek_clock_ms() < end;) {
        encrypt_v2(seed, 32, &sealed); /* whenever it is found out */
        retired = strcmp(sealed.key_id, key_id) != 0;
        rig_turn(&rig, 10);
    }
    ck_assert(retired);
    opens(&sealed, seed);
    finish();
}
END_TEST

static bool is_changing(struct rig *r, void *arg)
{
    (void)arg;
    return kek_keyring_is_changing(r->ring);
}

/* By then the tokens show that other nodes announce version 2. */
START_TEST(status_waits_for_the_new_version_once_the_old_one_is_known_to_be_retired)
{
    char before[KEK_KEY_ID_TEXT], after[KEK_KEY_ID_TEXT];
    turn_over("");
    status_says("ok", before);
    rig_until(&rig, is_changing, NULL);
    status_says("ok", after);
    ck_assert_str_ne(before, after);
    ck_assert(!kek_keyring_is_changing(rig.ring));
    finish();
}
END_TEST

static bool has_lost(struct rig *r, void *arg)
{
    struct kek_keyring_verdict verdict;
    (void)arg;
    kek_keyring_verdict(r->ring, &verdict);
    return verdict.state == KEK_KEYRING_LOSS;
}

START_TEST(loss_fails_the_status_call_and_refuses_writes)
{
    struct sealed sealed;
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    start_with_one_version("");
    encrypt_v2(seed, 32, &sealed);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_DESTROY, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_until(&rig, has_lost, NULL);
    rig_call(&rig, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), &peer, &answer);
    ck_assert_int_eq(answer.status, KEK_RPC_FAILED_PRECONDITION);
    request.plaintext = (ProtobufCBinaryData){.data = (uint8_t *)seed, .len = 32};
    call("/v2.KeyManagementService/Encrypt", &request.base);
    ck_assert_int_eq(answer.status, KEK_RPC_FAILED_PRECONDITION);
    ck_assert_int_eq(decrypt_v2(sealed.bytes, sealed.len, sealed.key_id),
                     KEK_RPC_FAILED_PRECONDITION);
    finish();
}
END_TEST

static bool is_out(struct rig *r, void *arg)
{
    struct kek_keyring_verdict verdict;
    (void)arg;
    kek_keyring_verdict(r->ring, &verdict);
    return verdict.state == KEK_KEYRING_OUTAGE;
}

static bool is_good(struct rig *r, void *arg)
{
    struct kek_keyring_verdict verdict;
    (void)arg;
    kek_keyring_verdict(r->ring, &verdict);
    return verdict.state == KEK_KEYRING_GOOD;
}

START_TEST(outage_is_bridged_within_grace_and_said_after_it)
{
    struct sealed sealed, bridged;
    char tokens[128], away[128], key_id[KEK_KEY_ID_TEXT];
    start_with_one_version("health: {probe_interval: 1s, grace: 3s}\n");
    snprintf(tokens, sizeof tokens, "%s/tokens", rig.folder);
    snprintf(away, sizeof away, "%s/away", rig.folder);
    encrypt_v2(seed, 32, &sealed);
    ck_assert_int_eq(rename(tokens, away), 0);
    rig_until(&rig, is_out, NULL);
    status_says("ok", key_id);
    encrypt_v2(seed, 32, &bridged);
    opens(&sealed, seed);
    opens(&bridged, seed);
    rig_turn(&rig, 3200);
    rig_call(&rig, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), &peer, &answer);
    ck_assert_int_eq(answer.status, KEK_RPC_OK);
    V2__StatusResponse *response = v2__status_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_ptr_nonnull(strstr(response->healthz, "no HSM answers"));
    ck_assert_str_eq(response->key_id, key_id);
    v2__status_response__free_unpacked(response, NULL);
    ck_assert_int_eq(rename(away, tokens), 0);
    rig_until(&rig, is_good, NULL);
    status_says("ok", key_id);
    finish();
}
END_TEST

static const struct {
    enum kek_rpc_status status;
    const char *why;
} early_ends[] = {
    {KEK_RPC_CANCELLED, "the client gave up"},
    {KEK_RPC_DEADLINE_EXCEEDED, "the deadline passed while waiting for the HSM"},
    {KEK_RPC_UNAVAILABLE, "kekd stopped while this waited for the HSM"},
};

/* No UTF-8, and UTF-8 that is cut somewhere. */
#define O "%c3%b6"
static const char *const odd_modules[] = {
    "/none/%ff%c3.so",
    "/none" O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O,
    "/nones" O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O O,
};

/* A client of protobuf's takes no string that is not UTF-8: the Status call itself would fail for it,
 * which stops writes, and an outage must not. */
START_TEST(outage_text_is_utf8_whatever_the_module_is_called)
{
    char key_id[KEK_KEY_ID_TEXT];
    start_with_one_version("");
    status_says("ok", key_id);
    rig_stop(&rig);
    char uri[sizeof rig.uri];
    const char *path = strstr(rig.uri, "module-path=") + strlen("module-path=");
    int len = snprintf(uri, sizeof uri, "%.*s%s%s", (int)(path - rig.uri), rig.uri, odd_modules[_i],
                       strchr(path, '&'));
    ck_assert_int_lt(len, (int)sizeof uri);
    memcpy(rig.uri, uri, sizeof uri);
    rig_start(&rig, "");
    rig_until(&rig, is_out, NULL);
    rig_call(&rig, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), &peer, &answer);
    ck_assert_int_eq(answer.status, KEK_RPC_OK);
    V2__StatusResponse *response = v2__status_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_ptr_nonnull(strstr(response->healthz, "no HSM answers: hsm-a: "));
    ck_assert_str_eq(response->key_id, key_id);
    const unsigned char *c = (const unsigned char *)response->healthz;
    while (*c != '\0') {
        ck_assert_uint_gt(kek_text_char_len(c), 0);
        c += kek_text_char_len(c);
    }
    v2__status_response__free_unpacked(response, NULL);
    finish();
}
END_TEST

START_TEST(call_that_ends_early_lets_go_of_its_flight_and_says_why)
{
    static struct answer early;
    struct kek_datakey_stats stats;
    V1beta1__EncryptRequest request = V1BETA1__ENCRYPT_REQUEST__INIT;
    uint8_t bytes[128];
    start_with_one_version("data_key: {max_uses: 1}\n");
    request.plain = (ProtobufCBinaryData){.data = (uint8_t *)seed, .len = 32};
    size_t len = protobuf_c_message_pack(&request.base, bytes);
    unsigned before = rig.events;
    rig_begin(&rig, "/v1beta1.KeyManagementService/Encrypt", kek_bytes(bytes, len), &peer, &early);
    ck_assert(!early.done);
    early.rpc.ended(&early.rpc, early_ends[_i].status);
    kek_datakey_stats(rig.store, &stats);
    ck_assert_uint_eq(stats.flights, 0);
    ck_assert_uint_eq(rig.events, before + 1);
    ck_assert_str_eq(rig.why, early_ends[_i].why);
    rig_turn(&rig, 300);
    ck_assert(!early.done);
    finish();
}
END_TEST

START_TEST(call_without_memory_is_refused_and_observed_too)
{
    static struct answer refused;
    start_with_one_version("");
    unsigned before = rig.events;
    malloc_fails = true;
    rig_begin(&rig, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), &peer, &refused);
    malloc_fails = false;
    ck_assert(refused.done);
    ck_assert_int_eq(refused.status, KEK_RPC_RESOURCE_EXHAUSTED);
    ck_assert_uint_eq(rig.events, before + 1);
    finish();
}
END_TEST

START_TEST(stop_ends_waiting_calls)
{
    static struct answer waiting;
    V1beta1__EncryptRequest request = V1BETA1__ENCRYPT_REQUEST__INIT;
    uint8_t bytes[128];
    start_with_one_version("data_key: {max_uses: 1}\n");
    request.plain = (ProtobufCBinaryData){.data = (uint8_t *)seed, .len = 32};
    size_t len = protobuf_c_message_pack(&request.base, bytes);
    rig_begin(&rig, "/v1beta1.KeyManagementService/Encrypt", kek_bytes(bytes, len), &peer,
              &waiting);
    finish();
    ck_assert(waiting.done);
    ck_assert_int_eq(waiting.status, KEK_RPC_UNAVAILABLE);
}
END_TEST

START_TEST(what_is_not_a_message_is_refused)
{
    static const char *const paths[] = {
        "/v2.KeyManagementService/Status",       "/v2.KeyManagementService/Encrypt",
        "/v2.KeyManagementService/Decrypt",      "/v1beta1.KeyManagementService/Version",
        "/v1beta1.KeyManagementService/Encrypt", "/v1beta1.KeyManagementService/Decrypt",
    };
    start_with_one_version("");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        rig_call(&rig, paths[i], kek_bytes("\x0a\xff\xff\xff\x7f", 5), &peer, &answer);
        ck_assert_int_eq(answer.status, KEK_RPC_INVALID_ARGUMENT);
        /* An unknown field of 65 bits, which protobuf-c cuts. */
        rig_call(&rig, paths[i], kek_bytes("\x78\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11),
                 &peer, &answer);
        ck_assert_int_eq(answer.status, KEK_RPC_INVALID_ARGUMENT);
    }
    rig_call(&rig, "/v1beta1.KeyManagementService/Version", kek_bytes(NULL, 0), &peer, &answer);
    ck_assert_int_eq(answer.status, KEK_RPC_OK);
    V1beta1__VersionResponse *version =
        v1beta1__version_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_str_eq(version->version, "v1beta1");
    v1beta1__version_response__free_unpacked(version, NULL);
    finish();
}
END_TEST

static bool is_shut(struct rig *r, void *arg)
{
    struct kek_keyring_verdict verdict;
    (void)arg;
    kek_keyring_verdict(r->ring, &verdict);
    return verdict.state == KEK_KEYRING_SHUT;
}

static const char *const modes[] = {"", "data_key: {max_uses: 1}\n"};

/* Nobody waits for what waiting cannot bring, and opening needs no WRAP. */
START_TEST(primary_that_may_wrap_nowhere_fails_encrypt_at_once_and_still_opens)
{
    static struct answer refused;
    struct sealed sealed;
    V1beta1__EncryptRequest request = V1BETA1__ENCRYPT_REQUEST__INIT;
    uint8_t bytes[128];
    start_with_one_version(modes[_i]);
    encrypt_v2(seed, 32, &sealed);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 1, &id_1, KEK_STATE_DEACTIVATED),
                     KEK_OK);
    rig_until(&rig, is_shut, NULL);
    request.plain = (ProtobufCBinaryData){.data = (uint8_t *)seed, .len = 32};
    size_t len = protobuf_c_message_pack(&request.base, bytes);
    rig_begin(&rig, "/v1beta1.KeyManagementService/Encrypt", kek_bytes(bytes, len), &peer,
              &refused);
    ck_assert(refused.done); /* without a turn of the loop */
    ck_assert_int_eq(refused.status, KEK_RPC_FAILED_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(refused.message, "KEK version 1 may wrap on no HSM"));
    rig_call(&rig, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), &peer, &answer);
    ck_assert_int_eq(answer.status, KEK_RPC_OK);
    V2__StatusResponse *response = v2__status_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_ptr_nonnull(strstr(response->healthz, "KEK version 1 may wrap on no HSM"));
    ck_assert_str_eq(response->key_id, sealed.key_id);
    v2__status_response__free_unpacked(response, NULL);
    opens(&sealed, seed);
    finish();
}
END_TEST

/* A v1 Decrypt of almost 64 KiB, of a KEK that no HSM has. */
static struct kek_bytes large_decrypt(void)
{
    static const struct kek_id nobodys = {{9, 9, 9}};
    static const uint8_t wrapped[40];
    static uint8_t body[16 + 4060 * 16 + 32], bytes[66000];
    struct kek_envelope_entry entry = {
        .alg = KEK_WRAP_AES_KW, .kek_id = nobodys, .wrapped = kek_bytes(wrapped, sizeof wrapped)};
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, 66000);
    ck_assert_int_eq(kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, &sealed, NULL), KEK_OK);
    ck_assert_int_eq(kek_buf_append(&sealed, kek_bytes(body, sizeof body), NULL), KEK_OK);
    V1beta1__DecryptRequest request = V1BETA1__DECRYPT_REQUEST__INIT;
    request.cipher = (ProtobufCBinaryData){.data = sealed.data, .len = sealed.len};
    ck_assert_uint_le(protobuf_c_message_get_packed_size(&request.base), sizeof bytes);
    return kek_bytes(bytes, protobuf_c_message_pack(&request.base, bytes));
}

/* Connections times streams times 64 KiB would be half a gigabyte. */
START_TEST(payloads_that_wait_for_an_hsm_are_bounded_in_all)
{
    enum { CALLS = 600, BOUND = 32 * 1024 * 1024 };
    static struct answer answers[CALLS];
    size_t waiting = 0;
    start_with_one_version("");
    struct kek_bytes message = large_decrypt();
    for (size_t i = 0; i < CALLS; i++) {
        rig_begin(&rig, "/v1beta1.KeyManagementService/Decrypt", message, &peer, &answers[i]);
        waiting += !answers[i].done;
        ck_assert(!answers[i].done || answers[i].status == KEK_RPC_RESOURCE_EXHAUSTED);
    }
    ck_assert_uint_le(waiting * (message.len - 16), BOUND);
    ck_assert_uint_ge((waiting + 1) * message.len, BOUND);
    ck_assert_ptr_nonnull(strstr(answers[CALLS - 1].message, "calls that wait"));
    for (size_t i = 0; i < CALLS; i++) {
        rig_wait(&rig, &answers[i]);
        ck_assert_int_ne(answers[i].status, KEK_RPC_OK);
    }
    /* All of it is given back. */
    rig_begin(&rig, "/v1beta1.KeyManagementService/Decrypt", message, &peer, &answers[0]);
    ck_assert(!answers[0].done);
    rig_wait(&rig, &answers[0]);
    finish();
}
END_TEST

START_TEST(call_that_ends_while_the_tokens_are_looked_at_is_gone_at_once)
{
    static struct answer early;
    start_with_one_version("");
    struct kek_bytes message = large_decrypt();
    unsigned before = rig.events;
    rig_begin(&rig, "/v1beta1.KeyManagementService/Decrypt", message, &peer, &early);
    ck_assert(!early.done);
    early.rpc.ended(&early.rpc, KEK_RPC_CANCELLED);
    ck_assert_uint_eq(rig.events, before + 1);
    rig_turn(&rig, 1000);
    ck_assert(!early.done);
    ck_assert_uint_eq(rig.events, before + 1);
    finish();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kms_state");
    TCase *tcase = tcase_create("kms_state");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, what_was_announced_two_changes_ago_has_its_own_time);
    tcase_add_test(tcase, rotation_follows_the_status_of_its_own_connection);
    tcase_add_test(tcase,
                   encrypt_under_way_when_its_version_is_retired_is_sealed_under_the_next_one);
    tcase_add_loop_test(
        tcase,
        version_that_is_retired_while_a_connection_follows_its_status_gives_way_to_the_next_one, 0,
        2);
    tcase_add_test(tcase, status_waits_for_the_new_version_once_the_old_one_is_known_to_be_retired);
    tcase_add_test(tcase, loss_fails_the_status_call_and_refuses_writes);
    tcase_add_test(tcase, outage_is_bridged_within_grace_and_said_after_it);
    tcase_add_loop_test(tcase, outage_text_is_utf8_whatever_the_module_is_called, 0,
                        sizeof odd_modules / sizeof odd_modules[0]);
    tcase_add_loop_test(tcase, call_that_ends_early_lets_go_of_its_flight_and_says_why, 0,
                        sizeof early_ends / sizeof early_ends[0]);
    tcase_add_test(tcase, call_without_memory_is_refused_and_observed_too);
    tcase_add_test(tcase, stop_ends_waiting_calls);
    tcase_add_test(tcase, what_is_not_a_message_is_refused);
    tcase_add_loop_test(tcase, primary_that_may_wrap_nowhere_fails_encrypt_at_once_and_still_opens,
                        0, 2);
    tcase_add_test(tcase, payloads_that_wait_for_an_hsm_are_bounded_in_all);
    tcase_add_test(tcase, call_that_ends_while_the_tokens_are_looked_at_is_gone_at_once);
    return suite_run(suite);
}
