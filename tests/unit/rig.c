#include "rig.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "kek/clock.h"

#define PATIENCE_MS 60000u
#define CALL_MS 20000u

static void run(const char *command)
{
    int code = system(command);
    ck_assert_msg(code == 0, "%s: %d", command, code);
}

void rig_make_token(struct rig *rig)
{
    char command[512], line[400];
    bool locked;
    memset(rig, 0, sizeof *rig);
    strcpy(rig->folder, "/tmp/kek-rig-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(rig->folder));
    kek_log_setup("test", KEK_LOG_ERROR, KEK_LOG_TEXT);
    ck_assert_int_eq(kek_secret_setup(1 << 20, &locked, NULL), KEK_OK);
    snprintf(command, sizeof command, "%s/softhsm-conf/make-token.sh %s", getenv("abs_top_srcdir"),
             rig->folder);
    FILE *out = popen(command, "r");
    ck_assert_ptr_nonnull(out);
    while (fgets(line, sizeof line, out) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "SOFTHSM2_CONF=", 14) == 0) {
            snprintf(rig->softhsm, sizeof rig->softhsm, "%s", line + 14);
        } else if (strncmp(line, "URI=", 4) == 0) {
            snprintf(rig->uri, sizeof rig->uri, "%s", line + 4);
        }
    }
    ck_assert_int_eq(pclose(out), 0);
    ck_assert_int_ne(rig->uri[0], 0);
}

void rig_remove(struct rig *rig)
{
    char command[128];
    snprintf(command, sizeof command, "rm -rf %s", rig->folder);
    run(command);
}

static struct kek_config *configure(const struct rig *rig, const char *yaml)
{
    char text[4096];
    struct kek_why why;
    snprintf(text, sizeof text,
             "listen: unix://%s/kms.sock\nkeyring: test\nstate_dir: %s/state\n"
             "refresh: 1s\nsettle: 0s\n%s"
             "providers:\n  - name: hsm-a\n    type: pkcs11\n    uri: \"%s\"\n    processes: 1\n"
             "    sessions: 2\n    timeout: 10s\n    env: {SOFTHSM2_CONF: %s}\n",
             rig->folder, rig->folder, yaml, rig->uri, rig->softhsm);
    struct kek_config *config = kek_config_parse(kek_bytes_of(text), "test", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    return config;
}

/* ---- the wiring that kekd does ---- */

static bool may(void *arg, size_t provider, uint64_t worker, enum kek_pool_op op,
                const struct kek_id *kek_id)
{
    return kek_keyring_may(((struct rig *)arg)->ring, provider, worker, op, kek_id);
}

static bool judged(void *arg, size_t provider, uint64_t worker)
{
    return kek_keyring_judged(((struct rig *)arg)->ring, provider, worker);
}

static void provider_changed(void *arg, size_t provider)
{
    kek_keyring_provider_changed(((struct rig *)arg)->ring, provider);
}

static void ring_changed(void *arg)
{
    kek_roots_review(((struct rig *)arg)->roots);
}

static void changed(void *arg)
{
    kek_datakey_review(((struct rig *)arg)->store);
}

static void observed(void *arg, const struct kek_kms_event *event)
{
    struct rig *rig = arg;
    rig->events++;
    snprintf(rig->why, sizeof rig->why, "%s", event->why == NULL ? "" : event->why->text);
    ck_assert((event->why == NULL) == (event->status == KEK_RPC_OK));
}

static void notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                   const char *text)
{
    struct rig *rig = arg;
    (void)fields;
    if (level == KEK_LOG_WARN) {
        rig->warnings++;
        snprintf(rig->warning, sizeof rig->warning, "%s", text);
    }
}

void rig_start(struct rig *rig, const char *yaml)
{
    struct kek_why why;
    rig->config = configure(rig, yaml);
    ck_assert_int_eq(uv_loop_init(&rig->loop), 0);
    struct kek_pool_settings pool = {.config = rig->config,
                                     .worker_dir = getenv("abs_top_builddir"),
                                     .may = may,
                                     .judged = judged,
                                     .provider_changed = provider_changed,
                                     .arg = rig};
    rig->pool = kek_pool_new(&rig->loop, &pool, &why);
    ck_assert_msg(rig->pool != NULL, "%s", why.text);
    struct kek_keyring_settings ring = {.config = rig->config,
                                        .pool = rig->pool,
                                        .changed = ring_changed,
                                        .notice = notice,
                                        .arg = rig};
    rig->ring = kek_keyring_new(&rig->loop, &ring, &why);
    ck_assert_msg(rig->ring != NULL, "%s", why.text);
    struct kek_roots_settings roots = {
        .config = rig->config,
        .mode = KEK_ENVELOPE_MODE_ANY,
        .mode_accept = KEK_ENVELOPE_MODE_ANY,
        .roots =
            {{.name = "", .pool = rig->pool, .ring = rig->ring, .seals = true, .needed = true}},
        .count = 1,
        .changed = changed,
        .arg = rig,
    };
    rig->roots = kek_roots_new(&rig->loop, &roots, &why);
    ck_assert_ptr_nonnull(rig->roots);
    struct kek_datakey_settings store = {.config = rig->config, .roots = rig->roots};
    rig->store = kek_datakey_store_new(&rig->loop, &store, &why);
    ck_assert_ptr_nonnull(rig->store);
    struct kek_kms_settings kms = {.config = rig->config,
                                   .roots = rig->roots,
                                   .store = rig->store,
                                   .observer = observed,
                                   .arg = rig};
    rig->kms = kek_kms_new(&kms, &why);
    ck_assert_ptr_nonnull(rig->kms);
    kek_pool_start(rig->pool);
    kek_keyring_start(rig->ring);
}

