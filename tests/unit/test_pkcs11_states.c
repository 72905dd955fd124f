/* SetState on a real worker: what stands in the key's own attributes after it, what a worker that dies in the midst
 * of it leaves, and what is said of a token that does not change keys. */
#include "fault.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t data_key[KEK_DATA_KEY_LEN] = "an entirely unremarkable dek 32";

enum {
    PRE_ACTIVE = KEK__PROVIDER__STATE__PRE_ACTIVE,
    ACTIVE = KEK__PROVIDER__STATE__ACTIVE,
    DEACTIVATED = KEK__PROVIDER__STATE__DEACTIVATED,
    SUSPENDED = KEK__PROVIDER__STATE__SUSPENDED,
    COMPROMISED = KEK__PROVIDER__STATE__COMPROMISED,
    STATES
};

/* A key's own attributes, past kekd. */
struct raw {
    const struct kek_id *id;
    CK_BBOOL wrap, unwrap, encrypt, decrypt;
    char label[KEK_LABEL_MAX];
};

static bool read_raw(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    struct raw *raw = arg;
    CK_ATTRIBUTE wanted = {CKA_ID, (void *)raw->id->bytes, KEK_ID_LEN};
    CK_OBJECT_HANDLE keys[4];
    CK_ULONG count = 0;
    CK_ATTRIBUTE read[] = {
        {CKA_WRAP, &raw->wrap, 1},
        {CKA_UNWRAP, &raw->unwrap, 1},
        {CKA_ENCRYPT, &raw->encrypt, 1},
        {CKA_DECRYPT, &raw->decrypt, 1},
        {CKA_LABEL, raw->label, sizeof raw->label - 1},
    };
    bool good = f->C_FindObjectsInit(session, &wanted, 1) == CKR_OK &&
                f->C_FindObjects(session, keys, 4, &count) == CKR_OK &&
                f->C_FindObjectsFinal(session) == CKR_OK;
    return good && count == 1 && f->C_GetAttributeValue(session, keys[0], read, 5) == CKR_OK;
}

/* The work is done in a process of its own, so what it found comes back by shared memory. */
static struct raw raw_of(const struct token *token, const struct kek_id *id)
{
    struct raw *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert(shared != MAP_FAILED);
    shared->id = id;
    token_do(token, read_raw, shared);
    struct raw raw = *shared;
    munmap(shared, sizeof *shared);
    return raw;
}

/* What is set: W wrap, U unwrap, E encrypt, D decrypt, * the mark. */
static void is_raw(const struct token *token, const struct kek_id *id, const char *flags)
{
    struct raw raw = raw_of(token, id);
    char found[8];
    snprintf(found, sizeof found, "%s%s%s%s%s", raw.wrap ? "W" : "", raw.unwrap ? "U" : "",
             raw.encrypt ? "E" : "", raw.decrypt ? "D" : "",
             strstr(raw.label, ".compromised") != NULL ? "*" : "");
    ck_assert_str_eq(found, flags);
    ck_assert(strncmp(raw.label, "ring.v", 6) == 0);
}

static bool set_flag(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_ATTRIBUTE *pair = arg; /* of which key, and what */
    CK_OBJECT_HANDLE key;
    CK_ULONG count = 0;
    return f->C_FindObjectsInit(session, &pair[0], 1) == CKR_OK &&
           f->C_FindObjects(session, &key, 1, &count) == CKR_OK && count == 1 &&
           f->C_FindObjectsFinal(session) == CKR_OK &&
           f->C_SetAttributeValue(session, key, &pair[1], 1) == CKR_OK;
}

static void set_raw(const struct token *token, const struct kek_id *id, CK_ATTRIBUTE_TYPE type,
                    const void *value, size_t len)
{
    CK_ATTRIBUTE pair[] = {{CKA_ID, (void *)id->bytes, KEK_ID_LEN}, {type, (void *)value, len}};
    token_do(token, set_flag, pair);
}

static const CK_BBOOL yes = CK_TRUE;

