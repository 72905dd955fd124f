#include "serve_rig.h"

#include <string.h>

struct kek_provider {
    int unused;
};

struct kek_provider_session {
    int unused;
};

static struct kek_provider fake_provider;
static struct kek_provider_session fake_session;
struct fake fake;
uint8_t id_bytes[KEK_ID_LEN] = "kek id of tests";
uint8_t key_bytes[KEK_DATA_KEY_LEN] = "data key of tests";

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
    fake.opened_as_officer = as_officer;
    fake.asked++;
    if (fake.refuses) {
        return refuse(failure);
    }
    ck_assert_str_eq(hello->keyring, "ring");
    token->serial = (char *)"0123";
    *out = &fake_provider;
    return true;
}

static bool fake_login(struct kek_provider *p, struct kek_provider_versions *versions,
                       enum kek_wrap_alg *alg, struct kek_provider_failure *failure)
{
    ck_assert_ptr_eq(p, &fake_provider);
    fake.asked++;
    if (fake.refuses) {
        return refuse(failure);
    }
    *versions = fake.shown;
    *alg = KEK_WRAP_AES_KW;
    return true;
}

static bool fake_session_open(struct kek_provider *p, struct kek_provider_session **out,
                              struct kek_provider_failure *failure)
{
    ck_assert_ptr_eq(p, &fake_provider);
    if (++fake.sessions_opened > 3) {
        return refuse(failure);
    }
    *out = &fake_session;
    return true;
}

static bool fake_list(struct kek_provider_session *s, struct kek_provider_versions *versions,
                      struct kek_provider_failure *failure)
{
    ck_assert_ptr_eq(s, &fake_session);
    fake.asked++;
    if (fake.refuses) {
        return refuse(failure);
    }
    *versions = fake.shown;
    return true;
}

