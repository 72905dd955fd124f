#include "leftovers.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/descriptors.h"
#include "kek/durable.h"
#include "kek/lock_file.h"
#include "kek/login.h"

#define DIGITS 16
#define RUNS_MAX 64 /* that are looked for in state_dir */
#define DAY_S (24 * 3600)
#define TRIES 3
#define ROUNDS 16
#define RECORD_MAX \
    256 /* bytes of a run's file: its provider's name, its token's serial and model, a line each */

const struct leftovers_kind leftovers_of_conformance = {KEK_PROVIDER_CONFORMANCE_KEYRING, 2};
const struct leftovers_kind leftovers_of_probe = {KEK_PROVIDER_PROBE_KEYRING, 1};

static const uint8_t id_head[8] = {'K', 'E', 'K', 'D', 'T', 'E', 'S', 'T'};

bool leftovers_id(struct kek_id *kek_id)
{
    memcpy(kek_id->bytes, id_head, sizeof id_head);
    return getentropy(kek_id->bytes + sizeof id_head, sizeof kek_id->bytes - sizeof id_head) == 0;
}

static bool is_ours(const struct kek_id *kek_id)
{
    return memcmp(kek_id->bytes, id_head, sizeof id_head) == 0;
}

/* Is it the name of a run of this kind, other than the operator's own keyring? *began_s: since 1970. */
static bool is_run(const struct leftovers_kind *kind, const struct kek_config *config,
                   const char *name, uint64_t *began_s)
{
    size_t head = strlen(kind->prefix);
    char second[9];
    if (strncmp(name, kind->prefix, head) != 0 || strlen(name) != head + DIGITS ||
        strspn(name + head, "0123456789abcdef") != DIGITS || strcmp(name, config->keyring) == 0) {
        return false;
    }
    for (size_t i = 0; i < config->root_count; i++) {
        if (strcmp(name, config->roots[i].keyring) == 0) {
            return false;
        }
    }
    snprintf(second, sizeof second, "%.8s", name + head);
    *began_s = strtoull(second, NULL, 16);
    return true;
}

static void path_of(const struct kek_config *config, const char *name, char path[static PATH_MAX])
{
    snprintf(path, PATH_MAX, "%s/%s", config->state_dir, name);
}

bool leftovers_begin(struct leftovers *run, const struct leftovers_kind *kind,
                     const struct ctl *ctl, const struct kek_config *config)
{
    struct kek_why why;
    uint32_t chance;
    *run = (struct leftovers){.kind = kind, .lock = -1};
    if (getentropy(&chance, sizeof chance) != 0) {
        ctl_say(ctl, "no random numbers");
        return false;
    }
    snprintf(run->keyring, sizeof run->keyring, "%s%08" PRIx32 "%08" PRIx32, kind->prefix,
             (uint32_t)(kek_clock_wall_ms() / 1000), chance);
    if (kek_login_state_dir(config->state_dir, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return false;
    }
    return true;
}

static void describe(const struct kek_pool_provider *token, char text[static RECORD_MAX])
{
    snprintf(text, RECORD_MAX, "%s\n%s\n%s\n", token->name, token->serial, token->model);
}

enum kek_rc leftovers_record(struct leftovers *run, const struct kek_config *config,
                             const struct kek_pool_provider *token, struct kek_why *why)
{
    char path[PATH_MAX], text[RECORD_MAX];
    if (run->lock >= 0) {
        return KEK_OK;
    }
    path_of(config, run->keyring, path);
    describe(token, text);
    enum kek_rc rc = kek_lock_file_take(path, &run->lock, why);
    if (rc == KEK_OK && !kek_descriptor_write(run->lock, text, strlen(text))) {
        rc = kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                             "writing %s", path);
        leftovers_end(run, config, true);
    }
    return rc;
}

void leftovers_end(struct leftovers *run, const struct kek_config *config, bool clean)
{
    char path[PATH_MAX];
    path_of(config, run->keyring, path);
    if (run->lock >= 0 && clean) {
        (void)unlink(path);
    }
    if (run->lock >= 0) {
        (void)close(run->lock);
    }
    run->lock = -1;
}

static void note(char *text, size_t size, const char *what)
{
    size_t at = strlen(text);
    if (strstr(text, what) == NULL) {
        snprintf(text + at, size - at, "%s%s", at == 0 ? "" : "; ", what);
    }
}

