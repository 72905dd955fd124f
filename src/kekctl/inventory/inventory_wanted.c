#include "inventory_wanted.h"

#include <stdio.h>
#include <string.h>

#include "kek/durable.h"
#include "kekctl/options.h"

#define FILE_MAX (1024u * 1024)

static enum kek_rc read_file(struct wanted_scope *scope, const char *path, struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, FILE_MAX);
    enum kek_rc rc = kek_durable_read(path, FILE_MAX, &content, why);
    if (rc != KEK_OK) {
        return kek_fail_within(why, rc, "--encryption-config");
    }
    scope->file = kek_encryption_config_parse(kek_buf_bytes(&content), path, why);
    return scope->file == NULL ? why->rc : KEK_OK;
}

/* A file that cannot be read now is no wrong option. */
static enum ctl_exit take_file(struct wanted_scope *scope, const struct ctl *ctl)
{
    struct kek_why why;
    enum kek_rc rc = read_file(scope, ctl->encryption_config, &why);
    if (rc == KEK_OK) {
        return CTL_GOOD;
    }
    ctl_say(ctl, "%s", why.text);
    return rc == KEK_INVALID || rc == KEK_TOO_LARGE ? CTL_USAGE : CTL_FAILED;
}

static bool is_resource(const char *text)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789-.";
    size_t len = strlen(text);
    return len > 0 && len < TALLY_TEXT && text[0] != '.' && text[len - 1] != '.' &&
           text[strspn(text, letters)] == '\0';
}

enum ctl_exit wanted_open(struct wanted_scope *scope, const struct ctl *ctl)
{
    *scope = (struct wanted_scope){.resources = &ctl->resources};
    if (ctl->encryption_config != NULL && ctl->resources.count > 0) {
        return ctl_usage(ctl, "takes --resource or --encryption-config, not both");
    }
    for (size_t i = 0; i < ctl->resources.count; i++) {
        if (!is_resource(ctl->resources.list[i])) {
            return ctl_usage(ctl,
                             "--resource: expected a resource such as secrets or "
                             "things.example.com, found \"%s\"",
                             ctl->resources.list[i]);
        }
    }
    return ctl->encryption_config == NULL ? CTL_GOOD : take_file(scope, ctl);
}

void wanted_close(struct wanted_scope *scope)
{
    kek_encryption_config_free(scope->file);
    scope->file = NULL;
}

/* The first rule that has this very name. */
static const struct kek_encryption_rule *rule_named(const struct kek_encryption_config *file,
                                                    const char *name)
{
    for (size_t i = 0; i < file->rule_count; i++) {
        for (size_t j = 0; j < file->rules[i].resource_count; j++) {
            if (strcmp(file->rules[i].resources[j], name) == 0) {
                return &file->rules[i];
            }
        }
    }
    return NULL;
}

/* As the API server looks: the resource itself, all of its group, all of everything. */
static const struct kek_encryption_rule *rule_of(const struct kek_encryption_config *file,
                                                 const char *resource)
{
    char group[TALLY_TEXT + 2];
    size_t dot = strcspn(resource, ".");
    snprintf(group, sizeof group, "*.%s", resource + dot + (resource[dot] == '.' ? 1 : 0));
    const char *const names[] = {resource, group, "*.*"};
    const struct kek_encryption_rule *rule = NULL;
    for (size_t i = 0; rule == NULL && i < sizeof names / sizeof names[0]; i++) {
        rule = rule_named(file, names[i]);
    }
    return rule;
}

static struct inventory_wanted by_rule(const struct kek_encryption_rule *rule)
{
    const struct kek_encryption_provider *first =
        rule->provider_count == 0 ? NULL : rule->providers[0];
    if (first == NULL || first->kind == KEK_KUBE_PLAIN) {
        return (struct inventory_wanted){.wish = WISH_PLAIN};
    }
    const char *name = first->key_count > 0 ? first->keys[0].name : first->name;
    return (struct inventory_wanted){.wish = WISH_PROVIDER, .kind = first->kind, .provider = name};
}

struct inventory_wanted wanted_of(const struct wanted_scope *scope, const char *resource)
{
    static const struct inventory_wanted nothing = {.wish = WISH_NOTHING};
    static const struct inventory_wanted kekd = {.wish = WISH_KEKD};
    if (scope->file != NULL) {
        const struct kek_encryption_rule *rule = rule_of(scope->file, resource);
        return rule == NULL ? nothing : by_rule(rule);
    }
    for (size_t i = 0; i < scope->resources->count; i++) {
        if (strcmp(scope->resources->list[i], resource) == 0) {
            return kekd;
        }
    }
    return scope->resources->count == 0 && strcmp(resource, "secrets") == 0 ? kekd : nothing;
}

const char *wanted_named(const struct wanted_scope *scope, size_t i)
{
    if (scope->file == NULL && scope->resources->count == 0) {
        return i == 0 ? "secrets" : NULL;
    }
    if (scope->file == NULL) {
        return i < scope->resources->count ? scope->resources->list[i] : NULL;
    }
    for (size_t r = 0; r < scope->file->rule_count; r++) {
        const struct kek_encryption_rule *rule = &scope->file->rules[r];
        for (size_t j = 0; j < rule->resource_count; j++) {
            if (rule->resources[j][0] != '*' && i-- == 0) {
                return rule->resources[j];
            }
        }
    }
    return NULL;
}

uint64_t wanted_unread(const struct wanted_scope *scope, const struct tally *tally,
                       const struct tally_resource *resource)
{
    uint64_t unread = 0;
    if (scope->file == NULL || resource->name[0] == '\0' || resource->never_encrypted) {
        return 0;
    }
    for (size_t i = 0; i < resource->count; i++) {
        const struct tally_cover *cover = &tally->covers[resource->counts[i].cover];
        if (cover->rest || cover->kind == KEK_KUBE_UNKNOWN) {
            continue; /* told already */
        }
        if (!kek_encryption_config_reads(scope->file, resource->name, cover->kind,
                                         cover->provider)) {
            unread += resource->counts[i].objects;
        }
    }
    return unread;
}
