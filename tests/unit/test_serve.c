/* What a started worker answers in either role: Wrap, Unwrap and List. */
#include "serve_rig.h"

#include <string.h>
#include <sys/mman.h>

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
    ck_assert_uint_eq(fake.asked, 0);
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
    fake.refuses = true;
    expect_failed(answer(&serve, &request), KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY);
    done(reply);
}
END_TEST

/* Whatever is wrong with it, the wrap stands. */
START_TEST(a_witness_opens_after_its_wrap_by_the_object_that_wrapped)
{
    static uint8_t blob[40] = "........the data key of the witness.....";
    static const struct {
        int alg;
        size_t len;
        bool refuses, opens;
    } rows[] = {
        {KEK__PROVIDER__WRAP_ALG__AES_KW, 40, false, true},
        {KEK__PROVIDER__WRAP_ALG__AES_KW, 40, true, false},
        {KEK__PROVIDER__WRAP_ALG__AES_KW, 39, false, false},
        {KEK__PROVIDER__WRAP_ALG__AES_KW, 0, false, false},
        {KEK__PROVIDER__WRAP_ALG__NONE, 40, false, false},
        {99, 40, false, false},
    };
    struct kek_serve serve = ready_worker(false);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        Kek__Provider__Witness witness = KEK__PROVIDER__WITNESS__INIT;
        witness.alg = (Kek__Provider__WrapAlg)rows[i].alg;
        witness.blob = (ProtobufCBinaryData){rows[i].len, blob};
        Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
        wrap.kek_id = (ProtobufCBinaryData){16, id_bytes};
        wrap.data_key = (ProtobufCBinaryData){32, key_bytes};
        wrap.witness = &witness;
        Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
        request.id = 1;
        request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
        request.wrap = &wrap;
        fake.refuses_unwrap = rows[i].refuses;
        Kek__Provider__Reply *reply = answer(&serve, &request);
        ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_WRAPPED);
        ck_assert_mem_eq(reply->wrapped->blob.data + 8, key_bytes, 32);
        ck_assert_int_eq(reply->wrapped->opened != NULL, rows[i].opens);
        if (rows[i].opens) {
            ck_assert_uint_eq(reply->wrapped->opened->data_key.len, 32);
            ck_assert_mem_eq(reply->wrapped->opened->data_key.data, blob + 8, 32);
        }
        done(reply);
    }
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
    fake.refuses = true;
    reply = answer(&serve, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
    ck_assert_uint_ge(reply->memory, size);
    done(reply);
    munmap(much, size);
}
END_TEST

START_TEST(the_longest_list_fits_in_one_message)
{
    fake.shown.count = KEK_PROVIDER_VERSIONS_MAX;
    for (size_t i = 0; i < fake.shown.count; i++) {
        struct kek_version *version = &fake.shown.items[i];
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
    fake.shown.count = 2;
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
            ck_assert(kek_serve_request(&serve, serve.sessions[0], kek_bytes(packet, cut), &reply));
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

int main(void)
{
    Suite *s = suite_create("serve");
    TCase *c = tcase_create("serve");
    tcase_add_checked_fixture(c, serve_setup, NULL);
    tcase_add_test(c, wrap_and_unwrap_check_every_length_before_the_provider_is_asked);
    tcase_add_test(c, a_data_key_goes_through_and_comes_back);
    tcase_add_test(c, a_witness_opens_after_its_wrap_by_the_object_that_wrapped);
    tcase_add_test(c, a_worker_says_what_memory_it_has_if_it_is_asked);
    tcase_add_test(c, the_longest_list_fits_in_one_message);
    tcase_add_test(c, whatever_the_packet_there_is_one_reply);
    suite_add_tcase(s, c);
    return suite_run(s);
}
