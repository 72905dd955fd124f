#include "pool_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

const struct kek_id rig_key = {{7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7}};

static void copy_program(const char *from, const char *to)
{
    static char bytes[1 << 16];
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0755);
    ck_assert_msg(in >= 0 && out >= 0, "copying %s to %s: %s", from, to, strerror(errno));
    for (ssize_t len = read(in, bytes, sizeof bytes); len > 0;
         len = read(in, bytes, sizeof bytes)) {
        ck_assert_int_eq(write(out, bytes, (size_t)len), len);
    }
    close(in);
    ck_assert_int_eq(fchmod(out, 0755), 0);
    close(out);
}

static bool is_ready(struct rig *rig, size_t provider, uint64_t worker)
{
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    size_t count = rig_serials(rig, provider, serials), i = 0;
    while (i < count && serials[i] != worker) {
        i++;
    }
    return i < count;
}

static bool any_judged(struct rig *rig, size_t provider)
{
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    size_t count = rig_serials(rig, provider, serials);
    for (size_t i = 0; i < count; i++) {
        if ((rig->unjudged >> serials[i] % 64 & 1) == 0) {
            return true;
        }
    }
    return false;
}

static bool rig_may(void *arg, size_t provider, uint64_t worker, enum kek_pool_op op,
                    const struct kek_id *kek_id)
{
    struct rig *rig = arg;
    ck_assert(op == KEK_POOL_WRAP || op == KEK_POOL_UNWRAP);
    ck_assert(kek_id_equal(kek_id, &rig_key));
    ck_assert(worker == 0 ? !any_judged(rig, provider) : is_ready(rig, provider, worker));
    return (rig->may >> provider & 1) != 0 && (rig->may_not >> worker % 64 & 1) == 0;
}

static bool rig_judged(void *arg, size_t provider, uint64_t worker)
{
    struct rig *rig = arg;
    ck_assert(is_ready(rig, provider, worker));
    return (rig->unjudged >> worker % 64 & 1) == 0;
}

static void rig_changed(void *arg, size_t provider)
{
    struct rig *rig = arg;
    ck_assert_uint_lt(provider, rig->config.provider_count);
    ck_assert(!rig->inside);
    rig->changes++;
}

static void rig_logged_in(void *arg, const struct kek_pool_login *login)
{
    struct rig *rig = arg;
    ck_assert_uint_lt(login->provider, rig->config.provider_count);
    ck_assert_uint_gt(login->worker, 0);
    ck_assert_uint_gt(strlen(login->token), 0);
    ck_assert((login->why == NULL) == (login->outcome == KEK_POOL_LOGIN_OK));
    rig->logins[login->outcome]++;
}

void rig_set(struct rig *rig, size_t provider, const char *key, char *value)
{
    struct kek_config_provider *p = &rig->providers[provider];
    size_t i = 0;
    while (i < p->setting_count && strcmp(p->settings[i].key, key) != 0) {
        i++;
    }
    ck_assert_uint_lt(i, sizeof rig->settings_of[0] / sizeof rig->settings_of[0][0]);
    p->settings[i] = (struct kek_config_setting){.key = (char *)(uintptr_t)key, .value = value};
    p->setting_count += i == p->setting_count;
}

static void init_provider(struct rig *rig, size_t index)
{
    static char names[RIG_PROVIDERS][2] = {"a", "b"};
    static char type[] = "pkcs11";
    static char uri[] = "pkcs11:token=t?module-path=/x.so&pin-source=file:/etc/kekd/the.pin";
    rig->env[index][0] = rig->env_dir;
    rig->providers[index] = (struct kek_config_provider){
        .name = names[index],
        .type = type,
        .settings = rig->settings_of[index],
        .processes = 1,
        .sessions = 2,
        .timeout_ms = 30000,
        .start_timeout_ms = 30000,
        .recycle_after = 1000000,
        .recycle_memory = UINT64_C(1) << 40,
        .env = rig->env[index],
    };
    rig_set(rig, index, "uri", uri);
}

