/* Which keys a worker finds, at what cost, beside keys that are not ours, copies and namesakes. */
#include "fault.h"

#include <stdio.h>
#include <string.h>

#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED
#define WRAPPED KEK__PROVIDER__REPLY__RESULT_WRAPPED
#define UNWRAPPED KEK__PROVIDER__REPLY__RESULT_UNWRAPPED
#define LISTED KEK__PROVIDER__REPLY__RESULT_LISTED

static const uint8_t data_key[KEK_DATA_KEY_LEN] = "an entirely unremarkable dek 32";

static const char *text_of(const Kek__Provider__Reply *reply)
{
    return reply->result_case == FAILED ? reply->failed->text : "no failure";
}

static void plant(const struct token *token, const char *label, struct kek_id id)
{
    const struct odd_key key = {.label = label, .id = id.bytes, .id_len = sizeof id.bytes};
    token_make_key(token, &key);
}

/* The rows of one List; to be freed. */
static Kek__Provider__Reply *listed_by(struct worker *worker)
{
    Kek__Provider__Reply *reply = worker_list(worker);
    ck_assert_msg(reply->result_case == LISTED, "list: %s", text_of(reply));
    return reply;
}

/* The row of a number, with this say on eligibility; NULL: there is none. */
static const Kek__Provider__Version *row(const Kek__Provider__Reply *list, uint32_t number,
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

static bool shows(struct worker *worker, uint32_t number)
{
    Kek__Provider__Reply *list = listed_by(worker);
    bool there = row(list, number, true) != NULL;
    reply_free(list);
    return there;
}

static Kek__Provider__Reply *wrapped_by(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Reply *reply = worker_wrap(worker, id, data_key);
    ck_assert_msg(reply->result_case == WRAPPED, "wrap: %s", text_of(reply));
    return reply;
}

static void expect_opens(struct worker *worker, const struct kek_id *id,
                         const Kek__Provider__Reply *blob)
{
    Kek__Provider__Reply *reply = worker_unwrap(worker, id, (int)blob->wrapped->alg,
                                                blob->wrapped->blob.data, blob->wrapped->blob.len);
    ck_assert_msg(reply->result_case == UNWRAPPED, "unwrap: %s", text_of(reply));
    ck_assert_mem_eq(reply->unwrapped->data_key.data, data_key, KEK_DATA_KEY_LEN);
    reply_free(reply);
}

/* A token with `foreign` keys of somebody else and version 1. */
static void shared_token(struct token *token, unsigned foreign, struct kek_id *id)
{
    token_make(token);
    plant(token, "tenant.v1", id_of(0xee));
    token_multiply_key(token, foreign - 1);
    *id = id_of(0x11);
    plant(token, "ring.v1", *id);
}

/* What a List may cost: one look at each version, two searches for numbers to come, and at most 256
 * labels of other keys. */
static void expect_cheap_list(struct worker *worker, unsigned versions)
{
    fault_now();
    Kek__Provider__Reply *list = listed_by(worker);
    ck_assert_ptr_nonnull(row(list, 1, true));
    reply_free(list);
    ck_assert_uint_le(fault_count("C_GetAttributeValue"), versions + 256);
    ck_assert_uint_le(fault_count("C_FindObjectsInit"), 2 + 1);
    ck_assert_uint_le(fault_count("C_FindObjects"), 2 + 2);
    ck_assert_uint_le(fault_count(NULL), versions + 256 + 10);
}

START_TEST(ten_thousand_foreign_keys_change_neither_start_nor_list)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    shared_token(&token, 10000, &id);
    fault_put(&token, "");
    struct worker worker;
    worker_start(&worker, "officer", fault_uri);
    /* One label of each; then the search for what comes next, and the proof of version 1. */
    ck_assert_uint_ge(fault_count("C_GetAttributeValue"), 10001);
    ck_assert_uint_le(fault_count("C_GetAttributeValue"), 10001 + 20);
    ck_assert_uint_le(fault_count("C_FindObjects"), 10001 / 256 + 40);
    for (int i = 0; i < 3; i++) {
        expect_cheap_list(&worker, 1);
    }
    /* A key that is asked for by its kek id costs one search. */
    fault_now();
    expect_failed(worker_wrap(&worker, &other, data_key), KEK__PROVIDER__CAUSE__KEY_MISSING,
                  "no key of keyring ring");
    ck_assert_uint_le(fault_count(NULL), 20);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    expect_opens(&worker, &id, blob);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* 300 keys at 5 ms a call and `timeout: 100ms` ended a healthy worker at each look: a List has ten times
 * that, 200 calls. */
START_TEST(a_slow_token_with_many_keys_has_its_list_in_time)
{
    struct token token;
    struct kek_id id;
    shared_token(&token, 300, &id);
    fault_put(&token, "* every delay 5");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    for (int i = 0; i < 10; i++) {
        fault_now();
        Kek__Provider__Reply *list = listed_by(&worker);
        ck_assert_ptr_nonnull(row(list, 1, true));
        reply_free(list);
        ck_assert_uint_le(fault_count(NULL), 1 + 10 + 20);
    }
    worker_end(&worker);
}
END_TEST

START_TEST(a_new_version_is_found_by_a_running_worker_whatever_its_number)
{
    static const struct {
        uint32_t number;
        int lists; /* at most so many */
    } cases[] = {
        {2, 1},           /* the next one: at once */
        {9, 7},           /* within eight of the newest */
        {77, 2 * 3},      /* any other: 302 keys in lists of 256, from where the sweep is, twice */
        {4000000000U, 6}, /* the largest spelling that a label may have has ten digits */
    };
    struct token token;
    struct kek_id id, other = id_of(0x22);
    char label[32];
    shared_token(&token, 300, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    ck_assert(shows(&worker, 1));
    snprintf(label, sizeof label, "ring.v%u", cases[_i].number);
    plant(&token, label, other);
    int lists = 1;
    while (!shows(&worker, cases[_i].number)) {
        lists++;
        ck_assert_int_le(lists, cases[_i].lists);
    }
    for (int i = 0; i < 4; i++) { /* and from then on by each of them */
        ck_assert(shows(&worker, cases[_i].number));
        ck_assert(shows(&worker, 1));
    }
    worker_end(&worker);
}
END_TEST

/* A version that one session found is listed by every session. */
START_TEST(sessions_of_a_worker_list_the_same)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    shared_token(&token, 2, &id);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.sessions = 4;
    struct worker worker;
    worker_start_with(&worker, "serve", &hello);
    plant(&token, "ring.v900", other);
    while (!shows(&worker, 900)) {
    }
    for (int i = 0; i < 40; i++) {
        ck_assert(shows(&worker, 900));
    }
    worker_end(&worker);
}
END_TEST

START_TEST(an_unwrap_finds_a_key_of_any_number_at_once)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    shared_token(&token, 2, &id);
    struct worker old, fresh;
    worker_start(&old, "serve", token.uri);
    plant(&token, "ring.v123456", other);
    worker_start(&fresh, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&fresh, &other);
    expect_opens(&old, &other, blob);
    ck_assert(shows(&old, 123456));
    reply_free(blob);
    worker_end(&fresh);
    worker_end(&old);
}
END_TEST

