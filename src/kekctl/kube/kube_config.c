/* kekctl kube config: an EncryptionConfiguration, read, taken one phase further, and printed. */
#include "kube_config.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/digest.h"
#include "kek/doc.h"
#include "kek/durable.h"
#include "kekctl/options.h"
#include "kekctl/output.h"

#define OUTPUT_MAX \
    (4u << 20) /* of a file that was KEK_DOC_BYTES_MAX: every item on a line of its own */

static const char *const phases[] = {[KEK_ENCRYPTION_ADD_READER] = "add-reader",
                                     [KEK_ENCRYPTION_MAKE_WRITER] = "make-writer",
                                     [KEK_ENCRYPTION_REMOVE_OLD] = "remove-old",
                                     [KEK_ENCRYPTION_DISABLE] = "disable"};
#define PHASE_COUNT (sizeof phases / sizeof phases[0])

static bool find_phase(const char *word, enum kek_encryption_phase *phase)
{
    for (size_t i = 0; word != NULL && i < PHASE_COUNT; i++) {
        if (strcmp(phases[i], word) == 0) {
            *phase = (enum kek_encryption_phase)i;
            return true;
        }
    }
    return false;
}

static bool digest_of(struct kek_bytes bytes, char text[static KUBE_DIGEST_TEXT])
{
    memcpy(text, "sha256:", 8);
    return kek_sha256_text(bytes, text + 7);
}

/* What the API servers have now, two times: one is taken further. */
static enum kek_rc read_present(struct kube_change *change, struct kek_why *why)
{
    const char *path = change->ctl->from;
    if (path == NULL) {
        change->before = kek_encryption_config_new();
        change->after = kek_encryption_config_new();
        return change->before == NULL || change->after == NULL
                   ? kek_fail(why, KEK_NO_MEMORY, "no memory for the configuration")
                   : KEK_OK;
    }
    KEK_AUTO_BUF struct kek_buf yaml;
    kek_buf_init(&yaml, KEK_DOC_BYTES_MAX);
    enum kek_rc rc = kek_durable_read(path, KEK_DOC_BYTES_MAX, &yaml, why);
    if (rc != KEK_OK) {
        return kek_fail_within(why, rc, "--from");
    }
    change->before = kek_encryption_config_parse(kek_buf_bytes(&yaml), path, why);
    if (change->before == NULL) {
        return why->rc;
    }
    change->after = kek_encryption_config_parse(kek_buf_bytes(&yaml), path, why);
    if (change->after == NULL) {
        return why->rc;
    }
    return digest_of(kek_buf_bytes(&yaml), change->from_digest)
               ? KEK_OK
               : kek_fail(why, KEK_INTERNAL, "SHA-256 does not work");
}

/* As Go writes a duration and reads it: "3s", "1500ms". */
static void put_timeout(uint64_t ms, char text[static 32])
{
    bool whole = ms % 1000 == 0;
    snprintf(text, 32, "%" PRIu64 "%s", whole ? ms / 1000 : ms, whole ? "s" : "ms");
}

static enum kek_rc advance(struct kube_change *change, enum kek_encryption_phase phase,
                           struct kek_why *why)
{
    const struct ctl *ctl = change->ctl;
    char endpoint[512], timeout[32];
    snprintf(endpoint, sizeof endpoint, "unix://%s", change->config->listen);
    put_timeout(ctl->timeout_ms, timeout);
    struct kek_encryption_target target = {.resources = ctl->resources.list,
                                           .resource_count = ctl->resources.count,
                                           .name = change->name,
                                           .endpoint = endpoint,
                                           .timeout = ctl->timeout_given ? timeout : NULL};
    return kek_encryption_config_advance(change->after, phase, &target, &change->step, why);
}

static enum ctl_exit print_json(const struct kube_change *change, struct kek_bytes yaml,
                                const char *digest)
{
    char resources[200];
    kube_resources(change, resources, sizeof resources);
    json_t *object = json_pack("{s:s, s:s, s:b, s:s, s:o}", "phase", change->phase, "resources",
                               resources, "unchanged", change->step.unchanged, "sha256", digest,
                               "configuration", json_stringn((const char *)yaml.data, yaml.len));
    if (object == NULL) {
        ctl_say(change->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(change->ctl, object, NULL, 0);
    json_decref(object);
    return code;
}

static enum ctl_exit print(const struct kube_change *change)
{
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO_BUF struct kek_buf yaml;
    char digest[KUBE_DIGEST_TEXT];
    kek_buf_init(&yaml, OUTPUT_MAX);
    enum kek_rc rc = kube_comment(change, &yaml, &why);
    if (rc == KEK_OK) {
        rc = kek_encryption_config_write(change->after, NULL, &yaml, &why);
    }
    if (rc == KEK_OK && !digest_of(kek_buf_bytes(&yaml), digest)) {
        rc = kek_fail(&why, KEK_INTERNAL, "SHA-256 does not work");
    }
    if (rc != KEK_OK) {
        ctl_say(change->ctl, "%s", why.text);
        return CTL_FAILED;
    }
    enum ctl_exit code = change->ctl->json ? print_json(change, kek_buf_bytes(&yaml), digest)
                                           : output_bytes(change->ctl, kek_buf_bytes(&yaml));
    if (code == CTL_GOOD && change->step.unchanged) {
        ctl_say(change->ctl, "remark: %s is there already", change->phase);
    }
    if (code == CTL_GOOD) {
        ctl_say(change->ctl, "remark: an API server that has taken this file shows %s", digest);
    }
    return code;
}

static enum ctl_exit run(struct kube_change *change, enum kek_encryption_phase phase)
{
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc = read_present(change, &why);
    if (rc == KEK_OK) {
        rc = advance(change, phase, &why);
    }
    if (rc != KEK_OK) {
        ctl_say(change->ctl, "%s", why.text);
        return rc == KEK_INVALID || rc == KEK_TOO_LARGE       ? CTL_USAGE
               : rc == KEK_PRECONDITION && change->ctl->check ? CTL_CHECK
                                                              : CTL_FAILED;
    }
    return change->ctl->check ? kube_check(change) : print(change);
}

enum ctl_exit ctl_kube_config(struct ctl *ctl)
{
    enum kek_encryption_phase phase;
    if (!find_phase(ctl->phase, &phase)) {
        return ctl_usage(ctl,
                         "--phase: expected add-reader, make-writer, remove-old or disable%s%s%s",
                         ctl->phase == NULL ? "" : ", found \"",
                         ctl->phase == NULL ? "" : ctl->phase, ctl->phase == NULL ? "" : "\"");
    }
    if (ctl->from == NULL &&
        (phase == KEK_ENCRYPTION_REMOVE_OLD || phase == KEK_ENCRYPTION_DISABLE)) {
        return ctl_usage(ctl, "--phase %s needs --from FILE: what the API servers have now",
                         ctl->phase);
    }
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    struct kube_change change = {.ctl = ctl,
                                 .config = config,
                                 .phase = ctl->phase,
                                 .name = ctl->name == NULL ? KUBE_DEFAULT_NAME : ctl->name};
    enum ctl_exit code = run(&change, phase);
    kek_encryption_config_free(change.before);
    kek_encryption_config_free(change.after);
    return code;
}
