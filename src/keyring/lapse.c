#include "keyring/lapse.h"

#include "kek/clock.h"
#include "keyring/ring.h"

#define YEAR_9999_MS INT64_C(253402300799999) /* what a date may be, at most */
#define TOLD_MS 5000u                         /* one that was told of so lately goes on */
#define STEP_MS 1000                          /* by how much two clocks may seem to part */

static int64_t wall_ms(void)
{
    int64_t now_ms = kek_clock_wall_ms();
    return now_ms > 1 ? now_ms : 1;
}

static int64_t a_date(int64_t ms)
{
    return ms < 1 ? 1 : ms > YEAR_9999_MS ? YEAR_9999_MS : ms;
}

bool lapse_goes_on(const struct kek_keyring *ring)
{
    return ring->lapse.told && kek_clock_ms() - ring->lapse.end_ms < TOLD_MS;
}

bool lapse_is_over(const struct kek_keyring *ring)
{
    const char *root = ring->settings.config->root;
    /* Without roots of trust it is only kept, for when they come again: nothing here ends it. */
    bool unnamed = root != NULL && root[0] == '\0';
    return !unnamed && ring->lapse.since_ms > 0 && !lapse_goes_on(ring);
}

int64_t lapse_until(struct kek_keyring *ring)
{
    struct lapse *lapse = &ring->lapse;
    int64_t now_ms = wall_ms();
    if (lapse->end_ms == 0 && lapse->until_ms > now_ms) {
        lapse->end_ms = kek_clock_ms(); /* some clock was wrong: it ended before now */
    }
    if (lapse->end_ms == 0) {
        return lapse->until_ms;
    }
    int64_t at_ms = a_date(now_ms - (int64_t)(kek_clock_ms() - lapse->end_ms));
    if (at_ms - lapse->at_ms > STEP_MS || lapse->at_ms - at_ms > STEP_MS) {
        lapse->at_ms = at_ms; /* the wall clock was set */
    }
    lapse->until_ms = lapse->at_ms > lapse->until_ms ? lapse->at_ms : lapse->until_ms;
    return lapse->at_ms;
}

void lapse_tell(struct kek_keyring *ring)
{
    struct lapse *lapse = &ring->lapse;
    int64_t now_ms = wall_ms();
    lapse->end_ms = kek_clock_ms();
    lapse->begin_ms = lapse->told ? lapse->begin_ms : lapse->end_ms;
    lapse->told = true;
    lapse->at_ms = now_ms;
    int64_t since_ms = a_date(now_ms - (int64_t)(lapse->end_ms - lapse->begin_ms));
    lapse->since_ms =
        lapse->since_ms == 0 || since_ms < lapse->since_ms ? since_ms : lapse->since_ms;
    lapse->until_ms = now_ms > lapse->until_ms ? now_ms : lapse->until_ms;
}

void lapse_load(struct kek_keyring *ring, json_t *object)
{
    json_int_t since_ms, until_ms;
    int goes_on = 1;
    if (object == NULL || json_unpack(object, "{s:I, s:I, s?:b}", "since_ms", &since_ms, "until_ms",
                                      &until_ms, "goes_on", &goes_on) != 0) {
        return;
    }
    /* A clock that was set turns them round. */
    int64_t first_ms = a_date(since_ms < until_ms ? since_ms : until_ms);
    int64_t last_ms = a_date(since_ms < until_ms ? until_ms : since_ms);
    ring->lapse = (struct lapse){.since_ms = first_ms,
                                 .until_ms = last_ms,
                                 .saved_until_ms = until_ms,
                                 .saved_goes_on = goes_on};
    if (goes_on) { /* after that, until kekd ended, which was before now */
        int64_t grown_ms = last_ms + LAPSE_SAVED_MS, now_ms = wall_ms();
        ring->lapse.until_ms = now_ms > last_ms && now_ms < grown_ms ? now_ms : grown_ms;
    }
}

json_t *lapse_json(const struct kek_keyring *ring)
{
    const struct lapse *lapse = &ring->lapse;
    return lapse->since_ms == 0
               ? NULL
               : json_pack("{s:I, s:I, s:b}", "since_ms", (json_int_t)lapse->since_ms, "until_ms",
                           (json_int_t)lapse->until_ms, "goes_on", lapse_goes_on(ring));
}

void lapse_saved(struct kek_keyring *ring)
{
    struct lapse *lapse = &ring->lapse;
    lapse->saved_ms = kek_clock_ms();
    lapse->saved_until_ms = lapse->until_ms;
    lapse->saved_goes_on = lapse_goes_on(ring);
}
