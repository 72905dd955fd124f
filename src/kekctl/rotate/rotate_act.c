/* What a rotation does: its record, a new key, one version active, the older ones retired. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "kek/text.h"
#include "kekctl/key/changes.h"
#include "kekctl/key/made.h"
#include "rotate.h"

static bool write_record(struct rotate *rotate, const struct rotation_progress *progress)
{
    struct kek_why why;
    if (rotation_file_write(&rotate->file, progress, &why) != KEK_OK) {
        ctl_say(rotate->ctl,
                "the rotation stops here, since how far it is could not be put on record: "
                "%s",
                why.text);
        return false;
    }
    rotate->facts.progress = *progress;
    return true;
}

/* The id is on record before it is sent, so that a key whose making got no answer is found by it. */
static bool draw(struct rotate *rotate, struct rotation_key *key)
{
    const struct rotation_key *recorded = &rotate->facts.progress.key;
    if (rotate->drawn && recorded->number == key->number) {
        key->id = recorded->id;
        return true;
    }
    if (getentropy(key->id.bytes, sizeof key->id.bytes) != 0) {
        ctl_say(rotate->ctl, "no random numbers: %s", strerror(errno));
        return false;
    }
    rotate->drawn = true;
    return true;
}

bool rotate_record(struct rotate *rotate)
{
    const struct rotation_plan *plan = &rotate->plan;
    const struct rotation_progress *now = &rotate->facts.progress;
    struct rotation_key key = plan->target;
    if (plan->is_new && !draw(rotate, &key)) {
        return false;
    }
    if (now->step == plan->step && kek_id_equal(&now->key.id, &key.id) &&
        now->key.number == key.number) {
        return true;
    }
    const struct rotation_progress progress = {.step = plan->step,
                                               .key = key,
                                               .since_ms = rotate->facts.now_ms,
                                               .since_up_ms = rotate->facts.up_ms,
                                               .pid = (long)getpid()};
    return write_record(rotate, &progress);
}

/* The node's lock on changes, and a look at the tokens under it.  False: the rotation stops here. */
static bool begin_change(struct rotate *rotate, struct kek_lock *lock)
{
    struct kek_why why;
    if (changes_lock(rotate->keys.config, lock, &why) && changes_look(&rotate->keys, &why)) {
        return true;
    }
    rotate_show_end(&rotate->show);
    ctl_say(rotate->ctl, "the rotation stops at step %s: %s", rotation_step_name(rotate->plan.step),
            why.text);
    return false;
}

/* Which was said. */
static enum ctl_exit not_on_record(const struct rotate *rotate)
{
    ctl_say(rotate->ctl, "the rotation stops at step %s: nothing%s was changed",
            rotation_step_name(rotate->plan.step), rotate->changed ? " more" : "");
    return rotate->changed ? CTL_CHECK : CTL_FAILED;
}

/* ---- create ---- */

/* Another kekctl of this node may have made a key since the plan was made. */
static bool is_free(const struct keys *keys, uint32_t number)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        for (size_t i = 0; i < keys->listings[p].count; i++) {
            if (keys->listings[p].versions[i].number == number) {
                return false;
            }
        }
    }
    return true;
}

static enum ctl_exit create(struct rotate *rotate)
{
    struct keys *keys = &rotate->keys;
    size_t provider = rotate->plan.provider;
    struct kek_why why = {.rc = KEK_OK};
    /* Once it is on record that this node makes a key, the others are asked once more whether they do. */
    bool asked = rotate->facts.progress.step == ROTATION_CREATE && rotate->drawn &&
                 rotate->facts.progress.key.number == rotate->plan.target.number;
    if (!rotate_record(rotate)) {
        return CTL_FAILED;
    }
    if (!asked) {
        return CTL_GOOD;
    }
    struct rotation_key key = rotate->facts.progress.key;
    KEK_AUTO_LOCK struct kek_lock lock = KEK_LOCK_NONE;
    if (!begin_change(rotate, &lock)) {
        return CTL_CHECK;
    }
    if (!is_free(keys, key.number)) {
        return CTL_GOOD; /* the next turn plans anew */
    }
    enum kek_state state = made_state(keys, provider, key.number);
    rotate_show_end(&rotate->show);
    if (!made_begin(keys, provider, key.number, &key.id, state)) {
        return not_on_record(rotate);
    }
    rotate->drawn = false;
    rotate->changed = true;
    enum kek_rc rc = keys_generate(keys, provider, key.number, &key.id, state, &why);
    const struct kek_why *failed = rc == KEK_OK ? NULL : &why;
    rotate->facts.progress.key.id = key.id;
    enum ctl_exit code = made_verify(keys, provider, &key.id, state, failed);
    made_on_record(keys, provider, key.number, &key.id, state, failed);
    return code;
}

