/* doctor: every provider's token, asked by the workers that kekd has: do they start, log in, find the keys, and work? */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "doctor.h"
#include "kek/login.h"
#include "kek/text.h"
#include "kekctl/destroy/destroy_back.h"
#include "kekctl/key/backup.h"
#include "kekctl/key/key_canary.h"
#include "kekctl/key/key_remarks.h"
#include "pins.h"
#include "turn.h"
#include "vendors.h"

#define SUBJECT 64
#define HOLDER (REMARKS_TOKEN + 80)

static const char *name_of(const struct keys *keys, size_t provider)
{
    return keys->config->providers[provider].name;
}

/* ---- one that did not start ---- */

/* What this node has on record is not known. */
static bool is_unread(const struct keys *keys)
{
    struct kek_generation last;
    struct kek_why why;
    return remarks_primary(keys, &last, &why) == REMARKS_PRIMARY_UNREAD;
}

/* By what this node announced, or what was said of a backup. */
static bool is_on_record(const struct keys *keys)
{
    struct kek_generation last;
    struct backup_word word;
    struct kek_why why;
    return remarks_primary(keys, &last, &why) != REMARKS_PRIMARY_NONE ||
           (backup_read(keys->config, &word, &why) == KEK_OK && word.version > 0);
}

/* What is wrong with the PIN has a line before this one. */
static bool is_said_of_pin(const struct doctor *doctor, const struct kek_config_provider *provider,
                           char todo[static LINES_TODO])
{
    char subject[SUBJECT];
    snprintf(subject, sizeof subject, "PIN of %s", provider->name);
    lines_todo(todo, "the line of %s first", subject);
    return lines_has(&doctor->lines, LINES_SUBJECT, subject, DOCTOR_FAIL);
}

/* One wording for the two lines about a PIN that is refused. */
static void say_pin(const struct doctor *doctor, const struct kek_config_provider *provider,
                    char todo[static LINES_TODO])
{
    if (!is_said_of_pin(doctor, provider, todo)) {
        pins_todo(doctor, provider, todo);
    }
}

static void say_pin_file(const struct doctor *doctor, const struct kek_config_provider *provider,
                         char todo[static LINES_TODO])
{
    char source[PATH_MAX], shown[PATH_MAX];
    const char *path = pins_file(provider, source);
    const char *user = provider->user != NULL ? provider->user : doctor->who.name;
    if (is_said_of_pin(doctor, provider, todo)) {
        return;
    }
    if (path == NULL) {
        lines_todo(todo, "in %s, provider %s: pin-source= in uri: of what is there",
                   doctor->config->path, provider->name);
        return;
    }
    lines_quote(path, shown, sizeof shown);
    doctor_give(doctor, todo,
                "chown %s %s && chmod 0600 %s # user %s must read it, and nobody else", user, shown,
                shown, user);
}

/* Which of the tokens that are alike is this node's: the one of them that it has logged in to. */
static const char *own_of(const struct doctor *doctor, const struct kek_pool_provider *status)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    const char *own = NULL;
    size_t count = 0;
    for (size_t i = 0; i < KEK_PROVIDER_ALIKE_MAX && status->alike[i][0] != '\0'; i++) {
        const char *serial = status->alike[i];
        if (kek_login_was(doctor->config->state_dir, serial)) {
            own = serial;
            count++;
        }
    }
    return count == 1 && own[strspn(own, plain)] == '\0' ? own : NULL;
}

static void say_alike(const struct doctor *doctor, const struct kek_config_provider *provider,
                      const struct kek_pool_provider *status, char todo[static LINES_TODO])
{
    const char *own = own_of(doctor, status);
    if (own != NULL) {
        lines_todo(todo,
                   "in %s, provider %s: serial=%s in uri:, beside token= # of them, this node has "
                   "logged in to that one alone",
                   doctor->config->path, provider->name, own);
    } else {
        lines_todo(todo,
                   "in %s, provider %s: serial= in uri:, beside token=, of the one that has the "
                   "keys",
                   doctor->config->path, provider->name);
    }
}

