/* Who waits for the roots. `done` never runs inside the call that began the wait. */
#include "roots/join.h"

#include "kek/clock.h"

#define AWAIT_MS 2000u /* as a keyring's: an API server gives Status 3 s */

static bool is_over(const struct kek_roots_wait *wait)
{
    for (size_t i = 0; i < wait->roots->settings.count; i++) {
        if (wait->parts[i].wait != NULL) {
            return false;
        }
    }
    return wait->until_ms == 0;
}

static void tell(struct kek_roots_wait *wait)
{
    void (*done)(void *arg) = wait->done;
    void *arg = wait->arg;
    free(wait);
    done(arg);
}

static void part_over(void *arg)
{
    struct part *part = arg;
    part->wait = NULL;
    if (is_over(part->whole)) {
        tell(part->whole);
    }
}

static struct kek_roots_wait *begin(struct kek_roots *roots, void (*done)(void *arg), void *arg)
{
    struct kek_roots_wait *wait = calloc(1, sizeof *wait);
    if (wait != NULL) {
        *wait = (struct kek_roots_wait){.roots = roots, .done = done, .arg = arg};
        for (size_t i = 0; i < roots->settings.count; i++) {
            wait->parts[i].whole = wait;
        }
    }
    return wait;
}

/* NULL: nobody can be waited for. */
static struct kek_roots_wait *begun(struct kek_roots_wait *wait)
{
    if (wait != NULL && is_over(wait)) {
        free(wait);
        return NULL;
    }
    return wait;
}

struct kek_roots_wait *kek_roots_look(struct kek_roots *roots, void (*done)(void *arg), void *arg)
{
    struct kek_roots_wait *wait = begin(roots, done, arg);
    for (size_t i = 0; wait != NULL && i < roots->settings.count; i++) {
        wait->parts[i].wait = kek_keyring_look(ring_at(roots, i), part_over, &wait->parts[i]);
    }
    return begun(wait);
}

/* A keyring's own succession, or a root that leaves because it cannot wrap any more. */
bool kek_roots_is_changing(const struct kek_roots *roots)
{
    if (!is_one(roots) && roots->announced && (roots->members & ~roots->wanted_members) != 0) {
        return true;
    }
    for (size_t i = 0; i < roots->settings.count; i++) {
        bool counts = is_one(roots) || !roots->announced || (roots->members >> i & 1) != 0;
        if (counts && kek_keyring_is_changing(ring_at(roots, i))) {
            return true;
        }
    }
    return false;
}

struct kek_roots_wait *kek_roots_await(struct kek_roots *roots, void (*done)(void *arg), void *arg)
{
    struct kek_roots_wait *wait = begin(roots, done, arg);
    if (wait == NULL) {
        return NULL;
    }
    if (is_one(roots)) {
        wait->parts[0].wait = kek_keyring_await(ring_at(roots, 0), part_over, &wait->parts[0]);
    } else if (!roots->stopped && kek_roots_is_changing(roots)) {
        wait->until_ms = kek_clock_ms() + AWAIT_MS;
        DL_APPEND(roots->awaiting, wait);
    }
    return begun(wait);
}

void kek_roots_cancel(struct kek_roots_wait *wait)
{
    for (size_t i = 0; i < wait->roots->settings.count; i++) {
        if (wait->parts[i].wait != NULL) {
            kek_keyring_cancel(wait->parts[i].wait);
        }
    }
    if (wait->until_ms != 0) {
        DL_DELETE(wait->roots->awaiting, wait);
    }
    free(wait);
}

/* Those whose time is up to `limit_ms`. Each may begin another wait, whose time is later, or cancel one. */
static void end(struct kek_roots *roots, uint64_t limit_ms)
{
    struct kek_roots_wait *wait = roots->awaiting;
    while (wait != NULL) {
        if (wait->until_ms > limit_ms) {
            wait = wait->next;
            continue;
        }
        DL_DELETE(roots->awaiting, wait);
        tell(wait);
        wait = roots->awaiting;
    }
}

void wait_end_all(struct kek_roots *roots)
{
    struct kek_roots_wait *wait;
    DL_FOREACH (roots->awaiting, wait) {
        wait->until_ms = 1;
    }
    end(roots, 1);
}

void wait_end_late(struct kek_roots *roots)
{
    end(roots, kek_clock_ms());
}
