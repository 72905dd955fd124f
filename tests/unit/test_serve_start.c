/* What a start answers: Hello, then Login, then sessions. */
#include "serve_rig.h"

#include <string.h>

static Kek__Provider__Hello good_hello(void)
{
    Kek__Provider__Hello hello = KEK__PROVIDER__HELLO__INIT;
    hello.protocol = KEK_PROVIDER_PROTOCOL;
    hello.keyring = (char *)"ring";
    hello.sessions = 2;
    return hello;
}

static Kek__Provider__Reply *say_hello(struct kek_serve *serve, Kek__Provider__Hello *hello)
{
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = 17;
    request.op_case = KEK__PROVIDER__REQUEST__OP_HELLO;
    request.hello = hello;
    return answer(serve, &request);
}

static Kek__Provider__Reply *log_in(struct kek_serve *serve)
{
    Kek__Provider__Login login = KEK__PROVIDER__LOGIN__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = 18;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LOGIN;
    request.login = &login;
    return answer(serve, &request);
}

#define LIST_MAX 64 /* of named and of known versions */

/* A Hello and all that it points to: as full as it may be, and nothing wrong with it. */
struct full_hello {
    Kek__Provider__Hello hello;
    Kek__Provider__NamedVersion named, *names[LIST_MAX + 1];
    Kek__Provider__Known known, *seen[LIST_MAX + 1];
    char keys[KEK_PROVIDER_SETTINGS_MAX + 1][2];
    Kek__Provider__Setting settings[KEK_PROVIDER_SETTINGS_MAX + 1];
    Kek__Provider__Setting *pointers[KEK_PROVIDER_SETTINGS_MAX + 1];
};

static void full_hello_init(struct full_hello *full)
{
    kek__provider__named_version__init(&full->named);
    kek__provider__known__init(&full->known);
    full->named.number = full->known.number = 1;
    full->known.kek_id = (ProtobufCBinaryData){16, id_bytes};
    for (size_t i = 0; i <= LIST_MAX; i++) {
        full->names[i] = &full->named;
        full->seen[i] = &full->known;
    }
    static char value[] = "v";
    for (size_t i = 0; i <= KEK_PROVIDER_SETTINGS_MAX; i++) {
        Kek__Provider__Setting *setting = full->pointers[i] = &full->settings[i];
        kek__provider__setting__init(setting);
        full->keys[i][0] = (char)('a' + i);
        full->keys[i][1] = '\0';
        setting->key = full->keys[i];
        setting->value = value;
    }
    full->hello = good_hello();
    full->hello.settings = full->pointers;
    full->hello.n_settings = KEK_PROVIDER_SETTINGS_MAX;
    full->hello.versions = full->names;
    full->hello.known = full->seen;
    full->hello.n_versions = full->hello.n_known = 1;
}

/* Makes one field wrong; false: there is no such fault. */
static bool full_hello_spoil(struct full_hello *full, int fault)
{
    static char long_label[KEK_LABEL_MAX + 1];
    Kek__Provider__Hello *hello = &full->hello;
    switch (fault) {
    case 0:
        hello->protocol = KEK_PROVIDER_PROTOCOL - 1;
        return true;
    case 1:
        hello->sessions = 0;
        return true;
    case 2:
        hello->sessions = KEK_SERVE_SESSIONS_MAX + 1;
        return true;
    case 3:
        hello->keyring = (char *)"";
        return true;
    case 4:
        hello->n_settings = KEK_PROVIDER_SETTINGS_MAX + 1;
        return true;
    case 5:
        full->settings[1].key = full->settings[0].key;
        hello->n_settings = 2;
        return true;
    case 6:
        hello->n_versions = LIST_MAX + 1;
        return true;
    case 7:
        full->named.number = 0;
        return true;
    case 8:
        memset(long_label, 'l', KEK_LABEL_MAX);
        full->named.label = long_label;
        return true;
    case 9:
        hello->n_known = LIST_MAX + 1;
        return true;
    case 10:
        full->known.number = 0;
        return true;
    case 11:
        full->known.kek_id.len = 15;
        return true;
    case 12:
        full->named.state = (Kek__Provider__State)(KEK_STATE_COMPROMISED + 1);
        return true;
    default:
        return false;
    }
}

