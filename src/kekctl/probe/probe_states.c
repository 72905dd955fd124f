#include "probe_states.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/output.h"
#include "kekctl/rig/leftovers.h"

#define DESTROY_TRIES 3

static const struct {
    enum kek_state from, to;
} changes[PROBE_CHANGES] = {
    {KEK_STATE_PRE_ACTIVE, KEK_STATE_ACTIVE},     {KEK_STATE_ACTIVE, KEK_STATE_DEACTIVATED},
    {KEK_STATE_DEACTIVATED, KEK_STATE_ACTIVE},    {KEK_STATE_DEACTIVATED, KEK_STATE_SUSPENDED},
    {KEK_STATE_SUSPENDED, KEK_STATE_DEACTIVATED}, {KEK_STATE_DEACTIVATED, KEK_STATE_COMPROMISED},
};

struct trial {
    struct rig rig; /* RIG_OFFICER changes the key, RIG_RUNNING was there before, RIG_FRESH not */
    const struct kek_config *config;
    size_t provider;
    struct leftovers leftovers;
    struct leftovers_found found; /* of earlier probes */
    struct probe_states *states;
    struct kek_id kek_id;
    enum kek_state now; /* of the key, as far as the token took it */
    enum kek_wrap_alg alg;
    size_t blob_len;
    uint8_t blob[KEK_WRAPPED_MAX];  /* that the key wrapped */
    struct kek_provider_tried last; /* what the running process showed */
    bool over;                      /* something failed that is no answer of the token's */
    char why[PROBE_SAYS];           /* why what is left is not tried */
    struct kek_why cause;           /* the native code of that */
};

static const struct rig_answer *ask(struct trial *trial, enum rig_role role, enum kek_pool_op op,
                                    enum kek_state state)
{
    struct kek_pool_request request = {
        .op = op, .kek_id = trial->kek_id, .number = 1, .state = state, .fresh = role == RIG_FRESH};
    if (op == KEK_POOL_TRY_KEY) {
        request.alg = trial->alg == KEK_WRAP_NONE ? KEK_WRAP_AES_KW : trial->alg;
        request.blob = kek_bytes(trial->blob, trial->blob_len);
        request.copy = role == RIG_OFFICER;
    }
    return rig_ask(&trial->rig, role, &request);
}

static void stop(struct trial *trial, const char *what, const struct kek_why *why)
{
    trial->over = true;
    trial->cause = *why;
    snprintf(trial->why, sizeof trial->why, "%s: %s", what, why->text);
}

/* The key has to be active once, so that there is something to unwrap later. */
static bool wrap_once(struct trial *trial)
{
    static const char *const what = "wrapping a data key";
    KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (data_key == NULL) {
        struct kek_why why;
        kek_fail(&why, KEK_NO_MEMORY, "no locked memory for a data key");
        stop(trial, what, &why);
        return false;
    }
    const struct rig_answer *answer = rig_wrap(&trial->rig, RIG_OFFICER, &trial->kek_id, data_key);
    if (answer->rc != KEK_OK) {
        stop(trial, what, &answer->why);
        return false;
    }
    trial->alg = answer->alg;
    trial->blob_len = answer->blob_len;
    memcpy(trial->blob, answer->blob, answer->blob_len);
    return true;
}

/* What the state forbids the token must refuse, what it allows it must do; `refusal` is the last no. */
static bool acts_on(const struct kek_provider_tried *tried, enum kek_state state,
                    const struct kek_provider_attempt **deviation,
                    const struct kek_provider_attempt **refusal)
{
    const struct {
        const struct kek_provider_attempt *attempt;
        bool allowed;
    } uses[] = {{&tried->unwrap, state != KEK_STATE_SUSPENDED},
                {&tried->wrap, state == KEK_STATE_ACTIVE}};
    *deviation = *refusal = NULL;
    for (size_t i = 0; i < 2; i++) {
        if (uses[i].attempt->made && uses[i].attempt->done != uses[i].allowed) {
            *deviation = uses[i].attempt;
        }
        *refusal = uses[i].attempt->made && !uses[i].attempt->done ? uses[i].attempt : *refusal;
    }
    return *deviation == NULL;
}

