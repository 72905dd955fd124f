#include "client.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/secret.h"
#include "kek/small_file.h"
#include "kek/text.h"

#define PAUSE_MS 100u /* once all endpoints were asked in vain; more with each round */
#define PAUSE_MAX_MS 1000u
#define PASSWORD_MAX 1024u /* bytes */
#define ATTEMPTS 3u        /* of one endpoint within the timeout, at least, where it hangs */

struct client_patience client_patience(void)
{
    return (struct client_patience){.since_ms = kek_clock_ms()};
}

enum kek_rc client_fail(const struct kek_etcd *etcd, struct kek_why *why)
{
    return kek_fail_within(why, why->rc, "etcd %s", etcd->settings.name);
}

enum kek_rc client_check_cluster(const struct kek_etcd *etcd, const struct message_header *header,
                                 struct kek_why *why)
{
    if (header->cluster_id == etcd->cluster_id) {
        return KEK_OK;
    }
    return kek_fail(why, KEK_INVALID,
                    "%s is a member of cluster %016" PRIx64 ", and the others are of %016" PRIx64
                    ": the endpoints must be of one cluster",
                    etcd->members[etcd->current].endpoint, header->cluster_id, etcd->cluster_id);
}

/* ---- the user's token ---- */

static enum kek_rc keep_token(struct kek_etcd *etcd, struct kek_bytes token, struct kek_why *why)
{
    static const char name[] = "token: ";
    struct kek_secret *line = kek_secret_new(sizeof name + token.len);
    if (line == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no locked memory for a token of %zu bytes", token.len);
    }
    uint8_t *at = kek_secret_data(line);
    memcpy(at, name, sizeof name - 1);
    memcpy(at + sizeof name - 1, token.data, token.len);
    at[sizeof name - 1 + token.len] = '\0';
    kek_secret_free(etcd->token);
    etcd->token = line;
    return KEK_OK;
}

/* Fills in what all calls have, and waits for the answer. */
static enum rpc_end ask(struct kek_etcd *etcd, struct rpc *rpc, struct kek_why *why)
{
    uint64_t timeout_ms = etcd->settings.timeout_ms;
    rpc->endpoint = etcd->members[etcd->current].endpoint;
    rpc->socket = etcd->settings.socket;
    rpc->token = etcd->token;
    rpc->deadline_ms = kek_clock_ms() + timeout_ms;
    rpc->idle_ms = timeout_ms / ATTEMPTS + 1;
    rpc_start(etcd->remote, rpc);
    while (!rpc->call.done) {
        (void)kek_remote_turn(etcd->remote, NULL, 0, 1000);
    }
    return rpc_finish(rpc, why);
}

static enum rpc_end authenticate(struct kek_etcd *etcd, struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf request;
    kek_buf_init(&request, MESSAGE_SMALL_MAX);
    KEK_AUTO(kek_secret) password = NULL;
    struct kek_bytes token;
    const struct kek_small_file file = {.what = "password_file ",
                                        .path = etcd->settings.password_file,
                                        .max = PASSWORD_MAX,
                                        .forbidden = S_IRWXO | S_IWGRP};
    enum kek_rc rc = kek_small_file_line(&file, &password, NULL, why);
    if (rc == KEK_OK) {
        rc = message_put_authenticate(&request, kek_bytes_of(etcd->settings.user),
                                      kek_secret_bytes(password), why);
    }
    if (rc != KEK_OK) {
        return RPC_FAILED;
    }
    struct rpc rpc = {.path = RPC_AUTHENTICATE,
                      .request = kek_buf_bytes(&request),
                      .secret = true,
                      .needs_leader = true};
    kek_secret_free(KEK_STEAL(etcd->token));
    enum rpc_end end = ask(etcd, &rpc, why);
    if (end == RPC_FAILED) {
        kek_fail_within(why, KEK_DENIED, "user %s with the password of %s", etcd->settings.user,
                        etcd->settings.password_file);
    } else if (end == RPC_NO_AUTH) {
        etcd->no_auth = true;
    } else if (end == RPC_GOOD && !message_get_token(kek_buf_bytes(&rpc.call.body), &token)) {
        kek_fail(why, KEK_DAMAGED, "%s: the answer to Authenticate is malformed", rpc.endpoint);
        end = RPC_FAILED;
    } else if (end == RPC_GOOD && keep_token(etcd, token, why) != KEK_OK) {
        end = RPC_FAILED;
    }
    rpc_done(&rpc);
    return end;
}

static enum rpc_end want_user(const struct kek_etcd *etcd, struct kek_why *why)
{
    kek_fail_within(
        why, KEK_DENIED,
        "%s lets users in alone, and none is named (user and password_file), nor is the "
        "certificate's CN one",
        etcd->members[etcd->current].endpoint);
    return RPC_FAILED;
}

enum rpc_end client_try(struct kek_etcd *etcd, struct rpc *rpc, struct kek_why *why)
{
    bool fresh = false;
    bool has_user = etcd->settings.user != NULL;
    for (;;) {
        if (has_user && etcd->token == NULL && !etcd->no_auth) {
            enum rpc_end end = authenticate(etcd, why);
            fresh = true;
            if (end != RPC_GOOD && end != RPC_NO_AUTH) {
                return end == RPC_FAILED ? RPC_FAILED : RPC_ELSEWHERE;
            }
        }
        enum rpc_end end = ask(etcd, rpc, why);
        if (end != RPC_TOKEN) {
            return end == RPC_NO_AUTH ? RPC_ELSEWHERE : end;
        }
        if (!has_user) {
            return want_user(etcd, why);
        }
        if (fresh) {
            return RPC_ELSEWHERE; /* this member has not heard of it yet */
        }
        /* It has expired, or the member was started anew and has forgotten it. */
        rpc_done(rpc);
        kek_secret_free(KEK_STEAL(etcd->token));
        etcd->no_auth = false;
    }
}

/* ---- another endpoint ---- */

bool client_again(struct kek_etcd *etcd, struct client_patience *patience, struct kek_why *why)
{
    uint64_t waited_ms = kek_clock_ms() - patience->since_ms;
    size_t rounds = ++patience->tries / etcd->member_count;
    etcd->current = (etcd->current + 1) % etcd->member_count;
    if (waited_ms >= etcd->settings.timeout_ms) {
        kek_fail_within(why, why->rc, "nothing moved on for %" PRIu64 " s on %s", waited_ms / 1000,
                        kek_counted(etcd->member_count, "endpoint").text);
        return false;
    }
    if (patience->tries % etcd->member_count == 0) {
        uint64_t pause_ms = rounds * PAUSE_MS < PAUSE_MAX_MS ? rounds * PAUSE_MS : PAUSE_MAX_MS;
        struct timespec pause = {.tv_sec = (time_t)(pause_ms / 1000),
                                 .tv_nsec = (long)(pause_ms % 1000) * 1000000};
        (void)nanosleep(&pause, NULL);
    }
    return true;
}
