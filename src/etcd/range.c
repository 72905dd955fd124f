#include "range.h"

#include <string.h>

#include "stream.h"

#define NEAR 2 /* pages: an end that is nearer than this is drawn further away */
#define FAR 16 /* pages: an end that is further than this is drawn nearer */
#define GROWTH 4

static const uint8_t zero[1];

enum kek_rc range_prefix_end(struct kek_bytes prefix, struct kek_buf *end, struct kek_why *why)
{
    size_t len = prefix.len;
    kek_buf_reset(end);
    while (len > 0 && prefix.data[len - 1] == 0xff) {
        len--;
    }
    if (len == 0) {
        return kek_buf_append(end, kek_bytes(zero, 1), why);
    }
    enum kek_rc rc = kek_buf_append(end, kek_bytes(prefix.data, len), why);
    if (rc == KEK_OK) {
        end->data[len - 1]++;
    }
    return rc;
}

enum kek_rc range_init(struct range *range, struct kek_bytes prefix, struct kek_why *why)
{
    *range = (struct range){.prefix = prefix, .limit = RANGE_PAGE_FIRST};
    kek_buf_init(&range->start, KEK_ETCD_KEY_MAX + 1);
    kek_buf_init(&range->end, KEK_ETCD_KEY_MAX + 1);
    kek_buf_init(&range->last, KEK_ETCD_KEY_MAX);
    struct kek_bytes first = prefix.len == 0 ? kek_bytes(zero, 1) : prefix;
    enum kek_rc rc = kek_buf_append(&range->start, first, why);
    return rc != KEK_OK ? rc : range_prefix_end(prefix, &range->end, why);
}

void range_done(struct range *range)
{
    kek_buf_done(&range->start);
    kek_buf_done(&range->end);
    kek_buf_done(&range->last);
}

static int compare(struct kek_bytes a, struct kek_bytes b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len == 0 ? 0 : memcmp(a.data, b.data, len);
    return order != 0 ? order : (a.len > b.len) - (a.len < b.len);
}

enum kek_rc range_key(struct range *range, struct kek_bytes key, struct kek_why *why)
{
    char text[STREAM_KEY_TEXT];
    bool endless = range->end.len == 1 && range->end.data[0] == '\0';
    if (compare(key, kek_buf_bytes(&range->start)) < 0 ||
        (range->last.len > 0 && compare(key, kek_buf_bytes(&range->last)) <= 0) ||
        (!endless && compare(key, kek_buf_bytes(&range->end)) >= 0)) {
        stream_key_text(key, text);
        return kek_fail(why, KEK_DAMAGED, "key %s came, which was not asked for, or again", text);
    }
    kek_buf_reset(&range->last);
    return kek_buf_append(&range->last, key, why);
}

/* ---- the end of a request ---- */

/* Past all keys that have the first `depth` bytes of `key` and no larger byte behind them; where that is no end
 * within the prefix, its own. */
static enum kek_rc set_end(struct range *range, struct kek_bytes key, struct kek_why *why)
{
    size_t at = range->depth < key.len ? range->depth : key.len - 1;
    while (range->narrow && at > range->prefix.len && key.data[at] == 0xff) {
        at--;
    }
    if (!range->narrow || at < range->prefix.len || key.data[at] == 0xff) {
        range->narrow = false;
        return range_prefix_end(range->prefix, &range->end, why);
    }
    range->depth = at;
    kek_buf_reset(&range->end);
    enum kek_rc rc = kek_buf_append(&range->end, kek_bytes(key.data, at + 1), why);
    if (rc == KEK_OK) {
        range->end.data[at]++;
    }
    return rc;
}

static enum kek_rc start_behind_last(struct range *range, struct kek_why *why)
{
    kek_buf_reset(&range->start);
    enum kek_rc rc = kek_buf_append(&range->start, kek_buf_bytes(&range->last), why);
    return rc != KEK_OK ? rc : kek_buf_append(&range->start, kek_bytes(zero, 1), why);
}

static enum kek_rc start_at_end(struct range *range, int64_t count, struct kek_why *why)
{
    kek_buf_reset(&range->start);
    enum kek_rc rc = kek_buf_append(&range->start, kek_buf_bytes(&range->end), why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (count < NEAR * range->limit) {
        range->narrow = range->depth > range->prefix.len;
        range->depth -= range->narrow;
    }
    return set_end(range, kek_buf_bytes(&range->start), why);
}

/* ---- from page to page ---- */

static void set_limit(struct range *range, const struct range_page *page)
{
    if (page->pairs == 0) {
        return;
    }
    uint64_t mean = page->bytes / page->pairs + 1;
    int64_t limit = (int64_t)(RANGE_PAGE_BYTES / mean);
    limit = limit < range->limit * GROWTH ? limit : range->limit * GROWTH;
    limit = limit < RANGE_PAGE_MAX ? limit : RANGE_PAGE_MAX;
    range->limit = limit > RANGE_PAGE_MIN ? limit : RANGE_PAGE_MIN;
}

enum kek_rc range_next(struct range *range, const struct range_page *page, bool *over,
                       struct kek_why *why)
{
    set_limit(range, page);
    *over = !page->more && !range->narrow;
    if (*over) {
        return KEK_OK;
    }
    if (!page->more) {
        return start_at_end(range, page->count, why);
    }
    if (page->pairs == 0) {
        return kek_fail(why, KEK_DAMAGED, "there are more keys, but none came");
    }
    enum kek_rc rc = start_behind_last(range, why);
    if (rc != KEK_OK || page->count - (int64_t)page->pairs <= FAR * range->limit) {
        return rc;
    }
    range->depth = range->narrow ? range->depth + 1 : range->last.len - 1;
    range->narrow = true;
    return set_end(range, kek_buf_bytes(&range->last), why);
}

enum kek_rc range_retry(struct range *range, struct kek_why *why)
{
    range->limit = range->limit / GROWTH > RANGE_PAGE_MIN ? range->limit / GROWTH : RANGE_PAGE_MIN;
    bool behind = range->last.len > 0 &&
                  compare(kek_buf_bytes(&range->last), kek_buf_bytes(&range->start)) >= 0;
    return behind ? start_behind_last(range, why) : KEK_OK;
}
