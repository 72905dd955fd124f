/* How kekd-pkcs11 finds the one token that it is for, beside others that may be dead. */
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TOKEN KEK__PROVIDER__REPLY__RESULT_TOKEN
#define READY KEK__PROVIDER__REPLY__RESULT_READY
#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED

struct place {
    char label[33], serial[17];
    unsigned long slot;
};

/* Asks for the token by this head of a URI ("token=x") on the fault module. */
static Kek__Provider__Reply *find(const char *head, Kek__Provider__Seen *seen)
{
    char uri[5 * PATH_MAX];
    int len = snprintf(uri, sizeof uri, "pkcs11:%s%s", head, strchr(fault_uri, '?'));
    ck_assert_int_lt(len, (int)sizeof uri);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, uri);
    hello.seen = seen;
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    worker_end(&worker);
    return reply;
}

static struct place expect_found(const char *head, Kek__Provider__Seen *seen)
{
    struct place place;
    Kek__Provider__Reply *reply = find(head, seen);
    ck_assert_msg(reply->result_case == TOKEN, "%s: %s", head,
                  reply->result_case == FAILED ? reply->failed->text : "?");
    place.slot = (unsigned long)reply->token->slot;
    snprintf(place.label, sizeof place.label, "%s", reply->token->label);
    snprintf(place.serial, sizeof place.serial, "%s", reply->token->serial);
    reply_free(reply);
    return place;
}

/* Two tokens of one module, where each of them is. */
static void make_two(struct token *token, struct place places[2])
{
    token_make(token);
    token_add(token, "neighbour");
    fault_put(token, "");
    places[0] = expect_found("token=kek-test", NULL);
    places[1] = expect_found("token=neighbour", NULL);
    ck_assert_uint_ne(places[0].slot, places[1].slot);
    ck_assert_str_ne(places[0].serial, places[1].serial);
}

static void let_hang(const struct token *token, const struct place *dead)
{
    char fault[120];
    snprintf(fault, sizeof fault, "C_GetSlotInfo@%lu every hang\nC_GetTokenInfo@%lu every hang",
             dead->slot, dead->slot);
    fault_put(token, fault);
}

START_TEST(a_slot_that_hangs_is_not_asked_where_the_uri_names_another)
{
    struct token token;
    struct place places[2];
    char head[192];
    make_two(&token, places);
    for (int i = 0; i < 2; i++) {
        let_hang(&token, &places[1 - i]);
        snprintf(head, sizeof head, "slot-id=%lu", places[i].slot);
        ck_assert_str_eq(expect_found(head, NULL).label, places[i].label);
        snprintf(head, sizeof head, "token=%s;slot-id=%lu", places[i].label, places[i].slot);
        ck_assert_str_eq(expect_found(head, NULL).serial, places[i].serial);
        /* Nor is the list of slots, which some modules make by asking each. */
        ck_assert_uint_eq(fault_count("C_GetSlotList"), 0);
        snprintf(head, sizeof head, "token=%s;slot-id=%lu", places[1 - i].label, places[i].slot);
        expect_failed(find(head, NULL), KEK__PROVIDER__CAUSE__LINK,
                      "no token matches the URI; the module shows '");
    }
}
END_TEST

START_TEST(a_slot_that_hangs_is_not_asked_while_the_token_is_where_it_was)
{
    struct token token;
    struct place places[2];
    char heads[3][160];
    make_two(&token, places);
    for (int i = 0; i < 2; i++) {
        let_hang(&token, &places[1 - i]);
        Kek__Provider__Seen seen = KEK__PROVIDER__SEEN__INIT;
        seen.slot = places[i].slot;
        seen.serial = places[i].serial;
        snprintf(heads[0], sizeof heads[0], "token=%s", places[i].label);
        snprintf(heads[1], sizeof heads[1], "serial=%s", places[i].serial);
        snprintf(heads[2], sizeof heads[2], "model=SoftHSM%%20v2");
        for (int h = 0; h < 3; h++) {
            ck_assert_uint_eq(expect_found(heads[h], &seen).slot, places[i].slot);
        }
    }
}
END_TEST

