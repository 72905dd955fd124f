/* What an EncryptionConfiguration is for, and what comes next: the comments above it. */
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kekctl/doctor/lines.h"
#include "kube_config.h"

#define RESOURCES_TEXT 200

/* Names come from a file, and a comment ends with its line. */
static void put_clean(char *text, size_t size, const char *name)
{
    size_t at = strlen(text);
    for (; *name != '\0' && at + 1 < size; name++) {
        text[at++] = (unsigned char)*name > ' ' && (unsigned char)*name < 0x7f ? *name : '?';
    }
    text[at] = '\0';
}

void kube_resources(const struct kube_change *change, char *text, size_t size)
{
    const struct kek_encryption_rule *rule = &change->after->rules[change->step.rule];
    text[0] = '\0';
    for (size_t i = 0; i < rule->resource_count; i++) {
        if (i > 0) {
            snprintf(text + strlen(text), size - strlen(text), ", ");
        }
        put_clean(text, size, rule->resources[i]);
    }
}

/* What stands for an @ and a letter in the texts below. */
struct words {
    char resources[RESOURCES_TEXT]; /* @R */
    char name[300];                 /* @N: of the entry */
    char options[320];              /* @O: what a later call needs besides the file */
    char folder[120];               /* @F: of the socket */
    char config[PATH_MAX]; /* @C: where the configuration was named, the option that does so */
};

/* A comment ends with its line. */
static void put_config(struct words *words, const struct ctl *ctl)
{
    char path[PATH_MAX - 16];
    if (!ctl->config_given) {
        return;
    }
    lines_quote(ctl->config_path, path, sizeof path);
    for (const char *at = path; *at != '\0'; at++) {
        if ((unsigned char)*at < ' ' || (unsigned char)*at >= 0x7f) {
            snprintf(path, sizeof path, "FILE");
            break;
        }
    }
    snprintf(words->config, sizeof words->config, " --config %s", path);
}

static const char *word(const struct words *words, char letter)
{
    return letter == 'R'   ? words->resources
           : letter == 'N' ? words->name
           : letter == 'O' ? words->options
           : letter == 'C' ? words->config
                           : words->folder;
}

static enum kek_rc put(const struct words *words, const char *text, struct kek_buf *out,
                       struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    while (rc == KEK_OK && *text != '\0') {
        size_t len = strcspn(text, "@");
        rc = kek_buf_append(out, kek_bytes(text, len), why);
        text += len;
        if (rc == KEK_OK && *text == '@') {
            rc = kek_buf_append(out, kek_bytes_of(word(words, text[1])), why);
            text += 2;
        }
    }
    return rc;
}

