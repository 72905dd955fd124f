#include "load.h"

#include <stdlib.h>
#include <string.h>

#include "kek/clock.h"

#define FAILURES_MAX 8 /* after which no more is begun */

/* One data key on its way, and one at a time. */
struct slot {
    struct run *run;
    struct kek_pool_call *call; /* NULL: none is under way */
    bool unwraps;
    uint64_t began_us;
    struct kek_secret *data_key;
    enum kek_wrap_alg alg;
    size_t len;
    uint8_t blob[KEK_WRAPPED_MAX];
};

struct run {
    struct load *load;
    struct kek_pool *pool;
    struct slot slots[LOAD_AT_ONCE_MAX];
    unsigned begun, ended;
    uint64_t began_ms, began_us;
    uint64_t *times[2]; /* of wraps, of unwraps */
    size_t counts[2];
};

static void fail(struct run *run, const struct kek_why *why)
{
    if (run->load->failed++ == 0) {
        run->load->why = *why;
    }
}

static void done(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                 const struct kek_why *why);

static void submit(struct slot *slot)
{
    struct run *run = slot->run;
    struct kek_why why;
    const struct kek_pool_request request = {
        .op = slot->unwraps ? KEK_POOL_UNWRAP : KEK_POOL_WRAP,
        .provider = 0,
        .kek_id = run->load->suite->keys[0].id,
        .data_key = slot->unwraps ? NULL : slot->data_key,
        .alg = slot->unwraps ? slot->alg : KEK_WRAP_NONE,
        .blob = kek_bytes(slot->blob, slot->unwraps ? slot->len : 0),
        .deadline_ms = rig_deadline(&run->load->suite->rig),
    };
    slot->began_us = kek_clock_us();
    slot->call = kek_pool_submit(run->pool, &request, done, slot, &why);
    if (slot->call == NULL) {
        fail(run, &why);
        run->ended++;
    }
}

static void begin(struct slot *slot)
{
    struct run *run = slot->run;
    const struct load *load = run->load;
    bool late = kek_clock_ms() > run->began_ms + load->most_ms;
    if (run->begun >= load->pairs || late || load->failed > FAILURES_MAX ||
        suite_was_interrupted(load->suite)) {
        return;
    }
    kek_secret_free(slot->data_key);
    slot->data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (slot->data_key == NULL) {
        struct kek_why why;
        kek_fail(&why, KEK_NO_MEMORY, "no locked memory for a data key");
        fail(run, &why);
        return;
    }
    run->begun++;
    slot->unwraps = false;
    submit(slot);
}

static void take_wrapped(struct slot *slot, const struct kek_pool_result *result)
{
    slot->alg = result->alg;
    slot->len = result->blob.len <= sizeof slot->blob ? result->blob.len : 0;
    if (slot->len > 0) {
        memcpy(slot->blob, result->blob.data, slot->len);
    }
    slot->unwraps = true;
    submit(slot);
}

static void done(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                 const struct kek_why *why)
{
    struct slot *slot = arg;
    struct run *run = slot->run;
    slot->call = NULL;
    if (rc != KEK_OK) {
        fail(run, why);
    } else {
        run->times[slot->unwraps][run->counts[slot->unwraps]++] = kek_clock_us() - slot->began_us;
        if (!slot->unwraps) {
            take_wrapped(slot, result);
            return;
        }
        run->load->wrong += kek_secret_equal(result->data_key, slot->data_key) ? 0 : 1;
    }
    run->ended++;
    begin(slot);
}

static bool is_under_way(const struct run *run)
{
    for (unsigned i = 0; i < run->load->at_once; i++) {
        if (run->slots[i].call != NULL) {
            return true;
        }
    }
    return false;
}

static void cancel(struct run *run)
{
    struct kek_why why;
    kek_fail(&why, KEK_CANCELLED, "interrupted");
    for (unsigned i = 0; i < run->load->at_once; i++) {
        if (run->slots[i].call != NULL) {
            kek_pool_cancel(run->slots[i].call);
            run->slots[i].call = NULL;
            fail(run, &why);
        }
    }
}