/* The version of this id in a List: it must be there, once. */
static Kek__Provider__Version shown(struct worker *worker, const struct kek_id *id, bool eligible)
{
    Kek__Provider__Version found = KEK__PROVIDER__VERSION__INIT;
    Kek__Provider__Reply *list = worker_list(worker);
    ck_assert_int_eq(list->result_case, KEK__PROVIDER__REPLY__RESULT_LISTED);
    unsigned count = 0;
    for (size_t i = 0; i < list->listed->n_versions; i++) {
        const Kek__Provider__Version *version = list->listed->versions[i];
        if (memcmp(version->kek_id.data, id->bytes, KEK_ID_LEN) == 0 &&
            version->eligible == eligible) {
            found = *version;
            count++;
        }
    }
    ck_assert_uint_eq(count, 1);
    found.label = found.refusal = NULL;
    found.kek_id.data = NULL;
    reply_free(list);
    return found;
}

static void is_shown(struct worker *worker, const struct kek_id *id, bool wrap, bool unwrap,
                     bool compromised)
{
    Kek__Provider__Version version = shown(worker, id, true);
    ck_assert_msg(version.can_wrap == wrap && version.can_unwrap == unwrap &&
                      version.compromised == compromised,
                  "wrap %d, unwrap %d, compromised %d", version.can_wrap, version.can_unwrap,
                  version.compromised);
}

static void start(struct worker *worker, const char *role, const struct token *token,
                  const char *strategy)
{
    Kek__Provider__Hello hello;
    hello_init(&hello, token->uri);
    hello_set(&hello, "strategy", strategy);
    worker_start_with(worker, role, &hello);
}

static void wraps(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Reply *reply = worker_wrap(worker, id, data_key);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_WRAPPED);
    reply_free(reply);
}

static void opens(struct worker *worker, const struct kek_id *id, const Kek__Provider__Wrapped *old)
{
    Kek__Provider__Reply *reply =
        worker_unwrap(worker, id, (int)old->alg, old->blob.data, old->blob.len);
    ck_assert_msg(reply->result_case == KEK__PROVIDER__REPLY__RESULT_UNWRAPPED, "%s",
                  reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED ? reply->failed->text
                                                                            : "");
    ck_assert_mem_eq(reply->unwrapped->data_key.data, data_key, sizeof data_key);
    reply_free(reply);
}

/* Steps of one key's life, and what its attributes are after each. */
static const struct {
    int state;
    const char *wrap_key, *encrypt; /* by strategy */
    bool wrap, unwrap, compromised;
} life[] = {
    {ACTIVE, "WU", "ED", true, true, false},      {DEACTIVATED, "U", "D", false, true, false},
    {ACTIVE, "WU", "ED", true, true, false},      {PRE_ACTIVE, "U", "D", false, true, false},
    {SUSPENDED, "", "", false, false, false},     {SUSPENDED, "", "", false, false, false},
    {ACTIVE, "WU", "ED", true, true, false},      {SUSPENDED, "", "", false, false, false},
    {DEACTIVATED, "U", "D", false, true, false},  {COMPROMISED, "U*", "D*", false, true, true},
    {COMPROMISED, "U*", "D*", false, true, true}, {SUSPENDED, "*", "*", false, false, true},
    {DEACTIVATED, "U*", "D*", false, true, true}, {SUSPENDED, "*", "*", false, false, true},
    {COMPROMISED, "U*", "D*", false, true, true},
};

/* Each by a worker of its own, as kekctl's are; a worker that runs all the while sees each. */
START_TEST(every_state_stands_in_the_keys_own_attributes)
{
    const char *strategy = _i == 0 ? "wrap-key" : "encrypt";
    struct token token;
    struct kek_id id = id_of(0x22);
    struct worker officer, running;
    token_make(&token);
    start(&officer, "officer", &token, strategy);
    expect_done(worker_generate(&officer, 1, &id, PRE_ACTIVE));
    worker_end(&officer);
    is_raw(&token, &id, _i == 0 ? "U" : "D");
    start(&running, "serve", &token, strategy);
    Kek__Provider__Reply *old = NULL;
    for (size_t i = 0; i < sizeof life / sizeof life[0]; i++) {
        start(&officer, "officer", &token, strategy);
        expect_done(worker_set_state(&officer, &id, life[i].state));
        is_shown(&officer, &id, life[i].wrap, life[i].unwrap, life[i].compromised);
        worker_end(&officer);
        is_raw(&token, &id, _i == 0 ? life[i].wrap_key : life[i].encrypt);
        is_shown(&running, &id, life[i].wrap, life[i].unwrap, life[i].compromised);
        if (old == NULL) {
            old = worker_wrap(&running, &id, data_key);
            ck_assert_int_eq(old->result_case, KEK__PROVIDER__REPLY__RESULT_WRAPPED);
        }
        if (life[i].wrap) {
            wraps(&running, &id);
        } else {
            expect_failed(worker_wrap(&running, &id, data_key), KEK__PROVIDER__CAUSE__STATE,
                          !life[i].unwrap       ? "may not wrap: it is suspended"
                          : life[i].compromised ? "may not wrap: it is compromised"
                                                : "may not wrap");
        }
        if (life[i].unwrap) {
            opens(&running, &id, old->wrapped);
        } else {
            expect_failed(worker_unwrap(&running, &id, (int)old->wrapped->alg,
                                        old->wrapped->blob.data, old->wrapped->blob.len),
                          KEK__PROVIDER__CAUSE__STATE, "may not unwrap: it is suspended");
        }
    }
    reply_free(old);
    worker_end(&running);
}
END_TEST

