/* How long each version has sealed and may open, against NIST SP 800-57 Part 1 (period.h). */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "life.h"
#include "report.h"

/* Returns whether every provider shows it as pre-active. */
static bool look_at_shown(const struct report_root *root, const char *kek_id, struct life *life)
{
    size_t i;
    const json_t *row;
    bool pre_active = true;
    json_array_foreach(json_object_get(root->shown, "versions"), i, row)
    {
        if (strcmp(report_text(row, "kek_id"), kek_id) == 0) {
            life->wraps = life->wraps || json_is_true(json_object_get(row, "can_wrap"));
            life->unwraps = life->unwraps || json_is_true(json_object_get(row, "can_unwrap"));
            pre_active = pre_active && strcmp(report_text(row, "state"),
                                              kek_state_name(KEK_STATE_PRE_ACTIVE)) == 0;
        }
    }
    json_array_foreach(json_object_get(root->shown, "destroyed"), i, row)
    {
        if (strcmp(report_text(row, "kek_id"), kek_id) == 0) {
            life->destroyed_ms = kek_clock_parse(report_text(row, "at"));
        }
    }
    return pre_active;
}

static void look_at_record(const struct report_root *root, const struct kek_id *kek_id,
                           struct life *life)
{
    struct kek_keyring_primary primary;
    KEK_AUTO_FREE struct kek_keyring_version *versions =
        calloc(KEK_PROVIDER_VERSIONS_MAX, sizeof *versions);
    if (root->ring == NULL || versions == NULL) {
        return;
    }
    size_t count = kek_keyring_versions(root->ring, versions, KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (kek_id_equal(&versions[i].kek_id, kek_id)) {
            life->inactive_ms = versions[i].history.inactive.since_ms;
            life->suspended_ms = versions[i].history.suspended.since_ms;
        }
    }
    if (kek_keyring_primary(root->ring, &primary) &&
        kek_id_equal(&primary.generation.kek_ids[0], kek_id)) {
        life->announced_ms = primary.announced_ms;
    }
}

static json_t *date_text(struct period_date date, int64_t now_ms, bool lasts)
{
    char first[KEK_CLOCK_TEXT], last[KEK_CLOCK_TEXT], text[3 * KEK_CLOCK_TEXT];
    bool has_first = date.first != PERIOD_PAST;
    bool has_last = date.last != PERIOD_FUTURE && (date.last < now_ms || date.first == date.last);
    if (lasts) {
        return json_string("not ended");
    }
    if (has_first) {
        (void)kek_clock_text_seconds(date.first, first);
    }
    if (has_last) {
        (void)kek_clock_text_seconds(date.last, last);
    }
    if (has_first && has_last) {
        snprintf(text, sizeof text, date.first == date.last ? "%s" : "from %s to %s", first, last);
    } else if (has_first || has_last) {
        snprintf(text, sizeof text, "%s %s", has_first ? "not before" : "not after",
                 has_first ? first : last);
    } else {
        snprintf(text, sizeof text, "not known");
    }
    return json_string(text);
}

#define NOT_BEGUN "not begun, by its state"

/* Up to when it is within, whatever the unknown date was. */
static json_t *limit(int64_t from_ms, int years)
{
    return from_ms == PERIOD_PAST ? json_string("not known")
                                  : report_date(period_add_years(from_ms, years));
}

static void attend(const struct report_root *root, const json_t *version, const char *kek_id,
                   const char *period, enum period_verdict verdict)
{
    if (verdict == PERIOD_EXCEEDED) {
        report_attend(root->report,
                      "version %" JSON_INTEGER_FORMAT " (kek id %s): its %s period is longer than "
                      "NIST SP 800-57 recommends",
                      json_integer_value(json_object_get(version, "version")), kek_id, period);
    }
}

/* A key that is refused, since its CKA_ID is none of a KEK's: nothing on record names it. */
static json_t *describe_nameless(const json_t *version)
{
    static const char *const members[] = {"generated",  "originator_begin", "originator_end",
                                          "originator", "originator_until", "recipient_end",
                                          "recipient",  "recipient_until"};
    json_t *row =
        json_pack("{s:O, s:s, s:s}", "version", json_object_get(version, "version"), "kek_id",
                  report_text(version, "kek_id"), "state", report_text(version, "state"));
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        if (row != NULL && json_object_set_new(row, members[i], json_string("not known")) != 0) {
            json_decref(row);
            row = NULL;
        }
    }
    return row;
}

