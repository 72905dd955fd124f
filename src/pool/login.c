#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "kek/durable.h"

#define LOCK_TRIES 500 /* of a retry, 20 ms apart: a login that is under way ends first */
#define LONG_PAUSE 30  /* before the last try, in pauses before the second */

enum kek_rc kek_login_state_dir(const char *path, struct kek_why *why)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST) {
        return kek_fail_native(why, KEK_NOT_FOUND, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "state_dir: making %s", path);
    }
    struct stat st;
    if (stat(path, &st) != 0 || !S_ISDIR(st.st_mode)) {
        return kek_fail(why, KEK_INVALID, "state_dir: %s is not a folder", path);
    }
    if (faccessat(AT_FDCWD, path, R_OK | W_OK | X_OK, AT_EACCESS) != 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "state_dir: %s must be writable", path);
    }
    return KEK_OK;
}

enum kek_rc kek_login_lock(const char *state_dir, const char *slot, int *fd, struct kek_why *why)
{
    char path[PATH_MAX];
    enum kek_rc rc = kek_login_path(state_dir, "login-", slot, ".lock", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO_CLOSE int lock =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (lock < 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", path);
    }
    kek_durable_give(path, lock);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        return kek_fail_native(why, errno == EWOULDBLOCK ? KEK_UNAVAILABLE : KEK_INTERNAL,
                               KEK_NATIVE_ERRNO, (unsigned long)errno, "locking %s", path);
    }
    *fd = lock;
    lock = -1;
    return KEK_OK;
}

/* ---- what a record says of a login ---- */

bool kek_login_same_pin(const struct kek_login_pin *a, const struct kek_login_pin *b)
{
    return a->inode == b->inode && a->mtime_ns == b->mtime_ns && a->size == b->size;
}

static bool same_token(const struct kek_login_entry *a, const struct kek_login_entry *b)
{
    return strcmp(a->credential.token, b->credential.token) == 0;
}

/* Tokens that look alike are told apart by the way to them; for one provider, which may have got another
 * path of its module or a new variable meanwhile, looking alike is enough. */
static bool is_about(const struct kek_login_entry *entry, const struct kek_login_entry *now)
{
    return same_token(entry, now) &&
           kek_login_same_pin(&entry->credential.pin, &now->credential.pin) &&
           (strcmp(entry->credential.way, now->credential.way) == 0 ||
            strcmp(entry->provider, now->provider) == 0);
}

/* Was it a login of this provider, in this role? */
static bool is_of(const struct kek_login_entry *entry, const struct kek_login_entry *now)
{
    return entry->officer == now->officer && strcmp(entry->provider, now->provider) == 0;
}

/* An earlier state of the same file, of which nobody needs to know any more. */
static bool is_outdated(const struct kek_login_entry *entry, const struct kek_login_entry *now)
{
    return same_token(entry, now) && entry->credential.pin.inode == now->credential.pin.inode &&
           strcmp(entry->credential.way, now->credential.way) == 0;
}

/* The worst that is on record of this login's credential; tries 0: nothing. */
static struct kek_login_entry worst_of(const struct kek_login_record *record,
                                       const struct kek_login_entry *now)
{
    struct kek_login_entry worst = {0};
    for (size_t i = 0; i < record->count; i++) {
        const struct kek_login_entry *entry = &record->entries[i];
        if (is_about(entry, now) && !worst.refused &&
            (entry->refused || entry->tries > worst.tries)) {
            worst = *entry;
        }
    }
    return worst;
}

uint64_t kek_login_pause(const struct kek_backend *backend, unsigned tries)
{
    uint64_t first = backend->pool->times.unsure;
    return tries == 0 ? 0 : tries == 1 ? first : first * LONG_PAUSE;
}

enum kek_rc kek_login_refusal(const struct kek_backend *backend,
                              const struct kek_login_entry *entry, const char *path,
                              struct kek_why *why)
{
    char source[160], met[96];
    if (!entry->refused && entry->tries < KEK_LOGIN_TRIES) {
        return KEK_OK;
    }
    bool file = kek_login_pin_source(backend, source, sizeof source);
    snprintf(met, sizeof met, "was refused (0x%lx)", entry->code);
    if (!entry->refused) {
        snprintf(met, sizeof met,
                 "may have been tried %u times without a clear answer (last 0x%lx)", entry->tries,
                 entry->code);
    }
    return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_PKCS11, entry->code,
                           "%s, not tried again: %srun kekctl pin retry (%s)", met,
                           file ? "change that file, or " : "", path);
}

