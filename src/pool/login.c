#include "front.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "kek/durable.h"

/* What all processes that log in to one token share, in state_dir:
 *
 *   login-<slot>.lock    held (flock) from before Login until its outcome is on disk
 *   pin-refused-<slot>   the PIN files that the token refused, one line each, with the provider whose
 *                        login it was
 *
 * <slot> is the first half of SHA-256 of the token's serial number.  The PIN files of kekd and of the
 * officers may both stand there, and those of several providers (copies of a token have one serial
 * number): a login takes back the lines of its own provider and role only, or each of its starts would
 * give another's refused PIN another try.  kekctl may run as root: what it makes belongs to the
 * folder's owner, so that kekd can open it. */

#define PATH_BYTES 4096
#define RECORD_MAX 8192
#define RECORD "pin-refused-"
#define PROVIDER_TEXT 33
#define LOCK_TRIES 500 /* of a retry, 20 ms apart: a login that is under way ends first */
#define ENTRIES_MAX 8
#define HEAD "kekd refused PINs 1\n"

struct entry {
    bool officer;
    struct kek_login_pin pin;
    unsigned long code;
    int64_t time_ms;
    char provider[PROVIDER_TEXT];
};

struct entries {
    size_t count;
    struct entry items[ENTRIES_MAX];
};

void kek_login_slot(const char *token, char slot[static KEK_LOGIN_SLOT_TEXT])
{
    uint8_t digest[32];
    if (EVP_Digest(token, strlen(token), digest, NULL, EVP_sha256(), NULL) != 1) {
        abort(); /* out of memory; without its record a refused PIN would be tried again */
    }
    kek_hex(kek_bytes(digest, (KEK_LOGIN_SLOT_TEXT - 1) / 2), slot);
}

static enum kek_rc make_path(const char *state_dir, const char *format, const char *slot,
                             char path[static PATH_BYTES], struct kek_why *why)
{
    int len = snprintf(path, PATH_BYTES, "%s/", state_dir);
    if (len > 0 && len < PATH_BYTES) {
        len += snprintf(path + len, (size_t)(PATH_BYTES - len), "%s%s", format, slot);
    }
    if (len < 0 || len >= PATH_BYTES - 8) {
        return kek_fail(why, KEK_INVALID, "the path of state_dir is too long");
    }
    return KEK_OK;
}

static enum kek_rc lock_path(const char *state_dir, const char *slot, char path[static PATH_BYTES],
                             struct kek_why *why)
{
    enum kek_rc rc = make_path(state_dir, "login-", slot, path, why);
    if (rc == KEK_OK) {
        strncat(path, ".lock", 6);
    }
    return rc;
}

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

/* Root's files become the folder owner's. */
static void give_to_owner(const char *state_dir, int fd)
{
    struct stat st;
    if (geteuid() == 0 && stat(state_dir, &st) == 0 && st.st_uid != 0) {
        (void)!fchown(fd, st.st_uid, st.st_gid);
    }
}

enum kek_rc kek_login_lock(const char *state_dir, const char *slot, int *fd, struct kek_why *why)
{
    char path[PATH_BYTES];
    enum kek_rc rc = lock_path(state_dir, slot, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO_CLOSE int lock =
        open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (lock < 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", path);
    }
    give_to_owner(state_dir, lock);
    if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
        return kek_fail_native(why, errno == EWOULDBLOCK ? KEK_UNAVAILABLE : KEK_INTERNAL,
                               KEK_NATIVE_ERRNO, (unsigned long)errno, "locking %s", path);
    }
    *fd = lock;
    lock = -1;
    return KEK_OK;
}