START_TEST(what_is_known_of_an_earlier_worker_is_no_more_than_a_hint)
{
    static char other_serial[] = "0000000000000000", none[] = "";
    struct token token;
    struct place places[2];
    make_two(&token, places);
    struct {
        unsigned long slot;
        char *serial;
    } hints[] = {
        {places[1].slot, places[1].serial}, /* another token's place */
        {places[1].slot, places[0].serial}, /* the slots were numbered anew */
        {places[0].slot, other_serial},     /* the token was made anew */
        {places[0].slot, none},             /* no serial to know it by */
        {424242, places[0].serial},         /* the slot is gone */
    };
    for (size_t i = 0; i < sizeof hints / sizeof hints[0]; i++) {
        Kek__Provider__Seen seen = KEK__PROVIDER__SEEN__INIT;
        seen.slot = hints[i].slot;
        seen.serial = hints[i].serial;
        ck_assert_uint_eq(expect_found("token=kek-test", &seen).slot, places[0].slot);
        /* One of two that match is taken only if it is the one of before. */
        expect_failed(find("model=SoftHSM%20v2", i == 0 ? NULL : &seen),
                      KEK__PROVIDER__CAUSE__BAD_REQUEST, "2 tokens match the URI");
    }
}
END_TEST

static void expect_reason(const char *head, Kek__Provider__Reason reason)
{
    Kek__Provider__Reply *reply = find(head, NULL);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_int_eq(reply->failed->reason, reason);
    reply_free(reply);
}

START_TEST(why_no_token_is_the_one_is_told_by_a_reason_beside_the_words)
{
    struct token token;
    struct place places[2];
    make_two(&token, places);
    expect_reason("token=another", KEK__PROVIDER__REASON__NO_TOKEN);
    expect_reason("model=SoftHSM%20v2", KEK__PROVIDER__REASON__TOKENS_ALIKE);
    Kek__Provider__Reply *reply = find("model=SoftHSM%20v2", NULL);
    ck_assert_uint_eq(reply->failed->n_alike, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(strcmp(reply->failed->alike[0], places[i].serial) == 0 ||
                  strcmp(reply->failed->alike[1], places[i].serial) == 0);
    }
    reply_free(reply);
    fault_put(&token, "C_GetTokenInfo every noflags 400"); /* nobody has initialized one */
    expect_reason("token=another", KEK__PROVIDER__REASON__NO_TOKEN_SHOWN);
    fault_put(&token, "C_GetTokenInfo every rv 30");
    expect_reason("token=another", KEK__PROVIDER__REASON__NO_TOKEN_SHOWN);
    fault_put(&token, "C_GetSlotList every rv 30");
    expect_reason("token=another", KEK__PROVIDER__REASON__UNTOLD_REASON);
}
END_TEST

START_TEST(a_serial_is_looked_for_until_it_is_found)
{
    struct token token;
    struct place places[2];
    char head[192];
    make_two(&token, places);
    fault_put(&token, ""); /* counts from here */
    for (int i = 0; i < 2; i++) {
        snprintf(head, sizeof head, "serial=%s", places[i].serial);
        ck_assert_uint_eq(expect_found(head, NULL).slot, places[i].slot);
    }
    /* One slot for the first in the module's order, two for the second. SoftHSM has an empty one besides. */
    ck_assert_uint_eq(fault_count("C_GetTokenInfo"), 3);
}
END_TEST

START_TEST(texts_that_end_by_nul_match_as_those_that_are_padded_by_blanks)
{
    struct token token;
    struct place places[2], found;
    char head[192];
    make_two(&token, places);
    fault_put(&token, "C_GetTokenInfo every nul");
    for (int i = 0; i < 2; i++) {
        snprintf(head, sizeof head,
                 "token=%s;serial=%s;model=SoftHSM%%20v2;manufacturer=SoftHSM%%20project",
                 places[i].label, places[i].serial);
        found = expect_found(head, NULL);
        ck_assert_uint_eq(found.slot, places[i].slot);
        ck_assert_str_eq(found.label, places[i].label);
        ck_assert_str_eq(found.serial, places[i].serial);
    }
    expect_failed(find("token=neighbou", NULL), KEK__PROVIDER__CAUSE__LINK,
                  "no token matches the URI; the module shows '");
}
END_TEST

/* A worker on this token, with this URI's query part; its answer to Login. */
static Kek__Provider__Reply *log_in(const char *query, Kek__Provider__Token *told)
{
    char uri[5 * PATH_MAX];
    int len =
        snprintf(uri, sizeof uri, "pkcs11:token=kek-test?module-path=%s/tests/faults/fault.so%s",
                 getenv("abs_top_builddir"), query);
    ck_assert_int_lt(len, (int)sizeof uri);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    if (reply->result_case == TOKEN) {
        *told = *reply->token;
        reply_free(reply);
        reply = worker_login(&worker);
    }
    worker_end(&worker);
    return reply;
}

/* The versions that it sees. */
static void expect_ready(const char *query, size_t versions)
{
    Kek__Provider__Token told;
    Kek__Provider__Reply *reply = log_in(query, &told);
    ck_assert_msg(reply->result_case == READY, "%s: %s", query,
                  reply->result_case == FAILED ? reply->failed->text : "?");
    ck_assert_uint_eq(reply->ready->n_versions, versions);
    reply_free(reply);
}