void rig_init(struct rig *rig, size_t providers)
{
    bool locked;
    ck_assert_int_eq(kek_secret_setup(1 << 20, &locked, NULL), KEK_OK);
    *rig = (struct rig){.may = ~0u};
    snprintf(rig->folder, sizeof rig->folder, "/tmp/kek-pool-XXXXXX");
    ck_assert_ptr_nonnull(mkdtemp(rig->folder));
    ck_assert_int_eq(chmod(rig->folder, 0777), 0);
    snprintf(rig->state, sizeof rig->state, "%s/state", rig->folder);
    snprintf(rig->workers, sizeof rig->workers, "%s/bin", rig->folder);
    snprintf(rig->env_dir, sizeof rig->env_dir, "FAKE_DIR=%s", rig->folder);
    ck_assert_int_eq(mkdir(rig->workers, 0755), 0);
    ck_assert_int_eq(chmod(rig->workers, 0755), 0);
    const char *build = getenv("abs_top_builddir");
    char from[512], to[128];
    snprintf(from, sizeof from, "%s/tests/unit/fake_worker", build == NULL ? "." : build);
    snprintf(to, sizeof to, "%s/kekd-pkcs11", rig->workers);
    copy_program(from, to);
    snprintf(from, sizeof from, "%s/kekd-as", build == NULL ? "." : build);
    snprintf(to, sizeof to, "%s/kekd-as", rig->workers);
    copy_program(from, to);
    rig_write(rig, "log", "");
    rig_write(rig, "pin", "right");
    init_provider(rig, 0);
    init_provider(rig, 1);
    static char keyring[] = "k";
    rig->config = (struct kek_config){
        .keyring = keyring,
        .state_dir = rig->state,
        .providers = rig->providers,
        .provider_count = providers,
    };
    rig->settings = (struct kek_pool_settings){
        .config = &rig->config,
        .worker_dir = rig->workers,
        .may = rig_may,
        .judged = rig_judged,
        .provider_changed = rig_changed,
        .logged_in = rig_logged_in,
        .arg = rig,
    };
}

static void path_of(const struct rig *rig, const char *file, char path[static 300])
{
    snprintf(path, 300, "%s/%s", rig->folder, file);
}

void rig_write(struct rig *rig, const char *file, const char *content)
{
    char path[300], next[310];
    path_of(rig, file, path);
    snprintf(next, sizeof next, "%s.next", path);
    int fd = open(next, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(fchmod(fd, 0666), 0);
    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    close(fd);
    ck_assert_int_eq(rename(next, path), 0); /* a worker reads it whole, or the one before */
}

void rig_remove(struct rig *rig, const char *file)
{
    char path[300];
    path_of(rig, file, path);
    ck_assert_int_eq(unlink(path), 0);
}

bool rig_has(struct rig *rig, const char *file)
{
    char path[300];
    path_of(rig, file, path);
    return access(path, F_OK) == 0;
}

static FILE *open_log(const struct rig *rig)
{
    char path[300];
    path_of(rig, "log", path);
    FILE *log = fopen(path, "re");
    ck_assert_ptr_nonnull(log);
    return log;
}

size_t rig_count(struct rig *rig, const char *beginning)
{
    char line[512];
    size_t count = 0;
    FILE *log = open_log(rig);
    while (fgets(line, sizeof line, log) != NULL) {
        count += strncmp(line, beginning, strlen(beginning)) == 0;
    }
    fclose(log);
    return count;
}

bool rig_logged(struct rig *rig, const char *text)
{
    char line[512];
    bool found = false;
    FILE *log = open_log(rig);
    while (!found && fgets(line, sizeof line, log) != NULL) {
        found = strstr(line, text) != NULL;
    }
    fclose(log);
    return found;
}

void rig_open(struct rig *rig)
{
    struct kek_why why = {0};
    ck_assert_int_eq(uv_loop_init(&rig->loop), 0);
    rig->closed = false;
    rig->pool = kek_pool_new(&rig->loop, &rig->settings, &why);
    ck_assert_msg(rig->pool != NULL, "%s", why.text);
    kek_pool_times(rig->pool)->pin_look = 30;
    kek_pool_times(rig->pool)->storm = 0;
    kek_pool_times(rig->pool)->ghost = RIG_PATIENCE_MS;
}

void rig_start(struct rig *rig)
{
    rig_open(rig);
    kek_pool_start(rig->pool);
}

static void on_closed(void *arg)
{
    struct rig *rig = arg;
    ck_assert(!rig->closed);
    rig->closed = true;
}

static void check_processes_gone(const struct rig *rig)
{
    char line[512];
    FILE *log = open_log(rig);
    while (fgets(line, sizeof line, log) != NULL) {
        char *at = strncmp(line, "start ? ", 8) == 0 ? line + 8 : NULL;
        if (at != NULL) {
            pid_t pid = (pid_t)strtol(at, NULL, 10);
            ck_assert_int_ne(kill(pid, 0), 0);
            ck_assert_int_eq(errno, ESRCH);
        }
    }
    fclose(log);
}

void rig_close(struct rig *rig)
{
    kek_pool_close(rig->pool, on_closed, rig);
    ck_assert(!rig->closed);
    ck_assert_uint_eq(kek_pool_queued(rig->pool), 0);
    RIG_UNTIL(rig, rig->closed);
    kek_pool_free(rig->pool);
    rig->pool = NULL;
    uv_run(&rig->loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&rig->loop), 0);
    check_processes_gone(rig);
}

