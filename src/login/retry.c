/* The records of all tokens: what they say of a provider, and an operator's word that a PIN may be tried once more. */
#include "record.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "kek/durable.h"

#define LOCK_TRIES 500 /* 20 ms apart: a login that is under way ends first */

static enum kek_rc lock_patiently(const char *state_dir, const char *slot, int *fd,
                                  struct kek_why *why)
{
    enum kek_rc rc = login_take_lock(state_dir, slot, fd, why);
    for (int i = 0; i < LOCK_TRIES && rc == KEK_UNAVAILABLE; i++) {
        uv_sleep(20);
        rc = login_take_lock(state_dir, slot, fd, why);
    }
    return rc;
}

/* A damaged record says of nobody in particular: only who asks for all is rid of it. */
static enum kek_rc forget_in(const char *state_dir, const char *slot, const char *provider,
                             size_t *forgotten, struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    char path[PATH_MAX];
    struct login_record record;
    enum kek_rc rc = login_path(state_dir, RECORD, slot, "", path, why);
    if (rc == KEK_OK) {
        rc = lock_patiently(state_dir, slot, &lock, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    rc = login_record_read(path, &record, why);
    if (rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    if (rc != KEK_OK && provider != NULL) {
        return rc;
    }
    size_t before = rc == KEK_OK ? record.count : 1;
    for (size_t i = record.count; i > 0; i--) {
        if (provider == NULL || strcmp(record.entries[i - 1].provider, provider) == 0) {
            login_record_drop(&record, i - 1);
        }
    }
    if (provider == NULL) {
        record.count = 0;
    }
    if (record.count == before) {
        return KEK_OK;
    }
    if (record.count > 0) {
        KEK_AUTO_FREE char *text = login_record_text(&record);
        rc = text == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path)
                          : kek_durable_write_now(path, kek_bytes_of(text), why);
    } else if (unlink(path) != 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "removing %s", path);
    } else {
        rc = KEK_OK;
    }
    *forgotten += rc == KEK_OK ? before - record.count : 0;
    return rc;
}

static bool is_record(const char *name, char slot[static KEK_LOGIN_SLOT_TEXT])
{
    size_t head = strlen(RECORD);
    if (strncmp(name, RECORD, head) != 0 || strlen(name + head) != KEK_LOGIN_SLOT_TEXT - 1 ||
        strspn(name + head, "0123456789abcdef") != KEK_LOGIN_SLOT_TEXT - 1) {
        return false;
    }
    memcpy(slot, name + head, KEK_LOGIN_SLOT_TEXT);
    return true;
}

static bool is_worse(const struct kek_login_entry *entry, const struct kek_login_entry *than)
{
    return !than->refused && (entry->refused || entry->tries > than->tries);
}

/* A record that goes meanwhile said nothing that counts. */
static enum kek_rc find_worst(const char *state_dir, const char *slot, const char *provider,
                              const struct kek_login_pin *pin, struct kek_login_entry *worst,
                              struct kek_why *why)
{
    char path[PATH_MAX];
    struct login_record record;
    enum kek_rc rc = login_path(state_dir, RECORD, slot, "", path, why);
    rc = rc == KEK_OK ? login_record_read(path, &record, why) : rc;
    if (rc != KEK_OK) {
        return rc == KEK_NOT_FOUND ? KEK_OK : rc;
    }
    for (size_t i = 0; i < record.count; i++) {
        const struct kek_login_entry *entry = &record.entries[i];
        const struct kek_login_pin *its = &entry->credential.pin;
        bool same = pin == NULL || (its->inode == pin->inode && its->mtime_ns == pin->mtime_ns &&
                                    its->size == pin->size);
        if (same && !entry->officer && strcmp(entry->provider, provider) == 0 &&
            is_worse(entry, worst)) {
            *worst = *entry;
        }
    }
    return KEK_OK;
}

enum kek_rc kek_login_on_record(const char *state_dir, const char *provider,
                                const struct kek_login_pin *pin, struct kek_login_entry *worst,
                                struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    struct kek_login_entry found = {0};
    DIR *folder = opendir(state_dir);
    if (folder == NULL && errno != ENOENT) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", state_dir);
    }
    const struct dirent *item = folder == NULL ? NULL : readdir(folder);
    for (; item != NULL && rc == KEK_OK; item = readdir(folder)) {
        char slot[KEK_LOGIN_SLOT_TEXT];
        if (is_record(item->d_name, slot)) {
            rc = find_worst(state_dir, slot, provider, pin, &found, why);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    if (rc == KEK_OK) {
        *worst = found;
    }
    return rc;
}

enum kek_rc kek_login_retry(const char *state_dir, const char *provider, size_t *forgotten,
                            struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    size_t count = 0;
    DIR *folder = opendir(state_dir);
    if (folder == NULL && errno == ENOENT) {
        *forgotten = 0;
        return KEK_OK;
    }
    if (folder == NULL) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", state_dir);
    }
    for (const struct dirent *item = readdir(folder); item != NULL && rc == KEK_OK;
         item = readdir(folder)) {
        char slot[KEK_LOGIN_SLOT_TEXT];
        if (is_record(item->d_name, slot)) {
            rc = forget_in(state_dir, slot, provider, &count, why);
        }
    }
    (void)closedir(folder);
    if (rc == KEK_OK) {
        *forgotten = count;
    }
    return rc;
}
