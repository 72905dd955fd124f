/* Whether kekd-pkcs11 notices that a token gives away what it should keep. */
#include "fault.h"

#include <stdio.h>
#include <string.h>

#define PROBED KEK__PROVIDER__REPLY__RESULT_PROBED
#define KEPT KEK__PROVIDER__KEEP__KEPT
#define HANDED_OUT KEK__PROVIDER__KEEP__HANDED_OUT
#define UNTRIED KEK__PROVIDER__KEEP__UNTRIED

static Kek__Provider__Reply *probe(const char *role)
{
    struct worker worker;
    Kek__Provider__Probe message = KEK__PROVIDER__PROBE__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_PROBE;
    request.probe = &message;
    worker_start(&worker, role, fault_uri);
    Kek__Provider__Reply *reply = worker_ask(&worker, &request);
    worker_end(&worker);
    return reply;
}

static bool is_empty(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_OBJECT_HANDLE found;
    CK_ULONG count = 1;
    (void)arg;
    return f->C_FindObjectsInit(session, NULL, 0) == CKR_OK &&
           f->C_FindObjects(session, &found, 1, &count) == CKR_OK && count == 0;
}

/* The fifth key of a probe is the one that is to wrap. */
static const struct {
    const char *fault;
    Kek__Provider__Keep outcome;
    const char *text;
} cases[] = {
    {"", KEPT, ""},
    {"C_GenerateKey every flip 162", HANDED_OUT, "C_WrapKey by CKM_AES_KEY_WRAP"},
    {"C_GenerateKey every flip 162\nC_GenerateKey 5 rv 54", HANDED_OUT,
     "C_WrapKey by CKM_RSA_PKCS under a foreign RSA key"},
    {"C_GenerateKey every flip 162\nC_GenerateKey every flip 103", HANDED_OUT,
     "C_GetAttributeValue of CKA_VALUE"},
    {"C_CopyObject every forge", HANDED_OUT, "C_CopyObject, then C_GetAttributeValue of CKA_VALUE"},
    /* It says yes to a change and makes none. */
    {"C_SetAttributeValue every rv 0", KEPT, ""},
    {"C_GenerateKey every rv 54", UNTRIED, "C_GenerateKey: CKR_FUNCTION_NOT_SUPPORTED (0x54)"},
    /* A call that fails is no answer, and no reason to give up either. */
    {"C_CopyObject every rv 5", KEPT, ""},
};

START_TEST(a_token_that_hands_out_what_says_it_is_not_extractable_is_found_out)
{
    struct token token;
    token_make(&token);
    fault_put(&token, cases[_i].fault);
    Kek__Provider__Reply *reply = probe("officer");
    ck_assert_msg(reply->result_case == PROBED, "%s: %s", cases[_i].fault,
                  reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED ? reply->failed->text
                                                                            : "?");
    const Kek__Provider__Keeping *keeping = reply->probed->keeping;
    ck_assert_ptr_nonnull(keeping);
    ck_assert_msg(keeping->outcome == cases[_i].outcome, "%s: %d: %s", cases[_i].fault,
                  keeping->outcome, keeping->text);
    ck_assert_str_eq(keeping->text, cases[_i].text);
    ck_assert_uint_eq(keeping->native, cases[_i].outcome == UNTRIED ? 0x54 : 0);
    reply_free(reply);
    token_do(&token, is_empty, NULL);
}
END_TEST

/* What nobody answered is not a "yes". */
START_TEST(a_token_that_goes_away_meanwhile_keeps_nothing)
{
    struct token token;
    token_make(&token);
    fault_put(&token, "C_CopyObject 1 disconnect 30");
    expect_failed(probe("officer"), KEK__PROVIDER__CAUSE__LINK, "CKR_DEVICE_ERROR");
    token_do(&token, is_empty, NULL);
    expect_failed(probe("serve"), KEK__PROVIDER__CAUSE__UNSUPPORTED, "role serve");
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pkcs11 keep");
    TCase *c = tcase_create("keep");
    tcase_set_timeout(c, 60);
    tcase_add_loop_test(c, a_token_that_hands_out_what_says_it_is_not_extractable_is_found_out, 0,
                        sizeof cases / sizeof cases[0]);
    tcase_add_test(c, a_token_that_goes_away_meanwhile_keeps_nothing);
    suite_add_tcase(s, c);
    return worker_tests_run(s);
}
