#include "p11.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "library.h"
#include "token.h"
#include "uri.h"

/* The string goes where vendors expect theirs: NSS calls the place LibraryParameters. The module may
 * keep the pointer. */
static bool initialize(CK_FUNCTION_LIST *f, const char *init_args,
                       struct kek_provider_failure *failure)
{
    char *reserved = init_args == NULL ? NULL : strdup(init_args);
    CK_C_INITIALIZE_ARGS args = {.flags = CKF_OS_LOCKING_OK, .pReserved = reserved};
    struct kek_p11_outcome outcome = kek_p11_initialize(f, &args);
    if (!kek_p11_good(outcome) && outcome.rv != CKR_CRYPTOKI_ALREADY_INITIALIZED) {
        free(reserved);
        return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__LINK,
                               outcome);
    }
    return true;
}

static void keep_texts(struct kek_provider *provider, const CK_INFO *library,
                       const CK_TOKEN_INFO *info)
{
    char description[sizeof library->libraryDescription + 1];
    kek_p11_text(info->label, sizeof info->label, provider->label);
    kek_p11_text(info->manufacturerID, sizeof info->manufacturerID, provider->manufacturer);
    kek_p11_text(info->model, sizeof info->model, provider->model);
    kek_p11_text(info->serialNumber, sizeof info->serialNumber, provider->serial);
    kek_p11_text(library->libraryDescription, sizeof library->libraryDescription, description);
    snprintf(provider->firmware, sizeof provider->firmware, "%u.%u", info->firmwareVersion.major,
             info->firmwareVersion.minor);
    snprintf(provider->library, sizeof provider->library, "%s %u.%u", description,
             library->libraryVersion.major, library->libraryVersion.minor);
}

/* Borrows the provider's texts. */
static void describe(struct kek_provider *provider, const CK_TOKEN_INFO *info,
                     Kek__Provider__Token *token)
{
    token->slot = provider->slot;
    token->serial = provider->serial;
    token->label = provider->label;
    token->manufacturer = provider->manufacturer;
    token->model = provider->model;
    token->firmware = provider->firmware;
    token->library = provider->library;
    token->pin_inode = provider->pin_file.inode;
    token->pin_mtime_ns = provider->pin_file.mtime_ns;
    token->pin_size = provider->pin_file.size;
    token->pin_path = provider->pin_file.path;
    token->pin_count_low = (info->flags & CKF_USER_PIN_COUNT_LOW) != 0;
    token->pin_final_try = (info->flags & CKF_USER_PIN_FINAL_TRY) != 0;
    token->pin_locked = (info->flags & CKF_USER_PIN_LOCKED) != 0;
    token->max_sessions = provider->max_sessions;
}

/* openCryptoki says "unlimited" by the largest number but one. */
static CK_ULONG known_limit(CK_ULONG limit)
{
    return limit < UINT32_MAX && limit != CK_EFFECTIVELY_INFINITE ? limit : 0;
}

static void keep_limits(struct kek_provider *provider, const CK_TOKEN_INFO *info)
{
    provider->write_protected = (info->flags & CKF_WRITE_PROTECTED) != 0;
    provider->max_sessions = known_limit(info->ulMaxSessionCount);
    /* Ours are read-write. */
    CK_ULONG of_these = known_limit(info->ulMaxRwSessionCount);
    if (!provider->write_protected && of_these != 0 &&
        (provider->max_sessions == 0 || of_these < provider->max_sessions)) {
        provider->max_sessions = of_these;
    }
}

/* A token that needs a login gets its PIN from the file, or from a PIN pad of its own. One that says it
 * needs none may do so wrongly: where there is a PIN, login.c finds out. */
static bool take_pin(struct kek_provider *provider, const char *source, const CK_TOKEN_INFO *info,
                     struct kek_provider_failure *failure)
{
    provider->needs_login = (info->flags & CKF_LOGIN_REQUIRED) != 0;
    if (source == NULL) {
        if (provider->needs_login && (info->flags & CKF_PROTECTED_AUTHENTICATION_PATH) == 0) {
            return kek_p11_fail(failure, KEK__PROVIDER__STEP__PIN_FILE,
                                KEK__PROVIDER__CAUSE__PIN_UNUSABLE,
                                "token '%s' needs a PIN and has no PIN pad, and the URI has no "
                                "pin-source: add pin-source=file:/path",
                                provider->label);
        }
        return true;
    }
    enum kek_rc rc = kek_pin_read(source, &provider->pin, &provider->pin_file, &failure->why);
    if (rc != KEK_OK) {
        failure->step = KEK__PROVIDER__STEP__PIN_FILE;
        failure->cause = KEK__PROVIDER__CAUSE__PIN_UNUSABLE;
        return false;
    }
    return true;
}

