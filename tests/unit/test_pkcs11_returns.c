/* kekd-pkcs11 where each call fails in each way once, in service and at an officer's work. */
#include "fault.h"

#include <stdio.h>
#include <string.h>

#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED
#define WRAPPED KEK__PROVIDER__REPLY__RESULT_WRAPPED

#define CALLS 14 /* that an operation makes */
enum { WRAPPING, UNWRAPPING, LISTING };

static const uint8_t data_key[KEK_DATA_KEY_LEN] = "an entirely unremarkable dek 32";

static const CK_RV errors[] = {CKR_GENERAL_ERROR,          CKR_DEVICE_REMOVED,
                               CKR_SESSION_HANDLE_INVALID, CKR_HOST_MEMORY,
                               CKR_KEY_HANDLE_INVALID,     CKR_SESSION_COUNT};
#define ERRORS (sizeof errors / sizeof errors[0])

static void expect_works(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Reply *reply = worker_wrap(worker, id, data_key);
    ck_assert_msg(reply->result_case == WRAPPED, "afterwards: %s",
                  reply->result_case == FAILED ? reply->failed->text : "?");
    reply_free(reply);
}

/* What a failure in the middle of the day may be blamed on: the key only by a call that uses it, a blob only
 * by one that reads it; and never the PIN or the asker. */
static bool is_fair(const Kek__Provider__Reply *reply, const char *call, int operation)
{
    bool reads = strcmp(call, "C_UnwrapKey") == 0 || strcmp(call, "C_Decrypt") == 0;
    bool uses = reads || strcmp(call, "C_WrapKey") == 0 || strcmp(call, "C_EncryptInit") == 0 ||
                strcmp(call, "C_Encrypt") == 0 || strcmp(call, "C_DecryptInit") == 0;
    switch (reply->failed->cause) {
    case KEK__PROVIDER__CAUSE__LINK:
    case KEK__PROVIDER__CAUSE__BUSY:
        return true;
    case KEK__PROVIDER__CAUSE__UNSUPPORTED:
        return operation == LISTING;
    case KEK__PROVIDER__CAUSE__STATE:
        return uses && operation != LISTING;
    case KEK__PROVIDER__CAUSE__DATA:
        return reads && operation == UNWRAPPING;
    default:
        return false;
    }
}

/* Each return value that PKCS#11 has room for, of each call: whatever it means, it is said or mended, and
 * the same worker goes on. */
