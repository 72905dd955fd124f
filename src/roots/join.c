/*
 * The generation of all roots: who is in it, what is announced, what is wanted.
 *
 * Each keyring announces its own primary, on record and for good.  What is joined here follows of that, so it needs
 * no record: after a restart it is what the keyrings announce, and who cannot wrap leaves again.
 */
#include "roots/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"

/* That a root may be at the beginning with nothing under way that will tell, before it counts as out. */
#define STARTING_MS 1000u

/* Of those that seal. */
static unsigned everyone(const struct kek_roots *roots)
{
    unsigned all = 0;
    for (size_t i = 0; i < roots->settings.count; i++) {
        all |= roots->settings.roots[i].seals ? 1u << i : 0;
    }
    return all;
}

static bool has_primary(const struct kek_roots *roots, size_t root)
{
    struct kek_keyring_primary primary;
    return kek_keyring_primary(ring_at(roots, root), &primary);
}

/* Can it wrap, can it not, or will that be known in a moment? */
static void look_at(struct kek_roots *roots, size_t root, uint64_t now_ms)
{
    struct kek_keyring_verdict verdict;
    kek_keyring_verdict(ring_at(roots, root), &verdict);
    bool good = verdict.state == KEK_KEYRING_GOOD;
    roots->good_ms[root] = !good ? 0 : roots->good_ms[root] > 0 ? roots->good_ms[root] : now_ms;
    bool starting = verdict.state == KEK_KEYRING_STARTING;
    bool comes = starting && (verdict.pending || kek_keyring_wanted(ring_at(roots, root)) != NULL);
    uint64_t *idle_ms = &roots->idle_ms[root];
    *idle_ms = !starting || comes ? 0 : *idle_ms > 0 ? *idle_ms : now_ms;
    roots->out[root] = !good && !comes && !(starting && now_ms - *idle_ms < STARTING_MS);
}

/* What was announced before is so again, whoever answers.  A root that never was is waited for unless it is out, or others
 * were announced without it before: then it comes in like one that is back. */
static unsigned who_begins(const struct kek_roots *roots)
{
    unsigned announced = 0, waited = 0, lacked = 0;
    for (size_t i = 0; i < roots->settings.count; i++) {
        announced |= has_primary(roots, i) ? 1u << i : 0;
        waited |= !roots->out[i] ? 1u << i : 0;
        lacked |= kek_keyring_has_lapsed(ring_at(roots, i)) ? 1u << i : 0;
    }
    announced &= everyone(roots);
    waited &= everyone(roots);
    unsigned should = announced | (waited & ~lacked);
    return should != 0 ? should : waited;
}

/* Who is out leaves once nothing bridges it, and if another stays; who is back for long enough comes in, and at once
 * where nobody else is left to seal under. */
static unsigned who_goes_on(const struct kek_roots *roots, uint64_t now_ms)
{
    unsigned out = 0, back = 0, good = 0;
    for (size_t i = 0; i < roots->settings.count; i++) {
        bool settled = roots->good_ms[i] > 0 &&
                       now_ms - roots->good_ms[i] >= roots->settings.config->settle_ms;
        out |= roots->out[i] && !roots->bridged ? 1u << i : 0;
        good |= roots->good_ms[i] > 0 ? 1u << i : 0;
        back |= settled ? 1u << i : 0;
    }
    unsigned should = (roots->members & ~out) | (back & everyone(roots));
    should = should != 0 ? should : good & everyone(roots);
    return should != 0 ? should : roots->members;
}

/* Who should be in the generation.  0: that is not known yet. */
static unsigned who_should(const struct kek_roots *roots, uint64_t now_ms)
{
    if (roots->settings.mode == KEK_ENVELOPE_MODE_ALL) {
        return everyone(roots);
    }
    return roots->announced ? who_goes_on(roots, now_ms) : who_begins(roots);
}

static bool has_kek(const struct kek_generation *generation, const struct kek_id *kek_id)
{
    size_t i = 0;
    while (i < generation->count && !kek_id_equal(&generation->kek_ids[i], kek_id)) {
        i++;
    }
    return i < generation->count;
}

/* What its keyring wants.  NULL: nothing, or what another root seals under. */
static const struct kek_generation *wanted_of(const struct kek_roots *roots, size_t root)
{
    const struct kek_generation *wanted = kek_keyring_wanted(ring_at(roots, root));
    return wanted != NULL && !twins_taken(roots, root, &wanted->kek_ids[0]) ? wanted : NULL;
}

