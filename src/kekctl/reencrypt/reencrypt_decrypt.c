#include "reencrypt_decrypt.h"

#include <string.h>

#include "kek/doc.h"
#include "kek/durable.h"
#include "kekctl/options.h"
#include "reencrypt_etcd.h"

static bool take_options(const struct ctl *ctl, const struct kek_config *config)
{
    if (ctl->from != NULL && !ctl->decrypt) {
        (void)ctl_usage(ctl, "--from FILE is for --decrypt alone");
        return false;
    }
    if (ctl->decrypt && ctl->from == NULL) {
        (void)ctl_usage(ctl, "--decrypt needs --from FILE: what the API servers have now");
        return false;
    }
    if (ctl->decrypt && !reencrypt_etcd_is_there(config)) {
        ctl_say(ctl,
                "--decrypt needs an etcd of this context in %s, by which it is seen what lies in "
                "clear",
                config->path);
        return false;
    }
    return true;
}

static bool read_file(struct decrypt *decrypt, const struct ctl *ctl)
{
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, KEK_DOC_BYTES_MAX);
    if (kek_durable_read(ctl->from, KEK_DOC_BYTES_MAX, &content, &why) == KEK_OK) {
        decrypt->scope.file = kek_encryption_config_parse(kek_buf_bytes(&content), ctl->from, &why);
    }
    if (decrypt->scope.file == NULL) {
        ctl_say(ctl, "%s", why.text);
    }
    return decrypt->scope.file != NULL;
}

static bool is_plain(const struct decrypt *decrypt, const char *resource)
{
    return wanted_of(&decrypt->scope, resource).wish == WISH_PLAIN;
}

/* "*.apps" names no resource. */
static void say_wildcards(const struct decrypt *decrypt, const struct ctl *ctl)
{
    const struct kek_encryption_config *file = decrypt->scope.file;
    for (size_t i = 0; i < file->rule_count; i++) {
        const struct kek_encryption_rule *rule = &file->rules[i];
        bool decrypts = rule->provider_count > 1 && rule->providers[0]->kind == KEK_KUBE_PLAIN;
        for (size_t j = 0; decrypts && j < rule->resource_count; j++) {
            if (rule->resources[j][0] == '*') {
                ctl_say(ctl,
                        "warning: what %s in %s stands for is not rewritten: name it by --resource",
                        rule->resources[j], ctl->from);
            }
        }
    }
}

/* What the file names and has in clear. False after saying that there is nothing, or too much. */
static bool take_named(struct decrypt *decrypt, const struct ctl *ctl)
{
    size_t i = 0;
    const char *name = wanted_named(&decrypt->scope, i);
    say_wildcards(decrypt, ctl);
    for (; name != NULL; name = wanted_named(&decrypt->scope, ++i)) {
        if (!is_plain(decrypt, name)) {
            continue;
        }
        if (decrypt->names.count == CTL_NAMES_MAX) {
            ctl_say(ctl, "%s names more than %d resources: name what is meant by --resource",
                    ctl->from, CTL_NAMES_MAX);
            return false;
        }
        decrypt->names.list[decrypt->names.count++] = name;
    }
    if (decrypt->names.count == 0) {
        ctl_say(ctl,
                "nothing was rewritten: in %s identity is the first provider of no resource that "
                "it names: kekctl kube config --phase disable makes the file in which it is",
                ctl->from);
    }
    return decrypt->names.count > 0;
}

static bool take_given(struct decrypt *decrypt, const struct ctl *ctl)
{
    decrypt->names = ctl->resources;
    for (size_t i = 0; i < ctl->resources.count; i++) {
        if (!is_plain(decrypt, ctl->resources.list[i])) {
            ctl_say(ctl,
                    "nothing was rewritten: in %s identity is not the first provider of %s: kekctl "
                    "kube config --phase disable makes the file in which it is",
                    ctl->from, ctl->resources.list[i]);
            return false;
        }
    }
    return true;
}

bool decrypt_open(struct decrypt *decrypt, const struct ctl *ctl, const struct kek_config *config)
{
    *decrypt = (struct decrypt){.names = ctl->resources};
    if (!take_options(ctl, config)) {
        return false;
    }
    if (!ctl->decrypt) {
        if (decrypt->names.count == 0) {
            decrypt->names.list[decrypt->names.count++] = "secrets";
        }
        return true;
    }
    decrypt->scope.resources = &decrypt->names;
    return read_file(decrypt, ctl) &&
           (ctl->resources.count > 0 ? take_given(decrypt, ctl) : take_named(decrypt, ctl));
}

void decrypt_close(struct decrypt *decrypt)
{
    wanted_close(&decrypt->scope);
}