static bool shows(const struct kek_provider_tried *tried, enum kek_state state)
{
    return tried->shown && tried->flag_wrap == (state == KEK_STATE_ACTIVE) &&
           tried->flag_unwrap == (state != KEK_STATE_SUSPENDED) &&
           tried->compromised == (state == KEK_STATE_COMPROMISED);
}

/* A process that shows what it showed before the change sees nothing, whatever that is. */
static bool notices(struct trial *trial, const struct kek_provider_tried *tried,
                    enum kek_state state)
{
    const struct kek_provider_tried *last = &trial->last;
    bool same = tried->shown == last->shown && tried->flag_wrap == last->flag_wrap &&
                tried->flag_unwrap == last->flag_unwrap && tried->compromised == last->compromised;
    trial->last = *tried;
    return !same && shows(tried, state);
}

static void judge(struct trial *trial, const struct kek_provider_tried *running,
                  const struct kek_provider_tried *fresh, struct probe_change *change)
{
    const struct kek_provider_attempt *old_deviation, *deviation, *refusal, *old_refusal;
    change->running = notices(trial, running, change->to) ? PROBE_YES : PROBE_NO;
    change->fresh = shows(fresh, change->to) ? PROBE_YES : PROBE_NO;
    if (trial->blob_len == 0) {
        return;
    }
    bool old = acts_on(running, change->to, &old_deviation, &old_refusal);
    bool new = acts_on(fresh, change->to, &deviation, &refusal);
    const struct kek_provider_tried *odd = new ? running : fresh;
    deviation = new ? old_deviation : deviation;
    change->enforced = old && new ? PROBE_YES : new ? PROBE_FRESH_ONLY : PROBE_NO;
    if (deviation == NULL) {
        snprintf(change->enforced_says, sizeof change->enforced_says, "%s",
                 refusal == NULL ? "" : refusal->text);
    } else if (deviation->done) {
        snprintf(change->enforced_says, sizeof change->enforced_says, "the token %s all the same",
                 deviation == &odd->wrap ? "wraps" : "unwraps");
    } else {
        snprintf(change->enforced_says, sizeof change->enforced_says, "%s", deviation->text);
    }
}

/* The running process is asked first, before anything tells it of the change. */
static void look_at(struct trial *trial, struct probe_change *change)
{
    const struct rig_answer *answer = ask(trial, RIG_RUNNING, KEK_POOL_TRY_KEY, 0);
    if (answer->rc != KEK_OK) {
        stop(trial, "a process that was there before", &answer->why);
        return;
    }
    const struct kek_provider_tried running = answer->tried;
    answer = ask(trial, RIG_FRESH, KEK_POOL_TRY_KEY, 0);
    if (answer->rc != KEK_OK) {
        stop(trial, "a fresh process", &answer->why);
        return;
    }
    judge(trial, &running, &answer->tried, change);
}

static void try_change(struct trial *trial, struct probe_change *change)
{
    const struct rig_answer *answer = ask(trial, RIG_OFFICER, KEK_POOL_SET_STATE, change->to);
    snprintf(change->says, sizeof change->says, "%s", answer->why.text);
    change->code = answer->why.native == KEK_NATIVE_PKCS11 ? answer->why.code : 0;
    if (answer->rc == KEK_UNIMPLEMENTED) {
        change->taken = PROBE_NO;
        return;
    }
    if (answer->rc != KEK_OK) {
        stop(trial, "changing the key", &answer->why);
        return;
    }
    change->says[0] = '\0';
    change->taken = PROBE_YES;
    trial->now = change->to;
    if (change->to == KEK_STATE_ACTIVE && trial->blob_len == 0 && !wrap_once(trial)) {
        return;
    }
    look_at(trial, change);
}

