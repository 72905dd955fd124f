#include "serve.h"

#include "suite.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* A provider of fakes: what was asked of it, and what it is to answer. */
struct kek_provider {
    int unused;
};

struct kek_provider_session {
    int unused;
};

static struct kek_provider provider;
static struct kek_provider_session session;
static unsigned asked, sessions_opened;
static bool refuses;
static bool opened_as_officer;
static enum kek_state last_state;
static struct kek_provider_versions shown;

static bool refuse(struct kek_provider_failure *failure)
{
    failure->step = KEK__PROVIDER__STEP__LOGIN;
    failure->cause = KEK__PROVIDER__CAUSE__BUSY;
    kek_fail_native(&failure->why, KEK_EXHAUSTED, KEK_NATIVE_PKCS11, 0xb1, "no session");
    return false;
}

static bool fake_open(const Kek__Provider__Hello *hello, bool as_officer, struct kek_provider **out,
                      Kek__Provider__Token *token, struct kek_provider_failure *failure)
{
    opened_as_officer = as_officer;
    asked++;
    if (refuses) {
        return refuse(failure);
    }
    ck_assert_str_eq(hello->keyring, "ring");
    token->serial = (char *)"0123";
    *out = &provider;
    return true;
}

static bool fake_login(struct kek_provider *p, struct kek_provider_versions *versions,
                       enum kek_wrap_alg *alg, struct kek_provider_failure *failure)
{
    ck_assert_ptr_eq(p, &provider);
    asked++;
    if (refuses) {
        return refuse(failure);
    }
    *versions = shown;
    *alg = KEK_WRAP_AES_KW;
    return true;
}

static bool fake_session_open(struct kek_provider *p, struct kek_provider_session **out,
                              struct kek_provider_failure *failure)
{
    ck_assert_ptr_eq(p, &provider);
    if (++sessions_opened > 3) {
        return refuse(failure);
    }
    *out = &session;
    return true;
}

static bool fake_list(struct kek_provider_session *s, struct kek_provider_versions *versions,
                      struct kek_provider_failure *failure)
{
    ck_assert_ptr_eq(s, &session);
    asked++;
    if (refuses) {
        return refuse(failure);
    }
    *versions = shown;
    return true;
}

static bool fake_wrap(struct kek_provider_session *s, const struct kek_id *kek_id,
                      const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                      struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    asked++;
    if (refuses) {
        return refuse(failure);
    }
    struct kek_bytes bytes = kek_secret_bytes(data_key);
    wrapped->alg = KEK_WRAP_AES_KW;
    wrapped->len = 40;
    wrapped->handle = 4711;
    memset(wrapped->blob, 'w', 8);
    memcpy(wrapped->blob + 8, bytes.data, bytes.len);
    return true;
}

static bool fake_unwrap(struct kek_provider_session *s, const struct kek_id *kek_id,
                        uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                        struct kek_secret **data_key, struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    asked++;
    ck_assert_uint_eq(handle, 4711);
    ck_assert(kek_wrap_alg_fits(alg, blob.len));
    if (refuses) {
        return refuse(failure);
    }
    *data_key = kek_secret_dup(kek_bytes(blob.data + 8, 32));
    return true;
}

static bool fake_generate(struct kek_provider_session *s, uint32_t number,
                          const struct kek_id *kek_id, enum kek_state state,
                          struct kek_provider_failure *failure)
{
    (void)s;
    (void)number;
    (void)kek_id;
    asked++;
    last_state = state;
    return refuses ? refuse(failure) : true;
}

static bool fake_set_state(struct kek_provider_session *s, const struct kek_id *kek_id,
                           enum kek_state state, struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    asked++;
    last_state = state;
    return refuses ? refuse(failure) : true;
}

static bool fake_destroy(struct kek_provider_session *s, const struct kek_id *kek_id,
                         struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    asked++;
    return refuses ? refuse(failure) : true;
}

