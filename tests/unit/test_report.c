/* kekctl/report: dates of which some are not known, and what an audit log says of a key. */
#include "kekctl/audit/files.h"
#include "kekctl/report/audit_read.h"
#include "kekctl/report/audit_tally.h"
#include "kekctl/report/life.h"
#include "kekctl/report/period.h"

#include "kek/clock.h"
#include "ops_folder.h"
#include "suite.h"

#define KEK "11111111111111111111111111111111"
#define OTHER "22222222222222222222222222222222"
#define BY ",\"node\":\"n\",\"peer_uid\":0"

static int64_t at(const char *text)
{
    int64_t ms = kek_clock_parse(text);
    ck_assert_msg(ms > 0, "%s", text);
    return ms;
}

/* ---- years ---- */

START_TEST(years_are_calendar_years)
{
    static const struct {
        const char *from;
        int years;
        const char *to;
    } rows[] = {
        {"2024-03-01T00:00:00Z", 2, "2026-03-01T00:00:00Z"},
        {"2023-11-29T13:14:15.678Z", 2, "2025-11-29T13:14:15.678Z"},
        {"2024-02-29T12:00:00Z", 2, "2026-02-28T12:00:00Z"},
        {"2024-02-29T12:00:00Z", 4, "2028-02-29T12:00:00Z"},
        {"2025-02-28T23:59:59Z", 3, "2028-02-28T23:59:59Z"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_int_eq(period_add_years(at(rows[i].from), rows[i].years), at(rows[i].to));
    }
    ck_assert_int_eq(period_add_years(PERIOD_PAST, 2), PERIOD_PAST);
    ck_assert_int_eq(period_add_years(PERIOD_FUTURE, 2), PERIOD_FUTURE);
}
END_TEST

START_TEST(a_verdict_holds_for_every_date_that_may_be_meant)
{
    const int64_t a = at("2024-01-01T00:00:00Z"), b = at("2025-01-01T00:00:00Z");
    const int64_t two = at("2026-01-01T00:00:00Z"), three = at("2027-01-01T00:00:00Z");
    const struct {
        struct period_date begin, end;
        enum period_verdict verdict;
    } rows[] = {
        {{a, a}, {two, two}, PERIOD_WITHIN},
        {{a, a}, {two + 1, two + 1}, PERIOD_EXCEEDED},
        {{a, b}, {two, two}, PERIOD_WITHIN},
        {{a, b}, {two + 1, two + 1}, PERIOD_NOT_KNOWN},
        {{a, b}, {three, three}, PERIOD_NOT_KNOWN},
        {{a, b}, {three + 1, three + 1}, PERIOD_EXCEEDED},
        {{PERIOD_PAST, b}, {two, two}, PERIOD_NOT_KNOWN},
        {{PERIOD_PAST, a}, {two + 1, two + 1}, PERIOD_EXCEEDED},
        {{PERIOD_PAST, PERIOD_FUTURE}, {three, three}, PERIOD_NOT_KNOWN},
        {{a, PERIOD_FUTURE}, {two, two}, PERIOD_WITHIN},
        {{a, PERIOD_FUTURE}, {two + 1, two + 1}, PERIOD_NOT_KNOWN},
        {{a, a}, {PERIOD_PAST, two}, PERIOD_WITHIN},
        {{a, a}, {PERIOD_PAST, three}, PERIOD_NOT_KNOWN},
        {{a, a}, {two + 1, three}, PERIOD_EXCEEDED},
        {{b, b}, {a, a}, PERIOD_NOT_KNOWN}, /* a clock was set between them */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(period_judge(rows[i].begin, rows[i].end, 2) == rows[i].verdict, "row %zu", i);
    }
}
END_TEST

/* ---- a key's life ---- */

#define NOW at("2026-01-01T00:00:00Z")

/* Feeds lines; each is the members behind the time. */
struct line {
    const char *time, *rest;
};

static struct audit_tally *tally_of(const struct line *lines, size_t count)
{
    struct audit_tally *tally = audit_tally_new();
    ck_assert_ptr_nonnull(tally);
    for (size_t i = 0; i < count; i++) {
        char text[1024];
        snprintf(text, sizeof text, "{\"time\":\"%s\",%s}", lines[i].time, lines[i].rest);
        json_t *line = json_loads(text, 0, NULL);
        ck_assert_msg(line != NULL, "%s", text);
        audit_tally_line(tally, line);
        json_decref(line);
    }
    ck_assert(!tally->spoilt);
    return tally;
}
#define TALLY(lines) tally_of(lines, sizeof(lines) / sizeof(lines)[0])

static const struct audit_key *the_key(const struct audit_tally *tally)
{
    struct kek_id id;
    ck_assert(kek_id_parse(KEK, &id));
    const struct audit_key *key = audit_tally_key(tally, &id);
    ck_assert_ptr_nonnull(key);
    return key;
}

#define MADE \
    "\"event\":\"generate\",\"state\":\"pre-active\",\"outcome\":\"ok\",\"kek_id\":\"" KEK "\"" BY
#define PROMOTED \
    "\"event\":\"promote\",\"state\":\"active\",\"outcome\":\"ok\",\"kek_id\":\"" KEK "\"" BY
#define RETIRED(outcome)                                                                       \
    "\"event\":\"retire\",\"provider\":\"a\",\"state\":\"deactivated\",\"outcome\":\"" outcome \
    "\",\"kek_id\":\"" KEK "\"" BY
#define SEEN(state) \
    "\"event\":\"version\",\"provider\":\"a\",\"state\":\"" state "\",\"kek_id\":\"" KEK "\"" BY
#define CALLED(method, status)                                                         \
    "\"event\":\"call\",\"api\":\"v2\",\"method\":\"" method "\",\"status\":\"" status \
    "\",\"kek_id\":\"" KEK "\"" BY

START_TEST(what_kekctl_did_is_known_to_the_moment)
{
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", MADE},
        {"2024-01-02T00:00:00Z", PROMOTED},
        {"2024-01-02T00:00:09Z", SEEN("active")},
        {"2024-06-01T00:00:00Z", CALLED("Encrypt", "OK")},
        {"2024-07-01T00:00:00Z", RETIRED("failed")},
        {"2024-07-02T00:00:00Z", RETIRED("ok")},
        {"2024-07-02T00:00:09Z", SEEN("deactivated")},
        {"2024-08-01T00:00:00Z", CALLED("Decrypt", "OK")},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    const struct life life = {.unwraps = true, .line = the_key(tally)};
    const int64_t now_ms = at("2026-01-01T00:00:00Z");
    struct period_date begin = life_begin(&life, NOW), sealed = life_sealed_until(&life, now_ms);
    ck_assert_int_eq(begin.first, at("2024-01-02T00:00:00Z"));
    ck_assert_int_eq(begin.last, begin.first);
    ck_assert_int_eq(sealed.first, at("2024-07-02T00:00:00Z"));
    ck_assert_int_eq(sealed.last, sealed.first);
    ck_assert_int_eq(life_opened_until(&life, now_ms).first, now_ms);
    ck_assert_int_eq(the_key(tally)->last_opened_ms, at("2024-08-01T00:00:00Z"));
}
END_TEST

START_TEST(what_was_only_seen_was_so_by_then)
{
    static const struct line lines[] = {
        {"2024-01-02T00:00:09Z", SEEN("active")},
        {"2024-06-01T00:00:00Z", CALLED("Encrypt", "OK")},
        {"2024-07-02T00:00:09Z", SEEN("deactivated")},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    const struct life life = {.unwraps = true, .line = the_key(tally)};
    struct period_date begin = life_begin(&life, NOW);
    struct period_date sealed = life_sealed_until(&life, at("2026-01-01T00:00:00Z"));
    ck_assert_int_eq(begin.first, PERIOD_PAST);
    ck_assert_int_eq(begin.last, at("2024-01-02T00:00:09Z"));
    ck_assert_int_eq(sealed.first, at("2024-06-01T00:00:00Z"));
    ck_assert_int_eq(sealed.last, at("2024-07-02T00:00:09Z"));
}
END_TEST

START_TEST(a_promotion_before_which_the_log_has_nothing_may_not_be_the_first)
{
    static const struct line lines[] = {{"2024-01-02T00:00:00Z", PROMOTED}};
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    const struct life life = {.wraps = true, .line = the_key(tally)};
    ck_assert_int_eq(life_begin(&life, NOW).first, PERIOD_PAST);
    ck_assert_int_eq(life_begin(&life, NOW).last, at("2024-01-02T00:00:00Z"));
}
END_TEST

START_TEST(a_version_that_seals_again_has_not_ceased)
{
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", SEEN("active")},
        {"2024-02-01T00:00:00Z", SEEN("deactivated")},
        {"2024-03-01T00:00:00Z", CALLED("Encrypt", "OK")},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    const int64_t now_ms = at("2026-01-01T00:00:00Z");
    struct life life = {.line = the_key(tally)};
    struct period_date sealed = life_sealed_until(&life, now_ms);
    ck_assert_int_eq(sealed.first, at("2024-03-01T00:00:00Z"));
    ck_assert_int_eq(sealed.last, now_ms);
    life.inactive_ms = at("2024-04-01T00:00:00Z");
    ck_assert_int_eq(life_sealed_until(&life, now_ms).last, life.inactive_ms);
    /* Where a provider does not answer, it may seal there to this day. */
    life.unseen = true;
    ck_assert_int_eq(life_sealed_until(&life, now_ms).last, now_ms);
    life.wraps = true;
    ck_assert_int_eq(life_sealed_until(&life, now_ms).first, now_ms);
}
END_TEST

START_TEST(without_a_log_the_record_alone_counts)
{
    const int64_t now_ms = at("2026-01-01T00:00:00Z");
    struct life life = {.announced_ms = at("2024-05-01T00:00:00Z")};
    ck_assert_int_eq(life_begin(&life, NOW).first, PERIOD_PAST);
    ck_assert_int_eq(life_begin(&life, NOW).last, life.announced_ms);
    ck_assert_int_eq(life_sealed_until(&life, now_ms).first, PERIOD_PAST);
    life.destroyed_ms = at("2025-05-01T00:00:00Z");
    ck_assert_int_eq(life_sealed_until(&life, now_ms).last, life.destroyed_ms);
    ck_assert_int_eq(life_opened_until(&life, now_ms).last, life.destroyed_ms);
    ck_assert_int_eq(life_opened_until(&life, now_ms).first, PERIOD_PAST);
}
END_TEST

START_TEST(a_version_has_not_begun_only_where_all_say_so)
{
    static const struct line lines[] = {{"2024-01-01T00:00:00Z", MADE}};
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    struct life life = {.unwraps = true, .line = the_key(tally)};
    ck_assert(life_not_begun(&life, true));
    ck_assert(!life_not_begun(&life, false));
    life.unseen = true; /* it may be active there */
    ck_assert(!life_not_begun(&life, true));
    life.unseen = false;
    life.announced_ms = at("2024-05-01T00:00:00Z");
    ck_assert(!life_not_begun(&life, true));
    life.announced_ms = 0;
    life.wraps = true;
    ck_assert(!life_not_begun(&life, true));
}
END_TEST

#define ON(event, provider, state)                                             \
    "\"event\":\"" event "\",\"provider\":\"" provider "\",\"state\":\"" state \
    "\",\"outcome\":\"ok\",\"kek_id\":\"" KEK "\"" BY

START_TEST(a_version_seals_until_its_last_provider_lets_it)
{
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", ON("version", "a", "active")},
        {"2024-01-01T00:00:00Z", ON("version", "b", "active")},
        {"2024-02-01T00:00:00Z", ON("retire", "a", "deactivated")},
        {"2024-02-01T00:00:09Z", ON("version", "a", "deactivated")},
        {"2025-02-01T00:00:00Z", ON("version", "b", "deactivated")},
    };
    for (size_t count = 4; count <= 5; count++) {
        KEK_AUTO(audit_tally) tally = tally_of(lines, count);
        const struct life life = {.line = the_key(tally)};
        struct period_date sealed = life_sealed_until(&life, NOW);
        ck_assert_int_eq(sealed.first, at("2024-01-01T00:00:00Z"));
        ck_assert_int_eq(sealed.last, count == 4 ? NOW : at("2025-02-01T00:00:00Z"));
    }
}
END_TEST

START_TEST(where_lines_are_missing_nothing_is_the_first_or_the_last)
{
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", MADE},
        {"2025-01-01T00:00:00Z", PROMOTED}, /* between the two it may have been active before */
        {"2025-02-01T00:00:00Z", RETIRED("ok")},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    struct life life = {.line = the_key(tally), .gaps = true};
    ck_assert_int_eq(life_begin(&life, NOW).first, at("2024-01-01T00:00:00Z"));
    ck_assert_int_eq(life_begin(&life, NOW).last, at("2025-01-01T00:00:00Z"));
    ck_assert_int_eq(life_sealed_until(&life, NOW).first, at("2025-02-01T00:00:00Z"));
    ck_assert_int_eq(life_sealed_until(&life, NOW).last, NOW);
    life.inactive_ms = at("2025-06-01T00:00:00Z"); /* kekd's own record has no such gap */
    ck_assert_int_eq(life_sealed_until(&life, NOW).last, life.inactive_ms);
}
END_TEST

START_TEST(a_clock_that_was_wrong_dates_nothing)
{
    /* Ahead: what is to come has not been. */
    static const struct line ahead[] = {
        {"2035-01-01T00:00:00Z", MADE},
        {"2035-01-02T00:00:00Z", PROMOTED},
    };
    KEK_AUTO(audit_tally) tally = TALLY(ahead);
    struct life life = {.line = the_key(tally)};
    ck_assert(!life_not_begun(&life, true));
    ck_assert_int_eq(life_begin(&life, NOW).first, PERIOD_PAST);
    ck_assert_int_eq(life_begin(&life, NOW).last, NOW);
    ck_assert_int_eq(life_sealed_until(&life, NOW).first, PERIOD_PAST);
    ck_assert_int_eq(life_sealed_until(&life, NOW).last, NOW);
    /* Set back between two acts: either may be right. */
    static const struct line back[] = {
        {"2025-06-01T00:00:00Z", MADE},
        {"2020-01-01T00:00:00Z", PROMOTED},
    };
    KEK_AUTO(audit_tally) other = TALLY(back);
    life.line = the_key(other);
    ck_assert_int_eq(life_begin(&life, NOW).first, at("2020-01-01T00:00:00Z"));
    ck_assert_int_eq(life_begin(&life, NOW).last, at("2025-06-01T00:00:00Z"));
}
END_TEST

START_TEST(calls_that_are_alike_are_one_row_that_counts)
{
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", CALLED("Encrypt", "OK")},
        {"2024-01-02T00:00:00Z", CALLED("Encrypt", "UNAVAILABLE")},
        {"2024-01-03T00:00:00Z", CALLED("Encrypt", "OK")},
        {"2024-01-04T00:00:00Z", CALLED("Decrypt", "OK")},
        {"2024-01-05T00:00:00Z", "\"event\":\"dropped\",\"lines\":7,\"at_most\":263" BY},
        {"2024-01-06T00:00:00Z", "\"event\":\"rejected\",\"node\":\"n\",\"peer_uid\":7"},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    json_t *uses = audit_tally_list(tally->uses);
    const json_t *row = json_array_get(uses, 0);
    ck_assert_uint_eq(json_array_size(uses), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(row, "ok")), 2);
    ck_assert_int_eq(json_integer_value(json_object_get(row, "failed")), 1);
    ck_assert_str_eq(json_string_value(json_object_get(row, "first")), "2024-01-01T00:00:00Z");
    ck_assert_str_eq(json_string_value(json_object_get(row, "last")), "2024-01-03T00:00:00Z");
    ck_assert_int_eq(json_integer_value(json_object_get(row, "peer_uid")), 0);
    ck_assert_uint_eq(json_object_size(tally->refused), 1);
    ck_assert_uint_eq(tally->dropped, 7);
    ck_assert_uint_eq(tally->dropped_at_most, 263);
    json_decref(uses);
}
END_TEST