static enum kek_rc judge(const struct kek_backend *backend, const struct kek_login_entry *worst,
                         const char *path, uint64_t *wait_ms, struct kek_why *why)
{
    enum kek_rc rc = kek_login_refusal(backend, worst, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    uint64_t pause = kek_login_pause(backend, worst->tries);
    int64_t since = kek_clock_wall_ms() - worst->time_ms;
    /* A wall clock that was set back must not keep the token away until it is late again. */
    if (since < 0 || (uint64_t)since >= pause) {
        return KEK_OK;
    }
    *wait_ms = pause - (uint64_t)since;
    return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_PKCS11, worst->code,
                           "an answer to C_Login may have been a try of the PIN (0x%lx), %u of %d: "
                           "the next one follows %llu s after it",
                           worst->code, worst->tries, KEK_LOGIN_TRIES,
                           (unsigned long long)(pause / 1000));
}

/* ---- writing it down ---- */

/* One write of a record; it holds the login lock until the record is on disk. */
struct kek_login_job {
    struct kek_backend *backend;
    struct kek_worker
        *worker; /* whose try is being written; NULL: an outcome, or the worker went */
    bool is_try;
    bool refusal;
    struct kek_login login; /* of the worker */
    int lock_fd;
};

static void free_job(struct kek_login_job *job)
{
    struct kek_pool *pool = job->backend->pool;
    if (job->lock_fd >= 0) {
        close(job->lock_fd);
    }
    free(job);
    pool->writes--;
    kek_pool_check_closed(pool);
}

static void say_not_recorded(struct kek_backend *backend, const struct kek_why *why)
{
    struct kek_why said = *why;
    kek_fail_within(&said, KEK_DENIED, "%s: the token's answer to the PIN is not on record",
                    backend->config->name);
    kek_backend_judge(backend, &said);
}

static void finish_outcome(struct kek_login_job *job, const struct kek_why *why)
{
    if (why != NULL) {
        say_not_recorded(job->backend, why);
    } else if (job->refusal) {
        job->backend->refused.refused = false; /* from now on the record says it */
    }
    free_job(job);
}

static void start_outcome(struct kek_login_job *job, enum kek_login_end how);

static void finish_try(struct kek_login_job *job, enum kek_rc rc, const struct kek_why *why)
{
    struct kek_worker *worker = job->worker;
    if (worker == NULL) {
        job->is_try = false;
        if (rc == KEK_OK) {
            start_outcome(job, KEK_LOGIN_NOT_TRIED);
        } else {
            free_job(job);
        }
        return;
    }
    worker->login.job = NULL;
    worker->lock_fd = job->lock_fd;
    job->lock_fd = -1;
    free_job(job);
    kek_start_recorded(worker, rc == KEK_OK ? NULL : why);
}

static void on_written(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct kek_login_job *job = arg;
    if (job->is_try) {
        finish_try(job, rc, why);
    } else {
        finish_outcome(job, rc == KEK_OK ? NULL : why);
    }
}

static enum kek_rc write_record(struct kek_login_job *job, const struct kek_login_record *record,
                                struct kek_why *why)
{
    char *text = kek_login_record_text(record);
    enum kek_rc rc = text == NULL
                         ? kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", job->login.path)
                         : kek_durable_write(job->backend->pool->loop, job->login.path,
                                             kek_bytes_of(text), on_written, job, why);
    free(text);
    return rc;
}

static struct kek_login_job *new_job(struct kek_worker *worker, struct kek_why *why)
{
    struct kek_pool *pool = worker->backend->pool;
    struct kek_login_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to write a login down");
        return NULL;
    }
    job->backend = worker->backend;
    job->login = worker->login;
    job->lock_fd = worker->lock_fd;
    worker->lock_fd = -1;
    pool->writes++;
    return job;
}

