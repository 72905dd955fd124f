#include "pin.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kek/small_file.h"

#define CREDENTIAL "credential:"
#define FILE_URI "file:"

struct source {
    char path[PATH_MAX];
    mode_t forbidden;    /* permission bits that no PIN file may have */
    uint64_t credential; /* what stands for its name; 0: it is a file */
};

/* FNV-1a of 64 bits: two names of one service must not look alike, nobody chooses them to. */
static uint64_t digest_of(const char *name)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++) {
        sum = (sum ^ *at) * UINT64_C(0x100000001b3);
    }
    return sum | 1;
}

static enum kek_rc resolve_credential(const char *name, struct source *source, struct kek_why *why)
{
    enum kek_rc rc = kek_small_file_credential(name, source->path, sizeof source->path, why);
    if (rc != KEK_OK) {
        return kek_fail_within(why, rc, "pin-source");
    }
    source->forbidden = 037;
    source->credential = digest_of(name);
    return KEK_OK;
}

static enum kek_rc resolve(const char *text, struct source *source, struct kek_why *why)
{
    if (strncmp(text, CREDENTIAL, strlen(CREDENTIAL)) == 0) {
        return resolve_credential(text + strlen(CREDENTIAL), source, why);
    }
    const char *path = text;
    if (strncmp(text, FILE_URI, strlen(FILE_URI)) == 0) {
        path += strlen(FILE_URI);
        if (strncmp(path, "///", 3) == 0) {
            path += 2;
        }
    }
    if (path == text || path[0] != '/' || path[1] == '/') {
        return kek_fail(why, KEK_INVALID,
                        "pin-source must be file:/absolute/path or credential:NAME");
    }
    int len = snprintf(source->path, sizeof source->path, "%s", path);
    if (len < 0 || (size_t)len >= sizeof source->path) {
        return kek_fail(why, KEK_INVALID, "pin-source: the path is too long");
    }
    source->forbidden = 077;
    source->credential = 0;
    return KEK_OK;
}

enum kek_rc kek_pin_read(const char *text, struct kek_secret **pin, struct kek_pin_file *file,
                         struct kek_why *why)
{
    struct source source;
    enum kek_rc rc = resolve(text, &source, why);
    if (rc != KEK_OK) {
        return rc;
    }
    const struct kek_small_file small = {.what = "PIN file ",
                                         .path = source.path,
                                         .max = KEK_PIN_MAX,
                                         .forbidden = source.forbidden};
    struct stat about;
    rc = kek_small_file_line(&small, pin, &about, why);
    if (rc != KEK_OK) {
        return rc;
    }
    bool is_file = source.credential == 0;
    file->inode = is_file ? about.st_ino : source.credential;
    file->mtime_ns =
        is_file ? (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec : 0;
    file->size = (uint64_t)about.st_size;
    memcpy(file->path, source.path, sizeof file->path);
    return KEK_OK;
}