START_TEST(a_compromised_key_never_becomes_active)
{
    struct token token;
    struct kek_id id, later = id_of(0x44);
    struct worker officer, fresh;
    token_make_with_key(&token, &id);
    worker_start(&officer, "officer", token.uri);
    expect_done(worker_set_state(&officer, &id, COMPROMISED));
    expect_failed(worker_set_state(&officer, &id, ACTIVE), KEK__PROVIDER__CAUSE__STATE,
                  "key ring.v1.compromised is marked compromised");
    is_raw(&token, &id, "U*");
    expect_done(worker_set_state(&officer, &id, SUSPENDED));
    expect_failed(worker_set_state(&officer, &id, ACTIVE), KEK__PROVIDER__CAUSE__STATE,
                  "marked compromised");
    is_raw(&token, &id, "*");
    expect_done(worker_set_state(&officer, &id, DEACTIVATED));
    is_raw(&token, &id, "U*");
    /* Nor by its flags, which somebody else sets; and its number stays taken. */
    set_raw(&token, &id, CKA_WRAP, &yes, 1);
    is_shown(&officer, &id, false, true, true);
    worker_start(&fresh, "serve", token.uri);
    is_shown(&fresh, &id, false, true, true);
    expect_failed(worker_wrap(&fresh, &id, data_key), KEK__PROVIDER__CAUSE__STATE,
                  "may not wrap: it is compromised");
    worker_end(&fresh);
    expect_failed(worker_generate(&officer, 1, &later, ACTIVE), KEK__PROVIDER__CAUSE__STATE,
                  "version 1 exists already (ring.v1.compromised)");
    expect_done(worker_generate(&officer, 2, &later, ACTIVE));
    worker_end(&officer);
}
END_TEST

static bool copy_as_v1(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_ATTRIBUTE wanted = {CKA_ID, arg, KEK_ID_LEN};
    CK_ATTRIBUTE name = {CKA_LABEL, (void *)"ring.v1", 7};
    CK_OBJECT_HANDLE key, copy;
    CK_ULONG count = 0;
    return f->C_FindObjectsInit(session, &wanted, 1) == CKR_OK &&
           f->C_FindObjects(session, &key, 1, &count) == CKR_OK && count == 1 &&
           f->C_FindObjectsFinal(session) == CKR_OK &&
           f->C_CopyObject(session, key, &name, 1, &copy) == CKR_OK;
}

/* A copy that was made before, or restored since, is the same key. */
START_TEST(a_copy_of_a_compromised_key_is_compromised)
{
    struct token token;
    struct kek_id id;
    struct worker worker;
    token_make_with_key(&token, &id);
    token_do(&token, copy_as_v1, id.bytes);
    /* Of two with one id the officer changes none, so it is done as an administrator would. */
    worker_start(&worker, "officer", token.uri);
    expect_failed(worker_set_state(&worker, &id, COMPROMISED), KEK__PROVIDER__CAUSE__KEY_UNFIT,
                  "two keys");
    worker_end(&worker);
    CK_ATTRIBUTE pair[] = {{CKA_LABEL, (void *)"ring.v1", 7},
                           {CKA_LABEL, (void *)"ring.v1.compromised", 19}};
    token_do(&token, set_flag, pair);
    worker_start(&worker, "serve", token.uri);
    is_shown(&worker, &id, false, true, true);
    expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__STATE,
                  "may not wrap: it is compromised");
    worker_end(&worker);
}
END_TEST

