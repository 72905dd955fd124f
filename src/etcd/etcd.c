#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/secret.h"

#define REQUEST_MAX (4 * KEK_ETCD_KEY_MAX)
#define OPEN_MS 10000u /* that an endpoint has for its answer at the opening, at most */

/* ---- settings ---- */

static enum kek_rc check_endpoint(const struct kek_etcd_settings *settings, const char *endpoint,
                                  struct kek_why *why)
{
    static const char *const schemes[] = {"https://", "http://"};
    for (size_t i = 0; i < 2; i++) {
        size_t len = strlen(schemes[i]);
        const char *host = endpoint + len;
        size_t host_len = strncmp(endpoint, schemes[i], len) == 0 ? strcspn(host, "/") : 0;
        if (host_len > 0 && (host[host_len] == '\0' || host[host_len + 1] == '\0') &&
            memchr(host, '@', host_len) == NULL && strlen(endpoint) < KEK_WHY_TEXT / 2) {
            return KEK_OK;
        }
    }
    bool tells = strchr(endpoint, '@') != NULL; /* there may be a password before it */
    return kek_fail(why, KEK_INVALID, "endpoint %s: expected https://HOST:PORT%s",
                    tells ? "with a user in it" : endpoint,
                    settings->socket == NULL ? ", or http://HOST:PORT of an etcd without TLS" : "");
}

