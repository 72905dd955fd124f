/* kekctl report verify: is a file what this key has signed? */
#include <stdio.h>

#include "kek/digest.h"
#include "kek/small_file.h"
#include "kekctl/options.h"
#include "kekctl/output.h"
#include "signature.h"

#define REPORT_MAX (256u << 20) /* bytes */

static bool read_file(const struct ctl *ctl, const char *what, const char *path, size_t max,
                      struct kek_buf *content)
{
    const struct kek_small_file file = {.what = what, .path = path, .max = max};
    struct kek_why why;
    kek_buf_init(content, max);
    if (kek_small_file_read(&file, content, NULL, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return false;
    }
    return true;
}

static enum ctl_exit show(const struct ctl *ctl, const struct signature_key *key,
                          struct kek_bytes report, bool good)
{
    static const struct column columns[] = {{"report", "REPORT"},
                                            {"sha256", "SHA-256"},
                                            {"algorithm", "ALGORITHM"},
                                            {"public_key_sha256", "PUBLIC-KEY-SHA-256"},
                                            {"verified", "VERIFIED"}};
    char digest[KEK_SHA256_TEXT], key_digest[KEK_SHA256_TEXT];
    json_t *object = NULL;
    if (kek_sha256_text(report, digest) && signature_key_digest(key, key_digest)) {
        object = json_pack("{s:o, s:s, s:s, s:s, s:b}", "report", output_text(ctl->argument),
                           "sha256", digest, "algorithm", signature_key_name(key),
                           "public_key_sha256", key_digest, "verified", good);
    }
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}

enum ctl_exit ctl_report_verify(struct ctl *ctl)
{
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf report;
    KEK_AUTO_BUF struct kek_buf signature;
    kek_buf_init(&report, 0);
    kek_buf_init(&signature, 0);
    if (ctl->key_file == NULL) {
        return ctl_usage(ctl, "--key FILE is missing: the public key of who signed");
    }
    KEK_AUTO(signature_key) key = signature_key_public(ctl->key_file, &why);
    if (key == NULL) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    if (!read_file(ctl, "report ", ctl->argument, REPORT_MAX, &report) ||
        !read_file(ctl, "signature ", ctl->arguments[1], SIGNATURE_MAX, &signature)) {
        return CTL_FAILED;
    }
    enum kek_rc rc = signature_check(key, kek_buf_bytes(&report), kek_buf_bytes(&signature), &why);
    if (rc != KEK_OK && rc != KEK_DAMAGED) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    enum ctl_exit code = show(ctl, key, kek_buf_bytes(&report), rc == KEK_OK);
    if (code == CTL_GOOD && rc != KEK_OK) {
        ctl_say(ctl,
                "%s is not what %s signs by the key of %s: the report, the signature or the key is "
                "another, or one of them was changed",
                ctl->argument, ctl->arguments[1], ctl->key_file);
        return CTL_CHECK;
    }
    return code;
}