static void say_failed(struct doctor *doctor, const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    const struct kek_config_provider *config = &keys->config->providers[provider];
    char subject[SUBJECT], todo[LINES_TODO], seen[TURN_SEEN] = "";
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    snprintf(subject, sizeof subject, "token of %s", config->name);
    if (listing->why.rc == KEK_UNIMPLEMENTED) {
        lines_todo(todo,
                   "in %s, provider %s: module-path=(the vendor's library) in uri:, and env: as it "
                   "needs",
                   keys->config->path, config->name);
    } else if (listing->why.rc == KEK_DENIED && listing->why.native == KEK_NATIVE_PKCS11) {
        say_pin(doctor, config, todo);
    } else if (listing->why.reason == KEK_REASON_PIN_FILE &&
               kek_config_setting(config, "uri") != NULL) { /* a service has no PIN */
        say_pin_file(doctor, config, todo);
    } else if (listing->why.reason == KEK_REASON_LOGIN_TURN) {
        turn_say(doctor, status.serial, seen, todo);
    } else if (listing->why.reason == KEK_REASON_TOKENS_ALIKE) {
        say_alike(doctor, config, &status, todo);
    } else if (!vendors_todo(doctor, config, is_on_record(keys), &listing->why, todo)) {
        lines_todo(todo, "in %s, provider %s: correct what it names, or mend the HSM",
                   keys->config->path, config->name);
    }
    lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "%s%s",
              kek_text_after_name(listing->why.text, config->name), seen);
}

/* ---- one that did ---- */

/* Of the whole configuration's provider. */
static struct doctor_token *token_of(struct doctor *doctor, size_t root, size_t provider)
{
    const struct kek_config *config = doctor->config;
    size_t first = config->root_count > 1 ? config->roots[root].first_provider : 0;
    return &doctor->tokens[first + provider];
}

static void note_token(const struct kek_pool_provider *status, struct doctor_token *token)
{
    token->answered = true;
    token->max_sessions = status->max_sessions;
    kek_text_copy(token->serial, sizeof token->serial, status->serial);
    kek_text_copy(token->model, sizeof token->model, status->model);
}

/* Of one that has no version, where another has: whose token that is. */
static void name_holder(const struct keys *keys, size_t provider, char text[static HOLDER])
{
    char token[REMARKS_TOKEN];
    text[0] = '\0';
    for (size_t p = 0; p < keys->config->provider_count && keys->listings[provider].count == 0;
         p++) {
        const struct listing *other = &keys->listings[p];
        if (other->rc == KEK_OK && other->count > 0) {
            remarks_token(keys, p, token);
            snprintf(text, HOLDER, ", and %s shows %s", token,
                     kek_counted(other->count, "version").text);
            return;
        }
    }
}

static void say_token(struct doctor *doctor, const struct keys *keys, size_t provider,
                      struct doctor_token *token)
{
    struct kek_pool_provider status;
    char subject[SUBJECT], holder[HOLDER];
    kek_pool_provider_get(keys->pool, provider, &status);
    snprintf(subject, sizeof subject, "token of %s", name_of(keys, provider));
    if (keys_pin_count_low(keys, provider)) {
        lines_add(
            &doctor->lines, DOCTOR_WARN, subject,
            "find who tries a wrong PIN, and have the token's officer set the count back",
            "the token said, before it was logged in to now, that its PIN had been tried wrongly "
            "before: few tries were left");
    }
    name_holder(keys, provider, holder);
    lines_add(&doctor->lines, DOCTOR_OK, subject, NULL,
              "%s%s%s (serial %s) by %s: it starts, logs in and shows %s%s", status.model,
              status.model[0] == '\0' ? "" : " ", status.label, status.serial, status.library,
              kek_counted(keys->listings[provider].count, "version").text, holder);
    note_token(&status, token);
}

/* Nothing is wrong with the key. */
static bool is_of_other_strategy(const struct kek_version *version)
{
    return !version->eligible && version->refused_for == KEK_REFUSAL_STRATEGY;
}

static bool has_other_strategy(const struct listing *listing)
{
    bool has = false;
    for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
        has = has || is_of_other_strategy(&listing->versions[i]);
    }
    return has;
}

/* That setting refuses all keys alike: they are spoken of once. */
static void judge_refused(struct doctor *doctor, const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    char todo[LINES_TODO], subject[SUBJECT];
    bool told = false;
    snprintf(subject, sizeof subject, "keys of %s", name_of(keys, provider));
    for (size_t i = 0; i < listing->count; i++) {
        const struct kek_version *version = &listing->versions[i];
        bool by_setting = is_of_other_strategy(version);
        if (!version->eligible && !(by_setting && told)) {
            doctor_user_command(doctor, todo, "key adopt %s # all that is wrong with it",
                                version->label);
            if (by_setting) {
                lines_todo(todo, "in %s, provider %s: strategy: auto", keys->config->path,
                           name_of(keys, provider));
                told = true;
            }
            lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo,
                      "version %" PRIu32 " (%s) is not used: %s", version->number, version->label,
                      version->refusal);
        }
    }
}

