/* The audit log without a file: a journal or a syslog daemon has its lines, and the record alone says where they stand. */
#include <poll.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>

#include "audit_listener.h"
#include "kek/clock.h"
#include "src/ops/audit_head.h"
#include "src/ops/audit_store.h"

#define MANY 8000
#define HEADER_END " kekd - audit - "
#define RAW "{\"event\":\"nothing\"}\n"

static const char *socket_path;
static struct kek_audit_place place;
static struct kek_why why;
static struct audit_store store;

static void sink_setup(void)
{
    setup();
    place = place_of(NULL);
    place.syslog = socket_path = strdup(folder_path("s"));
}

static void sink_teardown(void)
{
    audit_store_close(&store);
    free((char *)(uintptr_t)socket_path);
    listener_teardown();
}

/* Takes one message; false: there is none.  It must be a whole line with the header. */
static bool take(void)
{
    char got[2 * AUDIT_LINE_MAX];
    ssize_t len = recv(receiver, got, sizeof got - 1, 0);
    if (len < 0) {
        return false;
    }
    got[len] = '\0';
    const char *line = strstr(got, HEADER_END);
    ck_assert_ptr_nonnull(line);
    ck_assert_uint_lt(line_count, LINES_MAX);
    lines[line_count] = json_loads(line + strlen(HEADER_END), JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(lines[line_count]);
    line_count++;
    return true;
}

static void take_all(void)
{
    while (take()) {
    }
}

static void is_chain(size_t first, json_int_t n)
{
    for (size_t i = first; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "n"), n++);
        if (i > first) {
            ck_assert_str_eq(text_of(lines[i], "prev"), text_of(lines[i - 1], "hash"));
            ck_assert_str_eq(text_of(lines[i], "chain"), text_of(lines[i - 1], "chain"));
        }
    }
}

static struct kek_audit_end recorded(void)
{
    struct kek_audit_end end = {.n = 0};
    ck_assert_int_eq(kek_audit_record_read(place.head, &end, NULL, &why), KEK_OK);
    return end;
}

/* What no line tells of yet. */
static struct kek_audit_owed owed(void)
{
    struct kek_audit_owed acts = {.lost = 0}, kekd = {.lost = 0};
    int fd = open(place.head, O_RDONLY);
    if (fd >= 0) {
        audit_head_owed(fd, AUDIT_DEBTOR_ACTS, &acts);
        audit_head_owed(fd, AUDIT_DEBTOR_KEKD, &kekd);
        close(fd);
    }
    kekd.lost += acts.lost;
    return kekd;
}

/* The record is that of the last line that arrived. */
static void is_recorded(void)
{
    struct kek_audit_end end = recorded();
    ck_assert_str_eq(end.hash, text_of(lines[line_count - 1], "hash"));
    ck_assert_int_eq((json_int_t)end.n, number_of(lines[line_count - 1], "n"));
}

static struct kek_audit *log_ok(void)
{
    struct kek_audit *audit = kek_audit_new(&loop, &place, "node-1", &why);
    ck_assert_msg(audit != NULL, "%s", why.text);
    return audit;
}

static struct kek_audit_stats stats_of(const struct kek_audit *audit)
{
    struct kek_audit_stats stats;
    kek_audit_stats(audit, &stats);
    return stats;
}

