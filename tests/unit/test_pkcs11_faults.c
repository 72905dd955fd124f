/* kekd-pkcs11 on a SoftHSM whose calls fail, hang or are counted (tests/faults/fault.c). */
#include "fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED
#define WRAPPED KEK__PROVIDER__REPLY__RESULT_WRAPPED
#define UNWRAPPED KEK__PROVIDER__REPLY__RESULT_UNWRAPPED

static const uint8_t data_key[KEK_DATA_KEY_LEN] = "an entirely unremarkable dek 32";

START_TEST(a_wrong_pin_is_tried_once)
{
    struct token token;
    char path[PATH_MAX + 8];
    token_make(&token);
    fault_put(&token, "");
    snprintf(path, sizeof path, "%s/pin", token.dir);
    worker_write(path, "not the pin", 11, 0600);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert_uint_eq(reply->token->pin_size, 11);
    ck_assert(!reply->token->pin_count_low);
    reply_free(reply);
    reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_int_eq(reply->failed->step, KEK__PROVIDER__STEP__LOGIN);
    ck_assert_uint_eq(reply->failed->native, CKR_PIN_INCORRECT);
    ck_assert_str_eq(reply->failed->text, "C_Login: CKR_PIN_INCORRECT (0xa0)");
    expect_failed(reply, KEK__PROVIDER__CAUSE__PIN_REFUSED, "");
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "start has failed");
    expect_failed(worker_list(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "start has failed");
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Login"), 1);

    worker_spawn(&worker, "serve");
    reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert(reply->token->pin_count_low);
    reply_free(reply);
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Login"), 1);
}
END_TEST

START_TEST(a_pin_is_not_tried_where_one_more_try_could_lock_it)
{
    static const char *const flags[] = {"C_GetTokenInfo every flags 20000",
                                        "C_GetTokenInfo every flags 40000"};
    static const char *const texts[] = {"FINAL_TRY", "LOCKED"};
    struct token token;
    token_make(&token);
    fault_put(&token, flags[_i]);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert_int_eq(reply->token->pin_final_try, _i == 0);
    ck_assert_int_eq(reply->token->pin_locked, _i == 1);
    reply_free(reply);
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__PIN_REFUSED, texts[_i]);
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Login"), 0);
}
END_TEST

/* "No such token" is not what an HSM that does not answer should look like. */
START_TEST(a_token_that_cannot_be_asked_is_not_just_missing)
{
    static const char *const faults[] = {"C_GetTokenInfo every rv 30", "C_GetSlotInfo every rv 30"};
    struct token token;
    token_make(&token);
    fault_put(&token, faults[_i]);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_uint_eq(reply->failed->native, CKR_DEVICE_ERROR);
    ck_assert_int_eq(reply->failed->step, KEK__PROVIDER__STEP__TOKEN);
    ck_assert_ptr_nonnull(strstr(reply->failed->text, "no token matches"));
    expect_failed(reply, KEK__PROVIDER__CAUSE__LINK, "CKR_DEVICE_ERROR (0x30)");
    worker_end(&worker);
}
END_TEST