/* A token that does not find by label what it shows has all its keys looked at each time. */
START_TEST(a_token_that_finds_nothing_by_label_is_looked_at_whole)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    shared_token(&token, 20, &id);
    /* The search by label is the second of a start. */
    fault_put(&token, "C_FindObjectsInit 2 rv 12");
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    plant(&token, "ring.v5000", other);
    fault_now();
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_ptr_nonnull(row(list, 5000, true));
    ck_assert_uint_eq(fault_count("C_FindObjectsInit"), 1);
    reply_free(list);
    worker_end(&worker);
}
END_TEST

/* pkcs11-tool --keygen --key-type AES:16 --label ring.v1 --id 01, beside a running worker. */
START_TEST(an_unfit_namesake_is_listed_and_stops_nothing)
{
    static CK_ULONG sixteen = 16;
    const struct odd_key namesake = {
        .label = "ring.v1",
        .id = "\1",
        .id_len = 1,
        .change = {{CKA_VALUE_LEN, &sixteen, sizeof sixteen}},
        .change_count = 1,
    };
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker running, fresh;
    worker_start(&running, "serve", token.uri);
    token_make_key(&token, &namesake);
    worker_start(&fresh, "serve", token.uri);
    struct worker *workers[] = {&running, &fresh};
    for (int w = 0; w < 2; w++) {
        Kek__Provider__Reply *list = NULL;
        do { /* a sweep of the running one brings it */
            reply_free(list);
            list = listed_by(workers[w]);
            ck_assert_ptr_nonnull(row(list, 1, true));
        } while (list->listed->n_versions < 2);
        /* What is refused comes first: a reader that keeps the last word keeps the good one. */
        ck_assert(!list->listed->versions[0]->eligible && list->listed->versions[1]->eligible);
        ck_assert_str_eq(row(list, 1, false)->refusal, "CKA_ID has 1 bytes, not 16");
        reply_free(list);
        reply_free(wrapped_by(workers[w], &id));
        worker_end(workers[w]);
    }
}
END_TEST