static void keep_hello(struct kek_provider *provider, const Kek__Provider__Hello *hello)
{
    snprintf(provider->keyring, sizeof provider->keyring, "%s", hello->keyring);
    provider->peak_sessions = hello->peak_sessions;
    provider->preferred = (enum kek_wrap_alg)hello->alg;
    provider->named_count = hello->n_versions;
    for (size_t i = 0; i < hello->n_versions; i++) {
        const Kek__Provider__NamedVersion *version = hello->versions[i];
        struct kek_p11_named *named = &provider->named[i];
        named->number = version->number;
        if (version->label[0] == '\0') {
            snprintf(named->label, sizeof named->label, "%.100s.v%u", provider->keyring,
                     version->number);
        } else {
            snprintf(named->label, sizeof named->label, "%s", version->label);
        }
        named->state = (enum kek_state)version->state;
    }
}

const struct kek_p11_named *kek_p11_named_of(const struct kek_provider *provider, const char *label)
{
    char plain[KEK_LABEL_MAX];
    bool marked = kek_p11_label_unmark(label, plain);
    const struct kek_p11_named *named = NULL;
    for (size_t i = 0; i < provider->named_count; i++) {
        if (strcmp(provider->named[i].label, label) == 0) {
            return &provider->named[i];
        }
        if (marked && strcmp(provider->named[i].label, plain) == 0) {
            named = &provider->named[i];
        }
    }
    return named;
}

/* Only the vendors' own mechanisms are looked up here: a list that is refused leaves them out. */
static void keep_mechanisms(struct kek_provider *provider)
{
    CK_ULONG count = KEK_P11_MECHANISMS_MAX;
    struct kek_p11_outcome outcome =
        kek_p11_get_mechanisms(provider->f, provider->slot, provider->mechanisms, &count);
    provider->mechanism_count =
        kek_p11_good(outcome) && count <= KEK_P11_MECHANISMS_MAX ? count : 0;
}

static bool take_strategy(const Kek__Provider__Hello *hello, Kek__Provider__Strategy *strategy,
                          struct kek_provider_failure *failure)
{
    static const char *const names[] = {
        [KEK__PROVIDER__STRATEGY__AUTO] = "auto",
        [KEK__PROVIDER__STRATEGY__WRAP_KEY] = "wrap-key",
        [KEK__PROVIDER__STRATEGY__ENCRYPT] = "encrypt",
    };
    const char *name = kek_provider_setting(hello, "strategy");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name == NULL ? "auto" : name, names[i]) == 0) {
            *strategy = (Kek__Provider__Strategy)i;
            return true;
        }
    }
    return kek_p11_fail(failure, KEK__PROVIDER__STEP__PROTOCOL, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                        "Hello names an unknown strategy");
}

/* What fails here ends the start, so nothing is given back: the process goes. */
bool kek_p11_open(const Kek__Provider__Hello *hello, bool officer, struct kek_provider **provider,
                  Kek__Provider__Token *token, struct kek_provider_failure *failure)
{
    const char *text = kek_provider_setting(hello, "uri");
    KEK_AUTO(kek_p11_uri) uri = kek_p11_uri_new(text == NULL ? "" : text, &failure->why);
    if (uri == NULL) {
        failure->step = KEK__PROVIDER__STEP__URI;
        failure->cause = KEK__PROVIDER__CAUSE__BAD_REQUEST;
        return false;
    }
    KEK_AUTO_FREE struct kek_provider *fresh = calloc(1, sizeof *fresh);
    if (fresh == NULL) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__BUSY,
                            "no memory for a provider");
    }
    keep_hello(fresh, hello);
    if (!take_strategy(hello, &fresh->strategy, failure)) {
        return false;
    }
    fresh->f = kek_p11_library_load(uri, &failure->why);
    if (fresh->f == NULL) {
        failure->step = KEK__PROVIDER__STEP__MODULE;
        failure->cause = KEK__PROVIDER__CAUSE__UNSUPPORTED;
        return false;
    }
    if (!initialize(fresh->f, kek_provider_setting(hello, "init_args"), failure)) {
        kek_p11_library_say_where(uri, &failure->why);
        return false;
    }
    CK_INFO library = {0};
    struct kek_p11_outcome outcome = kek_p11_get_info(fresh->f, &library);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__LINK,
                               outcome);
    }
    kek_p11_text_pad(library.manufacturerID, sizeof library.manufacturerID);
    kek_p11_text_pad(library.libraryDescription, sizeof library.libraryDescription);
    if (!kek_p11_uri_matches_module(uri, &library)) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                            "the module's library attributes are not those of the URI");
    }
    CK_TOKEN_INFO info;
    if (!kek_p11_token_find(fresh->f, uri, hello->seen, &fresh->slot, &info, failure)) {
        if (failure->cause == KEK__PROVIDER__CAUSE__LINK) {
            kek_p11_library_say_where(uri, &failure->why);
        }
        return false;
    }
    keep_texts(fresh, &library, &info);
    keep_limits(fresh, &info);
    keep_mechanisms(fresh);
    if (!take_pin(fresh, kek_p11_uri_pin_source(uri, officer), &info, failure)) {
        return false;
    }
    describe(fresh, &info, token);
    *provider = KEK_STEAL(fresh);
    return true;
}
