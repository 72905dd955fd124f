/* Who used each key when, from this node's audit log. */
#include <inttypes.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/audit/verify.h"
#include "report.h"

#define COLUMNS_MAX 16

static json_t *lists(const struct report *report)
{
    const struct audit_log *log = &report->log;
    const struct audit_tally *tally = log->tally;
    return json_pack(
        "{s:s, s:O, s:O, s:I, s:I, s:o, s:O, s:O, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, "
        "s:o, "
        "s:o, s:o, s:o, s:o, s:O}",
        "chain", audit_log_chain(log), "chains", log->chains, "problems", log->problems,
        "more_problems", (json_int_t)log->more, "before_chain", (json_int_t)log->before,
        "audit_file", output_text(report->config->audit_file), "files_read", log->read.files,
        "files_not_read", log->read.not_read, "lines", (json_int_t)log->lines, "damaged_lines",
        (json_int_t)log->damaged, "dropped_lines", (json_int_t)tally->dropped, "dropped_at_most",
        (json_int_t)tally->dropped_at_most, "starts", (json_int_t)tally->starts, "stops",
        (json_int_t)tally->stops, "rows_left_out", (json_int_t)tally->left_out, "first",
        output_text(tally->first), "last", output_text(tally->last), "program",
        output_text(tally->program), "uses", audit_tally_list(tally->uses), "logins",
        audit_tally_list(tally->logins), "refused", audit_tally_list(tally->refused), "note",
        json_string("peer_uid is the user of the process that called, as this node's kernel knew "
                    "it; login_uid who had logged in"),
        "acts", tally->acts);
}

/* What is wrong with the chain, and what it does not vouch for. */
static void judge_chain(struct report *report, json_t *why)
{
    const struct audit_log *log = &report->log;
    uint64_t problems = json_array_size(log->problems) + log->more - log->unread;
    size_t i;
    const json_t *sentence;
    if (problems > 0) {
        (void)report_say(why, "the chain of the lines is not as it must be: %s, named below",
                         kek_counted(problems, "problem").text);
        report_attend(report, "the audit log's chain is not as it must be: %s, the first one %s",
                      kek_counted(problems, "problem").text,
                      log->first_problem == NULL ? "" : log->first_problem);
    }
    if (log->unread > 0) {
        (void)report_say(why,
                         "lines of the chain were not read, or are missing, as the problems below "
                         "say: decompress the older files beside the log, and make the report "
                         "again");
        report_attend(report,
                      "part of the audit log was not read: decompress its older files beside it, "
                      "and make the report again; %s",
                      log->first_unread);
    }
    if (log->lines == 0) {
        (void)report_say(why, "no line was read: the files that were read are empty");
    } else if (json_array_size(log->chains) == 0) {
        (void)report_say(why,
                         "no line has a chain: nothing shows here that none was changed, added "
                         "or taken away");
    }
    json_array_foreach(log->limits, i, sentence)
    {
        (void)report_say(why, "%s", json_string_value(sentence));
    }
}

static void complain(struct report *report, json_t *why)
{
    const struct audit_log *log = &report->log;
    const struct audit_tally *tally = log->tally;
    if (log->damaged > 0) {
        (void)report_say(why, "%" PRIu64 " lines are damaged and are not counted", log->damaged);
        report_attend(report, "%" PRIu64 " lines of the audit log are damaged", log->damaged);
    }
    if (tally->dropped_at_most > 0) {
        char count[VERIFY_COUNT_TEXT];
        verify_count(tally->dropped, tally->dropped_at_most, count);
        (void)report_say(why, "%s could not be written and %s missing", count,
                         tally->dropped_at_most == 1 ? "is" : "are");
        report_attend(report, "the audit log lacks %s that could not be written", count);
    }
    if (log->read.renamed) {
        (void)report_say(why,
                         "%s is not there: it was renamed, and kekd makes it anew after SIGHUP",
                         report->config->audit_file);
    }
    if (json_array_size(log->read.not_read) > 0) {
        (void)report_say(why, "older files were not read: they are named below");
    }
    if (tally->left_out > 0) {
        (void)report_say(why, "%" PRIu64 " rows found no room in these lists", tally->left_out);
    }
    judge_chain(report, why);
}

json_t *report_usage(struct report *report)
{
    json_t *why = json_array();
    const struct audit_log *log = &report->log;
    if (log->tally == NULL) {
        (void)report_say(why, "%s", log->why.text);
        if (report->config->audit_file != NULL) {
            report_attend(report, "%s", log->why.text);
        }
        return report_section(json_pack("{s:s}", "chain", audit_log_chain(log)), why, false);
    }
    complain(report, why);
    return report_section(lists(report), why, true);
}