/* A suspended key's flags do not tell its strategy; a process that saw it before need not guess. */
START_TEST(a_suspended_key_is_resumed_as_what_the_others_are)
{
    struct token token;
    struct kek_id one = id_of(0x21), two = id_of(0x22);
    struct worker officer;
    token_make(&token);
    start(&officer, "officer", &token, "encrypt");
    expect_done(worker_generate(&officer, 1, &one, ACTIVE));
    if (_i > 0) {
        worker_end(&officer);
        start(&officer, "officer", &token, _i == 1 ? "encrypt" : "wrap-key");
        expect_done(worker_generate(&officer, 2, &two, ACTIVE));
    }
    worker_end(&officer);
    worker_start(&officer, "officer", token.uri);
    expect_done(worker_set_state(&officer, &one, SUSPENDED));
    expect_done(worker_set_state(&officer, &one, DEACTIVATED)); /* by the same one: it knows */
    is_raw(&token, &one, "D");
    expect_done(worker_set_state(&officer, &one, SUSPENDED));
    worker_end(&officer);
    worker_start(&officer, "officer", token.uri);
    switch (_i) {
    case 0: /* Alone, and both would work here: what a new key would be made for. */
        expect_done(worker_set_state(&officer, &one, DEACTIVATED));
        is_raw(&token, &one, "U");
        break;
    case 1: /* A wrap-key one would be made, the other version encrypts: nobody knows. */
    case 2: /* The other one is for wrapping. */
        if (_i == 1) {
            expect_failed(worker_set_state(&officer, &one, COMPROMISED),
                          KEK__PROVIDER__CAUSE__STATE, "set strategy: of this provider");
            is_raw(&token, &one, "");
        } else {
            expect_done(worker_set_state(&officer, &one, DEACTIVATED));
            is_raw(&token, &one, "U");
        }
        break;
    }
    worker_end(&officer);
    /* A guess, right or wrong, is undone by suspending it again; what the configuration says counts. */
    worker_start(&officer, "officer", token.uri);
    expect_done(worker_set_state(&officer, &one, SUSPENDED));
    worker_end(&officer);
    start(&officer, "officer", &token, "encrypt");
    expect_done(worker_set_state(&officer, &one, DEACTIVATED));
    is_raw(&token, &one, "D");
    worker_end(&officer);
}
END_TEST

/* From where, to where, and how many calls it takes. */
static const struct {
    int from, to;
    unsigned calls;
} moves[] = {
    {DEACTIVATED, ACTIVE, 2}, {ACTIVE, DEACTIVATED, 2},    {ACTIVE, SUSPENDED, 2},
    {SUSPENDED, ACTIVE, 2},   {SUSPENDED, DEACTIVATED, 2}, {DEACTIVATED, SUSPENDED, 2},
    {ACTIVE, COMPROMISED, 3}, {SUSPENDED, COMPROMISED, 3},
};

/* The worker is killed before each of its changes: no key wraps what it may not unwrap, none is without its
 * name, none that is on its way to being compromised wraps once the first change is done, and the same
 * request does the rest. */
