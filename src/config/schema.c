/* What the configuration may hold, and what its keys must be to each other. */
#include "schema.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "load.h"
#include "root_list.h"

#define AT(type, member) \
    .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define SECOND UINT64_C(1000)
#define MINUTE (60 * SECOND)
#define HOUR (60 * MINUTE)
#define MEBI (UINT64_C(1) << 20)

/* Rules for texts; those that several tables have are in rules.c. */

/* The types of providers, each with the keys that only it knows. */
static const struct variant types[] = {
    {"pkcs11", &pkcs11_schema}, {"transit", &transit_schema}, {"gcpkms", &gcpkms_schema}};
#ifdef KEK_BRIDGE
#define TYPES_BUILT COUNT(types)
#define TYPES_EXPECTED "pkcs11, transit or gcpkms"
#else /* the others' keys are known all the same, as the manual page has them */
#define TYPES_BUILT 1
#define TYPES_EXPECTED "pkcs11 (this kekd is built without transit and gcpkms: --disable-bridge)"
#endif

static bool is_type(const char *text)
{
    for (size_t i = 0; i < TYPES_BUILT; i++) {
        if (strcmp(types[i].type, text) == 0) {
            return true;
        }
    }
    return false;
}

static const struct text_rule type_rule = {is_type, TYPES_EXPECTED};
static const struct text_rule label_rule = {load_any_text, "a key label of 1 to 127 bytes"};

/* Choices, by the value of their enum. */

static const char *const states[] = {"pre-active", "active", "deactivated", "suspended",
                                     "compromised"};
static const struct choice state_choice = {states, COUNT(states)};
static const char *const levels[] = {"error", "warn", "info", "debug"};
static const struct choice level_choice = {levels, COUNT(levels)};
static const char *const formats[] = {"text", "json"};
static const struct choice format_choice = {formats, COUNT(formats)};

_Static_assert(KEK_STATE_PRE_ACTIVE == 0 && KEK_STATE_COMPROMISED == 4, "states[]");
_Static_assert(KEK_LOG_ERROR == 0 && KEK_LOG_DEBUG == 3, "levels[]");
_Static_assert(KEK_LOG_TEXT == 0 && KEK_LOG_JSON == 1, "formats[]");

/* providers[].versions[] */

static const struct field version_fields[] = {
    {"n", load_number, AT(kek_config_version, number), 1, UINT32_MAX, .required = true},
    {"label", load_text, AT(kek_config_version, label), 1, KEK_LABEL_MAX - 1, .with = &label_rule},
    {"state", load_choice, AT(kek_config_version, state), .required = true, .with = &state_choice},
};
static const struct schema version_schema = {version_fields, COUNT(version_fields), .check = NULL};
static const struct list version_list = {&version_schema, sizeof(struct kek_config_version),
                                         offsetof(struct kek_config_provider, version_count)};

/* providers[] */

static enum kek_rc check_provider(struct load *load, const struct kek_doc_node *node, void *object);

static const struct field provider_fields[] = {
    {"name", load_text, AT(kek_config_provider, name), 1, 32, true, .with = &provider_rule},
    {"type", load_text, AT(kek_config_provider, type), 1, 32, true, .with = &type_rule},
    {"processes", load_number, AT(kek_config_provider, processes), 1, KEK_CONFIG_PROCESSES_MAX,
     .preset = "2"},
    {"sessions", load_number, AT(kek_config_provider, sessions), 1, KEK_CONFIG_SESSIONS_MAX,
     .preset = "4"},
    {"timeout", load_duration, AT(kek_config_provider, timeout_ms), 10, MINUTE, .preset = "1s"},
    {"start_timeout", load_duration, AT(kek_config_provider, start_timeout_ms), 100, 10 * MINUTE,
     .preset = "30s"},
    {"recycle_after", load_number, AT(kek_config_provider, recycle_after), 1,
     UINT64_C(1000000000000), .preset = "200000"},
    {"recycle_memory", load_size, AT(kek_config_provider, recycle_memory), MEBI, 65536 * MEBI,
     .preset = "64MiB"},
    {"env", load_environment, AT(kek_config_provider, env), .max = 64},
    {"user", load_text, AT(kek_config_provider, user), 1, 32, .with = &account_rule},
    {"groups", load_texts, AT(kek_config_provider, groups), 1, 32, .with = &account_rule},
    {"versions", load_items, AT(kek_config_provider, versions), 0, 64, .with = &version_list},
};
static const struct schema provider_schema = {provider_fields, COUNT(provider_fields),
                                              check_provider, types, COUNT(types)};
