/* From a path, or the bytes of a file, to a configuration. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>
#include <sys/stat.h>

#include "kek/durable.h"
#include "load.h"

#define FILE_SHOWN_MAX 120
_Static_assert(KEK_CONFIG_FILE_MAX <= DOC_BYTES_MAX, "what is read can be parsed");

/* The end of a path that is so long that no room would be left to say what is wrong in the file. */
static void show_file(const char *path, char shown[static FILE_SHOWN_MAX + 4])
{
    size_t len = strlen(path);
    const char *from = path + (len > FILE_SHOWN_MAX ? len - FILE_SHOWN_MAX : 0);
    while (from > path && ((unsigned char)*from & 0xc0) == 0x80) {
        from++; /* not from the middle of a character */
    }
    snprintf(shown, FILE_SHOWN_MAX + 4, "%s%s", from > path ? "..." : "", from);
}

static bool take_digest(struct kek_bytes yaml, char hex[static KEK_CONFIG_DIGEST])
{
    uint8_t sum[KEK_CONFIG_DIGEST / 2];
    if (EVP_Digest(yaml.data, yaml.len, sum, NULL, EVP_sha256(), NULL) != 1) {
        return false;
    }
    for (size_t i = 0; i < sizeof sum; i++) {
        snprintf(hex + 2 * i, 3, "%02x", sum[i]);
    }
    return true;
}

static struct kek_config *parse(struct kek_bytes yaml, const char *name, struct kek_why *why)
{
    char shown[FILE_SHOWN_MAX + 4];
    show_file(name, shown);
    KEK_AUTO(doc_node) root = doc_node_parse(yaml, shown, why);
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
    if (config->path == NULL || !take_digest(yaml, config->digest)) {
        load_no_memory(&load);
        return NULL;
    }
    /* A text alone is another file: a PIN's, perhaps. Nothing of it is shown. */
    bool is_text = root->kind == DOC_SCALAR && !doc_node_is_null(root);
    enum kek_rc rc = is_text ? load_expected_hidden(&load, root, "a mapping")
                             : load_mapping(&load, root, &config_schema, config);
    return rc == KEK_OK ? KEK_STEAL(config) : NULL;
}

struct kek_config *kek_config_parse(struct kek_bytes yaml, const char *name, struct kek_why *why)
{
    struct kek_why unheard;
    return parse(yaml, name, why == NULL ? &unheard : why);
}

/* Who can write this file says which library runs beside the PIN: only root and we may. */
static enum kek_rc check_file(int fd, const char *path, struct kek_why *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "cannot examine %s", path);
    }
    if (!S_ISREG(st.st_mode)) {
        return kek_fail(why, KEK_DENIED, "%s: expected a regular file", path);
    }
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        return kek_fail(why, KEK_DENIED,
                        "%s: expected a file of root or of uid %u, found one of uid %u", path,
                        (unsigned)geteuid(), (unsigned)st.st_uid);
    }
    if ((st.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
        return kek_fail(why, KEK_DENIED,
                        "%s: expected a file that only its owner may write, found mode %04o", path,
                        (unsigned)(st.st_mode & 07777));
    }
    if (st.st_size > KEK_CONFIG_FILE_MAX) {
        return kek_fail(why, KEK_TOO_LARGE, "%s: larger than %d bytes", path, KEK_CONFIG_FILE_MAX);
    }
    return KEK_OK;
}

static enum kek_rc open_failed(const char *path, int code, struct kek_why *why)
{
    enum kek_rc rc = code == ENOENT ? KEK_NOT_FOUND : code == EACCES ? KEK_DENIED : KEK_INTERNAL;
    return kek_fail_native(why, rc, KEK_NATIVE_ERRNO, (unsigned long)code, "cannot open %s", path);
}

struct kek_config *kek_config_load(const char *path, struct kek_why *why)
{
    /* Without O_NONBLOCK, opening a named pipe would wait for its writer. */
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    int code = errno;
    char shown[FILE_SHOWN_MAX + 4];
    show_file(path, shown);
    if (fd < 0) {
        open_failed(shown, code, why);
        return NULL;
    }
    if (check_file(fd, shown, why) != KEK_OK) {
        return NULL;
    }
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, KEK_CONFIG_FILE_MAX);
    if (kek_durable_read_open(fd, shown, KEK_CONFIG_FILE_MAX, &content, why) != KEK_OK) {
        return NULL;
    }
    return kek_config_parse(kek_buf_bytes(&content), path, why);
}