/* "name=number " at *at; signed numbers as their two's complement. */
static bool take(const char **at, const char *name, uint64_t *value)
{
    size_t len = strlen(name);
    if (strncmp(*at, name, len) != 0) {
        return false;
    }
    const char *digits = *at + len;
    bool negative = *digits == '-';
    digits += negative ? 1 : 0;
    if (*digits < '0' || *digits > '9') {
        return false;
    }
    char *stop;
    errno = 0;
    uint64_t number = strtoull(digits, &stop, 0);
    if (errno != 0 || *stop != ' ') {
        return false;
    }
    *value = negative ? -number : number;
    *at = stop + 1;
    return true;
}

/* The provider's name and the end of the line. */
static bool take_provider(const char *at, char provider[static PROVIDER_TEXT])
{
    static const char name[] = "provider=";
    if (strncmp(at, name, strlen(name)) != 0) {
        return false;
    }
    at += strlen(name);
    size_t len = strcspn(at, " \n");
    if (len == 0 || len >= PROVIDER_TEXT || at[len] != ' ' || at[len + 1] != '\n') {
        return false;
    }
    memcpy(provider, at, len);
    provider[len] = '\0';
    return true;
}

static bool read_entry(const char *line, struct entry *entry)
{
    uint64_t officer, mtime, code, time;
    if (!take(&line, "officer=", &officer) || !take(&line, "pin_inode=", &entry->pin.inode) ||
        !take(&line, "pin_mtime_ns=", &mtime) || !take(&line, "pin_size=", &entry->pin.size) ||
        !take(&line, "code=", &code) || !take(&line, "time_ms=", &time) ||
        !take_provider(line, entry->provider)) {
        return false;
    }
    entry->officer = officer != 0;
    entry->pin.mtime_ns = (int64_t)mtime;
    entry->code = (unsigned long)code;
    entry->time_ms = (int64_t)time;
    return true;
}

/* A damaged record refuses: what it said cannot be known. */
static enum kek_rc read_record(const char *path, struct entries *entries, struct kek_why *why)
{
    entries->count = 0;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, RECORD_MAX);
    enum kek_rc rc = kek_durable_read(path, RECORD_MAX - 1, &content, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = kek_buf_append(&content, kek_bytes("", 1), why);
    if (rc != KEK_OK) {
        return rc;
    }
    const char *line = (const char *)content.data;
    bool good = strncmp(line, HEAD, strlen(HEAD)) == 0 && strlen(line) + 1 == content.len;
    line += good ? strlen(HEAD) : 0;
    while (good && *line != '\0') {
        const char *end = strchr(line, '\n');
        good = end != NULL && entries->count < ENTRIES_MAX &&
               read_entry(line, &entries->items[entries->count]);
        entries->count += good ? 1 : 0;
        line = good ? end + 1 : line;
    }
    if (!good) {
        return kek_fail(why, KEK_INVALID,
                        "%s is damaged: make sure that the PIN is right, then remove it", path);
    }
    return KEK_OK;
}

static bool same_pin(const struct kek_login_pin *a, const struct kek_login_pin *b)
{
    return a->inode == b->inode && a->mtime_ns == b->mtime_ns && a->size == b->size;
}

enum kek_rc kek_login_check(const char *state_dir, const char *slot,
                            const struct kek_login_pin *pin, bool *recorded, struct kek_why *why)
{
    char path[PATH_BYTES];
    struct entries entries;
    enum kek_rc rc = make_path(state_dir, RECORD, slot, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    struct kek_why reading;
    rc = read_record(path, &entries, &reading);
    if (rc == KEK_NOT_FOUND) {
        *recorded = false;
        return KEK_OK;
    }
    if (rc != KEK_OK) {
        if (why != NULL) {
            *why = reading;
        }
        return rc;
    }
    for (size_t i = 0; i < entries.count; i++) {
        if (same_pin(&entries.items[i].pin, pin)) {
            return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_PKCS11, entries.items[i].code,
                                   "refused before (0x%lx), not tried again: change that file, or "
                                   "run kekctl pin retry (%s)",
                                   entries.items[i].code, path);
        }
    }
    *recorded = true;
    return KEK_OK;
}