static const struct list provider_list = {&provider_schema, sizeof(struct kek_config_provider),
                                          offsetof(struct kek_config, provider_count)};

/* The sections of the root. */

static const struct field data_key_fields[] = {
    {"max_uses", load_number, AT(kek_config, data_key.max_uses), 1, 1000000000, .preset = "100000"},
    {"max_age", load_duration, AT(kek_config, data_key.max_age_ms), SECOND, 720 * HOUR,
     .preset = "1h"},
    {"cache_entries", load_number, AT(kek_config, data_key.cache_entries), 1, 1000000,
     .preset = "4096"},
    {"cache_ttl", load_duration, AT(kek_config, data_key.cache_ttl_ms), SECOND, 720 * HOUR,
     .preset = "1h"},
};
static const struct schema data_key_schema = {data_key_fields, COUNT(data_key_fields),
                                              .check = NULL};

static const struct field health_fields[] = {
    {"probe_interval", load_duration, AT(kek_config, health.probe_interval_ms), SECOND, HOUR,
     .preset = "60s"},
    {"canary_interval", load_duration, AT(kek_config, health.canary_interval_ms), SECOND, 24 * HOUR,
     .preset = "10m"},
    {"grace", load_duration, AT(kek_config, health.grace_ms), 0, 168 * HOUR, .preset = "15m"},
};
static const struct schema health_schema = {health_fields, COUNT(health_fields), .check = NULL};

static const struct field audit_fields[] = {
    {"file", load_text, AT(kek_config, audit_file), 1, 4000, .with = &path_rule},
    {"journal", load_text, AT(kek_config, audit_journal), 1, 107, .with = &socket_rule},
    {"syslog", load_text, AT(kek_config, audit_syslog), 1, 107, .with = &socket_rule},
    {"mac_interval", load_duration, AT(kek_config, audit_mac_interval_ms), SECOND, 24 * HOUR,
     .preset = "1m"},
};
static const struct schema audit_schema = {audit_fields, COUNT(audit_fields), .check = audit_check};

static const struct field log_fields[] = {
    {"level", load_choice, AT(kek_config, log_level), .preset = "info", .with = &level_choice},
    {"format", load_choice, AT(kek_config, log_format), .preset = "text", .with = &format_choice},
};
static const struct schema log_schema = {log_fields, COUNT(log_fields), .check = NULL};

/* The root. */

static enum kek_rc check_config(struct load *load, const struct kek_doc_node *node, void *object);

static const struct field root_fields[] = {
    {"listen", load_listen, AT(kek_config, listen), .required = true},
    {"allow_uids", load_uids, AT(kek_config, allow_uids), 1, 64},
    {"keyring", load_text, AT(kek_config, keyring), 1, 63, true, .with = &keyring_rule},
    {"context", load_text, AT(kek_config, context), 0, 255, .preset = "", .with = &context_rule},
    {"context_accept", load_texts, AT(kek_config, context_accept), 0, 255, .with = &context_rule},
    {"data_key", load_section, .with = &data_key_schema},
    {"health", load_section, .with = &health_schema},
    {"refresh", load_duration, AT(kek_config, refresh_ms), SECOND, HOUR, .preset = "15s"},
    {"settle", load_duration, AT(kek_config, settle_ms), 0, 24 * HOUR, .preset = "60s"},
    {"destroy_after", load_duration, AT(kek_config, destroy_after_ms), SECOND, 87600 * HOUR,
     .preset = "720h"},
    {"quarantine", load_duration, AT(kek_config, quarantine_ms), SECOND, 8760 * HOUR,
     .preset = "24h"},
    {"state_dir", load_text, AT(kek_config, state_dir), 1, 4000, .preset = "/var/lib/kekd",
     .with = &path_rule},
    {"providers", load_items, AT(kek_config, providers), 1, KEK_CONFIG_PROVIDERS_MAX, true,
     .with = &provider_list},
    {"mode", load_choice, AT(kek_config, mode), .with = &mode_choice},
    {"mode_accept", load_choice, AT(kek_config, mode_accept), .with = &mode_choice},
    {"roots", load_items, AT(kek_config, roots), 1, KEK_CONFIG_ROOTS_MAX, .with = &root_list},
    {"metrics", load_host_port, AT(kek_config, metrics_host),
     .with = &(const size_t){offsetof(struct kek_config, metrics_port)}},
    {"status", load_section, .with = &status_schema},
    {"etcd", load_items, AT(kek_config, etcd), 1, KEK_CONFIG_ETCDS_MAX, .with = &etcd_list},
    {"audit", load_section, .with = &audit_schema},
    {"log", load_section, .with = &log_schema},
};
const struct schema config_schema = {root_fields, COUNT(root_fields), .check = check_config};

