/* What the tokens were proven to do while the report was made: as kekctl probe tries them, and by the versions' witnesses. */
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/key/key_canary.h"
#include "kekctl/probe/probe_describe.h"
#include "report.h"

struct proofs {
    json_t *tokens, *trials, *canaries, *why;
};

/* ---- the KEKs themselves ---- */

static const char *open_witness(const struct report_root *root, const json_t *version,
                                struct kek_why *why)
{
    struct kek_id kek_id;
    bool has_witness = false;
    kek_fail(why, KEK_OK, "%s", "");
    if (!json_is_true(json_object_get(version, "eligible")) ||
        !json_is_true(json_object_get(version, "can_unwrap")) ||
        !kek_id_parse(report_text(version, "kek_id"), &kek_id)) {
        return "not tried: it may not unwrap";
    }
    if (root->ring == NULL) {
        return "not tried: kekd's record cannot be read";
    }
    size_t provider = report_provider(root->keys, report_text(version, "provider"));
    enum kek_rc rc = canary_ask(root->keys, root->ring, &kek_id, provider, &has_witness, why);
    if (!has_witness) {
        return "not tried: this node has no witness of it, since kekd announced nothing under it "
               "here";
    }
    return rc == KEK_OK ? "opened" : "failed";
}

static bool try_version(const struct report_root *root, const json_t *version,
                        struct proofs *proofs)
{
    struct kek_why why;
    const char *outcome = open_witness(root, version, &why);
    const char *provider = report_text(version, "provider");
    if (strcmp(outcome, "failed") == 0) {
        report_attend(root->report,
                      "version %" JSON_INTEGER_FORMAT " on %s does not open what it wrapped: %s",
                      json_integer_value(json_object_get(version, "version")), provider,
                      kek_text_after_name(why.text, provider));
    }
    return report_add(
        proofs->canaries,
        json_pack("{s:O, s:s, s:s, s:s, s:o}", "version", json_object_get(version, "version"),
                  "kek_id", report_text(version, "kek_id"), "provider", provider, "outcome",
                  outcome, "says", output_text(strcmp(outcome, "failed") == 0 ? why.text : "")));
}

static bool try_versions(const struct report_root *root, struct proofs *proofs)
{
    size_t i;
    const json_t *version;
    json_array_foreach(json_object_get(root->shown, "versions"), i, version)
    {
        if (report_text(version, "provider")[0] != '\0' && !try_version(root, version, proofs)) {
            return false;
        }
    }
    return true;
}

/* ---- the tokens ---- */

static void judge(const struct report_root *root, size_t provider, bool used)
{
    const char *name = root->keys->config->providers[provider].name;
    const struct kek_provider_keeping *keeping = &root->keys->listings[provider].probed->keeping;
    if (!used) {
        report_attend(root->report, "%s: no way to wrap works there", name);
    }
    if (keeping->outcome == KEK_KEEPING_HANDED_OUT) {
        report_attend(root->report, "%s hands out a key that is to stay inside: %s", name,
                      keeping->text);
    }
}

static bool list_trials(const struct report_root *root, size_t provider, struct proofs *proofs)
{
    const struct kek_provider_probed *probed = root->keys->listings[provider].probed;
    bool used = false, whole = true;
    for (size_t i = 0; whole && i < probed->trial_count; i++) {
        used = used || probed->trials[i].chosen;
        whole = report_add(proofs->trials,
                           probe_describe_trial(root->keys, provider, &probed->trials[i]));
    }
    judge(root, provider, used);
    return whole;
}

/* As kekctl probe --provider does; one after the other. */
static bool try_token(const struct report_root *root, size_t provider, struct proofs *proofs)
{
    struct keys *keys = root->keys;
    const char *name = keys->config->providers[provider].name;
    if (!root->answers[provider]) {
        return report_say(proofs->why, "%s did not answer: nothing was proven there", name);
    }
    root->report->ctl->provider = name;
    (void)keys_probe(keys);
    root->report->ctl->provider = NULL;
    const struct listing *listing = &keys->listings[provider];
    if (listing->rc != KEK_OK || listing->probed == NULL) {
        const char *text = kek_text_after_name(listing->why.text, name);
        report_attend(root->report, "%s could not be tried: %s", name, text);
        return report_say(proofs->why, "%s could not be tried: %s", name, text);
    }
    return report_add(proofs->tokens, probe_describe_provider(keys, provider)) &&
           list_trials(root, provider, proofs);
}

json_t *report_proofs(struct report_root *root)
{
    struct proofs proofs = {json_array(), json_array(), json_array(), json_array()};
    bool whole = proofs.tokens != NULL && proofs.trials != NULL && proofs.canaries != NULL &&
                 try_versions(root, &proofs);
    for (size_t p = 0; whole && p < root->keys->config->provider_count; p++) {
        whole = try_token(root, p, &proofs);
    }
    json_t *content =
        json_pack("{s:o, s:o, s:o, s:o}", "at", report_date(root->report->now_ms), "tokens",
                  proofs.tokens, "trials", proofs.trials, "witnesses", proofs.canaries);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, proofs.why, json_array_size(proofs.tokens) > 0);
}

void report_proofs_show(struct page *page, const json_t *section)
{
    static const struct column tokens[] = {{"name", "Provider"},
                                           {"serial", "Serial"},
                                           {"keeps_kek", "Keeps a KEK in"},
                                           {"keeps_kek_says", "As it said"}};
    static const struct column trials[] = {{"provider", "Provider"},
                                           {"strategy", "Strategy"},
                                           {"mechanism", "Mechanism"},
                                           {"advertised", "Advertised"},
                                           {"says", "Wrap, unwrap, and a damaged one"},
                                           {"tried_with", "Tried with"},
                                           {"used", "Used by kekd"}};
    static const struct column witnesses[] = {{"version", "Version"},
                                              {"kek_id", "KEK id"},
                                              {"provider", "Provider"},
                                              {"outcome", "Its witness"},
                                              {"says", "Error"}};
    page_heading(page, 3, NULL, "Refusal to export");
    page_table(page, json_object_get(section, "tokens"), tokens, sizeof tokens / sizeof tokens[0],
               "No token was tried.");
    page_heading(page, 3, NULL, "Mechanisms");
    page_table(page, json_object_get(section, "trials"), trials, sizeof trials / sizeof trials[0],
               "No mechanism was tried.");
    page_heading(page, 3, NULL, "Each version opens what it wrapped");
    page_table(page, json_object_get(section, "witnesses"), witnesses,
               sizeof witnesses / sizeof witnesses[0], "No version was tried.");
}
