/* A credential from its file. */
#include "kek/bridge.h"

#include <stdio.h>

#include "kek/small_file.h"

/* It goes into a header or into JSON as it is. */
static bool is_plain(struct kek_bytes line)
{
    for (size_t i = 0; i < line.len; i++) {
        uint8_t byte = line.data[i];
        if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '\\') {
            return false;
        }
    }
    return true;
}

enum kek_rc kek_bridge_read_secret(const char *path, const char *what, struct kek_secret **secret,
                                   struct kek_bridge_file *file, struct kek_why *why)
{
    char named[64];
    snprintf(named, sizeof named, "%s ", what);
    const struct kek_small_file small = {
        .what = named, .path = path, .max = KEK_BRIDGE_SECRET_MAX, .forbidden = 077};
    struct stat about;
    KEK_AUTO(kek_secret) line = NULL;
    enum kek_rc rc = kek_small_file_line(&small, &line, &about, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (!is_plain(kek_secret_bytes(line))) {
        return kek_fail(why, KEK_INVALID,
                        "%s%s is not one line of letters, digits and signs without blanks, quotes "
                        "and backslashes",
                        named, path);
    }
    *file = (struct kek_bridge_file){.inode = about.st_ino,
                                     .size = (uint64_t)about.st_size,
                                     .mtime_ns = (int64_t)about.st_mtim.tv_sec * 1000000000 +
                                                 about.st_mtim.tv_nsec};
    *secret = KEK_STEAL(line);
    return KEK_OK;
}