static bool fake_wrap(struct kek_provider_session *s, const struct kek_id *kek_id,
                      const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                      struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    fake.asked++;
    if (fake.refuses) {
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
    fake.asked++;
    ck_assert_uint_eq(handle, 4711);
    ck_assert(kek_wrap_alg_fits(alg, blob.len));
    if (fake.refuses || fake.refuses_unwrap) {
        return refuse(failure);
    }
    *data_key = kek_secret_dup(kek_bytes(blob.data + 8, 32));
    return true;
}

static bool fake_generate(struct kek_provider_session *s, uint32_t number,
                          const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                          struct kek_provider_failure *failure)
{
    (void)s;
    (void)number;
    *made = *kek_id;
    fake.asked++;
    fake.last_state = state;
    return fake.refuses ? refuse(failure) : true;
}

static bool fake_set_state(struct kek_provider_session *s, const struct kek_id *kek_id,
                           enum kek_state state, struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    fake.asked++;
    fake.last_state = state;
    return fake.refuses ? refuse(failure) : true;
}

static bool fake_destroy(struct kek_provider_session *s, const struct kek_id *kek_id,
                         struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    fake.asked++;
    return fake.refuses ? refuse(failure) : true;
}

static bool fake_describe(struct kek_provider_session *s, struct kek_bytes name, uint32_t skip,
                          struct kek_provider_described *described,
                          struct kek_provider_failure *failure)
{
    (void)s;
    (void)failure;
    fake.asked++;
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
    fake.asked++;
    if (fake.refuses) {
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
    if (fake.refuses) {
        return refuse(failure);
    }
    fake.asked++;
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

static bool fake_attest(struct kek_provider_session *s, const struct kek_id *kek_id,
                        struct kek_provider_attested *attested,
                        struct kek_provider_failure *failure)
{
    (void)s;
    (void)kek_id;
    if (fake.refuses) {
        return refuse(failure);
    }
    memset(attested->format, 'f', sizeof attested->format - 1);
    attested->statement_len = sizeof attested->statement;
    attested->certificate_count = KEK_PROVIDER_CERTIFICATES_MAX;
    for (size_t i = 0; i < KEK_PROVIDER_CERTIFICATES_MAX; i++) {
        memset(attested->certificates[i].chain, 'c', sizeof attested->certificates[i].chain - 1);
        memset(attested->certificates[i].pem, 'a' + (int)i,
               i < 2 ? sizeof attested->certificates[i].pem - 1 : 700);
    }
    attested->check_count = KEK_PROVIDER_CHECKS_MAX;
    for (size_t i = 0; i < KEK_PROVIDER_CHECKS_MAX; i++) {
        attested->checks[i].outcome = KEK_CHECK_FAILED;
        memset(attested->checks[i].name, 'n', sizeof attested->checks[i].name - 1);
        memset(attested->checks[i].text, 't', sizeof attested->checks[i].text - 1);
    }
    attested->fact_count = KEK_PROVIDER_FACTS_MAX;
    for (size_t i = 0; i < KEK_PROVIDER_FACTS_MAX; i++) {
        memset(attested->facts[i].name, 'n', sizeof attested->facts[i].name - 1);
        memset(attested->facts[i].value, 'v', sizeof attested->facts[i].value - 1);
    }
    return true;
}

static bool fake_mac(struct kek_provider_session *s, const struct kek_id *key_id,
                     struct kek_bytes text, struct kek_provider_maced *maced,
                     struct kek_provider_failure *failure)
{
    (void)s;
    if (fake.refuses) {
        return refuse(failure);
    }
    fake.asked++;
    maced->key_id = key_id == NULL ? (struct kek_id){{1}} : *key_id;
    memcpy(maced->mechanism, "CKM_AES_CMAC", sizeof "CKM_AES_CMAC");
    maced->len = KEK_PROVIDER_MAC_MAX;
    memset(maced->mac, text.data[0], maced->len);
    return true;
}

static bool fake_make_audit_key(struct kek_provider_session *s, const struct kek_id *key_id,
                                struct kek_provider_failure *failure)
{
    (void)s;
    (void)key_id;
    if (fake.refuses) {
        return refuse(failure);
    }
    fake.asked++;
    return true;
}

const struct kek_provider_ops fake_ops = {
    .type = "fake",
    .open = fake_open,
    .login = fake_login,
    .session_open = fake_session_open,
    .list = fake_list,
    .wrap = fake_wrap,
    .unwrap = fake_unwrap,
    .mac = fake_mac,
    .make_audit_key = fake_make_audit_key,
    .generate = fake_generate,
    .set_state = fake_set_state,
    .destroy = fake_destroy,
    .probe = fake_probe,
    .describe = fake_describe,
    .attest = fake_attest,
    .try_key = fake_try_key,
};

void serve_setup(void)
{
    bool locked;
    struct kek_why why;
    ck_assert_int_eq(kek_secret_setup(16384, &locked, &why), KEK_OK);
    memset(&fake, 0, sizeof fake);
}

Kek__Provider__Reply *answer(struct kek_serve *serve, const Kek__Provider__Request *request)
{
    uint8_t packet[16384];
    size_t len = kek__provider__request__get_packed_size(request);
    ck_assert_uint_le(len, sizeof packet);
    kek__provider__request__pack(request, packet);
    KEK_AUTO_BUF struct kek_buf reply;
    kek_buf_init(&reply, KEK_PROVIDER_MESSAGE_MAX);
    if (serve->stage == KEK_SERVE_READY) {
        ck_assert(kek_serve_request(serve, serve->sessions[0], kek_bytes(packet, len), &reply));
    } else {
        ck_assert(kek_serve_start(serve, kek_bytes(packet, len), &reply));
    }
    Kek__Provider__Reply *message = kek__provider__reply__unpack(NULL, reply.len, reply.data);
    ck_assert_ptr_nonnull(message);
    ck_assert_uint_eq(message->id, request->id);
    return message;
}

void done(Kek__Provider__Reply *reply)
{
    kek__provider__reply__free_unpacked(reply, NULL);
}

void expect_failed(Kek__Provider__Reply *reply, int step, int cause)
{
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
    ck_assert_int_eq(reply->failed->step, step);
    ck_assert_int_eq(reply->failed->cause, cause);
    ck_assert_str_ne(reply->failed->text, "");
    done(reply);
}

struct kek_serve ready_worker(bool officer)
{
    return (struct kek_serve){.ops = &fake_ops,
                              .officer = officer,
                              .stage = KEK_SERVE_READY,
                              .provider = &fake_provider,
                              .session_count = 1,
                              .sessions = {&fake_session}};
}
