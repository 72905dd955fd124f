#include "verify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "kekctl/output.h"
#include "record_again.h"

/* ---- reading ---- */

static void read_record(struct verify *verify, const struct kek_config *config)
{
    char path[PATH_MAX];
    struct kek_why *why = &verify->record_why;
    why->rc = kek_config_state_file(config, "audit", path, why);
    if (why->rc == KEK_OK) {
        why->rc = kek_audit_record_read(path, &verify->record, &verify->owed, why);
    }
    if (why->rc == KEK_OK) {
        memcpy(verify->record_path, path, sizeof path);
    }
}

enum kek_rc verify_open(struct verify *verify, const struct ctl *ctl,
                        const struct kek_config *config, struct kek_why *why)
{
    *verify = (struct verify){.has_config = config != NULL,
                              .record_why.rc = KEK_NOT_FOUND,
                              .macs.ctl = ctl,
                              .check = calloc(1, sizeof *verify->check)};
    if (config != NULL) {
        verify->kekd_runs = kek_keyring_runner(kek_config_view(config, 0)).there;
        read_record(verify, config);
    }
    bool has_record = verify->record_why.rc == KEK_OK;
    if (verify->check == NULL || !check_init(verify->check, has_record ? &verify->record : NULL,
                                             config != NULL ? config->audit_mac_interval_ms : 0)) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to verify the audit log");
    }
    if (has_record) {
        record_before(verify->check, verify->record_path);
    }
    if (config != NULL && !has_record) {
        check_no_record(verify->check, verify->record_why.text);
    }
    if (verify->owed.damaged) {
        check_damaged_count(verify->check);
    }
    return KEK_OK;
}

void verify_close(struct verify *verify)
{
    if (verify->check != NULL) {
        check_done(verify->check);
        free(verify->check);
    }
    macs_close(&verify->macs);
}

bool verify_file(struct verify *verify, const char *name, files_line_fn *fn, void *arg,
                 struct kek_why *why)
{
    bool good = files_read(name, verify->check, fn, arg, why);
    macs_check(&verify->macs, verify->check);
    return good;
}

void verify_end(struct verify *verify)
{
    if (verify->record_path[0] != '\0') {
        record_again(verify->check, verify->record_path);
    }
    check_end(verify->check);
}

/* ---- what was found ---- */

static json_t *place(const struct check_place *at)
{
    char text[PATH_MAX + 24];
    snprintf(text, sizeof text, "%s:%" PRIu64, at->file, at->line);
    return output_text(text);
}

