#include "gcp.h"

#include "kek/clock.h"

#define LIST_CALLS 10u

struct kek_provider_session *kek_gcp_session_new(struct kek_provider *provider,
                                                 struct kek_provider_failure *failure)
{
    struct kek_why why;
    const struct kek_remote_settings settings = {.peer = "Cloud KMS",
                                                 .ca = provider->way.ca,
                                                 .system_ca = provider->way.ca == NULL,
                                                 .ca_name = "ca",
                                                 .proxy = provider->way.proxy};
    struct kek_provider_session *session = calloc(1, sizeof *session);
    struct kek_remote *remote = kek_remote_new(&settings, &why);
    if (session == NULL || remote == NULL) {
        free(session);
        kek_remote_free(remote);
        kek_bridge_fail(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__BUSY,
                        "no memory for a session");
        return NULL;
    }
    session->provider = provider;
    session->remote = remote;
    return session;
}

void kek_gcp_session_free(struct kek_provider_session *session)
{
    if (session != NULL) {
        kek_gcp_table_done(&session->table);
        kek_bridge_line_done(&session->line);
        kek_remote_free(session->remote);
        free(session);
    }
}

void kek_gcp_session_begin(struct kek_provider_session *session)
{
    session->deadline_ms = kek_clock_ms() + session->provider->call_ms;
}

/* kekd waits ten times as long for a list as for a call, and longer for a change. */
void kek_gcp_session_begin_long(struct kek_provider_session *session)
{
    const struct kek_provider *provider = session->provider;
    uint64_t ms = provider->officer ? LIST_CALLS * provider->call_ms : provider->call_ms;
    session->deadline_ms = kek_clock_ms() + ms;
}
