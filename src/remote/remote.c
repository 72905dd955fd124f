#include "kek/remote.h"

#include "kek/clock.h"
#include "transfer.h"

struct kek_remote {
    struct kek_remote_settings settings;
    CURLM *multi;
    struct transfer *transfers;
    bool moved; /* something came */
};

struct kek_remote *kek_remote_new(const struct kek_remote_settings *settings, struct kek_why *why)
{
    struct kek_remote *remote = calloc(1, sizeof *remote);
    bool ready = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK;
    if (remote != NULL && ready) {
        remote->multi = curl_multi_init();
    }
    if (remote == NULL || remote->multi == NULL) {
        free(remote);
        if (ready) {
            curl_global_cleanup();
        }
        kek_fail(why, KEK_NO_MEMORY, "libcurl cannot be used: no memory, or no TLS in it");
        return NULL;
    }
    remote->settings = *settings;
    return remote;
}

/* ---- the end of one ---- */

static void drop(struct transfer *transfer)
{
    curl_easy_cleanup(transfer->easy);
    transfer_drop_lines(transfer);
    free(transfer);
}

static void take_off(struct kek_remote *remote, struct transfer *transfer)
{
    struct transfer **link = &remote->transfers;
    while (*link != transfer) {
        link = &(*link)->next;
    }
    *link = transfer->next;
    (void)curl_multi_remove_handle(remote->multi, transfer->easy);
    drop(transfer);
}

/* With the call's rc, and its why unless that is KEK_OK. */
static void end(struct kek_remote *remote, struct transfer *transfer, enum kek_rc rc)
{
    transfer->call->rc = rc;
    transfer->call->done = true;
    take_off(remote, transfer);
}

static void finish(struct kek_remote *remote, struct transfer *transfer, CURLcode code)
{
    struct kek_remote_call *call = transfer->call;
    (void)curl_easy_getinfo(transfer->easy, CURLINFO_RESPONSE_CODE, &call->status);
    bool good = call->status >= 200 && call->status < 300;
    if (transfer->failed != KEK_OK) {
        end(remote, transfer, transfer->failed);
    } else if (code != CURLE_OK) {
        end(remote, transfer, transfer_say_failure(transfer, code));
    } else {
        end(remote, transfer, good ? KEK_OK : transfer_say_status(transfer));
    }
}

/* ---- the beginning ---- */

static struct transfer *make(struct kek_remote *remote, struct kek_remote_call *call)
{
    struct transfer *transfer = calloc(1, sizeof *transfer);
    CURL *easy = transfer == NULL ? NULL : curl_easy_init();
    if (easy == NULL) {
        free(transfer);
        kek_fail(&call->why, KEK_NO_MEMORY, "no memory to ask");
        return NULL;
    }
    *transfer = (struct transfer){.settings = &remote->settings,
                                  .call = call,
                                  .easy = easy,
                                  .last_ms = kek_clock_ms(),
                                  .moved = &remote->moved};
    return transfer;
}

static enum kek_rc begin(struct kek_remote *remote, struct kek_remote_call *call)
{
    struct transfer *transfer = make(remote, call);
    if (transfer == NULL) {
        return KEK_NO_MEMORY;
    }
    enum kek_rc rc = transfer_check(transfer);
    if (rc == KEK_OK && call->deadline_ms <= transfer->last_ms) {
        rc = kek_fail(&call->why, KEK_DEADLINE, "%s: no time is left to ask", transfer->shown);
    }
    if (rc == KEK_OK && (!transfer_set_up(transfer, call->deadline_ms - transfer->last_ms) ||
                         curl_multi_add_handle(remote->multi, transfer->easy) != CURLM_OK)) {
        rc = kek_fail(&call->why, KEK_INTERNAL, "%s: libcurl cannot ask this", transfer->shown);
    }
    if (rc != KEK_OK) {
        drop(transfer);
        return rc;
    }
    transfer->next = remote->transfers;
    remote->transfers = transfer;
    return KEK_OK;
}

void kek_remote_start(struct kek_remote *remote, struct kek_remote_call *call)
{
    call->done = false;
    call->status = 0;
    for (size_t i = 0; i < call->wanted_count; i++) {
        call->wanted[i].value[0] = '\0';
    }
    call->rc = begin(remote, call);
    call->done = call->rc != KEK_OK;
}

