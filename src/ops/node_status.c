#include "kek/node_status.h"

#include <stdio.h>
#include <string.h>

#include <openssl/crypto.h>

#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/log.h"
#include "node_page.h"

struct kek_node_status {
    struct kek_node_status_settings settings;
    uv_loop_t *loop;
    struct tls *tls;            /* NULL: no listener */
    struct http_server *server; /* likewise */
    char *rotation_path, *destroy_path;
    size_t jobs;         /* that are on libuv's pool */
    bool freed;          /* and waits for them */
    bool reading, again; /* the certificates are being read, and are to be read once more */
    struct kek_node_status_stats stats;
    struct kek_node_snapshot snapshot; /* of the page being made: too large for a stack */
};

/* ---- the page ---- */

/* One request, while the files are read that kekctl writes. */
struct job {
    uv_work_t work;
    struct kek_node_status *status;
    struct http_reply *reply;
    struct kek_buf rotation, destroy;
};

static void collect(struct kek_node_status *status, const struct job *job)
{
    const struct kek_node_status_settings *from = &status->settings;
    struct kek_node_snapshot *s = &status->snapshot;
    memset(s, 0, sizeof *s);
    s->config = from->config;
    s->wall_ms = kek_clock_wall_ms();
    s->now_ms = kek_clock_ms();
    kek_roots_verdict(from->roots, &s->verdict);
    s->remark_count = kek_roots_remarks(from->roots, s->remarks, KEK_KEYRING_REMARKS_MAX);
    s->announced = kek_roots_primary(from->roots, &s->primary);
    s->sealing_count = kek_kms_sealing(from->kms, s->sealing, KEK_NODE_SEALING_MAX);
    s->version_count = kek_roots_versions(from->roots, s->versions, KEK_AUDIT_VERSIONS_MAX);
    s->destroyed_count = kek_roots_destroyed(from->roots, s->destroyed, KEK_KEYRING_HISTORY_MAX);
    for (size_t r = 0; r < kek_roots_count(from->roots); r++) {
        const struct kek_pool *pool = kek_roots_at(from->roots, r)->pool;
        for (size_t i = 0; i < kek_pool_provider_count(pool); i++) {
            kek_pool_provider_get(pool, i, &s->providers[s->provider_count++]);
        }
    }
    s->rotation = kek_buf_bytes(&job->rotation);
    s->destroy = kek_buf_bytes(&job->destroy);
}

static void answer(struct kek_node_status *status, struct job *job)
{
    struct kek_why why;
    struct kek_buf *body = http_reply_body(job->reply);
    collect(status, job);
    if (kek_node_render(&status->snapshot, body, &why) != KEK_OK) {
        kek_log_often(KEK_LOG_ERROR, "status", NULL, "status: %s", why.text);
        kek_buf_reset(body);
        http_reply_done(job->reply, 500, "text/plain; charset=utf-8");
        return;
    }
    http_reply_done(job->reply, 200, "application/json");
}

/* One that is absent, or not to be read, is nothing. */
static void read_file(const char *path, size_t max, struct kek_buf *content)
{
    if (kek_durable_read(path, max, content, NULL) != KEK_OK) {
        kek_buf_reset(content);
    }
}

/* Off the loop. */
static void read_files_of_kekctl(uv_work_t *work)
{
    struct job *job = work->data;
    read_file(job->status->rotation_path, KEK_NODE_ROTATION_MAX, &job->rotation);
    read_file(job->status->destroy_path, KEK_NODE_DESTROY_MAX, &job->destroy);
}

static void destroy(struct kek_node_status *status)
{
    tls_free(status->tls);
    free(status->rotation_path);
    free(status->destroy_path);
    free(status);
}

static void job_ended(struct kek_node_status *status)
{
    status->jobs--;
    if (status->freed && status->jobs == 0) {
        destroy(status);
    }
}

static void have_files(uv_work_t *work, int cancelled)
{
    struct job *job = work->data;
    struct kek_node_status *status = job->status;
    if (cancelled != 0 || status->freed) {
        http_reply_done(job->reply, 500, "text/plain; charset=utf-8");
    } else {
        answer(status, job);
    }
    kek_buf_done(&job->rotation);
    kek_buf_done(&job->destroy);
    free(job);
    job_ended(status);
}

int node_page(struct kek_node_status *status, struct http_reply *reply)
{
    struct job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        return 500;
    }
    job->work.data = job;
    job->status = status;
    job->reply = reply;
    kek_buf_init(&job->rotation, KEK_NODE_ROTATION_MAX + 1);
    kek_buf_init(&job->destroy, KEK_NODE_DESTROY_MAX + 1);
    if (uv_queue_work(status->loop, &job->work, read_files_of_kekctl, have_files) != 0) {
        free(job);
        return 500;
    }
    status->jobs++;
    return HTTP_LATER;
}

/* ---- the listener ---- */

static int page(void *arg, const char *path, struct http_reply *reply, struct kek_buf *body,
                const char **type)
{
    (void)body;
    (void)type;
    return strcmp(path, "/status") == 0 ? node_page(arg, reply) : 404;
}

static void observed(void *arg, const struct http_event *event)
{
    struct kek_node_status *status = arg;
    const struct kek_log_field fields[] = {
        kek_log_text("peer", event->peer), kek_log_text("subject", event->subject), {.name = NULL}};
    switch (event->outcome) {
    case HTTP_FORBIDDEN:
        status->stats.forbidden++;
        kek_log_often(KEK_LOG_WARN, "status", fields,
                      "status: a client with a good certificate was refused, since its name is not "
                      "in status.allow");
        break;
    case HTTP_REFUSED:
        status->stats.refused++;
        kek_log_often(KEK_LOG_WARN, "status", fields, "status: a client was refused: %s",
                      event->why);
        break;
    case HTTP_SERVED:
    case HTTP_OUTCOMES:
        status->stats.served++;
        break;
    }
}