#define OF_SPARE "00112233445566778899aabbccddeeff"
#define OF_ROOTS(method, status, rest)                                                           \
    "\"event\":\"call\",\"api\":\"v2\",\"method\":\"" method "\",\"status\":\"" status           \
    "\",\"kek_id\":\"" KEK "\",\"version\":2,\"keks\":[{\"root\":\"site\",\"version\":2,"        \
    "\"kek_id\":\"" KEK "\"},{\"root\":\"spare\",\"version\":1,\"kek_id\":\"" OF_SPARE "\"" rest \
    "}]" BY

/* What a row says of a root: its version, and how many calls went well and how many did not. */
static void check_use(const json_t *uses, const char *root, const char *method, json_int_t version,
                      json_int_t ok, json_int_t failed)
{
    size_t i, found = 0;
    const json_t *row;
    json_array_foreach(uses, i, row)
    {
        if (strcmp(json_string_value(json_object_get(row, "root")), root) == 0 &&
            strcmp(json_string_value(json_object_get(row, "method")), method) == 0) {
            ck_assert_int_eq(json_integer_value(json_object_get(row, "version")), version);
            ck_assert_int_eq(json_integer_value(json_object_get(row, "ok")), ok);
            ck_assert_int_eq(json_integer_value(json_object_get(row, "failed")), failed);
            found++;
        }
    }
    ck_assert_uint_eq(found, 1);
}

