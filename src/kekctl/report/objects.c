/* What share of the objects in etcd is under which version, as the last inventory of each etcd that is on record counted. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "kekctl/destroy/destroy.h"
#include "kekctl/inventory/evidence.h"
#include "report.h"

/* Its last one; NULL: there is none. */
static const struct evidence_record *last_of(const struct evidence *all, const char *etcd)
{
    for (size_t i = all->count; i-- > 0;) {
        if (strcmp(all->records[i].etcd, etcd) == 0) {
            return &all->records[i];
        }
    }
    return NULL;
}

static json_t *share_of(uint64_t part, uint64_t whole)
{
    char text[32];
    snprintf(text, sizeof text, "%.1f %%", whole == 0 ? 0.0 : 100.0 * (double)part / (double)whole);
    return json_string(text);
}

/* Is each object counted under a KEK of several roots of trust? */
static bool of_several(const struct report_root *root, const struct evidence_record *record)
{
    return root->report->config->root_count > 1 || record->keks_each > 1 ||
           record->without_count > 0;
}

/* The number of a version of this root; NULL: it is none. Borrowed. */
static json_t *number_of(const struct report_root *root, const struct evidence_count *count)
{
    char id[KEK_ID_TEXT];
    kek_id_format(&count->kek, id);
    return json_object_get(report_version(root, id), "version");
}

/* Objects under KEKs of this root; where it is the only one, under any KEK. */
static uint64_t sealed_by(const struct report_root *root, const struct evidence_record *record)
{
    bool several = of_several(root, record);
    uint64_t sealed = 0;
    for (size_t i = 0; i < record->kek_count; i++) {
        bool counts = !several || number_of(root, &record->by_kek[i]) != NULL;
        sealed += counts ? record->by_kek[i].objects : 0;
    }
    return sealed;
}

static bool all_answered(const struct report_root *root)
{
    return root->answered == root->keys->config->provider_count;
}

static bool seals(const struct report_root *root)
{
    const struct kek_config *config = root->report->whole;
    for (size_t r = 0; r < config->root_count; r++) {
        if (strcmp(config->roots[r].name, root->keys->config->root) == 0) {
            return config->roots[r].seals;
        }
    }
    return true;
}

/* Does the record say how many objects lack this root?  Each object under another root's KEK is under one of this root's,
 * or lacks it: where neither is so, the root did not seal when they were counted, or its KEK is on a provider that did not
 * answer now. */
static bool says_of_root(const struct report_root *root, const struct evidence_record *record)
{
    uint64_t told = sealed_by(root, record) + evidence_without(record, root->keys->config->root);
    bool judged = seals(root) && of_several(root, record);
    for (size_t i = 0; judged && i < record->kek_count; i++) {
        if (number_of(root, &record->by_kek[i]) == NULL && record->by_kek[i].objects > told) {
            return false;
        }
    }
    return true;
}

/* Of several roots, a KEK that is not of this one is there without a share. */
static json_t *count_row(const struct report_root *root, const struct evidence_record *record,
                         const struct evidence_count *count, uint64_t sealed)
{
    char id[KEK_ID_TEXT];
    kek_id_format(&count->kek, id);
    json_t *number = number_of(root, count);
    bool several = of_several(root, record);
    const char *none = !all_answered(root) ? "not known"
                       : several           ? "none of this root of trust"
                                           : "none of this keyring";
    return json_pack(
        "{s:o, s:s, s:I, s:o}", "version", number == NULL ? json_string(none) : json_incref(number),
        "kek_id", id, "objects", (json_int_t)count->objects, "share",
        several && number == NULL ? json_string("") : share_of(count->objects, sealed));
}

static json_t *describe(const struct report_root *root, const struct evidence_record *record)
{
    char cluster[17], begun[KEK_CLOCK_TEXT], ended[KEK_CLOCK_TEXT], age[DESTROY_SPAN_TEXT];
    int64_t age_ms = root->report->now_ms - record->ended.wall_ms;
    json_t *counts = json_array();
    uint64_t sealed = sealed_by(root, record);
    bool known = says_of_root(root, record);
    json_int_t without = (json_int_t)evidence_without(record, root->keys->config->root);
    bool whole = counts != NULL;
    for (size_t i = 0; whole && i < record->kek_count; i++) {
        whole = report_add(counts, count_row(root, record, &record->by_kek[i], sealed));
    }
    snprintf(cluster, sizeof cluster, "%016" PRIx64, record->cluster_id);
    destroy_span(age_ms < 0 ? 0 : age_ms, age);
    json_t *row = json_pack(
        "{s:s, s:s, s:s, s:o, s:I, s:s, s:s, s:s, s:I, s:o, s:o, s:I, s:I, s:b, s:o}", "etcd",
        record->etcd, "cluster_id", cluster, "prefix", record->prefix, "context",
        output_text(record->context), "revision", (json_int_t)record->revision, "begun",
        kek_clock_text_seconds(record->begun.wall_ms, begun), "ended",
        kek_clock_text_seconds(record->ended.wall_ms, ended), "age", age, "objects",
        (json_int_t)record->objects, "sealed_by_kekd",
        known || all_answered(root) ? json_integer((json_int_t)sealed) : json_string("not known"),
        "under_protected", known ? json_integer(without) : json_string("not known"), "unreadable",
        (json_int_t)record->unreadable, "disagreeing", (json_int_t)record->disagreeing, "verified",
        record->verified ? 1 : 0, "by_version", counts);
    if (!whole) {
        json_decref(row);
        return NULL;
    }
    return row;
}