static void drive(struct run *run)
{
    struct load *load = run->load;
    for (unsigned i = 0; i < load->at_once; i++) {
        run->slots[i].run = run;
        begin(&run->slots[i]);
    }
    while (is_under_way(run)) {
        (void)uv_run(&load->suite->rig.loop, UV_RUN_ONCE);
        if (suite_was_interrupted(load->suite)) {
            cancel(run);
        }
        bool half =
            run->ended * 2 >= load->pairs || (kek_clock_ms() - run->began_ms) * 2 >= load->most_ms;
        if (!load->was_midway && load->midway != NULL && half && is_under_way(run)) {
            load->was_midway = load->midway(load);
        }
    }
}

static int by_time(const void *a, const void *b)
{
    const uint64_t *one = a, *other = b;
    return *one < *other ? -1 : *one > *other ? 1 : 0;
}

static void measure(uint64_t *times, size_t count, uint64_t took_us, struct suite_measure *measure)
{
    *measure = (struct suite_measure){.count = count, .took_us = took_us};
    if (count == 0) {
        return;
    }
    qsort(times, count, sizeof *times, by_time);
    measure->median_us = times[count / 2];
    measure->p99_us = times[count * 99 / 100];
    measure->most_us = times[count - 1];
}

bool load_run(struct load *load)
{
    KEK_AUTO_FREE struct run *run = calloc(1, sizeof *run);
    KEK_AUTO_FREE uint64_t *wraps = calloc(load->pairs, sizeof *wraps);
    KEK_AUTO_FREE uint64_t *unwraps = calloc(load->pairs, sizeof *unwraps);
    load->wrong = load->failed = 0;
    load->was_midway = false;
    if (run == NULL || wraps == NULL || unwraps == NULL) {
        kek_fail(&load->why, KEK_NO_MEMORY, "no memory for the calls");
        return false;
    }
    *run = (struct run){.load = load,
                        .pool = rig_pool(&load->suite->rig, load->role, &load->why),
                        .began_ms = kek_clock_ms(),
                        .began_us = kek_clock_us(),
                        .times = {wraps, unwraps}};
    if (run->pool == NULL) {
        return false;
    }
    drive(run);
    uint64_t took_us = kek_clock_us() - run->began_us;
    measure(wraps, run->counts[0], took_us, &load->wraps);
    measure(unwraps, run->counts[1], took_us, &load->unwraps);
    load->unwraps.wrong = load->wrong;
    for (unsigned i = 0; i < LOAD_AT_ONCE_MAX; i++) {
        kek_secret_free(run->slots[i].data_key);
    }
    return true;
}

/* Something always happens to a pool that is not as it should be: a start ends, or its time
 * does. */
bool load_wait_ready(struct suite *suite, enum rig_role role, unsigned count, struct kek_why *why)
{
    struct rig *rig = &suite->rig;
    struct kek_pool_provider status;
    uint64_t deadline_ms = rig_deadline(rig);
    if (rig_pool(rig, role, why) == NULL) {
        return false;
    }
    rig->pools[role].strikes = 0;
    for (;;) {
        rig_status(rig, role, &status);
        if (status.workers_ready >= count) {
            return true;
        }
        if (rig->interrupted > 0) {
            kek_fail(why, KEK_CANCELLED, "interrupted");
            return false;
        }
        if (kek_clock_ms() > deadline_ms || rig->pools[role].strikes >= 3) {
            *why = status.why;
            if (status.why.rc == KEK_OK) {
                kek_fail(why, KEK_UNAVAILABLE, "%zu of %u processes got ready",
                         status.workers_ready, count);
            }
            return false;
        }
        (void)uv_run(&rig->loop, UV_RUN_ONCE);
    }
}
