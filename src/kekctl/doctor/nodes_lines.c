/* doctor: the cluster's nodes, and whether they announce one key. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"
#include "kek/digest.h"
#include "kek/text.h"
#include "kekctl/node/nodes.h"

#define SUBJECT "nodes"
#define PATIENCE_MS 2000

/* Is this node asked, among others or alone? */
static bool asks_self(const struct ctl *ctl, bool others)
{
    for (size_t i = 0; i < ctl->nodes.count; i++) {
        if (strcmp(ctl->nodes.list[i], "self") == 0) {
            return true;
        }
    }
    return !others;
}

/* The kekd here, asked alone, does not answer where the file has it, or goes by another context: it began with another file, or
 * hangs. */
static bool is_behind(const struct doctor *doctor, const struct nodes *nodes)
{
    char context[KEK_SHA256_TEXT] = "";
    const struct node *node = &nodes->list[0];
    if (!doctor->runner.there || nodes->count != 1 || strcmp(node->name, "self") != 0) {
        return false;
    }
    return !node->reachable || (kek_sha256_text(kek_bytes_of(doctor->config->context), context) &&
                                strcmp(node->status.context_sha256, context) != 0);
}

static void ask(struct doctor *doctor, struct nodes *nodes)
{
    const struct ctl *ctl = &doctor->ctl;
    char todo[LINES_TODO];
    size_t reached = nodes_ask(nodes, ctl->timeout_given ? ctl->timeout_ms : PATIENCE_MS);
    doctor_command(doctor, todo, "node status # what each says of itself");
    if (is_behind(doctor, nodes) && doctor->lines.counts[DOCTOR_FAIL] > 0) {
        lines_todo(todo, "the lines with FAIL first: by a new start kekd might not come back");
    } else if (is_behind(doctor, nodes)) {
        lines_todo(todo, "systemctl restart kekd.service # for it to go by %s as it is now",
                   doctor->config->path);
    }
    /* Until kekd runs here, the others may not either. */
    lines_hear(&doctor->lines, doctor->runner.there ? DOCTOR_FAIL : DOCTOR_WARN, SUBJECT, todo);
    size_t found = nodes_say_troubles(nodes);
    lines_hear(&doctor->lines, DOCTOR_WARN, SUBJECT, todo); /* they serve all the same */
    found += nodes_say_differences(nodes);
    if (nodes_say_roots(nodes) + found == 0) {
        lines_add(&doctor->lines, DOCTOR_OK, SUBJECT, NULL, "%s: well, and announcing %s",
                  kek_counted(reached, "node").text, nodes->list[0].status.primary.key_id);
    }
    lines_hear(&doctor->lines, DOCTOR_WARN, "clock", "timedatectl set-ntp true");
    (void)nodes_say_clocks(nodes, "");
}

void doctor_nodes(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    const struct ctl *ctl = &doctor->ctl;
    bool others = ctl->nodes.count > 0 || config->status.nodes != NULL;
    struct nodes nodes;
    enum ctl_exit code;
    if (doctor->runner.hidden && asks_self(ctl, others) && !nodes_hear_self(config)) {
        doctor_say_unseen(doctor, SUBJECT, "uid %u may not see whether a kekd runs on %s",
                          (unsigned)geteuid(), config->state_dir);
        return;
    }
    if (!doctor->runner.there && !doctor->runner.hidden && !others) {
        lines_add(
            &doctor->lines, DOCTOR_UNSEEN, SUBJECT, "start kekd, or --node NODE",
            "not looked at: no kekd runs on this state_dir yet, and nobody names other nodes");
        return;
    }
    if (asks_self(ctl, others) && !nodes_hear_self(config)) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, SUBJECT,
                  "metrics: 127.0.0.1:9478, or as one of allow_uids",
                  "not looked at: uid %u is not among allow_uids, and metrics is not set",
                  (unsigned)geteuid());
        return;
    }
    lines_hear(&doctor->lines, DOCTOR_FAIL, SUBJECT, "correct --node or status.nodes");
    if (nodes_open(&nodes, ctl, config, ctl->nodes.list, ctl->nodes.count, &code)) {
        ask(doctor, &nodes);
    }
    nodes_close(&nodes);
}
