#include "below.h"

#include <stdio.h>
#include <string.h>

bool below_is(const char *path, const char *folder)
{
    size_t len = strlen(folder);
    while (len > 1 && folder[len - 1] == '/') {
        len--;
    }
    return path[0] == '/' && folder[0] == '/' && strncmp(path, folder, len) == 0 &&
           (len == 1 || path[len] == '/' || path[len] == '\0');
}

bool below_folder(const char *path, char *folder, size_t size)
{
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL || slash == path ? 1 : (size_t)(slash - path);
    return snprintf(folder, size, "%.*s", (int)len, slash == NULL ? "." : path) < (int)size;
}