/* This login, counted before it happens. */
static void count_try(struct kek_login_record *record, struct kek_login *login)
{
    struct kek_login_entry *now = &login->now;
    now->refused = false;
    now->tries = login->before.tries + 1;
    now->code = login->before.code;
    now->time_ms = kek_clock_wall_ms();
    for (size_t i = record->count; i > 0; i--) {
        const struct kek_login_entry *entry = &record->entries[i - 1];
        if (is_about(entry, now) || is_outdated(entry, now)) {
            kek_login_record_drop(record, i - 1);
        }
    }
    kek_login_record_add(record, now);
}

enum kek_rc kek_login_begin(struct kek_worker *worker, uint64_t *wait_ms, struct kek_why *why)
{
    struct kek_backend *backend = worker->backend;
    struct kek_login *login = &worker->login;
    struct kek_login_record record;
    struct kek_why reading;
    const struct kek_login_entry *last = &backend->refused;
    if (last->refused && kek_login_same_pin(&last->credential.pin, &login->now.credential.pin)) {
        return kek_login_refusal(backend, last, login->path, why);
    }
    enum kek_rc rc = kek_login_record_read(login->path, &record, &reading);
    if (rc != KEK_OK && rc != KEK_NOT_FOUND) {
        *why = reading;
        return rc;
    }
    login->before = worst_of(&record, &login->now);
    rc = judge(backend, &login->before, login->path, wait_ms, why);
    /* Without a PIN there is nothing to use up: at a PIN pad each try is a person's. */
    if (rc != KEK_OK || login->now.credential.pin.size == 0) {
        return rc;
    }
    count_try(&record, login);
    struct kek_login_job *job = new_job(worker, why);
    if (job == NULL) {
        return why->rc;
    }
    job->is_try = true;
    rc = write_record(job, &record, why);
    if (rc != KEK_OK) {
        worker->lock_fd = job->lock_fd;
        job->lock_fd = -1;
        free_job(job);
        return rc;
    }
    job->worker = worker;
    login->job = job;
    return KEK_OK;
}

void kek_login_abandon(struct kek_worker *worker)
{
    if (worker->login.job != NULL) {
        worker->login.job->worker = NULL;
        worker->login.job = NULL;
    }
}

/* What stays on record after this outcome; a success takes back what else its own provider and role met,
 * since their PIN is known now. */
static void settle(struct kek_login_record *record, const struct kek_login *login,
                   enum kek_login_end how)
{
    const struct kek_login_entry *now = &login->now;
    for (size_t i = record->count; i > 0; i--) {
        const struct kek_login_entry *entry = &record->entries[i - 1];
        if (is_about(entry, now) || (how == KEK_LOGIN_GOOD && is_of(entry, now))) {
            kek_login_record_drop(record, i - 1);
        }
    }
    if (how == KEK_LOGIN_NOT_TRIED && login->before.tries > 0) {
        kek_login_record_add(record, &login->before);
    } else if (how == KEK_LOGIN_REFUSED || how == KEK_LOGIN_UNSURE) {
        kek_login_record_add(record, now);
    }
}

static void start_outcome(struct kek_login_job *job, enum kek_login_end how)
{
    struct kek_why why;
    struct kek_login_record record;
    enum kek_rc rc = kek_login_record_read(job->login.path, &record, &why);
    if (rc != KEK_OK && rc != KEK_NOT_FOUND && rc != KEK_INVALID) {
        finish_outcome(job, &why);
        return;
    }
    /* A damaged record lets nobody log in, so there is nothing in it to keep here. */
    size_t before = record.count;
    settle(&record, &job->login, how);
    if (record.count == before && how == KEK_LOGIN_GOOD) {
        finish_outcome(job, NULL);
        return;
    }
    if (record.count == 0) {
        bool gone = unlink(job->login.path) == 0 || errno == ENOENT;
        (void)kek_fail_native(&why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                              "removing %s", job->login.path);
        finish_outcome(job, gone ? NULL : &why);
        return;
    }
    if (write_record(job, &record, &why) != KEK_OK) {
        finish_outcome(job, &why);
    }
}

/* What the record may be unable to say: it is written later, or cannot be. */
static void remember(struct kek_backend *backend, const struct kek_login_entry *now,
                     enum kek_login_end how)
{
    if (how == KEK_LOGIN_NOT_TRIED) {
        return;
    }
    backend->proven_here = how == KEK_LOGIN_GOOD;
    if (how == KEK_LOGIN_GOOD) {
        backend->proven = now->credential.pin;
    }
    if (how != KEK_LOGIN_UNSURE) {
        backend->refused = *now;
    }
}

