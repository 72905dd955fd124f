/* What is remembered of the time in which it was sealed without a root of trust, whatever the clocks do, and what ends that. */
#include "keyring_turn.h"

#include <sys/syscall.h>
#include <unistd.h>

#define MINUTE INT64_C(60000)
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)

static int64_t off_ms; /* how far the wall clock is ahead */
static char told_text[1024];
static int told_count;

/* In place of the C library's. */
int clock_gettime(clockid_t id, struct timespec *now)
{
    int rc = (int)syscall(SYS_clock_gettime, id, now);
    if (rc == 0 && id == CLOCK_REALTIME) {
        int64_t ns = now->tv_nsec + (off_ms % 1000) * 1000000;
        now->tv_sec += off_ms / 1000 + ns / 1000000000;
        now->tv_nsec = ns % 1000000000;
    }
    return rc;
}

/* Both clocks go on. */
static void later(int64_t ms)
{
    off_ms += ms;
    clock_us += (uint64_t)ms * 1000;
}

static void hear(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                 const char *text)
{
    notice(arg, level, fields, text);
    if (strstr(text, "yet to come") != NULL) {
        snprintf(told_text, sizeof told_text, "%s", text);
        told_count++;
    }
}

static void begin(void)
{
    open_node(0);
    ring->settings.notice = hear;
    turn();
}

static void set_up_root(void)
{
    static char root[] = "spare";
    off_ms = told_count = 0;
    set_up();
    close_node(0);
    configs[0].root = root;
    begin();
}

static const char *path_of(const char *suffix)
{
    static char path[256];
    snprintf(path, sizeof path, "%s/k%s", configs[0].state_dir, suffix);
    return path;
}

static json_t *record(void)
{
    return json_load_file(path_of("@spare.json"), 0, NULL);
}

static void stop(void)
{
    close_node(0);
}

/* As by SIGKILL: nothing more is written. */
static void end_at_once(void)
{
    write_out();
    json_t *object = record();
    stop();
    ck_assert_int_eq(json_dump_file(object, path_of("@spare.json"), 0), 0);
    json_decref(object);
}

static json_int_t recorded(const char *name)
{
    json_t *object = record();
    json_t *value = json_object_get(json_object_get(object, "lapse"), name);
    json_int_t found = json_is_boolean(value) ? json_is_true(value) : json_integer_value(value);
    json_decref(object);
    return found;
}

static bool is_recorded(void)
{
    json_t *object = record();
    bool is = json_object_get(object, "lapse") != NULL;
    json_decref(object);
    return is;
}

/* Starts with that on record. */
static void begin_with(int64_t since_ms, int64_t until_ms, bool goes_on)
{
    close_node(0);
    json_t *object = record();
    if (object == NULL) {
        object = json_pack("{s:i, s:s, s:s, s:n, s:[]}", "format", 1, "keyring", configs[0].keyring,
                           "context", configs[0].context, "primary", "versions");
    }
    json_object_set_new(object, "lapse",
                        json_pack("{s:I, s:I, s:b}", "since_ms", (json_int_t)since_ms, "until_ms",
                                  (json_int_t)until_ms, "goes_on", goes_on));
    ck_assert_int_eq(json_dump_file(object, path_of("@spare.json"), 0), 0);
    json_decref(object);
    begin();
}

/* Without it for so long, told of each second; then it is back. */
static void without(int64_t ms)
{
    for (int64_t step = 0; step <= ms; step += TICK_MS) {
        kek_keyring_lapsed(ring);
        turn();
        later(TICK_MS);
    }
}

/* At each refresh. */
static void look(void)
{
    lapse_due(ring);
    while (ring->lapse.asking) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    write_out();
    turn();
}

static void say(int64_t read_ms)
{
    const char *root = configs[0].root;
    struct kek_why why;
    ck_assert_int_eq(kek_keyring_put_protected(&configs[0], &root, 1, read_ms, &why), KEK_OK);
}

static bool is_remarked(void)
{
    turn();
    return remark(KEK_KEYRING_UNDER_PROTECTED)[0] != '\0';
}

static void is_near(int64_t ms, int64_t wanted_ms)
{
    ck_assert_msg(ms >= wanted_ms - 1500 && ms <= wanted_ms + 1500, "%lld: it is %lld off",
                  (long long)ms, (long long)(ms - wanted_ms));
}

