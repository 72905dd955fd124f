/* The pool and the PIN: refusals, their record, and what allows another try. */
#include "pool_record.h"

#include <openssl/crypto.h>

static bool memory_is_full; /* for OpenSSL */

static void *allocate(size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return memory_is_full ? NULL : malloc(size);
}

static void *reallocate(void *at, size_t size, const char *file, int line)
{
    (void)file;
    (void)line;
    return memory_is_full ? NULL : realloc(at, size);
}

static void release(void *at, const char *file, int line)
{
    (void)file;
    (void)line;
    free(at);
}

START_TEST(a_wrong_pin_is_tried_once_over_restarts_and_roles_until_its_file_changes)
{
    struct rig rig;
    struct outcome out;
    struct kek_why why;
    rig_init(&rig, 2);
    rig.providers[0].processes = 2;
    rig_write(&rig, "pin", "wrong");
    for (int restart = 0; restart < 5; restart++) {
        rig.settings.officer = restart == 3;
        rig_start(&rig);
        if (restart == 0) {
            /* Waits, and is failed as soon as waiting cannot help. */
            rig_unwrap(&rig, &out, KEK_POOL_ANY, "waiting", 0);
            rig_wait(&rig, &out);
            ck_assert_int_eq(out.rc, KEK_DENIED);
        }
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED &&
                            rig_health(&rig, 1) == KEK_POOL_PIN_REFUSED);
        size_t spawned = rig_status(&rig, 0).spawned;
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3); /* looks, no login */
        why = rig_status(&rig, 0).why;
        ck_assert_int_eq(why.native, KEK_NATIVE_PKCS11);
        ck_assert_uint_eq(why.code, 0xa0);
        ck_assert(strstr(why.text, "file:/etc/kekd/the.pin") != NULL);
        ck_assert(strstr(why.text, "0xa0") != NULL);
        ck_assert(strstr(why.text, "pin-refused-") != NULL);
        ck_assert_int_eq(rig_refused(&rig, "x", &why), KEK_DENIED);
        ck_assert_uint_eq(why.code, 0xa0);
        if (restart < 4) {
            rig_close(&rig);
        }
    }
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    ck_assert_uint_eq(rig.logins[KEK_POOL_LOGIN_REFUSED], 1);
    rig_write(&rig, "pin", "right");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2 && rig_ready(&rig, 1) == 1);
    ck_assert_uint_eq(rig_count(&rig, "login"), 4);
    ck_assert_uint_eq(rig.logins[KEK_POOL_LOGIN_OK], 3);
    char record[RECORD_NAME];
    record_name("S-1", record);
    RIG_UNTIL(&rig, !rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_mended_pin_is_noticed_before_the_next_worker_looks)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_open(&rig);
    kek_pool_times(rig.pool)->pin_look = RIG_PATIENCE_MS * 10;
    kek_pool_times(rig.pool)->pin_stat = 20;
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    rig_write(&rig, "pin", "mended"); /* wrong too */
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 2 && rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    rig_write(&rig, "pin", "right");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_refusal_that_comes_while_the_pool_closes_is_recorded)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_write(&rig, "start", "slow-login");
    for (int restart = 0; restart < 3; restart++) {
        rig_start(&rig);
        kek_pool_times(rig.pool)->leave = 30;
        kek_pool_times(rig.pool)->login = RIG_PATIENCE_MS;
        RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
        if (restart > 0) {
            RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        }
        rig_close(&rig); /* the first time in the middle of the login */
    }
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_login_that_does_not_end_holds_the_close_up_for_a_while_only)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "never-login");
    rig_start(&rig);
    kek_pool_times(rig.pool)->login = 30;
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
    rig_done(&rig); /* looks for what is left */
}
END_TEST

