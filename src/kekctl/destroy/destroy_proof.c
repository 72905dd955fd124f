/*
 * That no etcd holds what the version sealed: of each that is configured, the last two inventories in a row
 * must have found nothing, both begun after nothing could be sealed under it any more; and before the destruction one
 * of them after the quarantine began, so that nobody brought it back.  Each must be the etcd that it was, no older than
 * it was, and hold nothing of it at this moment: a restore brings back what inventories did not find.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy.h"
#include "kek/text.h"
#include "kekctl/rotate/rotation.h"

static const char disagreeing[] =
    "it found objects whose KEK id may be damaged: the key_id beside it is another one's, or it is "
    "no version's of this keyring";
static const char empty[] =
    "it found no object at all: that is another prefix or etcd than the API "
    "server's";

/* A clock that was set before it, while it was made or since would let it be of any time. */
static const char *flaw_in_time(const struct destroy_facts *facts,
                                const struct evidence_record *record)
{
    if (record->begun.boot[0] == '\0') {
        return "it does not say the time since boot: a kekctl before this one made it";
    }
    if (record->begun.wall_ms > facts->now.wall_ms || record->ended.wall_ms > facts->now.wall_ms ||
        record->ended.wall_ms < record->begun.wall_ms) {
        return "it is of the future";
    }
    if (!moment_agrees(&record->begun, &record->ended) ||
        !moment_agrees(&record->begun, &facts->now) ||
        !moment_agrees(&record->ended, &facts->now)) {
        return "the wall clock was set while it was made or since, as the time since boot shows";
    }
    return NULL;
}

/* What keeps a record from being proof; NULL: nothing does. */
static const char *flaw(const struct destroy_facts *facts, const struct destroy_plan *plan,
                        const struct kek_config_etcd *etcd, const struct evidence_record *record)
{
    if (strcmp(record->prefix, etcd->prefix) != 0) {
        return "it is of another prefix";
    }
    if (strcmp(record->context, etcd->context) != 0) {
        return "it is of another context";
    }
    const char *untimely = flaw_in_time(facts, record);
    if (untimely != NULL) {
        return untimely;
    }
    if (record->objects == 0) {
        return empty;
    }
    if (evidence_objects(record, &facts->kek_id) > 0) {
        return "it found objects that this version sealed";
    }
    if (record->unreadable > 0) {
        return "it found objects of which nobody can say what sealed them";
    }
    if (record->disagreeing > 0) {
        return disagreeing;
    }
    if (plan->superseded_ms == 0 || record->begun.wall_ms <= plan->superseded_ms) {
        return "it was begun before every node had announced a newer version for long enough";
    }
    return NULL;
}

static const char same_revision[] =
    "nothing was written to that etcd between it and the one after it";

/* The later of two must be of the same etcd, and of a later state of it. */
static const char *flaw_between(const struct evidence_record *earlier,
                                const struct evidence_record *later)
{
    if (earlier->cluster_id != later->cluster_id) {
        return "it is of another etcd cluster than the one after it";
    }
    if (later->begun.wall_ms < earlier->ended.wall_ms) {
        return "it had not ended when the one after it began";
    }
    if (!moment_agrees(&earlier->ended, &later->begun)) {
        return "the wall clock was set between it and the one after it, as the time since boot "
               "shows";
    }
    if (later->revision == earlier->revision) {
        return same_revision;
    }
    return later->revision < earlier->revision ? "its revision is after that of the one after it"
                                               : NULL;
}

/* The records of one etcd that count, from the newest back until one does not. */
struct proof {
    const struct evidence_record *last, *before;
    const struct evidence_record *flawed; /* the newest that does not count; NULL: there is none */
    const char *flaw;
};

