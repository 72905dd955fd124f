/* kekctl report: evidence for an auditor. */
#include "report.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/digest.h"
#include "kek/json.h"
#include "kekctl/destroy/destroy_file.h"
#include "kekctl/key/key_describe.h"
#include "kekctl/options.h"
#include "report_files.h"
#include "report_page.h"
#include "sections.h"
#include "signature.h"

static enum ctl_exit no_memory(const struct ctl *ctl)
{
    ctl_say(ctl, "no memory for the report");
    return CTL_FAILED;
}

/* ---- one root of trust ---- */

static void look(struct report_root *root, bool started)
{
    struct keys *keys = root->keys;
    for (size_t p = 0; !started && p < keys->config->provider_count; p++) {
        keys->listings[p].rc =
            kek_fail(&keys->listings[p].why, KEK_UNAVAILABLE, "no worker could be started");
    }
    root->answered = started ? keys_look(keys, false) : 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        root->answers[p] = keys->listings[p].rc == KEK_OK;
    }
    root->scheduled = report_scheduled(root);
    root->shown = started ? key_describe(keys) : json_pack("{s:[], s:[]}", "versions", "destroyed");
}

/* All its sections. NULL: no memory. */
static json_t *make_root(struct report_root *root)
{
    const struct kek_config *config = root->keys->config;
    json_t *json = json_pack("{s:s, s:s}", "root", config->root, "keyring", config->keyring);
    bool whole = json != NULL && root->shown != NULL;
    for (size_t i = 0; whole && i < REPORT_PARTS; i++) {
        const struct report_part *part = &report_parts[i];
        whole = part->make_of_root == NULL ||
                json_object_set_new(json, part->name, part->make_of_root(root)) == 0;
    }
    if (!whole) {
        json_decref(json);
        return NULL;
    }
    return json;
}

static enum ctl_exit add_root(struct report *report, json_t *roots)
{
    KEYS_AUTO struct keys keys;
    if (!keys_open(&keys, report->ctl)) {
        return keys.code;
    }
    struct report_root root = {.report = report, .keys = &keys};
    look(&root, keys_start(&keys, true));
    root.ring = kek_keyring_read(keys.config, &root.ring_why);
    bool added = report_add(roots, make_root(&root));
    kek_keyring_free(root.ring);
    json_decref(root.shown);
    json_decref(root.scheduled);
    return added ? CTL_GOOD : no_memory(report->ctl);
}

static enum ctl_exit add_roots(struct report *report, json_t *roots)
{
    const char *asked = report->ctl->root;
    const struct kek_config *config = report->config;
    enum ctl_exit code = CTL_GOOD;
    for (size_t i = 0; code == CTL_GOOD && i < kek_config_root_count(config); i++) {
        report->ctl->root = config->root_count == 0 ? asked : config->roots[i].name;
        code = add_root(report, roots);
    }
    report->ctl->root = asked;
    return code;
}

/* ---- the whole ---- */

static json_t *made(const struct report *report)
{
    char node[HOST_NAME_MAX + 1] = "", who[DESTROY_WHO_MAX];
    (void)gethostname(node, sizeof node - 1);
    destroy_who(who);
    return json_pack(
        "{s:o, s:o, s:o, s:s}", "at", report_date(report->now_ms), "node",
        output_text(report->config->status.name == NULL ? node : report->config->status.name), "by",
        output_text(who), "command", REPORT_COMMAND);
}

/* null where it is not signed; NULL: no memory. */
static json_t *signature_json(const struct signature_key *key)
{
    char digest[KEK_SHA256_TEXT];
    if (key == NULL) {
        return json_null();
    }
    return signature_key_digest(key, digest)
               ? json_pack("{s:s, s:s}", "algorithm", signature_key_name(key), "public_key_sha256",
                           digest)
               : NULL;
}

static enum ctl_exit make(struct report *report, const struct signature_key *key, json_t **json)
{
    json_t *roots = json_array();
    enum ctl_exit code = roots == NULL ? no_memory(report->ctl) : add_roots(report, roots);
    if (code != CTL_GOOD) {
        json_decref(roots);
        return code;
    }
    *json = json_pack("{s:s, s:i, s:o, s:o, s:O, s:o}", "kind", REPORT_KIND, "format",
                      REPORT_FORMAT, "made", made(report), "signature", signature_json(key),
                      "attention", report->attention, "roots", roots);
    bool whole = *json != NULL;
    for (size_t i = 0; whole && i < REPORT_PARTS; i++) {
        const struct report_part *part = &report_parts[i];
        whole =
            part->make == NULL || json_object_set_new(*json, part->name, part->make(report)) == 0;
    }
    return whole && report_is_whole() ? CTL_GOOD : no_memory(report->ctl);
}

