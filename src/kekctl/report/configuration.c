/* The configuration that the report was made by, by its digest, and what of it an auditor asks for. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kekctl/key/joint.h"
#include "report.h"

static json_t *duration(uint64_t ms)
{
    char text[32];
    if (ms % 3600000 == 0) {
        snprintf(text, sizeof text, "%" PRIu64 "h", ms / 3600000);
    } else {
        snprintf(text, sizeof text, "%" PRIu64 "%s", ms % 1000 == 0 ? ms / 1000 : ms,
                 ms % 1000 == 0 ? "s" : "ms");
    }
    return json_string(text);
}

/* ---- the roots of trust ---- */

static const char *mode_says(enum kek_config_mode mode)
{
    return mode == KEK_CONFIG_ALL ? "all: every root is needed to open"
                                  : "any: each root opens alone";
}

/* Of envelopes of mode `all` it must have a share; what there is but one of is in each. */
static bool is_needed(const struct kek_config *whole, size_t root)
{
    bool all = whole->mode == KEK_CONFIG_ALL || whole->mode_accept == KEK_CONFIG_ALL;
    return whole->root_count <= 1 || (all && whole->roots[root].seals && whole->roots[root].needed);
}

/* The version of the root that is announced; null: none is. */
static json_t *version_of(const struct joint *joint, size_t root)
{
    for (size_t i = 0; i < joint->generation.count; i++) {
        if (joint->roots[i] == root) {
            return json_integer(joint->generation.numbers[i]);
        }
    }
    return json_null();
}

static void attend(struct report *report, const struct joint *joint, size_t root)
{
    const struct kek_config_root *config = &report->whole->roots[root];
    if (!config->needed) {
        report_attend(report,
                      "root of trust %s is not needed (needed: false): what has no share of it "
                      "opens, too, which is for the time of a change",
                      config->name);
    }
    if (config->seals && joint->generation.count > 0 && !joint_has(joint, root)) {
        report_attend(report,
                      "root of trust %s is not announced: what is sealed now does not open by it",
                      config->name);
    }
}

static json_t *roots(struct report *report, const struct joint *joint)
{
    const struct kek_config *whole = report->whole;
    json_t *list = json_array();
    for (size_t r = 0; list != NULL && r < kek_config_root_count(whole); r++) {
        const struct kek_config *view = kek_config_view(whole, r);
        /* It may be that kekd announces KEKs of which no record here says whose they are. */
        bool known = joint->key_id[0] == '\0' || joint->generation.count > 0;
        json_t *providers = json_array();
        for (size_t p = 0; p < view->provider_count; p++) {
            (void)report_say(providers, "%s (%s)", view->providers[p].name,
                             view->providers[p].type);
        }
        if (whole->root_count > 1) {
            attend(report, joint, r);
        }
        (void)report_add(
            list, json_pack("{s:s, s:s, s:b, s:b, s:o, s:o, s:o}", "root", view->root, "keyring",
                            view->keyring, "seals", whole->root_count == 0 || whole->roots[r].seals,
                            "needed", is_needed(whole, r), "announced",
                            known ? json_boolean(joint_has(joint, r)) : json_null(),
                            "announced_version", version_of(joint, r), "providers", providers));
    }
    return list;
}

/* ---- the whole ---- */

json_t *report_configuration(struct report *report)
{
    const struct kek_config *config = report->config, *whole = report->whole;
    bool several = whole->root_count > 1;
    const char *mode = several ? mode_says(whole->mode) : "one root of trust";
    const char *accepts =
        several && whole->mode_accept != whole->mode ? mode_says(whole->mode_accept) : "nothing";
    struct joint joint;
    joint_find(report->ctl, whole, &joint);
    const char *log = kek_config_audit_log(config);
    return report_section(
        json_pack("{s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:I, s:o, s:o, s:I, s:o, s:o, s:o, s:b, "
                  "s:o, s:o}",
                  "path", output_text(config->path), "sha256", config->digest, "context",
                  output_text(config->context), "mode", mode, "mode_accept", accepts, "announced",
                  joint.key_id, "announced_by",
                  joint.by_kekd             ? "the kekd that runs here"
                  : joint.unread            ? "not known: the record of this node cannot be read"
                  : joint.key_id[0] == '\0' ? "nobody: nothing is announced yet"
                                            : "the record of this node",
                  "data_key_max_uses", (json_int_t)config->data_key.max_uses, "data_key_max_age",
                  duration(config->data_key.max_age_ms), "data_key_cache_ttl",
                  duration(config->data_key.cache_ttl_ms), "data_key_cache_entries",
                  (json_int_t)config->data_key.cache_entries, "destroy_after",
                  duration(config->destroy_after_ms), "quarantine", duration(config->quarantine_ms),
                  "state_dir", output_text(config->state_dir), "strict",
                  config->data_key.max_uses == 1, "audit_file",
                  log == NULL ? json_string("none: nothing is put on record") : output_text(log),
                  "roots", roots(report, &joint)),
        json_array(), true);
}

void report_configuration_show(struct page *page, const json_t *section)
{
    static const struct column columns[] = {
        {"path", "File"},
        {"sha256", "SHA-256 of its bytes"},
        {"context", "Context, bound into each ciphertext"},
        {"mode", "Roots of trust"},
        {"mode_accept", "Mode that opens besides, and never seals"},
        {"announced", "key_id that is announced"},
        {"announced_by", "As is said by"},
        {"strict", "Strict mode (an HSM operation for each call)"},
        {"data_key_max_uses", "Calls that one data key seals at most"},
        {"data_key_max_age", "Time that one data key seals at most"},
        {"data_key_cache_entries", "Opened data keys kept in memory at most"},
        {"data_key_cache_ttl", "Time that each is kept at most"},
        {"destroy_after", "Out of use before it may be destroyed"},
        {"quarantine", "Quarantine before a destruction"},
        {"audit_file", "Audit log"},
        {"state_dir", "Record of this node"}};
    static const struct column roots_shown[] = {{"root", "Root of trust"},
                                                {"keyring", "Keyring"},
                                                {"seals", "Seals"},
                                                {"needed", "Needed in mode all"},
                                                {"announced", "Announced"},
                                                {"announced_version", "Version announced"},
                                                {"providers", "Providers (type)"}};
    page_object(page, section, columns, sizeof columns / sizeof columns[0]);
    page_table(page, json_object_get(section, "roots"), roots_shown,
               sizeof roots_shown / sizeof roots_shown[0], "None.");
}