/* Keys that are to go, each once. */
struct doomed {
    struct kek_id ids[2 * KEK_PROVIDER_VERSIONS_MAX];
    size_t count;
};

static void add(struct doomed *doomed, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < doomed->count; i++) {
        if (kek_id_equal(&doomed->ids[i], kek_id)) {
            return;
        }
    }
    if (doomed->count < sizeof doomed->ids / sizeof doomed->ids[0]) {
        doomed->ids[doomed->count++] = *kek_id;
    }
}

static unsigned versions_of(const char *keyring)
{
    const struct leftovers_kind *probe = &leftovers_of_probe;
    bool is_probe = strncmp(keyring, probe->prefix, strlen(probe->prefix)) == 0;
    return is_probe ? probe->versions : leftovers_of_conformance.versions;
}

/* Can a run have made it?  NULL: yes; else why not. */
static const char *why_not(const char *keyring, const struct kek_version *version)
{
    unsigned versions = versions_of(keyring);
    char label[KEK_LABEL_MAX], marked[KEK_LABEL_MAX];
    if (!is_ours(&version->id) || version->id_pad != 0) {
        return "its CKA_ID does not begin with KEKDTEST";
    }
    snprintf(marked, sizeof marked, "%s.v%u.compromised", keyring, versions);
    for (unsigned i = 1; i <= versions; i++) {
        snprintf(label, sizeof label, "%s.v%u", keyring, i);
        if (strcmp(version->label, label) == 0) {
            return NULL;
        }
    }
    return strcmp(version->label, marked) == 0 ? NULL : "a run makes no key with that label";
}

/* Adds what a process sees of ours; false: it could not look. */
static bool look(struct rig *rig, enum rig_role role, struct doomed *doomed,
                 struct leftovers_gone *gone)
{
    struct kek_pool_request request = {.op = KEK_POOL_LIST, .fresh = role == RIG_FRESH};
    const struct rig_answer *answer = rig_ask(rig, role, &request);
    if (answer->rc != KEK_OK) {
        gone->why = answer->why;
        return false;
    }
    for (size_t i = 0; i < answer->version_count; i++) {
        const struct kek_version *version = &answer->versions[i];
        const char *why = why_not(rig->keyring, version);
        if (why == NULL) {
            add(doomed, &version->id);
        } else {
            char what[LEFTOVERS_TEXT];
            snprintf(what, sizeof what, "%.160s: %s", version->label, why);
            note(gone->kept, sizeof gone->kept, what);
        }
    }
    return true;
}

/* What is not there has gone only where somebody destroyed it: a process may be blind. */
static void destroy(struct rig *rig, struct doomed *doomed, struct leftovers_gone *gone)
{
    size_t left = 0;
    for (size_t i = 0; i < doomed->count; i++) {
        struct kek_pool_request request = {.op = KEK_POOL_DESTROY, .kek_id = doomed->ids[i]};
        const struct rig_answer *answer = rig_ask(rig, RIG_OFFICER, &request);
        if (answer->rc == KEK_OK) {
            gone->removed++;
        } else {
            gone->why = answer->why;
            doomed->ids[left++] = doomed->ids[i];
        }
    }
    doomed->count = left;
}

bool leftovers_destroy(struct rig *rig, const struct kek_id *known, size_t known_count,
                       struct leftovers_gone *gone)
{
    struct doomed doomed = {.count = 0};
    char id[KEK_ID_TEXT] = "", last[RIG_KEYRING + 16] = "";
    *gone = (struct leftovers_gone){.removed = 0};
    for (size_t i = 0; i < known_count; i++) {
        add(&doomed, &known[i]);
    }
    for (unsigned i = 0; i <= TRIES && rig->interrupted <= rig->interruptible; i++) {
        bool looked = look(rig, RIG_OFFICER, &doomed, gone) && look(rig, RIG_FRESH, &doomed, gone);
        if (looked && doomed.count == 0) {
            return true;
        }
        if (i < TRIES) {
            destroy(rig, &doomed, gone);
        }
    }
    if (doomed.count > 0) {
        kek_id_format(&doomed.ids[0], id);
    }
    if (versions_of(rig->keyring) > 1) {
        snprintf(last, sizeof last, " or %s.v%u", rig->keyring, versions_of(rig->keyring));
    }
    snprintf(gone->left, sizeof gone->left,
             "keys with the label %s.v1%s%s%s may be left on the token: %.200s", rig->keyring, last,
             id[0] == '\0' ? "" : ", CKA_ID ", id,
             gone->why.rc != KEK_OK ? gone->why.text
                                    : "they were destroyed, and a process still sees them");
    return false;
}

