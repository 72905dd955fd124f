/* doctor: lines that the audit log has not got, by the record's counts.  doctor's own logins are lines that tell of them, so it is
 * read before them and after. */
#include <inttypes.h>
#include <stdio.h>

#include "doctor.h"
#include "kek/text.h"

static struct kek_audit_owed read_owed(const struct doctor *doctor)
{
    char path[PATH_MAX];
    struct kek_audit_end end;
    struct kek_audit_owed owed = {.lost = 0};
    struct kek_why why = {.rc = KEK_NOT_FOUND};
    if (kek_config_audit_log(doctor->config) != NULL &&
        kek_config_state_file(doctor->config, "audit", path, &why) == KEK_OK) {
        why.rc = kek_audit_record_read(path, &end, &owed, &why);
    }
    owed.damaged = owed.damaged || why.rc == KEK_DAMAGED;
    return owed;
}

void doctor_audit_lost_look(struct doctor *doctor)
{
    doctor->owed = read_owed(doctor);
}

/* So many lines, of which one there tells now, or none yet. */
static void say_lost(struct doctor *doctor, uint64_t lost, bool told)
{
    const char *log = kek_config_audit_log(doctor->config);
    char todo[LINES_TODO], shown[PATH_MAX];
    lines_quote(log, shown, sizeof shown);
    if (!told) {
        lines_todo(todo,
                   "let lines be written to %s again, by the other lines of audit, and start kekd, "
                   "where it does not run: the next line tells how many are lost",
                   log);
    } else if (doctor->config->audit_file != NULL) {
        lines_todo(todo, "grep '\"event\":\"dropped\"' %s # the last one: what failed before it?",
                   shown);
    } else {
        lines_todo(todo, "look at what was sent to %s before its last line \"dropped\"", log);
    }
    lines_add(&doctor->lines, DOCTOR_WARN, "audit", todo, "%s %s not written to %s, %s",
              kek_counted(lost, "line").text, lost == 1 ? "was" : "were", log,
              told ? "as a line there tells now" : "and no line there tells of it yet");
}

/* Where there is no file: else the chain's end is judged against the record. */
static void judge_record(struct doctor *doctor)
{
    const struct chain_end *end = &doctor->chain.end;
    bool is_away = end->has_record && !end->has_file; /* which the chain's line says, and no more */
    if (doctor->owed.damaged && (doctor->config->audit_file == NULL || is_away)) {
        lines_add(&doctor->lines, DOCTOR_WARN, "audit",
                  "find out who wrote there; the next line tells of it, or kekd's next start does",
                  "the record of the audit log's chain in state_dir is damaged: any number of "
                  "lines may be missing from %s",
                  kek_config_audit_log(doctor->config));
    }
}

void doctor_audit_lost(struct doctor *doctor)
{
    const struct kek_audit_owed was = doctor->owed, now = read_owed(doctor);
    char todo[LINES_TODO];
    if (doctor_record_waits(doctor, todo)) {
        return; /* the chain's line says that the record may be the wrong one */
    }
    judge_record(doctor);
    if (now.lost > 0) {
        say_lost(doctor, now.lost, false);
    }
    if (was.lost > now.lost) {
        say_lost(doctor, was.lost - now.lost, true);
    }
    if (now.waiting > 0 && !doctor->runner.there && !doctor->runner.hidden) {
        lines_add(&doctor->lines, DOCTOR_WARN, "audit",
                  doctor->outside.unit_why.rc == KEK_OK
                      ? "systemctl start kekd.service # its first line tells how many"
                      : "start kekd, whose first line tells how many",
                  "kekd does not run here and did not end in good order: up to %" PRIu64
                  " lines may be missing from %s",
                  now.waiting, kek_config_audit_log(doctor->config));
    }
}