static struct tls *read_files(const struct kek_config *config, struct kek_why *why)
{
    return tls_new(&(struct tls_settings){.cert = config->status.cert,
                                          .key = config->status.key,
                                          .ca = config->status.ca,
                                          .allow = config->status.allow},
                   why);
}

static enum kek_rc make_server(struct kek_node_status *status, struct kek_why *why)
{
    status->tls = read_files(status->settings.config, why);
    if (status->tls == NULL) {
        return why->rc;
    }
    status->server = http_server_new(status->loop,
                                     &(struct http_settings){
                                         .page = page,
                                         .arg = status,
                                         .name = "status.listen",
                                         .observed = observed,
                                         .body_max = KEK_NODE_PAGE_MAX,
                                         .timeout_ms = HTTP_TIMEOUT_MS,
                                         .max_connections = HTTP_CONNECTIONS_MAX,
                                     },
                                     why);
    if (status->server == NULL) {
        return why->rc;
    }
    http_server_set_tls(status->server, status->tls);
    status->stats.listens = true;
    status->stats.expires = tls_expires(status->tls);
    return KEK_OK;
}

/* False: no memory, and *path is NULL. */
static bool name_file(char **path, const struct kek_config *config, const char *suffix)
{
    if (asprintf(path, "%s/%s.%s", config->state_dir, config->keyring, suffix) < 0) {
        *path = NULL;
    }
    return *path != NULL;
}

struct kek_node_status *kek_node_status_new(uv_loop_t *loop,
                                            const struct kek_node_status_settings *settings,
                                            struct kek_why *why)
{
    const struct kek_config *config = settings->config;
    struct kek_node_status *status = calloc(1, sizeof *status);
    if (status == NULL || !name_file(&status->rotation_path, config, "rotation") ||
        !name_file(&status->destroy_path, config, "destroy")) {
        if (status != NULL) {
            destroy(status);
        }
        kek_fail(why, KEK_NO_MEMORY, "no memory for the node's status");
        return NULL;
    }
    status->settings = *settings;
    status->loop = loop;
    if (config->status.host != NULL && make_server(status, why) != KEK_OK) {
        destroy(status);
        return NULL;
    }
    return status;
}

enum kek_rc kek_node_status_listen(struct kek_node_status *status, struct kek_why *why)
{
    const struct kek_config *config = status->settings.config;
    return status->server == NULL
               ? KEK_OK
               : http_server_listen(status->server, config->status.host, config->status.port, why);
}

/* Files on a disk that hangs must not stop the loop. */
struct reload {
    uv_work_t work;
    struct kek_node_status *status;
    struct tls *tls; /* NULL: why says why */
    bool is_valid;   /* now; else why says why not */
    struct kek_why why;
};

static void read_again(uv_work_t *work)
{
    struct reload *reload = work->data;
    reload->tls = read_files(reload->status->settings.config, &reload->why);
    reload->is_valid = reload->tls != NULL && tls_check_now(reload->tls, &reload->why) == KEK_OK;
    OPENSSL_thread_stop(); /* what OpenSSL keeps for this thread, which is not ours */
}

/* A certificate that clients believe is not given up for one that they do not. */
static bool is_worse(const struct kek_node_status *status, const struct reload *reload)
{
    struct kek_why own; /* its end is warned of elsewhere */
    return reload->tls == NULL || (!reload->is_valid && tls_check_now(status->tls, &own) == KEK_OK);
}

static void have_read(uv_work_t *work, int cancelled)
{
    struct reload *reload = work->data;
    struct kek_node_status *status = reload->status;
    if (cancelled == 0 && is_worse(status, reload)) {
        kek_log(KEK_LOG_ERROR, "the certificates stay as they were: %s", reload->why.text);
    } else if (cancelled == 0 && !status->freed) {
        http_server_set_tls(status->server, reload->tls);
        struct tls *old = status->tls;
        status->tls = KEK_STEAL(reload->tls);
        tls_free(old);
        status->stats.expires = tls_expires(status->tls);
        if (!reload->is_valid) {
            kek_log(KEK_LOG_ERROR,
                    "the certificates were read anew, and the other nodes still do not hear this "
                    "one: %s",
                    reload->why.text);
        }
    }
    tls_free(reload->tls);
    free(reload);
    status->reading = false;
    if (status->again && !status->freed) {
        kek_node_status_reload(status);
    }
    job_ended(status);
}

void kek_node_status_reload(struct kek_node_status *status)
{
    if (status->server == NULL) {
        return;
    }
    /* One after the other: the last one's files are those that count. */
    status->again = status->reading;
    if (status->reading) {
        return;
    }
    struct reload *reload = calloc(1, sizeof *reload);
    if (reload != NULL) {
        reload->work.data = reload;
        reload->status = status;
    }
    if (reload == NULL || uv_queue_work(status->loop, &reload->work, read_again, have_read) != 0) {
        free(reload);
        kek_log(KEK_LOG_ERROR, "the certificates stay as they were: no memory to read them");
        return;
    }
    status->reading = true;
    status->jobs++;
}

void kek_node_status_stats(const struct kek_node_status *status,
                           struct kek_node_status_stats *stats)
{
    *stats = status->stats;
}

void kek_node_status_free(struct kek_node_status *status)
{
    if (status == NULL) {
        return;
    }
    http_server_free(status->server);
    status->freed = true;
    if (status->jobs == 0) {
        destroy(status);
    }
}