/* ---- runs that were cut off ---- */

enum standing { STANDING_NOBODY, STANDING_UNDER_WAY, STANDING_ELSEWHERE };

/* Whose is it?  The lock of one that nobody holds is taken, so that no other run removes the
 * same. */
static enum standing stand(const struct kek_config *config, const char *name, uint64_t began_s,
                           int *lock)
{
    char path[PATH_MAX];
    struct kek_why why;
    uint64_t now_s = (uint64_t)kek_clock_wall_ms() / 1000;
    path_of(config, name, path);
    if (access(path, F_OK) != 0) {
        return now_s > began_s + DAY_S ? STANDING_NOBODY : STANDING_ELSEWHERE;
    }
    return kek_lock_file_take(path, lock, &why) == KEK_OK ? STANDING_NOBODY : STANDING_UNDER_WAY;
}

/* Its keys, by workers of its keyring; and then its file. */
static void remove_run(struct rig *rig, const struct kek_config *config, size_t provider,
                       const char *name, struct leftovers_found *found)
{
    char path[PATH_MAX];
    struct leftovers_gone gone = {.removed = 0};
    struct rig other;
    bool clean = rig_open(&other, rig->ctl, config, provider, name, NULL, 0);
    if (!clean) {
        snprintf(gone.left, sizeof gone.left, "%s: no workers for it", name);
    }
    clean = clean && leftovers_destroy(&other, NULL, 0, &gone);
    rig_close(&other);
    rig_take_signals(rig);
    found->removed += gone.removed;
    if (gone.kept[0] != '\0') {
        note(found->kept, sizeof found->kept, gone.kept);
    }
    if (!clean) {
        note(found->stuck, sizeof found->stuck, gone.left);
        found->why = gone.why;
    } else {
        path_of(config, name, path);
        (void)unlink(path);
    }
}

static void see_to(const struct leftovers *run, struct rig *rig, const struct kek_config *config,
                   size_t provider, const char *name, struct leftovers_found *found)
{
    int lock = -1;
    uint64_t began_s;
    if (!is_run(run->kind, config, name, &began_s) || strcmp(name, run->keyring) == 0) {
        return;
    }
    switch (stand(config, name, began_s, &lock)) {
    case STANDING_NOBODY:
        remove_run(rig, config, provider, name, found);
        break;
    case STANDING_UNDER_WAY:
        found->under_way++;
        break;
    case STANDING_ELSEWHERE:
        note(found->others, sizeof found->others, name);
        break;
    }
    if (lock >= 0) {
        (void)close(lock);
    }
}

/* ---- their files ---- */

/* What token a run was on, as far as its file tells. */
enum place { PLACE_HERE, PLACE_NOWHERE, PLACE_CONFIGURED, PLACE_UNKNOWN };

/* Some libraries number all their tokens 0. */
static bool is_serial(const char *serial)
{
    return serial[strspn(serial, "0 ")] != '\0';
}

static enum place place_of(const struct kek_config *config, const struct kek_pool_provider *token,
                           const char *record)
{
    char here[RECORD_MAX];
    size_t name = strcspn(record, "\n");
    const char *rest = record + name;
    if (rest[0] == '\0') {
        return PLACE_NOWHERE; /* it was cut off before a key was made */
    }
    describe(token, here);
    bool same_name = strlen(token->name) == name && strncmp(token->name, record, name) == 0;
    bool same_token = strcmp(strchr(here, '\n'), rest) == 0;
    if (same_token && (same_name || is_serial(token->serial))) {
        return PLACE_HERE;
    }
    for (size_t i = 0; i < config->provider_count && !same_name; i++) {
        const char *other = config->providers[i].name;
        if (strlen(other) == name && strncmp(other, record, name) == 0) {
            return PLACE_CONFIGURED;
        }
    }
    return PLACE_UNKNOWN;
}

static enum place read_place(const struct kek_config *config, const struct kek_pool_provider *token,
                             const char *name, char record[static RECORD_MAX])
{
    char path[PATH_MAX];
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, RECORD_MAX);
    path_of(config, name, path);
    if (kek_durable_read(path, RECORD_MAX - 1, &content, &why) != KEK_OK) {
        return PLACE_CONFIGURED;
    }
    snprintf(record, RECORD_MAX, "%.*s", (int)content.len, (const char *)content.data);
    return place_of(config, token, record);
}