START_TEST(a_login_that_succeeds_while_the_pool_closes_leaves_nothing_behind)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "slow-login");
    rig_start(&rig);
    kek_pool_times(rig.pool)->leave = 30;
    kek_pool_times(rig.pool)->login = RIG_PATIENCE_MS;
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
    rig_close(&rig);
    ck_assert(rig_logged(&rig, "logged-in"));
    rig_done(&rig);
}
END_TEST

START_TEST(a_second_wrong_pin_is_tried_once_too)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    rig_write(&rig, "pin", "wrong again");
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 2);
    size_t spawned = rig_status(&rig, 0).spawned;
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3);
    ck_assert_uint_eq(rig_count(&rig, "login"), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_removed_record_allows_one_more_try)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    char record[RECORD_NAME];
    record_name("S-1", record);
    RIG_UNTIL(&rig, is_refused_on_record(&rig, record));
    rig_remove(&rig, record);
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 2 && is_refused_on_record(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_retry_that_is_asked_for_is_one_more_try_without_a_restart)
{
    struct rig rig;
    struct kek_why why;
    size_t forgotten = 99;
    char record[RECORD_NAME];
    rig_init(&rig, 1);
    record_name("S-1", record);
    ck_assert_int_eq(kek_login_retry(rig.state, NULL, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 0);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    for (size_t tries = 1; tries <= 3; tries++) {
        RIG_UNTIL(&rig, rig_count(&rig, "login") == tries && is_refused_on_record(&rig, record));
        size_t spawned = rig_status(&rig, 0).spawned;
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3); /* looks, no login */
        ck_assert_uint_eq(rig_count(&rig, "login"), tries);
        ck_assert(strstr(rig_status(&rig, 0).why.text, "kekctl pin retry") != NULL);
        ck_assert_int_eq(kek_login_retry(rig.state, "nobody", &forgotten, &why), KEK_OK);
        ck_assert_uint_eq(forgotten, 0);
        ck_assert(rig_has(&rig, record));
        const char *name = tries == 1 ? NULL : rig.providers[0].name;
        ck_assert_int_eq(kek_login_retry(rig.state, name, &forgotten, &why), KEK_OK);
        ck_assert_uint_eq(forgotten, 1);
    }
    rig_done(&rig);
}
END_TEST

START_TEST(what_is_on_record_of_a_provider_is_its_worst_and_of_kekd_alone)
{
    static const char one[] = "state/pin-refused-0123456789abcdef";
    static const char two[] = "state/pin-refused-00000000000000ff";
    struct rig rig;
    struct kek_why why;
    struct kek_login_entry worst;
    struct kek_login_pin other = {.inode = 1, .mtime_ns = 1, .size = 1};
    rig_init(&rig, 1);
    ck_assert_int_eq(kek_login_on_record("/nowhere-at-all", "a", NULL, &worst, &why), KEK_OK);
    ck_assert(!worst.refused && worst.tries == 0);
    rig_open(&rig);
    rig_write(&rig, one, RECORD_OF(ENTRY("a", "serve", "1", "unsure")));
    rig_write(
        &rig, two,
        RECORD_OF(ENTRY("a", "serve", "1", "refused") "," ENTRY("b", "officer", "2", "refused")));
    ck_assert_int_eq(kek_login_on_record(rig.state, "a", NULL, &worst, &why), KEK_OK);
    ck_assert(worst.refused);
    ck_assert_int_eq(kek_login_on_record(rig.state, "a", &worst.credential.pin, &worst, &why),
                     KEK_OK);
    ck_assert(worst.refused);
    ck_assert_int_eq(kek_login_on_record(rig.state, "a", &other, &worst, &why), KEK_OK);
    ck_assert(!worst.refused && worst.tries == 0);
    ck_assert_int_eq(kek_login_on_record(rig.state, "b", NULL, &worst, &why), KEK_OK);
    ck_assert(!worst.refused);
    rig_write(&rig, one, "damaged");
    ck_assert_int_eq(kek_login_on_record(rig.state, "a", NULL, &worst, &why), KEK_INVALID);
    rig_done(&rig);
}
END_TEST

