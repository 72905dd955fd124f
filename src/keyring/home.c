#include "keyring/home.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/descriptors.h"
#include "keyring/ring.h"

/* One look, carried to libuv's thread pool and back. */
struct looking {
    uv_work_t work;
    struct kek_keyring
        *ring;       /* freed once the loop has run dry; of it only what stays is read there */
    unsigned writes; /* that had begun */
    bool writing;    /* the last of them had not ended */
    bool confirms;
    home_seen_fn *done;
    struct home seen;
    struct kek_lock lock, claim; /* of the folder that may take the place of one that was removed */
};

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* A link of a folder that was removed says so at its end, and one of another mount may say anything. */
static void find(const struct stat *held, int folder, char now[static PATH_MAX])
{
    char link[64], path[PATH_MAX];
    struct stat about;
    snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
    ssize_t len = readlink(link, path, sizeof path - 1);
    path[len < 0 ? 0 : len] = '\0';
    bool is_it = path[0] == '/' && stat(path, &about) == 0 && is_same(&about, held);
    snprintf(now, PATH_MAX, "%s", is_it ? path : "");
}

static void look_for_folder(struct home *seen, int folder, const char *state_dir)
{
    struct stat held, there;
    if (fstat(folder, &held) != 0) {
        seen->is = errno == ESTALE ? HOME_REMOVED : HOME_HERE; /* else what is written says it */
        return;
    }
    int error = stat(state_dir, &there) == 0 ? 0 : errno;
    if (error == 0 && is_same(&held, &there)) {
        return; /* whatever its file system counts as links */
    }
    if (held.st_nlink == 0) {
        seen->is = HOME_REMOVED;
    } else if (error != 0) {
        seen->is = HOME_AWAY;
        seen->error = error;
    } else {
        seen->is = HOME_OTHER;
    }
    if (seen->is == HOME_AWAY || seen->is == HOME_OTHER) {
        find(&held, folder, seen->now);
    }
}

static void look_for_file(struct looking *looking, int folder, const char *path)
{
    struct stat about;
    KEK_AUTO_CLOSE int fd =
        openat(folder, strrchr(path, '/') + 1, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) {
        looking->seen.lost = errno == ENOENT || errno == ELOOP;
        return;
    }
    looking->seen.lost =
        fstat(fd, &about) == 0 && (!S_ISREG(about.st_mode) || about.st_size > (off_t)RECORD_MAX);
    if (looking->seen.lost) {
        return;
    }
    KEK_AUTO_FREE char *text = malloc(RECORD_MAX);
    ssize_t len = text == NULL ? -1 : pread(fd, text, RECORD_MAX, 0);
    if (len < 0 || !kek_sha256_text(kek_bytes(text, (size_t)len), looking->seen.digest)) {
        looking->seen.digest[0] = '\0';
    }
}

/* False: why says who has it, or what keeps it from being taken. */
static bool take(const char *path, struct kek_lock *lock, struct kek_why *why)
{
    char who[KEK_LOCK_WHO];
    return kek_lock_take(path, lock, who, why) == KEK_OK;
}

