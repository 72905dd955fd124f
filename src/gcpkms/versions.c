/*
 * The versions of the key, as Google lists them: which may wrap and unwrap, which are refused and why, and which are to
 * be destroyed and when.
 *
 * A version that is ENABLED does both; of any other state it does neither.  One that is destroyed, or is no key yet,
 * is left out.  Its protection and algorithm must be as configured, and its key made by Google, unless the
 * configuration names the version.
 */
#include "gcp.h"

#include <stdio.h>
#include <string.h>

#define PAGE 100      /* versions that are asked for at once */
#define PAGES_MAX 100 /* destroyed ones stay on the list for ever */
#define TOKEN_MAX 512 /* bytes of a page's token, with its NUL */
_Static_assert(KEK_GCP_KEY_MAX + 64 + KEK_TEXT_ESCAPED(TOKEN_MAX) <= KEK_GCP_PATH_MAX,
               "a path has room");
#define ALGORITHM "GOOGLE_SYMMETRIC_ENCRYPTION"

void kek_gcp_table_done(struct kek_gcp_table *table)
{
    free(table->items);
    *table = (struct kek_gcp_table){0};
}

enum kek_state kek_gcp_versions_limit(const struct kek_provider *provider, uint32_t number)
{
    const struct kek_bridge_named *entry = kek_bridge_names_find(&provider->named, number);
    return entry == NULL ? KEK_STATE_ACTIVE : entry->state;
}

/* ---- one version ---- */

