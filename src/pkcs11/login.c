#include "p11.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>

#define WRONG_BEFORE (CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED)

/* A PIN that the token has already refused too often is not tried: the last try is a person's.  A token
 * that is away is found out here, so that C_Login is not sent to it; *flags are the token's before it. */
static bool may_try(struct kek_provider *provider, CK_FLAGS *flags,
                    struct kek_provider_failure *failure)
{
    CK_TOKEN_INFO info;
    struct kek_p11_outcome outcome = kek_p11_get_token_info(provider->f, provider->slot, &info);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK,
                               outcome);
    }
    if ((info.flags & CKF_USER_PIN_LOCKED) != 0) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__PIN_REFUSED,
                            "the PIN of token '%s' is locked (CKF_USER_PIN_LOCKED): not tried",
                            provider->label);
    }
    if ((info.flags & CKF_USER_PIN_FINAL_TRY) != 0) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__PIN_REFUSED,
                            "one more wrong PIN locks token '%s' (CKF_USER_PIN_FINAL_TRY): not "
                            "tried",
                            provider->label);
    }
    *flags = info.flags;
    return true;
}

/* Values of C_Login by which the token cannot have looked at the PIN: it was not there, or there was no
 * session to try it in (PKCS#11 3.1, 5.1.2 and 5.6.8).  Of every other value one cannot know: vendors say
 * GENERAL_ERROR, DEVICE_ERROR and numbers of their own for a wrong PIN too. */
static bool proves_no_try(CK_RV rv)
{
    switch (rv) {
    case CKR_TOKEN_NOT_PRESENT:
    case CKR_TOKEN_NOT_RECOGNIZED:
    case CKR_DEVICE_REMOVED:
    case CKR_SLOT_ID_INVALID:
    case CKR_CRYPTOKI_NOT_INITIALIZED:
    case CKR_SESSION_CLOSED:
    case CKR_SESSION_HANDLE_INVALID:
        return true;
    default:
        return false;
    }
}

/* Does the token count a wrong PIN that it did not count before?  That it says nothing proves nothing: not
 * every token counts, and one whose link broke may have counted.  Nor does it matter that it is away now: an
 * HSM may end the connection of whoever sent a wrong PIN. */
static bool counts_a_wrong_pin(struct kek_provider *provider, CK_FLAGS before)
{
    CK_TOKEN_INFO info;
    return kek_p11_good(kek_p11_get_token_info(provider->f, provider->slot, &info)) &&
           (info.flags & ~before & WRONG_BEFORE) != 0;
}

static bool fail_login(struct kek_provider *provider, CK_FLAGS before,
                       struct kek_p11_outcome outcome, struct kek_provider_failure *failure)
{
    if (proves_no_try(outcome.rv)) {
        return kek_p11_fail_rv(failure, KEK__PROVIDER__STEP__TOKEN, outcome);
    }
    if (kek_p11_class_of(outcome.rv) != KEK_P11_PIN && counts_a_wrong_pin(provider, before)) {
        return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__LOGIN,
                               KEK__PROVIDER__CAUSE__PIN_REFUSED, outcome);
    }
    /* SoftHSM says so too to a process that read the token's file while another one, which logged in,
     * wrote it: another process is told better. */
    bool had_none = outcome.rv == CKR_USER_PIN_NOT_INITIALIZED;
    return kek_p11_fail_rv(
        failure, had_none ? KEK__PROVIDER__STEP__TOKEN : KEK__PROVIDER__STEP__LOGIN, outcome);
}

/* A worker is killed when kekd dies, except here: SoftHSM rewrites its token file in place at each
 * login, truncated first, and a process killed in between leaves a token that nobody can open. */
static struct kek_p11_outcome log_in_unharmed(struct kek_provider *provider, struct kek_bytes pin)
{
    pid_t parent = getppid();
    (void)prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
    struct kek_p11_outcome outcome =
        kek_p11_login(provider->f, provider->anchor.handle, pin.data, pin.len);
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
    if (getppid() != parent) {
        _exit(0); /* what would have been a signal; exit handlers of modules crash */
    }
    return outcome;
}

/* Only a user may make a private object (PKCS#11 section 4.4), so a token that lets a session make one
 * needs no login. To ask in this way is no try of the PIN, which a token without one would refuse (NSS:
 * CKR_PIN_INCORRECT). */
