/* What the plan of a rotation is made from: options, tokens, nodes. */
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/digest.h"
#include "kek/text.h"
#include "rewrite_time.h"
#include "rotate.h"

#define ASK_MIN_MS 1000u
#define ASK_MAX_MS 5000u

static bool take_until(struct rotate *rotate)
{
    enum rotation_step *until = &rotate->facts.until;
    *until = ROTATION_RETIRE;
    if (rotate->ctl->until == NULL || (rotation_step_parse(rotate->ctl->until, until) &&
                                       *until >= ROTATION_CREATE && *until <= ROTATION_RETIRE)) {
        return true;
    }
    ctl_say(rotate->ctl,
            "--until: expected create, seen, promote, announced or retire, found \"%s\"",
            rotate->ctl->until);
    return false;
}

static bool take_left_out(struct rotate *rotate)
{
    for (size_t k = 0; k < rotate->ctl->without.count; k++) {
        const char *name = rotate->ctl->without.list[k];
        size_t i = 0;
        while (i < rotate->nodes.count && strcmp(rotate->nodes.list[i].name, name) != 0) {
            i++;
        }
        if (i == rotate->nodes.count) {
            ctl_say(rotate->ctl,
                    "--without: there is no node \"%s\", as --node or status.nodes "
                    "of the configuration writes it",
                    name);
            return false;
        }
        rotate->facts.left_out[i] = true;
    }
    return true;
}

static bool take_context(struct rotate *rotate)
{
    struct kek_bytes context = kek_bytes_of(rotate->keys.config->context);
    if (!kek_sha256_text(context, rotate->context_sha256)) {
        ctl_say(rotate->ctl, "OpenSSL has no SHA-256");
        return false;
    }
    return true;
}

bool rotate_facts_init(struct rotate *rotate, enum ctl_exit *code)
{
    const struct ctl *ctl = rotate->ctl;
    const struct kek_config *config = rotate->keys.config;
    struct rotation_facts *facts = &rotate->facts;
    *code = CTL_USAGE;
    facts->maker = SIZE_MAX;
    if (!take_until(rotate) || !take_left_out(rotate) ||
        (ctl->provider != NULL && !keys_named(&rotate->keys, &facts->maker))) {
        return false;
    }
    *code = CTL_FAILED;
    facts->single_node = ctl->single_node;
    facts->has_backup = ctl->has_backup;
    facts->again = ctl->again;
    facts->keyring = kek_config_file_keyring(config);
    facts->root = config->root;
    facts->context_sha256 = rotate->context_sha256;
    facts->self = config->status.name;
    facts->refresh_ms = config->refresh_ms;
    facts->settle_ms = config->settle_ms;
    facts->provider_count = config->provider_count;
    return take_context(rotate);
}

static void take_listings(struct rotate *rotate)
{
    const struct kek_config *config = rotate->keys.config;
    for (size_t p = 0; p < config->provider_count; p++) {
        const struct listing *listing = &rotate->keys.listings[p];
        rotate->facts.providers[p] =
            (struct rotation_provider){.name = config->providers[p].name,
                                       .configured = config->providers[p].version_count > 0,
                                       .is_twin = kek_pool_twin(rotate->keys.pool, p) < p,
                                       .versions = listing->versions,
                                       .count = listing->count};
    }
}

static bool ask_tokens(struct rotate *rotate, bool fresh)
{
    struct keys *keys = &rotate->keys;
    struct rotation_plan *plan = &rotate->plan;
    if (keys_look(keys, fresh) == keys->config->provider_count) {
        return true;
    }
    size_t p = 0;
    while (keys->listings[p].rc == KEK_OK) {
        p++;
    }
    const char *name = keys->config->providers[p].name;
    *plan = (struct rotation_plan){.verdict = ROTATION_WAIT,
                                   .step = rotate->facts.progress.step,
                                   .target = rotate->facts.progress.key,
                                   .where = name};
    snprintf(plan->text, sizeof plan->text, "%s: %.400s", name,
             kek_text_after_name(keys->listings[p].why.text, name));
    return false;
}

/* One that hangs is asked again in the next turn, so no turn takes long; nor longer than there is time. */
static uint64_t time_to_ask(const struct rotate *rotate)
{
    uint64_t now = kek_clock_ms();
    uint64_t left = rotate->end_ms > now ? rotate->end_ms - now : 0;
    return left < ASK_MIN_MS ? ASK_MIN_MS : left > ASK_MAX_MS ? ASK_MAX_MS : left;
}

/* Of CLOCK_BOOTTIME, which nobody sets, and which the next kekctl on this node reads too. */
static int64_t up_ms(void)
{
    struct timespec now = {0};
    (void)clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool rotate_look(struct rotate *rotate, bool tokens, bool fresh)
{
    if (tokens && !ask_tokens(rotate, fresh)) {
        return false;
    }
    (void)nodes_ask(&rotate->nodes, time_to_ask(rotate));
    take_listings(rotate);
    rotate->facts.nodes = rotate->nodes.list;
    rotate->facts.node_count = rotate->nodes.count;
    rotate->facts.alone = rotate->nodes.alone;
    rotate->facts.now_ms = kek_clock_wall_ms();
    rotate->facts.up_ms = up_ms();
    rotation_plan(&rotate->facts, &rotate->plan);
    const struct rotation_plan *plan = &rotate->plan;
    bool announced = plan->step > ROTATION_ANNOUNCED ||
                     (plan->step == ROTATION_ANNOUNCED && plan->verdict == ROTATION_REACHED);
    bool is_blind = rotate->nodes.alone && !rotate->ctl->single_node;
    int64_t needed_ms = rewrite_needed_ms(rotate->keys.config, is_blind);
    rotate->rewrite_after_ms =
        announced
            ? rewrite_after_ms(rotate->nodes.list, rotate->nodes.count, rotate->facts.left_out,
                               &plan->target.id, needed_ms, rotate->facts.now_ms)
            : 0;
    return true;
}
