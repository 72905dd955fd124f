/*
 * That no etcd holds what the version sealed: of each that is configured, the last two inventories in a row
 * must have found nothing, both begun after nothing could be sealed under it any more; and before the destruction one
 * of them after the quarantine began, so that nobody brought it back.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy.h"
#include "kekctl/rotate/rotation.h"

static const char empty[] =
    "it found no object at all: that is another prefix or etcd than the API "
    "server's";

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
    if (record->begun_ms > facts->now_ms || record->ended_ms > facts->now_ms ||
        record->ended_ms < record->begun_ms) {
        return "it is of the future";
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
    if (plan->superseded_ms == 0 || record->begun_ms <= plan->superseded_ms) {
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
    if (later->begun_ms < earlier->ended_ms) {
        return "it had not ended when the one after it began";
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
    char when[ROTATION_TIME_TEXT] = "", todo[200];
    size_t has = proof->last == NULL ? 0 : 1;
    bool holds = proof->flawed != NULL && evidence_objects(proof->flawed, &facts->kek_id) > 0;
    snprintf(todo, sizeof todo, "%srun kekctl inventory %s",
             holds ? "have what it sealed written anew, then "
             : proof->flawed != NULL && proof->flawed->unreadable > 0 ? "mend those, then "
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
    rotation_time_format(proof->flawed->begun_ms, when);
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

static void plan_etcd(const struct destroy_facts *facts, struct destroy_plan *plan,
                      const struct kek_config_etcd *etcd)
{
    char condition[48], when[ROTATION_TIME_TEXT];
    struct proof proof = look(facts, plan, etcd);
    snprintf(condition, sizeof condition, "inventory %s", etcd->name);
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
    rotation_time_format(proof.last->begun_ms, when);
    if (plan->stage == DESTROY_DESTROY && proof.last->begun_ms <= plan->quarantined_ms) {
        destroy_unmet(plan, condition, "run kekctl inventory once more",
                      "the last one, begun at %s, was begun before the quarantine", when);
        return;
    }
    destroy_met(plan, condition,
                "0 objects at revision %" PRId64 " and %" PRId64 " (%" PRIu64
                " objects, begun at %s)",
                proof.before->revision, proof.last->revision, proof.last->objects, when);
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
        plan_etcd(facts, plan, &facts->etcd[i]);
    }
}