/* By the newest that may wrap. */
static void judge_work(struct doctor *doctor, struct keys *keys, size_t provider,
                       struct doctor_root *root)
{
    const struct listing *listing = &keys->listings[provider];
    const struct kek_version *newest = NULL;
    enum kek_wrap_alg alg = KEK_WRAP_NONE;
    struct kek_why why;
    char todo[LINES_TODO], subject[SUBJECT];
    for (size_t i = 0; i < listing->count; i++) {
        const struct kek_version *version = &listing->versions[i];
        bool fit = version->eligible && version->can_wrap && version->can_unwrap;
        newest = fit && (newest == NULL || version->number > newest->number) ? version : newest;
    }
    if (newest == NULL) {
        return; /* the remarks say it */
    }
    root->newest = newest->number > root->newest ? newest->number : root->newest;
    snprintf(subject, sizeof subject, "keys of %s", name_of(keys, provider));
    doctor_user_command(doctor, todo, "probe --provider %s # what the token can do",
                        name_of(keys, provider));
    enum kek_rc rc = keys_round_trip(keys, provider, &newest->id, &alg, &why);
    root->wraps = root->wraps || rc == KEK_OK;
    if (rc == KEK_OK) {
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL,
                  "version %" PRIu32 " wraps a data key and unwraps it, by %s", newest->number,
                  kek_wrap_alg_name(alg));
    } else {
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "version %" PRIu32 ": %s",
                  newest->number, kek_text_after_name(why.text, name_of(keys, provider)));
    }
}

/* ---- all together ---- */

static bool is_empty(const struct keys *keys)
{
    struct kek_generation last;
    struct kek_why why;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (keys->listings[p].count > 0) {
            return false;
        }
    }
    return remarks_primary(keys, &last, &why) == REMARKS_PRIMARY_NONE;
}

/* What this node has on record is not this configuration's, or is damaged.  False: it is neither. */
static bool say_record(const struct doctor *doctor, const struct keys *keys,
                       char todo[static LINES_TODO])
{
    struct kek_generation last;
    struct kek_why why;
    struct kek_keyring_record record;
    char shown[PATH_MAX];
    if (remarks_primary(keys, &last, &why) != REMARKS_PRIMARY_UNREAD) {
        return false;
    }
    kek_keyring_record_look(keys->config, &record);
    if (why.reason == KEK_REASON_RECORD_CONTEXT) {
        lines_todo(todo,
                   "in %s: context: %s # to rename it on purpose: context_accept: [%s] "
                   "(docs/operations.md, state_dir)",
                   keys->config->path, record.context, record.context);
        return true;
    }
    if (why.reason != KEK_REASON_RECORD_DAMAGED) {
        return false;
    }
    lines_quote(record.path, shown, sizeof shown);
    doctor_give(doctor, todo,
                "install -m 0600 -o %s -g %s \"${BACKUP:?}\" %s # its backup, or another node's, "
                "before kekd starts: docs/operations.md, state_dir",
                doctor->who.name, doctor->who.group, shown);
    return true;
}

/* The version that this node announced last is on no provider that answers.  False: it is on one, or nothing is on record. */
static bool say_gone(const struct doctor *doctor, const struct keys *keys,
                     char todo[static LINES_TODO])
{
    struct kek_generation last;
    struct kek_why why;
    if (remarks_primary(keys, &last, &why) != REMARKS_PRIMARY_GONE) {
        return false;
    }
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (keys->listings[p].rc != KEK_OK) {
            lines_todo(todo, "the line of token of %s first: that one may have it",
                       name_of(keys, p));
            return true;
        }
    }
    lines_todo(todo,
               "restore the key of version %" PRIu32 " from its backup (docs/operations.md, "
               "Backup), and make none; where it is the wrong token: in %s, token= and serial= in "
               "uri: of the right one",
               last.numbers[0], doctor->config->path);
    return true;
}

