#include "audit_log.h"

#include <stdlib.h>
#include <string.h>

#include "kekctl/audit/verify.h"
#include "kekctl/output.h"

/* An older file that cannot be read to its end is told, and the chain tells what it lacks; the log itself must be. */
static enum kek_rc read_files(struct audit_log *log, struct verify *verify)
{
    struct audit_read *read = &log->read;
    struct kek_why cause;
    verify->check->unread = read->unread;
    for (size_t i = 0; i < read->count; i++) {
        const char *path = read->paths[i];
        if (verify_file(verify, path, audit_read_line, read, &cause)) {
            audit_read_took(read, path);
        } else if (i + 1 < read->count) {
            audit_read_unread(read, path, cause.text);
            verify->check->unread = true;
        } else {
            return kek_fail(&log->why, cause.rc, "reading the audit file %s: %s", path, cause.text);
        }
    }
    verify_end(verify);
    return KEK_OK;
}

static void add_limit(void *arg, const char *sentence)
{
    struct audit_log *log = arg;
    log->read.spoilt =
        json_array_append_new(log->limits, output_text(sentence)) != 0 || log->read.spoilt;
}

/* The first problem: of lines that were not read, or of any other kind. */
static void take_first(struct audit_log *log, const struct check *check, bool unread, char **first)
{
    for (size_t i = 0; i < check->problem_count && *first == NULL; i++) {
        if ((check->problems[i].kind == CHECK_UNREAD) == unread) {
            char text[VERIFY_PROBLEM_TEXT];
            verify_problem_text(&check->problems[i], text);
            *first = strdup(text);
            log->read.spoilt = log->read.spoilt || *first == NULL;
        }
    }
}

static void take_chain(struct audit_log *log, const struct verify *verify)
{
    const struct check *check = verify->check;
    log->lines = check->lines;
    log->damaged = check->lines - log->read.whole;
    log->before = check->before;
    log->more = check->more;
    log->chains = verify_chains_json(check);
    log->problems = verify_problems_json(check);
    log->limits = json_array();
    verify_limits(verify, add_limit, log);
    for (size_t i = 0; i < check->problem_count; i++) {
        log->unread += check->problems[i].kind == CHECK_UNREAD;
    }
    take_first(log, check, false, &log->first_problem);
    take_first(log, check, true, &log->first_unread);
    log->read.spoilt = log->read.spoilt || log->chains == NULL || log->problems == NULL;
}

static enum kek_rc take(struct audit_log *log, struct audit_tally *tally, const struct ctl *ctl,
                        const struct kek_config *config)
{
    VERIFY_AUTO struct verify verify = {.check = NULL};
    const char *path = config->audit_file;
    enum kek_rc rc = verify_open(&verify, ctl, config, &log->why);
    if (rc == KEK_OK) {
        rc = audit_read_find(path, audit_tally_line, tally, &log->read, &log->why);
    }
    if (rc == KEK_OK) {
        rc = read_files(log, &verify);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    take_chain(log, &verify);
    return tally->spoilt || log->read.spoilt
               ? kek_fail(&log->why, KEK_NO_MEMORY, "no memory to read %s", path)
               : KEK_OK;
}

void audit_log_take(struct audit_log *log, const struct ctl *ctl, const struct kek_config *config)
{
    struct ctl all = *ctl;
    all.root = NULL;
    *log = (struct audit_log){.tally = NULL};
    if (config->audit_file == NULL && kek_config_audit_log(config) != NULL) {
        kek_fail(
            &log->why, KEK_NOT_FOUND,
            "the audit log goes to %s and into no file (audit.file): what it says was not "
            "read; kekctl audit verify says of what is exported from there whether it is whole",
            kek_config_audit_log(config));
        return;
    }
    if (config->audit_file == NULL) {
        kek_fail(&log->why, KEK_NOT_FOUND,
                 "the configuration names no audit log (audit.file), so nothing is on record");
        return;
    }
    KEK_AUTO(audit_tally) tally = audit_tally_new();
    if (tally == NULL) {
        kek_fail(&log->why, KEK_NO_MEMORY, "no memory to read %s", config->audit_file);
        return;
    }
    if (take(log, tally, &all, config) == KEK_OK) {
        log->tally = KEK_STEAL(tally);
    }
}

void audit_log_done(struct audit_log *log)
{
    audit_read_done(&log->read);
    audit_tally_free(log->tally);
    json_decref(log->chains);
    json_decref(log->problems);
    json_decref(log->limits);
    free(log->first_problem);
    free(log->first_unread);
}

bool audit_log_has_gaps(const struct audit_log *log)
{
    return log->tally == NULL || log->first_problem != NULL || log->damaged > 0 ||
           log->tally->dropped_at_most > 0 || json_array_size(log->read.not_read) > 0;
}

const char *audit_log_chain(const struct audit_log *log)
{
    if (log->tally == NULL) {
        return "not verified";
    }
    if (log->first_problem != NULL || log->more > 0) {
        return "not intact";
    }
    if (log->first_unread != NULL) {
        return "not all read";
    }
    return json_array_size(log->chains) == 0 ? "none" : "intact";
}