/* Holds the login lock until the record is on disk. */
struct write_job {
    struct kek_backend *backend;
    int lock_fd;
    char path[PATH_BYTES];
};

static void finish_job(struct write_job *job, const struct kek_why *why)
{
    struct kek_pool *pool = job->backend->pool;
    if (why != NULL) {
        struct kek_why said = *why;
        kek_fail_within(&said, KEK_DENIED, "%s: the token's answer to the PIN is not on record",
                        job->backend->config->name);
        kek_backend_judge(job->backend, &said);
    }
    close(job->lock_fd);
    free(job);
    pool->writes--;
    kek_pool_check_closed(pool);
}

static void on_written(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct write_job *job = arg;
    if (rc == KEK_OK) {
        KEK_AUTO_CLOSE int fd = open(job->path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (fd >= 0) {
            give_to_owner(job->backend->pool->state_dir, fd);
        }
        job->backend->refused_here = false; /* from now on the record says it */
    }
    finish_job(job, rc == KEK_OK ? NULL : why);
}

static size_t print_record(const struct entries *entries, char text[static RECORD_MAX])
{
    int len = snprintf(text, RECORD_MAX, "%s", HEAD);
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->items[i];
        len += snprintf(text + len, RECORD_MAX - (size_t)len,
                        "officer=%d pin_inode=%llu pin_mtime_ns=%lld pin_size=%llu code=0x%lx "
                        "time_ms=%lld provider=%s \n",
                        entry->officer, (unsigned long long)entry->pin.inode,
                        (long long)entry->pin.mtime_ns, (unsigned long long)entry->pin.size,
                        entry->code, (long long)entry->time_ms, entry->provider);
    }
    return (size_t)len;
}

static enum kek_rc start_write(struct write_job *job, const struct entries *entries,
                               struct kek_why *why)
{
    char text[RECORD_MAX];
    size_t len = print_record(entries, text);
    return kek_durable_write(job->backend->pool->loop, job->path, kek_bytes(text, len), on_written,
                             job, why);
}

static void drop(struct entries *entries, size_t at)
{
    entries->count--;
    memmove(&entries->items[at], &entries->items[at + 1],
            (entries->count - at) * sizeof entries->items[0]);
}

/* Was it a login of this provider, in this pool's role? */
static bool is_of(const struct entry *entry, const struct kek_backend *backend)
{
    return entry->officer == backend->pool->settings.officer &&
           strcmp(entry->provider, backend->config->name) == 0;
}

/* The lines that stay: a PIN file has one line, the newest; a login takes its own away. */
static void keep_others(struct entries *entries, const struct kek_backend *backend,
                        const struct kek_login_pin *refused)
{
    for (size_t i = entries->count; i > 0; i--) {
        const struct entry *entry = &entries->items[i - 1];
        if (refused == NULL ? is_of(entry, backend) : entry->pin.inode == refused->inode) {
            drop(entries, i - 1);
        }
    }
}

static void change_record(struct kek_backend *backend, const char *slot, int lock_fd,
                          const struct kek_login_refusal *refusal)
{
    struct kek_pool *pool = backend->pool;
    struct kek_why why;
    struct entries entries = {0};
    struct write_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        close(lock_fd);
        return;
    }
    pool->writes++;
    job->backend = backend;
    job->lock_fd = lock_fd;
    enum kek_rc rc = make_path(pool->state_dir, RECORD, slot, job->path, &why);
    if (rc == KEK_OK) {
        /* A damaged record lets nobody log in, so there is nothing in it to keep here. */
        (void)read_record(job->path, &entries, NULL);
        size_t before = entries.count;
        keep_others(&entries, backend, refusal == NULL ? NULL : &refusal->pin);
        if (refusal == NULL && entries.count > 0 && entries.count == before) {
            finish_job(job, NULL);
            return;
        }
        if (refusal != NULL && entries.count == ENTRIES_MAX) {
            drop(&entries, 0);
        }
        if (refusal != NULL) {
            struct entry *entry = &entries.items[entries.count++];
            *entry = (struct entry){
                .officer = pool->settings.officer,
                .pin = refusal->pin,
                .code = refusal->code,
                .time_ms = kek_clock_wall_ms(),
            };
            snprintf(entry->provider, sizeof entry->provider, "%s", backend->config->name);
        }
    }
    if (rc == KEK_OK && entries.count == 0) {
        bool gone = unlink(job->path) == 0 || errno == ENOENT;
        (void)kek_fail_native(&why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                              "removing %s", job->path);
        finish_job(job, gone ? NULL : &why);
        return;
    }
    if (rc == KEK_OK) {
        rc = start_write(job, &entries, &why);
    }
    if (rc != KEK_OK) {
        finish_job(job, &why);
    }
}