static void run_until_written(struct kek_audit *audit, uint64_t count)
{
    while (stats_of(audit).lines < count) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

static void run_until_it_fails(struct kek_audit *audit, uint64_t errors)
{
    while (stats_of(audit).errors < errors) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

START_TEST(kekd_and_kekctl_send_one_chain_over_restarts)
{
    const struct kek_audit_act retry = {.event = "pin-retry", .outcome = "ok"};
    (void)listen_at("s");
    for (int i = 0; i < 2; i++) {
        struct kek_audit *audit = log_ok();
        call(audit, "uid-1");
        run_until_written(audit, 2);
        struct kek_audit_acts *acts = kek_audit_acts_new(&place, NULL, &why);
        ck_assert_ptr_nonnull(acts);
        ck_assert_int_eq(kek_audit_act(acts, &retry, &why), KEK_OK);
        kek_audit_acts_free(acts);
        kek_audit_reopen(audit);
        call(audit, "uid-2");
        stop(audit);
    }
    take_all();
    static const char *const events[] = {"start", "call", "pin-retry", "call", "stop"};
    ck_assert_uint_eq(line_count, 10);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_str_eq(text_of(lines[i], "event"), events[i % 5]);
    }
    is_chain(0, 1);
    is_recorded();
}
END_TEST

START_TEST(of_journal_and_syslog_the_first_is_the_log_and_the_other_gets_copies)
{
    place.journal = place.syslog;
    place.syslog = folder_path("missing");
    (void)listen_at("s");
    struct kek_audit *audit = log_ok();
    call(audit, "uid-1");
    run_until_written(audit, 2);
    ck_assert_uint_eq(stats_of(audit).uncopied, 2);
    ck_assert_uint_eq(stats_of(audit).errors + stats_of(audit).dropped, 0);
    stop(audit);
    char got[1024];
    ck_assert_int_gt(recv(receiver, got, sizeof got, 0), 0);
    static const char fields[] =
        "SYSLOG_IDENTIFIER=kekd-audit\nSYSLOG_FACILITY=13\nPRIORITY=6\nMESSAGE={";
    ck_assert_mem_eq(got, fields, strlen(fields));
}
END_TEST

START_TEST(receiver_that_comes_after_the_start_gets_every_line)
{
    struct kek_audit *audit = log_ok();
    call(audit, "uid-1");
    run_until_it_fails(audit, 1);
    call(audit, "uid-2");
    ck_assert_uint_eq(stats_of(audit).lines, 0);
    ck_assert_uint_gt(stats_of(audit).waiting, 0);
    (void)listen_at("s");
    run_until_written(audit, 3);
    ck_assert_uint_eq(stats_of(audit).dropped, 0);
    stop(audit);
    take_all();
    ck_assert_uint_eq(line_count, 4);
    is_chain(0, 1);
}
END_TEST

static void *take_slowly(void *arg)
{
    const struct timespec pause = {.tv_nsec = 500000};
    const size_t *until = arg;
    while (line_count < *until) {
        nanosleep(&pause, NULL);
        (void)take();
    }
    return NULL;
}

static void *take_at_once(void *arg)
{
    const size_t *until = arg;
    while (line_count < *until) {
        struct pollfd more = {.fd = receiver, .events = POLLIN};
        (void)poll(&more, 1, 100);
        take_all();
    }
    return NULL;
}

START_TEST(receiver_that_goes_costs_what_finds_no_room_and_the_log_tells_how_much)
{
    (void)listen_at("s");
    struct kek_audit *audit = log_ok();
    run_until_written(audit, 1);
    take_all();
    leave("s");
    for (int i = 0; i < MANY; i++) {
        call(audit, "uid-1");
    }
    run_until_it_fails(audit, 1);
    uint64_t dropped = stats_of(audit).dropped;
    ck_assert_uint_gt(dropped, 0);
    ck_assert_uint_lt(dropped, MANY);
    ck_assert_uint_eq(recorded().n, 1);
    (void)listen_at("s");
    pthread_t thread;
    size_t until = (size_t)(MANY + 3 - dropped); /* with start, stop, and the one that tells */
    ck_assert_int_eq(pthread_create(&thread, NULL, take_at_once, &until), 0);
    run_until_written(audit, MANY + 2 - dropped);
    ck_assert_uint_eq(stats_of(audit).dropped, dropped);
    stop(audit);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    is_chain(0, 1);
    is_recorded();
    const json_t *tells = lines[line_count - 2];
    ck_assert_str_eq(text_of(tells, "event"), "dropped");
    ck_assert_int_eq(number_of(tells, "lines"), (json_int_t)dropped);
    ck_assert_int_eq(number_of(tells, "seq"), MANY + 2);
}
END_TEST

START_TEST(receiver_that_is_slow_gets_all_of_them_once_and_in_order)
{
    pthread_t thread;
    size_t until = 1002;
    (void)listen_at("s");
    struct kek_audit *audit = log_ok();
    for (int i = 0; i < 1000; i++) {
        call(audit, "uid-1");
    }
    ck_assert_int_eq(pthread_create(&thread, NULL, take_slowly, &until), 0);
    run_until_written(audit, 1001);
    stop(audit);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    ck_assert_uint_eq(line_count, 1002);
    is_chain(0, 1);
    is_recorded();
}
END_TEST

START_TEST(receiver_that_takes_nothing_is_waited_for_a_second_and_loses_no_line)
{
    (void)listen_at("s");
    struct kek_audit *audit = log_ok();
    for (int i = 0; i < 1000; i++) {
        call(audit, "uid-1");
    }
    run_until_it_fails(audit, 1); /* its queue is full */
    uint64_t sent = recorded().n;
    ck_assert_uint_gt(sent, 0);
    ck_assert_uint_lt(sent, 1001);
    take_all();
    ck_assert_uint_eq(line_count, sent);
    pthread_t thread;
    size_t until = 1002;
    ck_assert_int_eq(pthread_create(&thread, NULL, take_slowly, &until), 0);
    run_until_written(audit, 1001);
    ck_assert_uint_eq(stats_of(audit).dropped, 0);
    stop(audit);
    ck_assert_int_eq(pthread_join(thread, NULL), 0);
    is_chain(0, 1);
}
END_TEST

START_TEST(nothing_is_done_by_an_operator_that_nobody_takes_a_line_about)
{
    ck_assert_ptr_null(kek_audit_acts_new(&place, NULL, &why));
    ck_assert_int_eq(why.rc, KEK_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(why.text, "connecting to "));
    ck_assert_ptr_nonnull(strstr(why.text, "No such file"));
}
END_TEST

/* Nobody takes anything out of its queue. */
static void fill(void)
{
    int sender = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    ck_assert_uint_lt(strlen(socket_path), sizeof address.sun_path);
    strcpy(address.sun_path, socket_path);
    ck_assert_int_eq(connect(sender, (struct sockaddr *)&address, sizeof address), 0);
    while (send(sender, "", 0, 0) == 0) {
    }
    ck_assert_int_eq(errno, EAGAIN);
    close(sender);
}

static void drain(void)
{
    char got[2 * AUDIT_LINE_MAX];
    while (recv(receiver, got, sizeof got, 0) >= 0) {
    }
}

START_TEST(
    nothing_is_begun_that_a_full_receiver_does_not_take_and_what_it_loses_is_told_by_the_next)
{
    const struct kek_audit_act act = {.event = "suspend", .outcome = "ok"};
    (void)listen_at("s");
    struct kek_audit_acts *acts = kek_audit_acts_new(&place, NULL, &why);
    struct kek_audit_acts *others = kek_audit_acts_new(&place, NULL, &why);
    ck_assert_int_eq(kek_audit_act_begin(acts, &act, &why), KEK_OK);
    fill();
    ck_assert_int_eq(kek_audit_act_begin(acts, &act, &why), KEK_UNAVAILABLE);
    ck_assert_uint_eq(owed().lost, 0); /* nothing was done */
    ck_assert_int_eq(kek_audit_act(acts, &act, &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(kek_audit_act(others, &act, &why), KEK_UNAVAILABLE);
    ck_assert_uint_eq(owed().lost, 2);
    kek_audit_acts_free(acts);
    drain();
    ck_assert_int_eq(kek_audit_act_begin(others, &act, &why), KEK_OK);
    kek_audit_acts_free(others);
    take_all();
    ck_assert_uint_eq(line_count, 2);
    is_chain(0, 2);
    ck_assert_str_eq(text_of(lines[0], "event"), "dropped");
    ck_assert_int_eq(number_of(lines[0], "lines"), 2);
    ck_assert_ptr_null(json_object_get(lines[0], "at_most"));
    ck_assert_str_eq(text_of(lines[1], "outcome"), "begun");
    ck_assert_uint_eq(owed().lost, 0);
}
END_TEST

START_TEST(lines_that_wait_when_kekd_ends_are_told_by_the_next_start)
{
    const struct kek_audit_act act = {.event = "pin-retry", .outcome = "ok"};
    for (int i = 0; i < 2; i++) {
        struct kek_audit *audit = log_ok();
        call(audit, "uid-1");
        run_until_it_fails(audit, 1);
        stop(audit);
        ck_assert_uint_eq(owed().lost, 3 * (unsigned)(i + 1)); /* start, call, stop */
        ck_assert_uint_eq(owed().waiting, 0);
    }
    (void)listen_at("s");
    /* A kekctl cannot know whether there is a kekd that has them. */
    struct kek_audit_acts *acts = kek_audit_acts_new(&place, NULL, &why);
    ck_assert_int_eq(kek_audit_act(acts, &act, &why), KEK_OK);
    kek_audit_acts_free(acts);
    ck_assert_uint_eq(owed().lost, 6);
    struct kek_audit *audit = log_ok();
    run_until_written(audit, 1);
    stop(audit);
    ck_assert_uint_eq(owed().lost + owed().waiting, 0);
    stop(log_ok());
    take_all();
    static const char *const events[] = {"pin-retry", "dropped", "start", "stop", "start", "stop"};
    ck_assert_uint_eq(line_count, sizeof events / sizeof events[0]);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_str_eq(text_of(lines[i], "event"), events[i]);
    }
    is_chain(0, 1);
    ck_assert_int_eq(number_of(lines[1], "lines"), 6);
    ck_assert_ptr_null(json_object_get(lines[1], "at_most"));
    ck_assert_int_eq(number_of(lines[1], "seq"), 0);
}
END_TEST

/* What a kekd that is going to be killed has made, and seen to be on record or in the log. */
struct made {
    uint64_t sure, all;
};

static uint64_t draw(uint64_t *state, uint64_t below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (*state >> 33) % below;
}

/* Calls in groups of different sizes; each is on record before the next. */
static _Noreturn void serve_for_ever(volatile struct made *made, uint64_t state)
{
    struct kek_audit *audit = log_ok();
    made->all = 1;
    for (;;) {
        uint64_t group = 1 + draw(&state, 120);
        made->all += group;
        for (uint64_t i = 0; i < group; i++) {
            call(audit, "uid-1");
        }
        do {
            uv_run(&loop, UV_RUN_NOWAIT);
        } while (stats_of(audit).lines + owed().lost + owed().waiting < made->all);
        made->sure = made->all;
        usleep((useconds_t)draw(&state, 3000));
        if (made->all > 3000) {
            pause();
        }
    }
}

START_TEST(no_more_lines_are_missing_than_a_killed_kekd_leaves_on_record)
{
    uint64_t state = (uint64_t)_i + 1;
    volatile struct made *made =
        mmap(NULL, sizeof *made, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ck_assert_ptr_ne((void *)(uintptr_t)made, MAP_FAILED);
    if (_i % 2 == 0) {
        (void)listen_at("s"); /* it is full soon; else it is away */
    }
    pid_t pid = fork();
    if (pid == 0) {
        serve_for_ever(made, state);
    }
    uint64_t target = 1 + draw(&state, 2500), until = kek_clock_ms() + 30000;
    while (made->sure < target && kek_clock_ms() < until) {
        usleep(500);
    }
    usleep((useconds_t)draw(&state, 5000));
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    ck_assert_msg(made->sure >= target, "%ju of %ju lines were never on record",
                  (uintmax_t)(made->all - made->sure), (uintmax_t)made->all);
    while (receiver >= 0 && take()) {
    }
    const struct kek_audit_owed left = owed();
    uint64_t got = line_count, most = left.lost + left.waiting;
    bool began = most > 0;
    ck_assert_msg(got + most >= made->sure, "%ju of %ju arrived, at most %ju are lost",
                  (uintmax_t)got, (uintmax_t)made->sure, (uintmax_t)most);
    ck_assert_uint_le(most, 256 + 4 * made->all); /* and it says something */
    if (receiver < 0) {
        (void)listen_at("s");
    }
    struct kek_audit *audit = log_ok();
    run_until_written(audit, 1);
    stop(audit);
    take_all();
    const json_t *told = lines[got];
    ck_assert_str_eq(text_of(told, "event"), began ? "dropped" : "start");
    ck_assert(!began || number_of(told, "at_most") == (json_int_t)most);
    ck_assert(!began || number_of(told, "lines") == (json_int_t)left.lost);
    munmap((void *)(uintptr_t)made, sizeof *made);
}
END_TEST

static void append(size_t count)
{
    size_t taken;
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW), &taken, &why), KEK_OK);
    }
}

