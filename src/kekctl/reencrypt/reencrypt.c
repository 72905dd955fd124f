/* kekctl reencrypt: every object under the primary, rewritten by the API server itself. */
#include "reencrypt.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "kekctl/interrupts.h"
#include "kekctl/options.h"
#include "reencrypt_decrypt.h"
#include "reencrypt_list.h"
#include "reencrypt_migrate.h"
#include "reencrypt_proof.h"
#include "reencrypt_record.h"
#include "reencrypt_run.h"
#include "reencrypt_show.h"

#define ARENA (1024u * 1024)                  /* locked memory: a key and a token */
#define PATIENCE_MS (UINT64_C(5) * 60 * 1000) /* without any progress */
#define MIGRATE_PATIENCE_MS (UINT64_C(2) * 60 * 1000)
#define PARALLEL 16
#define STILL_EVERY_MS 5000u
#define RECORD_EVERY_MS 2000u

/* A run, from its beginning to its report. */
struct command {
    struct ctl *ctl;
    struct kek_config *config;
    struct kek_kubeconfig *kubeconfig;
    struct reencrypt reencrypt;
    struct guard guard;
    struct decrypt decrypt;
    struct reencrypt_record record;
    struct reencrypt_place place;
    unsigned recorded; /* place.changes, as it is on record */
    bool unrecorded;   /* it cannot be put there, and that was said */
    struct reencrypt_show show;
    uint64_t still_ms, record_ms, unwell_ms;
    bool unwell;
    bool changed; /* what is announced, in the middle: what was rewritten last may be under that */
    uint64_t patience_ms, left;
    bool by_etcd; /* names come from etcd, else from the API server's lists */
    struct reencrypt_etcd *etcd;
    struct reencrypt_list *list;
    uint64_t v1; /* objects under KMS v1 among those in etcd */
};

/* ---- before ---- */

static bool open_api(struct command *c)
{
    struct kek_why why = {.rc = KEK_OK};
    bool locked;
    const char *path = kek_kubeconfig_path(c->ctl->kubeconfig, &why);
    if (kek_secret_setup(ARENA, &locked, &why) != KEK_OK || path == NULL) {
        ctl_say(c->ctl, "%s", why.text);
        return false;
    }
    if (!locked) {
        ctl_say(c->ctl,
                "warning: memory cannot be locked here (RLIMIT_MEMLOCK), it may be swapped");
    }
    c->kubeconfig = kek_kubeconfig_load(path, c->ctl->kube_context, &why);
    if (c->kubeconfig != NULL) {
        c->reencrypt.api = kek_kubeapi_new(c->kubeconfig, &why);
    }
    if (c->reencrypt.api == NULL) {
        ctl_say(c->ctl, "%s", why.text);
        return false;
    }
    if (c->kubeconfig->is_open) {
        ctl_say(c->ctl, "warning: %s may be read by others than its owner: chmod 600 it", path);
    }
    return true;
}

static bool is_named_before(const struct command *c, const struct reencrypt_resource *resource)
{
    bool found = false;
    for (size_t i = 0; i < c->reencrypt.resource_count; i++) {
        found = found || strcmp(c->reencrypt.resources[i].name, resource->name) == 0;
    }
    return found;
}

static enum ctl_exit find_resources(struct command *c)
{
    const struct ctl_names *names = &c->decrypt.names;
    for (size_t i = 0; i < names->count; i++) {
        struct reencrypt_resource *resource = &c->reencrypt.resources[c->reencrypt.resource_count];
        struct kek_why why = {.rc = KEK_OK};
        enum kek_rc rc =
            kek_kubeapi_discover(c->reencrypt.api, names->list[i], &resource->api, &why);
        if (rc != KEK_OK) {
            ctl_say(c->ctl, "%s", why.text);
            return rc == KEK_INVALID || rc == KEK_NOT_FOUND ? CTL_USAGE : CTL_FAILED;
        }
        kek_kubeapi_resource_name(&resource->api, resource->name);
        c->reencrypt.resource_count += !is_named_before(c, resource);
    }
    return CTL_GOOD;
}