START_TEST(each_root_whose_key_a_call_used_counts)
{
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", "\"event\":\"primary\",\"kek_id\":\"" KEK
                                 "\",\"keks\":[{\"root\":\"site\",\"kek_id\":\"" KEK
                                 "\"},{\"root\":\"spare\",\"kek_id\":\"" OF_SPARE "\"}]"},
        {"2024-01-02T00:00:00Z", OF_ROOTS("Encrypt", "OK", "")},
        {"2024-01-03T00:00:00Z", OF_ROOTS("Encrypt", "OK", "")},
        {"2024-01-04T00:00:00Z", OF_ROOTS("Decrypt", "OK", ",\"opened\":false")},
        {"2024-01-05T00:00:00Z", OF_ROOTS("Decrypt", "UNAVAILABLE", ",\"opened\":false")},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    json_t *uses = audit_tally_list(tally->uses);
    ck_assert_uint_eq(json_array_size(uses), 4);
    check_use(uses, "site", "Encrypt", 2, 2, 0);
    check_use(uses, "spare", "Encrypt", 1, 2, 0);
    check_use(uses, "site", "Decrypt", 2, 1, 1);
    check_use(uses, "spare", "Decrypt", 1, 0, 2);
    struct kek_id other;
    ck_assert(kek_id_parse(OF_SPARE, &other));
    const struct audit_key *key = audit_tally_key(tally, &other);
    ck_assert_ptr_nonnull(key);
    ck_assert_int_eq(key->first_active_ms, kek_clock_parse("2024-01-01T00:00:00Z"));
    ck_assert_int_eq(key->last_active_ms, kek_clock_parse("2024-01-03T00:00:00Z"));
    ck_assert_int_eq(key->last_opened_ms, 0);
    ck_assert_int_eq(the_key(tally)->last_opened_ms, kek_clock_parse("2024-01-04T00:00:00Z"));
    json_decref(uses);
}
END_TEST

