#include "reach.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static bool may(const char *path, int mode, struct reach *reach)
{
    if (faccessat(AT_FDCWD, path, mode, AT_EACCESS) == 0) {
        return true;
    }
    reach->error = errno;
    snprintf(reach->at, sizeof reach->at, "%s", path);
    return false;
}

void reach(const char *path, int mode, struct reach *reach)
{
    char folder[PATH_MAX];
    *reach = (struct reach){.end = REACH_GOOD};
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t len = slash == path ? 1 : (size_t)(slash - path);
        snprintf(folder, sizeof folder, "%.*s", (int)len, path);
        if (!may(folder, X_OK, reach)) {
            reach->end = reach->error == EACCES ? REACH_SHUT : REACH_MISSING;
            return;
        }
    }
    if (!may(path, mode, reach)) {
        reach->end =
            reach->error == ENOENT || reach->error == ENOTDIR ? REACH_MISSING : REACH_DENIED;
    }
}
