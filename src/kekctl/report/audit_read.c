#include "audit_read.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/clock.h"
#include "kekctl/audit/files.h"
#include "kekctl/output.h"

/* ---- lines ---- */

/* Whoever takes lines relies on it: an object with a time and an event, and with objects alone where a line lists KEKs. */
static bool is_whole(const json_t *line)
{
    const char *time = json_string_value(json_object_get(line, "time"));
    const json_t *keks = json_object_get(line, "keks");
    size_t i = 0;
    while (i < json_array_size(keks) && json_is_object(json_array_get(keks, i))) {
        i++;
    }
    return time != NULL && kek_clock_parse(time) > 0 &&
           json_is_string(json_object_get(line, "event")) &&
           (keks == NULL || (json_is_array(keks) && i == json_array_size(keks)));
}

void audit_read_line(void *arg, struct kek_bytes line)
{
    struct audit_read *read = arg;
    json_error_t error;
    json_t *object = json_loadb((const char *)line.data, line.len, JSON_REJECT_DUPLICATES, &error);
    if (object == NULL && json_error_code(&error) == json_error_out_of_memory) {
        read->spoilt = true;
    }
    if (is_whole(object)) {
        read->whole++;
        read->fn(read->arg, object);
    }
    json_decref(object);
}

/* ---- which files ---- */

static const char *name_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

void audit_read_took(struct audit_read *read, const char *path)
{
    read->spoilt =
        json_array_append_new(read->files, output_text(name_of(path))) != 0 || read->spoilt;
}

/* Names it among those that were not read. */
static void leave(struct audit_read *read, const char *path, const char *why)
{
    char text[NAME_MAX + KEK_WHY_TEXT];
    snprintf(text, sizeof text, "%s: %s", name_of(path), why);
    read->spoilt = json_array_append_new(read->not_read, output_text(text)) != 0 || read->spoilt;
}

void audit_read_unread(struct audit_read *read, const char *path, const char *why)
{
    read->unread = true;
    leave(read, path, why);
}

static bool is_compressed(const char *name)
{
    static const char *const ends[] = {".gz", ".xz", ".zst", ".bz2", ".lz4"};
    size_t len = strlen(name);
    for (size_t i = 0; i < sizeof ends / sizeof ends[0]; i++) {
        size_t end = strlen(ends[i]);
        if (len > end && strcmp(name + len - end, ends[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What logrotate makes of it: its name and a number or a date behind it. */
static bool is_older(const char *name, const char *base)
{
    size_t len = strlen(base);
    return strncmp(name, base, len) == 0 && (name[len] == '.' || name[len] == '-') &&
           name[len + 1] >= '0' && name[len + 1] <= '9';
}

/* kekd writes to no symbolic link, so none is one of its files. */
static bool is_file(const char *path, struct kek_why *why)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "looking at it");
        return false;
    }
    if (!S_ISREG(st.st_mode)) {
        kek_fail(why, KEK_UNAVAILABLE, "it is no regular file");
        return false;
    }
    return true;
}

static bool add(struct audit_read *read, const char *path)
{
    read->paths[read->count] = strdup(path);
    read->spoilt = read->spoilt || read->paths[read->count] == NULL;
    read->count += read->paths[read->count] != NULL;
    return !read->spoilt;
}

static void look_at(struct audit_read *read, const char *path)
{
    struct kek_why why;
    if (is_compressed(path)) {
        audit_read_unread(read, path, "it is compressed");
    } else if (!is_file(path, &why)) {
        audit_read_unread(read, path, why.text);
    } else if (files_look(path, &why) == KEK_OK) {
        if (read->count == AUDIT_READ_FILES_MAX) {
            audit_read_unread(read, path, "there are too many");
        } else {
            (void)add(read, path);
        }
    } else if (why.rc == KEK_NOT_FOUND) {
        leave(read, path, "no line in it is an audit line");
    } else {
        audit_read_unread(read, path, why.text);
    }
}

/* False: errno says why. */
static bool find_older(struct audit_read *read, const char *folder, const char *base)
{
    char path[PATH_MAX + NAME_MAX + 2];
    DIR *entries = opendir(folder);
    if (entries == NULL) {
        return false;
    }
    for (struct dirent *entry = readdir(entries); entry != NULL; entry = readdir(entries)) {
        if (is_older(entry->d_name, base)) {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            look_at(read, path);
        }
    }
    closedir(entries);
    return true;
}

/* The log itself comes last: what was rotated out of it is older. */
enum kek_rc audit_read_find(const char *path, audit_read_fn *fn, void *arg, struct audit_read *read,
                            struct kek_why *why)
{
    struct kek_why cause;
    *read =
        (struct audit_read){.files = json_array(), .not_read = json_array(), .fn = fn, .arg = arg};
    KEK_AUTO_FREE char *folder_copy = strdup(path);
    KEK_AUTO_FREE char *base_copy = strdup(path);
    if (read->files == NULL || read->not_read == NULL || folder_copy == NULL || base_copy == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", path);
    }
    if (!find_older(read, dirname(folder_copy), basename(base_copy))) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening the folder of the audit file %s", path);
    }
    if (read->count > 0 && !files_order(read->paths, read->count, &cause)) {
        return kek_fail(why, cause.rc, "older files of the audit file %s: %s", path, cause.text);
    }
    if (!is_file(path, &cause)) {
        read->renamed = cause.code == ENOENT && read->count > 0;
        if (read->renamed) {
            return KEK_OK;
        }
        return kek_fail(why, cause.rc, "reading the audit file %s: %s", path, cause.text);
    }
    return add(read, path) ? KEK_OK : kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", path);
}

void audit_read_done(struct audit_read *read)
{
    for (size_t i = 0; i < read->count; i++) {
        free((char *)(uintptr_t)read->paths[i]);
    }
    json_decref(read->files);
    json_decref(read->not_read);
}