static const char *const texts[] = {
    [KEK_ENCRYPTION_STAGE_READER] =
        "# Phase add-reader, for @R: kekd reads; what writes has not changed.\n"
        "#\n"
        "# Before: kekd is well on every node (kekctl@C kube config --phase add-reader --check).\n"
        "# Then: give this file to one API server after the other.\n"
        "# Next, when *every* API server has taken it:\n"
        "#   kekctl@C kube config --phase make-writer --from THIS-FILE@O\n"
        "# An API server without it cannot read what the next phase writes, and one object that it "
        "cannot\n"
        "# read fails every list of its resource.\n",
    [KEK_ENCRYPTION_STAGE_WRITER] =
        "# Phase make-writer, for @R: kekd writes; what was written before is still read.\n"
        "#\n"
        "# Before: every API server has taken the file of add-reader, or nothing was written yet.\n"
        "# Then: give this file to one API server after the other, and when every one has taken "
        "it, rewrite\n"
        "# what is stored: kekctl@C reencrypt (--resource names other resources than secrets)\n"
        "# Next, when the check is good:\n"
        "#   kekctl@C kube config --phase remove-old --from THIS-FILE@O --check\n"
        "#   kekctl@C kube config --phase remove-old --from THIS-FILE@O\n"
        "# Until then keep what the other entries need: their keys, their plugins.\n",
    [KEK_ENCRYPTION_STAGE_ALONE] =
        "# Phase remove-old, for @R: kekd alone reads and writes.\n"
        "#\n"
        "# Before: kekctl@C kube config --phase remove-old --check is good. What is stored under "
        "anything else\n"
        "# cannot be read any more, and one such object fails every list of its resource.\n"
        "# Then: give this file to one API server after the other.\n"
        "# A backup of etcd from before needs the file from before: keep that file with the "
        "backup.\n",
    [KEK_ENCRYPTION_STAGE_PLAIN_READER] =
        "# Phase disable, first of three files, for @R: kekd writes, and what is in clear is read, "
        "too.\n"
        "#\n"
        "# Then: give this file to one API server after the other.\n"
        "# Next, when *every* API server has taken it:\n"
        "#   kekctl@C kube config --phase disable --from THIS-FILE@O\n",
    [KEK_ENCRYPTION_STAGE_PLAIN_WRITER] =
        "# Phase disable, second of three files, for @R: from here on they are written IN CLEAR; "
        "kekd reads.\n"
        "#\n"
        "# Before: every API server has taken the file before this one, in which identity reads.\n"
        "# Then: give this file to one API server after the other, and when every one has taken "
        "it, rewrite\n"
        "# what is stored: kekctl@C reencrypt --decrypt --from THIS-FILE\n"
        "# Next, when the check is good:\n"
        "#   kekctl@C kube config --phase disable --from THIS-FILE@O --check\n"
        "#   kekctl@C kube config --phase disable --from THIS-FILE@O\n"
        "# kekd and its HSM are needed until then, and for each backup of etcd from before.\n",
    [KEK_ENCRYPTION_STAGE_GONE] =
        "# Phase disable, last file, for @R: kekd's entry @N is gone.\n"
        "#\n"
        "# Before: kekctl@C kube config --phase disable --check is good. What is stored under kekd "
        "cannot be read\n"
        "# any more, and one such object fails every list of its resource.\n"
        "# Then: give this file to one API server after the other, and stop kekd when every one "
        "has taken it.\n"
        "# A backup of etcd from before needs kekd, its keys and the file from before.\n"
        "# The name @N is never used for another provider.\n",
};

static const char for_all[] =
    "#\n"
    "# For every API server's --encryption-provider-config, with\n"
    "# --encryption-provider-config-automatic-reload=true: then a change needs no restart, and the "
    "old file\n"
    "# stays in force while a plugin in the new one does not answer. An API server has taken a "
    "file when its\n"
    "# metric apiserver_encryption_config_controller_last_config_info shows the file's SHA-256.\n"
    "# One in a pod must see the socket's folder: mount @F at the same path (the folder, not the "
    "socket,\n"
    "# which is another file after a restart without socket activation).\n"
    "# While the /readyz of any kekd is not ok, delete no object that an API server calls corrupt: "
    "in an outage\n"
    "# of the HSM every object that is not cached looks so, and the unsafe delete removes intact "
    "ones.\n"
    "#\n"
    "# Printed by kekctl kube config.\n";

enum kek_rc kube_comment(const struct kube_change *change, struct kek_buf *out, struct kek_why *why)
{
    struct words words = {.resources = ""};
    const char *listen = change->config->listen, *slash = strrchr(listen, '/');
    kube_resources(change, words.resources, sizeof words.resources);
    put_clean(words.name, sizeof words.name, change->name);
    if (strcmp(change->name, KUBE_DEFAULT_NAME) != 0) {
        snprintf(words.options, sizeof words.options, " --name %s", words.name);
    }
    put_config(&words, change->ctl);
    snprintf(words.folder, sizeof words.folder, "%.*s", slash > listen ? (int)(slash - listen) : 1,
             listen);
    enum kek_rc rc = put(&words, texts[change->step.stage], out, why);
    return rc != KEK_OK ? rc : put(&words, for_all, out, why);
}