START_TEST(a_pin_is_entered_at_the_tokens_own_pad)
{
    struct token token;
    struct kek_id id;
    Kek__Provider__Token told;
    token_make_with_key(&token, &id);
    setenv("KEK_FAULT_PIN", token.pin, 1);
    fault_put(&token, "C_GetTokenInfo every flags 100\nC_Login every pad");
    expect_ready("", 1);
    ck_assert_uint_eq(fault_count("C_Login"), 1);
    /* What a pad refuses was a try like any other; there is no file to tell it by. */
    setenv("KEK_FAULT_PIN", "not the pin", 1);
    Kek__Provider__Reply *reply = log_in("", &told);
    ck_assert(told.pin_inode == 0 && told.pin_mtime_ns == 0 && told.pin_size == 0);
    expect_failed(reply, KEK__PROVIDER__CAUSE__PIN_REFUSED, "CKR_PIN_INCORRECT");
    /* Without a pad a PIN is needed, and nothing is tried. */
    fault_put(&token, "");
    expect_failed(log_in("", &told), KEK__PROVIDER__CAUSE__PIN_UNUSABLE,
                  "token 'kek-test' needs a PIN and has no PIN pad, and the URI has no pin-source");
    ck_assert_uint_eq(fault_count("C_Login"), 0);
}
END_TEST

/* A token that says it needs no login: what SoftHSM keeps from a session without one, and what it says to a
 * PIN then. */
START_TEST(a_token_that_demands_no_login_refuses_no_pin)
{
    static const struct {
        const char *login;
        bool has_pin;
        size_t versions;
        const char *refusal; /* NULL: ready */
    } cases[] = {
        {"", false, 0, NULL},                          /* nothing to log in with */
        {"", true, 1, NULL},                           /* takes the PIN all the same */
        {"C_Login every rv 102", true, 0, NULL},       /* CKR_USER_PIN_NOT_INITIALIZED */
        {"C_Login every rv 54", true, 0, NULL},        /* CKR_FUNCTION_NOT_SUPPORTED */
        {"C_Login every rv 103", true, 0, NULL},       /* CKR_USER_TYPE_INVALID */
        {"C_Login every rv a0", true, 0, "INCORRECT"}, /* and nothing works without it */
        {"C_Login every rv a4", true, 0, "LOCKED"},
    };
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char fault[100], query[PATH_MAX + 32] = "";
        snprintf(fault, sizeof fault, "C_GetTokenInfo every noflags 4\n%s", cases[i].login);
        fault_put(&token, fault);
        if (cases[i].has_pin) {
            snprintf(query, sizeof query, "&pin-source=file:%s/pin", token.dir);
        }
        if (cases[i].refusal == NULL) {
            expect_ready(query, cases[i].versions);
        } else {
            Kek__Provider__Token told;
            expect_failed(log_in(query, &told), KEK__PROVIDER__CAUSE__PIN_REFUSED,
                          cases[i].refusal);
        }
        ck_assert_uint_eq(fault_count("C_Login"), cases[i].has_pin);
    }
    /* A token that demands a login has none yet, and may be given one. */
    char query[PATH_MAX + 32];
    Kek__Provider__Token told;
    snprintf(query, sizeof query, "&pin-source=file:%s/pin", token.dir);
    fault_put(&token, "C_Login every rv 102");
    expect_failed(log_in(query, &told), KEK__PROVIDER__CAUSE__LINK, "NOT_INITIALIZED");
}
END_TEST

