/* Which etcds are meant, and which contexts their objects may be sealed in. */
#include "inventory.h"

#include <stdio.h>
#include <string.h>

#include "kekctl/options.h"

#define DEFAULT_PREFIX "/registry"

/* Always false. found: what stands there instead; NULL: that says nothing. */
static bool refuse(const struct inventory *inventory, const char *what, const char *found)
{
    if (found == NULL) {
        (void)ctl_usage(inventory->ctl, "%s", what);
    } else {
        (void)ctl_usage(inventory->ctl, "%s, found \"%s\"", what, found);
    }
    return false;
}

/* Contexts. */

static void add_context(struct inventory_etcd *etcd, const char *context)
{
    for (size_t i = 0; i < etcd->context_count; i++) {
        if (strcmp(etcd->contexts[i], context) == 0) {
            return;
        }
    }
    if (etcd->context_count < TALLY_CONTEXTS_MAX) {
        etcd->contexts[etcd->context_count++] = context;
    }
}

static void add_accepted(struct inventory_etcd *etcd, const struct kek_config *config)
{
    for (size_t i = 0; config->context_accept[i] != NULL; i++) {
        add_context(etcd, config->context_accept[i]);
    }
}

/* Its own first: what the kekd that seals there opens.  Only of this file's kekd it is known what it accepts. Of an
 * etcd that the options name nobody says whose it is: it may be any. */
static void add_contexts(struct inventory_etcd *etcd, const struct kek_config *config)
{
    if (config == NULL) {
        return;
    }
    add_context(etcd, etcd->context);
    if (strcmp(etcd->context, config->context) == 0) {
        add_accepted(etcd, config);
    }
    etcd->own_count = etcd->context_count;
    add_context(etcd, config->context);
    add_accepted(etcd, config);
    for (size_t i = 0; i < config->etcd_count; i++) {
        add_context(etcd, config->etcd[i].context);
    }
    if (!etcd->configured) {
        etcd->own_count = etcd->context_count;
    }
}

/* By the options. */

/* "URL,URL" as often as it was given, into one list. */
static bool split_endpoints(struct inventory *inventory)
{
    const struct ctl_names *names = &inventory->ctl->endpoints;
    size_t at = 0, count = 0;
    for (size_t i = 0; i < names->count; i++) {
        int len =
            snprintf(inventory->words + at, sizeof inventory->words - at, "%s", names->list[i]);
        if (len < 0 || (size_t)len >= sizeof inventory->words - at) {
            return refuse(inventory, "--endpoints: more than 4096 bytes", NULL);
        }
        char *rest = NULL;
        for (char *word = strtok_r(inventory->words + at, ",", &rest); word != NULL;
             word = strtok_r(NULL, ",", &rest)) {
            if (!kek_config_is_endpoint(word)) { /* with a password in it, perhaps */
                return refuse(inventory,
                              "--endpoints: expected https://HOST:PORT or http://HOST:PORT",
                              strchr(word, '@') == NULL ? word : "one with a user in it");
            }
            if (count == KEK_ETCD_ENDPOINTS_MAX) {
                return refuse(inventory, "--endpoints: more than 16", NULL);
            }
            inventory->endpoints[count++] = word;
        }
        at += (size_t)len + 1;
    }
    return count > 0 || refuse(inventory, "--endpoints: expected at least one", NULL);
}

static bool check_together(const struct inventory *inventory)
{
    const struct ctl *ctl = inventory->ctl;
    if ((ctl->cert == NULL) != (ctl->key_file == NULL)) {
        return refuse(inventory, "--cert and --key go together", NULL);
    }
    if ((ctl->user == NULL) != (ctl->password_file == NULL)) {
        return refuse(inventory, "--user and --password-file go together", NULL);
    }
    for (size_t i = 0; inventory->endpoints[i] != NULL; i++) {
        if (ctl->user != NULL && kek_config_endpoint_is_open(inventory->endpoints[i])) {
            return refuse(inventory,
                          "--user: expected https where a password goes to another machine",
                          inventory->endpoints[i]);
        }
    }
    return true;
}

