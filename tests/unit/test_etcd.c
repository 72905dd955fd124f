/* The pure parts of reading an etcd: the answer in pieces, where pages begin and end, and what is asked. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "etcd/range.h"
#include "etcd/stream.h"

/* ---- an answer ---- */

static struct kek_buf answer;
static char seen[512];

static void put(const void *bytes, size_t len)
{
    ck_assert_int_eq(kek_buf_append(&answer, kek_bytes(bytes, len), NULL), KEK_OK);
}

/* The message, in its frame. */
static void frame(const void *message, size_t len)
{
    const uint8_t head[] = {0, 0, 0, (uint8_t)(len >> 8), (uint8_t)len};
    kek_buf_reset(&answer);
    put(head, sizeof head);
    put(message, len);
}

/* Cluster 5, member 6, revision 7; pairs a=12 (revision 3), b= (revision 300); more; 9 in all. */
static const char message[] = "\x0a\x06\x08\x05\x10\x06\x18\x07"
                              "\x12\x0d\x0a\x01"
                              "a\x10\x03\x18\x03\x20\x01\x2a\x02"
                              "12"
                              "\x12\x06\x0a\x01"
                              "b\x18\xac\x02"
                              "\x18\x01\x20\x09";

static enum kek_rc on_header(void *arg, const struct message_header *header, struct kek_why *why)
{
    (void)arg;
    (void)why;
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%d/%d/%d ", (int)header->cluster_id,
             (int)header->member_id, (int)header->revision);
    return KEK_OK;
}

static enum kek_rc on_pair(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    const enum kek_rc *rc = arg;
    snprintf(seen + strlen(seen), sizeof seen - strlen(seen), "%.*s=%.*s@%d ", (int)pair->key.len,
             (const char *)pair->key.data, (int)pair->value.len, (const char *)pair->value.data,
             (int)pair->mod_revision);
    return *rc == KEK_OK ? KEK_OK : kek_fail(why, *rc, "not that");
}

static enum kek_rc feed(struct stream *stream, size_t step, struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    seen[0] = '\0';
    stream_reset(stream);
    for (size_t at = 0; rc == KEK_OK && at < answer.len; at += step) {
        size_t len = answer.len - at < step ? answer.len - at : step;
        rc = stream_take(stream, kek_bytes(answer.data + at, len), why);
    }
    return rc != KEK_OK ? rc : stream_end(stream, why);
}

static struct stream stream;
static enum kek_rc taker;

static void setup(void)
{
    const struct stream_to to = {.header = on_header, .pair = on_pair, .arg = &taker};
    taker = KEK_OK;
    kek_buf_init(&answer, 1 << 20);
    stream_init(&stream, &to);
}

static void teardown(void)
{
    stream_done(&stream);
    kek_buf_done(&answer);
}

START_TEST(answer_is_the_same_in_pieces_of_any_size)
{
    struct kek_why why = {.text = ""};
    frame(message, sizeof message - 1);
    for (size_t step = 1; step <= answer.len; step++) {
        ck_assert_msg(feed(&stream, step, &why) == KEK_OK, "%s", why.text);
        ck_assert_str_eq(seen, "5/6/7 a=12@3 b=@300 ");
        ck_assert(stream.more && stream.count == 9 && stream.pairs == 2);
    }
}
END_TEST

/* A whole pair was handed over, the rest is asked for again. */
START_TEST(answer_that_is_cut_is_not_whole)
{
    struct kek_why why = {.text = ""};
    frame(message, sizeof message - 1);
    size_t whole = answer.len;
    for (size_t len = 0; len < whole; len++) {
        answer.len = len;
        ck_assert_int_eq(feed(&stream, 7, &why), KEK_DAMAGED);
        ck_assert_ptr_nonnull(strstr(why.text, "it ends in the middle"));
    }
    answer.len = whole;
}
END_TEST