static bool fake_describe(struct kek_provider_session *s, struct kek_bytes name, uint32_t skip,
                          struct kek_provider_described *described,
                          struct kek_provider_failure *failure)
{
    (void)s;
    (void)failure;
    asked++;
    ck_assert_uint_eq(name.len, KEK_PROVIDER_NAME_MAX);
    ck_assert_uint_eq(skip, UINT32_MAX);
    memset(described, 0xff, sizeof *described);
    described->object_count = KEK_PROVIDER_OBJECTS_MAX;
    for (size_t i = 0; i < KEK_PROVIDER_OBJECTS_MAX; i++) {
        struct kek_provider_object *object = &described->objects[i];
        object->label_len = KEK_LABEL_MAX;
        object->id_len = KEK_PROVIDER_OBJECT_ID_MAX + 1;
        object->named = true;
        object->attribute_count = KEK_PROVIDER_ATTRIBUTES_MAX;
        for (size_t j = 0; j < KEK_PROVIDER_ATTRIBUTES_MAX; j++) {
            memset(object->attributes[j].name, 'a', sizeof object->attributes[j].name);
            object->attributes[j].name[sizeof object->attributes[j].name - 1] = '\0';
            object->attributes[j].value = KEK_TRI_YES;
        }
        memset(object->refusal, 'r', sizeof object->refusal);
        memset(object->named_refusal, 'n', sizeof object->named_refusal);
        object->refusal[sizeof object->refusal - 1] = '\0';
        object->named_refusal[sizeof object->named_refusal - 1] = '\0';
    }
    return true;
}

static bool fake_probe(struct kek_provider_session *s, struct kek_provider_probed *probed,
                       struct kek_provider_failure *failure)
{
    (void)s;
    asked++;
    if (refuses) {
        return refuse(failure);
    }
    probed->keeping.outcome = KEK_KEEPING_HANDED_OUT;
    probed->keeping.native = UINT64_MAX;
    memset(probed->keeping.text, 'k', sizeof probed->keeping.text - 1);
    probed->trial_count = KEK_PROVIDER_TRIALS_MAX;
    for (size_t i = 0; i < probed->trial_count; i++) {
        struct kek_provider_trial *trial = &probed->trials[i];
        trial->encrypts = i % 2 == 1;
        trial->type = UINT64_MAX;
        trial->alg = KEK_WRAP_AES_CBC;
        trial->verdict = KEK_VERDICT_REFUSED;
        trial->native = UINT64_MAX - i;
        memset(trial->mechanism, 'm', sizeof trial->mechanism - 1);
        memset(trial->text, 't', sizeof trial->text - 1);
        memset(trial->key, 'k', sizeof trial->key - 1);
    }
    return true;
}

static bool fake_try_key(struct kek_provider_session *s, const struct kek_id *kek_id,
                         enum kek_wrap_alg alg, struct kek_bytes blob, bool copy,
                         struct kek_provider_tried *tried, struct kek_provider_failure *failure)
{
    (void)s;
    if (refuses) {
        return refuse(failure);
    }
    asked++;
    (void)kek_id;
    ck_assert_int_eq((int)alg, KEK_WRAP_AES_KW);
    tried->shown = blob.len == 40;
    tried->flag_unwrap = tried->compromised = true;
    tried->wrap.made = true;
    tried->wrap.native = 0x68;
    memset(tried->wrap.text, 'w', sizeof tried->wrap.text - 1);
    tried->unwrap.made = tried->unwrap.done = blob.len > 0;
    tried->copy.made = tried->reopened = copy;
    memset(tried->lost, 'l', sizeof tried->lost - 1);
    return true;
}

static const struct kek_provider_ops fakes = {
    .type = "fake",
    .open = fake_open,
    .login = fake_login,
    .session_open = fake_session_open,
    .list = fake_list,
    .wrap = fake_wrap,
    .unwrap = fake_unwrap,
    .generate = fake_generate,
    .set_state = fake_set_state,
    .destroy = fake_destroy,
    .probe = fake_probe,
    .describe = fake_describe,
    .try_key = fake_try_key,
};