START_TEST(a_worker_that_dies_between_two_changes_leaves_a_key_in_order)
{
    struct token token;
    struct kek_id first;
    token_make_with_key(&token, &first);
    for (unsigned call = 1; call <= moves[_i].calls; call++) {
        struct kek_id id = id_of((uint8_t)(0x40 + call));
        struct worker officer, fresh;
        char name[32], marked_name[48];
        snprintf(name, sizeof name, "ring.v%u", call + 1);
        snprintf(marked_name, sizeof marked_name, "%s.compromised", name);
        worker_start(&officer, "officer", token.uri);
        expect_done(worker_generate(&officer, call + 1, &id, ACTIVE));
        expect_done(worker_set_state(&officer, &id, moves[_i].from));
        worker_end(&officer);
        char fault[64];
        snprintf(fault, sizeof fault, "C_SetAttributeValue %u abort", call);
        fault_put(&token, fault);
        worker_start(&officer, "officer", fault_uri);
        Kek__Provider__SetState set = KEK__PROVIDER__SET_STATE__INIT;
        set.kek_id = (ProtobufCBinaryData){KEK_ID_LEN, id.bytes};
        set.state = (Kek__Provider__State)moves[_i].to;
        Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
        request.op_case = KEK__PROVIDER__REQUEST__OP_SET_STATE;
        request.set_state = &set;
        request.id = 99;
        worker_send(&officer, &request);
        int status;
        ck_assert_int_eq(waitpid(officer.pid, &status, 0), officer.pid);
        ck_assert(WIFSIGNALED(status));
        close(officer.socket);
        ck_assert_uint_eq(fault_count("C_SetAttributeValue"), call);
        fault_later();
        struct raw raw = raw_of(&token, &id);
        ck_assert(!raw.wrap || raw.unwrap);
        ck_assert(!raw.encrypt && !raw.decrypt);
        bool marked = strcmp(raw.label, marked_name) == 0;
        ck_assert(marked || strcmp(raw.label, name) == 0);
        ck_assert(marked == (moves[_i].to == COMPROMISED && call > 1));
        worker_start(&fresh, "officer", token.uri);
        Kek__Provider__Version version = shown(&fresh, &id, true);
        ck_assert(!version.can_wrap || (version.can_unwrap && !marked));
        expect_done(worker_set_state(&fresh, &id, moves[_i].to));
        worker_end(&fresh);
        is_raw(&token, &id,
               moves[_i].to == ACTIVE        ? "WU"
               : moves[_i].to == DEACTIVATED ? "U"
               : moves[_i].to == SUSPENDED   ? ""
                                             : "U*");
    }
}
END_TEST

/* What a token may say instead of changing a key; `now` is how the key, which was active, is after it. */
static const struct {
    const char *fault;
    int state;
    const char *says, *now;
} refusals[] = {
    {"C_SetAttributeValue every rv 10", DEACTIVATED, "CKA_WRAP of this key; versions:", "WU"},
    {"C_SetAttributeValue every rv 1b", SUSPENDED, "CKR_ACTION_PROHIBITED", "WU"},
    {"C_SetAttributeValue every rv 54", SUSPENDED, "CKR_FUNCTION_NOT_SUPPORTED", "WU"},
    {"C_SetAttributeValue every rv 5", SUSPENDED, "C_SetAttributeValue: CKR_GENERAL_ERROR", "WU"},
    {"C_SetAttributeValue every rv 10", COMPROMISED, "CKA_LABEL of this key; versions:", "WU"},
    {"C_SetAttributeValue 2+ rv 10", COMPROMISED,
     "CKA_WRAP of this key (CKA_LABEL it did change); versions:", "WU*"},
    {"C_SetAttributeValue 2 rv 10", SUSPENDED,
     "CKA_UNWRAP of this key (CKA_WRAP it did change); versions:", "U"},
    {"C_SetAttributeValue every keep 106", DEACTIVATED, "shows others", "WU"},
    {"C_SetAttributeValue every keep 107", SUSPENDED, "shows others", "U"},
    {"C_SetAttributeValue every keep 3", COMPROMISED, "calls it 'ring.v1' (it has its old name",
     "WU"},
    {"C_SetAttributeValue 1 shorten 3", COMPROMISED,
     "and calls it 'ring.v1.c' (it has its old name again)", "WU"},
};

/* A command can act on it: UNSUPPORTED, and what else can hold the state. */
START_TEST(a_token_that_does_not_change_keys_is_told_of_as_unsupported)
{
    struct token token;
    struct kek_id id;
    struct worker officer;
    token_make_with_key(&token, &id);
    fault_put(&token, refusals[_i].fault);
    worker_start(&officer, "officer", fault_uri);
    Kek__Provider__Reply *reply = worker_set_state(&officer, &id, refusals[_i].state);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_FAILED);
    ck_assert_int_eq(reply->failed->cause, KEK__PROVIDER__CAUSE__UNSUPPORTED);
    ck_assert_msg(strstr(reply->failed->text, refusals[_i].says) != NULL, "%s",
                  reply->failed->text);
    ck_assert_msg(
        strstr(reply->failed->text, "versions: in the configuration can hold its state") != NULL,
        "%s", reply->failed->text);
    reply_free(reply);
    worker_end(&officer);
    fault_later();
    is_raw(&token, &id, refusals[_i].now);
}
END_TEST

