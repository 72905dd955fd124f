/* kekctl kube config --check: is the phase safe now? */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kekctl/inventory/inventory.h"
#include "kube_judge.h"
#include "kekctl/node/nodes.h"
#include "kekctl/output.h"

/* What was looked at, and whether anything speaks against the phase. */
struct findings {
    const struct kube_change *change;
    json_t *checks;
    bool looked; /* at what is stored */
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
    if (nodes.alone && !ctl->single_node) {
        ctl_say(ctl, "where there is no other node, say --single-node");
        troubles++;
    }
    snprintf(evidence, sizeof evidence, "%zu of %zu answer%s", reached, nodes.count,
             troubles == 0 ? ", are well, and announce one key" : "");
    add(findings, "nodes", troubles == 0 ? "good" : "not good", evidence);
    findings->safe = findings->safe && troubles == 0;
    nodes_close(&nodes);
}

/* ---- what is stored ---- */

/* An etcd of another context is another cluster's, whose API servers have another file; unless it was named. */
static bool is_elsewhere(const struct kube_change *change, const struct inventory_etcd *etcd)
{
    return change->ctl->etcds.count == 0 && strcmp(etcd->context, change->config->context) != 0;
}

static void check_etcd(struct findings *findings, const struct inventory *inventory,
                       struct inventory_etcd *etcd)
{
    const struct kube_change *change = findings->change;
    char check[80], evidence[200];
    snprintf(check, sizeof check, "etcd %s", etcd->settings.name);
    if (is_elsewhere(change, etcd)) {
        add(findings, check, "not looked at", "another cluster's, by its context");
        return;
    }
    findings->looked = true;
    if (!inventory_read(inventory, etcd, NULL)) {
        ctl_say(change->ctl, "%s", etcd->why.text);
        add(findings, check, "not good", "could not be read in full");
        findings->safe = false;
        return;
    }
    size_t groups = kube_judge(change, etcd->tally, ctl_say);
    bool blind = change->step.removes_reader && tally_unreadable(etcd->tally) > 0;
    if (blind) {
        ctl_say(change->ctl,
                "etcd %s: of %" PRIu64
                " objects nobody can say what they need: kekctl inventory names "
                "them",
                etcd->settings.name, tally_unreadable(etcd->tally));
    }
    bool good = groups == 0 && !blind;
    snprintf(evidence, sizeof evidence, "revision %" PRId64 ", %" PRIu64 " keys%s", etcd->revision,
             etcd->tally->objects, good ? ", each with a reader" : "");
    add(findings, check, good ? "good" : "not good", evidence);
    findings->safe = findings->safe && good;
}

/* Where the file is what the API servers have, and nothing is taken out of it, etcd has nothing to say. */
static void without_etcd(struct findings *findings)
{
    const struct kube_change *change = findings->change;
    bool needed = change->step.removes_reader || change->ctl->from == NULL;
    add(findings, "etcd", needed ? "not good" : "not looked at",
        "none of this cluster is configured");
    if (needed) {
        ctl_say(
            change->ctl,
            "what is stored decides whether %s is safe, and %s names no etcd of this cluster: add "
            "`etcd` to it",
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
    bool chosen = inventory_choose(inventory);
    findings->safe = findings->safe && chosen;
    for (size_t i = 0; chosen && i < inventory->etcd_count; i++) {
        check_etcd(findings, inventory, &inventory->etcds[i]);
        tally_free(inventory->etcds[i].tally);
    }
    if (chosen && !findings->looked) {
        without_etcd(findings);
    }
    free(inventory);
}

/* ---- the API servers ---- */

/* kekctl does not see them one by one. */
static void say_servers(struct findings *findings)
{
    const struct kube_change *change = findings->change;
    if (change->ctl->from != NULL) {
        add(findings, "API servers", "yours to see", change->from_digest);
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