static void setup(void)
{
    bool locked;
    struct kek_why why;
    ck_assert_int_eq(kek_secret_setup(16384, &locked, &why), KEK_OK);
    asked = sessions_opened = 0;
    refuses = false;
    memset(&shown, 0, sizeof shown);
}

/* Packs a request, lets it be answered, unpacks the reply. */
static Kek__Provider__Reply *answer(struct kek_serve *serve, const Kek__Provider__Request *request)
{
    uint8_t packet[16384];
    size_t len = kek__provider__request__get_packed_size(request);
    ck_assert_uint_le(len, sizeof packet);
    kek__provider__request__pack(request, packet);
    KEK_AUTO_BUF struct kek_buf reply;
    kek_buf_init(&reply, KEK_PROVIDER_MESSAGE_MAX);
    if (serve->stage == KEK_SERVE_READY) {
        ck_assert(kek_serve_request(serve, &session, kek_bytes(packet, len), &reply));
    } else {
        ck_assert(kek_serve_start(serve, kek_bytes(packet, len), &reply));
    }
    Kek__Provider__Reply *message = kek__provider__reply__unpack(NULL, reply.len, reply.data);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(message->id, request->id);
    return message;
}

static void done(Kek__Provider__Reply *reply)
{
    kek__provider__reply__free_unpacked(reply, NULL);
}

static void expect_failed(Kek__Provider__Reply *reply, int step, int cause)
{
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
    ck_assert_int_eq(reply->failed->step, step);
    ck_assert_int_eq(reply->failed->cause, cause);
    ck_assert_str_ne(reply->failed->text, "");
    done(reply);
}

#define PROTOCOL KEK__PROVIDER__STEP__PROTOCOL
#define BAD KEK__PROVIDER__CAUSE__BAD_REQUEST

static uint8_t id_bytes[KEK_ID_LEN] = "kek id of tests";
static uint8_t key_bytes[KEK_DATA_KEY_LEN] = "data key of tests";

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

static struct kek_serve ready_worker(bool officer)
{
    return (struct kek_serve){.ops = &fakes,
                              .officer = officer,
                              .stage = KEK_SERVE_READY,
                              .provider = &provider,
                              .session_count = 1,
                              .sessions = {&session}};
}

START_TEST(hello_is_refused_for_each_field_that_is_wrong)
{
    Kek__Provider__NamedVersion named = KEK__PROVIDER__NAMED_VERSION__INIT;
    Kek__Provider__NamedVersion *one[65];
    char long_label[KEK_LABEL_MAX + 1];
    memset(long_label, 'l', KEK_LABEL_MAX);
    long_label[KEK_LABEL_MAX] = '\0';
    for (size_t i = 0; i < 65; i++) {
        one[i] = &named;
    }
    for (int fault = 0; fault < 10; fault++) {
        Kek__Provider__Hello hello = good_hello();
        static char keys[KEK_PROVIDER_SETTINGS_MAX + 1][2], value[] = "v";
        Kek__Provider__Setting settings[KEK_PROVIDER_SETTINGS_MAX + 1];
        Kek__Provider__Setting *pointers[KEK_PROVIDER_SETTINGS_MAX + 1];
        for (size_t i = 0; i <= KEK_PROVIDER_SETTINGS_MAX; i++) {
            kek__provider__setting__init(&settings[i]);
            keys[i][0] = (char)('a' + i);
            settings[i].key = keys[i];
            settings[i].value = value;
            pointers[i] = &settings[i];
        }
        hello.settings = pointers;
        hello.n_settings = KEK_PROVIDER_SETTINGS_MAX;
        kek__provider__named_version__init(&named);
        named.number = 1;
        hello.versions = one;
        hello.n_versions = 1;
        switch (fault) {
        case 0:
            hello.protocol = KEK_PROVIDER_PROTOCOL - 1;
            break;
        case 1:
            hello.sessions = 0;
            break;
        case 2:
            hello.sessions = KEK_SERVE_SESSIONS_MAX + 1;
            break;
        case 3:
            hello.keyring = (char *)"";
            break;
        case 4:
            hello.n_settings = KEK_PROVIDER_SETTINGS_MAX + 1;
            break;
        case 5:
            settings[1].key = settings[0].key;
            hello.n_settings = 2;
            break;
        case 6:
            hello.n_versions = 65;
            break;
        case 7:
            named.number = 0;
            break;
        case 8:
            named.label = long_label;
            break;
        default:
            named.state = (Kek__Provider__State)(KEK_STATE_COMPROMISED + 1);
            break;
        }
        struct kek_serve serve = {.ops = &fakes};
        expect_failed(say_hello(&serve, &hello), PROTOCOL, BAD);
        ck_assert_int_eq(serve.stage, KEK_SERVE_FAILED);
        ck_assert_uint_eq(asked, 0);
    }
}
END_TEST

