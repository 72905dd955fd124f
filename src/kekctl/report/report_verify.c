/* kekctl report verify: is a file what this key has signed, and a page the one that shows it? */
#include <stdio.h>
#include <string.h>

#include "kek/digest.h"
#include "kek/small_file.h"
#include "kek/text.h"
#include "kekctl/options.h"
#include "kekctl/output.h"
#include "report_page.h"
#include "signature.h"

#define REPORT_MAX (256u << 20) /* bytes */

enum page_is { PAGE_NOT_ASKED = 0, PAGE_THE_ONE, PAGE_ANOTHER };

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
                          struct kek_bytes report, bool good, enum page_is page)
{
    static const struct column columns[] = {
        {"report", "REPORT"},       {"sha256", "SHA-256"},
        {"algorithm", "ALGORITHM"}, {"public_key_sha256", "PUBLIC-KEY-SHA-256"},
        {"verified", "VERIFIED"},   {"page_verified", "PAGE-VERIFIED"}};
    size_t count = sizeof columns / sizeof columns[0] - (page == PAGE_NOT_ASKED ? 1 : 0);
    char digest[KEK_SHA256_TEXT], key_digest[KEK_SHA256_TEXT];
    json_t *object = NULL;
    if (kek_sha256_text(report, digest) && signature_key_digest(key, key_digest)) {
        object = json_pack("{s:o, s:s, s:s, s:s, s:b}", "report", output_text(ctl->argument),
                           "sha256", digest, "algorithm", signature_key_name(key),
                           "public_key_sha256", key_digest, "verified", good);
    }
    if (object == NULL ||
        (page != PAGE_NOT_ASKED &&
         json_object_set_new(object, "page_verified", json_boolean(page == PAGE_THE_ONE)) != 0)) {
        json_decref(object);
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, columns, count);
    json_decref(object);
    return code;
}

/* ---- the page ---- */

/* Another version may say the same in other words. */
static bool made_by_this(const struct ctl *ctl, const json_t *json)
{
    char command[64];
    kek_text_copy(command, sizeof command, report_text(json_object_get(json, "made"), "command"));
    if (strcmp(report_text(json, "kind"), REPORT_KIND) != 0) {
        ctl_say(ctl, "%s is no report of kekctl's", ctl->argument);
        return false;
    }
    if (json_integer_value(json_object_get(json, "format")) != REPORT_FORMAT ||
        strcmp(command, REPORT_COMMAND) != 0) {
        ctl_say(ctl, "%s was made by \"%s\", which alone can compare its page; this is %s",
                ctl->argument, command, REPORT_COMMAND);
        return false;
    }
    return true;
}

static bool compare(const struct ctl *ctl, const json_t *json, struct kek_bytes report,
                    struct kek_bytes shown, enum page_is *is)
{
    char sha256[KEK_SHA256_TEXT];
    struct page page;
    if (!kek_sha256_text(report, sha256)) {
        ctl_say(ctl, "no memory for the page");
        return false;
    }
    report_page(&page, json, sha256);
    bool good = page_good(&page);
    *is = page.html.len == shown.len && memcmp(page.html.data, shown.data, shown.len) == 0
              ? PAGE_THE_ONE
              : PAGE_ANOTHER;
    page_done(&page);
    if (!good) {
        ctl_say(ctl, "no memory for the page");
    }
    return good;
}

/* Makes it anew of a report that was signed. False after saying why it cannot be said. */
static bool look_at_page(const struct ctl *ctl, struct kek_bytes report, enum page_is *is)
{
    KEK_AUTO_BUF struct kek_buf shown;
    if (!read_file(ctl, "page ", ctl->page, PAGE_MAX, &shown)) {
        return false;
    }
    json_t *json = json_loadb((const char *)report.data, report.len, JSON_REJECT_DUPLICATES, NULL);
    bool good = made_by_this(ctl, json) && compare(ctl, json, report, kek_buf_bytes(&shown), is);
    json_decref(json);
    return good;
}

enum ctl_exit ctl_report_verify(struct ctl *ctl)
{
    enum page_is page = PAGE_NOT_ASKED;
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
    if (rc == KEK_OK && ctl->page != NULL && !look_at_page(ctl, kek_buf_bytes(&report), &page)) {
        return CTL_FAILED;
    }
    enum ctl_exit code = show(ctl, key, kek_buf_bytes(&report), rc == KEK_OK, page);
    if (code == CTL_GOOD && rc != KEK_OK) {
        ctl_say(ctl,
                "%s is not what %s signs by the key of %s: the report, the signature or the key is "
                "another, or one of them was changed",
                ctl->argument, ctl->arguments[1], ctl->key_file);
        return CTL_CHECK;
    }
    if (code == CTL_GOOD && page == PAGE_ANOTHER) {
        ctl_say(ctl, "%s is not the page of %s: it is another one's, or it was changed", ctl->page,
                ctl->argument);
        return CTL_CHECK;
    }
    return code;
}