/* Which of them is the primary is not the worker's to say. */
START_TEST(two_keys_of_one_number_are_both_listed)
{
    struct token token;
    struct kek_id a = id_of(1), b = id_of(2), c = id_of(3);
    token_make(&token);
    plant(&token, "ring.v1", a);
    plant(&token, "ring.v1", b);
    struct worker worker;
    worker_start(&worker, "officer", token.uri);
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(list->listed->versions[i]->eligible);
        ck_assert_uint_eq(list->listed->versions[i]->number, 1);
    }
    reply_free(list);
    reply_free(wrapped_by(&worker, &a));
    reply_free(wrapped_by(&worker, &b));
    expect_failed(worker_generate(&worker, 1, &c, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__STATE, "version 1 exists already");
    expect_failed(worker_generate(&worker, 2, &b, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__STATE, "CKA_ID exists already");
    worker_end(&worker);
}
END_TEST

START_TEST(a_second_copy_of_a_key_stops_nothing)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    worker_end(&worker);
    token_multiply_key(&token, 2);
    worker_start(&worker, "officer", token.uri);
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 3);
    ck_assert(list->listed->versions[2]->eligible && list->listed->versions[2]->can_wrap);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(!list->listed->versions[i]->eligible);
        ck_assert_str_eq(list->listed->versions[i]->refusal,
                         "it has the same CKA_ID as ring.v1, which is used, and is the same key");
    }
    reply_free(list);
    expect_opens(&worker, &id, blob);
    reply_free(wrapped_by(&worker, &id));
    expect_failed(worker_destroy(&worker, &id), KEK__PROVIDER__CAUSE__KEY_UNFIT, "two keys");
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

static bool destroy_first(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_ATTRIBUTE by_id = {CKA_ID, arg, KEK_ID_LEN};
    CK_OBJECT_HANDLE key;
    CK_ULONG count = 0;
    return f->C_FindObjectsInit(session, &by_id, 1) == CKR_OK &&
           f->C_FindObjects(session, &key, 1, &count) == CKR_OK && count == 1 &&
           f->C_FindObjectsFinal(session) == CKR_OK && f->C_DestroyObject(session, key) == CKR_OK;
}

/* Whichever of the copies goes, the other serves on, in the same process. */
START_TEST(a_copy_takes_the_place_of_a_key_that_is_deleted)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    token_multiply_key(&token, 1);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    token_do(&token, destroy_first, &id);
    expect_opens(&worker, &id, blob);
    reply_free(wrapped_by(&worker, &id));
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 1);
    ck_assert(list->listed->versions[0]->eligible);
    reply_free(list);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

START_TEST(a_module_that_lists_each_object_twice_has_each_key_once)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_FindObjects every repeat");
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    for (int i = 0; i < 3; i++) {
        Kek__Provider__Reply *list = listed_by(&worker);
        ck_assert_uint_eq(list->listed->n_versions, 1);
        ck_assert(list->listed->versions[0]->eligible);
        reply_free(list);
        reply_free(wrapped_by(&worker, &id));
    }
    worker_end(&worker);
}
END_TEST

/* Another key under the id of ours, and under a higher number: who knew ours goes on with it; who did
 * not wraps nothing until one of the two has opened something. */