static void try_changes(struct trial *trial)
{
    for (size_t i = 0; i < PROBE_CHANGES; i++) {
        struct probe_change *change = &trial->states->changes[i];
        /* The row before may have left it active. */
        if (!trial->over && change->from == KEK_STATE_DEACTIVATED &&
            trial->now == KEK_STATE_ACTIVE &&
            ask(trial, RIG_OFFICER, KEK_POOL_SET_STATE, KEK_STATE_DEACTIVATED)->rc == KEK_OK) {
            trial->now = KEK_STATE_DEACTIVATED;
        }
        if (trial->over) {
            snprintf(change->says, sizeof change->says, "%s", trial->why);
        } else if (trial->now != change->from && change->to != KEK_STATE_COMPROMISED) {
            snprintf(change->says, sizeof change->says, "the key is still %s",
                     kek_state_name(trial->now));
        } else {
            try_change(trial, change);
        }
    }
}

static void try_copy(struct trial *trial)
{
    struct probe_states *states = trial->states;
    if (!trial->over) {
        const struct rig_answer *answer = ask(trial, RIG_OFFICER, KEK_POOL_TRY_KEY, 0);
        states->copied = answer->rc == KEK_OK && answer->tried.copy.made;
        states->copy = answer->tried;
        snprintf(states->copy_says, sizeof states->copy_says, "%s", answer->why.text);
    } else {
        snprintf(states->copy_says, sizeof states->copy_says, "%s", trial->why);
    }
}

/* Gone is what a fresh process does not show.  What nobody could look at is named as well. */
static void clean_up(struct trial *trial)
{
    struct kek_why destroyed = {.rc = KEK_OK}, looked = {.rc = KEK_OK};
    struct probe_states *states = trial->states;
    char id[KEK_ID_TEXT];
    kek_id_format(&trial->kek_id, id);
    trial->rig.interruptible = trial->rig.interrupted;
    for (int i = 0; i < DESTROY_TRIES && looked.rc == KEK_OK; i++) {
        destroyed = ask(trial, RIG_OFFICER, KEK_POOL_DESTROY, 0)->why;
        const struct rig_answer *answer = ask(trial, RIG_FRESH, KEK_POOL_LIST, 0);
        looked = answer->why;
        if (answer->rc == KEK_OK && rig_version(answer, &trial->kek_id) == NULL) {
            return;
        }
    }
    snprintf(states->left, sizeof states->left,
             "label %s.v1 or %s.v1.compromised, CKA_ID %s (%s%.150s%s%.150s)", trial->rig.keyring,
             trial->rig.keyring, id, destroyed.rc == KEK_OK ? "it was destroyed" : "",
             destroyed.text,
             looked.rc == KEK_OK ? ", it is still there" : ", and no fresh process can look: ",
             looked.text);
}

/* False: it could not be put on record, so no key is made. */
static bool begin(struct trial *trial)
{
    const struct kek_audit_act act = {.event = "trial",
                                      .provider = trial->rig.pools[RIG_OFFICER].provider.name};
    if (login_log_begin(&trial->rig.logins, NULL, &act)) {
        return true;
    }
    trial->over = trial->states->untried = true;
    snprintf(trial->why, sizeof trial->why, "it could not be put on record");
    try_changes(trial);
    try_copy(trial);
    return false;
}

/* Whatever the token's answers were: did it come to its end, and is nothing left? */
static void put_end(struct trial *trial)
{
    const struct probe_states *states = trial->states;
    struct kek_pool_provider status;
    struct kek_why why = {.rc = KEK_OK};
    rig_status(&trial->rig, RIG_OFFICER, &status);
    if (states->left[0] != '\0') {
        kek_fail(&why, KEK_INTERNAL, "a key may be left: %s", states->left);
    } else if (trial->rig.interrupted > 0) {
        kek_fail(&why, KEK_CANCELLED, "interrupted; no key is left");
    } else if (trial->over) {
        why = trial->cause;
        kek_text_copy(why.text, sizeof why.text, trial->why);
    }
    const struct kek_audit_act act = {
        .event = "trial",
        .outcome = states->left[0] != '\0' ? "unclear"
                   : why.rc != KEK_OK      ? "failed"
                                           : "ok",
        .provider = status.name,
        .token = status.serial[0] == '\0' ? NULL : status.serial,
        .why = why.rc == KEK_OK ? NULL : &why,
    };
    login_log_end(&trial->rig.logins, NULL, &act);
}