/* How C_Login failed, and whether that proves that the PIN was not tried (step TOKEN). */
static const struct {
    const char *fault;
    Kek__Provider__Step step;
    Kek__Provider__Cause cause;
} logins[] = {
    {"C_OpenSession every rv 30", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 3", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 32", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv b0", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv b3", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv e0", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv e1", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 190", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 5", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 6", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 30", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 101", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 80000123", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 2", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY},
    {"C_Login every rv 54", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__UNSUPPORTED},
    {"C_Login every rv a0", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__PIN_REFUSED},
    /* Once it is logged in nothing counts as a try any more. */
    {"C_OpenSession 2 rv b1", KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__BUSY},
    {"C_FindObjectsInit every rv 30", KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__LINK},
};

START_TEST(only_what_proves_that_the_token_was_away_is_no_try_of_the_pin)
{
    struct token token;
    token_make(&token);
    fault_put(&token, logins[_i].fault);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello.sessions = 2;
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    Kek__Provider__Reply *reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_int_eq(reply->failed->step, logins[_i].step);
    expect_failed(reply, logins[_i].cause, "");
    worker_end(&worker);
}
END_TEST

/* The token says by its flags what its answer does not: that was a wrong PIN. */
START_TEST(an_unclear_answer_after_which_the_token_counts_a_wrong_pin_is_a_refusal)
{
    char faults[128];
    struct token token;
    token_make(&token);
    fault_put(&token, "C_Login every rv 5");
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    for (size_t last = 0, round = 0; round < 2; round++) {
        worker_spawn(&worker, "serve");
        reply_free(worker_hello(&worker, &hello));
        Kek__Provider__Reply *reply = worker_login(&worker);
        ck_assert_uint_eq(reply->failed->native, CKR_GENERAL_ERROR);
        expect_failed(reply,
                      round == 0 ? KEK__PROVIDER__CAUSE__LINK : KEK__PROVIDER__CAUSE__PIN_REFUSED,
                      "C_Login: CKR_GENERAL_ERROR (0x5)");
        worker_end(&worker);
        last = fault_count("C_GetTokenInfo");
        snprintf(faults, sizeof faults, "C_Login every rv 5\nC_GetTokenInfo %zu flags 10000", last);
        fault_put(&token, faults);
    }
}
END_TEST

static void send_wrap(struct worker *worker, const struct kek_id *id, uint64_t number)
{
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    wrap.kek_id = (ProtobufCBinaryData){KEK_ID_LEN, (uint8_t *)id->bytes};
    wrap.data_key = (ProtobufCBinaryData){sizeof data_key, (uint8_t *)data_key};
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
    request.wrap = &wrap;
    request.id = number;
    worker_send(worker, &request);
}

START_TEST(a_call_that_hangs_holds_up_no_other_session_and_not_the_end)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_WrapKey 1 hang");
    fault_later();
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello.sessions = 2;
    struct worker worker;
    worker_start_with(&worker, "serve", &hello);
    fault_now();
    for (uint64_t i = 1; i <= 20; i++) {
        send_wrap(&worker, &id, i);
    }
    uint64_t sum = 0;
    for (int i = 0; i < 19; i++) {
        Kek__Provider__Reply *reply = worker_receive(&worker);
        ck_assert_int_eq(reply->result_case, WRAPPED);
        sum += reply->id;
        reply_free(reply);
    }
    uint64_t hung = 210 - sum;
    ck_assert_msg(hung == 1 || hung == 2, "request %d hung", (int)hung);
    worker_end(&worker);
}
END_TEST

static bool is_known_cause(const Kek__Provider__Reply *reply)
{
    switch (reply->failed->cause) {
    case KEK__PROVIDER__CAUSE__LINK:
    case KEK__PROVIDER__CAUSE__BUSY:
    case KEK__PROVIDER__CAUSE__UNSUPPORTED:
    case KEK__PROVIDER__CAUSE__STATE:
    case KEK__PROVIDER__CAUSE__INTERNAL:
    case KEK__PROVIDER__CAUSE__PIN_REFUSED:
        return true;
    default:
        return false;
    }
}

static const CK_RV errors[] = {CKR_GENERAL_ERROR,          CKR_DEVICE_REMOVED,
                               CKR_SESSION_HANDLE_INVALID, CKR_HOST_MEMORY,
                               CKR_KEY_HANDLE_INVALID,     CKR_SESSION_COUNT};
#define ERRORS (sizeof errors / sizeof errors[0])

/* Each call of a start fails once, each time with a worker of its own: it starts anyway, or says
 * what failed and stays there to be asked. */
START_TEST(a_start_survives_a_failure_of_any_call)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    for (unsigned n = 1; n < 200; n++) {
        char fault[64];
        snprintf(fault, sizeof fault, "* %u rv %lx", n, errors[_i]);
        fault_put(&token, fault);
        struct worker worker;
        Kek__Provider__Hello hello;
        hello_init(&hello, fault_uri);
        worker_spawn(&worker, "serve");
        Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
        if (reply->result_case == KEK__PROVIDER__REPLY__RESULT_TOKEN) {
            reply_free(reply);
            reply = worker_login(&worker);
        }
        if (reply->result_case == FAILED) {
            ck_assert_msg(is_known_cause(reply), "%s: cause %d", fault, reply->failed->cause);
            ck_assert_msg(reply->failed->text[0] != '\0', "%s", fault);
            ck_assert_int_ne(reply->failed->step, KEK__PROVIDER__STEP__PROVIDER_CALL);
        } else {
            ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
        }
        reply_free(reply);
        worker_end(&worker);
        if (fault_count(NULL) < n) {
            ck_assert_uint_gt(n, 20);
            return;
        }
    }
    ck_abort_msg("a start takes more than 200 calls");
}
END_TEST

/* One call that fails while AES-KW is tried must not make the token one that wraps with AES-KWP. */
START_TEST(a_failure_that_passes_chooses_no_other_algorithm)
{
    static const char *const faults[] = {"C_WrapKey 1 rv 30",   "C_UnwrapKey 1 rv 5",
                                         "C_UnwrapKey 3 rv b3", "C_CreateObject 1 rv 6",
                                         "C_WrapKey 1 rv 70",   "C_WrapKey 1 rv 40"};
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, faults[_i]);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    Kek__Provider__Reply *reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
    ck_assert_int_eq(reply->ready->alg, KEK__PROVIDER__WRAP_ALG__AES_KW);
    ck_assert(reply->ready->versions[0]->eligible);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