static struct proof look(const struct destroy_facts *facts, const struct destroy_plan *plan,
                         const struct kek_config_etcd *etcd)
{
    struct proof proof = {.last = NULL};
    for (size_t i = facts->evidence->count; i > 0 && proof.before == NULL; i--) {
        const struct evidence_record *record = &facts->evidence->records[i - 1];
        if (strcmp(record->etcd, etcd->name) != 0) {
            continue;
        }
        proof.flaw = flaw(facts, plan, etcd, record);
        if (proof.flaw == NULL && proof.last != NULL) {
            proof.flaw = flaw_between(record, proof.last);
        }
        if (proof.flaw != NULL) {
            proof.flawed = record;
            break;
        }
        *(proof.last == NULL ? &proof.last : &proof.before) = record;
    }
    return proof;
}

static void say_unmet(const struct destroy_facts *facts, struct destroy_plan *plan,
                      const struct proof *proof, const char *condition)
{
    char when[ROTATION_TIME_TEXT] = "", todo[400];
    size_t has = proof->last == NULL ? 0 : 1;
    bool holds = proof->flawed != NULL && evidence_objects(proof->flawed, &facts->kek_id) > 0;
    snprintf(
        todo, sizeof todo, "%srun kekctl inventory %s",
        holds && facts->root[0] != '\0' ? "kekctl reencrypt writes anew what has this KEK in its "
                                          "envelope, whatever other root opens "
                                          "it, too; then "
        : holds                         ? "have what it sealed written anew, then "
        : proof->flawed != NULL && proof->flawed->unreadable > 0 ? "mend those, then "
        : proof->flaw == disagreeing
            ? "see kekctl inventory, restore or remove what it names as key-id and what is under "
              "a KEK that is no version, then "
        : proof->flaw == empty
            ? "correct prefix or endpoints of that etcd in the configuration, then "
        : plan->superseded_ms == 0 ? "once superseded is met, "
                                   : "",
        proof->flaw == same_revision ? "once more when something was written there"
        : has == 1                   ? "once more"
                                     : "twice");
    if (proof->flawed == NULL) {
        destroy_unmet(plan, condition, todo, "%zu of %d inventories", has, DESTROY_INVENTORIES);
        return;
    }
    rotation_time_format(proof->flawed->begun.wall_ms, when);
    destroy_unmet(plan, condition, todo,
                  "%zu of %d inventories; the one begun at %s, revision %" PRId64
                  ", does not count: %s",
                  has, DESTROY_INVENTORIES, when, proof->flawed->revision, proof->flaw);
}

/* Does one lie in the other? */
static bool overlap(const char *one, const char *other)
{
    size_t shorter = strlen(one) < strlen(other) ? strlen(one) : strlen(other);
    const char *longer = strlen(one) < strlen(other) ? other : one;
    return strncmp(one, other, shorter) == 0 &&
           (longer[shorter] == '\0' || longer[shorter] == '/' || shorter == 0 ||
            longer[shorter - 1] == '/');
}

/* Another entry whose last inventory read the same keys: one of the two etcds was never looked at. */
static const char *twin_of(const struct destroy_facts *facts, const struct evidence_record *record)
{
    for (size_t i = 0; i < facts->etcd_count; i++) {
        const struct evidence_record *last = NULL;
        for (size_t r = 0; r < facts->evidence->count; r++) {
            const struct evidence_record *other = &facts->evidence->records[r];
            last = strcmp(other->etcd, facts->etcd[i].name) == 0 ? other : last;
        }
        if (last != NULL && strcmp(last->etcd, record->etcd) != 0 &&
            last->cluster_id == record->cluster_id && overlap(last->prefix, record->prefix)) {
            return facts->etcd[i].name;
        }
    }
    return NULL;
}

