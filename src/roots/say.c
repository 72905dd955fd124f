/* The verdicts of all roots as one, and what is to be mended in each. */
#include "roots/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

/* What does not fit any more is cut at the end. */
static void put_before(struct kek_keyring_verdict *verdict, const char *text, size_t len)
{
    size_t room = sizeof verdict->what - 1;
    size_t rest = strlen(verdict->what);
    rest = rest < room - len ? rest : room - len;
    memmove(verdict->what + len, verdict->what, rest);
    memcpy(verdict->what, text, len);
    verdict->what[len + rest] = '\0';
    kek_text_clean(verdict->what); /* what was cut may be the half of a character */
}

/* Says which root it is about, and counts its provider among those of all. */
static void place(const struct kek_roots *roots, size_t root, struct kek_keyring_verdict *verdict)
{
    const struct kek_root *at = &roots->settings.roots[root];
    if (verdict->provider != KEK_POOL_ANY) {
        verdict->provider += at->provider;
    }
    verdict->root = is_one(roots) ? NULL : at->name;
    if (!is_one(roots) && verdict->what[0] != '\0') {
        put_before(verdict, ": ", 2);
        put_before(verdict, at->name, strlen(at->name));
    }
}

/* Of the roots that seal: in mode `any` the best one counts, in mode `all` the worst.  One that only opens seals for
 * no other, and keeps none from it. */
static size_t decisive(const struct kek_roots *roots)
{
    bool all = roots->settings.mode == KEK_ENVELOPE_MODE_ALL;
    size_t count = roots->settings.count, best = count;
    for (size_t i = 0; i < count; i++) {
        if (!roots->settings.roots[i].seals) {
            continue;
        }
        enum kek_keyring_state state = kek_keyring_state(ring_at(roots, i));
        enum kek_keyring_state than = kek_keyring_state(ring_at(roots, best == count ? i : best));
        best = best == count || (all ? state > than : state < than) ? i : best;
    }
    return best == count ? 0 : best;
}

static void say_twins(const struct kek_roots *roots, struct kek_keyring_verdict *verdict)
{
    verdict->state = KEK_KEYRING_STARTING;
    verdict->pending = false;
    twins_say(roots, verdict->what, sizeof verdict->what, verdict->todo, sizeof verdict->todo);
}

void kek_roots_verdict(const struct kek_roots *roots, struct kek_keyring_verdict *verdict)
{
    size_t root = decisive(roots);
    kek_keyring_verdict(ring_at(roots, root), verdict);
    place(roots, root, verdict);
    if (roots->twins[0].root != NULL && !roots->announced) {
        say_twins(roots, verdict);
        return;
    }
    const struct twin *twin = is_one(roots) ? NULL : twins_of(roots, root);
    if (twin != NULL && twin->next && verdict->state == KEK_KEYRING_SHUT) {
        snprintf(verdict->todo, sizeof verdict->todo,
                 "version %" PRIu32 " is another root's KEK: make one of its own: kekctl key "
                 "generate --root %s",
                 twin->number, twin->root->name);
    }
    if (!is_one(roots) && !roots->announced && verdict->state == KEK_KEYRING_GOOD) {
        verdict->state = KEK_KEYRING_STARTING;
        verdict->pending = true;
        kek_text_copy(verdict->what, sizeof verdict->what,
                      "the roots of trust are not announced together yet");
    }
}

enum kek_keyring_state kek_roots_state(const struct kek_roots *roots)
{
    struct kek_keyring_verdict verdict;
    if (is_one(roots)) {
        return kek_keyring_state(ring_at(roots, 0));
    }
    kek_roots_verdict(roots, &verdict);
    return verdict.state;
}

/* A version that waits since it is another root's KEK: its keyring does not know that.  A root that was never announced is
 * out for it, and told as that. */
