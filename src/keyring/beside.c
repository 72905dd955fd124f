/*
 * Another keyring's record in a state_dir that has no version of this one on record: the name may be misspelt.  What the other
 * keyring sealed opens under no key of this one, so a first key that is made for a misspelt name hides what is wrong.
 */
#include "keyring/ring.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kek/durable.h"

#define SUFFIX ".json"

/* "KEYRING" of "KEYRING.json" and of "KEYRING@ROOT.json". False: that is no record's name. */
static bool name_of(const char *file, char keyring[static KEK_KEYRING_NAME_TEXT])
{
    const char *at = strchr(file, '@');
    size_t len = strlen(file), suffix = strlen(SUFFIX);
    if (len <= suffix || strcmp(file + len - suffix, SUFFIX) != 0) {
        return false;
    }
    size_t name = at != NULL ? (size_t)(at - file) : len - suffix;
    if (name == 0 || name >= KEK_KEYRING_NAME_TEXT) {
        return false;
    }
    memcpy(keyring, file, name);
    keyring[name] = '\0';
    return true;
}

static bool is_configured(const struct kek_config *config, const char *keyring)
{
    bool is = strcmp(config->keyring, keyring) == 0;
    for (size_t i = 0; config->keyrings != NULL && config->keyrings[i] != NULL; i++) {
        is = is || strcmp(config->keyrings[i], keyring) == 0;
    }
    return is;
}

/* One that was moved away under another name says whose it was. */
static bool is_record(const char *state_dir, const char *file, const char *keyring)
{
    char path[PATH_MAX];
    json_error_t error;
    if (snprintf(path, sizeof path, "%s/%s", state_dir, file) >= (int)sizeof path) {
        return false;
    }
    KEK_AUTO_BUF struct kek_buf content;
    struct kek_why why;
    kek_buf_init(&content, RECORD_MAX);
    if (kek_durable_read(path, RECORD_MAX, &content, &why) != KEK_OK) {
        return false;
    }
    struct kek_bytes bytes = kek_buf_bytes(&content);
    json_t *root = json_loadb((const char *)bytes.data, bytes.len, 0, &error);
    const char *said = json_string_value(json_object_get(root, "keyring"));
    bool is = said != NULL && strcmp(said, keyring) == 0 &&
              json_array_size(json_object_get(root, "versions")) > 0;
    json_decref(root);
    return is;
}

bool kek_keyring_beside(const struct kek_config *config, char other[static KEK_KEYRING_NAME_TEXT])
{
    bool found = false;
    DIR *folder = record_has_version(config) ? NULL : opendir(config->state_dir);
    for (const struct dirent *item = folder == NULL ? NULL : readdir(folder); item != NULL;
         item = readdir(folder)) {
        char keyring[KEK_KEYRING_NAME_TEXT];
        /* Of several always the same one. */
        if (name_of(item->d_name, keyring) && !is_configured(config, keyring) &&
            (!found || strcmp(keyring, other) < 0) &&
            is_record(config->state_dir, item->d_name, keyring)) {
            memcpy(other, keyring, sizeof keyring);
            found = true;
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return found;
}
