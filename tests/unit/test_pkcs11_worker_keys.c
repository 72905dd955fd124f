/* Which keys of a real SoftHSM token kekd-pkcs11 uses, and what an officer's changes of them do to it. */
#include "pkcs11_list.h"

static const Kek__Provider__Version *only(const Kek__Provider__Reply *reply)
{
    ck_assert_int_eq(reply->result_case, LISTED);
    ck_assert_uint_eq(reply->listed->n_versions, 1);
    return reply->listed->versions[0];
}

static bool check_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    static const struct {
        CK_ATTRIBUTE_TYPE type;
        CK_BBOOL value;
    } wanted[] = {
        {CKA_SENSITIVE, CK_TRUE},    {CKA_ALWAYS_SENSITIVE, CK_TRUE},
        {CKA_EXTRACTABLE, CK_FALSE}, {CKA_NEVER_EXTRACTABLE, CK_TRUE},
        {CKA_PRIVATE, CK_TRUE},      {CKA_LOCAL, CK_TRUE},
        {CKA_WRAP, CK_TRUE},         {CKA_UNWRAP, CK_TRUE},
        {CKA_ENCRYPT, CK_FALSE},     {CKA_DECRYPT, CK_FALSE},
        {CKA_SIGN, CK_FALSE},        {CKA_VERIFY, CK_FALSE},
        {CKA_DERIVE, CK_FALSE},
    };
    CK_ATTRIBUTE by_id = {CKA_ID, arg, KEK_ID_LEN};
    CK_OBJECT_HANDLE keys[2];
    CK_ULONG count = 0;
    if (f->C_FindObjectsInit(session, &by_id, 1) != CKR_OK ||
        f->C_FindObjects(session, keys, 2, &count) != CKR_OK || count != 1 ||
        f->C_FindObjectsFinal(session) != CKR_OK) {
        return false;
    }
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        CK_BBOOL value = 2;
        CK_ATTRIBUTE attribute = {wanted[i].type, &value, sizeof value};
        if (f->C_GetAttributeValue(session, keys[0], &attribute, 1) != CKR_OK ||
            value != wanted[i].value) {
            fprintf(stderr, "attribute 0x%lx is %d\n", wanted[i].type, value);
            return false;
        }
    }
    uint8_t value[64];
    CK_ATTRIBUTE secret = {CKA_VALUE, value, sizeof value};
    return f->C_GetAttributeValue(session, keys[0], &secret, 1) == CKR_ATTRIBUTE_SENSITIVE;
}

START_TEST(a_generated_key_can_wrap_and_nothing_else_and_stays_inside)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    token_do(&token, check_key, &id);
}
END_TEST

START_TEST(an_unknown_key_is_missing)
{
    struct token token;
    struct kek_id id, unknown = id_of(0x99);
    uint8_t blob[40] = {0};
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    expect_failed(worker_wrap(&worker, &unknown, data_key), KEK__PROVIDER__CAUSE__KEY_MISSING,
                  "99999999");
    expect_failed(worker_unwrap(&worker, &unknown, KEK_WRAP_AES_KW, blob, 40),
                  KEK__PROVIDER__CAUSE__KEY_MISSING, "99999999");
    worker_end(&worker);
}
END_TEST

START_TEST(a_key_made_later_is_found)
{
    struct token token;
    struct kek_id id, later = id_of(0x33);
    token_make_with_key(&token, &id);
    struct worker worker, officer;
    worker_start(&worker, "serve", token.uri);
    worker_start(&officer, "officer", token.uri);
    expect_done(worker_generate(&officer, 7, &later, KEK__PROVIDER__STATE__ACTIVE));
    Kek__Provider__Reply *reply = wrapped_by(&worker, &later);
    expect_unwraps(&worker, &later, KEK_WRAP_AES_KW, reply->wrapped->blob);
    reply_free(reply);
    worker_end(&officer);
    worker_end(&worker);
}
END_TEST

