/*
 * What kekctl may change of the key: make a version, disable one, enable it again.
 *
 * Cloud KMS has no state that only unwraps; such a one is the configuration's, under `versions`.  Destruction is by
 * Google's own schedule and rules, and left to its own tools.
 */
#include "gcp.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"

#define KEY_TEXT 320 /* bytes of a key's name as gcloud's options */
#define LOOK_MS 300u /* between looks at a version that is being made */

static bool unsupported(struct kek_provider_failure *failure, const char *format, ...)
    KEK_PRINTF(2, 3);
static bool unsupported(struct kek_provider_failure *failure, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)kek_provider_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL,
                            KEK__PROVIDER__CAUSE__UNSUPPORTED, format, args);
    va_end(args);
    return false;
}

/* "--key K --keyring R --location L --project P", as gcloud wants it. */
static void say_key(const struct kek_provider *provider, char out[static KEY_TEXT])
{
    char project[64], location[64], ring[64], key[64];
    kek_gcp_key_part(provider->key, "projects", project, sizeof project);
    kek_gcp_key_part(provider->key, "locations", location, sizeof location);
    kek_gcp_key_part(provider->key, "keyRings", ring, sizeof ring);
    kek_gcp_key_part(provider->key, "cryptoKeys", key, sizeof key);
    snprintf(out, KEY_TEXT, "--key %s --keyring %s --location %s --project %s", key, ring, location,
             project);
}

/* A request about a version, and the state that it has then. */
static bool ask_state(struct kek_provider_session *session, const struct kek_gcp_ask *ask,
                      uint32_t *number, char *state, size_t size, struct kek_gcp_fault *fault)
{
    KEK_GCP_AUTO_JSON version = NULL;
    if (!kek_gcp_ask(session, ask, &version, fault)) {
        return false;
    }
    const char *name = kek_gcp_json_text(version, "name");
    uint32_t found = name == NULL ? 0 : kek_gcp_version_number(session->provider->key, name);
    if (found == 0 || (*number != 0 && *number != found)) {
        return kek_gcp_fail(fault, KEK_GCP_POLICY, 200, "%s: the answer is of another version",
                            ask->call);
    }
    *number = found;
    kek_text_copy(state, size, kek_gcp_json_text(version, "state"));
    return true;
}

/* Cloud HSM takes its time to make a key. */
static bool wait_enabled(struct kek_provider_session *session, uint32_t number, char *state,
                         size_t size, struct kek_gcp_fault *fault)
{
    char name[KEK_GCP_VERSION_MAX];
    kek_gcp_version_name(session->provider->key, number, name);
    const struct kek_gcp_ask ask = {
        .call = "get version", .method = "GET", .path = name, .max = KEK_GCP_PAGE_MAX};
    while (strcmp(state, "PENDING_GENERATION") == 0) {
        if (kek_clock_ms() + LOOK_MS >= session->deadline_ms) {
            return kek_gcp_fail(fault, KEK_GCP_TRANSIENT, 0,
                                "version %u is still being made: kekctl key list shows it later",
                                number);
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_MS * 1000000L}, NULL);
        if (!ask_state(session, &ask, &number, state, size, fault)) {
            return false;
        }
    }
    return strcmp(state, "ENABLED") == 0 ||
           kek_gcp_fail(fault, KEK_GCP_STATE, 200, "version %u is %s", number, state);
}

/* Two who make the next version at the same moment would make two.  Google numbers them, and uses the number of one that
 * is destroyed not again: what is asked for may be lower than what comes, and is never there already. */
static bool is_free(struct kek_provider_session *session, uint32_t number,
                    struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    if (!kek_gcp_versions_read(session, &fault)) {
        return kek_gcp_say(failure, &fault);
    }
    const struct kek_gcp_table *table = &session->table;
    return table->count == 0 || table->items[0].number < number ||
           kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL, KEK__PROVIDER__CAUSE__STATE,
                           "version %u exists already: the newest is %u", number,
                           table->items[0].number);
}