static json_t *describe(const struct report_root *root, const json_t *version)
{
    const struct report *report = root->report;
    int64_t now_ms = report->now_ms;
    const char *id = report_text(version, "kek_id");
    struct kek_id kek_id;
    if (!kek_id_parse(id, &kek_id)) {
        return describe_nameless(version);
    }
    struct life life = {.unseen = root->answered < root->keys->config->provider_count,
                        .gaps = audit_log_has_gaps(&report->log)};
    life.line = report->log.tally == NULL ? NULL : audit_tally_key(report->log.tally, &kek_id);
    bool pre_active = look_at_shown(root, id, &life);
    look_at_record(root, &kek_id, &life);
    bool never = life_not_begun(&life, pre_active);
    struct period_date begin = life_begin(&life, now_ms);
    struct period_date sealed = life_sealed_until(&life, now_ms);
    struct period_date opened = life_opened_until(&life, now_ms);
    const char *state = report_text(version, "state");
    enum period_verdict originator =
        never ? PERIOD_WITHIN : period_judge(begin, sealed, PERIOD_ORIGINATOR_YEARS);
    enum period_verdict recipient =
        life.wraps || never ? PERIOD_WITHIN : period_judge(sealed, opened, PERIOD_RECIPIENT_YEARS);
    attend(root, version, id, "originator-usage", originator);
    attend(root, version, id, "recipient-usage", recipient);
    return json_pack(
        "{s:O, s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:s, s:o}", "version",
        json_object_get(version, "version"), "kek_id", id, "state", state, "generated",
        report_date(life.line == NULL ? 0 : life.line->generated_ms), "originator_begin",
        never ? json_string(NOT_BEGUN) : date_text(begin, now_ms, false), "originator_end",
        never ? json_string(NOT_BEGUN) : date_text(sealed, now_ms, life.wraps), "originator",
        period_verdict_name(originator), "originator_until",
        never ? json_string(NOT_BEGUN) : limit(begin.first, PERIOD_ORIGINATOR_YEARS),
        "recipient_end", date_text(opened, now_ms, life.unwraps), "recipient",
        period_verdict_name(recipient), "recipient_until",
        life.wraps || never ? json_string("three years after it ceases to seal")
                            : limit(sealed.first, PERIOD_RECIPIENT_YEARS));
}

json_t *report_cryptoperiods(struct report_root *root)
{
    json_t *rows = json_array(), *why = json_array(), *once = report_versions_once(root), *version;
    bool whole = rows != NULL && once != NULL, unknown = false;
    size_t i;
    json_array_foreach(once, i, version)
    {
        json_t *row = describe(root, version);
        unknown = unknown || strcmp(report_text(row, "originator"), "not known") == 0 ||
                  strcmp(report_text(row, "recipient"), "not known") == 0;
        whole = report_add(rows, row) && whole;
    }
    json_decref(once);
    if (unknown) {
        (void)report_say(why, "a token tells no dates, and what is on record does not say of each "
                              "version when it began or ceased to seal: such a row is not known");
    }
    if (json_array_size(rows) == 0) {
        (void)report_say(why, "no version is known");
    }
    if (root->answered < root->keys->config->provider_count) {
        (void)report_say(why,
                         "a version that is on a provider alone that did not answer has no row");
    }
    json_t *content = json_pack("{s:s, s:i, s:i, s:o}", "recommendation", PERIOD_RECOMMENDATION,
                                "originator_years", PERIOD_ORIGINATOR_YEARS, "recipient_years",
                                PERIOD_RECIPIENT_YEARS, "rows", rows);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, why, json_array_size(rows) > 0);
}

void report_cryptoperiods_show(struct page *page, const json_t *section)
{
    static const struct column about[] = {
        {"recommendation", "Recommendation"},
        {"originator_years", "Originator-usage period (sealing), years at most"},
        {"recipient_years", "Recipient-usage period (opening), years after that at most"}};
    static const struct column columns[] = {{"version", "Version"},
                                            {"kek_id", "KEK id"},
                                            {"state", "State"},
                                            {"generated", "Generated"},
                                            {"originator_begin", "Began to seal"},
                                            {"originator_end", "Ceased to seal"},
                                            {"originator", "Originator-usage period"},
                                            {"originator_until", "Within it until"},
                                            {"recipient_end", "Ceased to open"},
                                            {"recipient", "Recipient-usage period"},
                                            {"recipient_until", "Within it until"}};
    page_paragraph(page,
                   "Up to two years where a key wraps relatively few keys; where it wraps very "
                   "many in a short time the recommendation is a day or a week. How many data "
                   "keys are wrapped follows from the limits of a data key in the "
                   "configuration. Dates are by this node's clock.");
    page_object(page, section, about, sizeof about / sizeof about[0]);
    page_table(page, json_object_get(section, "rows"), columns, sizeof columns / sizeof columns[0],
               "No version is known.");
}