static int remove_one(const char *path, const struct stat *status, int type, struct FTW *place)
{
    (void)status;
    (void)type;
    (void)place;
    return remove(path);
}

void rig_done(struct rig *rig)
{
    if (rig->pool != NULL) {
        rig_close(rig);
    }
    ck_assert_int_eq(nftw(rig->folder, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void rig_step(struct rig *rig)
{
    /* The loop may have nothing to do while a worker thinks: look again soon. */
    uv_timer_t tick;
    uv_timer_init(&rig->loop, &tick);
    uv_timer_start(&tick, on_tick, 5, 5);
    uv_run(&rig->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&rig->loop, UV_RUN_NOWAIT);
}

void rig_pause(struct rig *rig, uint64_t ms)
{
    uint64_t until = kek_clock_ms() + ms;
    while (kek_clock_ms() < until) {
        rig_step(rig);
    }
}

struct kek_pool_provider rig_status(struct rig *rig, size_t provider)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(rig->pool, provider, &status);
    return status;
}

enum kek_pool_health rig_health(struct rig *rig, size_t provider)
{
    return rig_status(rig, provider).health;
}

size_t rig_ready(struct rig *rig, size_t provider)
{
    return rig_status(rig, provider).workers_ready;
}

size_t rig_alive(struct rig *rig, size_t provider)
{
    size_t alive = 0;
    const struct kek_worker *worker = rig->pool->backends[provider].workers;
    for (; worker != NULL; worker = worker->next) {
        alive += kek_worker_alive(worker);
    }
    return alive;
}

size_t rig_serials(struct rig *rig, size_t provider, uint64_t serials[static KEK_POOL_WORKERS_MAX])
{
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    size_t count = kek_pool_workers(rig->pool, provider, workers);
    for (size_t i = 0; i < count; i++) {
        serials[i] = workers[i].serial;
    }
    return count;
}

uint64_t rig_serial(struct rig *rig, size_t provider)
{
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    ck_assert_uint_eq(rig_serials(rig, provider, serials), 1);
    return serials[0];
}

void rig_end(struct rig *rig, uint64_t worker, const char *text)
{
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "%s", text);
    bool was_inside = rig->inside;
    rig->inside = true;
    kek_pool_end(rig->pool, worker, &why);
    rig->inside = was_inside;
}

void rig_retire(struct rig *rig, uint64_t worker)
{
    rig->inside = true;
    kek_pool_retire(rig->pool, worker);
    rig->inside = false;
}

static void on_done(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                    const struct kek_why *why)
{
    struct outcome *outcome = arg;
    ck_assert(!outcome->rig->inside);
    ck_assert(rc != KEK_OK || result != NULL);
    ck_assert((rc == KEK_OK) == (why == NULL));
    outcome->ends++;
    outcome->order = outcome->rig->ends++;
    outcome->rc = rc;
    if (result != NULL) {
        ck_assert_uint_ne(result->worker, 0);
        outcome->provider = result->provider;
        outcome->worker = result->worker;
    }
    if (rc != KEK_OK) {
        ck_assert_int_eq(why->rc, rc);
        outcome->why = *why;
        return;
    }
    outcome->alg = result->alg;
    outcome->version_count = result->version_count;
    if (result->version_count > 0) {
        outcome->number = result->versions[0].number;
        memcpy(outcome->label, result->versions[0].label, sizeof outcome->label);
    }
    outcome->blob_len = result->blob.len;
    ck_assert_uint_le(result->blob.len, sizeof outcome->blob);
    if (result->blob.len > 0) {
        memcpy(outcome->blob, result->blob.data, result->blob.len);
    }
    if (result->data_key != NULL) {
        memcpy(outcome->key, kek_secret_bytes(result->data_key).data, sizeof outcome->key);
    }
}

struct kek_pool_call *rig_submit(struct rig *rig, struct outcome *outcome,
                                 struct kek_pool_request *request, uint64_t in_ms)
{
    *outcome = (struct outcome){.rig = rig};
    struct kek_why why = {0};
    request->deadline_ms = in_ms == 0 ? KEK_NEVER : kek_clock_ms() + in_ms;
    rig->inside = true;
    struct kek_pool_call *call = kek_pool_submit(rig->pool, request, on_done, outcome, &why);
    rig->inside = false;
    ck_assert_msg(call != NULL, "%s", why.text);
    ck_assert_uint_eq(outcome->ends, 0);
    return call;
}

struct kek_pool_request rig_request(size_t provider, const char *command)
{
    return (struct kek_pool_request){
        .op = KEK_POOL_UNWRAP,
        .provider = provider,
        .kek_id = rig_key,
        .alg = KEK_WRAP_AES_KW,
        .blob = kek_bytes_of(command),
    };
}

struct kek_pool_call *rig_unwrap(struct rig *rig, struct outcome *outcome, size_t provider,
                                 const char *command, uint64_t in_ms)
{
    struct kek_pool_request request = rig_request(provider, command);
    return rig_submit(rig, outcome, &request, in_ms);
}

enum kek_rc rig_no(struct rig *rig, struct kek_pool_request *request, struct kek_why *why)
{
    request->deadline_ms = KEK_NEVER;
    struct outcome outcome = {.rig = rig};
    *why = (struct kek_why){0};
    rig->inside = true;
    ck_assert_ptr_null(kek_pool_submit(rig->pool, request, on_done, &outcome, why));
    rig->inside = false;
    return why->rc;
}

enum kek_rc rig_refused(struct rig *rig, const char *command, struct kek_why *why)
{
    struct kek_pool_request request = rig_request(KEK_POOL_ANY, command);
    return rig_no(rig, &request, why);
}

void rig_wait(struct rig *rig, struct outcome *outcome)
{
    RIG_UNTIL(rig, outcome->ends > 0);
    ck_assert_uint_eq(outcome->ends, 1);
}

void rig_do(struct rig *rig, struct outcome *outcome, size_t provider, const char *command,
            uint64_t in_ms)
{
    rig_unwrap(rig, outcome, provider, command, in_ms);
    rig_wait(rig, outcome);
}

void rig_check(const struct outcome *outcome, const char *command)
{
    ck_assert_uint_eq(outcome->ends, 1);
    ck_assert_msg(outcome->rc == KEK_OK, "%s: %s", command, outcome->why.text);
    size_t len = strlen(command);
    for (size_t i = 0; i < sizeof outcome->key; i++) {
        ck_assert_uint_eq(outcome->key[i], (uint8_t)command[i % len] ^ 0x5a);
    }
}

void rig_start_two(struct rig *rig, uint64_t serials[static KEK_POOL_WORKERS_MAX])
{
    rig_init(rig, 1);
    rig->providers[0].processes = 2;
    rig_start(rig);
    RIG_UNTIL(rig, rig_ready(rig, 0) == 2);
    ck_assert_uint_eq(rig_serials(rig, 0, serials), 2);
}

struct kek_pool_request rig_to_worker(uint64_t worker, const char *command)
{
    struct kek_pool_request request = rig_request(0, command);
    request.worker = worker;
    return request;
}

int rig_hold_lock(struct rig *rig)
{
    char slot[KEK_LOGIN_SLOT_TEXT], path[200];
    ck_assert_int_eq(kek_login_slot("S-1", slot, NULL), KEK_OK);
    snprintf(path, sizeof path, "%s/login-%s.lock", rig->state, slot);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}