START_TEST(any_return_value_of_any_call_leaves_a_worker_that_works)
{
    static const struct {
        const char *call;
        bool encrypts;
    } calls[] = {
        {"C_CreateObject", false},    {"C_WrapKey", false},          {"C_UnwrapKey", false},
        {"C_DestroyObject", false},   {"C_FindObjects", false},      {"C_GetAttributeValue", false},
        {"C_FindObjectsInit", false}, {"C_FindObjectsFinal", false}, {"C_OpenSession", false},
        {"C_CloseSession", false},    {"C_EncryptInit", true},       {"C_Encrypt", true},
        {"C_DecryptInit", true},      {"C_Decrypt", true},
    };
    ck_assert_uint_eq(sizeof calls / sizeof calls[0], CALLS);
    struct token token;
    struct kek_id id = id_of(0x11);
    token_make(&token);
    fault_put(&token, "");
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello_set(&hello, "strategy", calls[_i].encrypts ? "encrypt" : "wrap-key");
    struct worker worker;
    worker_start_with(&worker, "officer", &hello);
    expect_done(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE));
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    /* Sessions are opened and closed only after another failure. */
    const char *before = strstr(calls[_i].call, "Session") != NULL ? "C_WrapKey 1 rv b3\n" : "";
    for (unsigned long rv = 1; rv < 0x210; rv++) {
        char fault[64];
        snprintf(fault, sizeof fault, "%s%s 1 rv %lx", before, calls[_i].call,
                 rv == 0x20f ? CKR_VENDOR_DEFINED | 0x123 : rv);
        fault_put(&token, fault);
        Kek__Provider__Reply *replies[3] = {
            worker_wrap(&worker, &id, data_key),
            worker_unwrap(&worker, &id, (int)blob->wrapped->alg, blob->wrapped->blob.data,
                          blob->wrapped->blob.len),
            worker_list(&worker),
        };
        for (int i = 0; i < 3; i++) {
            ck_assert_msg(replies[i]->result_case != FAILED ||
                              is_fair(replies[i], calls[_i].call, i),
                          "%s: operation %d: cause %d: %s", fault, i, replies[i]->failed->cause,
                          replies[i]->failed->text);
            reply_free(replies[i]);
        }
        ck_assert_msg(fault_count(calls[_i].call) > 0, "%s never came up", fault);
        fault_later();
        expect_works(&worker, &id);
    }
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* The version of this id as a fresh worker sees it, which finds no fault. */
static bool seen(const char *uri, const struct kek_id *id, bool *can_wrap)
{
    struct worker worker;
    bool found = false;
    worker_start(&worker, "officer", uri);
    Kek__Provider__Reply *list = worker_list(&worker);
    ck_assert_int_eq(list->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
    for (size_t i = 0; i < list->listed->n_versions; i++) {
        const Kek__Provider__Version *version = list->listed->versions[i];
        ck_assert_msg(version->eligible, "%s: %s", version->label, version->refusal);
        if (memcmp(version->kek_id.data, id->bytes, KEK_ID_LEN) == 0) {
            ck_assert(!found && version->can_unwrap);
            found = true;
            *can_wrap = version->can_wrap;
        }
    }
    reply_free(list);
    worker_end(&worker);
    return found;
}

enum { GENERATING, DEACTIVATING, ACTIVATING, DESTROYING, OFFICER };

static Kek__Provider__Reply *as_officer(struct worker *worker, int operation,
                                        const struct kek_id *id)
{
    switch (operation) {
    case GENERATING:
        return worker_generate(worker, 2, id, KEK__PROVIDER__STATE__ACTIVE);
    case DEACTIVATING:
        return worker_set_state(worker, id, KEK__PROVIDER__STATE__DEACTIVATED);
    case ACTIVATING:
        return worker_set_state(worker, id, KEK__PROVIDER__STATE__ACTIVE);
    default:
        return worker_destroy(worker, id);
    }
}

static bool is_so(const char *uri, int operation, const struct kek_id *id)
{
    bool can_wrap = false, found = seen(uri, id, &can_wrap);
    return operation == DESTROYING ? !found : found && can_wrap == (operation != DEACTIVATING);
}

/* Each call of what an officer does fails once: what was done is so, what failed can be seen and done
 * again, and no key is spoilt on the way. */
START_TEST(an_officer_operation_survives_a_failure_of_any_call)
{
    struct token token;
    struct kek_id first, id = id_of(0x22);
    token_make_with_key(&token, &first);
    unsigned calls[OFFICER] = {0};
    bool over[OFFICER] = {false};
    for (unsigned n = 1; n < 200 && !(over[0] && over[1] && over[2] && over[3]); n++) {
        for (int operation = 0; operation < OFFICER; operation++) {
            char fault[64];
            snprintf(fault, sizeof fault, "* %u rv %lx", n, errors[_i]);
            fault_put(&token, fault);
            fault_later();
            struct worker worker;
            worker_start(&worker, "officer", fault_uri);
            fault_now();
            Kek__Provider__Reply *reply = as_officer(&worker, operation, &id);
            over[operation] = fault_count(NULL) < n;
            calls[operation] += !over[operation];
            bool done = reply->result_case == KEK__PROVIDER__REPLY__RESULT_DONE;
            ck_assert_msg(done || reply->failed->cause == KEK__PROVIDER__CAUSE__LINK ||
                              reply->failed->cause == KEK__PROVIDER__CAUSE__BUSY,
                          "operation %d: %s: cause %d: %s", operation, fault, reply->failed->cause,
                          reply->failed->text);
            ck_assert(done || !over[operation]);
            reply_free(reply);
            worker_end(&worker);
            fault_later();
            if (!is_so(token.uri, operation, &id)) {
                ck_assert_msg(!done, "operation %d: %s: done, and it is not so", operation, fault);
                worker_start(&worker, "officer", token.uri);
                expect_done(as_officer(&worker, operation, &id));
                worker_end(&worker);
                ck_assert(is_so(token.uri, operation, &id));
            }
        }
    }
    for (int operation = 0; operation < OFFICER; operation++) {
        ck_assert(over[operation]);
        ck_assert_uint_gt(calls[operation], 10);
    }
}
END_TEST

static CK_ULONG secret_keys;

static bool count_secret_keys(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE attribute = {CKA_CLASS, &class, sizeof class};
    CK_OBJECT_HANDLE found[8];
    CK_ULONG count = 0;
    (void)arg;
    return f->C_FindObjectsInit(session, &attribute, 1) == CKR_OK &&
           f->C_FindObjects(session, found, 8, &count) == CKR_OK && count == secret_keys;
}

/* Tokens that cut a CKA_ID or a label exist: the key that was asked for cannot be found then. */
START_TEST(a_key_that_the_token_names_otherwise_is_destroyed_or_named)
{
    static const struct {
        const char *fault, *text;
        CK_ULONG left;
    } cases[] = {
        {"C_GenerateKey every shorten 102",
         "the new key was destroyed again: the token names the new key otherwise than it was told "
         "to: label 'ring.v1', CKA_ID 2222222222222222",
         0},
        {"C_GenerateKey every shorten 3",
         "told to: label 'rin', CKA_ID 22222222222222222222222222222222", 0},
        {"C_GenerateKey every shorten 102\nC_DestroyObject every rv 54",
         "a key is left on the token, destroy it by the vendor's tools: label 'ring.v1', CKA_ID "
         "2222222222222222 (C_DestroyObject: CKR_FUNCTION_NOT_SUPPORTED)",
         1},
        {"C_GenerateKey every shorten 3\nC_DestroyObject every rv 54",
         "label 'rin', CKA_ID 22222222222222222222222222222222 (C_DestroyObject", 1},
    };
    struct token token;
    struct kek_id id = id_of(0x22);
    token_make(&token);
    fault_put(&token, cases[_i].fault);
    struct worker worker;
    worker_start(&worker, "officer", fault_uri);
    expect_failed(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__UNSUPPORTED, cases[_i].text);
    worker_end(&worker);
    secret_keys = cases[_i].left;
    token_do(&token, count_secret_keys, NULL);
    /* Nothing stands in the way of the next try. */
    fault_later();
    if (cases[_i].left == 0) {
        worker_start(&worker, "officer", fault_uri);
        expect_done(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE));
        worker_end(&worker);
    }
}
END_TEST