START_TEST(a_retry_forgets_one_providers_refusals_or_all)
{
    static const char one[] = "state/pin-refused-0123456789abcdef";
    static const char two[] = "state/pin-refused-00000000000000ff";
    static const char other[] = "state/pin-refused-000000000000000x"; /* no record's name */
    static const char both[] =
        RECORD_OF(ENTRY("a", "serve", "1", "refused") "," ENTRY("b", "officer", "2", "unsure"));
    struct rig rig;
    struct kek_why why;
    size_t forgotten;
    rig_init(&rig, 1);
    rig_open(&rig);
    rig_write(&rig, one, both);
    rig_write(&rig, two, both);
    rig_write(&rig, other, both);
    ck_assert_int_eq(kek_login_retry(rig.state, "a", &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 2);
    ck_assert(!record_says(&rig, one, "\"a\"") && record_says(&rig, one, "\"b\""));
    ck_assert(record_says(&rig, one, "\"pin_mtime_ns\": -5"));
    rig_write(&rig, two, "damaged");
    ck_assert_int_eq(kek_login_retry(rig.state, "b", &forgotten, &why), KEK_INVALID);
    ck_assert(strstr(why.text, "damaged") != NULL);
    rig_write(&rig, one, both);
    ck_assert_int_eq(kek_login_retry(rig.state, NULL, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 3); /* the damaged one counts for one */
    ck_assert(!rig_has(&rig, one) && !rig_has(&rig, two) && rig_has(&rig, other));
    ck_assert_int_eq(kek_login_retry("/nonexistent/state", NULL, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_damaged_record_lets_nobody_log_in)
{
    static const char *const damages[] = {
        "",
        "nonsense\n",
        "{}",
        "[]",
        /* an older kekd's, of whose refusals each is still one */
        "kekd refused PINs 1\nofficer=0 pin_inode=1 pin_mtime_ns=-1 pin_size=1 code=0xa0 time_ms=1 "
        "provider=a \n",
        "{\"format\": 2, \"logins\": []}",
        "{\"format\": 1, \"logins\": {}}",
        "{\"format\": 1, \"logins\": [], \"more\": 1}",
        "{\"format\": 1, \"format\": 1, \"logins\": []}",
        RECORD_OF("1"),
        RECORD_OF("{}"),
        RECORD_OF(ENTRY("", "serve", "1", "refused")),
        RECORD_OF(ENTRY("a", "", "1", "refused")),
        RECORD_OF(ENTRY("a", "serve", "\"1\"", "refused")),
        RECORD_OF(ENTRY("a", "serve", "1.5", "refused")),
        RECORD_OF(ENTRY("a", "serve", "1", "good")),
        RECORD_OF(ENTRY("a", "serve", "1, \"more\": 1", "refused")),
        RECORD_OF(ENTRY("abcdefghijklmnopqrstuvwxyz0123456", "serve", "1", "refused")),
    };
    char record[RECORD_NAME];
    record_name("S-1", record);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig_open(&rig);
        rig_write(&rig, record, damages[i]);
        kek_pool_start(rig.pool);
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        ck_assert(strstr(rig_status(&rig, 0).why.text, "damaged") != NULL);
        ck_assert_uint_eq(rig_count(&rig, "login"), 0);
        rig_remove(&rig, record);
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(an_officers_login_keeps_the_record_of_kekds_pin)
{
    struct rig rig;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig.settings.officer = true;
    rig_open(&rig);
    rig_write(
        &rig, record,
        RECORD_OF(ENTRY("a", "serve", "1", "refused") "," ENTRY("a", "officer", "2", "refused")));
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_close(&rig); /* waits for the record */
    ck_assert(record_says(&rig, record, "serve") && !record_says(&rig, record, "officer"));
    rig_done(&rig);
}
END_TEST

START_TEST(a_login_takes_back_its_own_providers_refusals_alone)
{
    struct rig rig;
    struct outcome out;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 2);
    rig_write(&rig, "pin-b", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_health(&rig, 1) == KEK_POOL_PIN_REFUSED);
    RIG_UNTIL(&rig, is_refused_on_record(&rig, record));
    /* Each login of the one whose PIN is right would be another try for the other. */
    rig_do(&rig, &out, 0, "once:kill", 0);
    RIG_UNTIL(&rig, rig_count(&rig, "login a ") == 2 && rig_ready(&rig, 0) == 1);
    size_t spawned = rig_status(&rig, 1).spawned;
    RIG_UNTIL(&rig, rig_status(&rig, 1).spawned >= spawned + 3);
    ck_assert_uint_eq(rig_count(&rig, "login b "), 1);
    ck_assert(rig_has(&rig, record));
    rig_write(&rig, "pin-b", "right");
    RIG_UNTIL(&rig, rig_ready(&rig, 1) == 1);
    RIG_UNTIL(&rig, !rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

/* Something in the way of the record's new file. */
static void block_record(const struct rig *rig, char beside[static 160])
{
    char slot[KEK_LOGIN_SLOT_TEXT];
    ck_assert_int_eq(kek_login_slot("S-1", slot, NULL), KEK_OK);
    snprintf(beside, 160, "%s/pin-refused-%s.new", rig->state, slot);
    ck_assert_int_eq(mkdir(beside, 0700), 0);
}

START_TEST(what_cannot_be_recorded_before_is_not_tried)
{
    struct rig rig;
    char beside[160];
    rig_init(&rig, 1);
    rig_open(&rig);
    block_record(&rig, beside);
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 3);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_DOWN);
    ck_assert(strstr(rig_status(&rig, 0).why.text, "put on record first") != NULL);
    ck_assert_uint_eq(rig_count(&rig, "login"), 0);
    ck_assert_int_eq(rmdir(beside), 0);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_pin_that_has_logged_in_here_is_tried_once_more_without_a_record)
{
    struct rig rig;
    struct outcome out;
    char beside[160];
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_pause(&rig, 50); /* its record is gone again */
    block_record(&rig, beside);
    rig_do(&rig, &out, 0, "once:kill", 0);
    RIG_UNTIL(&rig, rig_count(&rig, "logged-in") == 2 && rig_ready(&rig, 0) == 1);
    rig_write(&rig, "start", "link-login");
    rig_unwrap(&rig, &out, 0, "once:kill once", 0);
    RIG_UNTIL(&rig, rig_count(&rig, "login ") == 3 && rig_health(&rig, 0) == KEK_POOL_DOWN);
    rig.pool->backends[0].logins.unsure_ms = 1;
    size_t spawned = rig_status(&rig, 0).spawned;
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3);
    ck_assert_uint_eq(rig_count(&rig, "login "), 3);
    ck_assert_int_eq(rmdir(beside), 0);
    rig_done(&rig);
}
END_TEST

/* ---- whose refusal it is ---- */

/* Two tokens that say the same serial: what else tells them apart. */
START_TEST(a_refusal_keeps_no_other_token_out_that_has_the_same_serial)
{
    static char slot1[] = "pkcs11:slot-id=1?module-path=/x.so&pin-source=file:/etc/kekd/the.pin";
    static char slot2[] = "pkcs11:slot-id=2?module-path=/x.so&pin-source=file:/etc/kekd/the.pin";
    static char module[] = "pkcs11:token=t?module-path=/y.so&pin-source=file:/etc/kekd/the.pin";
    static char store[] = "STORE=2";
    struct rig rig;
    rig_init(&rig, 2);
    rig_write(&rig, "start-b", _i == 0 ? "other-label" : "");
    if (_i == 1) {
        rig_set(&rig, 0, "uri", slot1);
        rig_set(&rig, 1, "uri", slot2);
    } else if (_i == 2) {
        rig_set(&rig, 1, "uri", module);
    } else if (_i == 3) {
        rig.env[1][1] = store;
    }
    rig_write(&rig, "start-a", "refuse-login");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED && rig_ready(&rig, 1) == 1);
    rig_close(&rig);
    /* Nor after a restart, whoever comes first; nor is the refused one tried again by it. */
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED && rig_ready(&rig, 1) == 1);
    ck_assert_uint_eq(rig_count(&rig, "login a "), 1);
    ck_assert_uint_eq(rig_count(&rig, "login b "), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_provider_that_gets_another_way_to_its_token_does_not_try_a_refused_pin_again)
{
    static char module[] = "pkcs11:token=t?module-path=/y.so&pin-source=file:/etc/kekd/the.pin";
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    rig_close(&rig);
    rig_set(&rig, 0, "uri", module);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(out_of_memory_a_login_has_no_name_and_kekd_goes_on)
{
    struct kek_why why;
    char slot[KEK_LOGIN_SLOT_TEXT] = "untouched";
    memory_is_full = true;
    enum kek_rc rc = kek_login_slot("S-1", slot, &why);
    memory_is_full = false;
    ck_assert_int_eq(rc, KEK_NO_MEMORY);
    ck_assert_int_eq(why.rc, KEK_NO_MEMORY);
    ck_assert_str_eq(slot, "untouched");
    ck_assert_int_eq(kek_login_slot("S-1", slot, &why), KEK_OK);
    ck_assert_uint_eq(strlen(slot), KEK_LOGIN_SLOT_TEXT - 1);
}
END_TEST

START_TEST(an_attribute_of_a_uri_is_found_whole)
{
    size_t len = 0;
    static const char uri[] = "pkcs11:token=a&slot-id=9;slot-id=5?admin-pin-source=file:/a?b"
                              "&pin-source=file:/c;d&module-path=/x.so";
    const char *at = kek_login_attribute(uri, "slot-id=", &len);
    ck_assert(len == 1 && *at == '5');
    at = kek_login_attribute(uri, "pin-source=", &len);
    ck_assert(kek_bytes_equal(kek_bytes(at, len), kek_bytes_of("file:/c;d")));
    at = kek_login_attribute(uri, "admin-pin-source=", &len);
    ck_assert(kek_bytes_equal(kek_bytes(at, len), kek_bytes_of("file:/a?b")));
    ck_assert_ptr_null(kek_login_attribute(uri, "serial=", &len));
    ck_assert_ptr_null(kek_login_attribute("pkcs11:", "serial=", &len));
}
END_TEST

START_TEST(a_token_that_would_lock_itself_is_not_logged_in_to)
{
    static const char *const words[] = {"final", "locked"};
    static const enum kek_reason reasons[] = {KEK_REASON_PIN_LAST_TRY, KEK_REASON_PIN_LOCKED};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig_write(&rig, "start", words[i]);
        rig_start(&rig);
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 3);
        ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_PIN_REFUSED);
        ck_assert_int_eq(rig_status(&rig, 0).why.reason, reasons[i]);
        ck_assert_uint_eq(rig_count(&rig, "login"), 0);
        rig_remove(&rig, "start"); /* its officer has set it right */
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(the_file_that_is_named_is_the_one_that_was_used)
{
    static char uri[] = "pkcs11:token=t?module-path=/x.so&admin-pin-source=file:/other.pin&"
                        "pin-source=file:/the.pin";
    for (int officer = 0; officer < 2; officer++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig_set(&rig, 0, "uri", uri);
        rig.settings.officer = officer == 1;
        rig_write(&rig, "pin", "wrong");
        rig_start(&rig);
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        ck_assert(strstr(rig_status(&rig, 0).why.text,
                         officer == 1 ? "in file:/other.pin" : "in file:/the.pin") != NULL);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(a_refusal_at_a_pin_pad_names_no_file)
{
    static char uri[] = "pkcs11:token=t?module-path=/x.so";
    struct rig rig;
    rig_init(&rig, 1);
    rig_set(&rig, 0, "uri", uri);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    struct kek_pool_provider status = rig_status(&rig, 0);
    ck_assert_msg(strstr(status.why.text,
                         "the PIN from its PIN pad was refused (0xa0), not tried again: run "
                         "kekctl pin retry") != NULL,
                  "%s", status.why.text);
    rig_done(&rig);
}
END_TEST

START_TEST(a_pin_that_was_not_tried_is_not_recorded_as_refused)
{
    struct rig rig;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig_write(&rig, "start", "final-at-login"); /* somebody else used the tries up meanwhile */
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 3);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_PIN_REFUSED);
    ck_assert(strstr(rig_status(&rig, 0).why.text, "one more wrong PIN") != NULL);
    ck_assert(!rig_has(&rig, record));
    rig_remove(&rig, "start"); /* its officer has set it right */
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_low_count_of_tries_is_reported_and_logged_in_to)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "low");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_status(&rig, 0).pin_count_low);
    rig_done(&rig);
}
END_TEST