START_TEST(states_change_what_a_running_worker_may_do)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker, officer;
    worker_start(&worker, "serve", token.uri);
    worker_start(&officer, "officer", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    expect_done(worker_set_state(&officer, &id, KEK__PROVIDER__STATE__DEACTIVATED));
    expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__STATE, "");
    expect_unwraps(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob);
    Kek__Provider__Reply *list = worker_list(&worker);
    ck_assert(only(list)->eligible && !only(list)->can_wrap && only(list)->can_unwrap);
    reply_free(list);
    expect_done(worker_set_state(&officer, &id, KEK__PROVIDER__STATE__ACTIVE));
    reply_free(wrapped_by(&worker, &id));
    expect_done(worker_destroy(&officer, &id));
    expect_failed(worker_destroy(&officer, &id), KEK__PROVIDER__CAUSE__KEY_MISSING, "ring");
    reply_free(blob);
    worker_end(&officer);
    worker_end(&worker);
}
END_TEST

START_TEST(a_destroyed_key_is_missing_while_another_is_there)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    struct worker worker, officer;
    worker_start(&officer, "officer", token.uri);
    expect_done(worker_generate(&officer, 2, &other, KEK__PROVIDER__STATE__ACTIVE));
    worker_start(&worker, "serve", token.uri);
    expect_done(worker_destroy(&officer, &id));
    expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__KEY_MISSING, "1111");
    reply_free(wrapped_by(&worker, &other));
    worker_end(&officer);
    worker_end(&worker);
}
END_TEST

