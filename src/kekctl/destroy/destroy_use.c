/* What keeps a version from being destroyed: who does not answer, what else is under way, and that it is in use. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy.h"
#include "kek/text.h"

/* ---- who answers ---- */

/* Is the token one of a provider here? */
static bool is_configured(const struct destroy_facts *facts, const struct destroy_token *token)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct destroy_provider *provider = &facts->providers[p];
        if (strcmp(provider->serial, token->serial) == 0 &&
            (token->serial[0] != '\0' || strcmp(provider->name, token->provider) == 0)) {
            return true;
        }
    }
    return false;
}

bool destroy_plan_tokens(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    for (size_t i = 0; i < facts->token_count; i++) {
        const struct destroy_token *token = &facts->tokens[i];
        if (token->gone_ms == 0 && !is_configured(facts, token)) {
            destroy_unmet(
                plan, "providers",
                "configure it again; where it is gone for good, or was emptied, say so by "
                "taking it out of `tokens` in KEYRING.destroy of state_dir",
                "token %s of provider %s had the key when its destruction began, is not "
                "done, and is no provider's here",
                token->serial[0] == '\0' ? "without a serial" : token->serial, token->provider);
            return false;
        }
    }
    return true;
}

static void plan_providers(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    const struct destroy_progress *progress = &facts->progress;
    size_t has = 0;
    if (!destroy_plan_tokens(facts, plan)) {
        return;
    }
    for (size_t p = 0; p < facts->provider_count; p++) {
        if (!facts->providers[p].answered) {
            destroy_unmet(plan, "providers", "mend it, or the way to it",
                          "provider %s does not answer", facts->providers[p].name);
            return;
        }
        has += destroy_key(facts, p) != NULL;
    }
    if (has == 0 && progress->step < DESTROY_DESTROYING &&
        kek_id_equal(&progress->kek_id, &facts->kek_id)) {
        char todo[200];
        snprintf(todo, sizeof todo,
                 "bring its token back; where another hand ended the key, kekctl %s "
                 "%" PRIu32 " takes this destruction off the record",
                 kek_command(facts->root, "key resume").text, facts->number);
        destroy_unmet(plan, "providers", todo,
                      "no provider has the key, and this destruction did not end it");
        return;
    }
    destroy_met(plan, "providers", "all answer; the key is on %zu of %s", has,
                kek_counted(facts->provider_count, "provider").text);
}

/* The node's token is one that is destroyed on from here. */
static bool is_reached(const struct destroy_facts *facts, const char *serial)
{
    bool reached = false;
    for (size_t p = 0; p < facts->provider_count; p++) {
        reached = reached || strcmp(facts->providers[p].serial, serial) == 0;
    }
    return reached;
}

/* What a node seals stands in an etcd of its context, so one of those must be looked at: of this node's own context
 * too.  Without any etcd here a row of its own says that. */
static bool is_known_context(const struct destroy_facts *facts, const char *sha256)
{
    bool known = facts->etcd_count == 0 && strcmp(sha256, facts->context_sha256) == 0;
    for (size_t i = 0; i < facts->etcd_count; i++) {
        known = known || strcmp(sha256, facts->etcd_context_sha256[i]) == 0;
    }
    return known;
}

/* An etcd whose kekds nobody asked: they may seal under the version still. NULL: there is none. */
static const struct kek_config_etcd *unasked(const struct destroy_facts *facts)
{
    for (size_t i = 0; i < facts->etcd_count; i++) {
        bool asked = false;
        for (size_t n = 0; n < facts->node_count; n++) {
            asked = asked || strcmp(facts->nodes[n].status.context_sha256,
                                    facts->etcd_context_sha256[i]) == 0;
        }
        if (!asked) {
            return &facts->etcd[i];
        }
    }
    return NULL;
}

/* False: it was said what is wrong with the node's providers. */
static bool check_providers(const struct destroy_facts *facts, const struct node *node,
                            struct destroy_plan *plan)
{
    const struct node_status *status = &node->status;
    const char *name = destroy_node_name(node);
    for (size_t p = 0; p < status->provider_count; p++) {
        const struct node_provider *provider = &status->providers[p];
        if (!provider->answers) {
            destroy_unmet(plan, "nodes", "mend it, or the way to it",
                          "%s: its provider %s does not answer", name, provider->name);
            return false;
        }
        if (!is_reached(facts, provider->serial)) {
            destroy_unmet(plan, "nodes", "run this where all tokens of the keyring are configured",
                          "%s: its provider %s is token %s, which no provider here is", name,
                          provider->name, provider->serial);
            return false;
        }
    }
    return true;
}

/* The etcd that the node's configuration names, as this one names it; NULL: it does not. */
static const struct kek_config_etcd *same_etcd(const struct destroy_facts *facts,
                                               const struct node_etcd *etcd)
{
    for (size_t i = 0; i < facts->etcd_count; i++) {
        const struct kek_config_etcd *own = &facts->etcd[i];
        if (strcmp(own->name, etcd->name) == 0 && strcmp(own->prefix, etcd->prefix) == 0 &&
            strcmp(facts->etcd_context_sha256[i], etcd->context_sha256) == 0) {
            return own;
        }
    }
    return NULL;
}