/* An etcd that is not in the configuration, or a snapshot of one. */
static bool choose_named(struct inventory *inventory)
{
    const struct ctl *ctl = inventory->ctl;
    const char *prefix = ctl->prefix == NULL ? DEFAULT_PREFIX : ctl->prefix;
    if (strlen(prefix) > 255 || !kek_config_is_etcd_prefix(prefix)) {
        return refuse(inventory,
                      "--prefix: expected an absolute prefix without \"/\" at its end, such as "
                      "/registry",
                      prefix);
    }
    if ((ctl->snapshot == NULL && !split_endpoints(inventory)) || !check_together(inventory)) {
        return false;
    }
    struct inventory_etcd *etcd = &inventory->etcds[inventory->etcd_count++];
    *etcd = (struct inventory_etcd){
        .settings = {.name = ctl->snapshot == NULL ? "etcd" : "snapshot",
                     .endpoints = inventory->endpoints,
                     .ca = ctl->ca,
                     .cert = ctl->cert,
                     .key = ctl->key_file,
                     .user = ctl->user,
                     .password_file = ctl->password_file},
        .snapshot = ctl->snapshot,
        .prefix = prefix,
        .context = inventory->config == NULL ? NULL : inventory->config->context};
    add_contexts(etcd, inventory->config);
    return true;
}

/* By the configuration. */

static bool is_chosen(const struct ctl_names *names, const char *name)
{
    bool chosen = names->count == 0;
    for (size_t i = 0; i < names->count; i++) {
        chosen = chosen || strcmp(names->list[i], name) == 0;
    }
    return chosen;
}

static bool are_known(const struct inventory *inventory)
{
    const struct ctl_names *names = &inventory->ctl->etcds;
    for (size_t i = 0; i < names->count; i++) {
        bool known = false;
        for (size_t j = 0; j < inventory->config->etcd_count; j++) {
            known = known || strcmp(inventory->config->etcd[j].name, names->list[i]) == 0;
        }
        if (!known) {
            return refuse(inventory, "--etcd: expected an etcd of the configuration",
                          names->list[i]);
        }
    }
    return true;
}

static bool choose_configured(struct inventory *inventory)
{
    const struct kek_config *config = inventory->config;
    if (config->etcd_count == 0) {
        return refuse(inventory,
                      "no etcd is configured: add `etcd` to the configuration, or give "
                      "--endpoints or --snapshot",
                      NULL);
    }
    if (!are_known(inventory)) {
        return false;
    }
    for (size_t i = 0; i < config->etcd_count; i++) {
        const struct kek_config_etcd *from = &config->etcd[i];
        if (!is_chosen(&inventory->ctl->etcds, from->name)) {
            continue;
        }
        struct inventory_etcd *etcd = &inventory->etcds[inventory->etcd_count++];
        *etcd =
            (struct inventory_etcd){.settings = {.name = from->name,
                                                 .endpoints = (const char *const *)from->endpoints,
                                                 .ca = from->ca,
                                                 .cert = from->cert,
                                                 .key = from->key,
                                                 .user = from->user,
                                                 .password_file = from->password_file},
                                    .prefix = from->prefix,
                                    .context = from->context,
                                    .configured = true};
        add_contexts(etcd, config);
    }
    return true;
}

bool inventory_choose(struct inventory *inventory)
{
    const struct ctl *ctl = inventory->ctl;
    bool by_endpoints = ctl->endpoints.count > 0;
    bool tls = ctl->ca != NULL || ctl->cert != NULL || ctl->key_file != NULL;
    bool user = ctl->user != NULL || ctl->password_file != NULL;
    if ((by_endpoints && ctl->snapshot != NULL) ||
        (ctl->etcds.count > 0 && (by_endpoints || ctl->snapshot != NULL))) {
        return refuse(inventory, "takes one of --etcd, --endpoints and --snapshot", NULL);
    }
    if (tls && !by_endpoints) {
        return refuse(inventory, "--ca, --cert and --key go with --endpoints", NULL);
    }
    if (user && !by_endpoints && ctl->snapshot == NULL) {
        return refuse(inventory, "--user and --password-file go with --endpoints or --snapshot",
                      NULL);
    }
    if (ctl->prefix != NULL && !by_endpoints && ctl->snapshot == NULL) {
        return refuse(inventory, "--prefix goes with --endpoints or --snapshot", NULL);
    }
    if (by_endpoints || ctl->snapshot != NULL) {
        return choose_named(inventory);
    }
    return choose_configured(inventory);
}
