/* doctor: how long it is since somebody spoke of a backup, of each root of trust by itself. */
#include <inttypes.h>
#include <stdio.h>

#include "doctor.h"
#include "kek/clock.h"
#include "kekctl/key/backup.h"
#include "kekctl/key/on_record.h"

#define SUBJECT 64
#define DAY_MS (INT64_C(24) * 3600 * 1000)

static void say(struct doctor *doctor, const char *subject, const struct backup_word *word,
                uint32_t newest, const char *todo)
{
    int64_t now = kek_clock_wall_ms();
    long long days = (long long)((now - word->said_ms) / DAY_MS);
    if (word->said_ms > now + DAY_MS) {
        lines_add(
            &doctor->lines, DOCTOR_WARN, subject, todo,
            "the last one was spoken of %lld days from now: a clock was wrong then, or is now",
            -days);
        return;
    }
    switch (backup_judge(word, newest, now)) {
    case BACKUP_NEVER:
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                  "nobody has said on this node that there is a backup of the token: without it, "
                  "all is lost that is sealed under it");
        return;
    case BACKUP_BEHIND:
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                  "the last one that was spoken of, %lld days ago, has version %" PRIu32
                  ", and version %" PRIu32 " may seal now",
                  days, word->version, newest);
        return;
    case BACKUP_OLD:
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                  "the last one was spoken of %lld days ago", days);
        return;
    case BACKUP_GOOD:
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL,
                  "version %" PRIu32 " is in one, as was said %lld days ago", word->version, days);
        return;
    }
}

/* config: of that root alone. */
static enum kek_rc take_word(struct doctor *doctor, const struct kek_config *config,
                             uint32_t version, struct kek_why *why)
{
    KEK_AUTO(kek_audit_acts) acts = ctl_audit_look(config, why);
    if (acts == NULL && why->rc != KEK_OK) {
        return kek_fail_within(why, why->rc,
                               "the word was not taken, since it cannot be put on record");
    }
    return backup_take(&doctor->ctl, config, acts, version, why);
}

/* config: of that root alone. */
static void judge(struct doctor *doctor, const struct kek_config *config, uint32_t newest)
{
    bool named = config->root != NULL && config->root[0] != '\0';
    char subject[SUBJECT], todo[LINES_TODO];
    struct backup_word word;
    struct kek_why why;
    snprintf(subject, sizeof subject, "backup%s%s", named ? " of " : "", named ? config->root : "");
    if (newest == 0) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, subject,
                  "a version that may seal first: the lines of the keys",
                  "not looked at: no version was seen that may seal");
        return;
    }
    doctor_command(doctor, todo,
                   "doctor %s%s%s--i-have-a-backup # once there is one that is proven: "
                   "docs/operations.md, Backup",
                   named ? "--root " : "", named ? config->root : "", named ? " " : "");
    enum kek_rc rc = doctor->ctl.has_backup ? take_word(doctor, config, newest, &why) : KEK_OK;
    rc = rc == KEK_OK ? backup_read(config, &word, &why) : rc;
    if (rc == KEK_OK) {
        say(doctor, subject, &word, newest, todo);
    } else {
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo, "%s", why.text);
    }
}

void doctor_backup(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    for (size_t i = 0; i < kek_config_root_count(config); i++) {
        doctor->lines.root = config->root_count > 1 ? config->roots[i].name : "";
        judge(doctor, kek_config_view(config, i), doctor->roots[i].newest);
    }
    doctor->lines.root = "";
}
