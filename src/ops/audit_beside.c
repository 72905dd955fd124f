/* Records of other keyrings' chains, in the folder of this one's (kek/audit_link.h). */
#include <dirent.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kek/audit_link.h"

struct beside {
    char folder[PATH_MAX]; /* with its slash */
    DIR *entries;
    char path[PATH_MAX]; /* of the record that was found */
    struct kek_audit_end end;
};

static void begin_beside(struct beside *beside, const char *path)
{
    const char *slash = strrchr(path, '/');
    int len = slash == NULL ? 0 : (int)(slash - path + 1);
    snprintf(beside->folder, sizeof beside->folder, "%.*s", len == 0 ? 2 : len,
             len == 0 ? "./" : path);
    beside->entries = opendir(beside->folder);
}

static bool find_beside(struct beside *beside)
{
    const struct dirent *entry;
    while (beside->entries != NULL && (entry = readdir(beside->entries)) != NULL) {
        const char *last = strrchr(entry->d_name, '.');
        struct kek_why why;
        if (last != NULL && strcmp(last, ".audit") == 0 &&
            snprintf(beside->path, sizeof beside->path, "%s%s", beside->folder, entry->d_name) <
                (int)sizeof beside->path &&
            kek_audit_record_read(beside->path, &beside->end, NULL, &why) == KEK_OK) {
            return true;
        }
    }
    return false;
}

static void end_beside(struct beside *beside)
{
    if (beside->entries != NULL) {
        closedir(beside->entries);
    }
}

bool kek_audit_is_of_another(const char *path, const char *chain, struct kek_audit_end *end,
                             struct kek_audit_end *next)
{
    struct beside beside;
    bool found = false;
    begin_beside(&beside, path);
    while (!found && find_beside(&beside)) {
        found = strcmp(beside.end.chain, chain) == 0;
    }
    if (found && end != NULL) {
        *end = beside.end;
    }
    if (found && next != NULL) {
        *next = kek_audit_next_read(beside.path);
    }
    end_beside(&beside);
    return found;
}

size_t kek_audit_all_ends(const char *path, struct kek_audit_end *ends, size_t max)
{
    struct beside beside;
    size_t count = 0;
    begin_beside(&beside, path);
    while (count < max && find_beside(&beside)) {
        ends[count++] = beside.end;
    }
    end_beside(&beside);
    return count;
}
