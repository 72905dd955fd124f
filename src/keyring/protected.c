/*
 * What begins a lapse, and what ends it: <state_dir>/<keyring>.protected, kekctl's word that what it read in etcd lacked no
 * KEK of these roots of trust.
 */
#include "kek/keyring.h"

#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/json.h"
#include "keyring/ring.h"

#define SUFFIX "protected"
#define LOCK "inventories.lock" /* that whatever an inventory writes down is written under */
#define LOCK_WAIT_MS 10000u
#define FORMAT 1
#define FILE_MAX (16u * 1024)
/* How long after it an API server may still write under it: 100 s in which an Encrypt may follow its connection's last
 * Status, a minute until it asks Status again, and three in which it keeps the seed that it has (KMS v2). */
#define WRITTEN_MS (6 * 60 * 1000)
#define AHEAD_MS 5000 /* by how much its date may seem to be later than now */

/* By root, dates; a new reference. NULL: there is no such file, or none that says so. */
static json_t *read_since(const struct kek_config *config, const char *path)
{
    const char *keyring;
    json_int_t format;
    json_t *since = NULL;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, FILE_MAX);
    if (kek_durable_read(path, FILE_MAX, &content, NULL) != KEK_OK) {
        return NULL;
    }
    json_t *object =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    bool good = object != NULL &&
                json_unpack(object, "{s:I, s:s, s:O}", "format", &format, "keyring", &keyring,
                            "since", &since) == 0 &&
                format == FORMAT && strcmp(keyring, kek_config_file_keyring(config)) == 0 &&
                json_is_object(since);
    json_decref(object);
    if (!good) {
        json_decref(since);
        return NULL;
    }
    return since;
}

int64_t kek_keyring_protected(const struct kek_config *config)
{
    char path[PATH_MAX];
    if (config->root == NULL || kek_config_state_file(config, SUFFIX, path, NULL) != KEK_OK) {
        return 0;
    }
    json_t *since = read_since(config, path);
    const char *date = json_string_value(json_object_get(since, config->root));
    int64_t ms = date == NULL ? 0 : kek_clock_parse(date);
    json_decref(since);
    return ms > 0 ? ms : 0;
}

enum kek_rc kek_keyring_put_protected(const struct kek_config *config, const char *const *roots,
                                      size_t count, int64_t read_ms, struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    char path[PATH_MAX], locked[PATH_MAX], date[KEK_CLOCK_TEXT];
    enum kek_rc rc = kek_config_state_file(config, SUFFIX, path, why);
    if (rc == KEK_OK) {
        rc = kek_config_state_file(config, LOCK, locked, why);
    }
    if (rc == KEK_OK) {
        rc = kek_lock_file_wait(locked, LOCK_WAIT_MS, &lock, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    json_t *since = read_since(config, path); /* what it says of others stays */
    since = since != NULL ? since : json_object();
    bool whole = since != NULL;
    for (size_t i = 0; whole && i < count; i++) {
        whole =
            json_object_set_new(since, roots[i], json_string(kek_clock_text(read_ms, date))) == 0;
    }
    json_t *object = json_pack("{s:i, s:s, s:o}", "format", FORMAT, "keyring",
                               kek_config_file_keyring(config), "since", since);
    KEK_AUTO_FREE char *text =
        whole && object != NULL ? kek_json_text(object, JSON_INDENT(1)) : NULL;
    json_decref(object);
    return text == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path)
                        : kek_durable_write_now(path, kek_bytes_of(text), why);
}

void kek_keyring_lapsed(struct kek_keyring *ring)
{
    if (ring->stopped) {
        return;
    }
    bool went_on = lapse_goes_on(ring);
    lapse_tell(ring);
    if (!went_on || kek_clock_ms() - ring->lapse.saved_ms >= LAPSE_SAVED_MS) {
        record_save(ring);
    }
    ring_dirty(ring);
}

bool kek_keyring_has_lapsed(const struct kek_keyring *ring)
{
    return ring->lapse.since_ms > 0;
}

bool lapse_end(struct kek_keyring *ring)
{
    if (ring->stopped || !lapse_goes_on(ring)) {
        return false;
    }
    lapse_tell(ring);
    ring->lapse.told = false;
    record_save(ring);
    ring_dirty(ring);
    return true;
}

/* Nothing is sealed after this. */
void lapse_stop(struct kek_keyring *ring)
{
    (void)lapse_end(ring);
}

struct asking {
    uv_work_t work;
    struct kek_keyring *ring; /* freed once the loop has run dry */
    int64_t shown_ms;         /* 0: nothing is shown */
};

static void ask(uv_work_t *work)
{
    struct asking *asking = work->data;
    asking->shown_ms = kek_keyring_protected(asking->ring->settings.config);
}

/* Its date, if it shows anything: one that is yet to come never does, not when it has come either.  0: it does not. */
static int64_t believed(struct kek_keyring *ring, int64_t shown_ms)
{
    struct lapse *lapse = &ring->lapse;
    char path[PATH_MAX], date[KEK_CLOCK_TEXT];
    if (shown_ms == lapse->ahead_ms) {
        return 0;
    }
    if (shown_ms - kek_clock_wall_ms() <= AHEAD_MS) {
        return shown_ms;
    }
    lapse->ahead_ms = shown_ms;
    if (kek_config_state_file(ring->settings.config, SUFFIX, path, NULL) == KEK_OK) {
        ring_notice(ring, KEK_LOG_WARN,
                    "%s says of %s, which is yet to come, that nothing lacked this root of trust: "
                    "that shows nothing; set this node's clock, then kekctl inventory",
                    path, kek_clock_text_seconds(shown_ms, date));
    }
    return 0;
}

static void asked(uv_work_t *work, int status)
{
    struct asking *asking = work->data;
    struct kek_keyring *ring = asking->ring;
    (void)status; /* nothing cancels it */
    ring->lapse.asking = false;
    if (!ring->stopped && lapse_is_over(ring) &&
        believed(ring, asking->shown_ms) - lapse_until(ring) >= WRITTEN_MS) {
        ring->lapse = (struct lapse){.since_ms = 0};
        record_save(ring);
        ring_dirty(ring);
    }
    free(asking);
}

void lapse_due(struct kek_keyring *ring)
{
    if (ring->stopped || ring->lapse.asking || !lapse_is_over(ring)) {
        return;
    }
    (void)lapse_until(ring);
    if (ring->lapse.saved_goes_on || ring->lapse.until_ms != ring->lapse.saved_until_ms) {
        record_save(ring);
    }
    struct asking *asking = calloc(1, sizeof *asking);
    if (asking == NULL) {
        return; /* at the next refresh */
    }
    asking->ring = ring;
    asking->work.data = asking;
    ring->lapse.asking = uv_queue_work(ring->loop, &asking->work, ask, asked) == 0;
    if (!ring->lapse.asking) {
        free(asking);
    }
}