static void open_store(void)
{
    ck_assert_int_eq(audit_store_open(&store, &place, "n", AUDIT_FILE_MAKE, 0, &why), KEK_OK);
}

START_TEST(line_that_is_not_taken_is_not_on_record)
{
    size_t taken = 1;
    (void)listen_at("s");
    open_store();
    append(2);
    take_all();
    struct kek_audit_end before = recorded();
    leave("s");
    ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW RAW), &taken, &why),
                     KEK_UNAVAILABLE);
    ck_assert_uint_eq(taken, 0);
    ck_assert_ptr_nonnull(strstr(why.text, "sending audit lines to "));
    struct kek_audit_end after = recorded();
    ck_assert_uint_eq(after.n, before.n);
    ck_assert_str_eq(after.hash, before.hash);
    (void)listen_at("s");
    append(1);
    take_all();
    is_chain(0, 1);
}
END_TEST

/* One that waits for a receiver whose queue is full, with more lines in hand than that takes. */
static pid_t send_for_ever(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        size_t taken;
        char many[100 * (sizeof RAW - 1)];
        for (size_t at = 0; at < sizeof many; at += sizeof RAW - 1) {
            memcpy(many + at, RAW, sizeof RAW - 1);
        }
        for (;;) {
            (void)!audit_store_append(&store, kek_bytes(many, sizeof many), &taken, &why);
        }
    }
    ck_assert_int_gt(pid, 0);
    return pid;
}