/* False: it was said which etcd nobody looked at, as far as anybody here knows.  Endpoints are not compared: each
 * node has its own way to one etcd. */
static bool check_etcds(const struct destroy_facts *facts, const struct node *node,
                        struct destroy_plan *plan)
{
    const struct node_status *status = &node->status;
    const char *name = destroy_node_name(node);
    if (!status->says_etcds) {
        destroy_unmet(plan, "nodes", "update it",
                      "%s has a kekd that does not say which etcds its configuration names", name);
        return false;
    }
    for (size_t i = 0; i < status->etcd_count; i++) {
        if (same_etcd(facts, &status->etcds[i]) == NULL) {
            destroy_unmet(
                plan, "nodes",
                "name each etcd alike on all nodes, by etcd: with name, prefix and "
                "context; then run kekctl inventory twice",
                "the configuration of %s names etcd %s, prefix %.100s, and this one names "
                "none of that name, prefix and context",
                name, status->etcds[i].name, status->etcds[i].prefix);
            return false;
        }
    }
    return true;
}

/* False: it was said what is wrong with that node. */
static bool check_node(const struct destroy_facts *facts, const struct node *node,
                       struct destroy_plan *plan)
{
    const struct node_status *status = &node->status;
    const char *name = destroy_node_name(node);
    if (!node->reachable) {
        destroy_unmet(plan, "nodes", "mend the node, or the way to it",
                      "%s does not answer: %.250s", name, node->why.text);
    } else if (status->partial) {
        destroy_unmet(plan, "nodes",
                      "give its kekd metrics: or status: in the configuration, whose page says it",
                      "%s says no more than its primary", name);
    } else if (strcmp(status->keyring, facts->keyring) != 0) {
        destroy_unmet(plan, "nodes", "name the nodes of this keyring",
                      "%s has another keyring than this configuration", name);
    } else if (!is_known_context(facts, status->context_sha256)) {
        destroy_unmet(
            plan, "nodes",
            "if it seals under this keyring, name its etcd and its context, by etcd: in "
            "the configuration, and run kekctl inventory twice; otherwise do not name the node",
            "%s has a context that is of none of the etcds here", name);
    } else {
        return check_providers(facts, node, plan) && check_etcds(facts, node, plan);
    }
    return false;
}

static void plan_nodes(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    bool self = false;
    if (facts->alone && !facts->single_node) {
        destroy_unmet(plan, "nodes",
                      "name all nodes by status.nodes or --node, or say --single-node",
                      "this node alone is known");
        return;
    }
    if (facts->left_out != NULL) {
        destroy_unmet(plan, "nodes", "leave --node away, or name that one too",
                      "%s, which status.nodes names, is not among those that are asked",
                      facts->left_out);
        return;
    }
    const struct node *twins[2];
    if (node_twins(facts->nodes, facts->node_count, twins)) {
        destroy_unmet(plan, "nodes",
                      "name each node once, by an address that leads to no other; where they are "
                      "two nodes, each needs a status.name of its own",
                      "%s and %s lead to one node, %s, so that another may not be asked",
                      twins[0]->name, twins[1]->name, twins[0]->status.node);
        return;
    }
    for (size_t i = 0; i < facts->node_count; i++) {
        if (!check_node(facts, &facts->nodes[i], plan)) {
            return;
        }
        self = self || destroy_is_self(facts, &facts->nodes[i]);
    }
    if (!self) {
        destroy_unmet(plan, "nodes", "name it too, by status.nodes or --node self",
                      "this node, %s, is not among those that are asked", facts->self);
        return;
    }
    const struct kek_config_etcd *etcd = unasked(facts);
    if (etcd != NULL) {
        destroy_unmet(plan, "nodes",
                      "name all nodes of that cluster too, by status.nodes or --node",
                      "no node of context %.200s is asked, in which etcd %s is sealed",
                      etcd->context, etcd->name);
        return;
    }
    destroy_met(plan, "nodes", "%s asked, all answer", kek_counted(facts->node_count, "node").text);
}

/* ---- what else is under way ---- */

/* With one on record here too neither goes on by itself. */
static void say_other(const struct destroy_facts *facts, const struct node *node,
                      struct destroy_plan *plan)
{
    const struct destroy_progress *own = &facts->progress;
    uint32_t number = node->status.destroying_version;
    char todo[300];
    bool both = own->step != DESTROY_NONE && own->step != DESTROY_DESTROYED;
    snprintf(todo, sizeof todo,
             both ? "neither goes on while the other is on record: give it up there by kekctl key "
                    "resume %" PRIu32 ", on %.100s, then run this again"
                  : "finish it there, or give it up there by kekctl key resume %" PRIu32
                    ", on %.100s",
             number, node->name);
    destroy_unmet(plan, "others", todo, "%s has the destruction of version %" PRIu32 " on record",
                  destroy_node_name(node), number);
}