static void note_closed(void *arg)
{
    *(bool *)arg = true;
}

void rig_stop(struct rig *rig)
{
    bool closed = false;
    kek_datakey_store_stop(rig->store);
    kek_keyring_stop(rig->ring);
    kek_roots_stop(rig->roots);
    kek_pool_close(rig->pool, note_closed, &closed);
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    ck_assert(closed);
    kek_kms_free(rig->kms);
    kek_datakey_store_free(rig->store);
    kek_roots_free(rig->roots);
    kek_keyring_free(rig->ring);
    kek_pool_free(rig->pool);
    ck_assert_int_eq(uv_loop_close(&rig->loop), 0);
    kek_config_free(rig->config);
}

/* ---- an officer ---- */

struct deed {
    bool done;
    enum kek_rc rc;
};

static void deed_done(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                      const struct kek_why *why)
{
    struct deed *deed = arg;
    (void)result;
    (void)why;
    deed->done = true;
    deed->rc = rc;
}

enum kek_rc rig_officer(struct rig *rig, enum kek_pool_op op, uint32_t number,
                        const struct kek_id *kek_id, enum kek_state state)
{
    struct deed deed = {0};
    struct kek_why why;
    bool closed = false;
    uv_loop_t loop;
    struct kek_config *config = configure(rig, "");
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    struct kek_pool_settings settings = {
        .config = config, .worker_dir = getenv("abs_top_builddir"), .officer = true};
    struct kek_pool *pool = kek_pool_new(&loop, &settings, &why);
    ck_assert_msg(pool != NULL, "%s", why.text);
    kek_pool_start(pool);
    struct kek_pool_request request = {.op = op,
                                       .provider = 0,
                                       .kek_id = *kek_id,
                                       .number = number,
                                       .state = state,
                                       .deadline_ms = kek_clock_ms() + PATIENCE_MS};
    ck_assert_ptr_nonnull(kek_pool_submit(pool, &request, deed_done, &deed, &why));
    while (!deed.done) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    kek_pool_close(pool, note_closed, &closed);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(closed);
    kek_pool_free(pool);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    kek_config_free(config);
    return deed.rc;
}

/* ---- the loop ---- */

static void tick(uv_timer_t *timer)
{
    (void)timer;
}

void rig_until(struct rig *rig, bool (*true_now)(struct rig *rig, void *arg), void *arg)
{
    uint64_t end = kek_clock_ms() + PATIENCE_MS;
    uv_timer_t timer;
    uv_timer_init(&rig->loop, &timer);
    uv_timer_start(&timer, tick, 20, 20);
    while (!true_now(rig, arg)) {
        ck_assert_msg(kek_clock_ms() < end, "it did not come to pass");
        uv_run(&rig->loop, UV_RUN_ONCE);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
}

static bool is_later(struct rig *rig, void *arg)
{
    (void)rig;
    return kek_clock_ms() >= *(uint64_t *)arg;
}

void rig_turn(struct rig *rig, unsigned ms)
{
    uint64_t end = kek_clock_ms() + ms;
    rig_until(rig, is_later, &end);
}

static bool is_primary(struct rig *rig, void *arg)
{
    struct kek_keyring_primary primary;
    return kek_keyring_primary(rig->ring, &primary) &&
           primary.generation.numbers[0] == *(uint32_t *)arg;
}

void rig_until_primary(struct rig *rig, uint32_t number)
{
    rig_until(rig, is_primary, &number);
}

/* ---- calls ---- */

static void replied(struct kek_rpc *rpc, struct kek_bytes message)
{
    struct answer *answer = (struct answer *)rpc;
    ck_assert(!answer->done);
    ck_assert_uint_le(message.len, sizeof answer->reply);
    memcpy(answer->reply, message.data, message.len);
    answer->len = message.len;
    answer->done = true;
}

static void failed(struct kek_rpc *rpc, enum kek_rpc_status status, const char *message)
{
    struct answer *answer = (struct answer *)rpc;
    ck_assert(!answer->done);
    answer->status = status;
    snprintf(answer->message, sizeof answer->message, "%s", message);
    answer->done = true;
}

static const struct kek_rpc_transport transport = {.reply = replied, .error = failed};

void rig_begin(struct rig *rig, const char *path, struct kek_bytes message,
               struct kek_rpc_peer *peer, struct answer *answer)
{
    size_t count;
    const struct kek_rpc_method *methods = kek_kms_methods(&count);
    *answer = (struct answer){.rpc = {.transport = &transport,
                                      .peer = peer,
                                      .deadline_ms = kek_clock_ms() + CALL_MS,
                                      .started_us = kek_clock_us()}};
    for (size_t i = 0; i < count; i++) {
        if (strcmp(methods[i].path, path) == 0) {
            methods[i].start(rig->kms, &answer->rpc, message);
            return;
        }
    }
    ck_abort_msg("no method %s", path);
}

static bool is_done(struct rig *rig, void *arg)
{
    (void)rig;
    return ((struct answer *)arg)->done;
}

void rig_wait(struct rig *rig, struct answer *answer)
{
    if (!answer->done) {
        rig_until(rig, is_done, answer);
    }
}

void rig_call(struct rig *rig, const char *path, struct kek_bytes message,
              struct kek_rpc_peer *peer, struct answer *answer)
{
    rig_begin(rig, path, message, peer, answer);
    rig_wait(rig, answer);
}