void kek_login_record(struct kek_backend *backend, const char *slot, int lock_fd,
                      const struct kek_login_refusal *refusal)
{
    change_record(backend, slot, lock_fd, refusal);
}

void kek_login_forget(struct kek_backend *backend, const char *slot, int lock_fd)
{
    change_record(backend, slot, lock_fd, NULL);
}

/* ---- an operator's word that the PIN may be tried once more ---- */

struct written {
    bool done;
    enum kek_rc rc;
    struct kek_why why;
};

static void on_rewritten(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct written *written = arg;
    written->done = true;
    written->rc = rc;
    if (rc != KEK_OK) {
        written->why = *why;
    }
}

/* On a loop of its own, to its end. */
static enum kek_rc rewrite(const char *path, const struct entries *entries, struct kek_why *why)
{
    char text[RECORD_MAX];
    size_t len = print_record(entries, text);
    struct written written = {.rc = KEK_INTERNAL};
    uv_loop_t loop;
    int failed = uv_loop_init(&loop);
    if (failed != 0) {
        return kek_fail_native(why, KEK_NO_MEMORY, KEK_NATIVE_UV, (unsigned long)-failed,
                               "no event loop");
    }
    enum kek_rc rc =
        kek_durable_write(&loop, path, kek_bytes(text, len), on_rewritten, &written, why);
    if (rc == KEK_OK) {
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        rc = written.rc;
        if (rc != KEK_OK && why != NULL) {
            *why = written.why;
        }
    }
    (void)uv_loop_close(&loop);
    return rc;
}

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
    char path[PATH_BYTES];
    struct entries entries = {0};
    enum kek_rc rc = make_path(state_dir, RECORD, slot, path, why);
    if (rc == KEK_OK) {
        rc = lock_patiently(state_dir, slot, &lock, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    rc = read_record(path, &entries, why);
    if (rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    if (rc != KEK_OK && provider != NULL) {
        return rc;
    }
    size_t before = rc == KEK_OK ? entries.count : 1;
    for (size_t i = entries.count; i > 0; i--) {
        if (provider == NULL || strcmp(entries.items[i - 1].provider, provider) == 0) {
            drop(&entries, i - 1);
        }
    }
    if (provider == NULL) {
        entries.count = 0;
    }
    if (entries.count == before) {
        return KEK_OK;
    }
    if (entries.count > 0) {
        rc = rewrite(path, &entries, why);
        KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
        if (rc == KEK_OK && fd >= 0) {
            give_to_owner(state_dir, fd);
        }
    } else if (unlink(path) != 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "removing %s", path);
    } else {
        rc = KEK_OK;
    }
    *forgotten += rc == KEK_OK ? before - entries.count : 0;
    return rc;
}

static bool is_record(const char *name, char slot[static KEK_LOGIN_SLOT_TEXT])
{
    size_t head = strlen(RECORD);
    if (strncmp(name, RECORD, head) != 0 || strlen(name + head) != KEK_LOGIN_SLOT_TEXT - 1 ||
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
