/* One etcd, read: once to count at one revision, and for --verify once more. */
#include "inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/secret.h"
#include "kek/text.h"

#define STEP 512 /* objects between two looks at the clock */
#define SHOWN_EVERY_MS 500
#define VERIFY_RESTARTS_MAX 100
#define ARENA (256u * 1024)

/* The line that moves, on a terminal alone. */
struct progress {
    bool on, shown;
    const struct ctl *ctl;
    const char *name, *doing;
    const struct kek_etcd_read *read;
    uint64_t begun_ms, next_ms;
    unsigned skipped; /* objects since the last look at the clock */
};

static void progress_begin(struct progress *progress, const struct ctl *ctl, const char *name,
                           const char *doing, const struct kek_etcd_read *read)
{
    uint64_t now = kek_clock_ms();
    *progress = (struct progress){.on = isatty(STDERR_FILENO) == 1,
                                  .ctl = ctl,
                                  .name = name,
                                  .doing = doing,
                                  .read = read,
                                  .begun_ms = now,
                                  .next_ms = now + SHOWN_EVERY_MS};
}

static void progress_step(struct progress *progress)
{
    if (!progress->on || ++progress->skipped < STEP) {
        return;
    }
    uint64_t now = kek_clock_ms();
    progress->skipped = 0;
    if (now < progress->next_ms) {
        return;
    }
    progress->next_ms = now + SHOWN_EVERY_MS;
    progress->shown = true;
    int64_t taken = progress->read->taken, total = progress->read->total;
    fprintf(stderr, "\r\033[K%s: %s %" PRId64 " of %s, %" PRIu64 " a second", progress->name,
            progress->doing, taken, kek_counted((uint64_t)total, "object").text,
            (uint64_t)taken * 1000 / (now - progress->begun_ms));
}

static void progress_end(struct progress *progress)
{
    if (progress->shown) {
        fprintf(stderr, "\r\033[K");
    }
}

/* Counting. */

struct counting {
    struct tally *tally;
    struct progress progress;
};

static enum kek_rc count(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    struct counting *counting = arg;
    progress_step(&counting->progress);
    return tally_take(counting->tally, pair->key, pair->value, why);
}

/* The prefix with the "/" that ends it. */
struct range {
    char text[260];
};

static struct kek_bytes range_of(const struct inventory_etcd *etcd, struct range *range)
{
    size_t len = strlen(etcd->prefix);
    bool ends = len > 0 && etcd->prefix[len - 1] == '/';
    snprintf(range->text, sizeof range->text, "%s%s", etcd->prefix, ends ? "" : "/");
    return kek_bytes_of(range->text);
}

static enum kek_rc count_once(const struct inventory *inventory, struct inventory_etcd *etcd,
                              struct kek_etcd *client)
{
    struct range range;
    struct counting counting;
    struct kek_etcd_read read = {.prefix = range_of(etcd, &range), .take = count, .arg = &counting};
    tally_free(etcd->tally);
    etcd->tally =
        tally_new(kek_bytes_of(etcd->prefix), etcd->contexts, etcd->context_count, etcd->own_count);
    if (etcd->tally == NULL) {
        return kek_fail(&etcd->why, KEK_NO_MEMORY, "%s: no memory to count", etcd->settings.name);
    }
    counting.tally = etcd->tally;
    etcd->tally->file = inventory->file;
    etcd->tally->rules = inventory_keks_rules(&inventory->keks);
    progress_begin(&counting.progress, inventory->ctl, etcd->settings.name, "read", &read);
    moment_now(&etcd->begun);
    enum kek_rc rc = kek_etcd_read(client, &read, &etcd->why);
    moment_now(&etcd->ended);
    if (etcd->ended.wall_ms < etcd->begun.wall_ms) {
        etcd->ended.wall_ms = etcd->begun.wall_ms;
    }
    etcd->revision = read.revision;
    progress_end(&counting.progress);
    return rc;
}

/* The API servers compact every five minutes; a read that met that begins anew, and has five of its own. */
static bool count_all(const struct inventory *inventory, struct inventory_etcd *etcd,
                      struct kek_etcd *client)
{
    enum kek_rc rc = count_once(inventory, etcd, client);
    if (rc == KEK_PRECONDITION) {
        etcd->restarts++;
        ctl_say(inventory->ctl, "%s; reading all of it anew at a newer revision", etcd->why.text);
        rc = count_once(inventory, etcd, client);
    }
    etcd->complete = rc == KEK_OK;
    return etcd->complete;
}

/* Opening. It needs no single revision, so after a compaction it goes on where it was. */

struct verifying {
    struct opener *opener;
    struct tally *tally;
    struct kek_buf last; /* the last key that was looked at */
    bool any;
    struct progress progress;
};

static bool is_past(const struct verifying *verifying, struct kek_bytes key)
{
    const struct kek_buf *last = &verifying->last;
    size_t len = key.len < last->len ? key.len : last->len;
    int order = len == 0 ? 0 : memcmp(key.data, last->data, len);
    return verifying->any && (order < 0 || (order == 0 && key.len <= last->len));
}