START_TEST(lapse_is_on_record_from_its_first_moment_and_as_it_was_at_a_stop)
{
    int64_t since_ms = kek_clock_wall_ms();
    kek_keyring_lapsed(ring);
    ck_assert(ring->record_writing);
    later(20000);
    kek_keyring_lapsed(ring); /* the first write is under way still */
    int64_t until_ms = kek_clock_wall_ms();
    stop();
    is_near(recorded("since_ms"), since_ms);
    is_near(recorded("until_ms"), until_ms);
    ck_assert(!recorded("goes_on"));
    begin();
    ck_assert(is_remarked());
    is_near(lapse_until(ring), until_ms);
}
END_TEST

START_TEST(lapse_that_was_said_to_be_over_is_remarked_at_that_moment)
{
    kek_keyring_lapse_over(ring);
    ck_assert_str_eq(remark(KEK_KEYRING_UNDER_PROTECTED), ""); /* there was none */
    without(10000);
    int64_t over_ms = kek_clock_wall_ms();
    ck_assert(!is_remarked());
    kek_keyring_lapse_over(ring);
    ck_assert_str_ne(remark(KEK_KEYRING_UNDER_PROTECTED), ""); /* before the turn ends, too */
    ck_assert(is_remarked());
    write_out();
    ck_assert(!recorded("goes_on"));
    is_near(recorded("until_ms"), over_ms);
    kek_keyring_lapsed(ring); /* and again */
    ck_assert(!is_remarked());
    write_out();
    ck_assert(recorded("goes_on"));
}
END_TEST

START_TEST(lapse_is_remarked_once_it_is_over_and_until_a_later_word)
{
    without(10000);
    ck_assert(!is_remarked());
    later(5000);
    ck_assert(is_remarked());
    say(kek_clock_wall_ms());
    look();
    ck_assert(is_remarked());
    ck_assert(!recorded("goes_on"));
    kek_keyring_lapsed(ring); /* and again */
    write_out();
    ck_assert(recorded("goes_on"));
    ck_assert(!is_remarked());
    later(6 * MINUTE);
    look();
    ck_assert(is_remarked()); /* it is of before */
    say(kek_clock_wall_ms());
    look();
    ck_assert(!is_remarked());
    ck_assert(!is_recorded());
}
END_TEST

/* Set back in the middle, and then over; the record of before it was so may have it the wrong way round. */
START_TEST(lapse_outlasts_a_clock_that_is_set_back)
{
    off_ms += HOUR;
    without(10000);
    off_ms -= HOUR;
    int64_t until_ms = kek_clock_wall_ms();
    without(10000);
    until_ms += 10000;
    later(5000);
    ck_assert(is_remarked());
    is_near(lapse_until(ring), until_ms);
    stop();
    begin();
    ck_assert(is_remarked());
    int64_t now_ms = kek_clock_wall_ms();
    begin_with(now_ms, now_ms - HOUR, false);
    ck_assert(is_remarked());
    look();
    stop();
    begin();
    ck_assert(is_remarked());
    ck_assert_int_eq(recorded("since_ms"), now_ms - HOUR);
    ck_assert_int_eq(recorded("until_ms"), now_ms);
    is_near(lapse_until(ring), now_ms);
}
END_TEST

/* Set back and right again once it is over: what was said before it ended never ends it. */
START_TEST(lapse_ends_by_no_word_of_before_when_the_clock_is_set_back_for_a_while)
{
    without(10 * MINUTE);
    say(kek_clock_wall_ms() - 1000);
    off_ms -= HOUR;
    later(MINUTE);
    look();
    ck_assert(is_remarked());
    for (int i = 0; i < 2; i++) { /* in this process, and in another that begins so */
        later(MINUTE);
        look();
        ck_assert(is_remarked());
        off_ms += HOUR;
        look();
        ck_assert(is_remarked());
        off_ms -= HOUR;
        stop();
        begin();
    }
    look(); /* and in one after that */
    stop();
    off_ms += HOUR;
    begin();
    look();
    ck_assert(is_remarked());
}
END_TEST