static void expect_works(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Reply *reply = worker_wrap(worker, id, data_key);
    ck_assert_msg(reply->result_case == WRAPPED, "afterwards: %s",
                  reply->result_case == FAILED ? reply->failed->text : "?");
    reply_free(reply);
}

/* Each call of a wrap, an unwrap and a list fails once: a lost session is replaced unseen, the rest is
 * said as it is, nothing is ever called bad data, and the same worker goes on. */
START_TEST(an_operation_survives_a_failure_of_any_call)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    for (unsigned n = 1; n < 60; n++) {
        char fault[64];
        snprintf(fault, sizeof fault, "* %u rv %lx", n, errors[_i]);
        fault_put(&token, fault);
        fault_later();
        struct worker worker;
        worker_start(&worker, "serve", fault_uri);
        Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
        ck_assert_int_eq(blob->result_case, WRAPPED);
        fault_now();
        Kek__Provider__Reply *replies[3] = {
            worker_wrap(&worker, &id, data_key),
            worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40),
            worker_list(&worker),
        };
        bool failed = false;
        for (int i = 0; i < 3; i++) {
            if (replies[i]->result_case == FAILED) {
                failed = true;
                /* An unwrap that fails ambiguously while the token lives is all that may blame the
                 * blob: the front asks its witness then. */
                bool blamed = i == 1 && errors[_i] == CKR_GENERAL_ERROR &&
                              replies[i]->failed->cause == KEK__PROVIDER__CAUSE__DATA;
                ck_assert_msg(blamed || is_known_cause(replies[i]), "%s: %s", fault,
                              replies[i]->failed->text);
            }
            reply_free(replies[i]);
        }
        if (errors[_i] == CKR_SESSION_HANDLE_INVALID && n <= 6) {
            ck_assert_msg(!failed, "%s", fault);
        }
        unsigned long count = fault_count(NULL);
        if (count >= n) {
            expect_works(&worker, &id);
        }
        reply_free(blob);
        worker_end(&worker);
        if (count < n) {
            ck_assert_uint_gt(n, 6);
            return;
        }
    }
    ck_abort_msg("three operations take more than 60 calls");
}
END_TEST

/* A module's word that is wrong once costs no call: a second try shows it. */
START_TEST(a_failure_that_passes_fails_no_operation)
{
    static const char *const faults[] = {
        "C_WrapKey 1 rv 5",           "C_WrapKey 1 rv 70",           "C_CreateObject 1 rv 30",
        "C_CreateObject 1 rv d1",     "C_UnwrapKey 2 rv 5",          "C_UnwrapKey 2 rv 30",
        "C_GetAttributeValue 1 rv 5", "C_GetAttributeValue 2 rv 30",
    };
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, faults[_i]);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_msg(blob->result_case == WRAPPED, "%s", faults[_i]);
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40);
    ck_assert_msg(reply->result_case == UNWRAPPED, "%s", faults[_i]);
    reply_free(reply);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* What says "this blob is bad" of good blobs too says nothing of a blob. */
START_TEST(a_token_that_opens_nothing_blames_no_blob)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_UnwrapKey every rv 110");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    fault_now();
    expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40),
                  KEK__PROVIDER__CAUSE__LINK, "CKR_WRAPPED_KEY_INVALID");
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* A handle came to mean another key while something was wrapped by it.  A blob from before that the same handle
 * is to open shows it, whether the session still uses that handle (`lists` is false) or has found the key
 * anew; and it shows nothing against a handle that is good. */
