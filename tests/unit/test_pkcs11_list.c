/* Which keys a worker finds, at what cost, beside keys that are not ours and some that cannot be read. */
#include "pkcs11_list.h"

static bool shows(struct worker *worker, uint32_t number)
{
    Kek__Provider__Reply *list = listed_by(worker);
    bool there = row(list, number, true) != NULL;
    reply_free(list);
    return there;
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
