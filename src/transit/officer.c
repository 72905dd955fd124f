/*
 * What an officer changes.  The engine knows states for a row of versions only, by three numbers, so a change that
 * would change another version as well is refused, and what no number says stands in the configuration.
 */
#include "transit.h"

#include <inttypes.h>

static bool cannot(struct kek_provider_failure *failure, const char *format, ...) KEK_PRINTF(2, 3);
static bool cannot(struct kek_provider_failure *failure, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)kek_provider_fail(failure, CALL_STEP, CAUSE(UNSUPPORTED), format, args);
    va_end(args);
    return false;
}

static bool post(struct kek_provider_session *session, const char *what, struct kek_buf *body,
                 struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    const struct transit_settings *settings = &session->provider->settings;
    char url[TRANSIT_URL_MAX];
    transit_url(session->provider, url, "%s/keys/%s%s", settings->mount, settings->key, what);
    if (body->len == 0 && !transit_add(body, "{}")) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "no memory for a request");
    }
    return transit_ask(session, "POST", url, body, &answer, failure);
}

/* ---- generate ---- */

/* The first version comes with the key, each other one by its rotation. */
static bool make(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, 256);
    if (session->key.read) {
        return post(session, "/rotate", &body, failure);
    }
    return transit_add(&body, "{\"type\":\"aes256-gcm96\",\"exportable\":false,"
                              "\"allow_plaintext_backup\":false}") &&
           post(session, "", &body, failure);
}

bool transit_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                      struct kek_provider_failure *failure)
{
    (void)kek_id; /* the server names it */
    transit_begin(session);
    if (!transit_look(session, failure)) {
        return false;
    }
    uint32_t next = session->key.latest + 1;
    if (state != KEK_STATE_ACTIVE) {
        return cannot(failure, "a new version of Transit wraps from the beginning");
    }
    if (number != next) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                               "version %" PRIu32 " of key %s %s: the next one is %" PRIu32, number,
                               session->provider->settings.key,
                               number < next ? "exists already" : "cannot be made yet", next);
    }
    if (session->key.refusal[0] != '\0') {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_UNFIT), "key %s: %s",
                               session->provider->settings.key, session->key.refusal);
    }
    if (!make(session, failure) || !transit_look(session, failure)) {
        return false;
    }
    for (size_t i = 0; i < session->key.count; i++) {
        if (session->key.versions[i].number == number) {
            *made = session->key.versions[i].id;
            return true;
        }
    }
    return kek_bridge_fail(failure, CALL_STEP, CAUSE(LINK),
                           "the server took the request and shows no version %" PRIu32, number);
}

/* ---- states ---- */

static bool configure(struct kek_provider_session *session, uint32_t min_decryption,
                      uint32_t min_encryption, struct kek_provider_failure *failure)
{
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, 256);
    return transit_add(&body,
                       "{\"min_decryption_version\":%" PRIu32 ",\"min_encryption_version\":%" PRIu32
                       "}",
                       min_decryption, min_encryption) &&
           post(session, "/config", &body, failure);
}

#define BY_CONFIGURATION "versions: in the configuration can hold its state"

/* It wraps again, and so would those between it and the first that does. */
static bool activate(struct kek_provider_session *session, uint32_t n,
                     struct kek_provider_failure *failure)
{
    const struct transit_key *key = &session->key;
    uint32_t first =
        key->min_encryption > key->min_decryption ? key->min_encryption : key->min_decryption;
    if (n >= first) {
        return true;
    }
    if (n + 1 != first) {
        return cannot(failure,
                      "version %" PRIu32 " cannot wrap again alone: versions up to %" PRIu32
                      " would, too; promote those first",
                      n, first - 1);
    }
    uint32_t decryption = n < key->min_decryption ? n : key->min_decryption;
    return configure(session, decryption, n, failure);
}

/* min_encryption_version 0 means that all versions may wrap that may unwrap. */
static bool deactivate(struct kek_provider_session *session, uint32_t n,
                       struct kek_provider_failure *failure)
{
    const struct transit_key *key = &session->key;
    uint32_t first =
        key->min_encryption > key->min_decryption ? key->min_encryption : key->min_decryption;
    if (n >= key->min_decryption && n < key->min_encryption) {
        return true;
    }
    if (n == key->latest) {
        return cannot(failure,
                      "version %" PRIu32
                      " is the newest of the key, which always wraps; " BY_CONFIGURATION,
                      n);
    }
    if (n < key->min_decryption) {
        if (n + 1 != key->min_decryption) {
            return cannot(failure,
                          "version %" PRIu32
                          " cannot be opened again alone: resume version %" PRIu32 " first",
                          n, key->min_decryption - 1);
        }
        uint32_t wraps = key->min_encryption > n ? key->min_encryption : n + 1;
        return configure(session, n, wraps, failure);
    }
    if (n != first) {
        return cannot(failure,
                      "version %" PRIu32 " cannot be retired alone: older ones still wrap; retire "
                      "version %" PRIu32 " first",
                      n, first);
    }
    return configure(session, key->min_decryption, n + 1, failure);
}

