/*
 * kekctl key attest: what the HSM that holds a version states about its key, whether that holds, and all of it as it
 * was received, in files, so that somebody else can verify it without kekd.
 *
 * The worker fetches and verifies; here it is shown and written.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/json.h"
#include "kek/text.h"
#include "kekctl/output.h"
#include "key_views.h"

#define STATEMENT_FILE "statement.dat"
#define REPORT_FILE "report.json"

struct attestation {
    struct keys *keys;
    json_t *statements, *rows;
    size_t asked, answered; /* providers */
    bool all_hold;
};

static const char *const outcomes[] = {
    [KEK_CHECK_UNTRIED] = "untried", [KEK_CHECK_PASSED] = "passed", [KEK_CHECK_FAILED] = "failed"};

static const char *name_of(const struct attestation *attestation, size_t provider)
{
    return attestation->keys->config->providers[provider].name;
}

/* ---- files ---- */

static enum kek_rc make_folder(const char *path, struct kek_why *why)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "cannot make the folder %s", path);
    }
    return KEK_OK;
}

static enum kek_rc write_file(const char *folder, const char *name, struct kek_bytes content,
                              struct kek_why *why)
{
    char path[PATH_MAX];
    int len = snprintf(path, sizeof path, "%s/%s", folder, name);
    return len < 0 || (size_t)len >= sizeof path
               ? kek_fail(why, KEK_TOO_LARGE, "%s: the path is too long", folder)
               : kek_durable_write_now(path, content, why);
}

/* The certificates of one list, in one file. */
static enum kek_rc write_chain(const char *folder, const struct kek_provider_attested *attested,
                               size_t first, struct kek_why *why)
{
    const char *chain = attested->certificates[first].chain;
    char name[40];
    KEK_AUTO_BUF struct kek_buf pem;
    kek_buf_init(&pem, sizeof attested->certificates + KEK_PROVIDER_CERTIFICATES_MAX);
    for (size_t i = first; i < attested->certificate_count; i++) {
        const char *text = attested->certificates[i].pem;
        size_t len = strlen(text);
        if (strcmp(attested->certificates[i].chain, chain) != 0) {
            continue;
        }
        if (kek_buf_append(&pem, kek_bytes_of(text), why) != KEK_OK ||
            (len > 0 && text[len - 1] != '\n' &&
             kek_buf_append(&pem, kek_bytes("\n", 1), why) != KEK_OK)) {
            return why->rc;
        }
    }
    snprintf(name, sizeof name, "%s.pem", chain);
    return write_file(folder, name, kek_bytes(pem.data, pem.len), why);
}

/* A list is written where its first certificate is met.  The worker's word for it is one of three, and no path. */
static enum kek_rc write_received(const char *folder, const struct kek_provider_attested *attested,
                                  struct kek_why *why)
{
    enum kek_rc rc = write_file(folder, STATEMENT_FILE,
                                kek_bytes(attested->statement, attested->statement_len), why);
    for (size_t i = 0; i < attested->certificate_count && rc == KEK_OK; i++) {
        const char *chain = attested->certificates[i].chain;
        size_t first = 0;
        while (strcmp(attested->certificates[first].chain, chain) != 0) {
            first++;
        }
        if (chain[0] == '\0' || chain[0] == '.' || strchr(chain, '/') != NULL) {
            rc = kek_fail(why, KEK_INVALID, "a list of certificates is called \"%s\"", chain);
        } else if (first == i) {
            rc = write_chain(folder, attested, i, why);
        }
    }
    return rc;
}

static enum kek_rc write_report(const char *folder, const json_t *statement, struct kek_why *why)
{
    KEK_AUTO_FREE char *text = kek_json_text(statement, JSON_INDENT(2) | JSON_PRESERVE_ORDER);
    return text == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory for the report")
                        : write_file(folder, REPORT_FILE, kek_bytes_of(text), why);
}