START_TEST(process_that_is_killed_as_it_sends_leaves_a_gap_and_no_number_twice)
{
    (void)listen_at("s");
    open_store();
    append(1);
    pid_t pid = send_for_ever();
    usleep(200000);
    ck_assert_int_eq(kill(pid, SIGKILL), 0);
    ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
    take_all();
    is_chain(0, 1);
    json_int_t arrived = number_of(lines[line_count - 1], "n");
    ck_assert_uint_gt(recorded().n, (uint64_t)arrived);
    append(2);
    size_t first = line_count;
    take_all();
    is_chain(first, (json_int_t)recorded().n - 1);
    ck_assert_int_gt(number_of(lines[first], "n"), arrived + 1);
    ck_assert_str_eq(store.told, "");
}
END_TEST

START_TEST(record_that_goes_back_or_is_damaged_is_told)
{
    (void)listen_at("s");
    open_store();
    append(1);
    struct kek_audit_end first = store.end;
    append(2);
    ck_assert_int_eq(audit_head_store(store.head_fd, &first, &why), KEK_OK);
    append(1);
    take_all();
    ck_assert_uint_eq(line_count, 5);
    is_chain(0, 1); /* it goes on from what this process knows */
    ck_assert_str_eq(text_of(lines[3], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[3], "error"), "went back from line 3 to line 1"));
    ck_assert_ptr_nonnull(strstr(store.told, "went back"));
    ck_assert_int_eq(ftruncate(store.head_fd, 0), 0);
    append(1);
    take_all();
    ck_assert_uint_eq(line_count, 7);
    is_chain(0, 1);
    ck_assert_ptr_nonnull(strstr(text_of(lines[5], "error"), "goes on from line 5"));
    ck_assert_int_eq(pwrite(store.head_fd, "x", 1, 0), 1);
    append(1);
    take_all();
    ck_assert_uint_eq(line_count, 9);
    ck_assert_ptr_nonnull(strstr(text_of(lines[7], "error"), "is damaged: a new chain begins"));
    is_chain(7, 1);
}
END_TEST