static bool is_one_of(const char *text, const char *const *words, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (text != NULL && strcmp(text, words[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* It is no key any more, or was never one. */
static bool is_none(const char *state)
{
    static const char *const words[] = {"DESTROYED", "PENDING_GENERATION", "PENDING_IMPORT",
                                        "IMPORT_FAILED", "GENERATION_FAILED"};
    return is_one_of(state, words, sizeof words / sizeof words[0]);
}

static bool is_known(const char *state)
{
    static const char *const words[] = {"ENABLED", "DISABLED", "DESTROY_SCHEDULED",
                                        "PENDING_EXTERNAL_DESTRUCTION",
                                        "EXTERNAL_DESTRUCTION_FAILED"};
    return is_one_of(state, words, sizeof words / sizeof words[0]);
}

/* Why it may not be used; empty: it may. */
static void judge(const struct kek_provider *provider, const json_t *item,
                  struct kek_gcp_version *version)
{
    char shown[40];
    const char *state = kek_gcp_json_text(item, "state");
    const char *level = kek_gcp_json_text(item, "protectionLevel");
    const char *algorithm = kek_gcp_json_text(item, "algorithm");
    const char *job = kek_gcp_json_text(item, "importJob");
    char *refusal = version->refusal;
    size_t size = sizeof version->refusal;
    refusal[0] = '\0';
    if (!is_known(state)) {
        kek_text_copy(shown, sizeof shown, state);
        snprintf(refusal, size, "its state is \"%s\", which this kekd does not know", shown);
    } else if (!kek_gcp_protects(provider->protection, level)) {
        kek_text_copy(shown, sizeof shown, level);
        snprintf(refusal, size, "its protectionLevel is %s, which `protection` does not allow",
                 shown);
    } else if (algorithm == NULL || strcmp(algorithm, ALGORITHM) != 0) {
        kek_text_copy(shown, sizeof shown, algorithm);
        snprintf(refusal, size, "its algorithm is %s: expected " ALGORITHM, shown);
    } else if (version->number == provider->unproven.number) {
        snprintf(refusal, size, "%s", provider->unproven.refusal);
    } else if (job != NULL && job[0] != '\0' &&
               kek_bridge_names_find(&provider->named, version->number) == NULL) {
        snprintf(refusal, size,
                 "it was imported: its key has been outside; name it under `versions` if it is "
                 "meant");
    }
    version->fit = refusal[0] == '\0';
}

static bool take_version(const struct kek_provider *provider, const json_t *item,
                         struct kek_gcp_table *table, struct kek_gcp_fault *fault)
{
    const char *name = kek_gcp_json_text(item, "name");
    const char *state = kek_gcp_json_text(item, "state");
    struct kek_gcp_version version = {
        .number = name == NULL ? 0 : kek_gcp_version_number(provider->key, name),
        .enabled = state != NULL && strcmp(state, "ENABLED") == 0,
        .destroy_s = kek_gcp_json_moment(item, "destroyTime")};
    if (version.number == 0) {
        return kek_gcp_fail(fault, KEK_GCP_POLICY, 200,
                            "list: the answer has a version of another key");
    }
    if (is_none(state)) {
        return true;
    }
    if (state != NULL && strcmp(state, "DESTROY_SCHEDULED") != 0) {
        version.destroy_s = 0;
    }
    judge(provider, item, &version);
    struct kek_gcp_version *items = table->count >= KEK_GCP_VERSIONS_MAX
                                        ? NULL
                                        : realloc(table->items, (table->count + 1) * sizeof *items);
    if (items == NULL) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "list: no room for more than %zu versions",
                            table->count);
    }
    kek_gcp_version_id(provider->key, version.number, &version.id);
    table->items = items;
    items[table->count++] = version;
    return true;
}

/* ---- pages ---- */

bool kek_gcp_versions_page(const struct kek_provider *provider, const json_t *answer,
                           struct kek_gcp_table *table, char *next, size_t size,
                           struct kek_gcp_fault *fault)
{
    const json_t *items = json_object_get(answer, "cryptoKeyVersions");
    const char *token = kek_gcp_json_text(answer, "nextPageToken");
    if (items != NULL && !json_is_array(items)) {
        return kek_gcp_fail(fault, KEK_GCP_TRANSIENT, 200, "list: the answer has no list in it");
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        if (!take_version(provider, json_array_get(items, i), table, fault)) {
            return false;
        }
    }
    if (token != NULL && strlen(token) >= size) {
        return kek_gcp_fail(fault, KEK_GCP_REQUEST, 200, "list: a page's token is too long");
    }
    snprintf(next, size, "%s", token == NULL ? "" : token);
    return true;
}

static bool read_page(struct kek_provider_session *session, struct kek_gcp_table *table,
                      char next[static TOKEN_MAX], struct kek_gcp_fault *fault)
{
    char path[KEK_GCP_PATH_MAX], token[KEK_TEXT_ESCAPED(TOKEN_MAX)];
    snprintf(path, sizeof path, "%s/cryptoKeyVersions?pageSize=%d", session->provider->key, PAGE);
    if (next[0] != '\0') {
        kek_text_escape(next, token);
        snprintf(path + strlen(path), sizeof path - strlen(path), "&pageToken=%s", token);
    }
    const struct kek_gcp_ask ask = {
        .call = "list", .method = "GET", .path = path, .max = KEK_GCP_PAGE_MAX};
    KEK_GCP_AUTO_JSON answer = NULL;
    return kek_gcp_ask(session, &ask, &answer, fault) &&
           kek_gcp_versions_page(session->provider, answer, table, next, TOKEN_MAX, fault);
}

static int by_number(const void *a, const void *b)
{
    uint32_t one = ((const struct kek_gcp_version *)a)->number;
    uint32_t other = ((const struct kek_gcp_version *)b)->number;
    return one < other ? 1 : one > other ? -1 : 0;
}

/* What was found out about those that were known. */
static void keep(const struct kek_gcp_table *before, struct kek_gcp_table *table)
{
    for (size_t i = 0, k = 0; i < table->count; i++) {
        struct kek_gcp_version *version = &table->items[i];
        while (k < before->count && before->items[k].number > version->number) {
            k++;
        }
        if (k < before->count && before->items[k].number == version->number) {
            version->attested = before->items[k].attested;
            version->again_ms = before->items[k].again_ms;
        }
    }
}

bool kek_gcp_versions_read(struct kek_provider_session *session, struct kek_gcp_fault *fault)
{
    char next[TOKEN_MAX] = "";
    struct kek_gcp_table table = {0};
    size_t pages = 0;
    do {
        if (pages++ == PAGES_MAX) {
            kek_gcp_fail(fault, KEK_GCP_REQUEST, 200, "list: it does not end after %d pages",
                         PAGES_MAX);
            kek_gcp_table_done(&table);
            return false;
        }
        if (!read_page(session, &table, next, fault)) {
            kek_gcp_table_done(&table);
            return false;
        }
    } while (next[0] != '\0');
    if (table.count > 0) {
        qsort(table.items, table.count, sizeof *table.items, by_number);
    }
    keep(&session->table, &table);
    kek_gcp_table_done(&session->table);
    session->table = table;
    return true;
}

/* ---- as kekd sees them ---- */

struct kek_gcp_version *kek_gcp_versions_find(struct kek_provider_session *session,
                                              const struct kek_id *kek_id)
{
    for (size_t i = 0; i < session->table.count; i++) {
        if (kek_id_equal(&session->table.items[i].id, kek_id)) {
            return &session->table.items[i];
        }
    }
    return NULL;
}

static void show(const struct kek_provider *provider, const struct kek_gcp_version *version,
                 struct kek_version *shown)
{
    enum kek_state limit = kek_gcp_versions_limit(provider, version->number);
    *shown = (struct kek_version){
        .number = version->number,
        .id = version->id,
        .can_unwrap = version->enabled && limit != KEK_STATE_SUSPENDED,
        .can_wrap = version->enabled && limit == KEK_STATE_ACTIVE,
        .compromised = limit == KEK_STATE_COMPROMISED,
        .eligible = version->fit,
        .destroy_s = version->destroy_s,
        .attestation = version->unattested ? provider->attestation : KEK_ATTESTATION_FREE,
    };
    shown->alg = shown->can_wrap && version->fit ? KEK_WRAP_GCP_KMS : KEK_WRAP_NONE;
    snprintf(shown->label, sizeof shown->label, "%s.v%u", provider->name, version->number);
    snprintf(shown->refusal, sizeof shown->refusal, "%s", version->refusal);
}

/* Adds those that are fit, or those that are not, oldest first, as far as there is room. */
static void add(const struct kek_provider_session *session, bool fit, size_t room,
                struct kek_provider_versions *versions)
{
    const struct kek_gcp_table *table = &session->table;
    size_t from = 0, left = room;
    while (from < table->count && left > 0) {
        left -= table->items[from].fit == fit;
        from++;
    }
    while (from > 0) {
        from--;
        if (table->items[from].fit == fit) {
            show(session->provider, &table->items[from], &versions->items[versions->count++]);
        }
    }
}

void kek_gcp_versions_show(const struct kek_provider_session *session,
                           struct kek_provider_versions *versions)
{
    size_t fit = 0;
    for (size_t i = 0; i < session->table.count; i++) {
        fit += session->table.items[i].fit;
    }
    fit = fit < KEK_PROVIDER_VERSIONS_MAX ? fit : KEK_PROVIDER_VERSIONS_MAX;
    versions->count = 0;
    add(session, false, KEK_PROVIDER_VERSIONS_MAX - fit, versions);
    add(session, true, fit, versions);
}
