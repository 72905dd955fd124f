/* When each version changed, where somebody put that on record: operators by kekctl, this node's kekd by what it saw. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kekctl/destroy/destroy_file.h"
#include "report.h"

/* Behind those that are not later. False: no memory. */
static bool insert(json_t *rows, json_t *row)
{
    int64_t ms = kek_clock_parse(report_text(row, "at"));
    size_t at = json_array_size(rows);
    while (at > 0 && kek_clock_parse(report_text(json_array_get(rows, at - 1), "at")) > ms) {
        at--;
    }
    return json_array_insert_new(rows, at, row) == 0;
}

/* What the log has of this root's keys. */
static bool add_lines(const struct report_root *root, const json_t *lines, const char *source,
                      json_t *rows)
{
    size_t i;
    const json_t *line;
    bool whole = true;
    json_array_foreach(lines, i, line)
    {
        const char *kek_id = report_text(line, "kek_id");
        if (report_version(root, kek_id) == NULL) {
            continue;
        }
        const char *event = report_text(line, "event"), *outcome = report_text(line, "outcome");
        char what[128];
        snprintf(what, sizeof what, "%.40s%s%.40s%s%.12s", event, event[0] == '\0' ? "" : ": ",
                 report_text(line, "state"), outcome[0] == '\0' ? "" : ", ", outcome);
        json_t *by = json_object_get(line, "login_uid");
        by = by == NULL || json_is_string(by) ? json_object_get(line, "peer_uid") : by;
        whole = whole &&
                insert(rows, json_pack("{s:s, s:O, s:s, s:o, s:o, s:s, s:o}", "at",
                                       report_text(line, "time"), "version",
                                       json_object_get(line, "version"), "kek_id", kek_id, "what",
                                       output_text(what), "provider",
                                       output_text(report_text(line, "provider")), "source", source,
                                       "by", by == NULL ? json_string("") : json_incref(by)));
    }
    return whole;
}

static bool add_seen(json_t *rows, uint32_t number, const struct kek_id *kek_id, int64_t ms,
                     const char *what)
{
    char id[KEK_ID_TEXT], at[KEK_CLOCK_TEXT];
    kek_id_format(kek_id, id);
    return ms <= 0 ||
           insert(rows, json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "at",
                                  kek_clock_text_seconds(ms, at), "version", (json_int_t)number,
                                  "kek_id", id, "what", what, "provider", "", "source",
                                  "record of kekd on this node", "by", ""));
}

static bool add_record(const struct report_root *root, json_t *rows)
{
    struct kek_keyring_primary primary;
    KEK_AUTO_FREE struct kek_keyring_version *versions =
        calloc(KEK_PROVIDER_VERSIONS_MAX, sizeof *versions);
    if (versions == NULL) {
        return false;
    }
    bool whole = true;
    size_t count = root->ring == NULL
                       ? 0
                       : kek_keyring_versions(root->ring, versions, KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < count && whole; i++) {
        const struct kek_keyring_history *seen = &versions[i].history;
        whole = add_seen(rows, seen->number, &seen->kek_id, seen->inactive.since_ms,
                         "may seal on no provider, since this was seen") &&
                add_seen(rows, seen->number, &seen->kek_id, seen->superseded.since_ms,
                         "superseded: a newer one is announced") &&
                add_seen(rows, seen->number, &seen->kek_id, seen->suspended.since_ms,
                         "suspended on every provider, since this was seen") &&
                add_seen(rows, seen->number, &seen->kek_id, seen->asked_ms,
                         "a Decrypt asked for it last though it is suspended or was destroyed") &&
                add_seen(rows, seen->number, &seen->kek_id, seen->returned_ms,
                         "shown again after its destruction");
    }
    if (whole && root->ring != NULL && kek_keyring_primary(root->ring, &primary)) {
        whole = add_seen(rows, primary.generation.numbers[0], &primary.generation.kek_ids[0],
                         primary.announced_ms, "announced: new data is sealed under it");
    }
    return whole;
}