static void make(struct trial *trial)
{
    struct kek_pool_provider token;
    struct kek_why why;
    rig_status(&trial->rig, RIG_OFFICER, &token);
    if (leftovers_record(&trial->leftovers, trial->config, &token, &why) != KEK_OK) {
        trial->states->untried = true;
        stop(trial, "no key is made that is not on record", &why);
        return;
    }
    const struct rig_answer *answer =
        ask(trial, RIG_OFFICER, KEK_POOL_GENERATE, KEK_STATE_PRE_ACTIVE);
    if (answer->rc != KEK_OK) {
        stop(trial, "no key could be made", &answer->why);
        return;
    }
    answer = ask(trial, RIG_RUNNING, KEK_POOL_LIST, 0);
    if (answer->rc != KEK_OK) {
        stop(trial, "a second process", &answer->why);
    }
}

static void run(struct trial *trial)
{
    if (!begin(trial)) {
        return;
    }
    leftovers_remove(&trial->leftovers, &trial->rig, trial->config, trial->provider, &trial->found);
    make(trial);
    try_changes(trial);
    try_copy(trial);
    clean_up(trial);
    put_end(trial);
}

/* What cannot be told where the token does not answer its rows say. */
static void say_leftovers(const struct trial *trial, const char *name)
{
    const struct ctl *ctl = trial->rig.ctl;
    const struct leftovers_found *found = &trial->found;
    bool is_stuck = found->stuck[0] != '\0' && !trial->over;
    trial->states->leftovers =
        is_stuck || found->kept[0] != '\0' || found->others[0] != '\0' || found->unseen;
    if (found->removed > 0) {
        ctl_say(ctl, "%s: keys of a probe that was cut off, destroyed now: %zu", name,
                found->removed);
    }
    if (is_stuck) {
        ctl_say(ctl,
                "%s: what a probe that was cut off left cannot be destroyed: %s; run kekctl probe "
                "again, or use the vendor's tools",
                name, found->stuck);
    }
    if (found->others[0] != '\0') {
        ctl_say(ctl,
                "%s: keys of a probe that is not on record here and began within the last day are "
                "left alone: %s; unless it is under way on another node, run kekctl probe there, "
                "or here in a day",
                name, found->others);
    }
    if (found->kept[0] != '\0') {
        ctl_say(ctl, "%s: left alone: %s; what nobody needs the vendor's tools destroy", name,
                found->kept);
    }
    if (found->unseen) {
        ctl_say(ctl,
                "%s: there may be more such keys: only %d of the keyrings that kekctl made to try "
                "this token by were looked at; kekctl conformance destroys what its own runs left",
                name, KEK_PROVIDER_OTHERS_MAX);
    }
}

void probe_states(const struct ctl *ctl, const struct kek_config *config, size_t provider,
                  struct probe_states *states)
{
    struct trial trial = {.config = config,
                          .provider = provider,
                          .states = states,
                          .now = KEK_STATE_PRE_ACTIVE,
                          .alg = KEK_WRAP_NONE,
                          .last = {.shown = true, .flag_unwrap = true}};
    const char *name = config->providers[provider].name;
    *states = (struct probe_states){.copied = false};
    for (size_t i = 0; i < PROBE_CHANGES; i++) {
        states->changes[i].from = changes[i].from;
        states->changes[i].to = changes[i].to;
    }
    if (!leftovers_id(&trial.kek_id)) {
        ctl_say(ctl, "no random numbers");
        states->failed = true;
        return;
    }
    if (!leftovers_begin(&trial.leftovers, &leftovers_of_probe, ctl, config)) {
        states->failed = true;
        return;
    }
    if (rig_open(&trial.rig, ctl, config, provider, trial.leftovers.keyring, NULL, 0)) {
        run(&trial);
        states->interrupted = trial.rig.interrupted > 0;
        say_leftovers(&trial, name);
    } else {
        states->failed = true;
    }
    leftovers_end(&trial.leftovers, config, states->left[0] == '\0');
    rig_close(&trial.rig);
    if (states->left[0] != '\0') {
        ctl_say(ctl,
                "%s: a key that was made for this probe may be left on the token: the next kekctl "
                "probe destroys it, or the vendor's tools: %s",
                name, states->left);
    }
}