/* Of a run that is over, on a token that is not at hand. */
static void see_to_file(const struct kek_config *config, enum place place, const char *name,
                        const char *record, struct leftovers_found *found)
{
    int lock = -1;
    struct kek_why why;
    char path[PATH_MAX], what[LEFTOVERS_TEXT];
    path_of(config, name, path);
    if (kek_lock_file_take(path, &lock, &why) != KEK_OK) {
        return;
    }
    if (place == PLACE_NOWHERE) {
        (void)unlink(path);
    } else {
        size_t named = strcspn(record, "\n");
        const char *serial = record + named + 1;
        snprintf(what, sizeof what,
                 "a run that was cut off may have left keys on another token, with serial %.*s, of "
                 "provider %.*s: run this on that token, or remove %.160s if it is gone",
                 (int)strcspn(serial, "\n"), serial, (int)named, record, path);
        note(found->kept, sizeof found->kept, what);
    }
    (void)close(lock);
}

/* The files of runs on this token; the others of nobody are seen to. */
static size_t list_files(const struct leftovers_kind *kind, const struct kek_config *config,
                         const struct kek_pool_provider *token,
                         char names[static RUNS_MAX][RIG_KEYRING], struct leftovers_found *found)
{
    size_t count = 0;
    uint64_t began_s;
    char record[RECORD_MAX];
    DIR *folder = opendir(config->state_dir);
    const struct dirent *entry;
    while (folder != NULL && count < RUNS_MAX && (entry = readdir(folder)) != NULL) {
        if (!is_run(kind, config, entry->d_name, &began_s)) {
            continue;
        }
        enum place place = read_place(config, token, entry->d_name, record);
        if (place == PLACE_HERE) {
            snprintf(names[count++], RIG_KEYRING, "%.*s", RIG_KEYRING - 1, entry->d_name);
        } else if (place != PLACE_CONFIGURED) {
            see_to_file(config, place, entry->d_name, record, found);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return count;
}

/* Keyrings of this kind that have keys on the token, as its officer was told as it began. */
static void see_to_others(const struct leftovers *run, struct rig *rig,
                          const struct kek_config *config, size_t provider,
                          struct leftovers_found *found)
{
    struct kek_pool_provider status;
    rig_status(rig, RIG_OFFICER, &status);
    found->unseen = rig_trials_unseen(&status);
    for (size_t i = 0; i < KEK_PROVIDER_OTHERS_MAX && status.others[i][0] != '\0'; i++) {
        see_to(run, rig, config, provider, status.others[i], found);
    }
}

void leftovers_remove(const struct leftovers *run, struct rig *rig, const struct kek_config *config,
                      size_t provider, struct leftovers_found *found)
{
    char names[RUNS_MAX][RIG_KEYRING];
    struct kek_pool_provider token;
    struct kek_pool_request request = {.op = KEK_POOL_LIST};
    *found = (struct leftovers_found){.removed = 0};
    if (rig_ask(rig, RIG_OFFICER, &request)->rc != KEK_OK) {
        note(found->stuck, sizeof found->stuck, rig->answer.why.text);
        found->why = rig->answer.why;
        return;
    }
    rig_status(rig, RIG_OFFICER, &token);
    size_t count = list_files(run->kind, config, &token, names, found), before;
    for (size_t i = 0; i < count && rig->interrupted == 0; i++) {
        see_to(run, rig, config, provider, names[i], found);
    }
    /* An officer names a few, and as they were when it began: the next one those that are left. */
    if (found->removed > 0) {
        rig_end(rig, RIG_OFFICER);
    }
    for (unsigned round = 0; round < ROUNDS && rig->interrupted == 0; round++) {
        before = found->removed;
        found->under_way = 0;
        if (rig_ask(rig, RIG_OFFICER, &request)->rc != KEK_OK) {
            note(found->stuck, sizeof found->stuck, rig->answer.why.text);
            found->why = rig->answer.why;
            return;
        }
        see_to_others(run, rig, config, provider, found);
        if (found->removed == before) {
            return;
        }
        rig_end(rig, RIG_OFFICER);
    }
    found->unseen = true;
}
