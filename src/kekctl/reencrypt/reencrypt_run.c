#include "reencrypt_run.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"

#define TURN_MS 200u /* at most between looks at signals and the clock */
#define TRIES 8u     /* of one object, answers that say nothing of it not counted */

enum step { IDLE = 0, PATCHING, LOOKING, PAUSED };

struct slot {
    enum step step;
    struct reencrypt_target target;
    struct kek_kubeapi_call call;
    unsigned tries;
    uint64_t again_ms;
};

struct run {
    struct reencrypt *reencrypt;
    struct reencrypt_source *source;
    const struct reencrypt_settings *settings;
    struct pace pace;
    struct slot *slots;
    size_t under_way;     /* slots that are not idle */
    uint64_t progress_ms; /* when an object came to its end */
    bool ended;           /* the source has no more */
    bool stopped;         /* nothing more is begun */
    struct kek_why last;  /* trouble that was seen */
    uint64_t forbidden;   /* in a row, since the beginning */
    struct kek_why *why;
};

static struct reencrypt_resource *resource_of(const struct run *run, const struct slot *slot)
{
    return &run->reencrypt->resources[slot->target.resource];
}

/* ---- the end of one ---- */

static void finish(struct run *run, struct slot *slot, uint64_t *counter)
{
    if (counter != NULL) {
        (*counter)++;
    }
    run->progress_ms = kek_clock_ms();
    run->under_way--;
    run->source->handled(run->source->arg, &slot->target);
    slot->step = IDLE;
}

/* It is not handled: whoever resumes meets it again. */
static void drop(struct run *run, struct slot *slot)
{
    run->under_way--;
    slot->step = IDLE;
}

static void refuse(struct run *run, struct slot *slot)
{
    reencrypt_refused(run->reencrypt, resource_of(run, slot), &slot->target.object, slot->call.by,
                      slot->call.why.text);
    finish(run, slot, NULL);
}

static void stop(struct run *run, const struct kek_why *why)
{
    if (!run->stopped) {
        *run->why = *why;
    }
    run->stopped = true;
}

/* ---- the steps of one ---- */

static void patch(struct run *run, struct slot *slot)
{
    slot->step = PATCHING;
    kek_kubeapi_rewrite(run->reencrypt->api, &slot->call, &resource_of(run, slot)->api,
                        &slot->target.object);
}

static void look(struct run *run, struct slot *slot)
{
    slot->step = LOOKING;
    kek_kubeapi_look(run->reencrypt->api, &slot->call, &resource_of(run, slot)->api,
                     &slot->target.object);
}

/* Later, and what was asked for once more from the beginning. */
static void pause_slot(struct run *run, struct slot *slot, bool counts)
{
    run->last = slot->call.why;
    slot->tries += counts;
    if (slot->tries >= TRIES) {
        refuse(run, slot);
        return;
    }
    slot->step = PAUSED;
    slot->again_ms = pace_bad(&run->pace, slot->call.retry_ms, kek_clock_ms());
}

static void rewritten(struct run *run, struct slot *slot)
{
    struct reencrypt_counts *counts = &resource_of(run, slot)->counts;
    bool same =
        strcmp(slot->call.object.resource_version, slot->target.object.resource_version) == 0;
    pace_good(&run->pace);
    run->forbidden = 0;
    finish(run, slot,
           !same                 ? &counts->rewritten
           : slot->target.is_old ? &counts->unmoved
                                 : &counts->fresh);
}

/* Somebody wrote it since it was listed; with the primary, if that was after the run began. */
static void looked(struct run *run, struct slot *slot)
{
    struct reencrypt_resource *resource = resource_of(run, slot);
    struct kek_kubeapi_object *known = &slot->target.object;
    const struct kek_kubeapi_object *now = &slot->call.object;
    bool same = strcmp(now->resource_version, known->resource_version) == 0;
    if (!same && kek_kubeapi_is_later(now->resource_version, resource->since)) {
        finish(run, slot, &resource->counts.meanwhile);
        return;
    }
    if (++slot->tries >= TRIES) {
        refuse(run, slot);
        return;
    }
    *known = *now;
    patch(run, slot);
}

/* Who may do nothing at all is told so at once, not once for each object. */
static void forbidden(struct run *run, struct slot *slot)
{
    if (slot->step == LOOKING) { /* 409 has said that it was written since */
        finish(run, slot, &resource_of(run, slot)->counts.meanwhile);
        return;
    }
    const struct kek_why why = slot->call.why;
    refuse(run, slot);
    if (++run->forbidden >= 2 * run->settings->parallel) {
        stop(run, &why);
    }
}

static void answered(struct run *run, struct slot *slot)
{
    switch (slot->call.answer) {
    case KEK_KUBEAPI_GOOD:
        if (slot->step == PATCHING) {
            rewritten(run, slot);
        } else {
            looked(run, slot);
        }
        return;
    case KEK_KUBEAPI_CONFLICT:
        look(run, slot);
        return;
    case KEK_KUBEAPI_MISSING:
        finish(run, slot, &resource_of(run, slot)->counts.gone);
        return;
    case KEK_KUBEAPI_BUSY:
        pause_slot(run, slot, false);
        return;
    case KEK_KUBEAPI_TROUBLE:
        pause_slot(run, slot,
                   slot->call.remote.status != 0); /* a lost connection says nothing of it */
        return;
    case KEK_KUBEAPI_FORBIDDEN:
        forbidden(run, slot);
        return;
    case KEK_KUBEAPI_STOP:
        stop(run, &slot->call.why);
        drop(run, slot);
        return;
    case KEK_KUBEAPI_EXPIRED:
    case KEK_KUBEAPI_REFUSED:
    default:
        refuse(run, slot);
        return;
    }
}