static void show_chain(struct page *page, const json_t *section)
{
    static const struct column chains[] = {{"chain", "Chain"},
                                           {"first", "First line"},
                                           {"last", "Last line"},
                                           {"from", "From"},
                                           {"to", "To"},
                                           {"lines", "Lines in their places"},
                                           {"macs", "MACs in them"},
                                           {"maced", "MAC confirmed up to line"},
                                           {"maced_by", "By the token of"}};
    static const struct column problems[] = {
        {"file", "File"}, {"line", "Line"}, {"to", "To line"}, {"kind", "Kind"}, {"text", "What"}};
    page_heading(page, 3, NULL, "The chain of the lines");
    page_table(page, json_object_get(section, "chains"), chains, sizeof chains / sizeof chains[0],
               "No line has a chain.");
    page_table(page, json_object_get(section, "problems"), problems,
               sizeof problems / sizeof problems[0], "No problem was found.");
}

static bool names_roots(const json_t *rows)
{
    size_t i;
    const json_t *row;
    json_array_foreach(rows, i, row)
    {
        if (json_object_get(row, "root") != NULL) {
            return true;
        }
    }
    return false;
}

/* Without the column of the root of trust where no row names one. */
static void show_rows(struct page *page, const json_t *rows, const struct column *columns,
                      size_t count, const char *none)
{
    struct column shown[COLUMNS_MAX];
    size_t n = 0;
    bool named = names_roots(rows);
    for (size_t i = 0; i < count; i++) {
        if (named || strcmp(columns[i].key, "root") != 0) {
            shown[n++] = columns[i];
        }
    }
    page_table(page, rows, shown, n, none);
}

void report_usage_show(struct page *page, const json_t *section)
{
    static const struct column about[] = {{"audit_file", "Audit log of this node"},
                                          {"chain", "Chain of its lines"},
                                          {"before_chain", "Lines before the chain began"},
                                          {"more_problems", "Problems that are not listed"},
                                          {"files_read", "Files read"},
                                          {"files_not_read", "Files not read"},
                                          {"lines", "Lines"},
                                          {"damaged_lines", "Damaged lines"},
                                          {"dropped_lines", "Lines that could not be written"},
                                          {"dropped_at_most", "At most"},
                                          {"first", "First line"},
                                          {"last", "Last line"},
                                          {"starts", "Starts of kekd"},
                                          {"stops", "Ends in good order"},
                                          {"program", "kekd at its last start"}};
    static const struct column uses[] = {
        {"root", "Root of trust"}, {"version", "Version"}, {"kek_id", "KEK id"},
        {"method", "Call"},        {"api", "API"},         {"node", "Node"},
        {"peer_uid", "By uid"},    {"ok", "Good"},         {"failed", "Failed"},
        {"first", "First"},        {"last", "Last"}};
    static const struct column acts[] = {
        {"time", "When"},          {"event", "Act"},       {"command", "Command"},
        {"root", "Root of trust"}, {"version", "Version"}, {"kek_id", "KEK id"},
        {"provider", "Provider"},  {"state", "State"},     {"outcome", "Outcome"},
        {"said", "What was said"}, {"peer_uid", "By uid"}, {"login_uid", "Logged in as uid"},
        {"node", "Node"},          {"error", "Error"}};
    _Static_assert(sizeof uses / sizeof uses[0] <= COLUMNS_MAX &&
                       sizeof acts / sizeof acts[0] <= COLUMNS_MAX,
                   "show_rows has room");
    static const struct column logins[] = {{"provider", "Provider"}, {"token", "Token"},
                                           {"node", "Node"},         {"command", "By command"},
                                           {"peer_uid", "By uid"},   {"outcome", "Outcome"},
                                           {"ok", "Good"},           {"failed", "Failed"},
                                           {"first", "First"},       {"last", "Last"}};
    static const struct column refused[] = {{"node", "Node"},     {"peer_uid", "uid"},
                                            {"status", "Answer"}, {"failed", "Calls"},
                                            {"first", "First"},   {"last", "Last"}};
    if (json_object_get(section, "uses") == NULL) {
        return;
    }
    page_object(page, section, about, sizeof about / sizeof about[0]);
    show_chain(page, section);
    page_heading(page, 3, NULL, "Calls by key");
    show_rows(page, json_object_get(section, "uses"), uses, sizeof uses / sizeof uses[0],
              "No call is in the lines that were read.");
    page_heading(page, 3, NULL, "Acts of operators");
    show_rows(page, json_object_get(section, "acts"), acts, sizeof acts / sizeof acts[0],
              "No act is in the lines that were read.");
    page_heading(page, 3, NULL, "Logins at tokens");
    page_table(page, json_object_get(section, "logins"), logins, sizeof logins / sizeof logins[0],
               "No login is in the lines that were read.");
    page_heading(page, 3, NULL, "Calls refused before any key was asked for");
    page_table(page, json_object_get(section, "refused"), refused,
               sizeof refused / sizeof refused[0], "None is in the lines that were read.");
}
