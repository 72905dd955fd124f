/*
 * A version's statement, fetched: what Cloud KMS has of it, its certificates, and what of that holds.
 *
 * It is asked for by kekctl, and by kekd's workers themselves where the configuration wants one: of every version that
 * could wrap, newest first and a few with each list.  What was found is kept for as long as the process lives if it
 * is good, and looked at again after a while if it is not.
 */
#include "gcp.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"
#include "verify.h"

#define SOON_MS 60000u    /* until what could not be had is asked for once more */
#define AGAIN_MS 3600000u /* and what did not hold */
#define AT_ONCE 4u        /* statements that one list waits for at most */

/* ---- what Cloud KMS has ---- */

static bool too_much(struct kek_provider_attested *attested, const char *what)
{
    char text[128];
    attested->statement_len = attested->certificate_count = 0;
    snprintf(text, sizeof text, "%s: not taken", what);
    kek_gcp_verify_nothing(attested, text);
    return false;
}

static bool take_certificates(const json_t *chains, const char *name,
                              struct kek_provider_attested *attested)
{
    const json_t *list = json_object_get(chains, name);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *pem = json_string_value(json_array_get(list, i));
        struct kek_provider_certificate *at = &attested->certificates[attested->certificate_count];
        if (attested->certificate_count == KEK_PROVIDER_CERTIFICATES_MAX) {
            return too_much(attested, "more certificates came than any HSM has");
        }
        if (pem == NULL || strlen(pem) >= sizeof at->pem) {
            return too_much(attested, "a certificate is no text, or has more than 4095 bytes");
        }
        snprintf(at->chain, sizeof at->chain, "%s", name);
        snprintf(at->pem, sizeof at->pem, "%s", pem);
        attested->certificate_count++;
    }
    return true;
}

/* False: nothing is to be verified, and the check says why. */
static bool take_statement(const json_t *answer, struct kek_provider_attested *attested)
{
    const json_t *statement = json_object_get(answer, "attestation");
    const json_t *chains = json_object_get(statement, "certChains");
    const char *content = kek_gcp_json_text(statement, "content");
    char text[160], level[32];
    if (content == NULL || content[0] == '\0') {
        kek_text_copy(level, sizeof level, kek_gcp_json_text(answer, "protectionLevel"));
        snprintf(text, sizeof text, "Cloud KMS has none of this version: its protectionLevel is %s",
                 level[0] == '\0' ? "not told" : level);
        kek_gcp_verify_nothing(attested, text);
        return false;
    }
    kek_text_copy(attested->format, sizeof attested->format,
                  kek_gcp_json_text(statement, "format"));
    if (!kek_unbase64(content, attested->statement, sizeof attested->statement,
                      &attested->statement_len)) {
        return too_much(attested, "its content has more than 4096 bytes, or is not base64");
    }
    return take_certificates(chains, KEK_GCP_CAVIUM, attested) &&
           take_certificates(chains, KEK_GCP_CARD, attested) &&
           take_certificates(chains, KEK_GCP_PARTITION, attested);
}

bool kek_gcp_attest_version(struct kek_provider_session *session, uint32_t number,
                            struct kek_provider_attested *attested, struct kek_gcp_fault *fault)
{
    const struct kek_provider *provider = session->provider;
    const struct kek_gcp_roots roots = {.manufacturer = provider->manufacturer_root,
                                        .owner = provider->owner_root};
    char name[KEK_GCP_VERSION_MAX];
    kek_gcp_version_name(provider->key, number, name);
    const struct kek_gcp_ask ask = {
        .call = "get version", .method = "GET", .path = name, .max = KEK_GCP_PAGE_MAX};
    KEK_GCP_AUTO_JSON answer = NULL;
    if (!kek_gcp_ask(session, &ask, &answer, fault)) {
        return false;
    }
    const char *named = kek_gcp_json_text(answer, "name");
    if (named == NULL || strcmp(named, name) != 0) {
        return kek_gcp_fail(fault, KEK_GCP_POLICY, 200,
                            "get version: the answer is of another version");
    }
    if (take_statement(answer, attested)) {
        kek_gcp_verify(attested, name, &roots, time(NULL));
    }
    return true;
}

bool kek_gcp_attest(struct kek_provider_session *session, const struct kek_id *kek_id,
                    struct kek_provider_attested *attested, struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    const struct kek_gcp_version *version = kek_gcp_look_up(session, kek_id, failure);
    if (version == NULL) {
        return false;
    }
    return kek_gcp_attest_version(session, version->number, attested, &fault) ||
           kek_gcp_say(failure, &fault);
}

/* ---- for kekd itself ---- */

/* Looks at one, and says when it is to be looked at again. */
static void look(struct kek_provider_session *session, struct kek_gcp_version *version)
{
    struct kek_gcp_fault fault;
    KEK_AUTO_FREE struct kek_provider_attested *attested = calloc(1, sizeof *attested);
    bool fetched =
        attested != NULL && kek_gcp_attest_version(session, version->number, attested, &fault);
    version->attested = fetched && kek_gcp_verified(attested);
    version->again_ms = kek_clock_ms() + (fetched ? AGAIN_MS : SOON_MS);
}

static bool could_wrap(const struct kek_provider *provider, const struct kek_gcp_version *version)
{
    return version->fit && version->enabled &&
           kek_gcp_versions_limit(provider, version->number) == KEK_STATE_ACTIVE;
}

/* One that nobody has looked at yet is not attested where that is required, and no news where it is not. */
void kek_gcp_attest_wanted(struct kek_provider_session *session)
{
    const struct kek_provider *provider = session->provider;
    bool required = provider->attestation == KEK_ATTESTATION_REQUIRED;
    unsigned asked = 0;
    if (provider->officer || provider->attestation == KEK_ATTESTATION_FREE) {
        return;
    }
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_gcp_version *version = &session->table.items[i];
        if (!could_wrap(provider, version)) {
            continue;
        }
        if (!version->attested && kek_clock_ms() >= version->again_ms && asked < AT_ONCE) {
            asked++;
            look(session, version);
        }
        version->unattested = !version->attested && (required || version->again_ms != 0);
    }
}