/* ---- the files of a log ---- */

static void write_file(const char *name, const char *content, size_t len)
{
    FILE *file = fopen(folder_path(name), "we");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(content, 1, len, file), len);
    ck_assert_int_eq(fclose(file), 0);
}

static void note_time(void *arg, const json_t *line)
{
    char *all = arg;
    snprintf(all + strlen(all), 256 - strlen(all), "%.4s ",
             json_string_value(json_object_get(line, "time")));
}

#define LINE(year) "{\"time\":\"" year "-01-01T00:00:00Z\",\"event\":\"start\"}\n"

#define LONG_LINE 32768 /* bytes: longer than kekd writes */

/* Every line of the log and of its older files. Returns how many there are. */
static uint64_t read_log(const char *name, char *times, struct audit_read *read)
{
    struct kek_why why;
    struct check *check = calloc(1, sizeof *check);
    ck_assert_msg(audit_read_find(folder_path(name), note_time, times, read, &why) == KEK_OK, "%s",
                  why.text);
    ck_assert(check != NULL && check_init(check, NULL, false));
    for (size_t i = 0; i < read->count; i++) {
        ck_assert(files_read(read->paths[i], check, audit_read_line, read, &why));
    }
    uint64_t lines = check->lines;
    check_done(check);
    free(check);
    ck_assert(!read->spoilt);
    return lines;
}

