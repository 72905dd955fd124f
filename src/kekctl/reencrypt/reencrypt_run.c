#include "reencrypt_run.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

#define STALLED_MS \
    5000u /* without any object's end, before it is told why, and between two such lines */
#define TURN_MS 200u /* at most between looks at signals and the clock */
#define TRIES 8u     /* of one object, answers that say nothing of it not counted */
#define FIRST_MOST \
    64u /* objects that are tried until one is written, where no more than that is wanted */

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
    uint64_t begun;       /* objects */
    uint64_t progress_ms; /* when an object came to its end */
    uint64_t stalled_ms;  /* when it was last told that none does */
    bool ended;           /* the source has no more */
    bool stopped;         /* nothing more is begun */
    bool checked;         /* what is written is stored as is wanted, or nobody can say */
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
    (*counter)++;
    run->progress_ms = kek_clock_ms();
    run->under_way--;
    run->source->handled(run->source->arg, &slot->target, true);
    slot->step = IDLE;
}

/* It is not handled: whoever resumes meets it again. */
static void drop(struct run *run, struct slot *slot)
{
    run->under_way--;
    slot->step = IDLE;
}

/* Also one that trouble kept from being written; that is no progress, since the next one may have the same. */
static void refuse(struct run *run, struct slot *slot, bool is_progress)
{
    reencrypt_refused(run->reencrypt, resource_of(run, slot), &slot->target.object, slot->call.by,
                      slot->call.why.text);
    run->progress_ms = is_progress ? kek_clock_ms() : run->progress_ms;
    run->under_way--;
    run->source->handled(run->source->arg, &slot->target, false);
    slot->step = IDLE;
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
        refuse(run, slot, false);
        return;
    }
    slot->step = PAUSED;
    slot->again_ms = pace_bad(&run->pace, slot->call.retry_ms, kek_clock_ms());
}

/* A server that answers of another object than it was asked about has done nobody knows what. */
static bool is_asked(const struct slot *slot)
{
    const struct kek_kubeapi_object *asked = &slot->target.object, *now = &slot->call.object;
    bool same_uid =
        asked->uid[0] == '\0' || slot->step == LOOKING || strcmp(asked->uid, now->uid) == 0;
    return same_uid && strcmp(asked->name, now->name) == 0 && strcmp(asked->space, now->space) == 0;
}

static void answered_of_another(struct run *run, struct slot *slot)
{
    char name[KEK_KUBEAPI_OBJECT_TEXT];
    struct kek_why why;
    kek_kubeapi_object_name(&slot->target.object, name);
    kek_fail(&why, KEK_INVALID,
             "%s %s: the answer is of another object: this is no API server of Kubernetes",
             resource_of(run, slot)->name, name);
    drop(run, slot);
    stop(run, &why);
}

/* The first that was written tells who writes, and how. */
static void check_first(struct run *run, const struct reencrypt_target *target)
{
    struct kek_why why;
    if (run->checked) {
        return;
    }
    enum kek_rc rc = run->source->check(run->source->arg, target, &why);
    run->checked = rc == KEK_OK;
    if (rc != KEK_OK && rc != KEK_NOT_FOUND) {
        stop(run, &why);
    }
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
    if (!same) {
        check_first(run, &slot->target);
    }
}

/* Somebody wrote it since it was listed; with the primary, if that was after the run began. */
static void looked(struct run *run, struct slot *slot)
{
    struct reencrypt_resource *resource = resource_of(run, slot);
    struct kek_kubeapi_object *known = &slot->target.object;
    const struct kek_kubeapi_object *now = &slot->call.object;
    bool same = strcmp(now->resource_version, known->resource_version) == 0;
    bool later = resource->since[0] != '\0' && /* a list may have no version */
                 kek_kubeapi_is_later(now->resource_version, resource->since);
    if (!same && later) {
        finish(run, slot, &resource->counts.meanwhile);
        return;
    }
    if (++slot->tries >= TRIES) {
        kek_fail(&slot->call.why, KEK_PRECONDITION,
                 "HTTP status 409, %u times, each for the version that the API server had shown: "
                 "somebody writes it all the time, or admission answers so",
                 TRIES);
        refuse(run, slot, true);
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
    refuse(run, slot, true);
    if (++run->forbidden >= 2 * run->settings->parallel) {
        stop(run, &why);
    }
}

static void answered(struct run *run, struct slot *slot)
{
    switch (slot->call.answer) {
    case KEK_KUBEAPI_GOOD:
        if (!is_asked(slot)) {
            answered_of_another(run, slot);
        } else if (slot->step == PATCHING) {
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
        refuse(run, slot, true);
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
    if (run->settings->first_only && (run->checked || run->begun == FIRST_MOST)) {
        run->ended = true;
        return false;
    }
    switch (run->source->next(run->source->arg, &slot->target, run->why)) {
    case REENCRYPT_NAME:
        pace_begun(&run->pace, now);
        run->under_way++;
        run->begun++;
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
            more = (run->checked || run->under_way == 0) &&
                   pace_may(&run->pace, run->under_way, now) && begin(run, slot, now);
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

static void check_patience(struct run *run, const struct reencrypt_beside *beside)
{
    uint64_t now = kek_clock_ms(), silent = now - run->progress_ms;
    const struct kek_why *trouble =
        run->source->trouble == NULL ? NULL : run->source->trouble(run->source->arg);
    trouble = trouble == NULL && run->last.text[0] != '\0' ? &run->last : trouble;
    bool over = silent >= run->settings->patience_ms;
    if (run->stopped || trouble == NULL || !(over || silent >= STALLED_MS)) {
        return;
    }
    struct kek_why why = *trouble;
    (void)kek_fail_within(&why, why.rc, "no object was rewritten for %llu s",
                          (unsigned long long)(silent / 1000));
    if (over) {
        stop(run, &why);
    } else if (now - run->stalled_ms >= STALLED_MS) {
        run->stalled_ms = now;
        beside->stalled(beside->arg, &why);
    }
}

static enum reencrypt_end loop(struct run *run, const struct reencrypt_beside *beside)
{
    bool interrupted = false;
    while (!run->ended || run->under_way > 0) {
        enum ctl_exit health = beside->look(beside->arg, run->why);
        interrupted = interrupted || *run->settings->interrupted != 0;
        run->stopped = run->stopped || interrupted || health == CTL_FAILED;
        bool held = health == CTL_CHECK && !run->stopped;
        uint64_t wait = held ? TURN_MS : begin_some(run);
        run->progress_ms = held ? kek_clock_ms() : run->progress_ms; /* that it is held is told */
        if (run->stopped && run->under_way == 0) {
            break;
        }
        (void)kek_kubeapi_turn(run->reencrypt->api, NULL, 0, wait);
        take_answers(run);
        check_patience(run, beside);
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
                      .checked = source->check == NULL,
                      .why = why};
    pace_init(&run.pace, settings->parallel, settings->rate);
    run.slots = calloc(settings->parallel, sizeof *run.slots);
    if (run.slots == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for %s",
                 kek_counted(settings->parallel, "request").text);
        return REENCRYPT_STOPPED;
    }
    enum reencrypt_end end = loop(&run, beside);
    for (size_t i = 0; i < settings->parallel; i++) {
        kek_kubeapi_end(reencrypt->api, &run.slots[i].call);
    }
    free(run.slots);
    return end;
}