static void plan_others(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    static const char let_end[] = "let it end, or finish it there";
    const struct destroy_progress *own = &facts->progress;
    char todo[160];
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node_status *status = &facts->nodes[i].status;
        if (facts->nodes[i].reachable && status->rotating) {
            destroy_unmet(plan, "others", let_end, "%s has a rotation on record",
                          destroy_node_name(&facts->nodes[i]));
            return;
        }
        if (facts->nodes[i].reachable && status->destroying &&
            !destroy_is_self(facts, &facts->nodes[i])) {
            say_other(facts, &facts->nodes[i], plan);
            return;
        }
    }
    if (facts->rotates) {
        snprintf(todo, sizeof todo, "finish it by %s", kek_command(facts->root, "key rotate").text);
        destroy_unmet(plan, "others", todo, "this node has a rotation on record");
    } else if (own->step != DESTROY_NONE && own->step != DESTROY_DESTROYED &&
               !kek_id_equal(&own->kek_id, &facts->kek_id)) {
        snprintf(todo, sizeof todo, "finish that one, or give it up by %s %" PRIu32,
                 kek_command(own->root, "key resume").text, own->number);
        destroy_unmet(plan, "others", todo,
                      "this node has the destruction of version %" PRIu32 "%s%s on record",
                      own->number, own->root[0] == '\0' ? "" : " of ", own->root);
    } else {
        destroy_met(plan, "others", "no rotation and no other destruction is on record");
    }
}

/* ---- in use ---- */

struct use {
    const struct destroy_facts *facts;
    bool wraps, newer; /* some provider lets it wrap; some has a newer one that may */
    const char *unfit, *where;
    char surplus[KEK_ID_TEXT];
};

static void look_at(struct use *use, size_t p)
{
    const struct destroy_facts *facts = use->facts;
    const struct destroy_provider *provider = &facts->providers[p];
    const struct kek_version *key = destroy_key(facts, p);
    use->wraps = use->wraps || (key != NULL && key->can_wrap);
    if (key != NULL && !key->eligible) {
        use->unfit = key->refusal;
        use->where = provider->name;
    }
    for (size_t i = 0; i < provider->count; i++) {
        const struct kek_version *other = &provider->versions[i];
        bool same = kek_id_equal(&other->id, &facts->kek_id);
        use->newer = use->newer || (other->number > facts->number && other->eligible &&
                                    other->can_wrap && !other->compromised);
        if (!same && other->number == facts->number) {
            kek_id_format(&other->id, use->surplus);
            use->where = provider->name;
        } else if (same && other != key) {
            use->unfit = "two keys have this CKA_ID";
            use->where = provider->name;
        }
    }
}

static const struct node *announces(const struct destroy_facts *facts)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        if (facts->nodes[i].reachable && node_announces(&facts->nodes[i].status, &facts->kek_id)) {
            return &facts->nodes[i];
        }
    }
    return NULL;
}

static void plan_version(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    struct use use = {.facts = facts};
    const struct node *node = announces(facts);
    const struct kek_command command = kek_command(facts->root, "key rotate");
    char rotate[120], retire[120], newer[120];
    snprintf(rotate, sizeof rotate, "rotate first (kekctl %s)", command.text);
    snprintf(retire, sizeof retire, "retire it first (kekctl %s %" PRIu32 ")",
             kek_command(facts->root, "key retire").text, facts->number);
    snprintf(newer, sizeof newer, "kekctl %s makes a newer one", command.text);
    for (size_t p = 0; p < facts->provider_count; p++) {
        look_at(&use, p);
    }
    if (node != NULL) {
        destroy_unmet(plan, "version", rotate, "%s announces it and seals under it",
                      destroy_node_name(node));
        plan->in_use = &plan->rows[plan->count - 1];
    } else if (use.unfit != NULL) {
        destroy_unmet(plan, "version",
                      "mend that key by the vendor's tools; whoever removes it there destroys it "
                      "without any of this proof",
                      "kekd refuses it on %s: %s", use.where, use.unfit);
    } else if (use.surplus[0] != '\0') {
        destroy_unmet(
            plan, "version",
            "kekctl inventory tells by kek id what each of the two sealed: one that sealed "
            "anything must stay; one that sealed nothing, and under which no node seals, "
            "may be removed by the vendor's tools",
            "%s has a second key of its number, kek id %s", use.where, use.surplus);
    } else if (use.wraps) {
        destroy_unmet(plan, "version", use.newer ? retire : rotate, "it is active");
        plan->in_use = &plan->rows[plan->count - 1];
    } else if (!use.newer) {
        destroy_unmet(plan, "version", newer,
                      "no newer version is active: it is the newest, or the only one");
    } else {
        destroy_met(plan, "version", "it seals nothing, and a newer version is active");
    }
}

void destroy_plan_use(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    plan_providers(facts, plan);
    plan_nodes(facts, plan);
    plan_others(facts, plan);
    plan_version(facts, plan);
}