void kek_login_end(struct kek_worker *worker, enum kek_login_end how, unsigned long code)
{
    struct kek_login_entry *now = &worker->login.now;
    bool known = how == KEK_LOGIN_REFUSED || how == KEK_LOGIN_UNSURE;
    worker->login.open = false;
    now->refused = how == KEK_LOGIN_REFUSED;
    now->tries = known && now->tries == 0 ? 1 : now->tries; /* it could not be written before */
    now->code = known ? code : now->code;
    now->time_ms = kek_clock_wall_ms();
    remember(worker->backend, now, how);
    struct kek_why why;
    struct kek_login_job *job = new_job(worker, &why);
    if (job == NULL) {
        say_not_recorded(worker->backend, &why);
        return; /* the lock is let go of with the worker */
    }
    job->refusal = how == KEK_LOGIN_REFUSED;
    start_outcome(job, how);
}

/* ---- an operator's word that the PIN may be tried once more ---- */

static enum kek_rc lock_patiently(const char *state_dir, const char *slot, int *fd,
                                  struct kek_why *why)
{
    enum kek_rc rc = kek_login_lock(state_dir, slot, fd, why);
    for (int i = 0; i < LOCK_TRIES && rc == KEK_UNAVAILABLE; i++) {
        uv_sleep(20);
        rc = kek_login_lock(state_dir, slot, fd, why);
    }
    return rc;
}

/* A damaged record says of nobody in particular: only who asks for all is rid of it. */
static enum kek_rc forget_in(const char *state_dir, const char *slot, const char *provider,
                             size_t *forgotten, struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    char path[PATH_MAX];
    struct kek_login_record record;
    enum kek_rc rc = kek_login_path(state_dir, KEK_LOGIN_RECORD, slot, "", path, why);
    if (rc == KEK_OK) {
        rc = lock_patiently(state_dir, slot, &lock, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    rc = kek_login_record_read(path, &record, why);
    if (rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    if (rc != KEK_OK && provider != NULL) {
        return rc;
    }
    size_t before = rc == KEK_OK ? record.count : 1;
    for (size_t i = record.count; i > 0; i--) {
        if (provider == NULL || strcmp(record.entries[i - 1].provider, provider) == 0) {
            kek_login_record_drop(&record, i - 1);
        }
    }
    if (provider == NULL) {
        record.count = 0;
    }
    if (record.count == before) {
        return KEK_OK;
    }
    if (record.count > 0) {
        KEK_AUTO_FREE char *text = kek_login_record_text(&record);
        rc = text == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path)
                          : kek_durable_write_now(path, kek_bytes_of(text), why);
    } else if (unlink(path) != 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "removing %s", path);
    } else {
        rc = KEK_OK;
    }
    *forgotten += rc == KEK_OK ? before - record.count : 0;
    return rc;
}

static bool is_record(const char *name, char slot[static KEK_LOGIN_SLOT_TEXT])
{
    size_t head = strlen(KEK_LOGIN_RECORD);
    if (strncmp(name, KEK_LOGIN_RECORD, head) != 0 ||
        strlen(name + head) != KEK_LOGIN_SLOT_TEXT - 1 ||
        strspn(name + head, "0123456789abcdef") != KEK_LOGIN_SLOT_TEXT - 1) {
        return false;
    }
    memcpy(slot, name + head, KEK_LOGIN_SLOT_TEXT);
    return true;
}

enum kek_rc kek_pool_pin_retry(const char *state_dir, const char *provider, size_t *forgotten,
                               struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    size_t count = 0;
    DIR *folder = opendir(state_dir);
    if (folder == NULL && errno == ENOENT) {
        *forgotten = 0;
        return KEK_OK;
    }
    if (folder == NULL) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", state_dir);
    }
    for (const struct dirent *item = readdir(folder); item != NULL && rc == KEK_OK;
         item = readdir(folder)) {
        char slot[KEK_LOGIN_SLOT_TEXT];
        if (is_record(item->d_name, slot)) {
            rc = forget_in(state_dir, slot, provider, &count, why);
        }
    }
    (void)closedir(folder);
    if (rc == KEK_OK) {
        *forgotten = count;
    }
    return rc;
}