/* The option that names the root, where there are several. */
static void say_what_to_do(const struct doctor *doctor, const struct keys *keys,
                           char todo[static LINES_TODO])
{
    char option[SUBJECT] = "", other[KEK_PROVIDER_OTHER_LEN_MAX];
    char beside[KEK_KEYRING_NAME_TEXT], begins[LINES_TODO];
    bool several = keys->config->provider_count > 1;
    if (doctor->ctl.root != NULL) {
        snprintf(option, sizeof option, "--root %s ", doctor->ctl.root);
    }
    if (say_record(doctor, keys, todo) || say_gone(doctor, keys, todo)) {
        return;
    }
    if (!is_empty(keys)) {
        doctor_user_command(doctor, todo, "%skey list # each version on each provider", option);
    } else if (kek_keyring_beside(keys->config, beside)) {
        doctor_user_command(doctor, begins, "%skey generate --new-keyring%s%s", option,
                            several ? " --provider " : "", several ? name_of(keys, 0) : "");
        lines_todo(todo, "in %s: keyring: %s # or, where %s is to begin here: %s",
                   keys->config->path, beside, keys->config->keyring, begins);
    } else if (remarks_misspelt(keys, other)) {
        lines_todo(todo, "in %s: keyring: %s", keys->config->path, other);
    } else {
        doctor_user_command(doctor, todo, "%skey generate%s%s", option,
                            several ? " --provider " : "", several ? name_of(keys, 0) : "");
    }
}

/* A key that one token has and another lacks. */
static void say_what_brings(const struct doctor *doctor, const struct keys *keys,
                            char todo[static LINES_TODO])
{
    char list[LINES_TODO];
    doctor_user_command(doctor, list, "%s", kek_command(keys->config->root, "key list").text);
    lines_todo(
        todo,
        "by the vendor's replication, or by a backup that is restored there "
        "(docs/operations.md, Changing the HSM), and make none; where it is the wrong token: "
        "in %s, token= and serial= in uri: of the right one; then %s",
        keys->config->path, list);
}

/* "keyring", or "keyring of ROOT" where there are several roots. */
static void name_subject(const struct doctor *doctor, const char *what,
                         char subject[static SUBJECT])
{
    const char *root = doctor->ctl.root;
    snprintf(subject, SUBJECT, "%s%s%s", what, root == NULL ? "" : " of ",
             root == NULL ? "" : root);
}

/* wraps: one of them seals, so that what the others lack stops nothing. */
static void judge_together(struct doctor *doctor, struct keys *keys, size_t answered, bool wraps)
{
    char todo[LINES_TODO], brings[LINES_TODO], subject[SUBJECT];
    struct destroy_back back;
    size_t all = keys->config->provider_count;
    bool empty = is_empty(keys); /* a line says it, and nothing is well of what is not there */
    say_what_to_do(doctor, keys, todo);
    name_subject(doctor, "keyring", subject);
    lines_hear(&doctor->lines, DOCTOR_WARN, subject,
               "a second token (its own uri) for one of them, or one provider less");
    size_t twins = remarks_same_token(keys);
    lines_hear(&doctor->lines, DOCTOR_FAIL, subject, todo);
    destroy_back_look(keys, &back);
    size_t found = remarks_say_lacks(keys);
    enum doctor_verdict verdict = wraps && found == 0 ? DOCTOR_WARN : DOCTOR_FAIL;
    say_what_brings(doctor, keys, brings);
    lines_hear(&doctor->lines, verdict, subject, brings);
    found += remarks_say_missing(keys, &back);
    lines_hear(&doctor->lines, verdict, subject, todo);
    found += remarks_say_differences(keys, &back);
    if (!empty && found + twins == 0 && back.count == 0) {
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL, "%s: %s", keys->config->keyring,
                  all == 1          ? "as it must be"
                  : answered == all ? "all providers have it alike"
                                    : "those that answer have it alike");
    }
    name_subject(doctor, "versions in use", subject);
    lines_hear(&doctor->lines, DOCTOR_FAIL, subject, todo);
    if (canary_say(keys) == 0 && !empty && !is_unread(keys)) {
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL,
                  "each of which this node has a witness opens it on every provider that answers");
    }
}

/* Until that setting is mended nobody can say what the keyring lacks. True: there is a line. */
static bool waits_for_strategy(struct doctor *doctor, const struct keys *keys)
{
    char subject[SUBJECT], todo[LINES_TODO];
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (has_other_strategy(&keys->listings[p])) {
            name_subject(doctor, "keyring", subject);
            lines_todo(todo, "the line of keys of %s first", name_of(keys, p));
            lines_add(&doctor->lines, DOCTOR_UNSEEN, subject, todo,
                      "not looked at: by its strategy %s uses no key that is there for another",
                      name_of(keys, p));
            return true;
        }
    }
    return false;
}

