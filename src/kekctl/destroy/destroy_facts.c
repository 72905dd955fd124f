/* What the plan of a destruction is made from: options, tokens, nodes, inventories, and the record. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy_run.h"
#include "kek/digest.h"
#include "kek/text.h"
#include "kekctl/key/key_views.h"
#include "kekctl/rotate/rotation_file.h"

static bool take_version(struct destroy_run *run, enum ctl_exit *code)
{
    struct kek_version version;
    struct kek_why why;
    if (view_pick(&run->keys, run->ctl->argument, &version, &why)) {
        run->facts.kek_id = version.id;
        run->facts.number = version.number;
        return true;
    }
    /* Whose end is on record may be on no token any more. */
    if (destroy_file_names(&run->record, run->keys.config, run->ctl->argument)) {
        run->facts.kek_id = run->record.now.kek_id;
        run->facts.number = run->record.now.number;
        return true;
    }
    *code = CTL_FAILED;
    ctl_say(run->ctl, "nothing was changed: %s", why.text);
    return false;
}

static void take_providers(struct destroy_run *run)
{
    const struct keys *keys = &run->keys;
    run->facts.provider_count = keys->config->provider_count;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        struct kek_pool_provider status;
        kek_pool_provider_get(keys->pool, p, &status);
        kek_text_copy(run->serials[p], sizeof run->serials[p], status.serial);
        run->facts.providers[p] = (struct destroy_provider){.name = keys->config->providers[p].name,
                                                            .serial = run->serials[p],
                                                            .answered = listing->rc == KEK_OK,
                                                            .versions = listing->versions,
                                                            .count = listing->count};
    }
}

static bool digest(const char *context, char sha256[static KEK_SHA256_TEXT])
{
    return kek_sha256_text(kek_bytes_of(context), sha256);
}

static bool take_contexts(struct destroy_run *run)
{
    const struct kek_config *config = run->keys.config;
    bool good = digest(config->context, run->context_sha256);
    for (size_t i = 0; good && i < config->etcd_count; i++) {
        good = digest(config->etcd[i].context, run->etcd_context_sha256[i]);
    }
    run->facts.context_sha256 = run->context_sha256;
    run->facts.etcd_context_sha256 = (const char(*)[65])run->etcd_context_sha256;
    return good;
}

static bool take_config(struct destroy_run *run)
{
    const struct ctl *ctl = run->ctl;
    const struct kek_config *config = run->keys.config;
    struct destroy_facts *facts = &run->facts;
    if (!take_contexts(run)) {
        ctl_say(ctl, "OpenSSL has no SHA-256");
        return false;
    }
    facts->backups_checked = ctl->backups_checked;
    facts->api_servers_restarted = ctl->api_servers_restarted;
    facts->single_node = ctl->single_node;
    facts->keyring = kek_config_file_keyring(config);
    facts->root = config->root == NULL ? "" : config->root;
    facts->self = config->status.name;
    facts->config_path = config->path;
    facts->destroy_after_ms = config->destroy_after_ms;
    facts->quarantine_ms = config->quarantine_ms;
    facts->etcd = config->etcd;
    facts->etcd_count = config->etcd_count;
    return true;
}

/* What kekctl itself has written down here. */
static bool take_files(struct destroy_run *run)
{
    const struct kek_config *config = run->keys.config;
    struct rotation_file file;
    struct rotation_progress rotation;
    struct kek_why why;
    run->evidence = evidence_load(config, &why);
    if (run->evidence == NULL ||
        rotation_file_look(&file, config, config->status.name, &rotation, &why) != KEK_OK ||
        destroy_file_read(config, &run->record, &why) != KEK_OK) {
        ctl_say(run->ctl, "nothing was changed: %s", why.text);
        return false;
    }
    run->facts.evidence = run->evidence;
    run->facts.rotates = rotation.step != ROTATION_CHECK;
    run->facts.progress = run->record.now;
    if (run->record.now.step == DESTROY_DESTROYING) {
        run->facts.tokens = run->record.tokens;
        run->facts.token_count = run->record.token_count;
    }
    return true;
}

static bool is_asked(const struct nodes *nodes, const char *name)
{
    bool asked = false;
    for (size_t i = 0; i < nodes->count; i++) {
        asked = asked || strcmp(nodes->list[i].name, name) == 0;
    }
    return asked;
}

/* By whatever names it was asked, and however often. */
static bool is_self_alone(const struct destroy_run *run)
{
    bool alone = true;
    for (size_t i = 0; i < run->nodes.count; i++) {
        const struct node *node = &run->nodes.list[i];
        alone = alone && node->reachable && destroy_is_self(&run->facts, node);
    }
    return alone || run->nodes.alone;
}

/* Who names some nodes by --node has not named all. */
static void take_nodes(struct destroy_run *run)
{
    const struct nodes *nodes = &run->nodes;
    char *const *named = run->keys.config->status.nodes;
    run->facts.nodes = nodes->list;
    run->facts.node_count = nodes->count;
    run->facts.alone = is_self_alone(run);
    for (size_t i = 0; named != NULL && named[i] != NULL; i++) {
        if (!is_asked(nodes, named[i])) {
            run->facts.left_out = named[i];
        }
    }
}

bool destroy_look(struct destroy_run *run, enum ctl_exit *code)
{
    struct kek_why why;
    *code = CTL_FAILED;
    (void)keys_list(&run->keys, true); /* who does not answer is said, and a row says so too */
    take_providers(run);
    if (!take_config(run) || !take_files(run) || !take_version(run, code)) {
        return false;
    }
    /* For a table of states alone; the rules ask the nodes themselves. */
    (void)announced_on_record(&run->keys, &run->announced, &why);
    (void)nodes_ask(&run->nodes, run->ctl->timeout_given ? run->ctl->timeout_ms : NODES_TIMEOUT_MS);
    take_nodes(run);
    moment_now(&run->facts.now);
    destroy_plan(&run->facts, &run->plan);
    bool acts = run->plan.stage == DESTROY_SUSPEND || run->plan.stage == DESTROY_DESTROY;
    if (acts && run->plan.in_use == NULL) {
        destroy_look_live(run);
        destroy_plan(&run->facts, &run->plan);
    }
    return true;
}
