/* kekctl key rotate: the keyring's next version, from its making to the retirement of the older ones. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "kekctl/interrupts.h"
#include "kekctl/key/key_remarks.h"
#include "kekctl/key/made.h"
#include "kekctl/key/new_keyring.h"
#include "kekctl/key/on_record.h"
#include "kekctl/output.h"
#include "rewrite_time.h"
#include "rotate.h"

#define TIMEOUT_MS (UINT64_C(3600) * 1000) /* of all waiting, where no --timeout is given */
#define POLL_MS 1000

static void pause_between_polls(void)
{
    const struct timespec time = {.tv_sec = POLL_MS / 1000};
    if (interrupts_met == 0) {
        (void)nanosleep(&time, NULL);
    }
}

/* ---- how it ends ---- */

static void remove_record(struct rotate *rotate)
{
    struct kek_why why;
    if (rotation_file_remove(&rotate->file, &why) != KEK_OK) {
        ctl_say(rotate->ctl, "%s: remove it", why.text);
    }
}

/* Nothing to go on from: no key was made, and other nodes need not wait for this one. */
static void forget_claim(struct rotate *rotate)
{
    enum rotation_step step = rotate->facts.progress.step;
    if (step == ROTATION_CLAIM || (step == ROTATION_CREATE && rotate->drawn)) {
        remove_record(rotate);
    }
}

static enum ctl_exit refused(struct rotate *rotate)
{
    rotate_show_end(&rotate->show);
    rotate_show_event(&rotate->show, &rotate->plan, rotate->facts.now_ms, "refused", NULL);
    ctl_say(rotate->ctl, "nothing%s was changed: %s", rotate->changed ? " more" : "",
            rotate->plan.text);
    if (rotate->plan.withdraw && rotate->facts.progress.step != ROTATION_CHECK) {
        remove_record(rotate);
    } else {
        forget_claim(rotate);
    }
    return rotate->changed ? CTL_CHECK : CTL_FAILED;
}

/* Half way, by a signal or for want of time. */
static enum ctl_exit stopped(struct rotate *rotate, const char *state, const char *why)
{
    rotate_show_end(&rotate->show);
    rotate_show_event(&rotate->show, &rotate->plan, rotate->facts.now_ms, state, NULL);
    ctl_say(rotate->ctl,
            "%s at step %s: %s. Nothing is lost, and nothing is retired that is in use: %s, "
            "with the same options, goes on from here",
            why, rotation_step_name(rotate->plan.step), rotate->plan.text,
            kek_command(rotate->facts.root, "key rotate").text);
    forget_claim(rotate);
    return CTL_CHECK;
}

static json_t *summary(const struct rotate *rotate)
{
    const struct rotation_plan *plan = &rotate->plan;
    struct kek_bytes context = kek_bytes_of(rotate->keys.config->context);
    char id[KEK_ID_TEXT], surplus[KEK_ID_TEXT] = "", key_id[KEK_KEY_ID_TEXT];
    char hash[KEK_KEY_ID_HASH_TEXT], after[REWRITE_TIME_TEXT] = "";
    if (kek_key_id(context, KEK_ENVELOPE_MODE_ANY, &plan->target.id, 1, key_id, NULL) != KEK_OK) {
        return NULL;
    }
    kek_key_id_hash(key_id, hash);
    kek_id_format(&plan->target.id, id);
    if (plan->surplus.number > 0) {
        kek_id_format(&plan->surplus.id, surplus);
    }
    if (rotate->rewrite_after_ms > 0) {
        rewrite_time_format(rotate->rewrite_after_ms, after);
    }
    return json_pack("{s:I, s:s, s:s, s:s, s:s, s:s, s:s}", "version",
                     (json_int_t)plan->target.number, "kek_id", id, "key_id", key_id, "key_id_hash",
                     hash, "reencrypt_after", after, "surplus", surplus, "reached",
                     rotation_step_name(plan->step));
}

