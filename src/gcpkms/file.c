#include "file.h"

#include <stdio.h>
#include <string.h>

#include "kek/small_file.h"

#define FILE_URI "file:"
#define CREDENTIAL "credential:"
#define FORM "credentials: expected file:/absolute/path, credential:NAME or metadata"

static enum kek_rc credential_path(const char *name, char *path, size_t size, struct kek_why *why)
{
    if (name[0] == '.') {
        return kek_fail(why, KEK_INVALID, FORM);
    }
    enum kek_rc rc = kek_small_file_credential(name, path, size, why);
    return rc == KEK_OK ? rc : kek_fail_within(why, rc, "credentials");
}

enum kek_rc kek_gcp_file_path(const char *source, char *path, size_t size, bool *may_share,
                              struct kek_why *why)
{
    *may_share = strncmp(source, CREDENTIAL, strlen(CREDENTIAL)) == 0;
    if (*may_share) {
        return credential_path(source + strlen(CREDENTIAL), path, size, why);
    }
    const char *at = source + strlen(FILE_URI);
    if (strncmp(source, FILE_URI, strlen(FILE_URI)) != 0 || at[0] != '/' || strlen(at) >= size) {
        return kek_fail(why, KEK_INVALID, FORM);
    }
    snprintf(path, size, "%s", at);
    return KEK_OK;
}

enum kek_rc kek_gcp_file_read(const char *path, bool may_share, struct kek_buf *text,
                              struct kek_why *why)
{
    const struct kek_small_file small = {.what = "",
                                         .path = path,
                                         .max = KEK_GCP_FILE_MAX,
                                         .forbidden = may_share ? 037 : 077,
                                         .owned = true};
    return kek_small_file_read(&small, text, NULL, why);
}