/* What several keys must be to each other. */

static enum kek_rc check_provider(struct load *load, const struct kek_doc_node *node, void *object)
{
    const struct kek_config_provider *p = object;
    if (p->timeout_ms >= p->start_timeout_ms) {
        const struct kek_doc_node *at = load_find(node, "timeout");
        at = at == NULL ? load_find(node, "start_timeout") : at;
        size_t mark = load_enter(load, at->key->text);
        enum kek_rc rc = load_refuse(load, at,
                                     "expected a timeout below start_timeout, found %" PRIu64
                                     "ms and %" PRIu64 "ms",
                                     p->timeout_ms, p->start_timeout_ms);
        load_leave(load, mark);
        return rc;
    }
    if (p->version_count == 0) {
        return KEK_OK;
    }
    const struct kek_doc_node *item = load_find(node, "versions")->members;
    for (size_t i = 0; i < p->version_count; i++, item = item->next) {
        for (size_t j = 0; j < i; j++) {
            if (p->versions[j].number == p->versions[i].number) {
                size_t mark = load_enter(load, "versions");
                load_enter_item(load, i);
                load_enter(load, "n");
                enum kek_rc rc = load_refuse(load, load_find(item, "n"),
                                             "expected each number once, found %" PRIu32 " again",
                                             p->versions[i].number);
                load_leave(load, mark);
                return rc;
            }
        }
    }
    return KEK_OK;
}

static enum kek_rc check_names(struct load *load, const struct kek_doc_node *node,
                               const struct kek_config *config)
{
    const struct kek_doc_node *item = load_find(node, "providers")->members;
    for (size_t i = 0; i < config->provider_count; i++, item = item->next) {
        for (size_t j = 0; j < i; j++) {
            if (strcmp(config->providers[j].name, config->providers[i].name) == 0) {
                size_t mark = load_enter(load, "providers");
                load_enter_item(load, i);
                load_enter(load, "name");
                enum kek_rc rc = load_refuse(load, load_find(item, "name"),
                                             "expected each name once, found \"%s\" again",
                                             config->providers[i].name);
                load_leave(load, mark);
                return rc;
            }
        }
    }
    return KEK_OK;
}

/* The label of a version that `versions` names. */
static void label_of(const struct kek_config *config, const struct kek_config_version *version,
                     char label[static KEK_LABEL_MAX])
{
    if (version->label != NULL) {
        snprintf(label, KEK_LABEL_MAX, "%s", version->label);
    } else {
        snprintf(label, KEK_LABEL_MAX, "%s.v%" PRIu32, config->keyring, version->number);
    }
}

/* One key cannot be two versions. */
static enum kek_rc check_labels(struct load *load, const struct kek_doc_node *node,
                                const struct kek_config *config, size_t provider)
{
    const struct kek_config_provider *p = &config->providers[provider];
    char one[KEK_LABEL_MAX], other[KEK_LABEL_MAX];
    for (size_t i = 0; i < p->version_count; i++) {
        label_of(config, &p->versions[i], one);
        for (size_t j = 0; j < i; j++) {
            label_of(config, &p->versions[j], other);
            if (strcmp(one, other) == 0) {
                size_t mark = load_enter(load, "providers");
                load_enter_item(load, provider);
                load_enter(load, "versions");
                load_enter_item(load, i);
                enum kek_rc rc =
                    load_refuse(load, load_item(load_find(node, "versions"), i),
                                "expected each label once, found that of versions[%zu] again", j);
                load_leave(load, mark);
                return rc;
            }
        }
    }
    return KEK_OK;
}

/* Root, and whoever runs kekd. */
static enum kek_rc default_uids(struct load *load, struct kek_config *config)
{
    if (config->allow_uids != NULL) {
        return KEK_OK;
    }
    config->allow_uids = calloc(2, sizeof *config->allow_uids);
    if (config->allow_uids == NULL) {
        return load_no_memory(load);
    }
    config->allow_uids[1] = geteuid();
    config->allow_uid_count = geteuid() == 0 ? 1 : 2;
    return KEK_OK;
}

