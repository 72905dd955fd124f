/* kekctl kube config --check: is the phase safe now? */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/inventory/inventory.h"
#include "kube_judge.h"
#include "kekctl/node/nodes.h"
#include "kekctl/output.h"

/* What was looked at, and whether anything speaks against the phase. */
struct findings {
    const struct kube_change *change;
    json_t *checks;
    bool safe, no_memory;
};

static void add(struct findings *findings, const char *check, const char *result,
                const char *evidence)
{
    json_t *row = json_pack("{s:s, s:s, s:o}", "check", check, "result", result, "evidence",
                            output_text(evidence));
    if (row == NULL || json_array_append_new(findings->checks, row) != 0) {
        findings->no_memory = true;
    }
}

/* ---- kekd, on every node ---- */

static void check_nodes(struct findings *findings)
{
    const struct ctl *ctl = findings->change->ctl;
    struct nodes nodes;
    enum ctl_exit code;
    char evidence[128];
    if (!nodes_open(&nodes, ctl, findings->change->config, ctl->nodes.list, ctl->nodes.count,
                    &code)) {
        add(findings, "nodes", "not good", "cannot be asked");
        findings->safe = false;
        return;
    }
    size_t reached = nodes_ask(&nodes, NODES_TIMEOUT_MS);
    size_t troubles = nodes_say(&nodes);
    (void)nodes_say_clocks(&nodes, "remark: ");
    if (nodes.alone && !ctl->single_node) {
        ctl_say(ctl, "where there is no other node, say --single-node");
        troubles++;
    }
    snprintf(evidence, sizeof evidence, "%s asked, %zu answered%s",
             kek_counted(nodes.count, "node").text, reached,
             troubles == 0 ? ": all well, and announcing one key" : "");
    add(findings, "nodes", troubles == 0 ? "good" : "not good", evidence);
    findings->safe = findings->safe && troubles == 0;
    nodes_close(&nodes);
}

/* ---- what is stored ---- */

/* One of another context may be another cluster's, whose API servers have another file. */
static bool is_of_another_context(const struct kube_change *change, const char *context)
{
    return strcmp(context, change->config->context) != 0;
}

static void say_whose(const struct kube_change *change, const struct inventory_etcd *etcd)
{
    if (is_of_another_context(change, etcd->context)) {
        ctl_say(change->ctl,
                "etcd %s is of context %s: if that is another cluster, name those of this one by "
                "--etcd",
                etcd->settings.name, etcd->context);
    }
}

/* None are there before the first API server was; later it is another prefix or etcd than the API servers'. */
static bool has_objects(const struct kube_change *change, const struct inventory_etcd *etcd)
{
    bool new_cluster =
        change->ctl->from == NULL && change->step.stage == KEK_ENCRYPTION_STAGE_WRITER;
    if (etcd->tally->objects == 0 ? new_cluster : tally_is_kubernetes(etcd->tally)) {
        return true;
    }
    ctl_say(
        change->ctl,
        "etcd %s: there is no object of a resource that Kubernetes has below %s: is that the API "
        "servers' etcd, and their --etcd-prefix?",
        etcd->settings.name, etcd->prefix);
    return false;
}

static bool judge_etcd(struct findings *findings, const struct inventory_etcd *etcd)
{
    const struct kube_change *change = findings->change;
    size_t groups = kube_judge(change, etcd->tally, ctl_say);
    bool blind = change->step.removes_reader && tally_unreadable(etcd->tally) > 0;
    if (blind) {
        ctl_say(change->ctl,
                "etcd %s: of %s nobody can say what opens it: kekctl inventory names each",
                etcd->settings.name, kek_counted(tally_unreadable(etcd->tally), "object").text);
    }
    uint64_t refused = etcd->tally->troubles[TALLY_FORM];
    if (refused > 0) {
        ctl_say(change->ctl,
                "etcd %s: kekd refuses the envelope of %s by its configuration: kekctl inventory "
                "names each",
                etcd->settings.name, kek_counted(refused, "object").text);
    }
    return groups == 0 && !blind && refused == 0 && has_objects(change, etcd);
}

static void check_etcd(struct findings *findings, const struct inventory *inventory,
                       struct inventory_etcd *etcd)
{
    const struct kube_change *change = findings->change;
    char check[80], evidence[200];
    snprintf(check, sizeof check, "etcd %s", etcd->settings.name);
    if (!inventory_read(inventory, etcd, NULL)) {
        ctl_say(change->ctl, "%s", etcd->why.text);
        say_whose(change, etcd);
        add(findings, check, "not good", "could not be read in full");
        findings->safe = false;
        return;
    }
    bool good = judge_etcd(findings, etcd);
    int len =
        snprintf(evidence, sizeof evidence, "revision %" PRId64 ", %s%s", etcd->revision,
                 kek_counted(etcd->tally->objects, "key").text, good ? ", each with a reader" : "");
    if (etcd->tally->opened > 0) {
        snprintf(evidence + len, sizeof evidence - (size_t)len, "; %s opened by keys of the file",
                 kek_counted(etcd->tally->opened, "object").text);
    }
    add(findings, check, good ? "good" : "not good", evidence);
    findings->safe = findings->safe && good;
    if (!good) {
        say_whose(change, etcd);
    }
}