static size_t say_waits(const struct kek_roots *roots, size_t root,
                        struct kek_keyring_verdict *remarks, size_t count, size_t max)
{
    const struct twin *twin = twins_of(roots, root);
    struct kek_keyring_primary primary;
    bool announced = kek_keyring_primary(ring_at(roots, root), &primary);
    size_t at = 0;
    if (twin == NULL || !twin->next || !roots->announced) {
        return count;
    }
    while (at < count && (remarks[at].remark != KEK_KEYRING_VERSION_WAITS ||
                          remarks[at].version != twin->number)) {
        at++;
    }
    if (at == count && (!announced || count == max)) {
        return count;
    }
    if (at == count) {
        remarks[at] = (struct kek_keyring_verdict){.remark = KEK_KEYRING_VERSION_WAITS,
                                                   .since_ms = roots->twins_ms,
                                                   .version = twin->number};
    }
    remarks[at].provider = KEK_POOL_ANY;
    twins_say(roots, remarks[at].what, sizeof remarks[at].what, remarks[at].todo,
              sizeof remarks[at].todo);
    return at == count ? count + 1 : count;
}

/* In mode all nothing goes on without it but what is in memory; why it is out the verdict says. */
static void say_needed(const struct kek_roots *roots, size_t root,
                       struct kek_keyring_verdict *remark)
{
    kek_keyring_verdict(ring_at(roots, root), remark);
    remark->remark = KEK_KEYRING_ROOT_OUT;
    kek_text_copy(remark->what, sizeof remark->what,
                  "without this root of trust no data key is made, and none is opened");
    remark->todo[0] = '\0';
    place(roots, root, remark);
}

/* For the time of a change: whoever may write to etcd can leave its share out meanwhile. */
static void say_not_needed(const struct kek_roots *roots, size_t root,
                           struct kek_keyring_verdict *remark)
{
    *remark = (struct kek_keyring_verdict){.remark = KEK_KEYRING_ROOT_NOT_NEEDED,
                                           .since_ms = roots->since_ms,
                                           .provider = KEK_POOL_ANY};
    kek_text_copy(remark->what, sizeof remark->what,
                  "what has no share of this root of trust opens, too, as long as it has "
                  "`needed: false`");
    kek_text_copy(remark->todo, sizeof remark->todo,
                  "once the change is done and everything rewritten, take it out (docs/roots.md)");
    place(roots, root, remark);
}

/* A root that is out, or that what is sealed now does not open by. False: neither. */
static bool say_root(const struct kek_roots *roots, size_t root, struct kek_keyring_verdict *remark)
{
    bool missing =
        roots->settings.roots[root].seals && roots->announced && (roots->members >> root & 1) == 0;
    kek_keyring_verdict(ring_at(roots, root), remark);
    if (remark->state == KEK_KEYRING_GOOD && !missing) {
        return false;
    }
    static const char sealed[] = "what is sealed now does not open by this root of trust: ";
    bool serves = remark->state == KEK_KEYRING_GOOD || remark->state == KEK_KEYRING_STARTING;
    bool twin = missing && serves && twins_of(roots, root) != NULL;
    if (twin) {
        twins_say(roots, remark->what, sizeof remark->what, remark->todo, sizeof remark->todo);
    } else if (remark->what[0] == '\0') {
        kek_text_copy(remark->what, sizeof remark->what, "it is back, and joins after `settle`");
    }
    if (missing) {
        put_before(remark, sealed, sizeof sealed - 1);
    }
    remark->remark = KEK_KEYRING_ROOT_OUT;
    place(roots, root, remark);
    if (missing && !twin) {
        kek_text_copy(remark->todo, sizeof remark->todo,
                      "once it is back, rewrite what was sealed without it: kekctl reencrypt");
    }
    return true;
}