START_TEST(hello_is_refused_for_each_field_that_is_wrong)
{
    struct full_hello full;
    int faults = 0;
    for (full_hello_init(&full); full_hello_spoil(&full, faults); full_hello_init(&full)) {
        struct kek_serve serve = {.ops = &fake_ops};
        expect_failed(say_hello(&serve, &full.hello), PROTOCOL, BAD);
        ck_assert_int_eq(serve.stage, KEK_SERVE_FAILED);
        ck_assert_uint_eq(fake.asked, 0);
        faults++;
    }
    ck_assert_int_eq(faults, 13);
    struct kek_serve serve = {.ops = &fake_ops};
    Kek__Provider__Reply *reply = say_hello(&serve, &full.hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    done(reply);
}
END_TEST

START_TEST(a_provider_is_told_its_role_when_it_is_opened)
{
    for (int officer = 0; officer < 2; officer++) {
        struct kek_serve serve = {.ops = &fake_ops, .officer = officer == 1};
        Kek__Provider__Hello hello = good_hello();
        done(say_hello(&serve, &hello));
        ck_assert_int_eq(fake.opened_as_officer, officer);
    }
}
END_TEST

START_TEST(a_start_goes_by_hello_then_login_then_sessions)
{
    struct kek_serve serve = {.ops = &fake_ops};
    Kek__Provider__Hello hello = good_hello();
    expect_failed(log_in(&serve), PROTOCOL, BAD);
    Kek__Provider__Reply *reply = say_hello(&serve, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert_uint_eq(reply->token->protocol, KEK_PROVIDER_PROTOCOL);
    ck_assert_str_eq(reply->token->serial, "0123");
    done(reply);
    expect_failed(say_hello(&serve, &hello), PROTOCOL, BAD);
    reply = log_in(&serve);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
    ck_assert_int_eq(reply->ready->alg, KEK_WRAP_AES_KW);
    done(reply);
    ck_assert_int_eq(serve.stage, KEK_SERVE_READY);
    ck_assert_uint_eq(fake.sessions_opened, 2);
}
END_TEST

START_TEST(a_start_that_failed_serves_nothing_any_more)
{
    Kek__Provider__Hello hello = good_hello();
    struct kek_serve serve = {.ops = &fake_ops};
    fake.refuses = true;
    Kek__Provider__Reply *reply = say_hello(&serve, &hello);
    ck_assert_uint_eq(reply->failed->native, 0xb1);
    ck_assert(!reply->failed->native_is_errno);
    expect_failed(reply, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    fake.refuses = fake.refuses_unwrap = false;
    expect_failed(say_hello(&serve, &hello), PROTOCOL, BAD);

    serve = (struct kek_serve){.ops = &fake_ops};
    hello.sessions = 4; /* one more than there are */
    done(say_hello(&serve, &hello));
    expect_failed(log_in(&serve), KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    ck_assert_int_eq(serve.stage, KEK_SERVE_FAILED);
    expect_failed(log_in(&serve), PROTOCOL, BAD);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve start");
    TCase *c = tcase_create("start");
    tcase_add_checked_fixture(c, serve_setup, NULL);
    tcase_add_test(c, hello_is_refused_for_each_field_that_is_wrong);
    tcase_add_test(c, a_provider_is_told_its_role_when_it_is_opened);
    tcase_add_test(c, a_start_goes_by_hello_then_login_then_sessions);
    tcase_add_test(c, a_start_that_failed_serves_nothing_any_more);
    suite_add_tcase(s, c);
    return suite_run(s);
}