START_TEST(answer_that_is_malformed_is_refused)
{
    static const struct {
        const char *bytes;
        size_t len;
        enum kek_rc rc;
        const char *words;
    } wrong[] = {
#define ROW(text, rc, words) {text, sizeof(text) - 1, rc, words}
        ROW("\x12\x06\x0a\x01"
            "b\x18\xac\x02",
            KEK_DAMAGED, "a pair before the header"),
        ROW("\x0a\x02\x10\x06", KEK_DAMAGED, "a header that says no cluster"),
        ROW("\x20\x09", KEK_DAMAGED, "it has no header"),
        ROW("\x0a\x7f\x08\x05", KEK_DAMAGED, "a length past its end"),
        ROW("\x0a\x02\x08\x05\x12\x03\x0a\x05z", KEK_DAMAGED, "a length past its end"),
        ROW("\x0a\x02\x08\x05\x12\x02\x18\xff\x20\x01", KEK_DAMAGED, "a number past its end"),
        ROW("\x0a\x02\x08\x05\x20\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", KEK_DAMAGED,
            "a number without an end"),
        ROW("\x0a\x02\x08\x05\x12\x03\x0a\x01z", KEK_DAMAGED, "a pair without key or revision"),
        ROW("\x0a\x02\x08\x05\x12\x00", KEK_DAMAGED, "a pair without key or revision"),
        ROW("\x0b", KEK_DAMAGED, "no type of a field"),
        ROW("\x02", KEK_DAMAGED, "no field"),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kek_why why = {.text = ""};
        frame(wrong[i].bytes, wrong[i].len);
        ck_assert_int_eq(feed(&stream, 1, &why), wrong[i].rc);
        ck_assert_msg(strstr(why.text, wrong[i].words) != NULL, "%zu: %s", i, why.text);
    }
    struct kek_why why = {.text = ""};
    frame(message, sizeof message - 1);
    put("x", 1);
    ck_assert_int_eq(feed(&stream, 1, &why), KEK_DAMAGED);
    ck_assert_ptr_nonnull(strstr(why.text, "more after the end"));
    answer.data[0] = 1;
    ck_assert_int_eq(feed(&stream, 1, &why), KEK_DAMAGED);
    ck_assert_ptr_nonnull(strstr(why.text, "a compressed message"));
}
END_TEST

/* Of a value that says it has 16 MiB and one byte nothing is kept. */
START_TEST(value_past_its_maximum_is_named)
{
    static const uint8_t head[] = {0,    2,    0,    0,    0,    0x0a, 2,    8,   5,   0x12,
                                   0x80, 0x80, 0x80, 0x0f, 0x0a, 5,    'a',  '/', 'b', 0,
                                   'c',  0x18, 3,    0x2a, 0x81, 0x80, 0x80, 8};
    struct kek_why why = {.text = ""};
    put(head, sizeof head);
    ck_assert_int_eq(feed(&stream, 5, &why), KEK_TOO_LARGE);
    ck_assert_str_eq(why.text, "key a/b?c: a value of 16777217 bytes: at most 16777216 are read");
    ck_assert_uint_eq(stream.value.cap, 0);
}
END_TEST

START_TEST(what_the_taker_says_ends_it)
{
    struct kek_why why = {.text = ""};
    taker = KEK_CANCELLED;
    frame(message, sizeof message - 1);
    ck_assert_int_eq(feed(&stream, 1000, &why), KEK_CANCELLED);
    ck_assert_str_eq(why.text, "not that");
    ck_assert_str_eq(seen, "5/6/7 a=12@3 ");
}
END_TEST

/* ---- pages ---- */

#define KEYS 40000
#define NAMESPACES 800

static void key_of(size_t i, char out[64])
{
    snprintf(out, 64, "/registry/%s/ns-%03zu/n-%05zu", i < KEYS / 2 ? "pods" : "secrets",
             i * NAMESPACES / KEYS, i);
}

/* The first of the keys that is not before `key`. */
static size_t find(struct kek_bytes key)
{
    size_t low = 0, high = KEYS;
    while (low < high) {
        char text[64];
        size_t middle = (low + high) / 2;
        key_of(middle, text);
        size_t len = strlen(text) < key.len ? strlen(text) : key.len;
        int order = memcmp(text, key.data, len);
        bool before = order != 0 ? order < 0 : strlen(text) < key.len;
        low = before ? middle + 1 : low;
        high = before ? high : middle;
    }
    return low;
}

static void read_all(const char *prefix, size_t each, size_t lost_every, size_t *walked,
                     size_t *pages, size_t *got)
{
    struct range range;
    bool over = false;
    ck_assert_int_eq(range_init(&range, kek_bytes_of(prefix), NULL), KEK_OK);
    *walked = *pages = *got = 0;
    while (!over) {
        bool endless = range.end.len == 1 && range.end.data[0] == '\0';
        size_t from = find(kek_buf_bytes(&range.start));
        size_t to = endless ? KEYS : find(kek_buf_bytes(&range.end));
        size_t limit = (size_t)range.limit, n = to - from < limit ? to - from : limit;
        bool lost = lost_every != 0 && ++*pages % lost_every == 0;
        *pages += lost_every == 0;
        *walked += to - from;
        n = lost ? n / 2 : n;
        for (size_t i = from; i < from + n; i++, ++*got) {
            char key[64];
            key_of(i, key);
            ck_assert_int_eq(range_key(&range, kek_bytes_of(key), NULL), KEK_OK);
        }
        const struct range_page page = {
            .pairs = n, .bytes = n * each, .more = to - from > n, .count = (int64_t)(to - from)};
        ck_assert_int_eq(lost ? range_retry(&range, NULL) : range_next(&range, &page, &over, NULL),
                         KEK_OK);
        ck_assert_uint_lt(*pages, 4000);
    }
    range_done(&range);
}