/* ---- all of them ---- */

/* Those whose pause is over; once nothing more is begun, they end as they are. Returns until when the next one
 * pauses, at most TURN_MS from now. */
static uint64_t wake_paused(struct run *run, uint64_t now)
{
    uint64_t wait = TURN_MS;
    for (size_t i = 0; i < run->settings->parallel; i++) {
        struct slot *slot = &run->slots[i];
        if (slot->step != PAUSED) {
            continue;
        }
        if (run->stopped) {
            drop(run, slot);
        } else if (slot->again_ms <= now) {
            patch(run, slot);
        } else if (slot->again_ms - now < wait) {
            wait = slot->again_ms - now;
        }
    }
    return wait;
}

/* The next name into the slot. False: there is none now. */
static bool begin(struct run *run, struct slot *slot, uint64_t now)
{
    switch (run->source->next(run->source->arg, &slot->target, run->why)) {
    case REENCRYPT_NAME:
        pace_begun(&run->pace, now);
        run->under_way++;
        slot->tries = 0;
        patch(run, slot);
        return true;
    case REENCRYPT_END:
        run->ended = true;
        return false;
    case REENCRYPT_FAILED:
        run->stopped = true;
        return false;
    case REENCRYPT_WAIT:
    default:
        return false;
    }
}

/* Returns how long nothing can begin, at most TURN_MS. */
static uint64_t begin_some(struct run *run)
{
    uint64_t now = kek_clock_ms(), wait = wake_paused(run, now);
    bool more = !run->stopped && !run->ended;
    for (size_t i = 0; more && i < run->settings->parallel; i++) {
        struct slot *slot = &run->slots[i];
        if (slot->step == IDLE) {
            more = pace_may(&run->pace, run->under_way, now) && begin(run, slot, now);
        }
    }
    uint64_t held = pace_wait_ms(&run->pace, now);
    return held > 0 && held < wait ? held : wait;
}

static void take_answers(struct run *run)
{
    for (size_t i = 0; i < run->settings->parallel; i++) {
        struct slot *slot = &run->slots[i];
        bool asks = slot->step == PATCHING || slot->step == LOOKING;
        /* The next step of one may be done as soon as it is begun. */
        while (asks && slot->call.done) {
            answered(run, slot);
            asks = slot->step == PATCHING || slot->step == LOOKING;
        }
    }
}

static void check_patience(struct run *run)
{
    uint64_t silent = kek_clock_ms() - run->progress_ms;
    if (run->stopped || silent < run->settings->patience_ms || run->last.text[0] == '\0') {
        return;
    }
    struct kek_why why = run->last;
    (void)kek_fail_within(&why, why.rc, "no object was rewritten for %llu s",
                          (unsigned long long)(silent / 1000));
    stop(run, &why);
}

static enum reencrypt_end loop(struct run *run, const struct reencrypt_beside *beside)
{
    bool interrupted = false;
    while (!run->ended || run->under_way > 0) {
        enum ctl_exit health = beside->look(beside->arg, run->why);
        interrupted = interrupted || *run->settings->interrupted != 0;
        run->stopped = run->stopped || interrupted || health == CTL_FAILED;
        uint64_t wait = health == CTL_CHECK && !run->stopped ? TURN_MS : begin_some(run);
        if (run->stopped && run->under_way == 0) {
            break;
        }
        (void)kek_kubeapi_turn(run->reencrypt->api, NULL, 0, wait);
        take_answers(run);
        check_patience(run);
        beside->tell(beside->arg, run->source->left(run->source->arg));
    }
    if (!run->stopped) {
        return REENCRYPT_DONE;
    }
    return interrupted ? REENCRYPT_INTERRUPTED : REENCRYPT_STOPPED;
}

enum reencrypt_end reencrypt_run(struct reencrypt *reencrypt, struct reencrypt_source *source,
                                 const struct reencrypt_beside *beside,
                                 const struct reencrypt_settings *settings, struct kek_why *why)
{
    struct run run = {.reencrypt = reencrypt,
                      .source = source,
                      .settings = settings,
                      .progress_ms = kek_clock_ms(),
                      .why = why};
    pace_init(&run.pace, settings->parallel, settings->rate);
    run.slots = calloc(settings->parallel, sizeof *run.slots);
    if (run.slots == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for %zu requests", settings->parallel);
        return REENCRYPT_STOPPED;
    }
    enum reencrypt_end end = loop(&run, beside);
    for (size_t i = 0; i < settings->parallel; i++) {
        kek_kubeapi_end(reencrypt->api, &run.slots[i].call);
    }
    free(run.slots);
    return end;
}