/* A failure that passes must not make another kind of key: it would wrap by another strategy for ever. */
START_TEST(a_failure_that_passes_makes_no_other_kind_of_key)
{
    static const char *const faults[] = {"C_GenerateKey 1 rv 5", "C_GenerateKey 1 rv 31",
                                         "C_OpenSession 1 rv b1", "C_WrapKey 1 rv 30"};
    struct token token;
    struct kek_id id = id_of(0x11);
    token_make(&token);
    fault_put(&token, faults[_i]);
    fault_later();
    struct worker worker;
    worker_start(&worker, "officer", fault_uri);
    fault_now();
    reply_free(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE));
    fault_later();
    bool can_wrap;
    if (!seen(token.uri, &id, &can_wrap)) {
        expect_done(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE));
    }
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_int_eq((int)blob->wrapped->alg, KEK_WRAP_AES_KW);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* Whoever writes to etcd can name an algorithm that is not the key's.  "Not permitted" for that one speaks
 * of the blob, unless the key may not open its own either. */
START_TEST(not_permitted_for_a_foreign_algorithm_says_nothing_of_the_key)
{
    static const struct {
        const char *fault;
        Kek__Provider__Cause cause;
    } cases[] = {
        {"C_UnwrapKey 1 rv 68", KEK__PROVIDER__CAUSE__DATA},
        {"C_UnwrapKey every rv 68", KEK__PROVIDER__CAUSE__STATE},
    };
    static const uint8_t foreign[40] = {1, 2, 3};
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, cases[_i].fault);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KWP, foreign, sizeof foreign);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_msg(reply->failed->cause == cases[_i].cause, "cause %d: %s", reply->failed->cause,
                  reply->failed->text);
    reply_free(reply);
    fault_later();
    expect_works(&worker, &id);
    worker_end(&worker);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 returns");
    TCase *c = tcase_create("returns");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, any_return_value_of_any_call_leaves_a_worker_that_works, 0, CALLS);
    tcase_add_loop_test(c, an_officer_operation_survives_a_failure_of_any_call, 0, ERRORS);
    tcase_add_loop_test(c, a_key_that_the_token_names_otherwise_is_destroyed_or_named, 0, 4);
    tcase_add_loop_test(c, a_failure_that_passes_makes_no_other_kind_of_key, 0, 4);
    tcase_add_loop_test(c, not_permitted_for_a_foreign_algorithm_says_nothing_of_the_key, 0, 2);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