/* At the start, and under a process that has it open. */
START_TEST(what_became_of_the_record_is_told_once_the_receiver_is_there)
{
    static const char *const errors[] = {"is damaged: a new chain begins",
                                         "was emptied: the chain goes on from line 2"};
    size_t taken;
    (void)listen_at("s");
    open_store();
    append(2);
    if (_i == 0) {
        ck_assert_int_eq(pwrite(store.head_fd, "x", 1, 0), 1);
        audit_store_close(&store);
        open_store();
    } else {
        ck_assert_int_eq(ftruncate(store.head_fd, 0), 0);
    }
    take_all();
    leave("s");
    for (int i = 0; i < 2; i++) {
        ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW), &taken, &why),
                         KEK_UNAVAILABLE);
    }
    (void)listen_at("s");
    append(2);
    take_all();
    ck_assert_uint_eq(line_count, 5); /* it is told once */
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[2], "error"), errors[_i]));
    is_chain(_i == 0 ? 2 : 0, 1);
    is_recorded();
}
END_TEST

START_TEST(chain_goes_on_from_file_to_receiver)
{
    (void)listen_at("s");
    struct kek_audit_place filed = place;
    filed.file = folder_path("audit");
    filed.syslog = NULL;
    ck_assert_int_eq(audit_store_open(&store, &filed, "n", AUDIT_FILE_MAKE, 0, &why), KEK_OK);
    append(2);
    struct kek_audit_end end = store.end;
    audit_store_close(&store);
    open_store();
    append(2);
    take_all();
    is_chain(0, 3);
    ck_assert_str_eq(text_of(lines[0], "prev"), end.hash);
    ck_assert_str_eq(text_of(lines[0], "chain"), end.chain);
    ck_assert_str_eq(store.told, "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit sink");
    TCase *tcase = tcase_create("audit sink");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, sink_setup, sink_teardown);
    tcase_add_test(tcase, kekd_and_kekctl_send_one_chain_over_restarts);
    tcase_add_test(tcase, of_journal_and_syslog_the_first_is_the_log_and_the_other_gets_copies);
    tcase_add_test(tcase, receiver_that_comes_after_the_start_gets_every_line);
    tcase_add_test(tcase, receiver_that_goes_costs_what_finds_no_room_and_the_log_tells_how_much);
    tcase_add_test(tcase, receiver_that_is_slow_gets_all_of_them_once_and_in_order);
    tcase_add_test(tcase, receiver_that_takes_nothing_is_waited_for_a_second_and_loses_no_line);
    tcase_add_test(tcase, nothing_is_done_by_an_operator_that_nobody_takes_a_line_about);
    tcase_add_test(
        tcase,
        nothing_is_begun_that_a_full_receiver_does_not_take_and_what_it_loses_is_told_by_the_next);
    tcase_add_test(tcase, lines_that_wait_when_kekd_ends_are_told_by_the_next_start);
    tcase_add_loop_test(tcase, no_more_lines_are_missing_than_a_killed_kekd_leaves_on_record, 0, 8);
    tcase_add_test(tcase, line_that_is_not_taken_is_not_on_record);
    tcase_add_test(tcase, process_that_is_killed_as_it_sends_leaves_a_gap_and_no_number_twice);
    tcase_add_test(tcase, record_that_goes_back_or_is_damaged_is_told);
    tcase_add_loop_test(tcase, what_became_of_the_record_is_told_once_the_receiver_is_there, 0, 2);
    tcase_add_test(tcase, chain_goes_on_from_file_to_receiver);
    return suite_run(suite);
}
