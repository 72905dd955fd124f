/* What the last kekctl conformance on this node found out about each token, and when. */
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kekctl/conformance/last_run.h"
#include "kekctl/destroy/destroy.h"
#include "report.h"

struct fitness {
    json_t *runs, *cases, *why;
};

static json_int_t count_of(const json_t *run, const char *outcome)
{
    return json_integer_value(json_object_get(json_object_get(run, "summary"), outcome));
}

/* A token that was exchanged since was not tried. */
static void judge_token(const struct report_root *root, size_t provider, const char *name,
                        const char *serial, const struct fitness *fitness)
{
    struct kek_pool_provider status = {.name = ""};
    if (root->keys->pool != NULL) {
        kek_pool_provider_get(root->keys->pool, provider, &status);
    }
    if (!root->answers[provider] && status.serial[0] == '\0') {
        (void)report_say(
            fitness->why,
            "%s did not answer: whether the token that was tried is there is not known", name);
    } else if (strcmp(status.serial, serial) != 0) {
        (void)report_say(fitness->why,
                         "%s: another token was tried, with serial %s: kekctl conformance tries "
                         "this one",
                         name, serial);
    }
}

static void judge(const struct report_root *root, size_t provider, const json_t *run,
                  const struct fitness *fitness)
{
    const char *name = root->keys->config->providers[provider].name;
    judge_token(root, provider, name, report_text(json_object_get(run, "token"), "serial"),
                fitness);
    if (count_of(run, "fail") > 0) {
        report_attend(root->report,
                      "%s: of the cases of kekctl conformance, %" JSON_INTEGER_FORMAT
                      " failed at its last run",
                      name, count_of(run, "fail"));
    }
}

static json_t *run_row(const struct report_root *root, const char *provider, const json_t *run)
{
    const json_t *token = json_object_get(run, "token");
    const char *ended = report_text(run, "ended");
    int64_t age_ms = root->report->now_ms - kek_clock_parse(ended);
    char age[DESTROY_SPAN_TEXT];
    destroy_span(age_ms < 0 ? 0 : age_ms, age);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I}", "provider", provider,
                     "ended", ended, "age", age, "kekctl", report_text(run, "kekctl"), "serial",
                     report_text(token, "serial"), "firmware", report_text(token, "firmware"),
                     "pass", count_of(run, "pass"), "fail", count_of(run, "fail"), "not_supported",
                     count_of(run, "not_supported"), "skipped", count_of(run, "skipped"));
}

/* What did not pass. */
static bool add_cases(const char *provider, const json_t *run, const struct fitness *fitness)
{
    size_t i;
    const json_t *item;
    bool whole = true;
    json_array_foreach(json_object_get(run, "cases"), i, item)
    {
        const char *outcome = report_text(item, "outcome");
        if (strcmp(outcome, "PASS") != 0) {
            whole = whole && report_add(fitness->cases,
                                        json_pack("{s:s, s:s, s:s, s:s, s:s}", "provider", provider,
                                                  "case", report_text(item, "name"), "title",
                                                  report_text(item, "title"), "outcome", outcome,
                                                  "says", report_text(item, "says")));
        }
    }
    return whole;
}

static bool add_provider(const struct report_root *root, size_t provider,
                         const struct fitness *fitness)
{
    struct kek_why why;
    const char *name = root->keys->config->providers[provider].name;
    json_t *run = last_run_read(root->keys->config, name, &why);
    if (run == NULL && why.rc == KEK_NOT_FOUND) {
        return report_say(fitness->why, "%s: kekctl conformance never ran on this node", name);
    }
    if (run == NULL) {
        report_attend(root->report, "%s", why.text);
        return report_say(fitness->why, "%s: %s", name, why.text);
    }
    judge(root, provider, run, fitness);
    bool whole =
        report_add(fitness->runs, run_row(root, name, run)) && add_cases(name, run, fitness);
    json_decref(run);
    return whole;
}

json_t *report_fitness(struct report_root *root)
{
    struct fitness fitness = {json_array(), json_array(), json_array()};
    bool whole = fitness.runs != NULL && fitness.cases != NULL && fitness.why != NULL;
    for (size_t p = 0; whole && p < root->keys->config->provider_count; p++) {
        whole = add_provider(root, p, &fitness);
    }
    json_t *content = json_pack("{s:o, s:o}", "runs", fitness.runs, "cases", fitness.cases);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, fitness.why, whole && json_array_size(fitness.runs) > 0);
}

void report_fitness_show(struct page *page, const json_t *section)
{
    static const struct column runs[] = {
        {"provider", "Provider"}, {"ended", "Ended"},   {"age", "Age at this report"},
        {"kekctl", "kekctl"},     {"serial", "Serial"}, {"firmware", "Firmware"},
        {"pass", "Passed"},       {"fail", "Failed"},   {"not_supported", "Not supported"},
        {"skipped", "Skipped"}};
    static const struct column cases[] = {{"provider", "Provider"},
                                          {"case", "Case"},
                                          {"title", "What was tried"},
                                          {"outcome", "Outcome"},
                                          {"says", "Why"}};
    page_table(page, json_object_get(section, "runs"), runs, sizeof runs / sizeof runs[0],
               "It never ran.");
    page_heading(page, 3, NULL, "Cases that did not pass");
    page_table(page, json_object_get(section, "cases"), cases, sizeof cases / sizeof cases[0],
               "There is none.");
}