/* Before the listings are gone. */
json_t *report_scheduled(struct report_root *root)
{
    const struct keys *keys = root->keys;
    json_t *rows = json_array();
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        for (size_t i = 0; i < keys->listings[p].count; i++) {
            const struct kek_version *version = &keys->listings[p].versions[i];
            const char *name = keys->config->providers[p].name;
            char id[KEK_ID_TEXT], at[KEK_CLOCK_TEXT];
            if (version->destroy_s <= 0) {
                continue;
            }
            kek_id_format(&version->id, id);
            (void)kek_clock_text_seconds(version->destroy_s * 1000, at);
            report_attend(root->report, "provider %s destroys KEK version %" PRIu32 " at %s", name,
                          version->number, at);
            (void)report_add(rows, json_pack("{s:s, s:I, s:s, s:s, s:s, s:s, s:s}", "at", at,
                                             "version", (json_int_t)version->number, "kek_id", id,
                                             "what", "to be destroyed by its provider", "provider",
                                             name, "source", "the provider", "by", ""));
        }
    }
    return rows;
}

static bool add_scheduled(const struct report_root *root, json_t *rows)
{
    size_t i;
    json_t *row;
    bool whole = true;
    json_array_foreach(root->scheduled, i, row)
    {
        whole = whole && insert(rows, json_incref(row));
    }
    return whole;
}

static bool add_destroyed(const struct report_root *root, json_t *rows)
{
    size_t i;
    const json_t *end;
    bool whole = true;
    json_array_foreach(json_object_get(root->shown, "destroyed"), i, end)
    {
        whole = whole && insert(rows, json_pack("{s:s, s:O, s:s, s:s, s:s, s:s, s:o}", "at",
                                                report_text(end, "at"), "version",
                                                json_object_get(end, "version"), "kek_id",
                                                report_text(end, "kek_id"), "what", "destroyed",
                                                "provider", "", "source", "record of this node",
                                                "by", output_text(report_text(end, "who"))));
    }
    return whole;
}

/* What was destroyed is on record in a file of its own. */
static void judge_destructions(const struct report_root *root, json_t *why)
{
    struct destroy_record record;
    struct kek_why cause;
    if (destroy_file_read(root->keys->config, &record, &cause) != KEK_OK) {
        (void)report_say(why, "no record of destructions: %s", cause.text);
        report_attend(root->report, "%s", cause.text);
    }
}

json_t *report_history(struct report_root *root)
{
    const struct audit_tally *tally = root->report->log.tally;
    json_t *rows = json_array(), *why = json_array();
    bool whole = rows != NULL && add_destroyed(root, rows) && add_scheduled(root, rows) &&
                 add_record(root, rows);
    if (whole && tally != NULL) {
        whole = add_lines(root, tally->acts, "audit log: done by kekctl", rows) &&
                add_lines(root, tally->changes, "audit log: seen by kekd", rows);
    }
    (void)report_say(why, "a token tells no dates: what is not in these rows is not known");
    if (tally == NULL) {
        (void)report_say(why, "nothing of an audit log: %s", root->report->log.why.text);
    } else {
        (void)report_say(why, "the audit log that was read begins on %s",
                         tally->first[0] == '\0' ? "no day: it is empty" : tally->first);
    }
    if (root->report->log.read.unread) {
        (void)report_say(why, "what older files of the audit log have, which were not read, is not "
                              "in these rows");
    }
    if (root->answered < root->keys->config->provider_count) {
        (void)report_say(why,
                         "what the audit log has of a version that is on a provider alone that "
                         "did not answer is not in these rows");
    }
    judge_destructions(root, why);
    if (root->ring == NULL) {
        (void)report_say(why, "no record of kekd: %s", root->ring_why.text);
        report_attend(root->report, "%s", root->ring_why.text);
    }
    json_t *content = json_pack("{s:o}", "rows", rows);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, why, json_array_size(rows) > 0);
}

void report_history_show(struct page *page, const json_t *section)
{
    static const struct column columns[] = {
        {"at", "When"},           {"version", "Version"}, {"kek_id", "KEK id"}, {"what", "What"},
        {"provider", "Provider"}, {"by", "By uid"},       {"source", "Source"}};
    page_table(page, json_object_get(section, "rows"), columns, sizeof columns / sizeof columns[0],
               "Nothing is on record.");
}