START_TEST(a_provider_is_told_its_role_when_it_is_opened)
{
    for (int officer = 0; officer < 2; officer++) {
        struct kek_serve serve = {.ops = &fakes, .officer = officer == 1};
        Kek__Provider__Hello hello = good_hello();
        done(say_hello(&serve, &hello));
        ck_assert_int_eq(opened_as_officer, officer);
    }
}
END_TEST

START_TEST(a_start_goes_by_hello_then_login_then_sessions)
{
    struct kek_serve serve = {.ops = &fakes};
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
    ck_assert_uint_eq(sessions_opened, 2);
}
END_TEST

START_TEST(a_start_that_failed_serves_nothing_any_more)
{
    Kek__Provider__Hello hello = good_hello();
    struct kek_serve serve = {.ops = &fakes};
    refuses = true;
    Kek__Provider__Reply *reply = say_hello(&serve, &hello);
    ck_assert_uint_eq(reply->failed->native, 0xb1);
    ck_assert(!reply->failed->native_is_errno);
    expect_failed(reply, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    refuses = false;
    expect_failed(say_hello(&serve, &hello), PROTOCOL, BAD);

    serve = (struct kek_serve){.ops = &fakes};
    hello.sessions = 4; /* one more than there are */
    done(say_hello(&serve, &hello));
    expect_failed(log_in(&serve), KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    ck_assert_int_eq(serve.stage, KEK_SERVE_FAILED);
    expect_failed(log_in(&serve), PROTOCOL, BAD);
}
END_TEST

START_TEST(wrap_and_unwrap_check_every_length_before_the_provider_is_asked)
{
    struct kek_serve serve = ready_worker(false);
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = 5;
    request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
    request.wrap = &wrap;
    uint8_t long_bytes[64] = {0};
    static const size_t bad[][2] = {{0, 32}, {15, 32}, {17, 32}, {16, 0}, {16, 31}, {16, 33}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        wrap.kek_id = (ProtobufCBinaryData){bad[i][0], long_bytes};
        wrap.data_key = (ProtobufCBinaryData){bad[i][1], long_bytes};
        expect_failed(answer(&serve, &request), PROTOCOL, BAD);
    }
    Kek__Provider__Unwrap unwrap = KEK__PROVIDER__UNWRAP__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_UNWRAP;
    request.unwrap = &unwrap;
    unwrap.kek_id = (ProtobufCBinaryData){16, id_bytes};
    unwrap.blob = (ProtobufCBinaryData){40, long_bytes};
    expect_failed(answer(&serve, &request), PROTOCOL, BAD); /* no algorithm */
    unwrap.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    unwrap.kek_id.len = 15;
    expect_failed(answer(&serve, &request), PROTOCOL, BAD);
    unwrap.kek_id.len = 16;
    unwrap.blob.len = 39;
    expect_failed(answer(&serve, &request), KEK__PROVIDER__STEP__PROVIDER_CALL,
                  KEK__PROVIDER__CAUSE__DATA);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(a_data_key_goes_through_and_comes_back)
{
    struct kek_serve serve = ready_worker(false);
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    wrap.kek_id = (ProtobufCBinaryData){16, id_bytes};
    wrap.data_key = (ProtobufCBinaryData){32, key_bytes};
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = UINT64_MAX;
    request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
    request.wrap = &wrap;
    Kek__Provider__Reply *reply = answer(&serve, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_WRAPPED);
    ck_assert_uint_eq(reply->wrapped->blob.len, 40);
    Kek__Provider__Unwrap unwrap = KEK__PROVIDER__UNWRAP__INIT;
    unwrap.kek_id = wrap.kek_id;
    unwrap.alg = reply->wrapped->alg;
    unwrap.blob = reply->wrapped->blob;
    unwrap.handle = reply->wrapped->handle;
    request.op_case = KEK__PROVIDER__REQUEST__OP_UNWRAP;
    request.unwrap = &unwrap;
    Kek__Provider__Reply *back = answer(&serve, &request);
    ck_assert_int_eq(back->result_case, KEK__PROVIDER__REPLY__RESULT_UNWRAPPED);
    ck_assert_uint_eq(back->unwrapped->data_key.len, 32);
    ck_assert_mem_eq(back->unwrapped->data_key.data, key_bytes, 32);
    done(back);
    refuses = true;
    expect_failed(answer(&serve, &request), KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    done(reply);
}
END_TEST

START_TEST(officer_operations_exist_in_that_role_alone)
{
    Kek__Provider__Generate generate = KEK__PROVIDER__GENERATE__INIT;
    Kek__Provider__SetState set = KEK__PROVIDER__SET_STATE__INIT;
    Kek__Provider__Destroy destroy = KEK__PROVIDER__DESTROY__INIT;
    generate.number = 1;
    generate.state = KEK__PROVIDER__STATE__PRE_ACTIVE;
    set.state = KEK__PROVIDER__STATE__DEACTIVATED;
    generate.kek_id = set.kek_id = destroy.kek_id = (ProtobufCBinaryData){16, id_bytes};
    Kek__Provider__Request requests[3] = {
        KEK__PROVIDER__REQUEST__INIT, KEK__PROVIDER__REQUEST__INIT, KEK__PROVIDER__REQUEST__INIT};
    requests[0].op_case = KEK__PROVIDER__REQUEST__OP_GENERATE;
    requests[0].generate = &generate;
    requests[1].op_case = KEK__PROVIDER__REQUEST__OP_SET_STATE;
    requests[1].set_state = &set;
    requests[2].op_case = KEK__PROVIDER__REQUEST__OP_DESTROY;
    requests[2].destroy = &destroy;
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    static const enum kek_state states[] = {KEK_STATE_PRE_ACTIVE, KEK_STATE_DEACTIVATED};
    for (int state = KEK_STATE_PRE_ACTIVE; state <= KEK_STATE_COMPROMISED; state++) {
        set.state = (Kek__Provider__State)state;
        done(answer(&officer, &requests[1]));
        ck_assert_int_eq((int)last_state, state);
    }
    set.state = KEK__PROVIDER__STATE__DEACTIVATED;
    asked = 0;
    for (unsigned i = 0; i < 3; i++) {
        expect_failed(answer(&serve, &requests[i]), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
        ck_assert_uint_eq(asked, i);
        Kek__Provider__Reply *reply = answer(&officer, &requests[i]);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_DONE);
        done(reply);
        ck_assert_uint_eq(asked, i + 1);
        if (i < 2) {
            ck_assert_int_eq(last_state, states[i]);
        }
    }
    refuses = true;
    for (unsigned i = 0; i < 3; i++) {
        expect_failed(answer(&officer, &requests[i]), KEK__PROVIDER__STEP__LOGIN,
                      KEK__PROVIDER__CAUSE__BUSY);
    }
    asked = 0;
    generate.kek_id.len = set.kek_id.len = destroy.kek_id.len = 15;
    for (unsigned i = 0; i < 3; i++) {
        expect_failed(answer(&officer, &requests[i]), PROTOCOL, BAD);
    }
    generate.kek_id.len = set.kek_id.len = 16;
    for (int state = KEK_STATE_DEACTIVATED; state <= KEK_STATE_COMPROMISED; state++) {
        generate.state = (Kek__Provider__State)state;
        expect_failed(answer(&officer, &requests[0]), PROTOCOL, BAD);
    }
    set.state = (Kek__Provider__State)(KEK_STATE_COMPROMISED + 1);
    expect_failed(answer(&officer, &requests[1]), PROTOCOL, BAD);
    generate.state = KEK__PROVIDER__STATE__ACTIVE;
    generate.number = 0;
    expect_failed(answer(&officer, &requests[0]), PROTOCOL, BAD);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

START_TEST(the_longest_probe_fits_in_one_message_for_an_officer)
{
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    Kek__Provider__Probe probe = KEK__PROVIDER__PROBE__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = UINT64_MAX;
    request.op_case = KEK__PROVIDER__REQUEST__OP_PROBE;
    request.probe = &probe;
    expect_failed(answer(&serve, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    ck_assert_uint_eq(asked, 0);
    Kek__Provider__Reply *reply = answer(&officer, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_PROBED);
    ck_assert_uint_eq(reply->probed->n_trials, KEK_PROVIDER_TRIALS_MAX);
    const Kek__Provider__Trial *last = reply->probed->trials[KEK_PROVIDER_TRIALS_MAX - 1];
    ck_assert_int_eq((int)last->strategy, KEK__PROVIDER__STRATEGY__ENCRYPT);
    ck_assert_int_eq((int)reply->probed->trials[0]->strategy, KEK__PROVIDER__STRATEGY__WRAP_KEY);
    ck_assert_int_eq((int)last->verdict, KEK__PROVIDER__VERDICT__REFUSED);
    ck_assert_uint_eq(last->native, UINT64_MAX - (KEK_PROVIDER_TRIALS_MAX - 1));
    ck_assert_uint_eq(strlen(last->text), sizeof((struct kek_provider_trial *)NULL)->text - 1);
    ck_assert_int_eq((int)reply->probed->keeping->outcome, KEK__PROVIDER__KEEP__HANDED_OUT);
    ck_assert_uint_eq(reply->probed->keeping->native, UINT64_MAX);
    ck_assert_uint_eq(strlen(reply->probed->keeping->text),
                      sizeof((struct kek_provider_keeping *)NULL)->text - 1);
    done(reply);
    refuses = true;
    expect_failed(answer(&officer, &request), KEK__PROVIDER__STEP__LOGIN,
                  KEK__PROVIDER__CAUSE__BUSY);
}
END_TEST

START_TEST(the_longest_description_fits_in_one_message_for_an_officer)
{
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    uint8_t name[KEK_PROVIDER_NAME_MAX + 1] = {0};
    Kek__Provider__Describe describe = KEK__PROVIDER__DESCRIBE__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = UINT64_MAX;
    request.op_case = KEK__PROVIDER__REQUEST__OP_DESCRIBE;
    request.describe = &describe;
    describe.name.data = name;
    describe.name.len = KEK_PROVIDER_NAME_MAX;
    describe.skip = UINT32_MAX;
    expect_failed(answer(&serve, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    ck_assert_uint_eq(asked, 0);
    Kek__Provider__Reply *reply = answer(&officer, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_DESCRIBED);
    ck_assert_uint_eq(reply->described->n_objects, KEK_PROVIDER_OBJECTS_MAX);
    ck_assert_uint_eq(reply->described->total, UINT32_MAX);
    const Kek__Provider__Object *last = reply->described->objects[KEK_PROVIDER_OBJECTS_MAX - 1];
    ck_assert_uint_eq(last->n_attributes, KEK_PROVIDER_ATTRIBUTES_MAX);
    ck_assert_int_eq((int)last->attributes[0]->value, KEK__PROVIDER__TRI__YES);
    ck_assert_uint_eq(last->label.len, KEK_LABEL_MAX - 1);
    ck_assert_uint_eq(last->label_len, KEK_LABEL_MAX);
    ck_assert_uint_eq(last->id.len, KEK_PROVIDER_OBJECT_ID_MAX);
    done(reply);
    size_t before = asked;
    describe.name.len = 0;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    describe.name.len = sizeof name;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    ck_assert_uint_eq(asked, before);
}
END_TEST

START_TEST(a_worker_says_what_memory_it_has_if_it_is_asked)
{
    struct kek_serve serve = ready_worker(false);
    Kek__Provider__List list = KEK__PROVIDER__LIST__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = 5;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LIST;
    request.list = &list;
    Kek__Provider__Reply *reply = answer(&serve, &request);
    ck_assert_uint_eq(reply->memory, 0);
    done(reply);
    request.say_memory = true;
    reply = answer(&serve, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
    ck_assert_uint_gt(reply->memory, 0);
    done(reply);
    size_t size = 64 << 20;
    void *much =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    ck_assert_ptr_ne(much, MAP_FAILED);
    refuses = true;
    reply = answer(&serve, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
    ck_assert_uint_ge(reply->memory, size);
    done(reply);
    munmap(much, size);
}
END_TEST

START_TEST(the_longest_list_fits_in_one_message)
{
    shown.count = KEK_PROVIDER_VERSIONS_MAX;
    for (size_t i = 0; i < shown.count; i++) {
        struct kek_version *version = &shown.items[i];
        version->number = UINT32_MAX;
        version->can_wrap = version->can_unwrap = version->eligible = true;
        version->alg = KEK_WRAP_AES_CBC;
        memset(version->id.bytes, 0xff, sizeof version->id.bytes);
        memset(version->label, 'l', sizeof version->label - 1);
        memset(version->refusal, 'r', sizeof version->refusal - 1);
    }
    struct kek_serve serve = ready_worker(false);
    Kek__Provider__List list = KEK__PROVIDER__LIST__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = UINT64_MAX;
    request.op_case = KEK__PROVIDER__REQUEST__OP_LIST;
    request.list = &list;
    request.say_memory = true;
    Kek__Provider__Reply *reply = answer(&serve, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
    ck_assert_uint_gt(reply->memory, 0);
    ck_assert_uint_eq(reply->listed->n_versions, 64);
    ck_assert_uint_eq(strlen(reply->listed->versions[63]->label), 127);
    ck_assert_uint_eq(strlen(reply->listed->versions[63]->refusal), 80);
    done(reply);
    shown.count = 2;
    reply = answer(&serve, &request);
    ck_assert_uint_eq(strlen(reply->listed->versions[1]->refusal), 159);
    done(reply);
}
END_TEST

/* Every prefix and every changed byte of good packets: a reply each, never more, never a crash. */
START_TEST(whatever_the_packet_there_is_one_reply)
{
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    wrap.kek_id = (ProtobufCBinaryData){16, id_bytes};
    wrap.data_key = (ProtobufCBinaryData){32, key_bytes};
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = 300;
    request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
    request.wrap = &wrap;
    uint8_t packet[128];
    size_t len = kek__provider__request__pack(&request, packet);
    struct kek_serve serve = ready_worker(true);
    for (size_t cut = 0; cut <= len; cut++) {
        for (size_t at = 0; at < cut; at++) {
            KEK_AUTO_BUF struct kek_buf reply;
            kek_buf_init(&reply, KEK_PROVIDER_MESSAGE_MAX);
            packet[at] ^= 0x55;
            ck_assert(kek_serve_request(&serve, &session, kek_bytes(packet, cut), &reply));
            packet[at] ^= 0x55;
            Kek__Provider__Reply *message =
                kek__provider__reply__unpack(NULL, reply.len, reply.data);
            ck_assert_ptr_nonnull(message);
            ck_assert_int_ne(message->result_case, KEK__PROVIDER__REPLY__RESULT__NOT_SET);
            done(message);
        }
    }
}
END_TEST

START_TEST(a_key_is_tried_for_an_officer_alone)
{
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    uint8_t blob[41] = {0};
    Kek__Provider__TryKey wanted = KEK__PROVIDER__TRY_KEY__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    wanted.kek_id = (ProtobufCBinaryData){16, id_bytes};
    wanted.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    request.op_case = KEK__PROVIDER__REQUEST__OP_TRY_KEY;
    request.try_key = &wanted;
    expect_failed(answer(&serve, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    for (int full = 0; full < 2; full++) {
        wanted.blob = (ProtobufCBinaryData){full ? 40 : 0, blob};
        wanted.copy = full == 1;
        Kek__Provider__Reply *reply = answer(&officer, &request);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TRIED);
        const Kek__Provider__Tried *tried = reply->tried;
        ck_assert(tried->shown == full && !tried->flag_wrap && tried->flag_unwrap);
        ck_assert(tried->compromised && tried->reopened == full);
        ck_assert(tried->wrap->made && !tried->wrap->done && tried->wrap->native == 0x68);
        ck_assert_uint_eq(strlen(tried->wrap->text), 127);
        ck_assert(tried->unwrap->made == full && tried->unwrap->done == full);
        ck_assert(tried->copy->made == full && !tried->copy->done);
        ck_assert_uint_eq(strlen(tried->lost), 159);
        done(reply);
    }
    refuses = true;
    expect_failed(answer(&officer, &request), KEK__PROVIDER__STEP__LOGIN,
                  KEK__PROVIDER__CAUSE__BUSY);
    asked = 0;
    wanted.blob.len = 41;
    expect_failed(answer(&officer, &request), PROTOCOL, BAD);
    wanted.blob.len = 40;
    wanted.alg = KEK__PROVIDER__WRAP_ALG__NONE;
    expect_failed(answer(&officer, &request), PROTOCOL, BAD);
    wanted.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    wanted.kek_id.len = 15;
    expect_failed(answer(&officer, &request), PROTOCOL, BAD);
    ck_assert_uint_eq(asked, 0);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve");
    TCase *c = tcase_create("serve");
    tcase_add_checked_fixture(c, setup, NULL);
    tcase_add_test(c, hello_is_refused_for_each_field_that_is_wrong);
    tcase_add_test(c, a_provider_is_told_its_role_when_it_is_opened);
    tcase_add_test(c, a_start_goes_by_hello_then_login_then_sessions);
    tcase_add_test(c, a_start_that_failed_serves_nothing_any_more);
    tcase_add_test(c, wrap_and_unwrap_check_every_length_before_the_provider_is_asked);
    tcase_add_test(c, a_data_key_goes_through_and_comes_back);
    tcase_add_test(c, officer_operations_exist_in_that_role_alone);
    tcase_add_test(c, the_longest_probe_fits_in_one_message_for_an_officer);
    tcase_add_test(c, the_longest_description_fits_in_one_message_for_an_officer);
    tcase_add_test(c, a_worker_says_what_memory_it_has_if_it_is_asked);
    tcase_add_test(c, the_longest_list_fits_in_one_message);
    tcase_add_test(c, whatever_the_packet_there_is_one_reply);
    tcase_add_test(c, a_key_is_tried_for_an_officer_alone);
    suite_add_tcase(s, c);
    return suite_run(s);
}
