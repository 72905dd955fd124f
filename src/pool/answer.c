#include "front.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

/* What comes out of a worker's socket.  Every reply must be the one answer to a request that this
 * worker still owes, of the kind that was asked for and in bounds; a worker that sends anything else
 * is broken and replaced. */

#define RESETS_MAX 4 /* ECONNRESET is said once, then what was sent before can be read */

static bool is_data_key(const Kek__Provider__Unwrapped *unwrapped)
{
    return unwrapped->data_key.len == KEK_DATA_KEY_LEN;
}

static bool is_wrapped(const struct kek_flight *flight, const Kek__Provider__Reply *reply,
                       struct kek_pool_result *result)
{
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_WRAPPED) {
        return false;
    }
    result->alg = (enum kek_wrap_alg)reply->wrapped->alg;
    result->blob = kek_bytes(reply->wrapped->blob.data, reply->wrapped->blob.len);
    result->handle = reply->wrapped->handle;
    const Kek__Provider__Unwrapped *opened = reply->wrapped->opened;
    return kek_wrap_alg_fits(result->alg, result->blob.len) &&
           (opened == NULL || (flight->opens && is_data_key(opened)));
}

static bool is_listed(struct kek_backend *backend, const Kek__Provider__Reply *reply,
                      struct kek_pool_result *result)
{
    struct kek_pool *pool = backend->pool;
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_LISTED ||
        !kek_message_versions(reply->listed->n_versions, reply->listed->versions, &pool->listed)) {
        return false;
    }
    kek_known_listed(backend, &pool->listed);
    result->versions = pool->listed.items;
    result->version_count = pool->listed.count;
    return true;
}

/* What was probed, or described or attested below, is the caller's to free. Without memory for it the worker counts as broken and is replaced,
 * which costs an officer's pool nothing. */
static bool is_probed(const Kek__Provider__Reply *reply, struct kek_pool_result *result)
{
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_PROBED) {
        return false;
    }
    KEK_AUTO_FREE struct kek_provider_probed *probed = calloc(1, sizeof *probed);
    if (probed == NULL || !kek_message_probed(reply->probed, probed)) {
        return false;
    }
    result->probed = KEK_STEAL(probed);
    return true;
}

static bool is_described(const Kek__Provider__Reply *reply, struct kek_pool_result *result)
{
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_DESCRIBED) {
        return false;
    }
    KEK_AUTO_FREE struct kek_provider_described *described = calloc(1, sizeof *described);
    if (described == NULL || !kek_message_described(reply->described, described)) {
        return false;
    }
    result->described = KEK_STEAL(described);
    return true;
}

static bool is_attested(const Kek__Provider__Reply *reply, struct kek_pool_result *result)
{
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_ATTESTED) {
        return false;
    }
    KEK_AUTO_FREE struct kek_provider_attested *attested = calloc(1, sizeof *attested);
    if (attested == NULL || !kek_message_attested(reply->attested, attested)) {
        return false;
    }
    result->attested = KEK_STEAL(attested);
    return true;
}

static bool is_tried(struct kek_pool *pool, const Kek__Provider__Reply *reply,
                     struct kek_pool_result *result)
{
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_TRIED) {
        return false;
    }
    kek_message_tried(reply->tried, &pool->tried);
    result->tried = &pool->tried;
    return true;
}

static bool is_maced(struct kek_pool *pool, const Kek__Provider__Reply *reply,
                     struct kek_pool_result *result)
{
    result->maced = &pool->maced;
    return reply->result_case == KEK__PROVIDER__REPLY__RESULT_MACED &&
           kek_message_maced(reply->maced, &pool->maced);
}

/* A provider that says no name took the one that it was given. */
static bool is_made(const struct kek_flight *flight, const Kek__Provider__Reply *reply,
                    struct kek_pool_result *result)
{
    if (reply->result_case != KEK__PROVIDER__REPLY__RESULT_DONE) {
        return false;
    }
    const ProtobufCBinaryData *made = &reply->done->kek_id;
    if (made->len == sizeof result->made.bytes) {
        memcpy(result->made.bytes, made->data, sizeof result->made.bytes);
        return true;
    }
    if (flight->call != NULL) {
        result->made = flight->call->lane->kek_id;
    }
    return made->len == 0;
}

/* Does the reply answer this? A data key is left where it is. */
static bool is_answer(struct kek_worker *worker, const struct kek_flight *flight,
                      const Kek__Provider__Reply *reply, struct kek_pool_result *result)
{
    switch (flight->op) {
    case KEK_POOL_LIST:
        return is_listed(worker->backend, reply, result);
    case KEK_POOL_WRAP:
        return is_wrapped(flight, reply, result);
    case KEK_POOL_UNWRAP:
        return reply->result_case == KEK__PROVIDER__REPLY__RESULT_UNWRAPPED &&
               is_data_key(reply->unwrapped);
    case KEK_POOL_PROBE:
        return is_probed(reply, result);
    case KEK_POOL_DESCRIBE:
        return is_described(reply, result);
    case KEK_POOL_ATTEST:
        return is_attested(reply, result);
    case KEK_POOL_TRY_KEY:
        return is_tried(worker->backend->pool, reply, result);
    case KEK_POOL_MAC:
        return is_maced(worker->backend->pool, reply, result);
    case KEK_POOL_GENERATE:
        return is_made(flight, reply, result);
    default:
        return reply->result_case == KEK__PROVIDER__REPLY__RESULT_DONE;
    }
}