/* What is said of one that is there. */
static void remark(const struct report_root *root, const struct evidence_record *record,
                   json_t *why)
{
    uint64_t without = evidence_without(record, root->keys->config->root);
    if (without > 0) {
        (void)report_say(why, "%s: %s under-protected, sealed without this root of trust",
                         record->etcd, kek_counted(without, "object").text);
        report_attend(root->report, "etcd %s: %s under-protected, without root of trust %s",
                      record->etcd, kek_counted(without, "object").text, root->keys->config->root);
    }
    if (!says_of_root(root, record)) {
        (void)report_say(why, "%s: how many objects lack this root of trust is not known: %s",
                         record->etcd,
                         all_answered(root) ? "it did not seal yet when they were counted (kekctl "
                                              "inventory counts anew)"
                                            : "a provider did not answer");
    }
    if (record->unreadable > 0) {
        (void)report_say(why, "%s: of %" PRIu64 " objects nobody can say which version sealed them",
                         record->etcd, record->unreadable);
        report_attend(root->report, "etcd %s holds %" PRIu64 " objects that cannot be told apart",
                      record->etcd, record->unreadable);
    }
    if (record->disagreeing > 0) {
        (void)report_say(
            why,
            "%s: of %" PRIu64
            " objects the version that stands in them may not be the one that sealed them",
            record->etcd, record->disagreeing);
    }
}

static bool list_etcds(const struct report_root *root, const struct evidence *all, json_t *list,
                       json_t *why)
{
    const struct kek_config *config = root->keys->config;
    for (size_t i = 0; i < config->etcd_count; i++) {
        const struct evidence_record *record = last_of(all, config->etcd[i].name);
        if (record == NULL) {
            (void)report_say(why, "%s: no inventory on record (kekctl inventory makes one)",
                             config->etcd[i].name);
            continue;
        }
        remark(root, record, why);
        if (!report_add(list, describe(root, record))) {
            return false;
        }
    }
    return true;
}

json_t *report_objects(struct report_root *root)
{
    struct kek_why unread;
    json_t *list = json_array(), *why = json_array();
    KEK_AUTO_FREE struct evidence *all = evidence_load(root->keys->config, &unread);
    bool whole = list != NULL;
    if (all == NULL) {
        (void)report_say(why, "%s", unread.text);
        report_attend(root->report, "%s", unread.text);
    } else if (root->keys->config->etcd_count == 0) {
        (void)report_say(why, "no inventory on record: the configuration names no etcd");
    } else {
        whole = whole && list_etcds(root, all, list, why);
    }
    json_t *content = json_pack("{s:o}", "inventories", list);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, why, json_array_size(list) > 0);
}

void report_objects_show(struct page *page, const json_t *section)
{
    static const struct column about[] = {
        {"etcd", "etcd"},
        {"cluster_id", "Cluster"},
        {"revision", "Revision"},
        {"begun", "Begun"},
        {"ended", "Ended"},
        {"age", "Age at this report"},
        {"prefix", "Prefix"},
        {"objects", "Objects under it"},
        {"sealed_by_kekd", "Of these, sealed by a KEK (of several roots of trust: of this one's)"},
        {"under_protected", "Of these, under-protected: without this root of trust"},
        {"unreadable", "Of these, nobody can say by which"},
        {"disagreeing", "Of these, perhaps by another one than stands there"},
        {"verified", "Each was opened too"}};
    static const struct column counts[] = {{"version", "Version"},
                                           {"kek_id", "KEK id"},
                                           {"objects", "Objects"},
                                           {"share", "Share of those sealed by a KEK"}};
    size_t i;
    const json_t *etcd;
    json_array_foreach(json_object_get(section, "inventories"), i, etcd)
    {
        page_object(page, etcd, about, sizeof about / sizeof about[0]);
        page_table(page, json_object_get(etcd, "by_version"), counts,
                   sizeof counts / sizeof counts[0], "No object is sealed by a KEK.");
    }
}