START_TEST(older_files_come_first_and_what_cannot_be_read_is_named)
{
    static char longest[2 * LONG_LINE];
    struct audit_read read;
    struct kek_why why;
    char times[256] = "";
    memset(longest, 'x', sizeof longest);
    longest[sizeof longest - 1] = '\n';
    folder_make();
    write_file("a.jsonl", LINE("2026") "{\"time\":\"202", strlen(LINE("2026")) + 12);
    write_file("a.jsonl.1", LINE("2025") "\0\0\n" LINE("2025"), 2 * strlen(LINE("2025")) + 3);
    write_file("a.jsonl-20240101", LINE("2024"), strlen(LINE("2024")));
    write_file("a.jsonl.2.gz", "\x1f\x8b", 2);
    write_file("a.jsonl.3", longest, sizeof longest);
    write_file("a.jsonl.old", LINE("2020"), strlen(LINE("2020")));       /* no name that logs get */
    ck_assert_int_eq(symlink("a.jsonl.1", folder_path("a.jsonl.4")), 0); /* kekd writes to none */
    uint64_t lines = read_log("a.jsonl", times, &read);
    ck_assert_str_eq(times, "2024 2025 2025 2026 ");
    ck_assert_uint_eq(read.count, 3);
    ck_assert_uint_eq(json_array_size(read.not_read), 3);
    ck_assert_uint_eq(lines, 5);
    ck_assert_uint_eq(read.whole, 4);
    audit_read_done(&read);
    ck_assert_int_eq(audit_read_find(folder_path("b.jsonl"), note_time, times, &read, &why),
                     KEK_UNAVAILABLE);
    audit_read_done(&read);
    folder_remove();
}
END_TEST

