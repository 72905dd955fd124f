/*
 * One phase further.  Of a step from one file to the next this must be true, for the list that is meant: what
 * writes before the step reads after it, and what writes after it reads before.  So a writer is never new,
 * and never goes.
 */
#include <string.h>

#include "encryption_list.h"
#include "encryption_read.h"

static struct kek_encryption_provider *take_out(struct kek_encryption_rule *rule, size_t at)
{
    struct kek_encryption_provider *provider = rule->providers[at];
    rule->provider_count--;
    memmove(rule->providers + at, rule->providers + at + 1,
            (rule->provider_count - at) * sizeof(struct kek_encryption_provider *));
    return provider;
}

static void move_to_front(struct kek_encryption_rule *rule, size_t at)
{
    struct kek_encryption_provider *provider = rule->providers[at];
    memmove(rule->providers + 1, rule->providers, at * sizeof(struct kek_encryption_provider *));
    rule->providers[0] = provider;
}

static enum kek_rc insert_identity(const struct encryption_advance *advance,
                                   struct kek_encryption_rule *rule, size_t at)
{
    struct kek_encryption_provider *identity = calloc(1, sizeof *identity);
    return identity == NULL ? encryption_no_room(advance)
                            : encryption_insert_provider(advance, rule, at, identity);
}

static enum kek_rc insert_kekd(const struct encryption_advance *advance,
                               struct kek_encryption_rule *rule, size_t at)
{
    const struct kek_encryption_target *target = advance->target;
    struct kek_encryption_provider *kekd = calloc(1, sizeof *kekd);
    if (kekd == NULL) {
        return encryption_no_room(advance);
    }
    kekd->kind = KEK_KUBE_KMS_V2;
    if (!encryption_copy_text(target->name, &kekd->name) ||
        !encryption_copy_text(target->endpoint, &kekd->endpoint) ||
        !encryption_copy_text(target->timeout == NULL ? "3s" : target->timeout, &kekd->timeout)) {
        encryption_provider_free(kekd);
        return encryption_no_room(advance);
    }
    return encryption_insert_provider(advance, rule, at, kekd);
}

static size_t find_identity(const struct kek_encryption_rule *rule)
{
    for (size_t i = 0; i < rule->provider_count; i++) {
        if (rule->providers[i]->kind == KEK_KUBE_PLAIN) {
            return i;
        }
    }
    return ENCRYPTION_NONE;
}

/* The phases. */

/* The sentence goes on from "<file>: ". */
static enum kek_rc not_yet(const struct encryption_advance *advance, const char *what)
{
    return kek_fail(advance->why, KEK_PRECONDITION, "%s: %s", encryption_file(advance), what);
}