static enum kek_rc check(const struct kek_etcd_settings *settings, size_t *count,
                         struct kek_why *why)
{
    size_t n = 0;
    for (; settings->endpoints[n] != NULL; n++) {
        if (n == KEK_ETCD_ENDPOINTS_MAX) {
            return kek_fail(why, KEK_INVALID, "expected at most %d endpoints",
                            KEK_ETCD_ENDPOINTS_MAX);
        }
        enum kek_rc rc = check_endpoint(settings, settings->endpoints[n], why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    if (n == 0) {
        return kek_fail(why, KEK_INVALID, "no endpoint is named");
    }
    if ((settings->user == NULL) != (settings->password_file == NULL)) {
        return kek_fail(why, KEK_INVALID, "user and password_file go together");
    }
    if ((settings->cert == NULL) != (settings->key == NULL)) {
        return kek_fail(why, KEK_INVALID, "cert and key go together");
    }
    *count = n;
    return KEK_OK;
}

/* ---- who answers ---- */

static void heard(struct kek_etcd_member *member, const struct rpc *rpc)
{
    struct message_status status;
    if (rpc_finish(rpc, &member->why) != RPC_GOOD) {
        return;
    }
    if (!message_get_status(kek_buf_bytes(&rpc->call.body), &status)) {
        kek_fail(&member->why, KEK_DAMAGED, "%s: the answer to Status is malformed",
                 member->endpoint);
        return;
    }
    member->reachable = true;
    member->cluster_id = status.header.cluster_id;
    member->member_id = status.header.member_id;
    member->revision = status.header.revision;
    member->leader = status.leader;
    memcpy(member->version, status.version, sizeof member->version);
}

/* All at once. */
static enum kek_rc ask_all(struct kek_etcd *etcd, struct kek_why *why)
{
    uint64_t most = etcd->settings.timeout_ms < OPEN_MS ? etcd->settings.timeout_ms : OPEN_MS;
    KEK_AUTO_FREE struct rpc *rpcs = calloc(etcd->member_count, sizeof *rpcs);
    enum kek_rc rc = message_put_empty(&etcd->request, why);
    if (rpcs == NULL || rc != KEK_OK) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to ask the endpoints");
    }
    for (size_t i = 0; i < etcd->member_count; i++) {
        rpcs[i] = (struct rpc){.endpoint = etcd->members[i].endpoint,
                               .path = RPC_STATUS,
                               .socket = etcd->settings.socket,
                               .request = kek_buf_bytes(&etcd->request),
                               .deadline_ms = kek_clock_ms() + most};
        rpc_start(etcd->remote, &rpcs[i]);
    }
    while (kek_remote_turn(etcd->remote, NULL, 0, 1000) > 0) {
    }
    for (size_t i = 0; i < etcd->member_count; i++) {
        heard(&etcd->members[i], &rpcs[i]);
        rpc_done(&rpcs[i]);
    }
    return KEK_OK;
}

/* The first that has a leader, else the first that answers; member_count: none does. */
static size_t choose(const struct kek_etcd *etcd)
{
    size_t chosen = etcd->member_count;
    for (size_t i = etcd->member_count; i-- > 0;) {
        const struct kek_etcd_member *member = &etcd->members[i];
        bool better = chosen == etcd->member_count || member->leader != 0 ||
                      etcd->members[chosen].leader == 0;
        if (member->reachable && better) {
            chosen = i;
        }
    }
    return chosen;
}

static enum kek_rc check_members(struct kek_etcd *etcd, struct kek_why *why)
{
    etcd->current = choose(etcd);
    if (etcd->current == etcd->member_count) {
        *why = etcd->members[0].why;
        return etcd->member_count == 1
                   ? why->rc
                   : kek_fail_within(why, why->rc,
                                     "none of %zu endpoints can be asked, the first one",
                                     etcd->member_count);
    }
    const struct kek_etcd_member *first = &etcd->members[etcd->current];
    etcd->cluster_id = first->cluster_id;
    for (size_t i = 0; i < etcd->member_count; i++) {
        const struct kek_etcd_member *member = &etcd->members[i];
        if (member->reachable && member->cluster_id != etcd->cluster_id) {
            return kek_fail(why, KEK_INVALID,
                            "%s is a member of cluster %016" PRIx64 ", and %s of %016" PRIx64
                            ": the endpoints must be of one cluster",
                            member->endpoint, member->cluster_id, first->endpoint,
                            first->cluster_id);
        }
    }
    return KEK_OK;
}

/* ---- life ---- */

static struct kek_etcd *make(const struct kek_etcd_settings *settings, size_t count,
                             struct kek_why *why)
{
    const struct kek_remote_settings with = {.peer = "etcd",
                                             .cert = settings->cert,
                                             .key = settings->key,
                                             .ca = settings->ca,
                                             .system_ca = settings->ca == NULL,
                                             .ca_name = "ca",
                                             .cert_name = "cert",
                                             .key_name = "key"};
    struct kek_etcd *etcd = calloc(1, sizeof *etcd);
    if (etcd == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory");
        return NULL;
    }
    etcd->settings = *settings;
    etcd->settings.timeout_ms =
        settings->timeout_ms == 0 ? KEK_ETCD_TIMEOUT_MS : settings->timeout_ms;
    etcd->member_count = count;
    for (size_t i = 0; i < count; i++) {
        etcd->members[i].endpoint = settings->endpoints[i];
    }
    kek_buf_init(&etcd->request, REQUEST_MAX);
    etcd->remote = kek_remote_new(&with, why);
    if (etcd->remote == NULL) {
        kek_etcd_free(etcd);
        return NULL;
    }
    return etcd;
}

static enum kek_rc open_it(const struct kek_etcd_settings *settings, struct kek_etcd **etcd,
                           struct kek_why *why)
{
    size_t count;
    enum kek_rc rc = check(settings, &count, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO(kek_etcd) made = make(settings, count, why);
    if (made == NULL) {
        return KEK_NO_MEMORY;
    }
    rc = ask_all(made, why);
    if (rc == KEK_OK) {
        rc = check_members(made, why);
    }
    if (rc == KEK_OK) {
        *etcd = KEK_STEAL(made);
    }
    return rc;
}

enum kek_rc kek_etcd_open(const struct kek_etcd_settings *settings, struct kek_etcd **etcd,
                          struct kek_why *why)
{
    enum kek_rc rc = open_it(settings, etcd, why);
    return rc == KEK_OK ? rc : kek_fail_within(why, rc, "etcd %s", settings->name);
}

void kek_etcd_free(struct kek_etcd *etcd)
{
    if (etcd == NULL) {
        return;
    }
    kek_remote_free(etcd->remote);
    kek_secret_free(etcd->token);
    kek_buf_done(&etcd->request);
    free(etcd);
}

const struct kek_etcd_member *kek_etcd_members(const struct kek_etcd *etcd, size_t *count)
{
    *count = etcd->member_count;
    return etcd->members;
}

uint64_t kek_etcd_cluster_id(const struct kek_etcd *etcd)
{
    return etcd->cluster_id;
}
