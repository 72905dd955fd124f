/* What a worker answers to an officer alone. */
#include "serve_rig.h"

#include <string.h>

/* A Generate, a SetState and a Destroy of one key, all of them right, and a request for each in this order. */
struct change {
    Kek__Provider__Generate generate;
    Kek__Provider__SetState set;
    Kek__Provider__Destroy destroy;
    Kek__Provider__Request requests[3];
};

static void change_init(struct change *change)
{
    kek__provider__generate__init(&change->generate);
    kek__provider__set_state__init(&change->set);
    kek__provider__destroy__init(&change->destroy);
    change->generate.number = 1;
    change->generate.state = KEK__PROVIDER__STATE__PRE_ACTIVE;
    change->set.state = KEK__PROVIDER__STATE__DEACTIVATED;
    change->generate.kek_id = change->set.kek_id = change->destroy.kek_id =
        (ProtobufCBinaryData){16, id_bytes};
    for (size_t i = 0; i < 3; i++) {
        kek__provider__request__init(&change->requests[i]);
    }
    change->requests[0].op_case = KEK__PROVIDER__REQUEST__OP_GENERATE;
    change->requests[0].generate = &change->generate;
    change->requests[1].op_case = KEK__PROVIDER__REQUEST__OP_SET_STATE;
    change->requests[1].set_state = &change->set;
    change->requests[2].op_case = KEK__PROVIDER__REQUEST__OP_DESTROY;
    change->requests[2].destroy = &change->destroy;
}

START_TEST(officer_operations_exist_in_that_role_alone)
{
    struct change change;
    change_init(&change);
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    static const enum kek_state states[] = {KEK_STATE_PRE_ACTIVE, KEK_STATE_DEACTIVATED};
    for (int state = KEK_STATE_PRE_ACTIVE; state <= KEK_STATE_COMPROMISED; state++) {
        change.set.state = (Kek__Provider__State)state;
        done(answer(&officer, &change.requests[1]));
        ck_assert_int_eq((int)fake.last_state, state);
    }
    change.set.state = KEK__PROVIDER__STATE__DEACTIVATED;
    fake.asked = 0;
    for (unsigned i = 0; i < 3; i++) {
        expect_failed(answer(&serve, &change.requests[i]), PROTOCOL,
                      KEK__PROVIDER__CAUSE__UNSUPPORTED);
        ck_assert_uint_eq(fake.asked, i);
        Kek__Provider__Reply *reply = answer(&officer, &change.requests[i]);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_DONE);
        /* What was made has a name; what was changed has none. */
        ck_assert_uint_eq(reply->done->kek_id.len, i == 0 ? 16 : 0);
        done(reply);
        ck_assert_uint_eq(fake.asked, i + 1);
        if (i < 2) {
            ck_assert_int_eq(fake.last_state, states[i]);
        }
    }
    fake.refuses = true;
    for (unsigned i = 0; i < 3; i++) {
        expect_failed(answer(&officer, &change.requests[i]), KEK__PROVIDER__STEP__LOGIN,
                      KEK__PROVIDER__CAUSE__BUSY);
    }
    fake.asked = 0;
    change.generate.kek_id.len = change.set.kek_id.len = change.destroy.kek_id.len = 15;
    for (unsigned i = 0; i < 3; i++) {
        expect_failed(answer(&officer, &change.requests[i]), PROTOCOL, BAD);
    }
    change.generate.kek_id.len = change.set.kek_id.len = 16;
    for (int state = KEK_STATE_DEACTIVATED; state <= KEK_STATE_COMPROMISED; state++) {
        change.generate.state = (Kek__Provider__State)state;
        expect_failed(answer(&officer, &change.requests[0]), PROTOCOL, BAD);
    }
    change.set.state = (Kek__Provider__State)(KEK_STATE_COMPROMISED + 1);
    expect_failed(answer(&officer, &change.requests[1]), PROTOCOL, BAD);
    change.generate.state = KEK__PROVIDER__STATE__ACTIVE;
    change.generate.number = 0;
    expect_failed(answer(&officer, &change.requests[0]), PROTOCOL, BAD);
    ck_assert_uint_eq(fake.asked, 0);
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
    ck_assert_uint_eq(fake.asked, 0);
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
    fake.refuses = true;
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
    ck_assert_uint_eq(fake.asked, 0);
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
    size_t before = fake.asked;
    describe.name.len = 0;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    describe.name.len = sizeof name;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    ck_assert_uint_eq(fake.asked, before);
}
END_TEST