/* A copy of the data key that the reply brings, if somebody still waits for it.  False: no locked memory; a wrap
 * does without what its witness gave. */
static bool take_data_key(const struct kek_flight *flight, const Kek__Provider__Reply *reply,
                          struct kek_pool_result *result)
{
    bool wraps = flight->op == KEK_POOL_WRAP;
    const Kek__Provider__Unwrapped *from = wraps                           ? reply->wrapped->opened
                                           : flight->op == KEK_POOL_UNWRAP ? reply->unwrapped
                                                                           : NULL;
    if (from == NULL || flight->call == NULL) {
        return true;
    }
    result->data_key = kek_secret_dup(kek_bytes(from->data_key.data, from->data_key.len));
    return wraps || result->data_key != NULL;
}

static void on_failed(struct kek_worker *worker, unsigned slot, const Kek__Provider__Failed *failed)
{
    struct kek_why why;
    kek_message_failed(worker->backend, failed, &why);
    if (failed->cause == KEK__PROVIDER__CAUSE__LINK) {
        kek_worker_suspect(worker, &why);
        kek_flight_lost(worker, slot, KEK_LOST_LINK, &why);
    } else if (failed->cause == KEK__PROVIDER__CAUSE__BUSY) {
        kek_flight_lost(worker, slot, KEK_LOST_BUSY, &why);
    } else {
        kek_flight_done(worker, slot, NULL, &why);
    }
}

static void on_reply(struct kek_worker *worker, const Kek__Provider__Reply *reply)
{
    unsigned slot = (unsigned)(reply->id & ((1u << KEK_FLIGHT_BITS) - 1));
    struct kek_flight *flight = slot < worker->backend->slots ? &worker->flights[slot] : NULL;
    if (flight == NULL || reply->id == 0 || flight->id != reply->id) {
        kek_worker_broken(worker, "it answered what nobody had asked");
        return;
    }
    worker->memory = reply->memory == 0 ? worker->memory : reply->memory;
    if (reply->result_case == KEK__PROVIDER__REPLY__RESULT_FAILED) {
        on_failed(worker, slot, reply->failed);
        return;
    }
    struct kek_pool_result result = {.provider = worker->backend->index, .worker = worker->serial};
    if (!is_answer(worker, flight, reply, &result)) {
        kek_worker_broken(worker, "it gave a malformed answer");
        return;
    }
    struct kek_why why;
    bool taken = take_data_key(flight, reply, &result);
    if (!taken) {
        kek_fail(&why, KEK_NO_MEMORY, "no locked memory for a data key");
    }
    kek_flight_done(worker, slot, taken ? &result : NULL, taken ? NULL : &why);
    kek_secret_free(result.data_key);
    free((void *)result.probed);
    free((void *)result.described);
    free((void *)result.attested);
}

static void note_again(struct kek_backend *backend, const Kek__Provider__Reply *reply)
{
    backend->status.again += reply->again;
    if (reply->again_last != NULL) {
        kek_message_failed(backend, reply->again_last, &backend->status.again_why);
    }
}

static void on_message(struct kek_worker *worker, size_t len)
{
    struct kek_pool *pool = worker->backend->pool;
    const Kek__Provider__Reply *reply =
        len > KEK_PROVIDER_MESSAGE_MAX ? NULL : kek_message_unpack(pool, len);
    kek_wipe(pool->in, len < sizeof pool->in ? len : sizeof pool->in);
    if (reply != NULL && reply->again > 0) {
        note_again(worker->backend, reply);
    }
    if (reply == NULL) {
        kek_worker_broken(worker, len > KEK_PROVIDER_MESSAGE_MAX ? "a message is too large"
                                                                 : "a message is malformed");
    } else if (worker->state < KEK_WORKER_READY) {
        kek_start_reply(worker, reply);
    } else {
        on_reply(worker, reply);
    }
    kek_message_wipe(pool);
}

void kek_worker_read(struct kek_worker *worker)
{
    struct kek_pool *pool = worker->backend->pool;
    int resets = 0;
    while (worker->fd >= 0) {
        ssize_t len = recv(worker->fd, pool->in, sizeof pool->in, MSG_DONTWAIT | MSG_TRUNC);
        if (len > 0) {
            on_message(worker, (size_t)len);
            continue;
        }
        if (len < 0 && errno == EINTR) {
            continue;
        }
        if (len < 0 && errno == ECONNRESET && resets++ < RESETS_MAX) {
            continue;
        }
        if (len < 0 && errno == EAGAIN) {
            return;
        }
        kek_worker_ended(worker);
        return;
    }
}