static bool close_version(struct kek_provider_session *session, uint32_t n,
                          struct kek_provider_failure *failure)
{
    const struct transit_key *key = &session->key;
    if (n < key->min_decryption) {
        return true;
    }
    if (n == key->latest) {
        return cannot(failure,
                      "version %" PRIu32
                      " is the newest of the key, which always opens; " BY_CONFIGURATION,
                      n);
    }
    if (n != key->min_decryption) {
        return cannot(failure,
                      "version %" PRIu32 " cannot be closed alone: suspend version %" PRIu32
                      " first; or " BY_CONFIGURATION,
                      n, key->min_decryption);
    }
    uint32_t wraps = key->min_encryption > n ? key->min_encryption : n + 1;
    return configure(session, n + 1, wraps, failure);
}

static struct transit_version *pick(struct kek_provider_session *session,
                                    const struct kek_id *kek_id,
                                    struct kek_provider_failure *failure)
{
    transit_begin(session);
    if (!transit_look(session, failure)) {
        return NULL;
    }
    struct transit_version *version = transit_find(session, kek_id);
    if (version == NULL) {
        (void)kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_MISSING),
                              "key %s shows no version with this kek id",
                              session->provider->settings.key);
    } else if (session->key.soft_deleted) {
        (void)kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                              "key %s is soft-deleted: restore it first",
                              session->provider->settings.key);
        version = NULL;
    }
    return version;
}

static bool change(struct kek_provider_session *session, uint32_t n, enum kek_state state,
                   struct kek_provider_failure *failure)
{
    switch (state) {
    case KEK_STATE_ACTIVE:
        return activate(session, n, failure);
    case KEK_STATE_PRE_ACTIVE:
    case KEK_STATE_DEACTIVATED:
        return deactivate(session, n, failure);
    case KEK_STATE_SUSPENDED:
        return close_version(session, n, failure);
    case KEK_STATE_COMPROMISED:
        break;
    }
    return cannot(failure, "Transit has no mark for a compromised version; " BY_CONFIGURATION);
}

bool transit_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure)
{
    struct transit_version *version = pick(session, kek_id, failure);
    if (version == NULL) {
        return false;
    }
    uint32_t n = version->number;
    if (kek_bridge_names_find(&session->provider->settings.named, n) != NULL) {
        return cannot(failure, "the state of version %" PRIu32 " stands in the configuration", n);
    }
    if (!change(session, n, state, failure) || !transit_look(session, failure)) {
        return false;
    }
    version = transit_find(session, kek_id);
    bool good = version != NULL &&
                transit_may_wrap(session, version) == (state == KEK_STATE_ACTIVE) &&
                transit_may_unwrap(session, version) == (state != KEK_STATE_SUSPENDED);
    return good ? true
                : cannot(failure,
                         "the server took the change of version %" PRIu32
                         " and does not show it; " BY_CONFIGURATION,
                         n);
}

/* ---- destroy: the versions go in their order, and never come back ---- */

bool transit_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure)
{
    struct transit_version *version = pick(session, kek_id, failure);
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, 256);
    if (version == NULL) {
        return false;
    }
    uint32_t n = version->number;
    if (n == session->key.latest) {
        return cannot(failure,
                      "version %" PRIu32 " is the newest of the key, which is never trimmed", n);
    }
    if (n >= session->key.min_decryption) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(STATE),
                               "version %" PRIu32 " still opens: suspend it first", n);
    }
    if (n != session->key.min_available) {
        return cannot(failure,
                      "version %" PRIu32 " cannot be trimmed alone: destroy version %" PRIu32
                      " first",
                      n, session->key.min_available);
    }
    if (!transit_add(&body, "{\"min_available_version\":%" PRIu32 "}", n + 1) ||
        !post(session, "/trim", &body, failure) || !transit_look(session, failure)) {
        return false;
    }
    return session->key.min_available > n
               ? true
               : cannot(failure,
                        "the server took the trimming and min_available_version is still %" PRIu32,
                        session->key.min_available);
}