/* FOLDER/KEYRING.vN-PROVIDER, made with what is above it. */
static enum kek_rc folder_for(const struct attestation *attestation, size_t provider,
                              uint32_t number, char *folder, size_t size, struct kek_why *why)
{
    const struct kek_config *config = attestation->keys->config;
    const char *into = attestation->keys->ctl->into;
    int len = snprintf(folder, size, "%s%s", into == NULL ? config->state_dir : into,
                       into == NULL ? "/attestations" : "");
    if (len < 0 || (size_t)len >= size) {
        return kek_fail(why, KEK_TOO_LARGE, "the path of the folder is too long");
    }
    enum kek_rc rc = make_folder(folder, why);
    if (rc != KEK_OK) {
        return rc;
    }
    int more = snprintf(folder + len, size - (size_t)len, "/%s.v%u-%s", config->keyring, number,
                        name_of(attestation, provider));
    return more < 0 || (size_t)more >= size - (size_t)len
               ? kek_fail(why, KEK_TOO_LARGE, "the path of the folder is too long")
               : make_folder(folder, why);
}

static enum kek_rc store(const struct attestation *attestation, size_t provider, uint32_t number,
                         json_t *statement, struct kek_why *why)
{
    const struct kek_provider_attested *attested = attestation->keys->listings[provider].attested;
    char folder[PATH_MAX];
    enum kek_rc rc = folder_for(attestation, provider, number, folder, sizeof folder, why);
    if (rc == KEK_OK) {
        rc = write_received(folder, attested, why);
    }
    if (rc == KEK_OK && json_object_set_new(statement, "folder", output_text(folder)) != 0) {
        rc = kek_fail(why, KEK_NO_MEMORY, "no memory for the report");
    }
    return rc == KEK_OK ? write_report(folder, statement, why) : rc;
}

/* ---- what was found ---- */

/* Each check, for programs and as a line. False: no memory. */
static bool add_checks(const struct attestation *attestation, size_t provider,
                       const struct kek_provider_attested *attested, json_t *checks)
{
    for (size_t i = 0; i < attested->check_count; i++) {
        const struct kek_provider_check *check = &attested->checks[i];
        json_t *row = json_pack("{s:s, s:o, s:s, s:o}", "provider", name_of(attestation, provider),
                                "check", output_text(check->name), "outcome",
                                outcomes[check->outcome], "what", output_text(check->text));
        if (json_array_append_new(attestation->rows, row) != 0 ||
            json_array_append_new(checks,
                                  json_pack("{s:o, s:s, s:o}", "check", output_text(check->name),
                                            "outcome", outcomes[check->outcome], "what",
                                            output_text(check->text))) != 0) {
            return false;
        }
    }
    return true;
}

static bool add_facts(const struct kek_provider_attested *attested, json_t *facts)
{
    for (size_t i = 0; i < attested->fact_count; i++) {
        if (json_object_set_new(facts, attested->facts[i].name,
                                output_text(attested->facts[i].value)) != 0) {
            return false;
        }
    }
    return true;
}

static bool holds(const struct kek_provider_attested *attested)
{
    size_t passed = 0;
    for (size_t i = 0; i < attested->check_count; i++) {
        passed += attested->checks[i].outcome == KEK_CHECK_PASSED;
    }
    return passed > 0 && passed == attested->check_count;
}

/* NULL: no memory. */
static json_t *describe(const struct attestation *attestation, size_t provider, uint32_t number,
                        const struct kek_id *kek_id)
{
    const struct kek_provider_attested *attested = attestation->keys->listings[provider].attested;
    char id[KEK_ID_TEXT], now[KEK_CLOCK_TEXT];
    json_t *checks = json_array(), *facts = json_object();
    kek_id_format(kek_id, id);
    if (checks == NULL || facts == NULL || !add_checks(attestation, provider, attested, checks) ||
        !add_facts(attested, facts)) {
        json_decref(checks);
        json_decref(facts);
        return NULL;
    }
    return json_pack("{s:s, s:I, s:s, s:s, s:o, s:b, s:I, s:s, s:o, s:o}", "provider",
                     name_of(attestation, provider), "version", (json_int_t)number, "kek_id", id,
                     "verified_at", kek_clock_text_seconds(kek_clock_wall_ms(), now), "format",
                     output_text(attested->format), "holds", holds(attested), "certificates",
                     (json_int_t)attested->certificate_count, "folder", "", "checks", checks,
                     "facts", facts);
}