START_TEST(a_line_that_is_too_long_spoils_only_itself)
{
    static char content[2 * LONG_LINE];
    struct audit_read read;
    char times[256] = "";
    size_t len = sizeof content - strlen(LINE("2026"));
    memset(content, 'x', len);
    content[len - 1] = '\n';
    memcpy(content + len, LINE("2026"), strlen(LINE("2026")));
    folder_make();
    write_file("a.jsonl", content, sizeof content);
    ck_assert_uint_eq(read_log("a.jsonl", times, &read), 2);
    ck_assert_str_eq(times, "2026 ");
    ck_assert_uint_eq(read.whole, 1);
    audit_read_done(&read);
    folder_remove();
}
END_TEST

START_TEST(a_line_whose_keks_are_no_objects_is_damaged_and_the_rest_counts)
{
    static const char *const keks[] = {"[1]", "[{},1]", "[null]", "[[]]", "{}", "1", "null"};
    char content[1024], line[128];
    struct audit_read read;
    struct kek_why why;
    folder_make();
    for (size_t i = 0; i < sizeof keks / sizeof keks[0]; i++) {
        snprintf(line, sizeof line,
                 "{\"time\":\"2026-01-01T00:00:00Z\",\"event\":\"%s\",\"keks\":%s}\n",
                 i % 2 == 0 ? "call" : "primary", keks[i]);
        snprintf(content, sizeof content, LINE("2025") "%s" LINE("2026"), line);
        write_file("a.jsonl", content, strlen(content));
        KEK_AUTO(audit_tally) tally = audit_tally_new();
        ck_assert_ptr_nonnull(tally);
        KEK_AUTO_FREE struct check *check = calloc(1, sizeof *check);
        ck_assert(check != NULL && check_init(check, NULL, false));
        ck_assert_int_eq(
            audit_read_find(folder_path("a.jsonl"), audit_tally_line, tally, &read, &why), KEK_OK);
        ck_assert(files_read(read.paths[0], check, audit_read_line, &read, &why));
        ck_assert_msg(!tally->spoilt && !read.spoilt, "%s", keks[i]);
        ck_assert_uint_eq(check->lines, 3);
        ck_assert_uint_eq(read.whole, 2);
        ck_assert_uint_eq(tally->starts, 2);
        ck_assert_str_eq(tally->last, "2026-01-01T00:00:00Z");
        ck_assert_uint_eq(json_object_size(tally->uses), 0);
        check_done(check);
        audit_read_done(&read);
    }
    folder_remove();
}
END_TEST