START_TEST(another_key_under_the_same_id_is_put_aside)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker running, fresh;
    worker_start(&running, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&running, &id);
    plant(&token, "ring.v9", id);
    for (int i = 0; i < 8; i++) {
        Kek__Provider__Reply *list = listed_by(&running);
        ck_assert_ptr_nonnull(row(list, 1, true));
        ck_assert_ptr_null(row(list, 9, true));
        if (i == 7) { /* told under the number of the version that it is not */
            ck_assert_str_eq(row(list, 1, false)->label, "ring.v9");
            ck_assert_str_eq(
                row(list, 1, false)->refusal,
                "it has the same CKA_ID as ring.v1, which is used, and is another key");
        }
        reply_free(list);
        reply_free(wrapped_by(&running, &id));
        expect_opens(&running, &id, blob);
    }
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.sessions = 3;
    worker_start_with(&fresh, "serve", &hello);
    expect_failed(worker_wrap(&fresh, &id, data_key), KEK__PROVIDER__CAUSE__KEY_UNFIT,
                  "another key has the same CKA_ID");
    expect_opens(&fresh, &id, blob);
    for (int i = 0; i < 12; i++) { /* every session learns of it */
        Kek__Provider__Reply *other = wrapped_by(&fresh, &id);
        expect_opens(&running, &id, other);
        reply_free(other);
    }
    reply_free(blob);
    worker_end(&fresh);
    worker_end(&running);
}
END_TEST

