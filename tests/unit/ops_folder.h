/*
 * A throw-away folder for a test, mode 0700, gone with all its files when the test says so.
 * One level deep; one folder at a time.
 */
#ifndef TEST_OPS_FOLDER_H
#define TEST_OPS_FOLDER_H

#include "suite.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char folder[64];

static inline void folder_make(void)
{
    memcpy(folder, "/tmp/kek-ops-XXXXXX", sizeof "/tmp/kek-ops-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(folder));
}

/* A name in it, in one of four places that take turns. */
static inline const char *folder_path(const char *name)
{
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    snprintf(path, sizeof paths[0], "%s/%s", folder, name);
    return path;
}

static inline void folder_remove(void)
{
    DIR *open_folder = opendir(folder);
    ck_assert_ptr_nonnull(open_folder);
    for (;;) {
        struct dirent *entry = readdir(open_folder);
        if (entry == NULL) {
            break;
        }
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0) {
            const char *path = folder_path(entry->d_name);
            ck_assert(unlink(path) == 0 || rmdir(path) == 0);
        }
    }
    closedir(open_folder);
    ck_assert_int_eq(rmdir(folder), 0);
}

#endif