static bool is_open_to_all(const struct kek_provider *provider)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    uint8_t value[KEK_DATA_KEY_LEN] = {0};
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof class}, {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},       {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &no, sizeof no},   {CKA_EXTRACTABLE, &yes, sizeof yes},
        {CKA_VALUE, value, sizeof value},
    };
    CK_OBJECT_HANDLE object;
    CK_SESSION_HANDLE session = provider->anchor.handle;
    if (!kek_p11_good(kek_p11_create_object(provider->f, session, attributes,
                                            sizeof attributes / sizeof attributes[0], &object))) {
        return false;
    }
    (void)kek_p11_destroy_object(provider->f, session, object);
    return true;
}

/* A token that asks for no login says that it knows of none. */
static bool has_no_pin(CK_RV rv)
{
    return rv == CKR_USER_PIN_NOT_INITIALIZED || rv == CKR_FUNCTION_NOT_SUPPORTED ||
           rv == CKR_USER_TYPE_INVALID;
}

static bool log_in(struct kek_provider *provider, struct kek_provider_failure *failure)
{
    if (!provider->needs_login && (provider->pin == NULL || is_open_to_all(provider))) {
        kek_secret_free(provider->pin);
        provider->pin = NULL;
        return true;
    }
    CK_FLAGS before = 0;
    if (!may_try(provider, &before, failure)) {
        return false;
    }
    struct kek_bytes pin = {0};
    if (provider->pin != NULL) {
        pin = kek_secret_bytes(provider->pin);
    }
    struct kek_p11_outcome outcome = log_in_unharmed(provider, pin);
    kek_secret_free(provider->pin);
    provider->pin = NULL;
    if (!provider->needs_login && has_no_pin(outcome.rv)) {
        return true;
    }
    if (!kek_p11_good(outcome) && outcome.rv != CKR_USER_ALREADY_LOGGED_IN) {
        return fail_login(provider, before, outcome, failure);
    }
    return true;
}

static enum kek_wrap_alg proven_alg(const struct kek_p11_table *table)
{
    enum kek_wrap_alg alg = KEK_WRAP_NONE;
    for (size_t i = 0; i < table->count; i++) {
        /* In order of their numbers: the newest one's counts. */
        if (table->entries[i].version.eligible && table->entries[i].known.len > 0) {
            alg = table->entries[i].way->alg;
        }
    }
    return alg;
}

/* Read-write, which some libraries demand even for session objects (CloudHSM); read-only where the token
 * gives nothing else. */
static struct kek_p11_outcome begin(struct kek_provider *provider)
{
    struct kek_p11_outcome outcome = kek_p11_session_begin(&provider->anchor);
    if (outcome.rv == CKR_TOKEN_WRITE_PROTECTED ||
        (!kek_p11_good(outcome) && provider->write_protected)) {
        provider->read_only = true;
        outcome = kek_p11_session_begin(&provider->anchor);
    }
    return outcome;
}

bool kek_p11_login_and_prove(struct kek_provider *provider, struct kek_provider_versions *versions,
                             enum kek_wrap_alg *alg, struct kek_provider_failure *failure)
{
    struct kek_provider_session *anchor = &provider->anchor;
    anchor->provider = provider;
    provider->shared = calloc(1, sizeof *provider->shared);
    if (provider->shared == NULL) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__BUSY,
                            "no memory for a key list");
    }
    struct kek_p11_outcome outcome = begin(provider);
    if (!kek_p11_good(outcome)) {
        return kek_p11_session_fail(provider, KEK__PROVIDER__STEP__TOKEN, outcome, failure);
    }
    if (!log_in(provider, failure) || !kek_p11_scan(anchor, KEK__PROVIDER__STEP__PROBE, failure) ||
        !kek_p11_prove_all(anchor, failure)) {
        return false;
    }
    kek_p11_compare_copies(anchor);
    kek_p11_session_versions(anchor, versions);
    if (versions->count == 0) {
        memcpy(versions->others, anchor->table.others, sizeof versions->others);
        versions->more_others = anchor->table.more_others;
    }
    *alg = proven_alg(&anchor->table);
    return true;
}