/* The right one may be the one that nobody would have chosen. */
START_TEST(of_two_keys_with_one_id_the_one_that_opens_is_meant)
{
    struct token token;
    struct kek_id id = id_of(0x33);
    token_make(&token);
    plant(&token, "ring.v5", id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    worker_end(&worker);
    plant(&token, "ring.v2", id);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.sessions = 3;
    worker_start_with(&worker, "serve", &hello);
    expect_opens(&worker, &id, blob);
    for (int i = 0; i < 12; i++) { /* every session learns of it */
        Kek__Provider__Reply *other = wrapped_by(&worker, &id);
        expect_opens(&worker, &id, other);
        reply_free(other);
    }
    for (int i = 0; i < 6; i++) {
        Kek__Provider__Reply *list = listed_by(&worker);
        ck_assert_ptr_nonnull(row(list, 5, true));
        ck_assert_ptr_null(row(list, 2, true));
        ck_assert_str_eq(row(list, 5, false)->label, "ring.v2");
        reply_free(list);
    }
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* Every key opens every blob of AES-CBC to something, so only who knew the right one can tell. */
START_TEST(under_aes_cbc_another_key_with_the_same_id_opens_nothing)
{
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    struct token token;
    struct kek_id id = id_of(0x33);
    struct odd_key key = {
        .label = "ring.v1",
        .id = id.bytes,
        .id_len = KEK_ID_LEN,
        .change = {{CKA_WRAP, &no, 1},
                   {CKA_UNWRAP, &no, 1},
                   {CKA_ENCRYPT, &yes, 1},
                   {CKA_DECRYPT, &yes, 1}},
        .change_count = 4,
    };
    token_make(&token);
    token_make_key(&token, &key);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.alg = KEK__PROVIDER__WRAP_ALG__AES_CBC;
    struct worker running, fresh;
    worker_start_with(&running, "serve", &hello);
    Kek__Provider__Reply *blob = wrapped_by(&running, &id);
    ck_assert_int_eq((int)blob->wrapped->alg, KEK_WRAP_AES_CBC);
    key.label = "ring.v2";
    token_make_key(&token, &key);
    Kek__Provider__Reply *list = listed_by(&running);
    ck_assert_ptr_nonnull(row(list, 1, true));
    ck_assert_str_eq(row(list, 1, false)->refusal,
                     "it has the same CKA_ID as ring.v1, which is used, and is another key");
    reply_free(list);
    expect_opens(&running, &id, blob);
    worker_start_with(&fresh, "serve", &hello);
    expect_failed(worker_unwrap(&fresh, &id, KEK_WRAP_AES_CBC, blob->wrapped->blob.data,
                                blob->wrapped->blob.len),
                  KEK__PROVIDER__CAUSE__KEY_UNFIT, "another key has the same CKA_ID");
    expect_failed(worker_wrap(&fresh, &id, data_key), KEK__PROVIDER__CAUSE__KEY_UNFIT,
                  "another key has the same CKA_ID");
    reply_free(blob);
    worker_end(&fresh);
    worker_end(&running);
}
END_TEST

static const CK_RV object_codes[] = {CKR_GENERAL_ERROR, CKR_DEVICE_ERROR, CKR_FUNCTION_FAILED,
                                     CKR_VENDOR_DEFINED | 0x17};

/* Somebody else's key that the token cannot read is somebody else's trouble. */
START_TEST(a_foreign_key_that_cannot_be_read_is_passed_over)
{
    struct token token;
    struct kek_id id;
    char fault[64];
    token_make_with_key(&token, &id);
    plant(&token, "sick tenant", id_of(0xee));
    snprintf(fault, sizeof fault, "C_GetAttributeValue every sick %lx", object_codes[_i]);
    fault_put(&token, fault);
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    for (int i = 0; i < 3; i++) {
        ck_assert(shows(&worker, 1));
        reply_free(wrapped_by(&worker, &id));
    }
    worker_end(&worker);
}
END_TEST

/* A key of ours that cannot be read is never called missing: nothing is listed that lacks it. */
START_TEST(an_own_key_that_cannot_be_read_is_the_tokens_failure)
{
    static const char *const labels[] = {"sick.v1", "sick.v40"};
    struct token token;
    struct kek_id id = id_of(0x11);
    uint8_t blob[40] = {0};
    token_make(&token);
    plant(&token, labels[_i], id);
    plant(&token, "tenant", id_of(0xee));
    fault_put(&token, "C_GetAttributeValue every sick 5");
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello.keyring = (char *)"sick";
    struct worker worker;
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__LINK, "CKR_GENERAL_ERROR");
    worker_end(&worker);
    fault_later();
    worker_start_with(&worker, "serve", &hello);
    fault_now();
    expect_failed(worker_list(&worker), KEK__PROVIDER__CAUSE__LINK, "CKR_GENERAL_ERROR");
    struct kek_id unknown = id_of(0x12);
    expect_failed(worker_unwrap(&worker, &unknown, KEK_WRAP_AES_KW, blob, sizeof blob),
                  KEK__PROVIDER__CAUSE__KEY_MISSING, "");
    plant(&token, "sick.v77", unknown);
    expect_failed(worker_unwrap(&worker, &unknown, KEK_WRAP_AES_KW, blob, sizeof blob),
                  KEK__PROVIDER__CAUSE__LINK, "CKR_GENERAL_ERROR");
    worker_end(&worker);
}
END_TEST

START_TEST(an_optional_attribute_that_cannot_be_read_is_untold)
{
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        bool optional;
    } cases[] = {
        {CKA_LOCAL, true},      {CKA_ALWAYS_SENSITIVE, true},
        {CKA_SIGN, true},       {CKA_NEVER_EXTRACTABLE, true},
        {CKA_VERIFY, true},     {CKA_DERIVE, true},
        {CKA_SENSITIVE, false}, {CKA_EXTRACTABLE, false},
        {CKA_PRIVATE, false},   {CKA_WRAP, false},
        {CKA_UNWRAP, false},    {CKA_ENCRYPT, false},
        {CKA_DECRYPT, false},   {CKA_ID, false},
        {CKA_KEY_TYPE, false},  {CKA_VALUE_LEN, false},
    };
    struct token token;
    struct kek_id id;
    char fault[64];
    token_make_with_key(&token, &id);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        snprintf(fault, sizeof fault, "C_GetAttributeValue every mute %lx", cases[i].type);
        fault_put(&token, fault);
        fault_later();
        struct worker worker;
        worker_start(&worker, "serve", fault_uri);
        fault_now();
        Kek__Provider__Reply *list = worker_list(&worker);
        if (cases[i].optional) {
            ck_assert_msg(list->result_case == LISTED, "0x%lx: %s", cases[i].type, text_of(list));
            ck_assert_ptr_nonnull(row(list, 1, true));
            reply_free(list);
        } else {
            expect_failed(list, KEK__PROVIDER__CAUSE__LINK, "CKR_GENERAL_ERROR");
        }
        worker_end(&worker);
    }
}
END_TEST