static const char *word(enum probe_word word)
{
    static const char *const words[] = {[PROBE_UNTRIED] = "untried",
                                        [PROBE_YES] = "yes",
                                        [PROBE_NO] = "no",
                                        [PROBE_FRESH_ONLY] = "fresh"};
    return words[word];
}

/* "no: <why>" */
static json_t *says(const char *word, const char *why)
{
    char text[PROBE_SAYS + 32];
    snprintf(text, sizeof text, "%s%s%s", word, why[0] == '\0' ? "" : ": ", why);
    return output_text(text);
}

static json_t *change_row(const struct probe_change *change, const char *provider, bool for_people)
{
    char both[64];
    snprintf(both, sizeof both, "%s to %s", kek_state_name(change->from),
             kek_state_name(change->to));
    if (for_people) {
        bool taken = change->taken == PROBE_YES, looked = change->fresh != PROBE_UNTRIED;
        bool fresh_only = change->enforced == PROBE_FRESH_ONLY;
        return json_pack(
            "{s:s, s:s, s:o, s:o, s:s, s:s}", "provider", provider, "change", both, "taken",
            says(change->taken == PROBE_UNTRIED ? "not tried" : word(change->taken), change->says),
            "enforced",
            taken && change->enforced != PROBE_UNTRIED
                ? says(fresh_only ? "in fresh processes only" : word(change->enforced),
                       change->enforced_says)
                : output_text(""),
            "running", looked ? word(change->running) : "", "fresh",
            looked ? word(change->fresh) : "");
    }
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:I, s:s, s:o, s:s, s:s}", "provider", provider,
                     "from", kek_state_name(change->from), "to", kek_state_name(change->to),
                     "taken", word(change->taken), "says", output_text(change->says), "code",
                     (json_int_t)change->code, "enforced", word(change->enforced), "enforced_says",
                     output_text(change->enforced_says), "running", word(change->running), "fresh",
                     word(change->fresh));
}

static const char *copy_word(const struct probe_states *states)
{
    return !states->copied ? "untried" : states->copy.copy.done ? "yes" : "no";
}

static const char *copy_why(const struct probe_states *states)
{
    return states->copied ? states->copy.copy.text : states->copy_says;
}

static json_t *copy_row(const struct probe_states *states, const char *provider, bool for_people)
{
    const struct kek_provider_tried *copy = &states->copy;
    char text[256] = "";
    if (!for_people) {
        return json_pack("{s:s, s:s, s:o, s:I, s:o, s:b}", "provider", provider, "made",
                         copy_word(states), "says", output_text(copy_why(states)), "code",
                         (json_int_t)copy->copy.native, "lost", output_text(copy->lost), "reopened",
                         copy->reopened);
    }
    if (states->copied && copy->copy.done) {
        snprintf(text, sizeof text, "%s%s%s", copy->lost[0] == '\0' ? "keeps all" : "loses ",
                 copy->lost, copy->reopened ? "; may be told to wrap again" : "");
    }
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:s}", "provider", provider, "change",
                     "a copy of the key", "taken",
                     says(states->copied ? copy_word(states) : "not tried",
                          text[0] != '\0' ? text : copy_why(states)),
                     "enforced", "", "running", "", "fresh", "");
}

bool probe_states_rows(const struct probe_states *states, const char *provider, bool for_people,
                       json_t *rows, json_t *copies)
{
    for (size_t i = 0; i < PROBE_CHANGES; i++) {
        if (json_array_append_new(rows, change_row(&states->changes[i], provider, for_people)) !=
            0) {
            return false;
        }
    }
    return json_array_append_new(for_people ? rows : copies,
                                 copy_row(states, provider, for_people)) == 0;
}