/* Locks the folder that is there now, as the one that was removed was locked. */
static bool take_folder(struct looking *looking, struct kek_why *why)
{
    const struct kek_keyring *ring = looking->ring;
    const struct kek_lock *claim = ring->settings.claim;
    const char *record = ring->record_path, *name = strrchr(record, '/') + 1;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%.*s.lock", (int)(strlen(record) - strlen(".json")), record);
    if (!take(path, &looking->lock, why)) {
        return false;
    }
    if (faccessat(looking->lock.folder, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT) {
        kek_fail(why, KEK_PRECONDITION, "it has a %s of its own", name);
        return false;
    }
    return claim == NULL || claim->file < 0 ||
           (kek_config_state_file(ring->settings.config, "lock", path, why) == KEK_OK &&
            take(path, &looking->claim, why));
}

static void look_for_another(struct looking *looking)
{
    struct stat about;
    struct kek_why why;
    if (stat(looking->ring->settings.config->state_dir, &about) == 0 &&
        !take_folder(looking, &why)) {
        memcpy(looking->seen.why, why.text, sizeof looking->seen.why);
        kek_lock_release(&looking->lock);
    }
}

static void look(uv_work_t *work)
{
    struct looking *looking = work->data;
    const struct kek_keyring *ring = looking->ring;
    look_for_folder(&looking->seen, ring->lock.folder, ring->settings.config->state_dir);
    if (looking->seen.is == HOME_REMOVED && !looking->confirms) {
        look_for_another(looking);
    } else if (looking->seen.is != HOME_REMOVED) {
        look_for_file(looking, ring->lock.folder, ring->record_path);
    }
}

/* Not while something is written into the one that was removed: at the next look, then. */
static void move(struct kek_keyring *ring, struct looking *looking)
{
    bool moves = looking->lock.file >= 0 && !ring->record_writing && !ring->stopped;
    if (moves && looking->claim.file >= 0) {
        kek_lock_release(ring->settings.claim);
        *ring->settings.claim = looking->claim;
        looking->claim = KEK_LOCK_NONE;
    }
    if (moves) {
        kek_lock_release(&ring->lock);
        ring->lock = looking->lock;
        looking->lock = KEK_LOCK_NONE;
        ring->home.is = HOME_HERE;
    }
    ring->home.moved = moves;
    kek_lock_release(&looking->lock);
    kek_lock_release(&looking->claim);
}

static bool begin(struct kek_keyring *ring, home_seen_fn *seen, bool confirms);

static void looked(uv_work_t *work, int status)
{
    struct looking *looking = work->data;
    struct kek_keyring *ring = looking->ring;
    struct home *home = &ring->home;
    const char *is = looking->seen.digest;
    bool confirms = looking->confirms;
    home_seen_fn *seen = looking->done;
    (void)status; /* nothing cancels it */
    home->looking = false;
    home->is = looking->seen.is;
    home->error = looking->seen.error;
    memcpy(home->now, looking->seen.now, sizeof home->now);
    /* What was written meanwhile may be there, or not yet. */
    bool known = home->digest[0] != '\0' && looking->writes == home->writes && !looking->writing;
    home->lost = known && looking->seen.lost;
    home->changed = known && is[0] != '\0' && strcmp(is, home->digest) != 0;
    memcpy(home->found, is, sizeof home->found);
    memcpy(home->why, looking->seen.why, sizeof home->why);
    move(ring, looking);
    free(looking);
    seen(ring, confirms);
    bool again = home->again;
    confirms = home->confirms;
    home->again = home->confirms = false;
    if (again && !begin(ring, seen, confirms) && confirms) {
        home->is = HOME_AWAY; /* for want of memory it is not known */
        home->error = ENOMEM;
        seen(ring, true);
    }
}

static bool begin(struct kek_keyring *ring, home_seen_fn *seen, bool confirms)
{
    struct home *home = &ring->home;
    if (home->looking) { /* it may have seen what was before */
        home->again = true;
        home->confirms = home->confirms || confirms;
        return true;
    }
    struct looking *looking = calloc(1, sizeof *looking);
    if (looking == NULL) {
        return false;
    }
    looking->ring = ring;
    looking->lock = looking->claim = KEK_LOCK_NONE;
    looking->confirms = confirms;
    looking->done = seen;
    looking->writes = home->writes;
    looking->writing = ring->record_writing;
    looking->work.data = looking;
    home->looking = uv_queue_work(ring->loop, &looking->work, look, looked) == 0;
    if (!home->looking) {
        free(looking);
    }
    return home->looking;
}

void home_look(struct kek_keyring *ring, home_seen_fn *seen)
{
    if (!ring->home.looking) {
        (void)begin(ring, seen, false); /* else at the next refresh */
    }
}

bool home_confirm(struct kek_keyring *ring, home_seen_fn *seen)
{
    return begin(ring, seen, true);
}

bool home_is_here(const struct kek_keyring *ring)
{
    return ring->home.is == HOME_HERE;
}

void home_say(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    static const char back[] = "bring that folder back; restart kekd not before: it would not know "
                               "what this node announced (operations.md, state_dir)";
    const struct home *home = &ring->home;
    const char *path = ring->settings.config->state_dir;
    const char *is = home->now[0] == '\0' ? "" : ", which is now ";
    if (home->is == HOME_REMOVED && home->why[0] == '\0') {
        verdict_say(verdict,
                    "make it again, for kekd's user: kekd locks it and puts that on record there; "
                    "restart kekd not before",
                    "state_dir %s was removed: what this node announced is in kekd's memory alone",
                    path);
    } else if (home->is == HOME_REMOVED) {
        verdict_say(
            verdict,
            "move that one aside and make an empty one for kekd's user, into which kekd puts "
            "it; restart kekd not before (operations.md, state_dir)",
            "state_dir %s was removed: what this node announced is in kekd's memory alone, "
            "and not put into the folder that is there now: %s",
            path, home->why);
    } else if (home->is == HOME_AWAY) {
        verdict_say(verdict, back,
                    "state_dir %s does not name the folder that this kekd locked%s%s: %s", path, is,
                    home->now, strerror(home->error));
    } else {
        verdict_say(verdict, back,
                    "state_dir %s is another folder than the one that this kekd locked%s%s", path,
                    home->now[0] == '\0' ? ": a file system was mounted there, or is there no more"
                                         : is,
                    home->now);
    }
}