/* Does one of its tokens make the audit log's MACs?  The listings are gone then. */
static void find_mac_key(struct doctor *doctor, struct keys *keys)
{
    const struct kek_config *config = keys->config;
    bool asks = doctor->config->audit_file != NULL, several = config->provider_count > 1;
    for (size_t p = 0; asks && p < config->provider_count; p++) {
        if (doctor->mac_provider[0] != '\0' || keys->listings[p].rc != KEK_OK) {
            continue;
        }
        if (keys_makes_macs(keys, p)) {
            kek_text_copy(doctor->mac_provider, sizeof doctor->mac_provider, name_of(keys, p));
        } else if (doctor->mac_todo[0] == '\0' &&
                   strcmp(config->providers[p].type, "pkcs11") == 0) {
            doctor_user_command(doctor, doctor->mac_todo,
                                "%s%s%s # makes a key in the token, whose MACs another chain would "
                                "lack: docs/operations.md, The audit log",
                                kek_command(config->root, "audit generate").text,
                                several ? " --provider " : "", several ? name_of(keys, p) : "");
        }
    }
}

static void judge_root(struct doctor *doctor, size_t at)
{
    struct doctor_root *root = &doctor->roots[at];
    KEYS_AUTO struct keys keys;
    char todo[LINES_TODO], subject[SUBJECT];
    lines_todo(todo, "correct what it names in %s, or install it", doctor->ctl.config_path);
    lines_hear(&doctor->lines, DOCTOR_FAIL, "workers", todo);
    if (!keys_open(&keys, &doctor->ctl) || !keys_start(&keys, false)) {
        return;
    }
    root->looked = true;
    root->answered = keys_look(&keys, false);
    if (doctor->config->root_count > 1) {
        root_twins_take(&doctor->twins, doctor->config, at, &keys);
    }
    for (size_t p = 0; p < keys.config->provider_count; p++) {
        doctor->lines.provider = name_of(&keys, p);
        if (keys.listings[p].rc != KEK_OK) {
            say_failed(doctor, &keys, p);
            continue;
        }
        say_token(doctor, &keys, p, token_of(doctor, at, p));
        judge_refused(doctor, &keys, p);
        judge_work(doctor, &keys, p, root);
    }
    doctor->lines.provider = "";
    if (root->answered == 0) {
        name_subject(doctor, "keyring", subject);
        lines_add(&doctor->lines, DOCTOR_UNSEEN, subject, "the lines of its tokens first",
                  "not looked at: no provider answers");
        return;
    }
    if (!waits_for_strategy(doctor, &keys)) {
        judge_together(doctor, &keys, root->answered, root->wraps);
    }
    find_mac_key(doctor, &keys);
}

/* What this process cannot start, though kekd can. */
static bool are_away(struct doctor *doctor)
{
    char todo[LINES_TODO];
    doctor_command(doctor, todo, "key list # as root");
    for (size_t i = 0; i < doctor->config->provider_count; i++) {
        const struct kek_config_provider *provider = &doctor->config->providers[i];
        bool other = doctor->became && (provider->user != NULL || provider->groups != NULL);
        bool away = pins_are_away(provider);
        if (other || away) {
            lines_add(&doctor->lines, DOCTOR_UNSEEN, "tokens", todo, "not looked at: %s %s",
                      provider->name,
                      other ? "has workers of another user, whom only root can start: kekctl key "
                              "list as root asks them"
                            : "has a PIN that systemd gives kekd alone: with its folder in "
                              "CREDENTIALS_DIRECTORY, doctor asks it");
            return true;
        }
    }
    return false;
}

static void judge_roots(struct doctor *doctor)
{
    size_t count = doctor->config->root_count;
    for (size_t i = 0; i < count && count > 1; i++) {
        doctor->ctl.root = doctor->lines.root = doctor->config->roots[i].name;
        judge_root(doctor, i);
    }
    if (count > 1) {
        doctor->ctl.root = NULL;
        doctor->lines.root = "";
        return;
    }
    judge_root(doctor, 0);
}

void doctor_tokens(struct doctor *doctor)
{
    char todo[LINES_TODO];
    if (doctor_record_waits(doctor, todo)) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, "tokens", todo,
                  "not looked at: no login is put on a record that may be the wrong one");
    } else if (!doctor->state_good) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, "tokens", "the line of state_dir first",
                  "not looked at: no PIN is tried where state_dir cannot say that it was refused");
    } else if (!are_away(doctor)) {
        judge_roots(doctor);
    }
}