/* Is the API server ready, its KMS plugins included? Who may not ask is not told, and goes on. */
static enum guard_verdict ask_ready(struct command *c, struct kek_why *why)
{
    struct kek_kubeapi_call call = {.done = false};
    kek_kubeapi_ask(c->reencrypt.api, &call, "GET", "/readyz?verbose", NULL);
    enum kek_kubeapi_answer answer = kek_kubeapi_wait(c->reencrypt.api, &call);
    *why = call.why;
    /* kms-provider-0, -1, ...: KMS v1 (k8s.io/apiserver, encryptionconfig). */
    bool is_v1 = answer == KEK_KUBEAPI_GOOD && call.text.len > 0 &&
                 memmem(call.text.data, call.text.len, "kms-provider-", 13) != NULL;
    kek_kubeapi_end(c->reencrypt.api, &call);
    if (is_v1) {
        ctl_say(
            c->ctl,
            "warning: the API server uses KMS v1, under which it does not see that the key has "
            "changed, and rewrites nothing for that: put a kms entry of another name before it, "
            "or KMS v2 (docs/operations.md, \"Re-encrypting\")");
    }
    if (answer == KEK_KUBEAPI_STOP) {
        return GUARD_REFUSED;
    }
    if (answer == KEK_KUBEAPI_TROUBLE || answer == KEK_KUBEAPI_BUSY) {
        (void)kek_fail_within(why, why->rc, "the API server is not ready");
        return GUARD_WAIT;
    }
    return GUARD_GOOD;
}

static void nap(void)
{
    const struct timespec second = {.tv_sec = 1};
    (void)nanosleep(&second, NULL);
}

static void say_waiting(const struct command *c, int64_t wait_ms, const struct kek_why *why)
{
    if (wait_ms > 0) {
        ctl_say(c->ctl, "waits: %s, for %" PRId64 " s more", why->text, (wait_ms + 999) / 1000);
    } else {
        ctl_say(c->ctl, "waits: %s", why->text);
    }
}

/* Until all is well. CTL_GOOD, or after saying what is not. */
static enum ctl_exit wait_for_all(struct command *c)
{
    uint64_t began = kek_clock_ms();
    char said[KEK_WHY_TEXT] = "";
    while (interrupts_met == 0) {
        struct kek_why why = {.rc = KEK_OK};
        int64_t wait_ms = 0;
        enum guard_verdict verdict = guard_look(&c->guard, &wait_ms, &why);
        if (verdict == GUARD_GOOD) {
            verdict = ask_ready(c, &why);
        }
        if (verdict == GUARD_GOOD) {
            return CTL_GOOD;
        }
        /* How long the API servers need is known, and waited for unless --timeout says how long at most. */
        bool over =
            kek_clock_ms() - began >= c->patience_ms && (wait_ms == 0 || c->ctl->timeout_given);
        if (verdict == GUARD_REFUSED || over) {
            ctl_say(c->ctl, "nothing was rewritten: %s", why.text);
            return CTL_FAILED;
        }
        if (strcmp(said, why.text) != 0) {
            say_waiting(c, wait_ms, &why);
            memcpy(said, why.text, sizeof said);
        }
        nap();
    }
    ctl_say(c->ctl, "interrupted; nothing was rewritten");
    return CTL_CHECK;
}

/* ---- meanwhile ---- */

static enum ctl_exit look(void *arg, struct kek_why *why)
{
    struct command *c = arg;
    uint64_t now = kek_clock_ms();
    if (now < c->still_ms) {
        return c->unwell ? CTL_CHECK : CTL_GOOD;
    }
    struct kek_why said = {.rc = KEK_OK};
    enum guard_verdict verdict = guard_still(&c->guard, &said);
    c->still_ms = kek_clock_ms() + STILL_EVERY_MS;
    if (verdict == GUARD_GOOD) {
        if (c->unwell) {
            reencrypt_show_end(&c->show);
            ctl_say(c->ctl, "kekd is well again");
        }
        c->unwell = false;
        return CTL_GOOD;
    }
    if (!c->unwell && verdict == GUARD_WAIT) {
        reencrypt_show_end(&c->show);
        ctl_say(c->ctl, "holds: %s", said.text);
    }
    c->unwell_ms = c->unwell ? c->unwell_ms : now;
    c->unwell = true;
    c->changed = c->changed || verdict == GUARD_REFUSED;
    if (verdict == GUARD_REFUSED || now - c->unwell_ms >= c->patience_ms) {
        *why = said;
        return CTL_FAILED;
    }
    return CTL_CHECK;
}

static void put_on_record(struct command *c)
{
    struct kek_why why = {.rc = KEK_OK};
    if (c->by_etcd || c->changed || c->place.changes == c->recorded ||
        c->place.resource == c->reencrypt.resource_count) {
        return;
    }
    c->recorded = c->place.changes;
    bool good = reencrypt_record_write(&c->record, &c->reencrypt, c->kubeconfig->server,
                                       c->guard.key_id, &c->place, &why) == KEK_OK;
    if (!good && !c->unrecorded) {
        reencrypt_show_end(&c->show);
        ctl_say(c->ctl, "what is done cannot be put on record, so another run begins anew: %s",
                why.text);
    }
    c->unrecorded = !good;
}