START_TEST(word_from_a_time_to_come_shows_nothing_and_is_told_once)
{
    without(10000);
    later(5000);
    say(kek_clock_wall_ms() + DAY);
    for (int i = 0; i < 3; i++) {
        look();
        ck_assert(is_remarked());
    }
    ck_assert_int_eq(told_count, 1);
    ck_assert_ptr_nonnull(strstr(told_text, path_of(".protected")));
    later(DAY + HOUR); /* nor when it has come */
    look();
    ck_assert(is_remarked());
    ck_assert_int_eq(told_count, 1);
    say(kek_clock_wall_ms() + 1000); /* what a second's fraction may do */
    look();
    ck_assert(!is_remarked());
}
END_TEST

START_TEST(lapse_under_a_clock_that_was_ahead_is_remarked_at_once)
{
    int64_t now_ms = kek_clock_wall_ms();
    begin_with(now_ms + DAY, now_ms + DAY + MINUTE, false);
    ck_assert(is_remarked());
    is_near(lapse_until(ring), now_ms);
    later(MINUTE);
    say(kek_clock_wall_ms());
    look();
    ck_assert(is_remarked());
    is_near(lapse_until(ring), now_ms);
    later(6 * MINUTE);
    say(kek_clock_wall_ms());
    look();
    ck_assert(!is_remarked());
}
END_TEST

START_TEST(restarts_move_the_end_of_a_lapse_by_a_minute_at_most_and_only_once)
{
    without(10000);
    int64_t now_ms = kek_clock_wall_ms();
    end_at_once();
    int64_t until_ms = recorded("until_ms");
    ck_assert(recorded("goes_on"));
    begin();
    ck_assert(is_remarked()); /* at once */
    ck_assert_int_le(lapse_until(ring), kek_clock_wall_ms());
    ck_assert_int_ge(lapse_until(ring), now_ms - 1500);
    for (int i = 0; i < 10; i++) {
        if (i % 2 == 1) {
            look(); /* it lives for long enough to write it down */
            ck_assert_int_le(recorded("until_ms"), kek_clock_wall_ms());
        }
        end_at_once();
        later(20000);
        begin();
        ck_assert(is_remarked());
        ck_assert_int_le(lapse_until(ring), until_ms + MINUTE);
    }
    ck_assert(!recorded("goes_on"));
    begin_with(now_ms - HOUR, now_ms - 10 * MINUTE, true);
    is_near(lapse_until(ring), now_ms - 9 * MINUTE);
    begin_with(now_ms - HOUR, now_ms - 10 * MINUTE, false);
    is_near(lapse_until(ring), now_ms - 10 * MINUTE);
}
END_TEST

START_TEST(lapse_that_goes_on_after_a_restart_is_written_down_at_once)
{
    int64_t now_ms = kek_clock_wall_ms();
    begin_with(now_ms - HOUR, now_ms - 10 * MINUTE, true);
    kek_keyring_lapsed(ring);
    ck_assert(!is_remarked());
    end_at_once();
    begin();
    ck_assert(is_remarked());
    ck_assert_int_ge(lapse_until(ring), now_ms);
    ck_assert_int_eq(recorded("since_ms"), now_ms - HOUR);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring-lapse");
    TCase *lapse = tcase_create("lapse");
    tcase_add_checked_fixture(lapse, set_up_root, tear_down);
    suite_add_tcase(suite, lapse);
    tcase_set_timeout(lapse, 60);
    tcase_add_test(lapse, lapse_is_on_record_from_its_first_moment_and_as_it_was_at_a_stop);
    tcase_add_test(lapse, lapse_that_was_said_to_be_over_is_remarked_at_that_moment);
    tcase_add_test(lapse, lapse_is_remarked_once_it_is_over_and_until_a_later_word);
    tcase_add_test(lapse, lapse_outlasts_a_clock_that_is_set_back);
    tcase_add_test(lapse, lapse_ends_by_no_word_of_before_when_the_clock_is_set_back_for_a_while);
    tcase_add_test(lapse, word_from_a_time_to_come_shows_nothing_and_is_told_once);
    tcase_add_test(lapse, lapse_under_a_clock_that_was_ahead_is_remarked_at_once);
    tcase_add_test(lapse, restarts_move_the_end_of_a_lapse_by_a_minute_at_most_and_only_once);
    tcase_add_test(lapse, lapse_that_goes_on_after_a_restart_is_written_down_at_once);
    return suite_run(suite);
}