/* A KEK that was brought in by C_UnwrapKey: SoftHSM says that its length is 0. */
static bool import_kek(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG len = 32, size;
    CK_BYTE blob[64];
    CK_MECHANISM generate = {CKM_AES_KEY_GEN, NULL, 0}, wrap = {CKM_AES_KEY_WRAP, NULL, 0};
    CK_OBJECT_HANDLE wrapper, source, key;
    CK_ATTRIBUTE made[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, 1},
        {CKA_WRAP, &yes, 1},
        {CKA_UNWRAP, &yes, 1},
        {CKA_EXTRACTABLE, &yes, 1},
        {CKA_VALUE_LEN, &len, sizeof len},
    };
    CK_ATTRIBUTE kek[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &yes, 1},
        {CKA_PRIVATE, &yes, 1},
        {CKA_SENSITIVE, &yes, 1},
        {CKA_EXTRACTABLE, &no, 1},
        {CKA_WRAP, &yes, 1},
        {CKA_UNWRAP, &yes, 1},
        {CKA_ENCRYPT, &no, 1},
        {CKA_DECRYPT, &no, 1},
        {CKA_SIGN, &no, 1},
        {CKA_VERIFY, &no, 1},
        {CKA_LABEL, (void *)"ring.v5", 7},
        {CKA_ID, arg, KEK_ID_LEN},
    };
    size = sizeof blob;
    return f->C_GenerateKey(session, &generate, made, 7, &wrapper) == CKR_OK &&
           f->C_GenerateKey(session, &generate, made, 7, &source) == CKR_OK &&
           f->C_WrapKey(session, &wrap, wrapper, source, blob, &size) == CKR_OK &&
           f->C_UnwrapKey(session, &wrap, wrapper, blob, size, kek, 14, &key) == CKR_OK;
}

START_TEST(a_kek_that_was_unwrapped_into_the_token_serves_where_it_is_named)
{
    struct token token;
    struct kek_id id = id_of(0x44);
    token_make(&token);
    token_do(&token, import_kek, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_ptr_nonnull(row(list, 5, false));
    ck_assert_str_eq(
        row(list, 5, false)->refusal,
        "the token does not tell CKA_VALUE_LEN (it says 0): if it is an AES-256 key that "
        "was imported, only versions: in the configuration can vouch for it");
    reply_free(list);
    worker_end(&worker);
    Kek__Provider__NamedVersion named = KEK__PROVIDER__NAMED_VERSION__INIT;
    Kek__Provider__NamedVersion *names[] = {&named};
    named.number = 5;
    named.state = KEK__PROVIDER__STATE__ACTIVE;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.n_versions = 1;
    hello.versions = names;
    worker_start_with(&worker, "serve", &hello);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    expect_opens(&worker, &id, blob);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 list");
    TCase *c = tcase_create("cost");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, ten_thousand_foreign_keys_change_neither_start_nor_list);
    tcase_add_test(c, a_slow_token_with_many_keys_has_its_list_in_time);
    tcase_add_loop_test(c, a_new_version_is_found_by_a_running_worker_whatever_its_number, 0, 4);
    tcase_add_test(c, sessions_of_a_worker_list_the_same);
    tcase_add_test(c, an_unwrap_finds_a_key_of_any_number_at_once);
    tcase_add_test(c, a_token_that_finds_nothing_by_label_is_looked_at_whole);
    suite_add_tcase(s, c);
    c = tcase_create("namesakes");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, an_unfit_namesake_is_listed_and_stops_nothing);
    tcase_add_test(c, two_keys_of_one_number_are_both_listed);
    tcase_add_test(c, a_second_copy_of_a_key_stops_nothing);
    tcase_add_test(c, a_copy_takes_the_place_of_a_key_that_is_deleted);
    tcase_add_test(c, a_module_that_lists_each_object_twice_has_each_key_once);
    tcase_add_test(c, another_key_under_the_same_id_is_put_aside);
    tcase_add_test(c, of_two_keys_with_one_id_the_one_that_opens_is_meant);
    tcase_add_test(c, under_aes_cbc_another_key_with_the_same_id_opens_nothing);
    suite_add_tcase(s, c);
    c = tcase_create("unreadable");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, a_foreign_key_that_cannot_be_read_is_passed_over, 0, 4);
    tcase_add_loop_test(c, an_own_key_that_cannot_be_read_is_the_tokens_failure, 0, 2);
    tcase_add_test(c, an_optional_attribute_that_cannot_be_read_is_untold);
    tcase_add_test(c, a_kek_that_was_unwrapped_into_the_token_serves_where_it_is_named);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
