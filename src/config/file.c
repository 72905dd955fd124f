/* From a path, or the bytes of a file, to a configuration. */
#include <stdio.h>
#include <string.h>

#include "kek/small_file.h"
#include "load.h"

_Static_assert(KEK_CONFIG_FILE_MAX <= KEK_DOC_BYTES_MAX, "what is read can be parsed");

static struct kek_config *parse(struct kek_bytes yaml, const char *name, struct kek_why *why)
{
    char shown[KEK_SMALL_FILE_SHOWN];
    kek_small_file_show(name, shown);
    KEK_AUTO(kek_doc_node) root = kek_doc_node_parse(yaml, shown, NULL, why);
    if (root == NULL) {
        return NULL;
    }
    struct load load = {.file = shown, .why = why};
    KEK_AUTO(kek_config) config = calloc(1, sizeof *config);
    if (config == NULL) {
        load_no_memory(&load);
        return NULL;
    }
    config->path = strdup(name);
    config->root = strdup("");
    if (config->path == NULL || config->root == NULL || !kek_sha256_text(yaml, config->digest)) {
        load_no_memory(&load);
        return NULL;
    }
    /* A text alone is another file: a PIN's, perhaps. Nothing of it is shown. */
    bool is_text = root->kind == KEK_DOC_SCALAR && !kek_doc_node_is_null(root);
    enum kek_rc rc = is_text ? load_expected_hidden(&load, root, "a mapping")
                             : load_mapping(&load, root, &config_schema, config);
    return rc == KEK_OK ? KEK_STEAL(config) : NULL;
}

struct kek_config *kek_config_parse(struct kek_bytes yaml, const char *name, struct kek_why *why)
{
    struct kek_why unheard;
    return parse(yaml, name, why == NULL ? &unheard : why);
}

struct kek_config *kek_config_load(const char *path, struct kek_why *why)
{
    /* Who can write this file says which library runs beside the PIN: only root and we may. */
    const struct kek_small_file file = {.what = "",
                                        .path = path,
                                        .max = KEK_CONFIG_FILE_MAX,
                                        .forbidden = S_IWGRP | S_IWOTH,
                                        .owned = true};
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, KEK_CONFIG_FILE_MAX);
    if (kek_small_file_read(&file, &content, NULL, why) != KEK_OK) {
        return NULL;
    }
    return kek_config_parse(kek_buf_bytes(&content), path, why);
}

enum kek_rc kek_config_state_file(const struct kek_config *config, const char *suffix,
                                  char path[static PATH_MAX], struct kek_why *why)
{
    int len = snprintf(path, PATH_MAX, "%s/%s.%s", config->state_dir,
                       kek_config_file_keyring(config), suffix);
    return len > 0 && len < PATH_MAX - 8 /* it may have .new or .lock beside it */
               ? KEK_OK
               : kek_fail(why, KEK_INVALID, "state_dir: the path is too long");
}