/* ---- promote, retire ---- */

/* Who announces what, as the pages say it. */
static void take_announced(const struct rotate *rotate, struct announced *announced)
{
    announced->count = 0;
    for (size_t i = 0; i < rotate->nodes.count && announced->count < ANNOUNCED_MAX; i++) {
        const struct node *node = &rotate->nodes.list[i];
        if (!node->reachable || !node->status.announces) {
            continue;
        }
        snprintf(announced->by[announced->count].node, ANNOUNCED_NODE, "%.100s", node->status.node);
        announced->by[announced->count].kek_id = node->status.primary.kek_id;
        announced->by[announced->count].number = node->status.primary.version;
        announced->count++;
    }
}

static void say_behind(const struct rotate *rotate, const struct changes *changes)
{
    const struct kek_config *config = rotate->keys.config;
    for (size_t p = 0; p < config->provider_count; p++) {
        const struct change_step *step = &changes->steps[p];
        const char *name = config->providers[p].name;
        if (step->outcome == CHANGE_BEHIND || step->outcome == CHANGE_UNCLEAR ||
            step->outcome == CHANGE_BY_CONFIG) {
            ctl_say(rotate->ctl, "%s is behind: version %" PRIu32 " is not %s there: %s%s%s", name,
                    changes->number, kek_state_name(changes->becomes),
                    kek_text_after_name(step->why.text, name), step->todo[0] == '\0' ? "" : "; ",
                    step->todo);
        }
    }
}

static enum ctl_exit change(struct rotate *rotate, const struct rotation_key *key,
                            enum change_kind kind)
{
    struct announced announced;
    struct kek_why why;
    struct changes changes = {
        .keys = &rotate->keys, .kek_id = key->id, .number = key->number, .kind = kind};
    KEK_AUTO_LOCK struct kek_lock lock = KEK_LOCK_NONE;
    take_announced(rotate, &announced);
    if (!begin_change(rotate, &lock)) {
        return CTL_CHECK;
    }
    changes_plan(&changes, &announced);
    if (!changes_allowed(&changes, &announced, &why)) {
        rotate_show_end(&rotate->show);
        ctl_say(rotate->ctl, "the rotation stops at step %s: %s",
                rotation_step_name(rotate->plan.step), why.text);
        return CTL_CHECK;
    }
    rotate_show_end(&rotate->show);
    if (!changes_begin(&changes)) {
        return not_on_record(rotate);
    }
    rotate->changed = true;
    enum ctl_exit code = changes_run(&changes);
    if (code != CTL_GOOD) {
        rotate_show_end(&rotate->show);
        say_behind(rotate, &changes);
        return CTL_CHECK;
    }
    return CTL_GOOD;
}

static enum ctl_exit retire(struct rotate *rotate)
{
    for (size_t i = 0; i < rotate->plan.old_count; i++) {
        enum ctl_exit code = change(rotate, &rotate->plan.old[i], CHANGE_RETIRE);
        if (code != CTL_GOOD) {
            return code;
        }
    }
    return CTL_GOOD;
}

enum ctl_exit rotate_act(struct rotate *rotate)
{
    if (rotate->plan.step == ROTATION_CREATE) {
        return create(rotate);
    }
    if (!rotate_record(rotate)) {
        return CTL_FAILED;
    }
    switch (rotate->plan.step) {
    case ROTATION_PROMOTE:
        return change(rotate, &rotate->plan.target, CHANGE_PROMOTE);
    case ROTATION_RETIRE:
        return retire(rotate);
    default:
        return CTL_GOOD; /* the claim is the record itself */
    }
}