START_TEST(the_longest_statement_fits_with_its_certificates_in_several_messages)
{
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    Kek__Provider__Attest attest = KEK__PROVIDER__ATTEST__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = UINT64_MAX;
    request.op_case = KEK__PROVIDER__REQUEST__OP_ATTEST;
    request.attest = &attest;
    attest.kek_id = (ProtobufCBinaryData){16, id_bytes};
    expect_failed(answer(&serve, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    unsigned answers = 0;
    while (attest.skip < KEK_PROVIDER_CERTIFICATES_MAX) {
        Kek__Provider__Reply *reply = answer(&officer, &request);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_ATTESTED);
        ck_assert_uint_eq(reply->attested->total, KEK_PROVIDER_CERTIFICATES_MAX);
        ck_assert_uint_eq(reply->attested->statement.len, KEK_PROVIDER_STATEMENT_MAX);
        ck_assert_uint_eq(reply->attested->n_checks, KEK_PROVIDER_CHECKS_MAX);
        ck_assert_uint_eq(reply->attested->n_facts, KEK_PROVIDER_FACTS_MAX);
        ck_assert_uint_gt(reply->attested->n_certificates, 0);
        for (size_t i = 0; i < reply->attested->n_certificates; i++) {
            ck_assert_int_eq(reply->attested->certificates[i]->pem[0], 'a' + (int)attest.skip++);
        }
        done(reply);
        answers++;
    }
    ck_assert_uint_ge(answers, 3);
    fake.refuses = true;
    expect_failed(answer(&officer, &request), KEK__PROVIDER__STEP__LOGIN,
                  KEK__PROVIDER__CAUSE__BUSY);
    attest.kek_id.len = 15;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    struct kek_provider_ops without = fake_ops;
    without.attest = NULL;
    officer.ops = &without;
    attest.kek_id.len = 16;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
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
    fake.refuses = true;
    expect_failed(answer(&officer, &request), KEK__PROVIDER__STEP__LOGIN,
                  KEK__PROVIDER__CAUSE__BUSY);
    fake.asked = 0;
    wanted.blob.len = 41;
    expect_failed(answer(&officer, &request), PROTOCOL, BAD);
    wanted.blob.len = 40;
    wanted.alg = KEK__PROVIDER__WRAP_ALG__NONE;
    expect_failed(answer(&officer, &request), PROTOCOL, BAD);
    wanted.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    wanted.kek_id.len = 15;
    expect_failed(answer(&officer, &request), PROTOCOL, BAD);
    ck_assert_uint_eq(fake.asked, 0);
    struct kek_provider_ops without = *officer.ops;
    without.try_key = NULL;
    officer.ops = &without;
    wanted.kek_id.len = 16;
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
}
END_TEST

START_TEST(both_roles_mac_and_the_officer_alone_makes_the_key_for_it)
{
    struct kek_serve serve = ready_worker(false), officer = ready_worker(true);
    uint8_t id[KEK_ID_LEN] = {7}, text[KEK_PROVIDER_MAC_TEXT_MAX + 1] = {9};
    Kek__Provider__Mac mac = KEK__PROVIDER__MAC__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = 1;
    request.op_case = KEK__PROVIDER__REQUEST__OP_MAC;
    request.mac = &mac;
    mac.text.data = text;
    mac.kek_id.data = id;
    for (int i = 0; i < 2; i++) {
        struct kek_serve *worker = i == 0 ? &serve : &officer;
        for (size_t len = 0; len <= KEK_ID_LEN; len += KEK_ID_LEN) {
            mac.kek_id.len = len;
            mac.text.len = KEK_PROVIDER_MAC_TEXT_MAX;
            Kek__Provider__Reply *reply = answer(worker, &request);
            ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_MACED);
            ck_assert_uint_eq(reply->maced->kek_id.data[0], len == 0 ? 1 : 7);
            ck_assert_str_eq(reply->maced->mechanism, "CKM_AES_CMAC");
            ck_assert_uint_eq(reply->maced->mac.len, KEK_PROVIDER_MAC_MAX);
            ck_assert_uint_eq(reply->maced->mac.data[KEK_PROVIDER_MAC_MAX - 1], 9);
            done(reply);
        }
    }
    static const size_t bad[][2] = {{0, 0}, {0, sizeof text}, {15, 1}, {1, 1}};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        mac.kek_id.len = bad[i][0];
        mac.text.len = bad[i][1];
        expect_failed(answer(&serve, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    }
    mac.kek_id.len = 0;
    mac.text.len = 1;
    struct kek_provider_ops none = fake_ops;
    none.mac = NULL;
    none.make_audit_key = NULL;
    struct kek_serve bare = officer;
    bare.ops = &none;
    expect_failed(answer(&bare, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    fake.refuses = true;
    expect_failed(answer(&serve, &request), KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    fake.refuses = false;

    Kek__Provider__Generate generate = KEK__PROVIDER__GENERATE__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_GENERATE;
    request.generate = &generate;
    generate.audit = 1;
    generate.kek_id.data = id;
    generate.kek_id.len = sizeof id;
    fake.asked = 0;
    expect_failed(answer(&serve, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    expect_failed(answer(&bare, &request), PROTOCOL, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    generate.number = 1; /* a version's */
    expect_failed(answer(&officer, &request), PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST);
    generate.number = 0;
    ck_assert_uint_eq(fake.asked, 0);
    Kek__Provider__Reply *reply = answer(&officer, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_DONE);
    ck_assert_mem_eq(reply->done->kek_id.data, id, sizeof id);
    ck_assert_uint_eq(fake.asked, 1);
    done(reply);
    fake.refuses = true;
    expect_failed(answer(&officer, &request), KEK__PROVIDER__STEP__LOGIN,
                  KEK__PROVIDER__CAUSE__BUSY);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("serve officer");
    TCase *c = tcase_create("officer");
    tcase_add_checked_fixture(c, serve_setup, NULL);
    tcase_add_test(c, officer_operations_exist_in_that_role_alone);
    tcase_add_test(c, the_longest_probe_fits_in_one_message_for_an_officer);
    tcase_add_test(c, the_longest_description_fits_in_one_message_for_an_officer);
    tcase_add_test(c, the_longest_statement_fits_with_its_certificates_in_several_messages);
    tcase_add_test(c, a_key_is_tried_for_an_officer_alone);
    tcase_add_test(c, both_roles_mac_and_the_officer_alone_makes_the_key_for_it);
    suite_add_tcase(s, c);
    return suite_run(s);
}