/* A failure that passes is no refusal. */
START_TEST(what_fails_once_is_done_all_the_same)
{
    static const char *const faults[] = {
        "C_SetAttributeValue 1 rv 5", "C_SetAttributeValue 2 rv b3", "C_SetAttributeValue 1 rv 30"};
    struct token token;
    struct kek_id id;
    struct worker officer;
    token_make_with_key(&token, &id);
    fault_put(&token, faults[_i]);
    worker_start(&officer, "officer", fault_uri);
    expect_done(worker_set_state(&officer, &id, SUSPENDED));
    worker_end(&officer);
    is_raw(&token, &id, "");
}
END_TEST

/* What the configuration says takes away from what the token lets a key do, and never adds to it. */
START_TEST(a_named_key_is_held_in_its_state_by_the_worker)
{
    static const struct {
        int state;
        bool marked, wrap, unwrap, compromised;
    } cases[] = {
        {ACTIVE, false, true, true, false},       {PRE_ACTIVE, false, false, true, false},
        {DEACTIVATED, false, false, true, false}, {SUSPENDED, false, false, false, false},
        {COMPROMISED, false, false, true, true},  {ACTIVE, true, false, true, true},
    };
    struct token token;
    struct kek_id id;
    struct worker worker;
    token_make_with_key(&token, &id);
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *old = worker_wrap(&worker, &id, data_key);
    worker_end(&worker);
    if (cases[_i].marked) {
        set_raw(&token, &id, CKA_LABEL, "ring.v1.compromised", 19);
    }
    Kek__Provider__NamedVersion named = KEK__PROVIDER__NAMED_VERSION__INIT;
    Kek__Provider__NamedVersion *names[] = {&named};
    named.number = 1;
    named.state = (Kek__Provider__State)cases[_i].state;
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.n_versions = 1;
    hello.versions = names;
    worker_start_with(&worker, "officer", &hello);
    is_shown(&worker, &id, cases[_i].wrap, cases[_i].unwrap, cases[_i].compromised);
    if (cases[_i].wrap) {
        wraps(&worker, &id);
    } else {
        expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__STATE,
                      "may not wrap");
    }
    if (cases[_i].unwrap) {
        opens(&worker, &id, old->wrapped);
    } else {
        expect_failed(worker_unwrap(&worker, &id, (int)old->wrapped->alg, old->wrapped->blob.data,
                                    old->wrapped->blob.len),
                      KEK__PROVIDER__CAUSE__STATE, "may not unwrap: it is suspended");
    }
    expect_failed(worker_set_state(&worker, &id, SUSPENDED), KEK__PROVIDER__CAUSE__UNSUPPORTED,
                  "stands in the configuration (versions:)");
    reply_free(old);
    worker_end(&worker);
}
END_TEST

/* Made, and compromised, before a running worker has looked: it costs no more searches than before. */
START_TEST(a_running_worker_finds_a_new_key_by_its_marked_name)
{
    struct token token;
    struct kek_id id, new = id_of(0x44), more = id_of(0x45);
    struct worker running, officer;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_Login 99 rv 5");
    worker_start(&running, "serve", fault_uri);
    reply_free(worker_list(&running));
    fault_now();
    reply_free(worker_list(&running));
    unsigned long searches = fault_count("C_FindObjectsInit");
    worker_start(&officer, "officer", token.uri);
    expect_done(worker_generate(&officer, 2, &new, ACTIVE));
    expect_done(worker_set_state(&officer, &new, COMPROMISED));
    expect_done(worker_generate(&officer, 3, &more, ACTIVE));
    worker_end(&officer);
    bool found = false;
    for (int i = 0; i < 8 && !found; i++) {
        fault_now();
        Kek__Provider__Reply *list = worker_list(&running);
        found = list->listed->n_versions == 3;
        reply_free(list);
        ck_assert_uint_le(fault_count("C_FindObjectsInit"), searches);
    }
    ck_assert(found);
    is_shown(&running, &new, false, true, true);
    worker_end(&running);
}
END_TEST