int main(void)
{
    if (CRYPTO_set_mem_functions(allocate, reallocate, release) != 1) {
        return 1; /* OpenSSL has memory already */
    }
    Suite *suite = suite_create("pool-pin");
    TCase *tcase = tcase_create("logins");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_wrong_pin_is_tried_once_over_restarts_and_roles_until_its_file_changes);
    tcase_add_test(tcase, a_refusal_that_comes_while_the_pool_closes_is_recorded);
    tcase_add_test(tcase, a_login_that_does_not_end_holds_the_close_up_for_a_while_only);
    tcase_add_test(tcase, a_login_that_succeeds_while_the_pool_closes_leaves_nothing_behind);
    tcase_add_test(tcase, a_mended_pin_is_noticed_before_the_next_worker_looks);
    tcase_add_test(tcase, a_second_wrong_pin_is_tried_once_too);
    tcase_add_test(tcase, a_removed_record_allows_one_more_try);
    tcase_add_test(tcase, a_retry_that_is_asked_for_is_one_more_try_without_a_restart);
    tcase_add_test(tcase, what_is_on_record_of_a_provider_is_its_worst_and_of_kekd_alone);
    tcase_add_test(tcase, a_retry_forgets_one_providers_refusals_or_all);
    tcase_add_test(tcase, a_damaged_record_lets_nobody_log_in);
    tcase_add_test(tcase, an_officers_login_keeps_the_record_of_kekds_pin);
    tcase_add_test(tcase, a_login_takes_back_its_own_providers_refusals_alone);
    tcase_add_test(tcase, what_cannot_be_recorded_before_is_not_tried);
    tcase_add_test(tcase, a_pin_that_has_logged_in_here_is_tried_once_more_without_a_record);
    tcase_add_loop_test(tcase, a_refusal_keeps_no_other_token_out_that_has_the_same_serial, 0, 4);
    tcase_add_test(tcase,
                   a_provider_that_gets_another_way_to_its_token_does_not_try_a_refused_pin_again);
    tcase_add_test(tcase, out_of_memory_a_login_has_no_name_and_kekd_goes_on);
    tcase_add_test(tcase, an_attribute_of_a_uri_is_found_whole);
    tcase_add_test(tcase, a_token_that_would_lock_itself_is_not_logged_in_to);
    tcase_add_test(tcase, the_file_that_is_named_is_the_one_that_was_used);
    tcase_add_test(tcase, a_refusal_at_a_pin_pad_names_no_file);
    tcase_add_test(tcase, a_pin_that_was_not_tried_is_not_recorded_as_refused);
    tcase_add_test(tcase, a_low_count_of_tries_is_reported_and_logged_in_to);
    return suite_run(suite);
}