/* ---- moving on ---- */

/* Returns how many came to their end. */
static size_t perform(struct kek_remote *remote)
{
    int running = 0, left = 0;
    size_t ended = 0;
    /* Of HTTP/2, libcurl 7.88 may keep the end of an answer that it has read for the next time it is asked, and
     * wait for the socket or a timer of 200 ms until then. */
    do {
        remote->moved = false;
        (void)curl_multi_perform(remote->multi, &running);
    } while (remote->moved && running > 0);
    CURLMsg *message = curl_multi_info_read(remote->multi, &left);
    while (message != NULL) {
        void *transfer = NULL;
        CURLcode code = message->data.result; /* the message goes with its handle */
        (void)curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
        finish(remote, transfer, code);
        ended++;
        message = curl_multi_info_read(remote->multi, &left);
    }
    return ended;
}

/* Ends what has been silent for too long. Returns how many are left, and in *next_ms when to look again. */
static size_t end_idle(struct kek_remote *remote, uint64_t *next_ms)
{
    uint64_t now = kek_clock_ms();
    size_t left = 0;
    struct transfer *next;
    *next_ms = UINT64_MAX;
    for (struct transfer *transfer = remote->transfers; transfer != NULL; transfer = next) {
        struct kek_remote_call *call = transfer->call;
        uint64_t silent = now - transfer->last_ms;
        next = transfer->next;
        if (call->idle_ms != 0 && silent >= call->idle_ms) {
            end(remote, transfer,
                kek_fail(&call->why, KEK_DEADLINE,
                         "%s: nothing came for %llu ms: is it overloaded, or the way to it broken?",
                         transfer->shown, (unsigned long long)call->idle_ms));
            continue;
        }
        if (call->idle_ms != 0 && call->idle_ms - silent < *next_ms) {
            *next_ms = call->idle_ms - silent;
        }
        left++;
    }
    return left;
}

static void wait_for(struct kek_remote *remote, const int *fds, size_t fd_count, uint64_t wait_ms)
{
    int ready = 0;
    struct curl_waitfd *extra = calloc(fd_count + 1, sizeof *extra);
    if (extra == NULL) {
        return; /* the caller turns again */
    }
    for (size_t i = 0; i < fd_count; i++) {
        extra[i] = (struct curl_waitfd){.fd = fds[i], .events = CURL_WAIT_POLLIN};
    }
    (void)curl_multi_poll(remote->multi, extra, (unsigned)fd_count,
                          wait_ms > INT32_MAX ? INT32_MAX : (int)wait_ms, &ready);
    free(extra);
}

size_t kek_remote_turn(struct kek_remote *remote, const int *fds, size_t fd_count, uint64_t wait_ms)
{
    uint64_t idle_ms;
    bool moved = perform(remote) > 0;
    size_t left = end_idle(remote, &idle_ms);
    if (!moved) {
        wait_for(remote, fds, fd_count, wait_ms < idle_ms ? wait_ms : idle_ms);
        (void)perform(remote);
        left = end_idle(remote, &idle_ms);
    }
    return left;
}

enum kek_rc kek_remote_run(struct kek_remote *remote, struct kek_remote_call *call)
{
    kek_remote_start(remote, call);
    while (!call->done) {
        (void)kek_remote_turn(remote, NULL, 0, 1000);
    }
    return call->rc;
}

static void cancel(struct kek_remote *remote, struct transfer *transfer)
{
    end(remote, transfer,
        kek_fail(&transfer->call->why, KEK_CANCELLED, "%s: nobody waits for it any more",
                 transfer->shown));
}

void kek_remote_stop(struct kek_remote *remote, struct kek_remote_call *call)
{
    struct transfer *transfer = remote->transfers;
    while (transfer != NULL && transfer->call != call) {
        transfer = transfer->next;
    }
    if (transfer != NULL) {
        cancel(remote, transfer);
    }
}

void kek_remote_free(struct kek_remote *remote)
{
    if (remote == NULL) {
        return;
    }
    while (remote->transfers != NULL) {
        cancel(remote, remote->transfers);
    }
    (void)curl_multi_cleanup(remote->multi);
    curl_global_cleanup();
    free(remote);
}