/* What the token says to a wrap and an unwrap by the key, past what the worker would refuse. */
static void tries(struct worker *worker, const struct kek_id *id, const Kek__Provider__Wrapped *old,
                  bool wraps_it, bool unwraps_it)
{
    Kek__Provider__TryKey wanted = KEK__PROVIDER__TRY_KEY__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    wanted.kek_id = (ProtobufCBinaryData){KEK_ID_LEN, (uint8_t *)id->bytes};
    wanted.alg = old->alg;
    wanted.blob = old->blob;
    wanted.copy = true;
    request.op_case = KEK__PROVIDER__REQUEST__OP_TRY_KEY;
    request.try_key = &wanted;
    Kek__Provider__Reply *reply = worker_ask(worker, &request);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TRIED);
    const Kek__Provider__Tried *tried = reply->tried;
    ck_assert(tried->shown && tried->compromised);
    ck_assert(tried->flag_wrap == wraps_it && tried->flag_unwrap == unwraps_it);
    ck_assert(tried->wrap->made && tried->wrap->done == wraps_it);
    ck_assert(tried->unwrap->made && tried->unwrap->done == unwraps_it);
    ck_assert_str_eq(tried->wrap->text,
                     wraps_it ? "" : "C_WrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68)");
    ck_assert_str_eq(tried->unwrap->text,
                     unwraps_it ? "" : "C_UnwrapKey: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68)");
    ck_assert(tried->copy->made && tried->copy->done && tried->reopened == !wraps_it);
    ck_assert_str_eq(tried->lost, "");
    reply_free(reply);
}

START_TEST(a_trial_of_a_key_is_the_tokens_answer_and_not_the_workers)
{
    struct token token;
    struct kek_id id, unknown = id_of(0x99);
    struct worker officer, fresh;
    token_make_with_key(&token, &id);
    worker_start(&officer, "officer", token.uri);
    Kek__Provider__Reply *old = worker_wrap(&officer, &id, data_key);
    expect_done(worker_set_state(&officer, &id, COMPROMISED));
    tries(&officer, &id, old->wrapped, false, true);
    expect_done(worker_set_state(&officer, &id, SUSPENDED));
    tries(&officer, &id, old->wrapped, false, false);
    worker_start(&fresh, "officer", token.uri); /* which cannot know what it was made for */
    tries(&fresh, &id, old->wrapped, false, false);
    set_raw(&token, &id, CKA_UNWRAP, &yes, 1);
    set_raw(&token, &id, CKA_WRAP, &yes, 1);
    tries(&fresh, &id, old->wrapped, true, true);
    expect_failed(worker_wrap(&fresh, &id, data_key), KEK__PROVIDER__CAUSE__STATE, "compromised");
    /* A key that is not there is no failure, and none was copied for good. */
    Kek__Provider__TryKey wanted = KEK__PROVIDER__TRY_KEY__INIT;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    wanted.kek_id = (ProtobufCBinaryData){KEK_ID_LEN, unknown.bytes};
    wanted.alg = KEK__PROVIDER__WRAP_ALG__AES_KW;
    request.op_case = KEK__PROVIDER__REQUEST__OP_TRY_KEY;
    request.try_key = &wanted;
    Kek__Provider__Reply *none = worker_ask(&fresh, &request);
    ck_assert(none->result_case == KEK__PROVIDER__REPLY__RESULT_TRIED && !none->tried->shown &&
              !none->tried->wrap->made);
    reply_free(none);
    Kek__Provider__Reply *list = worker_list(&fresh);
    ck_assert_uint_eq(list->listed->n_versions, 1);
    reply_free(list);
    reply_free(old);
    worker_end(&fresh);
    worker_end(&officer);
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pkcs11 states");
    TCase *c = tcase_create("states");
    tcase_set_timeout(c, 120);
    tcase_add_loop_test(c, every_state_stands_in_the_keys_own_attributes, 0, 2);
    tcase_add_test(c, a_compromised_key_never_becomes_active);
    tcase_add_test(c, a_copy_of_a_compromised_key_is_compromised);
    tcase_add_loop_test(c, a_suspended_key_is_resumed_as_what_the_others_are, 0, 3);
    tcase_add_loop_test(c, a_worker_that_dies_between_two_changes_leaves_a_key_in_order, 0,
                        sizeof moves / sizeof moves[0]);
    tcase_add_loop_test(c, a_token_that_does_not_change_keys_is_told_of_as_unsupported, 0,
                        sizeof refusals / sizeof refusals[0]);
    tcase_add_loop_test(c, what_fails_once_is_done_all_the_same, 0, 3);
    tcase_add_loop_test(c, a_named_key_is_held_in_its_state_by_the_worker, 0, 6);
    tcase_add_test(c, a_running_worker_finds_a_new_key_by_its_marked_name);
    tcase_add_test(c, a_trial_of_a_key_is_the_tokens_answer_and_not_the_workers);
    suite_add_tcase(s, c);
    return worker_tests_run(s);
}
