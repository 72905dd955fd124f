/* The face. */
#include "roots/join.h"

#include <string.h>

#include "kek/clock.h"

#define TICK_MS 1000u /* how late a root comes back, or is found to be out */

static void tick(uv_timer_t *timer)
{
    struct kek_roots *roots = timer->data;
    wait_end_late(roots);
    if (!roots->stopped && join_drive(roots) && roots->settings.changed != NULL) {
        roots->settings.changed(roots->settings.arg);
    }
}

struct kek_roots *kek_roots_new(uv_loop_t *loop, const struct kek_roots_settings *settings,
                                struct kek_why *why)
{
    struct kek_roots *roots = calloc(1, sizeof *roots);
    if (roots == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the roots of trust");
        return NULL;
    }
    roots->settings = *settings;
    roots->since_ms = kek_clock_ms();
    if (!is_one(roots)) {
        uv_timer_init(loop, &roots->tick); /* never fails */
        roots->tick.data = roots;
        uv_timer_start(&roots->tick, tick, TICK_MS, TICK_MS);
        (void)join_drive(roots); /* what is on record is announced before the first call comes */
    }
    return roots;
}

void kek_roots_stop(struct kek_roots *roots)
{
    if (roots->stopped) {
        return;
    }
    roots->stopped = true;
    wait_end_all(roots);
    if (!is_one(roots)) {
        uv_close((uv_handle_t *)&roots->tick, NULL);
    }
}

void kek_roots_free(struct kek_roots *roots)
{
    free(roots);
}

void kek_roots_review(struct kek_roots *roots)
{
    if (!is_one(roots) && !roots->stopped) {
        (void)join_drive(roots);
    }
    if (roots->settings.changed != NULL) {
        roots->settings.changed(roots->settings.arg);
    }
}

size_t kek_roots_count(const struct kek_roots *roots)
{
    return roots->settings.count;
}

const struct kek_root *kek_roots_at(const struct kek_roots *roots, size_t root)
{
    return &roots->settings.roots[root];
}

bool kek_roots_primary(const struct kek_roots *roots, struct kek_keyring_primary *primary)
{
    if (is_one(roots)) {
        return kek_keyring_primary(ring_at(roots, 0), primary);
    }
    if (roots->announced) {
        *primary = roots->primary;
    }
    return roots->announced;
}

const struct kek_generation *kek_roots_wanted(const struct kek_roots *roots)
{
    if (is_one(roots)) {
        return kek_keyring_wanted(ring_at(roots, 0));
    }
    return roots->wanted.count > 0 ? &roots->wanted : NULL;
}

/* Of a generation that is no longer announced nothing is made that waits for a root that is out. */
static bool is_past(const struct kek_roots *roots, const struct kek_generation *generation,
                    const struct kek_root *root)
{
    size_t place = (size_t)(root - roots->settings.roots);
    return !is_one(roots) && roots->settings.mode == KEK_ENVELOPE_MODE_ANY && roots->announced &&
           roots->out[place] && !kek_generation_equal(generation, &roots->primary.generation);
}

enum kek_rc kek_roots_wraps(const struct kek_roots *roots, const struct kek_generation *generation,
                            struct kek_why *why)
{
    for (size_t i = 0; i < generation->count; i++) {
        const struct kek_root *root = kek_roots_at(roots, generation->roots[i]);
        struct kek_generation one = {.mode = KEK_ENVELOPE_MODE_ANY, .count = 1};
        one.kek_ids[0] = generation->kek_ids[i];
        one.numbers[0] = generation->numbers[i];
        if (is_past(roots, generation, root)) {
            return kek_fail(why, KEK_PRECONDITION,
                            "root of trust %s is out, and sealing goes on without it", root->name);
        }
        enum kek_rc rc = kek_keyring_wraps(root->ring, is_one(roots) ? generation : &one, why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

void kek_roots_bridged(struct kek_roots *roots, bool bridged)
{
    bool ends = roots->bridged && !bridged;
    roots->bridged = bridged;
    if (ends && !is_one(roots) && !roots->stopped) {
        (void)join_drive(roots); /* who is out leaves now; who makes keys asks what is wanted */
    }
}
