#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "range.h"
#include "stream.h"

struct reading {
    struct kek_etcd *etcd;
    struct kek_etcd_read *read;
    struct client_patience patience;
    struct stream stream;
    struct range range;
    uint64_t bytes;   /* of the page */
    enum kek_rc ours; /* why we ended the page; KEK_OK: we did not */
};

/* ---- counting ---- */

/* One answer to a range that only counts, of `revision` (0: the newest, by way of the leader). */
static enum rpc_end count_at(struct kek_etcd *etcd, const struct message_range *range,
                             struct message_count *count, struct kek_why *why)
{
    if (message_put_range(&etcd->request, range, why) != KEK_OK) {
        return RPC_FAILED;
    }
    struct rpc rpc = {.path = RPC_RANGE,
                      .request = kek_buf_bytes(&etcd->request),
                      .needs_leader = !range->serializable};
    enum rpc_end end = client_try(etcd, &rpc, why);
    if (end == RPC_GOOD && !message_get_count(kek_buf_bytes(&rpc.call.body), count)) {
        kek_fail(why, KEK_DAMAGED, "%s: the answer to a range is malformed", rpc.endpoint);
        end = RPC_FAILED;
    }
    if (end == RPC_GOOD && client_check_cluster(etcd, &count->header, why) != KEK_OK) {
        end = RPC_FAILED;
    }
    rpc_done(&rpc);
    return end;
}

/* The oldest revision that can still be read, which the answer does not tell; 0: it cannot be found. */
static int64_t oldest(struct reading *reading)
{
    struct message_range one = {
        .key = kek_buf_bytes(&reading->range.start), .count_only = true, .serializable = true};
    struct message_count count;
    struct kek_why why;
    if (count_at(reading->etcd, &one, &count, &why) != RPC_GOOD) {
        return 0;
    }
    int64_t bad = reading->read->revision, good = count.header.revision;
    while (good - bad > 1) {
        one.revision = bad + (good - bad) / 2;
        enum rpc_end end = count_at(reading->etcd, &one, &count, &why);
        if (end != RPC_GOOD && end != RPC_COMPACTED) {
            return 0;
        }
        *(end == RPC_GOOD ? &good : &bad) = one.revision;
    }
    return good;
}

/* ---- how it failed ---- */

static enum kek_rc say_compacted(struct reading *reading, struct kek_why *why)
{
    struct kek_etcd_read *read = reading->read;
    char at[48] = "";
    read->compacted_at = oldest(reading);
    if (read->compacted_at != 0) {
        snprintf(at, sizeof at, ", by a compaction at %" PRId64, read->compacted_at);
    }
    return kek_fail(why, KEK_PRECONDITION,
                    "revision %" PRId64 " is gone%s, after %" PRId64
                    " of its %s: begin anew (API servers have etcd compacted every 5 minutes: "
                    "--etcd-compaction-interval)",
                    read->revision, at, read->taken,
                    kek_counted((uint64_t)read->total, "key").text);
}

static enum kek_rc say_denied(const struct reading *reading, struct kek_why *why)
{
    char from[STREAM_KEY_TEXT], to[STREAM_KEY_TEXT];
    struct kek_buf end;
    const struct kek_etcd_settings *settings = &reading->etcd->settings;
    kek_buf_init(&end, KEK_ETCD_KEY_MAX + 1);
    enum kek_rc rc = range_prefix_end(reading->read->prefix, &end, why);
    if (rc == KEK_OK) {
        stream_key_text(reading->read->prefix, from);
        stream_key_text(kek_buf_bytes(&end), to);
        rc = kek_fail_within(why, KEK_DENIED, "%s%s may not read the keys from \"%s\" to \"%s\"",
                             settings->user == NULL ? "the certificate's CN" : "user ",
                             settings->user == NULL ? "" : settings->user, from, to);
    }
    kek_buf_done(&end);
    return rc;
}

static enum kek_rc say(struct reading *reading, enum rpc_end end, struct kek_why *why)
{
    if (end == RPC_COMPACTED) {
        return say_compacted(reading, why);
    }
    bool denied = reading->ours == KEK_OK && why->rc == KEK_DENIED &&
                  strstr(why->text, "permission denied") != NULL;
    return denied ? say_denied(reading, why) : why->rc;
}

/* ---- a page ---- */

static enum kek_rc on_header(void *arg, const struct message_header *header, struct kek_why *why)
{
    struct reading *reading = arg;
    return client_check_cluster(reading->etcd, header, why);
}

static enum kek_rc on_pair(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    struct reading *reading = arg;
    enum kek_rc rc = range_key(&reading->range, pair->key, why);
    if (rc == KEK_OK && reading->read->taken >= reading->read->total) {
        rc = kek_fail(why, KEK_DAMAGED,
                      "more keys came than the %" PRId64 " that revision %" PRId64 " has",
                      reading->read->total, reading->read->revision);
    }
    if (rc == KEK_OK && pair->mod_revision > reading->read->revision) {
        char text[STREAM_KEY_TEXT];
        stream_key_text(pair->key, text);
        rc = kek_fail(why, KEK_DAMAGED,
                      "key %s came as of revision %" PRId64 ", where revision %" PRId64
                      " was asked for: it is no etcd that answers so",
                      text, pair->mod_revision, reading->read->revision);
    }
    if (rc == KEK_OK) {
        rc = reading->read->take(reading->read->arg, pair, why);
    }
    if (rc == KEK_OK) {
        reading->read->taken++;
        reading->bytes += pair->key.len + pair->value.len;
        reading->patience = client_patience();
    }
    return rc;
}