START_TEST(lines_about_the_log_itself_are_no_use_of_a_key)
{
    static const struct line lines[] = {
        {"2026-01-01T00:00:00Z",
         "\"event\":\"mac\",\"outcome\":\"ok\",\"provider\":\"a\",\"mac_key\":\"" KEK
         "\",\"kek_id\":\"" KEK "\",\"covers\":1,\"mac\":\"00\"" BY},
        {"2026-01-02T00:00:00Z",
         "\"event\":\"torn\",\"bytes\":3,\"sha256\":\"" KEK "\",\"kek_id\":\"" KEK "\"" BY},
        {"2026-01-03T00:00:00Z", "\"event\":\"broken\",\"error\":\"x\",\"kek_id\":\"" KEK "\"" BY},
        {"2026-01-04T00:00:00Z",
         "\"event\":\"audit-key\",\"outcome\":\"ok\",\"provider\":\"a\",\"mac_key\":\"" KEK
         "\"" BY},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    ck_assert_uint_eq(tally->key_count, 0);
    ck_assert_uint_eq(json_object_size(tally->uses), 0);
    ck_assert_uint_eq(json_array_size(tally->acts), 1); /* who made the key of the log */
    ck_assert_str_eq(tally->last, "2026-01-04T00:00:00Z");
}
END_TEST

/* A log that somebody else wrote is no reason for a report that is not made. */
START_TEST(names_that_are_cut_within_a_character_are_names)
{
#define XS "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
    static const struct line lines[] = {
        {"2024-01-01T00:00:00Z", "\"event\":\"rejected\",\"node\":\"" XS XS XS "\u00e9\""},
        {"2024-01-02T00:00:00Z",
         "\"event\":\"version\",\"kek_id\":\"" KEK "\",\"state\":\"active\",\"provider\":\"" XS
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\u00e9\""},
    };
    KEK_AUTO(audit_tally) tally = TALLY(lines);
    ck_assert_uint_eq(json_object_size(tally->refused), 1);
    ck_assert_uint_eq(json_object_size(tally->seen), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("report");
    TCase *dates = tcase_create("dates"), *log = tcase_create("log");
    tcase_add_test(dates, years_are_calendar_years);
    tcase_add_test(dates, a_verdict_holds_for_every_date_that_may_be_meant);
    tcase_add_test(dates, what_kekctl_did_is_known_to_the_moment);
    tcase_add_test(dates, what_was_only_seen_was_so_by_then);
    tcase_add_test(dates, a_promotion_before_which_the_log_has_nothing_may_not_be_the_first);
    tcase_add_test(dates, a_version_that_seals_again_has_not_ceased);
    tcase_add_test(dates, without_a_log_the_record_alone_counts);
    tcase_add_test(dates, a_version_has_not_begun_only_where_all_say_so);
    tcase_add_test(dates, a_version_seals_until_its_last_provider_lets_it);
    tcase_add_test(dates, where_lines_are_missing_nothing_is_the_first_or_the_last);
    tcase_add_test(dates, a_clock_that_was_wrong_dates_nothing);
    tcase_add_test(log, calls_that_are_alike_are_one_row_that_counts);
    tcase_add_test(log, each_root_whose_key_a_call_used_counts);
    tcase_add_test(log, older_files_come_first_and_what_cannot_be_read_is_named);
    tcase_add_test(log, a_line_that_is_too_long_spoils_only_itself);
    tcase_add_test(log, a_line_whose_keks_are_no_objects_is_damaged_and_the_rest_counts);
    tcase_add_test(log, lines_about_the_log_itself_are_no_use_of_a_key);
    tcase_add_test(log, names_that_are_cut_within_a_character_are_names);
    suite_add_tcase(suite, dates);
    suite_add_tcase(suite, log);
    return suite_run(suite);
}