START_TEST(pages_have_every_key_once)
{
    static const struct {
        const char *prefix;
        size_t keys;
    } cases[] = {{"/registry/", KEYS},
                 {"", KEYS},
                 {"/registry/secrets/", KEYS / 2},
                 {"/registry/pods/ns-007/", KEYS / NAMESPACES},
                 {"/nothing/", 0},
                 {"\xff\xff", 0}};
    size_t walked, pages, got;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        for (size_t lost = 0; lost < 4; lost += 3) {
            read_all(cases[i].prefix, 500, lost, &walked, &pages, &got);
            ck_assert_uint_eq(got, cases[i].keys);
        }
    }
}
END_TEST

/* How many keys etcd walks past is no square of how many there are. */
START_TEST(pages_end_near)
{
    size_t walked, pages, got;
    read_all("/registry/", 10000, 0, &walked, &pages, &got); /* 104 a page */
    ck_assert_uint_eq(got, KEYS);
    ck_assert_uint_lt(walked, 20 * (size_t)KEYS);
    ck_assert_uint_lt(pages, 2 * KEYS / 104);
}
END_TEST

START_TEST(page_grows_and_shrinks_with_what_keys_hold)
{
    struct range range;
    struct range_page page = {.pairs = 250, .bytes = 250 * 100, .more = true, .count = 300};
    bool over;
    ck_assert_int_eq(range_init(&range, kek_bytes_of("a"), NULL), KEK_OK);
    ck_assert_int_eq(range_key(&range, kek_bytes_of("ab"), NULL), KEK_OK);
    ck_assert_int_eq(range_next(&range, &page, &over, NULL), KEK_OK);
    ck_assert_int_eq(range.limit, 1000);
    ck_assert_int_eq(range_next(&range, &page, &over, NULL), KEK_OK);
    ck_assert_int_eq(range.limit, RANGE_PAGE_MAX);
    page.bytes = 250 * (UINT64_C(1) << 20);
    ck_assert_int_eq(range_next(&range, &page, &over, NULL), KEK_OK);
    ck_assert_int_eq(range.limit, RANGE_PAGE_MIN);
    ck_assert_int_eq(range_retry(&range, NULL), KEK_OK);
    ck_assert_int_eq(range.limit, RANGE_PAGE_MIN);
    range_done(&range);
}
END_TEST

START_TEST(key_that_was_not_asked_for_is_refused)
{
    static const char *const wrong[] = {"/a", "/b/1", "/b/0", "/c", "/b"};
    struct range range;
    struct kek_why why;
    bool over;
    struct range_page page = {.more = true};
    ck_assert_int_eq(range_init(&range, kek_bytes_of("/b/"), NULL), KEK_OK);
    ck_assert_int_eq(range_next(&range, &page, &over, &why), KEK_DAMAGED);
    ck_assert_int_eq(range_key(&range, kek_bytes_of("/b/1"), NULL), KEK_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_int_eq(range_key(&range, kek_bytes_of(wrong[i]), &why), KEK_DAMAGED);
    }
    range_done(&range);
}
END_TEST

/* ---- what is asked ---- */

START_TEST(range_is_asked_as_protobuf_has_it)
{
    static const uint8_t expected[] = {0, 0,    0,    0, 18,   0x0a, 1,    'a', 0x12, 1, 'b', 0x18,
                                       5, 0x20, 0xac, 2, 0x38, 1,    0x40, 1,   0x48, 1, 0};
    const struct message_range range = {.key = kek_bytes_of("a"),
                                        .end = kek_bytes_of("b"),
                                        .limit = 5,
                                        .revision = 300,
                                        .serializable = true,
                                        .keys_only = true,
                                        .count_only = true};
    ck_assert_int_eq(message_put_range(&answer, &range, NULL), KEK_OK);
    ck_assert_uint_eq(answer.data[4], answer.len - 5);
    ck_assert_int_eq(memcmp(answer.data + 5, expected + 5, answer.len - 5), 0);
    ck_assert_uint_eq(answer.len, 22);
    struct kek_buf small;
    for (size_t max = 0; max < 22; max++) {
        kek_buf_init(&small, max);
        ck_assert_int_eq(message_put_range(&small, &range, NULL), KEK_TOO_LARGE);
        kek_buf_done(&small);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("etcd");
    TCase *tcase = tcase_create("etcd");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, answer_is_the_same_in_pieces_of_any_size);
    tcase_add_test(tcase, answer_that_is_cut_is_not_whole);
    tcase_add_test(tcase, answer_that_is_malformed_is_refused);
    tcase_add_test(tcase, value_past_its_maximum_is_named);
    tcase_add_test(tcase, what_the_taker_says_ends_it);
    tcase_add_test(tcase, pages_have_every_key_once);
    tcase_add_test(tcase, pages_end_near);
    tcase_add_test(tcase, page_grows_and_shrinks_with_what_keys_hold);
    tcase_add_test(tcase, key_that_was_not_asked_for_is_refused);
    tcase_add_test(tcase, range_is_asked_as_protobuf_has_it);
    return suite_run(suite);
}