/* The primaries of these, and of one root what its keyring wants instead: the first that wants something, unless
 * `as_announced`.  False: one of them has neither, or two have the same KEK, and are one root. */
static bool join(const struct kek_roots *roots, unsigned members, bool as_announced,
                 struct kek_keyring_primary *joined)
{
    bool changes = false;
    *joined = (struct kek_keyring_primary){.generation.mode = roots->settings.mode};
    struct kek_generation *generation = &joined->generation;
    for (size_t i = 0; i < roots->settings.count; i++) {
        struct kek_keyring_primary primary;
        const struct kek_generation *of = &primary.generation;
        const struct kek_generation *wanted = wanted_of(roots, i);
        if ((members >> i & 1) == 0) {
            continue;
        }
        bool has = kek_keyring_primary(ring_at(roots, i), &primary);
        if (!as_announced && wanted != NULL && (!changes || !has)) {
            of = wanted;
            changes = true;
        } else if (!has) {
            return false;
        }
        if (has_kek(generation, &of->kek_ids[0])) {
            return false;
        }
        joined->each_announced_ms[generation->count] = has ? primary.announced_ms : 0;
        generation->kek_ids[generation->count] = of->kek_ids[0];
        generation->roots[generation->count] = (uint8_t)i;
        generation->numbers[generation->count++] = of->numbers[0];
        if (has && primary.since_ms > joined->since_ms) {
            joined->since_ms = primary.since_ms;
        }
    }
    return generation->count > 0 &&
           kek_key_id(kek_bytes_of(roots->settings.config->context), generation->mode,
                      generation->kek_ids, generation->count, generation->key_id, NULL) == KEK_OK;
}

static void names_of(const struct kek_roots *roots, unsigned members, char *text, size_t size)
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < roots->settings.count && len < size; i++) {
        if ((members >> i & 1) != 0) {
            len += (size_t)snprintf(text + len, size - len, "%s%s", len == 0 ? "" : ", ",
                                    roots->settings.roots[i].name);
        }
    }
}

/* The key_id that API servers see is of all KEKs together: no keyring's own word has it. */
static void tell_announced(const struct kek_roots *roots, bool first)
{
    const struct kek_generation *generation = &roots->primary.generation;
    char hash[KEK_KEY_ID_HASH_TEXT], text[400];
    size_t len = (size_t)snprintf(text, sizeof text,
                                  "%s primary of the roots of trust:", first ? "first" : "new");
    if (roots->settings.notice == NULL) {
        return;
    }
    for (size_t i = 0; i < generation->count && len < sizeof text; i++) {
        len += (size_t)snprintf(text + len, sizeof text - len, "%s %s version %" PRIu32,
                                i == 0 ? "" : ",", roots->settings.roots[generation->roots[i]].name,
                                generation->numbers[i]);
    }
    kek_key_id_hash(generation->key_id, hash);
    roots->settings.notice(roots->settings.arg, KEK_LOG_INFO,
                           KEK_LOG_FIELDS(kek_log_text("key_id", generation->key_id),
                                          kek_log_text("key_id_hash", hash)),
                           text);
}

static void tell_members(const struct kek_roots *roots, unsigned before)
{
    char gone[160], back[160], now[160];
    names_of(roots, before & ~roots->members, gone, sizeof gone);
    names_of(roots, roots->members & ~before, back, sizeof back);
    names_of(roots, roots->members, now, sizeof now);
    if (roots->settings.notice == NULL || before == roots->members) {
        return;
    }
    char text[600];
    snprintf(text, sizeof text, "sealing is under the roots of trust %s now%s%s%s%s", now,
             gone[0] == '\0' ? "" : ", without ", gone, back[0] == '\0' ? "" : ", again with ",
             back);
    roots->settings.notice(roots->settings.arg, gone[0] == '\0' ? KEK_LOG_INFO : KEK_LOG_WARN,
                           KEK_LOG_FIELDS(kek_log_text("key_id", roots->primary.generation.key_id)),
                           text);
}

/* Whom what is announced lacks. */
static void tell_lapses(const struct kek_roots *roots)
{
    unsigned lacking = roots->announced ? everyone(roots) & ~roots->members : 0;
    for (size_t i = 0; i < roots->settings.count; i++) {
        if ((lacking >> i & 1) != 0) {
            kek_keyring_lapsed(ring_at(roots, i));
        }
    }
}

/* Who came in is lacking no more. */
static void tell_lapses_over(const struct kek_roots *roots, unsigned before)
{
    for (size_t i = 0; i < roots->settings.count; i++) {
        if (((roots->members & ~before) >> i & 1) != 0) {
            kek_keyring_lapse_over(ring_at(roots, i));
        }
    }
}