static enum kek_rc check_config(struct load *load, const struct kek_doc_node *node, void *object)
{
    struct kek_config *config = object;
    enum kek_rc rc = default_uids(load, config);
    if (rc == KEK_OK) {
        rc = status_default_name(load, config);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    if (config->context_accept == NULL) {
        config->context_accept = calloc(1, sizeof *config->context_accept);
        if (config->context_accept == NULL) {
            return load_no_memory(load);
        }
    }
    rc = check_names(load, node, config);
    for (size_t i = 0; rc == KEK_OK && i < config->provider_count; i++) {
        rc = check_labels(load, load_item(load_find(node, "providers"), i), config, i);
    }
    if (rc == KEK_OK) {
        rc = etcd_check(load, node, config);
    }
    return rc == KEK_OK ? roots_check(load, node, config) : rc;
}

/* For the manual page's test. */

static void each(const struct schema *schema, const char *prefix,
                 void (*visit)(void *arg, const char *path, const char *preset, bool required),
                 void *arg)
{
    for (size_t i = 0; i < schema->count; i++) {
        const struct field *field = &schema->fields[i];
        char path[96];
        snprintf(path, sizeof path, "%s%s", prefix, field->name);
        visit(arg, path, field->preset, field->required);
        const struct schema *inner = NULL;
        const char *joint = ".";
        if (field->read == load_section) {
            inner = field->with;
        } else if (field->read == load_items) {
            inner = ((const struct list *)field->with)->schema;
            joint = "[].";
        }
        if (inner != NULL) {
            char deeper[sizeof path + 4];
            snprintf(deeper, sizeof deeper, "%s%s", path, joint);
            each(inner, deeper, visit, arg);
        }
    }
    for (size_t i = 0; i < schema->variant_count; i++) {
        each(schema->variants[i].schema, prefix, visit, arg);
    }
}

void kek_config_schema_each(void (*visit)(void *arg, const char *path, const char *preset,
                                          bool required),
                            void *arg)
{
    each(&config_schema, "", visit, arg);
}

/* Freeing. */

static void free_texts(char **texts)
{
    for (size_t i = 0; texts != NULL && texts[i] != NULL; i++) {
        free(texts[i]);
    }
    free(texts);
}

static void free_provider(struct kek_config_provider *p)
{
    free(p->name);
    free(p->type);
    for (size_t i = 0; i < p->setting_count; i++) {
        free(p->settings[i].key);
        free(p->settings[i].value);
    }
    free(p->settings);
    free(p->user);
    free_texts(p->env);
    free_texts(p->groups);
    for (size_t i = 0; i < p->version_count; i++) {
        free(p->versions[i].label);
    }
    free(p->versions);
}

void kek_config_free(struct kek_config *config)
{
    if (config == NULL) {
        return;
    }
    for (size_t i = 0; i < config->provider_count; i++) {
        free_provider(&config->providers[i]);
    }
    free(config->providers);
    roots_free(config);
    free(config->path);
    free(config->listen);
    free(config->allow_uids);
    free(config->keyring);
    free_texts(config->keyrings);
    free(config->root);
    free(config->state_name);
    free(config->context);
    free_texts(config->context_accept);
    free(config->state_dir);
    free(config->metrics_host);
    status_free(config);
    etcd_free(config);
    free(config->audit_file);
    free(config->audit_journal);
    free(config->audit_syslog);
    free(config);
}

enum kek_rc kek_config_keep_root(struct kek_config *config, const char *name, struct kek_why *why)
{
    size_t at = 0;
    while (at < config->root_count && strcmp(config->roots[at].name, name) != 0) {
        at++;
    }
    if (at == config->root_count) {
        return kek_fail(why, KEK_NOT_FOUND, "%s: there is no root of trust \"%s\" in `roots`",
                        config->path, name);
    }
    struct kek_config_root *root = &config->roots[at];
    size_t first = root->first_provider, count = root->provider_count;
    for (size_t i = 0; i < config->provider_count; i++) {
        if (i < first || i >= first + count) {
            free_provider(&config->providers[i]);
        }
    }
    memmove(config->providers, &config->providers[first], count * sizeof *config->providers);
    config->provider_count = count;
    free(config->root);
    config->state_name = config->keyring;
    config->root = KEK_STEAL(root->name);
    config->root_is_first = root->is_first;
    config->keyring = KEK_STEAL(root->keyring);
    roots_free(config);
    config->roots = NULL;
    config->root_count = 0;
    config->mode = KEK_CONFIG_ANY;
    return KEK_OK;
}