START_TEST(generate_refuses_what_exists)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "officer", token.uri);
    expect_failed(worker_generate(&worker, 1, &other, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__STATE, "version 1 exists already");
    expect_failed(worker_generate(&worker, 2, &id, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__STATE, "CKA_ID exists already");
    expect_failed(worker_generate(&worker, 0, &other, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__BAD_REQUEST, "number");
    expect_failed(worker_generate(&worker, 2, &other, KEK__PROVIDER__STATE__DEACTIVATED),
                  KEK__PROVIDER__CAUSE__BAD_REQUEST, "pre-active");
    expect_done(worker_generate(&worker, 2, &other, KEK__PROVIDER__STATE__PRE_ACTIVE));
    Kek__Provider__Reply *list = worker_list(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 2);
    ck_assert(!list->listed->versions[1]->can_wrap && list->listed->versions[1]->can_unwrap);
    ck_assert_int_eq(list->listed->versions[1]->alg, KEK_WRAP_NONE);
    ck_assert_int_eq(list->listed->versions[0]->alg, KEK_WRAP_AES_KW);
    reply_free(list);
    worker_end(&worker);
}
END_TEST

START_TEST(a_worker_of_role_serve_changes_no_key)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    expect_failed(worker_generate(&worker, 2, &other, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__UNSUPPORTED, "role serve");
    expect_failed(worker_set_state(&worker, &id, KEK__PROVIDER__STATE__DEACTIVATED),
                  KEK__PROVIDER__CAUSE__UNSUPPORTED, "role serve");
    expect_failed(worker_destroy(&worker, &id), KEK__PROVIDER__CAUSE__UNSUPPORTED, "role serve");
    Kek__Provider__Reply *list = worker_list(&worker);
    ck_assert(only(list)->eligible && only(list)->can_wrap);
    reply_free(list);
    worker_end(&worker);
}
END_TEST

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_ULONG sixteen = 16;
static const uint8_t imported[32] = "imported keys have been outside";

static const struct {
    const char *what;
    struct odd_key key;
    const char *refusal; /* NULL: eligible */
    bool eligible_if_named;
} odd_keys[] = {
    {"as kekd makes it", {.id_len = 16}, NULL, true},
    {"extractable",
     {.id_len = 16, .change = {{CKA_EXTRACTABLE, &yes, 1}}, .change_count = 1},
     "CKA_EXTRACTABLE is true",
     false},
    {"not sensitive",
     {.id_len = 16, .change = {{CKA_SENSITIVE, &no, 1}}, .change_count = 1},
     "CKA_SENSITIVE is false",
     false},
    {"not private",
     {.id_len = 16, .change = {{CKA_PRIVATE, &no, 1}}, .change_count = 1},
     "CKA_PRIVATE is false",
     false},
    {"too short",
     {.id_len = 16, .change = {{CKA_VALUE_LEN, &sixteen, sizeof sixteen}}, .change_count = 1},
     "CKA_VALUE_LEN is 16, not 32",
     false},
    {"short id", {.id_len = 4}, "CKA_ID has 4 bytes, not 16", false},
    {"imported", {.id_len = 16, .value = imported, .value_len = 32}, "CKA_LOCAL is false", true},
    {"signs",
     {.id_len = 16, .change = {{CKA_SIGN, &yes, 1}}, .change_count = 1},
     "CKA_SIGN is true",
     true},
    {"derives",
     {.id_len = 16, .change = {{CKA_DERIVE, &yes, 1}}, .change_count = 1},
     "CKA_DERIVE is true",
     true},
    {"also decrypts",
     {.id_len = 16, .change = {{CKA_DECRYPT, &yes, 1}}, .change_count = 1},
     "CKA_DECRYPT is true",
     true},
};

START_TEST(a_key_is_refused_for_its_attributes)
{
    struct token token;
    token_make(&token);
    struct kek_id id = id_of(0x44);
    struct odd_key key = odd_keys[_i].key;
    key.label = "ring.v5";
    key.id = id.bytes;
    token_make_key(&token, &key);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *list = worker_list(&worker);
    const Kek__Provider__Version *version = only(list);
    ck_assert_uint_eq(version->number, 5);
    ck_assert_str_eq(version->label, "ring.v5");
    ck_assert_uint_eq(version->kek_id.len, key.id_len);
    const char *refusal = odd_keys[_i].refusal;
    ck_assert_msg(version->eligible == (refusal == NULL), "%s: %s", odd_keys[_i].what,
                  version->refusal);
    ck_assert_str_eq(version->refusal, refusal == NULL ? "" : refusal);
    if (refusal != NULL && key.id_len == 16) {
        expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__KEY_UNFIT,
                      refusal);
        uint8_t blob[40] = {0};
        expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob, 40),
                      KEK__PROVIDER__CAUSE__KEY_UNFIT, refusal);
    }
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
    list = worker_list(&worker);
    ck_assert_msg(only(list)->eligible == odd_keys[_i].eligible_if_named, "%s, named: %s",
                  odd_keys[_i].what, only(list)->refusal);
    reply_free(list);
    if (odd_keys[_i].eligible_if_named) {
        reply_free(wrapped_by(&worker, &id));
    }
    worker_end(&worker);
}
END_TEST

/* In whatever order the token lists them. */
START_TEST(of_many_other_keyrings_those_of_trials_are_named_and_that_there_are_more)
{
    static const char *const labels[] = {
        "kekd-a.v1", "kekd-probes.v1", "kekd-probe-1.v1",       "kekd-b.v1", "kekd-conform.v1",
        "other.v1",  "kekd-c.v1",      "kekd-conformance-1.v1", "kekd-d.v1", "kekd-e.v1"};
    struct token token;
    token_make(&token);
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        struct kek_id id = id_of((uint8_t)(i + 1));
        struct odd_key key = {.label = labels[i], .id = id.bytes, .id_len = 16};
        token_make_key(&token, &key);
    }
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    Kek__Provider__Reply *ready = worker_login(&worker);
    ck_assert_int_eq(ready->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
    ck_assert_uint_eq(ready->ready->n_others, KEK_PROVIDER_OTHERS_MAX);
    ck_assert(ready->ready->more_others);
    unsigned trials = 0;
    for (size_t i = 0; i < KEK_PROVIDER_OTHERS_MAX; i++) {
        trials += strcmp(ready->ready->others[i], "kekd-probe-1") == 0 ? 1 : 0;
        trials += strcmp(ready->ready->others[i], "kekd-conformance-1") == 0 ? 1 : 0;
    }
    ck_assert_uint_eq(trials, 2);
    reply_free(ready);
    worker_end(&worker);
}
END_TEST