START_TEST(a_handle_that_means_another_key_is_found_out_by_what_it_opens)
{
    static const struct {
        const char *fault;
        bool lists;
    } faults[] = {{"C_WrapKey 1 renumber", false},
                  {"C_WrapKey 1 renumber", true},
                  {"C_CreateObject 1 renumber", false},
                  {"C_CreateObject 1 renumber", true}};
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    struct odd_key key = {.label = "other.v1", .id = other.bytes, .id_len = sizeof other.bytes};
    token_make_key(&token, &key);
    fault_put(&token, faults[_i].fault);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    Kek__Provider__Reply *witness = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(witness->result_case, WRAPPED);
    const uint8_t *known = witness->wrapped->blob.data;
    Kek__Provider__Reply *reply =
        worker_unwrap_by(&worker, &id, witness->wrapped->handle, KEK_WRAP_AES_KW, known, 40);
    ck_assert_int_eq(reply->result_case, UNWRAPPED);
    reply_free(reply);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_uint_ne(blob->wrapped->handle, 0);
    if (faults[_i].lists) {
        reply = worker_list(&worker);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
        reply_free(reply);
        reply = worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, known, 40);
        ck_assert_int_eq(reply->result_case, UNWRAPPED);
        reply_free(reply);
    }
    expect_failed(worker_unwrap_by(&worker, &id, blob->wrapped->handle, KEK_WRAP_AES_KW, known, 40),
                  KEK__PROVIDER__CAUSE__LINK, faults[_i].lists ? "means another key now" : "");
    reply_free(blob);
    reply_free(witness);
    worker_end(&worker);
}
END_TEST

/* A module that lies for C_WrapKey alone: what it wraps is another key's, and no other call shows it. */
START_TEST(what_was_wrapped_with_another_key_does_not_open)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    struct odd_key key = {.label = "other.v1", .id = other.bytes, .id_len = sizeof other.bytes};
    token_make_key(&token, &key);
    fault_put(&token, "C_WrapKey 1+ mislead");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40);
    ck_assert_int_eq(reply->result_case, FAILED);
    reply_free(reply);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* The same of a module that uses the other key for everything and still shows the right attributes: a blob
 * from before tells.  AES-CBC opens any blob, so there it is what comes out that tells. */
START_TEST(a_handle_that_means_another_key_for_everything_opens_nothing_from_before)
{
    static const struct {
        int alg;
        const char *strategy;
        const char *fault;
    } ways[] = {
        {KEK_WRAP_AES_KW, "wrap-key", "C_WrapKey every mislead\nC_UnwrapKey every mislead"},
        {KEK_WRAP_AES_GCM, "encrypt", "C_EncryptInit every mislead\nC_DecryptInit every mislead"},
        {KEK_WRAP_AES_CBC, "encrypt", "C_EncryptInit every mislead\nC_DecryptInit every mislead"},
    };
    struct token token;
    struct kek_id id = id_of(0x11), other = id_of(0x22);
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    struct odd_key keys[2] = {
        {.label = "ring.v1", .id = id.bytes, .id_len = sizeof id.bytes},
        {.label = "other.v1", .id = other.bytes, .id_len = sizeof other.bytes}};
    token_make(&token);
    for (int i = 0; i < 2; i++) {
        if (strcmp(ways[_i].strategy, "encrypt") == 0) {
            keys[i].change[0] = (CK_ATTRIBUTE){CKA_WRAP, &no, sizeof no};
            keys[i].change[1] = (CK_ATTRIBUTE){CKA_UNWRAP, &no, sizeof no};
            keys[i].change[2] = (CK_ATTRIBUTE){CKA_ENCRYPT, &yes, sizeof yes};
            keys[i].change[3] = (CK_ATTRIBUTE){CKA_DECRYPT, &yes, sizeof yes};
            keys[i].change_count = 4;
        }
        token_make_key(&token, &keys[i]);
    }
    fault_put(&token, ways[_i].fault);
    fault_later();
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello_set(&hello, "strategy", ways[_i].strategy);
    hello.alg = (Kek__Provider__WrapAlg)ways[_i].alg;
    struct worker worker;
    worker_start_with(&worker, "serve", &hello);
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_int_eq((int)blob->wrapped->alg, ways[_i].alg);
    fault_now();
    reply_free(worker_wrap(&worker, &id, data_key));
    Kek__Provider__Reply *reply =
        worker_unwrap_by(&worker, &id, blob->wrapped->handle, ways[_i].alg,
                         blob->wrapped->blob.data, blob->wrapped->blob.len);
    if (ways[_i].alg == KEK_WRAP_AES_CBC) {
        ck_assert_int_eq(reply->result_case, UNWRAPPED);
        ck_assert_mem_ne(reply->unwrapped->data_key.data, data_key, KEK_DATA_KEY_LEN);
        reply_free(reply);
    } else {
        expect_failed(reply, KEK__PROVIDER__CAUSE__LINK, "");
    }
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* Whatever call fails, each session object made is given back, or its session is closed. */
START_TEST(no_session_object_outlives_its_operation)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    static const char *const faults[] = {"", "C_WrapKey 1 rv 5", "C_GetAttributeValue 1 rv 5",
                                         "C_GetAttributeValue 1 rv 150", "C_DestroyObject 1 rv 5"};
    fault_put(&token, faults[_i]);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    fault_now();
    reply_free(worker_wrap(&worker, &id, data_key));
    reply_free(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40));
    ck_assert_uint_eq(fault_count("C_CreateObject") + fault_count("C_UnwrapKey"),
                      fault_count("C_DestroyObject"));
    expect_works(&worker, &id);
    ck_assert_uint_eq(fault_count("C_CloseSession"), _i == 4 ? 1 : 0);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* What the design promises: an unwrap is one C_UnwrapKey, a wrap is one C_WrapKey, and an object made and
 * destroyed. */