static void tell(void *arg, uint64_t left)
{
    struct command *c = arg;
    uint64_t now = kek_clock_ms();
    c->left = left;
    reencrypt_show(&c->show, left);
    if (now >= c->record_ms) {
        c->record_ms = now + RECORD_EVERY_MS;
        put_on_record(c);
    }
}

static void stalled(void *arg, const struct kek_why *why)
{
    struct command *c = arg;
    reencrypt_show_end(&c->show);
    ctl_say(c->ctl, "%s", why->text);
}

/* ---- and after ---- */

static void resume(struct command *c)
{
    bool stale = false;
    if (reencrypt_record_read(&c->record, &c->reencrypt, c->kubeconfig->server, c->guard.key_id,
                              &c->place, &stale)) {
        ctl_say(c->ctl, "goes on where the last run was interrupted, in %s",
                c->reencrypt.resources[c->place.resource].name);
    } else if (stale) {
        ctl_say(c->ctl, "the last run was of another key, server or resources: begins anew");
    }
}

static json_t *prove(struct command *c, bool *good)
{
    return c->by_etcd && interrupts_met == 0 ? reencrypt_proof_end(&c->reencrypt, &c->guard, good)
                                             : NULL;
}

static void say_unmoved(const struct command *c, uint64_t unmoved)
{
    if (unmoved == 0) {
        return;
    }
    ctl_say(
        c->ctl,
        "%s %s %s in etcd, and the API server has nothing to write: "
        "%s (docs/operations.md, \"Re-encrypting\")",
        kek_counted(unmoved, "object").text, unmoved == 1 ? "is" : "are",
        c->reencrypt.decrypts ? "encrypted" : "under another key",
        c->reencrypt.decrypts
            ? "it does not have the file of --from, in which identity is the first provider"
        : c->v1 > 0
            ? "under KMS v1 it does not see that the key has changed: put a kms entry of another "
              "name before it, or KMS v2"
            : "its EncryptionConfiguration does not name them, or it does not know the new key");
}

static bool has_failed(const struct reencrypt *reencrypt)
{
    bool failed = false;
    for (size_t i = 0; i < reencrypt->resource_count; i++) {
        failed = failed || reencrypt->resources[i].failed;
    }
    return failed;
}

static enum ctl_exit report(struct command *c, enum reencrypt_end end, const struct kek_why *why)
{
    static const char *const states[] = {[REENCRYPT_DONE] = "done",
                                         [REENCRYPT_INTERRUPTED] = "interrupted",
                                         [REENCRYPT_STOPPED] = "stopped"};
    struct reencrypt_counts sum = reencrypt_sum(&c->reencrypt);
    bool failed = has_failed(&c->reencrypt), whole = end == REENCRYPT_DONE && !failed;
    bool good = whole && sum.refused == 0 && sum.unmoved == 0;
    reencrypt_show_end(&c->show);
    if (whole || c->changed) {
        reencrypt_record_remove(&c->record);
        c->left = whole ? 0 : c->left;
    } else {
        put_on_record(c);
    }
    if (end != REENCRYPT_DONE) {
        ctl_say(c->ctl, "%s%s%s: left is at least %s; run it again to go on", states[end],
                end == REENCRYPT_STOPPED ? ": " : "", end == REENCRYPT_STOPPED ? why->text : "",
                kek_counted(c->left, "object").text);
    }
    say_unmoved(c, sum.unmoved);
    json_t *proof = prove(c, &good);
    enum ctl_exit code = reencrypt_report(&c->reencrypt, states[end], c->left, proof);
    bool nothing =
        sum.rewritten + sum.fresh + sum.meanwhile == 0 && !whole && end != REENCRYPT_INTERRUPTED;
    if (code != CTL_GOOD || nothing) {
        return CTL_FAILED;
    }
    return good ? CTL_GOOD : CTL_CHECK;
}

/* Names, from etcd where that is configured. False after saying why there are none. */
static bool open_source(struct command *c, struct reencrypt_source *source)
{
    struct kek_why why = {.rc = KEK_OK};
    c->by_etcd = reencrypt_proof_is_there(&c->reencrypt, &c->guard);
    if (!c->by_etcd) {
        ctl_say(c->ctl, "remark: what is written is not looked at in etcd: none of this context is "
                        "configured, or the version that is announced is not known");
        resume(c);
        c->list = reencrypt_list_new(&c->reencrypt, &c->place);
        if (c->list == NULL) {
            ctl_say(c->ctl, "no memory for a list");
            return false;
        }
        *source = reencrypt_list_source(c->list);
        return true;
    }
    c->etcd = reencrypt_proof_begin(&c->reencrypt, &c->guard, &why);
    if (c->etcd == NULL) {
        ctl_say(c->ctl, "%s", why.text);
        return false;
    }
    const struct reencrypt_reading *reading = reencrypt_etcd_reading(c->etcd);
    c->v1 = reading->v1;
    c->left = reading->old;
    *source = reencrypt_etcd_source(c->etcd);
    return true;
}