/* What stands against what inventories proved, now that the etcd was looked at; false after a row that says it. */
static bool check_live(struct destroy_plan *plan, const char *condition,
                       const struct evidence_record *last, const struct destroy_live *live)
{
    static const char anew[] = "see what was restored there, have what the version sealed written "
                               "anew, then run kekctl inventory twice";
    if (!live->complete) {
        destroy_unmet(plan, condition,
                      "mend it, or the way to it; only one that is gone for good, with all its "
                      "backups, is taken out of etcd: in every node's configuration",
                      "it cannot be looked at now: %.300s", live->why.text);
    } else if (live->cluster_id != last->cluster_id) {
        destroy_unmet(plan, condition, anew,
                      "it is cluster %016" PRIx64 " now, and was %016" PRIx64
                      " at the last inventory: another etcd, or one that was restored",
                      live->cluster_id, last->cluster_id);
    } else if (live->revision < last->revision) {
        destroy_unmet(plan, condition, anew,
                      "it is at revision %" PRId64 " now, and was at %" PRId64
                      " at the last inventory: it was restored to an older state",
                      live->revision, last->revision);
    } else if (live->sealed > 0 || live->unclear > 0 || live->objects == 0) {
        destroy_unmet(plan, condition, anew,
                      "at revision %" PRId64 ", now, it has %s, %" PRIu64
                      " that the version sealed and %" PRIu64
                      " of which nobody can say what sealed them: it was restored, or they were "
                      "written since the last inventory",
                      live->revision, kek_counted(live->objects, "object").text, live->sealed,
                      live->unclear);
    } else {
        return true;
    }
    return false;
}

/* Of one that was begun before the quarantine by either clock nobody knows what came between. */
static bool is_after_quarantine(const struct destroy_facts *facts, const struct destroy_plan *plan,
                                const struct evidence_record *record)
{
    return record->begun.wall_ms > plan->quarantined_ms &&
           moment_agrees(&facts->progress.quarantined, &record->begun);
}

static void plan_etcd(const struct destroy_facts *facts, struct destroy_plan *plan, size_t at)
{
    char condition[DESTROY_CONDITION_TEXT], when[ROTATION_TIME_TEXT], now[40] = "";
    const struct kek_config_etcd *etcd = &facts->etcd[at];
    const struct destroy_live *live =
        facts->live != NULL && facts->live[at].looked ? &facts->live[at] : NULL;
    struct proof proof = look(facts, plan, etcd);
    destroy_inventory_name(etcd->name, condition);
    if (proof.before == NULL) {
        say_unmet(facts, plan, &proof, condition);
        return;
    }
    const char *twin = twin_of(facts, proof.last);
    if (twin != NULL) {
        destroy_unmet(plan, condition,
                      "correct the endpoints of the wrong one in the configuration, or take one of "
                      "them out if there is but one etcd; then run kekctl inventory twice",
                      "it read the same etcd and keys as that of %s, cluster %016" PRIx64, twin,
                      proof.last->cluster_id);
        return;
    }
    rotation_time_format(proof.last->begun.wall_ms, when);
    if (plan->stage == DESTROY_DESTROY && !is_after_quarantine(facts, plan, proof.last)) {
        destroy_unmet(plan, condition, "run kekctl inventory once more",
                      "the last one, begun at %s, was begun before the quarantine", when);
        return;
    }
    if (live != NULL && !check_live(plan, condition, proof.last, live)) {
        return;
    }
    if (live != NULL) {
        snprintf(now, sizeof now, ", and at %" PRId64 " now", live->revision);
    }
    destroy_met(plan, condition,
                "0 objects at revision %" PRId64 " and %" PRId64 " (%" PRIu64
                " objects, begun at %s)%s",
                proof.before->revision, proof.last->revision, proof.last->objects, when, now);
}

void destroy_plan_proof(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    if (facts->etcd_count == 0) {
        char todo[400];
        snprintf(
            todo, sizeof todo,
            "name each etcd that holds objects under this keyring, by etcd: in %.200s, and run "
            "kekctl inventory twice",
            facts->config_path);
        destroy_unmet(plan, "inventory", todo, "no etcd is configured, so nothing can be proven");
        return;
    }
    for (size_t i = 0; i < facts->etcd_count; i++) {
        plan_etcd(facts, plan, i);
    }
}

bool destroy_is_proven(const struct destroy_plan *plan, const char *etcd)
{
    char condition[DESTROY_CONDITION_TEXT];
    bool proven = false;
    destroy_inventory_name(etcd, condition);
    for (size_t i = 0; i < plan->count; i++) {
        proven = proven || (plan->rows[i].met && strcmp(plan->rows[i].condition, condition) == 0);
    }
    return proven;
}