/* False: no memory for the output. */
static bool ask(struct attestation *attestation, size_t provider, const struct kek_version *version)
{
    struct keys *keys = attestation->keys;
    struct kek_why why;
    const struct kek_id kek_id = version->id; /* the listing goes */
    uint32_t number = version->number;
    attestation->asked++;
    if (keys_attest(keys, provider, &kek_id) != KEK_OK) {
        ctl_say(
            keys->ctl, "%s: %s", name_of(attestation, provider),
            kek_text_after_name(keys->listings[provider].why.text, name_of(attestation, provider)));
        return true;
    }
    const struct kek_provider_attested *attested = keys->listings[provider].attested;
    json_t *statement = describe(attestation, provider, number, &kek_id);
    if (statement == NULL || json_array_append_new(attestation->statements, statement) != 0) {
        return false;
    }
    attestation->answered++;
    attestation->all_hold = attestation->all_hold && holds(attested);
    if (attested->statement_len > 0 &&
        store(attestation, provider, number, statement, &why) != KEK_OK) {
        ctl_say(keys->ctl, "%s", why.text);
        attestation->answered--; /* what cannot be kept is not done */
    }
    return true;
}

static enum ctl_exit print(const struct attestation *attestation)
{
    static const struct column columns[] = {
        {"provider", "PROVIDER"}, {"check", "CHECK"}, {"outcome", "OUTCOME"}, {"what", "FOUND"}};
    return output_rows(attestation->keys->ctl,
                       json_pack("{s:O}", "statements", attestation->statements), attestation->rows,
                       columns, sizeof columns / sizeof columns[0]);
}

static void say_folders(const struct attestation *attestation)
{
    size_t i;
    const json_t *statement;
    json_array_foreach(attestation->statements, i, statement)
    {
        const char *folder = json_string_value(json_object_get(statement, "folder"));
        if (folder != NULL && folder[0] != '\0') {
            ctl_say(attestation->keys->ctl, "what was received is in %s", folder);
        }
    }
}

static enum ctl_exit attest(struct attestation *attestation, uint32_t number,
                            const struct kek_id *kek_id)
{
    struct keys *keys = attestation->keys;
    size_t first = 0, last = keys->config->provider_count;
    if (keys->ctl->provider != NULL) {
        if (!keys_named(keys, &first)) {
            return keys->code;
        }
        last = first + 1;
    }
    bool good = attestation->statements != NULL && attestation->rows != NULL;
    for (size_t p = first; good && p < last; p++) {
        const struct kek_version *version = view_find(keys, p, kek_id);
        attestation->asked += keys->listings[p].rc != KEK_OK; /* it may have the version */
        good = version == NULL || ask(attestation, p, version);
    }
    if (!good) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    if (attestation->asked == 0) {
        ctl_say(keys->ctl, "provider %s has no version %u", keys->ctl->provider, number);
    }
    if (attestation->answered == 0 && json_array_size(attestation->rows) == 0) {
        return CTL_FAILED;
    }
    enum ctl_exit code = print(attestation);
    say_folders(attestation);
    if (code != CTL_GOOD || attestation->answered < attestation->asked) {
        return CTL_FAILED;
    }
    return attestation->all_hold ? CTL_GOOD : CTL_CHECK;
}

enum ctl_exit ctl_key_attest(struct ctl *ctl)
{
    struct kek_version version;
    struct kek_why why;
    enum ctl_exit code = view_check_argument(ctl);
    if (code != CTL_GOOD) {
        return code;
    }
    KEYS_AUTO struct keys keys;
    if (!keys_open(&keys, ctl) || !keys_start(&keys, true)) {
        return keys.code;
    }
    if (keys_list(&keys, true) == 0) {
        return CTL_FAILED;
    }
    if (!view_pick(&keys, ctl->argument, &version, &why)) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    struct attestation attestation = {
        .keys = &keys, .statements = json_array(), .rows = json_array(), .all_hold = true};
    code = attest(&attestation, version.number, &version.id);
    json_decref(attestation.statements);
    json_decref(attestation.rows);
    return code;
}