static enum ctl_exit print_summary(struct rotate *rotate, const char *state)
{
    static const struct column columns[] = {
        {"version", "version"}, {"kek_id", "kek_id"},
        {"key_id", "key_id"},   {"key_id_hash", "key_id_hash"},
        {"reached", "reached"}, {"reencrypt_after", "re-encrypt after"}};
    json_t *object = summary(rotate);
    if (object == NULL) {
        ctl_say(rotate->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    size_t count = sizeof columns / sizeof columns[0] - (rotate->rewrite_after_ms > 0 ? 0 : 1);
    enum ctl_exit code = CTL_GOOD;
    rotate_show_end(&rotate->show);
    if (rotate->ctl->json) {
        rotate_show_event(&rotate->show, &rotate->plan, rotate->facts.now_ms, state, object);
    } else {
        code = output_object(rotate->ctl, object, columns, count);
        json_decref(object);
    }
    return code;
}

/* It never wrapped, as far as this run knows, but whether somebody let it in between nobody can say: destroying
 * it is for who can, and gains nothing but order. */
static void say_surplus(const struct rotate *rotate)
{
    char id[KEK_ID_TEXT];
    if (rotate->plan.surplus.number == 0) {
        return;
    }
    kek_id_format(&rotate->plan.surplus.id, id);
    ctl_say(rotate->ctl,
            "version %" PRIu32 " has a second key, kek id %s, which two rotations at once made: "
            "kekd seals nothing under it. It does no harm; where no node ever announced it, it may "
            "be destroyed by the vendor's tools",
            rotate->plan.surplus.number, id);
}

static enum ctl_exit ended(struct rotate *rotate)
{
    enum ctl_exit code = print_summary(rotate, "ended");
    say_surplus(rotate);
    if (code == CTL_GOOD) {
        remove_record(rotate);
    }
    return code;
}

static enum ctl_exit reached(struct rotate *rotate)
{
    if (!rotate_record(rotate)) {
        return CTL_FAILED;
    }
    enum ctl_exit code = print_summary(rotate, "reached");
    ctl_say(rotate->ctl, "%s, as --until %s asked; %s goes on from here", rotate->plan.text,
            rotation_step_name(rotate->facts.until),
            kek_command(rotate->facts.root, "key rotate").text);
    return code;
}

static enum ctl_exit nothing(struct rotate *rotate)
{
    enum ctl_exit code = print_summary(rotate, "nothing");
    ctl_say(rotate->ctl, "%s", rotate->plan.text);
    return code;
}

/* ---- the run ---- */

static bool waits_for_tokens(const struct rotation_plan *plan)
{
    return plan->step == ROTATION_CREATE && plan->node == NULL;
}

/* One turn. False: it has ended, and *code is the exit code. */
static bool take_turn(struct rotate *rotate, bool *fresh, enum ctl_exit *code)
{
    struct rotation_plan *plan = &rotate->plan;
    bool goes_on = plan->verdict == ROTATION_ACT || plan->verdict == ROTATION_WAIT;
    bool is_end = plan->verdict == ROTATION_ENDED || plan->verdict == ROTATION_REACHED;
    if (goes_on || (is_end && !rotate->ctl->json)) {
        rotate_show(&rotate->show, plan, rotate->facts.now_ms);
    }
    switch (plan->verdict) {
    case ROTATION_REFUSED:
        *code = refused(rotate);
        return false;
    case ROTATION_NOTHING:
        *code = nothing(rotate);
        return false;
    case ROTATION_ENDED:
        *code = ended(rotate);
        return false;
    case ROTATION_REACHED:
        *code = reached(rotate);
        return false;
    case ROTATION_ACT:
        *code = rotate_act(rotate);
        *fresh = true;
        return *code == CTL_GOOD;
    case ROTATION_WAIT:
        break;
    }
    *code = CTL_FAILED;
    if (plan->step > ROTATION_CLAIM && !rotate_record(rotate)) {
        return false;
    }
    pause_between_polls();
    return true;
}

/* Acts on what tokens and nodes say at that moment, never on what they said before. */
static enum ctl_exit run(struct rotate *rotate)
{
    uint64_t fresh_ms = 0;
    bool tokens = true, fresh = true, answered = true, first = true;
    enum ctl_exit code = CTL_GOOD;
    for (;;) {
        answered = rotate_look(rotate, tokens, fresh);
        if (!answered && first) {
            ctl_say(rotate->ctl, "nothing was changed: every provider must answer first: %s",
                    rotate->plan.text);
            return CTL_FAILED;
        }
        first = false;
        fresh_ms = fresh ? kek_clock_ms() : fresh_ms;
        if (rotate->plan.verdict == ROTATION_ACT && !fresh) {
            tokens = fresh = true;
            continue;
        }
        if (interrupts_met != 0) {
            return stopped(rotate, "interrupted", "interrupted");
        }
        if (rotate->plan.verdict == ROTATION_WAIT && kek_clock_ms() >= rotate->end_ms) {
            return stopped(rotate, "timeout", "the time is over");
        }
        fresh = false;
        if (!take_turn(rotate, &fresh, &code)) {
            return code;
        }
        tokens = fresh || !answered || waits_for_tokens(&rotate->plan);
        fresh = fresh || (tokens && kek_clock_ms() - fresh_ms >= rotate->facts.refresh_ms);
    }
}

/* ---- --dry-run ---- */

static json_t *show_step(const struct rotate *rotate, enum rotation_step step)
{
    const struct rotation_plan *plan = &rotate->plan;
    bool is_next = plan->verdict == ROTATION_ACT || plan->verdict == ROTATION_WAIT;
    struct rotation_wait wait = {.ms = 0};
    const char *state = "later", *text = wait.text;
    if (step > plan->step) {
        rotation_expect(&rotate->facts, step, &wait);
    } else {
        state = step == plan->step && is_next ? "next" : "done";
        wait.ms = step == plan->step ? plan->wait_ms : 0;
        text = step == plan->step ? plan->text : "";
    }
    return json_pack("{s:s, s:s, s:I, s:s}", "step", rotation_step_name(step), "state", state,
                     "wait_ms", (json_int_t)wait.ms, "text", text);
}

static enum ctl_exit show_plan(struct rotate *rotate)
{
    static const struct column columns[] = {{"step", "STEP"}, {"state", "STATE"}, {"text", "WHAT"}};
    const struct rotation_plan *plan = &rotate->plan;
    /* What comes before the first step, or after the last one, has a row where it has something to say. */
    enum rotation_step from = plan->step < ROTATION_CREATE ? plan->step : ROTATION_CREATE;
    enum rotation_step to = plan->step == ROTATION_DONE ? ROTATION_DONE : rotate->facts.until;
    json_t *steps = json_array();
    for (enum rotation_step step = from; step <= to; step++) {
        (void)json_array_append_new(steps, show_step(rotate, step));
    }
    json_t *object = json_pack("{s:I, s:b, s:o}", "version", (json_int_t)plan->target.number,
                               "dry_run", 1, "steps", steps);
    if (object == NULL) {
        ctl_say(rotate->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_list(rotate->ctl, object, "steps", columns, 3);
    json_decref(object);
    return code;
}

/* As if this node had claimed the rotation, and nobody else. */
static enum ctl_exit dry_run(struct rotate *rotate)
{
    struct rotation_progress *progress = &rotate->facts.progress;
    if (progress->step == ROTATION_CHECK) {
        progress->step = ROTATION_CLAIM;
        progress->pid = (long)getpid();
    }
    if (!rotate_look(rotate, true, true)) {
        ctl_say(rotate->ctl, "every provider must answer first: %s", rotate->plan.text);
        return CTL_FAILED;
    }
    if (rotate->plan.verdict == ROTATION_REFUSED) {
        ctl_say(rotate->ctl, "it would be refused: %s", rotate->plan.text);
        return CTL_FAILED;
    }
    return show_plan(rotate);
}

/* ---- the command ---- */

/* The id of a key that an earlier run drew and did not make may have been sent by it. */
static enum ctl_exit rotate_begin(struct rotate *rotate)
{
    struct kek_why why;
    const struct kek_config *config = rotate->keys.config;
    struct rotation_progress *progress = &rotate->facts.progress;
    uint64_t timeout = rotate->ctl->timeout_given ? rotate->ctl->timeout_ms : TIMEOUT_MS;
    rotate->end_ms = kek_clock_ms() + timeout;
    enum kek_rc rc =
        rotate->ctl->dry_run
            ? rotation_file_look(&rotate->file, config, config->status.name, progress, &why)
            : rotation_file_open(&rotate->file, config, config->status.name, progress, &why);
    if (rc != KEK_OK) {
        ctl_say(rotate->ctl, "nothing was changed: %s", why.text);
        return CTL_FAILED;
    }
    if (rotate->ctl->dry_run) {
        return dry_run(rotate);
    }
    if (progress->step != ROTATION_CHECK) {
        progress->pid = (long)getpid();
        if (rotation_file_write(&rotate->file, progress, &why) != KEK_OK) {
            ctl_say(rotate->ctl, "nothing was changed: %s", why.text);
            return CTL_FAILED;
        }
    }
    interrupts_catch();
    enum ctl_exit code = run(rotate);
    rotate_show_end(&rotate->show);
    return code;
}

/* Of every provider: which one makes it is decided later. */
static bool sees_new_ones(const struct keys *keys)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (!made_for_kekd(keys, p)) {
            return false;
        }
    }
    return true;
}

enum ctl_exit ctl_key_rotate(struct ctl *ctl)
{
    struct rotate *rotate = calloc(1, sizeof *rotate);
    if (rotate == NULL) {
        ctl_say(ctl, "no memory");
        return CTL_FAILED;
    }
    enum ctl_exit code = CTL_FAILED;
    rotate->ctl = ctl;
    rotate->file.lock = KEK_LOCK_NONE;
    rotate_show_init(&rotate->show, ctl);
    bool opened = keys_open(&rotate->keys, ctl) &&
                  new_keyring_has_begun(&rotate->keys, "nothing was changed") &&
                  (ctl->dry_run || sees_new_ones(&rotate->keys));
    code = rotate->keys.code;
    if (opened &&
        nodes_open(&rotate->nodes, ctl, rotate->keys.config, ctl->nodes.list, ctl->nodes.count,
                   &code) &&
        rotate_facts_init(rotate, &code) &&
        (ctl->dry_run || ctl_audit_open(ctl, rotate->keys.config, &rotate->keys.audit)) &&
        keys_start(&rotate->keys, true)) {
        code = rotate_begin(rotate);
    }
    rotation_file_close(&rotate->file);
    nodes_close(&rotate->nodes);
    keys_close(&rotate->keys);
    free(rotate);
    return code;
}