static enum kek_rc add_reader(const struct encryption_advance *advance,
                              struct kek_encryption_rule *rule)
{
    size_t kekd = encryption_find_kekd(advance, rule);
    advance->step->stage = KEK_ENCRYPTION_STAGE_READER;
    if (kekd == 0) {
        return not_yet(advance,
                       "kekd writes there already; what comes next is remove-old or disable");
    }
    if (kekd != ENCRYPTION_NONE) {
        advance->step->unchanged = true;
        return KEK_OK;
    }
    if (rule->provider_count == 0) {
        enum kek_rc rc = insert_identity(advance, rule, 0);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return insert_kekd(advance, rule, 1);
}

static enum kek_rc make_writer(const struct encryption_advance *advance,
                               struct kek_encryption_rule *rule)
{
    size_t kekd = encryption_find_kekd(advance, rule);
    advance->step->stage = KEK_ENCRYPTION_STAGE_WRITER;
    if (kekd == ENCRYPTION_NONE && advance->config->file != NULL) {
        return not_yet(advance,
                       "kekd does not read there yet, and what the first API server writes by "
                       "it the others could not read: --phase add-reader comes first");
    }
    if (kekd == ENCRYPTION_NONE) { /* a new cluster, in which nothing was written yet */
        enum kek_rc rc = insert_kekd(advance, rule, 0);
        return rc != KEK_OK ? rc : insert_identity(advance, rule, 1);
    }
    advance->step->unchanged = kekd == 0;
    move_to_front(rule, kekd);
    return KEK_OK;
}

static enum kek_rc remove_old(const struct encryption_advance *advance,
                              struct kek_encryption_rule *rule)
{
    size_t kekd = encryption_find_kekd(advance, rule);
    advance->step->stage = KEK_ENCRYPTION_STAGE_ALONE;
    if (kekd != 0) {
        return not_yet(advance, kekd == ENCRYPTION_NONE
                                    ? "kekd is not there yet: --phase add-reader comes first"
                                    : "kekd only reads there: --phase make-writer comes first");
    }
    advance->step->unchanged = rule->provider_count == 1;
    advance->step->removes_reader = true;
    while (rule->provider_count > 1) {
        encryption_provider_free(take_out(rule, 1));
    }
    return KEK_OK;
}

static enum kek_rc disable(const struct encryption_advance *advance,
                           struct kek_encryption_rule *rule)
{
    size_t kekd = encryption_find_kekd(advance, rule), identity = find_identity(rule);
    if (kekd == ENCRYPTION_NONE) {
        return not_yet(advance, "there is no kms entry of this --name to disable");
    }
    if (kekd > 0) { /* another writes */
        advance->step->stage = KEK_ENCRYPTION_STAGE_GONE;
        advance->step->removes_reader = true;
        encryption_provider_free(take_out(rule, kekd));
        return KEK_OK;
    }
    if (identity == ENCRYPTION_NONE) {
        advance->step->stage = KEK_ENCRYPTION_STAGE_PLAIN_READER;
        return insert_identity(advance, rule, rule->provider_count);
    }
    advance->step->stage = KEK_ENCRYPTION_STAGE_PLAIN_WRITER;
    move_to_front(rule, identity);
    return KEK_OK;
}

/* What the entry has is kept where nothing else is asked for. */
static enum kek_rc set_timeout(const struct encryption_advance *advance,
                               struct kek_encryption_rule *rule)
{
    size_t kekd = encryption_find_kekd(advance, rule);
    const char *timeout = advance->target->timeout;
    if (kekd == ENCRYPTION_NONE || timeout == NULL) {
        return KEK_OK;
    }
    char **has = &rule->providers[kekd]->timeout;
    if (*has != NULL && strcmp(*has, timeout) == 0) {
        return KEK_OK;
    }
    free(*has);
    advance->step->unchanged = false;
    return encryption_copy_text(timeout, has) ? KEK_OK : encryption_no_room(advance);
}

enum kek_rc kek_encryption_config_advance(struct kek_encryption_config *config,
                                          enum kek_encryption_phase phase,
                                          const struct kek_encryption_target *target,
                                          struct kek_encryption_step *step, struct kek_why *why)
{
    static enum kek_rc (*const phases[])(const struct encryption_advance *,
                                         struct kek_encryption_rule *) = {
        [KEK_ENCRYPTION_ADD_READER] = add_reader,
        [KEK_ENCRYPTION_MAKE_WRITER] = make_writer,
        [KEK_ENCRYPTION_REMOVE_OLD] = remove_old,
        [KEK_ENCRYPTION_DISABLE] = disable};
    struct kek_encryption_step made = {0};
    struct encryption_advance advance = {
        .config = config, .target = target, .step = &made, .why = why};
    enum kek_rc rc = encryption_check_target(&advance);
    if (rc == KEK_OK) {
        rc = encryption_find_rule(&advance, &made.rule);
    }
    if (rc == KEK_OK) {
        rc = phases[phase](&advance, &config->rules[made.rule]);
    }
    if (rc == KEK_OK) {
        rc = set_timeout(&advance, &config->rules[made.rule]);
    }
    if (rc == KEK_OK) {
        *step = made;
    }
    return rc;
}