bool kek_gcp_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                      struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    char path[KEK_GCP_KEY_MAX + 32], now[48];
    uint32_t found = 0;
    (void)kek_id; /* Google names its versions itself */
    if (state != KEK_STATE_ACTIVE) {
        return unsupported(failure, "a new version of Cloud KMS wraps at once: it cannot be made "
                                    "pre-active");
    }
    session->deadline_ms = kek_clock_ms() + session->provider->start_ms;
    if (!is_free(session, number, failure)) {
        return false;
    }
    snprintf(path, sizeof path, "%s/cryptoKeyVersions", session->provider->key);
    const struct kek_gcp_ask ask = {.call = "create version",
                                    .method = "POST",
                                    .path = path,
                                    .send = kek_bytes("{}", 2),
                                    .max = KEK_GCP_PAGE_MAX,
                                    .once = true};
    if (!ask_state(session, &ask, &found, now, sizeof now, &fault) ||
        !wait_enabled(session, found, now, sizeof now, &fault)) {
        return kek_gcp_say(failure, &fault);
    }
    kek_gcp_version_id(session->provider->key, found, made);
    return true;
}

const struct kek_gcp_version *kek_gcp_look_up(struct kek_provider_session *session,
                                              const struct kek_id *kek_id,
                                              struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    kek_gcp_session_begin_long(session);
    if (!kek_gcp_versions_read(session, &fault)) {
        (void)kek_gcp_say(failure, &fault);
        return NULL;
    }
    const struct kek_gcp_version *version = kek_gcp_versions_find(session, kek_id);
    if (version == NULL) {
        (void)kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL,
                              KEK__PROVIDER__CAUSE__KEY_MISSING, "no version of %s has this kek id",
                              session->provider->label);
    }
    return version;
}

bool kek_gcp_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    char path[KEK_GCP_VERSION_MAX + 32], body[32], now[48];
    if (state != KEK_STATE_ACTIVE && state != KEK_STATE_SUSPENDED) {
        return unsupported(failure,
                           "Cloud KMS enables a version or disables it, and does not let one only "
                           "unwrap: `versions:` in the configuration can hold the state");
    }
    const struct kek_gcp_version *version = kek_gcp_look_up(session, kek_id, failure);
    if (version == NULL) {
        return false;
    }
    const char *wanted = state == KEK_STATE_ACTIVE ? "ENABLED" : "DISABLED";
    uint32_t number = version->number;
    kek_gcp_version_name(session->provider->key, number, path);
    snprintf(path + strlen(path), sizeof path - strlen(path), "?updateMask=state");
    snprintf(body, sizeof body, "{\"state\":\"%s\"}", wanted);
    const struct kek_gcp_ask ask = {.call = "set state",
                                    .method = "PATCH",
                                    .path = path,
                                    .send = kek_bytes_of(body),
                                    .max = KEK_GCP_PAGE_MAX,
                                    .once = true};
    if (!ask_state(session, &ask, &number, now, sizeof now, &fault)) {
        return kek_gcp_say(failure, &fault);
    }
    return strcmp(now, wanted) == 0 ||
           kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL, KEK__PROVIDER__CAUSE__STATE,
                           "version %u is %s", number, now);
}

bool kek_gcp_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure)
{
    char key[KEY_TEXT];
    const struct kek_gcp_version *version = kek_gcp_look_up(session, kek_id, failure);
    if (version == NULL) {
        return false;
    }
    say_key(session->provider, key);
    return unsupported(failure,
                       "Cloud KMS destroys by a schedule of its own: gcloud kms keys versions "
                       "destroy %u %s",
                       version->number, key);
}

bool kek_gcp_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure)
{
    (void)session;
    (void)probed;
    return unsupported(failure, "there is nothing to probe: Cloud KMS wraps in one way alone");
}

bool kek_gcp_describe(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                      struct kek_provider_described *described,
                      struct kek_provider_failure *failure)
{
    char key[KEY_TEXT];
    (void)name;
    (void)skip;
    (void)described;
    say_key(session->provider, key);
    return unsupported(failure,
                       "Cloud KMS has no objects to describe: gcloud kms keys versions "
                       "list %s",
                       key);
}