/* All of them have one state_dir: who saw it first says it for all. */
static size_t say_state_dir(const struct kek_roots *roots, struct kek_keyring_verdict *remarks,
                            size_t max)
{
    struct kek_keyring_verdict own[KEK_KEYRING_REMARKS_MAX];
    for (size_t i = 0; i < roots->settings.count && max > 0; i++) {
        size_t count = kek_keyring_remarks(ring_at(roots, i), own, KEK_KEYRING_REMARKS_MAX);
        for (size_t m = 0; m < count; m++) {
            if (own[m].remark == KEK_KEYRING_STATE_DIR_REPLACED) {
                remarks[0] = own[m];
                return 1;
            }
        }
    }
    return 0;
}

/* Without what is said of all. */
static size_t say_own(const struct kek_roots *roots, size_t root,
                      struct kek_keyring_verdict *remarks, size_t max)
{
    size_t count = kek_keyring_remarks(ring_at(roots, root), remarks, max), kept = 0;
    for (size_t m = 0; m < count; m++) {
        if (remarks[m].remark != KEK_KEYRING_STATE_DIR_REPLACED) {
            remarks[kept++] = remarks[m];
        }
    }
    return kept;
}

size_t kek_roots_remarks(const struct kek_roots *roots, struct kek_keyring_verdict *remarks,
                         size_t max)
{
    size_t count = say_state_dir(roots, remarks, max), decides = decisive(roots);
    for (size_t i = 0; i < roots->settings.count; i++) {
        bool told = i == decides && kek_keyring_state(ring_at(roots, i)) != KEK_KEYRING_GOOD;
        bool all = roots->settings.mode == KEK_ENVELOPE_MODE_ALL;
        if (!is_one(roots) && !told && count < max && say_root(roots, i, &remarks[count])) {
            count++;
        } else if (!is_one(roots) && told && all && count < max) {
            say_needed(roots, i, &remarks[count++]);
        }
        if (!is_one(roots) && !roots->settings.roots[i].needed && count < max) {
            say_not_needed(roots, i, &remarks[count++]);
        }
        size_t more = say_own(roots, i, remarks + count, max - count);
        more = say_waits(roots, i, remarks + count, more, max - count);
        for (size_t m = 0; m < more; m++) {
            place(roots, i, &remarks[count + m]);
        }
        count += more;
    }
    if (roots->told.remark != KEK_KEYRING_NO_REMARK && count < max) {
        remarks[count++] = roots->told;
    }
    return count;
}

void kek_roots_tell(struct kek_roots *roots, const struct kek_keyring_verdict *remark)
{
    static const struct kek_keyring_verdict none = {.remark = KEK_KEYRING_NO_REMARK};
    roots->told = remark == NULL ? none : *remark;
    if (roots->settings.changed != NULL) {
        roots->settings.changed(roots->settings.arg);
    }
}

/* What it says by provider moves to where the root's providers are among all. */
static void spread(const struct kek_root *root, struct kek_keyring_version *version)
{
    size_t count = kek_pool_provider_count(root->pool);
    struct kek_keyring_version own = *version;
    if (root->provider == 0) {
        return;
    }
    memset(version->held, 0, sizeof version->held);
    memset(version->proven, 0, sizeof version->proven);
    memset(version->canary, 0, sizeof version->canary);
    for (size_t p = 0; p < count; p++) {
        version->held[root->provider + p] = own.held[p];
        version->proven[root->provider + p] = own.proven[p];
        version->canary[root->provider + p] = own.canary[p];
    }
}

size_t kek_roots_versions(const struct kek_roots *roots, struct kek_keyring_version *versions,
                          size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < roots->settings.count; i++) {
        size_t more = kek_keyring_versions(ring_at(roots, i), versions + count, max - count);
        for (size_t v = 0; v < more; v++) {
            spread(&roots->settings.roots[i], &versions[count + v]);
        }
        count += more;
    }
    return count;
}

size_t kek_roots_destroyed(const struct kek_roots *roots, struct kek_keyring_history *list,
                           size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < roots->settings.count; i++) {
        count += kek_keyring_destroyed(ring_at(roots, i), list + count, max - count);
    }
    return count;
}