static enum kek_rc verify(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    struct verifying *verifying = arg;
    progress_step(&verifying->progress);
    if (is_past(verifying, pair->key)) {
        return KEK_OK;
    }
    enum kek_rc rc = opener_take(verifying->opener, verifying->tally, pair->key, pair->value, why);
    if (rc != KEK_OK) {
        return rc;
    }
    verifying->any = true;
    verifying->last.len = 0;
    return kek_buf_append(&verifying->last, pair->key, why);
}

static bool verify_all(const struct inventory *inventory, struct inventory_etcd *etcd,
                       struct kek_etcd *client, struct root_keys *keys)
{
    struct range range;
    struct verifying verifying = {.tally = etcd->tally};
    enum kek_rc rc = KEK_PRECONDITION;
    etcd->opener =
        opener_new(keys, &inventory->keks, etcd->contexts, etcd->context_count, etcd->own_count);
    if (etcd->opener == NULL) {
        kek_fail(&etcd->why, KEK_NO_MEMORY, "%s: no memory to verify", etcd->settings.name);
        return false;
    }
    verifying.opener = etcd->opener;
    kek_buf_init(&verifying.last, KEK_ETCD_KEY_MAX);
    for (unsigned i = 0; rc == KEK_PRECONDITION && i < VERIFY_RESTARTS_MAX; i++) {
        struct kek_etcd_read read = {
            .prefix = range_of(etcd, &range), .take = verify, .arg = &verifying};
        progress_begin(&verifying.progress, inventory->ctl, etcd->settings.name, "opened", &read);
        rc = kek_etcd_read(client, &read, &etcd->why);
        progress_end(&verifying.progress);
    }
    kek_buf_done(&verifying.last);
    if (rc == KEK_OK) {
        etcd->opened = opener_finish(etcd->opener);
    }
    return rc == KEK_OK;
}

static void tell_members(const struct inventory *inventory, const struct kek_etcd *client)
{
    size_t count;
    const struct kek_etcd_member *members = kek_etcd_members(client, &count);
    for (size_t i = 0; i < count; i++) {
        if (!members[i].reachable) {
            ctl_say(inventory->ctl, "%s", members[i].why.text);
        }
    }
}

/* Another entry of the configuration that has led to the same keys. */
static const struct inventory_etcd *twin_of(const struct inventory *inventory,
                                            const struct inventory_etcd *etcd)
{
    struct range one, other;
    struct kek_bytes range = range_of(etcd, &one);
    for (const struct inventory_etcd *at = inventory->etcds; at < etcd; at++) {
        struct kek_bytes before = range_of(at, &other);
        size_t shorter = range.len < before.len ? range.len : before.len;
        if (at->cluster_id == etcd->cluster_id && at->cluster_id != 0 &&
            memcmp(range.data, before.data, shorter) == 0) {
            return at;
        }
    }
    return NULL;
}

static bool read_open(const struct inventory *inventory, struct inventory_etcd *etcd,
                      struct kek_etcd *client, struct root_keys *keys)
{
    etcd->cluster_id = kek_etcd_cluster_id(client);
    tell_members(inventory, client);
    const struct inventory_etcd *twin = twin_of(inventory, etcd);
    if (twin != NULL) {
        kek_fail(&etcd->why, KEK_INVALID,
                 "%s is the etcd that %s is (cluster %" PRIx64
                 "), and their prefixes overlap: its objects would count twice; take one of them "
                 "out of the configuration",
                 etcd->settings.name, twin->settings.name, etcd->cluster_id);
        return false;
    }
    return count_all(inventory, etcd, client) &&
           (keys == NULL || verify_all(inventory, etcd, client, keys));
}

/* For etcd's passwords and tokens, and the keys of a file. */
static bool have_arena(struct inventory_etcd *etcd)
{
    bool locked;
    return kek_secret_setup(ARENA, &locked, &etcd->why) == KEK_OK;
}

bool inventory_read(const struct inventory *inventory, struct inventory_etcd *etcd,
                    struct root_keys *keys)
{
    if (!have_arena(etcd)) {
        return false;
    }
    if (etcd->snapshot != NULL) {
        const struct kek_etcd_snapshot_settings settings = {.file = etcd->snapshot,
                                                            .user = etcd->settings.user,
                                                            .password_file =
                                                                etcd->settings.password_file};
        __attribute__((cleanup(kek_etcd_snapshot_auto))) struct kek_etcd_snapshot *snapshot = NULL;
        return kek_etcd_snapshot_open(&settings, &snapshot, &etcd->why) == KEK_OK &&
               read_open(inventory, etcd, kek_etcd_snapshot_etcd(snapshot), keys);
    }
    __attribute__((cleanup(kek_etcd_auto))) struct kek_etcd *client = NULL;
    return kek_etcd_open(&etcd->settings, &client, &etcd->why) == KEK_OK &&
           read_open(inventory, etcd, client, keys);
}