START_TEST(an_operation_costs_no_more_calls_than_it_must)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_uint_eq(fault_count(NULL), 3);
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40);
    ck_assert_int_eq(reply->result_case, UNWRAPPED);
    reply_free(reply);
    ck_assert_uint_eq(fault_count(NULL), 6);
    ck_assert_uint_eq(fault_count("C_WrapKey"), 1);
    ck_assert_uint_eq(fault_count("C_UnwrapKey"), 1);
    reply_free(blob);
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Finalize") + fault_count("C_Logout"), 0);
}
END_TEST

/* SoftHSM truncates its token file at a login: killed there with its parent, a worker would take the
 * token along. Somebody else holds the socket open, so that only the parent's death can tell it. */
START_TEST(a_worker_whose_parent_dies_finishes_its_login_first)
{
    struct token token;
    token_make(&token);
    fault_put(&token, "C_Login every delay 400");
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    int hold[2], tell[2];
    ck_assert_int_eq(pipe(hold), 0);
    ck_assert_int_eq(pipe(tell), 0);
    pid_t parent = fork();
    ck_assert_int_ge(parent, 0);
    if (parent == 0) {
        struct worker worker;
        Kek__Provider__Hello hello;
        Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
        Kek__Provider__Login login = KEK__PROVIDER__LOGIN__INIT;
        close(hold[1]);
        hello_init(&hello, fault_uri);
        worker_spawn(&worker, "serve");
        reply_free(worker_hello(&worker, &hello));
        if (fork() == 0) {
            char byte;
            _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
        }
        request.id = 77;
        request.op_case = KEK__PROVIDER__REQUEST__OP_LOGIN;
        request.login = &login;
        worker_send(&worker, &request);
        while (fault_count("C_Login") == 0) {
            usleep(1000);
        }
        _exit(write(tell[1], &worker.pid, sizeof worker.pid) == sizeof worker.pid ? 0 : 1);
    }
    close(hold[0]);
    pid_t pid;
    ck_assert_int_eq(read(tell[0], &pid, sizeof pid), (ssize_t)sizeof pid);
    int status;
    ck_assert_int_eq(waitpid(parent, &status, 0), parent);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(hold[1]);
    ck_assert_int_gt(wait(&status), 0);

    fault_later();
    struct worker next;
    worker_start(&next, "serve", token.uri);
    worker_end(&next);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 faults");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, a_wrong_pin_is_tried_once);
    tcase_add_loop_test(c, a_pin_is_not_tried_where_one_more_try_could_lock_it, 0, 2);
    tcase_add_loop_test(c, a_token_that_cannot_be_asked_is_not_just_missing, 0, 2);
    tcase_add_loop_test(c, only_what_proves_that_the_token_was_away_is_no_try_of_the_pin, 0,
                        (int)(sizeof logins / sizeof logins[0]));
    tcase_add_test(c, an_unclear_answer_after_which_the_token_counts_a_wrong_pin_is_a_refusal);
    tcase_add_test(c, a_call_that_hangs_holds_up_no_other_session_and_not_the_end);
    tcase_add_loop_test(c, a_start_survives_a_failure_of_any_call, 0, ERRORS);
    tcase_add_loop_test(c, an_operation_survives_a_failure_of_any_call, 0, ERRORS);
    tcase_add_test(c, a_worker_whose_parent_dies_finishes_its_login_first);
    tcase_add_loop_test(c, a_failure_that_passes_chooses_no_other_algorithm, 0, 6);
    tcase_add_loop_test(c, a_failure_that_passes_fails_no_operation, 0, 8);
    tcase_add_test(c, a_token_that_opens_nothing_blames_no_blob);
    tcase_add_loop_test(c, a_handle_that_means_another_key_is_found_out_by_what_it_opens, 0, 4);
    tcase_add_test(c, what_was_wrapped_with_another_key_does_not_open);
    tcase_add_loop_test(c, a_handle_that_means_another_key_for_everything_opens_nothing_from_before,
                        0, 3);
    tcase_add_loop_test(c, no_session_object_outlives_its_operation, 0, 5);
    tcase_add_test(c, an_operation_costs_no_more_calls_than_it_must);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