START_TEST(a_token_that_gives_read_only_sessions_alone_serves)
{
    static const char *const faults[] = {
        "C_OpenSession every readonly e2",
        "C_OpenSession every readonly 6\nC_GetTokenInfo every flags 2", /* another code, and it says so */
    };
    static const uint8_t data_key[KEK_DATA_KEY_LEN] = "an entirely unremarkable dek 32";
    struct token token;
    struct kek_id id, new = id_of(0x22);
    struct worker worker;
    token_make_with_key(&token, &id);
    for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++) {
        fault_put(&token, faults[i]);
        worker_start(&worker, "serve", fault_uri);
        Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
        ck_assert_int_eq(blob->result_case, KEK__PROVIDER__REPLY__RESULT_WRAPPED);
        Kek__Provider__Reply *back =
            worker_unwrap(&worker, &id, (int)blob->wrapped->alg, blob->wrapped->blob.data,
                          blob->wrapped->blob.len);
        ck_assert_int_eq(back->result_case, KEK__PROVIDER__REPLY__RESULT_UNWRAPPED);
        ck_assert_mem_eq(back->unwrapped->data_key.data, data_key, sizeof data_key);
        reply_free(back);
        reply_free(blob);
        worker_end(&worker);
        /* An officer is told why not, and nothing is tried. */
        worker_start(&worker, "officer", fault_uri);
        Kek__Provider__Reply *replies[] = {
            worker_generate(&worker, 2, &new, KEK__PROVIDER__STATE__ACTIVE),
            worker_set_state(&worker, &id, KEK__PROVIDER__STATE__DEACTIVATED),
            worker_destroy(&worker, &id),
        };
        for (int r = 0; r < 3; r++) {
            expect_failed(replies[r], KEK__PROVIDER__CAUSE__UNSUPPORTED,
                          "'kek-test' is write-protected and gives read-only sessions alone");
        }
        worker_end(&worker);
        ck_assert_uint_eq(fault_count("C_GenerateKey") + fault_count("C_SetAttributeValue"), 0);
    }
    fault_put(&token, "C_OpenSession every readonly 6"); /* may be anything */
    Kek__Provider__Token told;
    char query[PATH_MAX + 32];
    snprintf(query, sizeof query, "&pin-source=file:%s/pin", token.dir);
    expect_failed(log_in(query, &told), KEK__PROVIDER__CAUSE__LINK, "CKR_FUNCTION_FAILED");
    ck_assert_uint_eq(fault_count("C_OpenSession"), 1);
}
END_TEST

START_TEST(a_token_without_sessions_left_says_what_to_lower)
{
    static const struct {
        const char
            *open; /* which C_OpenSession finds none: the one that logs in, the one that serves */
        int step;
    } cases[] = {{"C_OpenSession 1+", KEK__PROVIDER__STEP__TOKEN},
                 {"C_OpenSession 2+", KEK__PROVIDER__STEP__PROBE}};
    static const struct {
        const char *info, *text;
        unsigned long max;
    } limits[] = {
        {"", "(it does not say how many)", 0},
        {"C_GetTokenInfo every sessions 8", "(it allows 8)", 8},
        {"C_GetTokenInfo every sessions 8\nC_GetTokenInfo every flags 2", "(it allows 16)", 16},
    };
    struct token token;
    token_make(&token);
    for (int i = 0; i < 6; i++) {
        char fault[120];
        snprintf(fault, sizeof fault, "%s rv b1\n%s", cases[i / 3].open, limits[i % 3].info);
        fault_put(&token, fault);
        struct worker worker;
        Kek__Provider__Hello hello;
        hello_init(&hello, fault_uri);
        hello.peak_sessions = 15;
        hello.sessions = 2;
        worker_spawn(&worker, "serve");
        Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
        ck_assert_int_eq(reply->result_case, TOKEN);
        ck_assert_uint_eq(reply->token->max_sessions, limits[i % 3].max);
        reply_free(reply);
        reply = worker_login(&worker);
        ck_assert_int_eq(reply->result_case, FAILED);
        ck_assert_int_eq((int)reply->failed->step, cases[i / 3].step);
        ck_assert_uint_eq(reply->failed->native, CKR_SESSION_COUNT);
        ck_assert_ptr_nonnull(strstr(reply->failed->text, limits[i % 3].text));
        ck_assert_ptr_nonnull(strstr(reply->failed->text, "C_OpenSession: CKR_SESSION_COUNT"));
        expect_failed(reply, KEK__PROVIDER__CAUSE__BUSY,
                      "kekd opens up to 15, (processes + 1) x (sessions + 1)");
        worker_end(&worker);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pkcs11 token");
    TCase *c = tcase_create("token");
    tcase_set_timeout(c, 60);
    tcase_add_test(c, a_slot_that_hangs_is_not_asked_where_the_uri_names_another);
    tcase_add_test(c, a_slot_that_hangs_is_not_asked_while_the_token_is_where_it_was);
    tcase_add_test(c, what_is_known_of_an_earlier_worker_is_no_more_than_a_hint);
    tcase_add_test(c, why_no_token_is_the_one_is_told_by_a_reason_beside_the_words);
    tcase_add_test(c, a_serial_is_looked_for_until_it_is_found);
    tcase_add_test(c, texts_that_end_by_nul_match_as_those_that_are_padded_by_blanks);
    tcase_add_test(c, a_pin_is_entered_at_the_tokens_own_pad);
    tcase_add_test(c, a_token_that_demands_no_login_refuses_no_pin);
    tcase_add_test(c, a_token_that_gives_read_only_sessions_alone_serves);
    tcase_add_test(c, a_token_without_sessions_left_says_what_to_lower);
    suite_add_tcase(s, c);
    return worker_tests_run(s);
}