static enum ctl_exit rewrite(struct command *c)
{
    struct kek_why why = {.rc = KEK_OK};
    struct reencrypt_settings settings = {.parallel =
                                              c->ctl->parallel == 0 ? PARALLEL : c->ctl->parallel,
                                          .rate = c->ctl->rate,
                                          .patience_ms = c->patience_ms,
                                          .interrupted = &interrupts_met};
    const struct reencrypt_beside beside = {
        .look = look, .tell = tell, .stalled = stalled, .arg = c};
    struct reencrypt_source source;
    if (!open_source(c, &source)) {
        return CTL_FAILED;
    }
    c->reencrypt.began_ms = kek_clock_ms();
    c->still_ms = c->reencrypt.began_ms; /* at once: to read an etcd takes its time */
    reencrypt_show_init(&c->show, &c->reencrypt);
    enum reencrypt_end end = reencrypt_run(&c->reencrypt, &source, &beside, &settings, &why);
    c->reencrypt.ended_ms = kek_clock_ms();
    return report(c, end, &why);
}

static enum ctl_exit migrate(struct command *c)
{
    struct kek_why why = {.rc = KEK_OK};
    bool good = true;
    c->by_etcd = reencrypt_proof_is_there(&c->reencrypt, &c->guard);
    if (c->by_etcd && !reencrypt_proof_first(&c->reencrypt, &c->guard, &interrupts_met, &why)) {
        ctl_say(c->ctl, "%s", why.text);
        return CTL_FAILED;
    }
    if (interrupts_met != 0) {
        ctl_say(c->ctl, "interrupted; no migration was begun");
        return CTL_CHECK;
    }
    enum ctl_exit code = reencrypt_migrate(
        &c->reencrypt, &c->guard, c->ctl->timeout_given ? c->ctl->timeout_ms : MIGRATE_PATIENCE_MS,
        &interrupts_met);
    if (code == CTL_GOOD && guard_still(&c->guard, &why) == GUARD_REFUSED) {
        ctl_say(c->ctl, "%s", why.text);
        code = CTL_CHECK;
    }
    json_decref(code == CTL_FAILED ? NULL : prove(c, &good));
    return code == CTL_GOOD && !good ? CTL_CHECK : code;
}

static enum ctl_exit run(struct command *c)
{
    struct kek_why why = {.rc = KEK_OK};
    enum ctl_exit code = CTL_USAGE;
    if (!decrypt_open(&c->decrypt, c->ctl, c->config) ||
        !guard_open(&c->guard, c->ctl, c->config, &code)) {
        return code;
    }
    if (!open_api(c)) {
        return CTL_USAGE;
    }
    if (reencrypt_record_open(&c->record, c->config, &why) != KEK_OK) {
        ctl_say(c->ctl, "%s", why.text);
        return CTL_FAILED;
    }
    code = find_resources(c);
    if (code == CTL_GOOD) {
        interrupts_catch(); /* before, there is nothing to go on from, and the first one ends it */
        code = wait_for_all(c);
    }
    if (code != CTL_GOOD) {
        return code;
    }
    return c->ctl->via == CTL_VIA_MIGRATION ? migrate(c) : rewrite(c);
}

enum ctl_exit ctl_reencrypt(struct ctl *ctl)
{
    struct command *c = calloc(1, sizeof *c);
    if (c == NULL) {
        ctl_say(ctl, "no memory");
        return CTL_FAILED;
    }
    c->ctl = ctl;
    c->record.lock = KEK_LOCK_NONE;
    c->reencrypt.ctl = ctl;
    c->reencrypt.decrypts = ctl->decrypt;
    c->patience_ms = ctl->timeout_given ? ctl->timeout_ms : PATIENCE_MS;
    c->config = ctl_config(ctl);
    c->reencrypt.config = c->config;
    (void)signal(SIGPIPE, SIG_IGN);
    enum ctl_exit code = c->config == NULL ? CTL_USAGE : run(c);
    reencrypt_etcd_free(c->etcd);
    reencrypt_list_free(c->list);
    kek_kubeapi_free(c->reencrypt.api);
    kek_kubeconfig_free(c->kubeconfig);
    reencrypt_record_close(&c->record);
    free(c->place.from);
    guard_close(&c->guard);
    decrypt_close(&c->decrypt);
    kek_config_free(c->config);
    free(c);
    return code;
}
