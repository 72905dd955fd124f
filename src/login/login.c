#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "kek/clock.h"
#include "kek/durable.h"

#define LONG_PAUSE 30 /* before the last try, in pauses before the second */

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

enum kek_rc kek_login_lock(struct kek_login *login, struct kek_why *why)
{
    return login_take_lock(login->provider->state_dir, login->slot, &login->lock_fd, why);
}

/* ---- what a record says of a login ---- */

static bool same_pin(const struct kek_login_pin *a, const struct kek_login_pin *b)
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
    return same_token(entry, now) && same_pin(&entry->credential.pin, &now->credential.pin) &&
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
static struct kek_login_entry worst_of(const struct login_record *record,
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

uint64_t kek_login_pause(const struct kek_login_provider *provider, unsigned tries)
{
    uint64_t first = provider->unsure_ms;
    return tries == 0 ? 0 : tries == 1 ? first : first * LONG_PAUSE;
}

/* ---- the words of the provider's type ---- */

#define CODE_TEXT 32

static bool is_service(const struct kek_login_provider *provider)
{
    return kek_config_setting(provider->config, "uri") == NULL;
}

static enum kek_native native_of(const struct kek_login_provider *provider, unsigned long code)
{
    if (code == 0) {
        return KEK_NATIVE_NONE;
    }
    return is_service(provider) ? KEK_NATIVE_HTTP : KEK_NATIVE_PKCS11;
}

static void code_text(const struct kek_login_provider *provider, unsigned long code,
                      char text[static CODE_TEXT])
{
    if (code == 0) {
        snprintf(text, CODE_TEXT, "none");
    } else if (is_service(provider)) {
        snprintf(text, CODE_TEXT, "HTTP %lu", code);
    } else {
        snprintf(text, CODE_TEXT, "0x%lx", code);
    }
}

void kek_login_say_unsure(const struct kek_login_provider *provider, unsigned long code,
                          char said[static KEK_LOGIN_SAID])
{
    char text[CODE_TEXT];
    bool came = code != 0;
    code_text(provider, code, text);
    snprintf(said, KEK_LOGIN_SAID, "%s to %s that may have been a try of the PIN%s%s%s",
             came ? "an answer" : "no answer", is_service(provider) ? "the login" : "C_Login",
             came ? " (" : "", came ? text : "", came ? ")" : "");
}

static enum kek_rc refusal(const struct kek_login_provider *provider,
                           const struct kek_login_entry *entry, const char *path,
                           struct kek_why *why)
{
    char source[160], met[96], code[CODE_TEXT];
    if (!entry->refused && entry->tries < KEK_LOGIN_TRIES) {
        return KEK_OK;
    }
    bool file = kek_login_pin_source(provider, source, sizeof source);
    code_text(provider, entry->code, code);
    snprintf(met, sizeof met, "was refused (%s)", code);
    if (!entry->refused) {
        snprintf(met, sizeof met, "may have been tried %u times without a clear answer (last %s)",
                 entry->tries, code);
    }
    return kek_fail_native(why, KEK_DENIED, native_of(provider, entry->code), entry->code,
                           "%s, not tried again: %srun kekctl pin retry (%s)", met,
                           file ? "change that file, or " : "", path);
}

enum kek_rc kek_login_refusal(const struct kek_login *login, struct kek_why *why)
{
    return refusal(login->provider, &login->now, login->path, why);
}

static enum kek_rc judge(const struct kek_login_provider *provider,
                         const struct kek_login_entry *worst, const char *path, uint64_t *wait_ms,
                         struct kek_why *why)
{
    enum kek_rc rc = refusal(provider, worst, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    uint64_t pause = kek_login_pause(provider, worst->tries);
    int64_t since = kek_clock_wall_ms() - worst->time_ms;
    /* A wall clock that was set back must not keep the token away until it is late again. */
    if (since < 0 || (uint64_t)since >= pause) {
        return KEK_OK;
    }
    char said[KEK_LOGIN_SAID];
    kek_login_say_unsure(provider, worst->code, said);
    *wait_ms = pause - (uint64_t)since;
    return kek_fail_native(why, KEK_UNAVAILABLE, native_of(provider, worst->code), worst->code,
                           "%s, %u of %d: the next one follows %llu s after it", said, worst->tries,
                           KEK_LOGIN_TRIES, (unsigned long long)(pause / 1000));
}

/* ---- writing it down ---- */

/* One write of a record; it holds the login lock until the record is on disk. */
struct kek_login_job {
    struct kek_login *owner; /* whose try is being written; NULL: an outcome, or its worker went */
    struct kek_login login;  /* a copy, which holds the lock */
    bool is_try, is_refusal;
};

/* `why`: an outcome is not on record. */
static void say_written(struct kek_login_provider *provider, const struct kek_why *why)
{
    struct kek_why said;
    if (why != NULL) {
        said = *why;
        kek_fail_within(&said, KEK_DENIED, "%s: the token's answer to the PIN is not on record",
                        provider->config->name);
    }
    provider->written(provider->arg, why == NULL ? NULL : &said);
}

static void end_job(struct kek_login_job *job, const struct kek_why *why)
{
    struct kek_login_provider *provider = job->login.provider;
    if (job->login.lock_fd >= 0) {
        close(job->login.lock_fd);
    }
    free(job);
    provider->writes--;
    say_written(provider, why);
}

static void start_outcome(struct kek_login_job *job, enum kek_login_end how);

static void finish_try(struct kek_login_job *job, const struct kek_why *why)
{
    struct kek_login *login = job->owner;
    if (login == NULL && why == NULL) {
        job->is_try = false;
        start_outcome(job, KEK_LOGIN_NOT_TRIED);
        return;
    }
    if (login != NULL) {
        login->job = NULL;
        login->lock_fd = job->login.lock_fd;
        job->login.lock_fd = -1;
    }
    end_job(job, NULL);
    if (login != NULL) {
        login->recorded(login->arg, why);
    }
}

static void on_written(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct kek_login_job *job = arg;
    if (job->is_try) {
        finish_try(job, rc == KEK_OK ? NULL : why);
        return;
    }
    if (rc == KEK_OK && job->is_refusal) {
        job->login.provider->refused.refused = false; /* from now on the record says it */
    }
    end_job(job, rc == KEK_OK ? NULL : why);
}

static enum kek_rc write_record(struct kek_login_job *job, const struct login_record *record,
                                struct kek_why *why)
{
    char *text = login_record_text(record);
    enum kek_rc rc = text == NULL
                         ? kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", job->login.path)
                         : kek_durable_write(job->login.provider->loop, job->login.path,
                                             kek_bytes_of(text), on_written, job, why);
    free(text);
    return rc;
}

static struct kek_login_job *new_job(struct kek_login *login, struct kek_why *why)
{
    struct kek_login_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to write a login down");
        return NULL;
    }
    job->login = *login;
    login->lock_fd = -1;
    login->provider->writes++;
    return job;
}

/* This login, counted before it happens. */
static void count_try(struct login_record *record, struct kek_login *login)
{
    struct kek_login_entry *now = &login->now;
    now->refused = false;
    now->tries = login->before.tries + 1;
    now->code = login->before.code;
    now->time_ms = kek_clock_wall_ms();
    for (size_t i = record->count; i > 0; i--) {
        const struct kek_login_entry *entry = &record->entries[i - 1];
        if (is_about(entry, now) || is_outdated(entry, now)) {
            login_record_drop(record, i - 1);
        }
    }
    login_record_add(record, now);
}

enum kek_rc kek_login_begin(struct kek_login *login,
                            void (*recorded)(void *arg, const struct kek_why *why), void *arg,
                            uint64_t *wait_ms, struct kek_why *why)
{
    struct kek_login_provider *provider = login->provider;
    struct login_record record;
    struct kek_why reading;
    const struct kek_login_entry *last = &provider->refused;
    if (last->refused && same_pin(&last->credential.pin, &login->now.credential.pin)) {
        return refusal(provider, last, login->path, why);
    }
    enum kek_rc rc = login_record_read(login->path, &record, &reading);
    if (rc != KEK_OK && rc != KEK_NOT_FOUND) {
        *why = reading;
        return rc;
    }
    login->before = worst_of(&record, &login->now);
    rc = judge(provider, &login->before, login->path, wait_ms, why);
    /* Without a PIN there is nothing to use up: at a PIN pad each try is a person's. */
    if (rc != KEK_OK || login->now.credential.pin.size == 0) {
        return rc;
    }
    count_try(&record, login);
    struct kek_login_job *job = new_job(login, why);
    if (job == NULL) {
        return why->rc;
    }
    rc = write_record(job, &record, why);
    if (rc != KEK_OK) {
        login->lock_fd = job->login.lock_fd;
        job->login.lock_fd = -1;
        end_job(job, NULL);
        return rc;
    }
    job->is_try = true;
    job->owner = login;
    login->job = job;
    login->recorded = recorded;
    login->arg = arg;
    return KEK_OK;
}

void kek_login_unlock(struct kek_login *login)
{
    if (login->job != NULL) {
        login->job->owner = NULL;
        login->job = NULL;
    }
    if (login->lock_fd >= 0) {
        close(login->lock_fd);
        login->lock_fd = -1;
    }
}

bool kek_login_unrecorded(struct kek_login *login)
{
    struct kek_login_provider *provider = login->provider;
    bool may = provider->is_proven && same_pin(&provider->proven, &login->now.credential.pin);
    provider->is_proven = provider->is_proven && !may;
    return may;
}

void kek_login_unanswered(struct kek_login *login)
{
    login->open = false;
    login->now.code = 0;
    login->provider->is_proven = false;
}

/* What stays on record after this outcome; a success takes back what else its own provider and role met,
 * since their PIN is known now. */
static void settle(struct login_record *record, const struct kek_login *login,
                   enum kek_login_end how)
{
    const struct kek_login_entry *now = &login->now;
    for (size_t i = record->count; i > 0; i--) {
        const struct kek_login_entry *entry = &record->entries[i - 1];
        if (is_about(entry, now) || (how == KEK_LOGIN_GOOD && is_of(entry, now))) {
            login_record_drop(record, i - 1);
        }
    }
    if (how == KEK_LOGIN_NOT_TRIED && login->before.tries > 0) {
        login_record_add(record, &login->before);
    } else if (how == KEK_LOGIN_REFUSED || how == KEK_LOGIN_UNSURE) {
        login_record_add(record, now);
    }
}

static void start_outcome(struct kek_login_job *job, enum kek_login_end how)
{
    struct kek_why why;
    struct login_record record;
    enum kek_rc rc = login_record_read(job->login.path, &record, &why);
    if (rc != KEK_OK && rc != KEK_NOT_FOUND && rc != KEK_INVALID) {
        end_job(job, &why);
        return;
    }
    /* A damaged record lets nobody log in, so there is nothing in it to keep here. */
    size_t before = record.count;
    settle(&record, &job->login, how);
    if (record.count == before && how == KEK_LOGIN_GOOD) {
        end_job(job, NULL);
        return;
    }
    if (record.count == 0) {
        bool gone = unlink(job->login.path) == 0 || errno == ENOENT;
        (void)kek_fail_native(&why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                              "removing %s", job->login.path);
        end_job(job, gone ? NULL : &why);
        return;
    }
    if (write_record(job, &record, &why) != KEK_OK) {
        end_job(job, &why);
    }
}

/* What the record may be unable to say: it is written later, or cannot be. */
static void remember(struct kek_login_provider *provider, const struct kek_login_entry *now,
                     enum kek_login_end how)
{
    if (how == KEK_LOGIN_NOT_TRIED) {
        return;
    }
    provider->is_proven = how == KEK_LOGIN_GOOD;
    if (how == KEK_LOGIN_GOOD) {
        provider->proven = now->credential.pin;
    }
    if (how != KEK_LOGIN_UNSURE) {
        provider->refused = *now;
    }
}

void kek_login_end(struct kek_login *login, enum kek_login_end how, unsigned long code)
{
    struct kek_login_entry *now = &login->now;
    bool known = how == KEK_LOGIN_REFUSED || how == KEK_LOGIN_UNSURE;
    login->open = false;
    now->refused = how == KEK_LOGIN_REFUSED;
    now->tries = known && now->tries == 0 ? 1 : now->tries; /* it could not be written before */
    now->code = known ? code : now->code;
    now->time_ms = kek_clock_wall_ms();
    remember(login->provider, now, how);
    struct kek_why why;
    struct kek_login_job *job = new_job(login, &why);
    if (job == NULL) {
        say_written(login->provider, &why);
        kek_login_unlock(login); /* else no other process could log in while this worker lives */
        return;
    }
    job->is_refusal = how == KEK_LOGIN_REFUSED;
    start_outcome(job, how);
}