START_TEST(keys_of_other_names_are_not_seen)
{
    static const char *const labels[] = {"ring.v01", "ring.v0", "ring.v4294967296",
                                         "ring.v1x", "ring.v",  "rings.v1",
                                         "ring",     "Ring.v1"};
    struct token token;
    token_make(&token);
    for (size_t i = 0; i < sizeof labels / sizeof labels[0]; i++) {
        struct kek_id id = id_of((uint8_t)(i + 1));
        struct odd_key key = {.label = labels[i], .id = id.bytes, .id_len = 16};
        token_make_key(&token, &key);
    }
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    /* A keyring that is misspelt is told from an empty one by the names that there are. */
    Kek__Provider__Reply *ready = worker_login(&worker);
    ck_assert_int_eq(ready->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
    ck_assert_uint_eq(ready->ready->n_others, 2);
    bool first = strcmp(ready->ready->others[0], "rings") == 0;
    ck_assert_str_eq(ready->ready->others[first ? 0 : 1], "rings");
    ck_assert_str_eq(ready->ready->others[first ? 1 : 0], "Ring");
    ck_assert(!ready->ready->more_others);
    reply_free(ready);
    Kek__Provider__Reply *list = worker_list(&worker);
    ck_assert_int_eq(list->result_case, LISTED);
    ck_assert_uint_eq(list->listed->n_versions, 0);
    reply_free(list);
    worker_end(&worker);
}
END_TEST

START_TEST(a_named_key_takes_its_state_from_the_configuration)
{
    struct token token;
    struct kek_id id = id_of(0x55);
    token_make(&token);
    struct odd_key key = {.label = "made-by-the-officers", .id = id.bytes, .id_len = 16};
    token_make_key(&token, &key);
    Kek__Provider__NamedVersion named = KEK__PROVIDER__NAMED_VERSION__INIT;
    Kek__Provider__NamedVersion *names[] = {&named};
    named.number = 3;
    named.label = (char *)"made-by-the-officers";
    named.state = KEK__PROVIDER__STATE__DEACTIVATED;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.n_versions = 1;
    hello.versions = names;
    struct worker worker;
    worker_start_with(&worker, "officer", &hello);
    Kek__Provider__Reply *list = worker_list(&worker);
    ck_assert(only(list)->eligible && only(list)->can_unwrap && !only(list)->can_wrap);
    ck_assert_uint_eq(only(list)->number, 3);
    reply_free(list);
    expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__STATE, "may not wrap");
    expect_failed(worker_set_state(&worker, &id, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__UNSUPPORTED, "versions:");
    worker_end(&worker);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 worker keys");
    TCase *c = tcase_create("keys");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_generated_key_can_wrap_and_nothing_else_and_stays_inside);
    tcase_add_test(c, an_unknown_key_is_missing);
    tcase_add_test(c, a_key_made_later_is_found);
    tcase_add_test(c, states_change_what_a_running_worker_may_do);
    tcase_add_test(c, a_destroyed_key_is_missing_while_another_is_there);
    tcase_add_test(c, generate_refuses_what_exists);
    tcase_add_test(c, a_worker_of_role_serve_changes_no_key);
    tcase_add_loop_test(c, a_key_is_refused_for_its_attributes, 0,
                        sizeof odd_keys / sizeof odd_keys[0]);
    tcase_add_test(c, keys_of_other_names_are_not_seen);
    tcase_add_test(c, of_many_other_keyrings_those_of_trials_are_named_and_that_there_are_more);
    tcase_add_test(c, a_named_key_takes_its_state_from_the_configuration);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