json_t *verify_chains_json(const struct check *check)
{
    json_t *list = json_array();
    for (size_t i = 0; i < check->chain_count; i++) {
        const struct check_chain *chain = &check->chains[i];
        json_t *row = json_pack(
            "{s:s, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o, s:s}", "chain", chain->end.chain,
            "first", (json_int_t)chain->first, "last", (json_int_t)chain->end.n, "lines",
            (json_int_t)chain->lines, "macs", (json_int_t)chain->macs, "maced",
            (json_int_t)chain->maced, "maced_by", output_text(chain->maced_by), "from",
            place(&chain->from), "to", place(&chain->to), "hash", chain->end.hash);
        if (json_array_append_new(list, row) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

json_t *verify_problems_json(const struct check *check)
{
    json_t *list = json_array();
    for (size_t i = 0; i < check->problem_count; i++) {
        const struct check_problem *problem = &check->problems[i];
        json_t *row =
            json_pack("{s:o, s:I, s:I, s:s, s:o}", "file",
                      problem->at.file == NULL ? json_null() : output_text(problem->at.file),
                      "line", (json_int_t)problem->at.line, "to", (json_int_t)problem->to, "kind",
                      check_kind_name(problem->kind), "text", output_text(problem->text));
        if (json_array_append_new(list, row) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

void verify_problem_text(const struct check_problem *problem, char text[static VERIFY_PROBLEM_TEXT])
{
    char place[PATH_MAX + 48] = "";
    if (problem->at.file != NULL && problem->to > problem->at.line) {
        snprintf(place, sizeof place, "%s:%" PRIu64 "-%" PRIu64 ": ", problem->at.file,
                 problem->at.line, problem->to);
    } else if (problem->at.file != NULL) {
        snprintf(place, sizeof place, "%s:%" PRIu64 ": ", problem->at.file, problem->at.line);
    }
    snprintf(text, VERIFY_PROBLEM_TEXT, "%s%s", place, problem->text);
}

/* ---- what nothing vouches for ---- */

/* Where sentences go. */
struct saying {
    void (*say)(void *arg, const char *sentence);
    void *arg;
};

static void say(const struct saying *saying, const char *format, ...) KEK_PRINTF(2, 3);
static void say(const struct saying *saying, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    saying->say(saying->arg, text);
}

static void say_unmaced(const struct saying *saying, const struct check_chain *chain)
{
    if (chain->maced == 0) {
        say(saying,
            "no MAC of chain %s was confirmed: who can write files and state_dir could "
            "have made all of it",
            chain->end.chain);
    } else if (check_unmaced(chain) > 0) {
        say(saying,
            "lines %" PRIu64 " to %" PRIu64
            " of chain %s come after the last MAC that was confirmed: who "
            "can write files and state_dir could have made or cut them",
            chain->maced + 1, chain->end.n, chain->end.chain);
    }
}

void verify_count(uint64_t least, uint64_t most, char text[static VERIFY_COUNT_TEXT])
{
    if (least == most) {
        snprintf(text, VERIFY_COUNT_TEXT, "%s", kek_counted(least, "line").text);
    } else if (least == 0) {
        snprintf(text, VERIFY_COUNT_TEXT, "up to %" PRIu64 " lines", most);
    } else {
        snprintf(text, VERIFY_COUNT_TEXT, "%" PRIu64 " to %" PRIu64 " lines", least, most);
    }
}

static void say_dropped(const struct saying *saying, const struct verify *verify)
{
    const struct check *check = verify->check;
    const struct kek_audit_owed *owed = &verify->owed;
    char count[VERIFY_COUNT_TEXT];
    if (check->dropped_at_most > 0) {
        verify_count(check->dropped, check->dropped_at_most, count);
        say(saying, "%s %s never written, as lines here tell (dropped)", count,
            check->dropped_at_most == 1 ? "was" : "were");
    }
    if (owed->lost > 0) {
        say(saying, "%s %s lost since: the next line that is written will tell",
            kek_counted(owed->lost, "line").text, owed->lost == 1 ? "was" : "were");
    }
    if (owed->waiting > 0 && !verify->kekd_runs) {
        say(saying,
            "kekd does not run here and did not end in good order: up to %" PRIu64
            " lines may be missing at the end, as its next start will tell",
            owed->waiting);
    }
}

void verify_limits(const struct verify *verify, void (*fn)(void *arg, const char *sentence),
                   void *arg)
{
    const struct saying saying = {.say = fn, .arg = arg};
    const struct check *check = verify->check;
    if (check->before > 0) {
        say(&saying,
            "%s without a chain %s before the first one that has one: nothing "
            "is known of %s",
            kek_counted(check->before, "line").text, check->before == 1 ? "stands" : "stand",
            check->before == 1 ? "it" : "them");
    }
    if (check->headers > 0) {
        say(&saying,
            "something stands before %s, as a syslog daemon puts it there: it was not checked",
            kek_counted(check->headers, "line").text);
    }
    for (size_t i = 0; i < check->chain_count; i++) {
        if (check->chains[i].first > 1) {
            say(&saying,
                "chain %s begins here with line %" PRIu64 ": nothing is known of "
                "the lines before it",
                check->chains[i].end.chain, check->chains[i].first);
        }
    }
    say_dropped(&saying, verify);
    if (!verify->has_config) {
        say(&saying, "only the chain was checked: without --config nothing says whether "
                     "its end is missing, or whether all of it was made anew");
        return;
    }
    for (size_t i = 0; i < check->chain_count; i++) {
        say_unmaced(&saying, &check->chains[i]);
    }
}