/* That it lacks a root is on its way to that root's record before anybody hears of it and seals under it, and not held up by it: a
 * disk that is full must not be an outage of the roots that are left. */
static void announce(struct kek_roots *roots, unsigned members,
                     const struct kek_keyring_primary *joined, uint64_t now_ms)
{
    bool first = !roots->announced;
    unsigned before = first ? everyone(roots) : roots->members;
    if (!first && roots->members == members &&
        kek_generation_equal(&roots->primary.generation, &joined->generation)) {
        return;
    }
    roots->announced = true;
    roots->members = members;
    tell_lapses(roots);
    tell_lapses_over(roots, before);
    roots->primary = *joined;
    roots->primary.since_ms = first ? joined->since_ms : now_ms;
    /* Records are of each KEK alone: since when they were announced together none of them says. */
    roots->primary.announced_ms = first ? 0 : kek_clock_wall_ms();
    tell_announced(roots, first);
    tell_members(roots, before);
    wait_end_all(roots);
}

/* At the start what was announced before is so again, at once: no connection can remember another. */
static void announce_first(struct kek_roots *roots, unsigned should, uint64_t now_ms)
{
    struct kek_keyring_primary joined;
    if (should != 0 && join(roots, should, true, &joined)) {
        announce(roots, should, &joined, now_ms);
    }
}

static void follow_keyrings(struct kek_roots *roots, uint64_t now_ms)
{
    struct kek_keyring_primary joined;
    if (join(roots, roots->members, true, &joined)) {
        announce(roots, roots->members, &joined, now_ms);
    }
}

bool join_drive(struct kek_roots *roots)
{
    uint64_t now_ms = kek_clock_ms();
    struct kek_generation before = roots->wanted;
    char key_id[KEK_KEY_ID_TEXT];
    unsigned members = roots->members;
    struct kek_keyring_primary joined;
    memcpy(key_id, roots->primary.generation.key_id, sizeof key_id);
    for (size_t i = 0; i < roots->settings.count; i++) {
        const struct kek_generation *own = kek_keyring_wanted(ring_at(roots, i));
        if (!roots->settings.roots[i].seals && own != NULL) {
            kek_keyring_prepared(ring_at(roots, i), own); /* nothing is to be made under it */
        }
        look_at(roots, i, now_ms);
    }
    unsigned should = who_should(roots, now_ms);
    if (roots->announced) {
        follow_keyrings(roots, now_ms);
    } else {
        announce_first(roots, should, now_ms);
    }
    tell_lapses(roots);
    twins_look(roots);
    roots->wanted.count = 0;
    roots->wanted_members = should;
    if (should != 0 && join(roots, should, false, &joined) &&
        !(roots->announced &&
          kek_generation_equal(&joined.generation, &roots->primary.generation))) {
        roots->wanted = joined.generation;
    }
    return roots->members != members || roots->wanted.count != before.count ||
           strcmp(roots->wanted.key_id, before.key_id) != 0 ||
           strcmp(roots->primary.generation.key_id, key_id) != 0;
}

/* A keyring that wanted its KEK is told first; once it has announced it, the data key is there still. */
void kek_roots_prepared(struct kek_roots *roots, const struct kek_generation *generation)
{
    bool theirs = false;
    if (is_one(roots)) {
        kek_keyring_prepared(ring_at(roots, 0), generation);
        return;
    }
    for (size_t i = 0; i < roots->settings.count; i++) {
        const struct kek_generation *wanted = kek_keyring_wanted(ring_at(roots, i));
        for (size_t e = 0; wanted != NULL && e < generation->count; e++) {
            if (generation->roots[e] == i &&
                kek_id_equal(&generation->kek_ids[e], &wanted->kek_ids[0])) {
                kek_keyring_prepared(ring_at(roots, i), wanted);
                theirs = true;
                break;
            }
        }
    }
    struct kek_keyring_primary joined;
    if (!theirs && roots->announced && roots->wanted.count > 0 &&
        kek_generation_equal(generation, &roots->wanted) &&
        join(roots, roots->wanted_members, true, &joined) &&
        kek_generation_equal(generation, &joined.generation)) {
        roots->wanted.count = 0;
        announce(roots, roots->wanted_members, &joined, kek_clock_ms());
        if (roots->settings.changed != NULL) {
            roots->settings.changed(roots->settings.arg);
        }
    }
}