static enum kek_rc on_piece(void *arg, struct kek_bytes piece, struct kek_why *why)
{
    struct reading *reading = arg;
    reading->ours = stream_take(&reading->stream, piece, why);
    return reading->ours;
}

static enum rpc_end page(struct reading *reading, struct kek_why *why)
{
    struct kek_etcd *etcd = reading->etcd;
    const struct message_range range = {.key = kek_buf_bytes(&reading->range.start),
                                        .end = kek_buf_bytes(&reading->range.end),
                                        .limit = reading->range.limit,
                                        .revision = reading->read->revision,
                                        .serializable = true,
                                        .keys_only = reading->read->keys_only};
    stream_reset(&reading->stream);
    reading->bytes = 0;
    reading->ours = KEK_OK;
    if (message_put_range(&etcd->request, &range, why) != KEK_OK) {
        return RPC_FAILED;
    }
    struct rpc rpc = {.path = RPC_RANGE,
                      .request = kek_buf_bytes(&etcd->request),
                      .take = on_piece,
                      .arg = reading};
    enum rpc_end end = client_try(etcd, &rpc, why);
    rpc_done(&rpc);
    if (end == RPC_GOOD && stream_end(&reading->stream, why) != KEK_OK) {
        end = RPC_FAILED;
    }
    return reading->ours == KEK_OK ? end : RPC_FAILED;
}

/* ---- the whole of it ---- */

/* Pins the revision, and has the number of its keys. */
static enum kek_rc begin(struct reading *reading, struct kek_why *why)
{
    struct kek_etcd_read *read = reading->read;
    struct message_count count;
    enum rpc_end end;
    do {
        const struct message_range all = {.key = kek_buf_bytes(&reading->range.start),
                                          .end = kek_buf_bytes(&reading->range.end),
                                          .revision = read->revision,
                                          .count_only = true};
        end = count_at(reading->etcd, &all, &count, why);
    } while (end == RPC_ELSEWHERE && client_again(reading->etcd, &reading->patience, why));
    if (end != RPC_GOOD) {
        return say(reading, end, why);
    }
    if (read->revision == 0 && count.header.revision < 1) {
        return kek_fail(why, KEK_DAMAGED, "%s: its answer says no revision",
                        reading->etcd->members[reading->etcd->current].endpoint);
    }
    read->revision = read->revision == 0 ? count.header.revision : read->revision;
    read->total = count.count;
    return KEK_OK;
}

static enum kek_rc go_on(struct reading *reading, struct kek_why *why)
{
    bool over = false;
    while (!over) {
        enum rpc_end end = page(reading, why);
        enum kek_rc rc = KEK_OK;
        if (end == RPC_GOOD) {
            const struct range_page answer = {.pairs = reading->stream.pairs,
                                              .bytes = reading->bytes,
                                              .more = reading->stream.more,
                                              .count = reading->stream.count};
            reading->patience = client_patience();
            rc = range_next(&reading->range, &answer, &over, why);
        } else if (end == RPC_ELSEWHERE && client_again(reading->etcd, &reading->patience, why)) {
            rc = range_retry(&reading->range, why);
        } else {
            rc = say(reading, end, why);
        }
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

/* Each key at that revision exists once, whatever was written since. */
static enum kek_rc check_total(const struct kek_etcd_read *read, struct kek_why *why)
{
    if (read->taken == read->total) {
        return KEK_OK;
    }
    return kek_fail(why, KEK_DAMAGED,
                    "%" PRId64 " keys came of the %" PRId64 " that revision %" PRId64
                    " has: do all members hold the same?",
                    read->taken, read->total, read->revision);
}

enum kek_rc kek_etcd_read(struct kek_etcd *etcd, struct kek_etcd_read *read, struct kek_why *why)
{
    KEK_UNFILLED struct kek_why mine;
    why = why == NULL ? &mine : why;
    struct reading reading = {.etcd = etcd, .read = read, .patience = client_patience()};
    const struct stream_to to = {.header = on_header, .pair = on_pair, .arg = &reading};
    read->total = read->taken = read->compacted_at = 0;
    stream_init(&reading.stream, &to);
    enum kek_rc rc = range_init(&reading.range, read->prefix, why);
    if (rc == KEK_OK) {
        rc = begin(&reading, why);
    }
    if (rc == KEK_OK && read->take != NULL) {
        rc = go_on(&reading, why);
        rc = rc != KEK_OK ? rc : check_total(read, why);
    }
    range_done(&reading.range);
    stream_done(&reading.stream);
    return rc == KEK_OK ? KEK_OK : client_fail(etcd, why);
}