static bool was_chosen(const struct inventory *inventory, const char *name)
{
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        if (strcmp(inventory->etcds[i].settings.name, name) == 0) {
            return true;
        }
    }
    return false;
}

/* What --etcd leaves out: of the own context it is this cluster's, and nobody knows what lies there. */
static void tell_left_out(struct findings *findings, const struct inventory *inventory)
{
    const struct kube_change *change = findings->change;
    for (size_t i = 0; i < change->config->etcd_count; i++) {
        const struct kek_config_etcd *etcd = &change->config->etcd[i];
        char check[80], evidence[400];
        if (was_chosen(inventory, etcd->name)) {
            continue;
        }
        bool elsewhere = is_of_another_context(change, etcd->context);
        snprintf(check, sizeof check, "etcd %s", etcd->name);
        snprintf(evidence, sizeof evidence, "--etcd does not name it, and it is of %s %s",
                 elsewhere ? "context" : "this cluster's context,", etcd->context);
        add(findings, check, "not looked at", evidence);
        findings->safe = findings->safe && elsewhere;
    }
}

/* Where the file is what the API servers have, and nothing is taken out of it, etcd has nothing to say. */
static void without_etcd(struct findings *findings)
{
    const struct kube_change *change = findings->change;
    bool needed = change->step.removes_reader || change->ctl->from == NULL;
    add(findings, "etcd", needed ? "not good" : "not looked at", "none is configured");
    if (needed) {
        ctl_say(change->ctl,
                "what is stored decides whether %s is safe, and %s names no etcd: add `etcd` to it",
                change->phase, change->config->path);
        findings->safe = false;
    }
}

static void check_stored(struct findings *findings)
{
    const struct kube_change *change = findings->change;
    if (change->config->etcd_count == 0) {
        without_etcd(findings);
        return;
    }
    struct inventory *inventory = calloc(1, sizeof *inventory);
    if (inventory == NULL) {
        findings->no_memory = true;
        return;
    }
    inventory->ctl = change->ctl;
    inventory->config = change->config;
    inventory_keks_init(&inventory->keks, change->config);
    inventory->file = change->ctl->from == NULL ? NULL : change->before;
    bool chosen = inventory_choose(inventory);
    findings->safe = findings->safe && chosen;
    for (size_t i = 0; chosen && i < inventory->etcd_count; i++) {
        check_etcd(findings, inventory, &inventory->etcds[i]);
        tally_free(inventory->etcds[i].tally);
    }
    if (chosen) {
        tell_left_out(findings, inventory);
    }
    free(inventory);
}

/* ---- the API servers ---- */

/* kekctl does not see them one by one. */
static void say_servers(struct findings *findings)
{
    const struct kube_change *change = findings->change;
    if (change->ctl->from != NULL) {
        add(findings, "API servers", "for you to check", change->from_digest);
        ctl_say(change->ctl,
                "remark: every API server must have taken %s: its metric "
                "apiserver_encryption_config_controller_last_config_info shows %s",
                change->ctl->from, change->from_digest);
    }
}

enum ctl_exit kube_check(const struct kube_change *change)
{
    static const struct column columns[] = {
        {"check", "CHECK"}, {"result", "RESULT"}, {"evidence", "EVIDENCE"}};
    struct findings findings = {.change = change, .checks = json_array(), .safe = true};
    (void)signal(SIGPIPE, SIG_IGN);
    if (change->step.stage != KEK_ENCRYPTION_STAGE_GONE) { /* which nobody needs kekd for */
        check_nodes(&findings);
    }
    check_stored(&findings);
    say_servers(&findings);
    json_t *object = json_pack("{s:s, s:b, s:o}", "phase", change->phase, "safe", findings.safe,
                               "checks", findings.checks);
    if (object == NULL || findings.no_memory) {
        json_decref(object);
        ctl_say(change->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list(change->ctl, object, "checks", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    if (code == CTL_GOOD && !findings.safe) {
        ctl_say(change->ctl, "%s is not safe now: give no API server its file", change->phase);
    }
    return code == CTL_GOOD && !findings.safe ? CTL_CHECK : code;
}