/* ---- the files ---- */

static enum ctl_exit show(const struct ctl *ctl, const json_t *json, const char *sha256)
{
    static const struct column columns[] = {
        {"title", "SECTION"}, {"filled", "FILLED"}, {"why", "WHY-NOT"}};
    json_t *overview = report_overview(json), *section;
    size_t i;
    json_array_foreach(overview, i, section)
    {
        json_t *why = json_object_get(section, "why");
        if (ctl->json == 0) {
            (void)json_object_set_new(
                section, "why",
                json_array_size(why) == 0 ? json_string("") : json_incref(json_array_get(why, 0)));
        }
    }
    json_t *object =
        json_pack("{s:o, s:s, s:O, s:O, s:o}", "folder", output_text(ctl->out), "sha256", sha256,
                  "signature", json_object_get(json, "signature"), "attention",
                  json_object_get(json, "attention"), "sections", overview);
    if (object == NULL) {
        return no_memory(ctl);
    }
    enum ctl_exit code =
        output_list(ctl, object, "sections", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}

static void say_attention(const struct ctl *ctl, const json_t *attention)
{
    size_t i;
    const json_t *sentence;
    json_array_foreach(attention, i, sentence)
    {
        ctl_say(ctl, "attention: %s", json_string_value(sentence));
    }
}

static enum ctl_exit write_files(const struct ctl *ctl, const json_t *json,
                                 const struct signature_key *key)
{
    KEK_AUTO_FREE char *text = kek_json_text(json, JSON_INDENT(1));
    KEK_AUTO_BUF struct kek_buf signature;
    char sha256[KEK_SHA256_TEXT];
    struct kek_why why;
    kek_buf_init(&signature, SIGNATURE_MAX);
    if (text == NULL || !kek_sha256_text(kek_bytes_of(text), sha256)) {
        return no_memory(ctl);
    }
    if (key != NULL && signature_make(key, kek_bytes_of(text), &signature, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    struct page page;
    report_page(&page, json, sha256);
    enum kek_rc rc = page_good(&page) ? report_files_write(ctl->out, kek_bytes_of(text),
                                                           kek_buf_bytes(&signature),
                                                           kek_buf_bytes(&page.html), &why)
                                      : kek_fail(&why, KEK_NO_MEMORY, "no memory for the page");
    page_done(&page);
    if (rc != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    say_attention(ctl, json_object_get(json, "attention"));
    return show(ctl, json, sha256);
}

static enum ctl_exit run(struct report *report)
{
    struct ctl *ctl = report->ctl;
    struct kek_why why;
    KEK_AUTO(signature_key)
    key = ctl->key_file == NULL ? NULL : signature_key_private(ctl->key_file, &why);
    if (ctl->key_file != NULL && key == NULL) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    if (report_files_prepare(ctl->out, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    audit_log_take(&report->log, ctl, report->config);
    json_t *json = NULL;
    enum ctl_exit code = make(report, key, &json);
    if (code == CTL_GOOD) {
        code = write_files(ctl, json, key);
    }
    json_decref(json);
    return code == CTL_GOOD && json_array_size(report->attention) > 0 ? CTL_CHECK : code;
}

enum ctl_exit ctl_report(struct ctl *ctl)
{
    if (ctl->out == NULL) {
        return ctl_usage(ctl, "--out FOLDER is missing");
    }
    struct ctl all = *ctl;
    all.root = NULL;
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    KEK_AUTO(kek_config) whole = config == NULL ? NULL : ctl_config(&all);
    if (whole == NULL) {
        return CTL_USAGE;
    }
    struct report report = {.ctl = ctl,
                            .config = config,
                            .whole = whole,
                            .now_ms = kek_clock_wall_ms(),
                            .attention = json_array()};
    enum ctl_exit code = report.attention == NULL ? no_memory(ctl) : run(&report);
    audit_log_done(&report.log);
    json_decref(report.attention);
    return code;
}
