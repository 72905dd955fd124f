/* What an operator did, in one line: blocking, and by itself, since the program that did it ends. */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_head.h"
#include "audit_store.h"
#include "kek/audit_act.h"
#include "kek/auto.h"
#include "kek/clock.h"

#define LOCKED_MS 5000 /* that kekd may take to write */

struct kek_audit_acts {
    struct audit_store store;
    char node[HOST_NAME_MAX + 1];
    char *file, *head;
    const char *root; /* borrowed */
    struct kek_audit_place place;
};

void kek_audit_acts_free(struct kek_audit_acts *acts)
{
    if (acts != NULL) {
        audit_store_close(&acts->store);
        free(acts->file);
        free(acts->head);
        free(acts);
    }
}

struct kek_audit_acts *kek_audit_acts_new(const struct kek_audit_place *place, const char *root,
                                          struct kek_why *why)
{
    KEK_AUTO(kek_audit_acts) acts = calloc(1, sizeof *acts);
    if (acts != NULL) {
        acts->file = place->file == NULL ? NULL : strdup(place->file);
        acts->head = strdup(place->head);
    }
    if (acts == NULL || acts->head == NULL || (place->file != NULL && acts->file == NULL)) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log");
        return NULL;
    }
    acts->root = root;
    acts->place = *place; /* the sockets' paths are borrowed */
    acts->place.file = acts->file;
    acts->place.head = acts->head;
    char elsewhere[PATH_MAX];
    if (kek_audit_elsewhere(&acts->place, elsewhere)) {
        kek_fail(why, KEK_PRECONDITION,
                 "the audit log is %s, by kekd's record: its chain goes on in %s when a kekd has "
                 "started with that, and not before",
                 elsewhere, kek_audit_place_log(&acts->place));
        return NULL;
    }
    (void)gethostname(acts->node, sizeof acts->node - 1);
    enum kek_rc rc =
        audit_store_open(&acts->store, &acts->place, acts->node, AUDIT_FILE_GIVE, LOCKED_MS, why);
    if (rc != KEK_OK || audit_store_reach(&acts->store, why) != KEK_OK) {
        return NULL;
    }
    return KEK_STEAL(acts);
}

/* Who logged in, whoever they became since: audit(8)'s loginuid.  False: nobody did, as in a boot script. */
static bool login_uid(uint64_t *uid)
{
    char text[16] = "";
    KEK_AUTO_CLOSE int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof text - 1) <= 0) {
        return false;
    }
    *uid = strtoull(text, NULL, 10);
    return *uid != UINT32_MAX;
}

static void put_who(struct audit_text *line)
{
    uint64_t uid;
    PUT(line, ",\"peer_uid\":");
    audit_put_uint(line, getuid());
    PUT(line, ",\"peer_pid\":");
    audit_put_uint(line, (uint64_t)getpid());
    if (login_uid(&uid)) {
        PUT(line, ",\"login_uid\":");
        audit_put_uint(line, uid);
    }
}

static size_t render(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, const char *root,
                     const struct kek_audit_act *act)
{
    struct audit_text line = audit_text_begin(out, stamp, act->event);
    put_who(&line);
    if (act->command != NULL) {
        PUT(&line, ",\"command\":");
        audit_put_text(&line, act->command, WORDS_MAX);
    }
    audit_put_root(&line, root);
    if (act->provider != NULL) {
        audit_put_provider(&line, act->provider);
    }
    if (act->token != NULL) {
        PUT(&line, ",\"token\":");
        audit_put_text(&line, act->token, TOKEN_MAX);
    }
    if (act->mac_key != NULL) {
        char id[KEK_ID_TEXT];
        kek_id_format(act->mac_key, id);
        PUT(&line, ",\"mac_key\":");
        audit_put_text(&line, id, SIZE_MAX);
    }
    if (act->version > 0) {
        audit_put_version(&line, act->version);
    }
    if (act->kek_id != NULL) {
        audit_put_kek_id(&line, act->kek_id);
        PUT(&line, ",\"state\":");
        audit_put_text(&line, act->state, SIZE_MAX);
    }
    if (act->said != NULL) {
        PUT(&line, ",\"said\":");
        audit_put_text(&line, act->said, WORDS_MAX);
    }
    if (act->forgotten != NULL) {
        PUT(&line, ",\"forgotten\":");
        audit_put_uint(&line, *act->forgotten);
    }
    PUT(&line, ",\"outcome\":");
    audit_put_text(&line, act->outcome, SIZE_MAX);
    if (act->why != NULL) {
        audit_put_why(&line, act->why);
    }
    return audit_text_finish(&line, out);
}

static enum kek_rc put(struct kek_audit_acts *acts, const struct kek_audit_act *act,
                       struct kek_why *why)
{
    char line[AUDIT_LINE_MAX];
    struct audit_stamp stamp = {.wall_ms = kek_clock_wall_ms(), .node = acts->node, .second = -1};
    size_t taken, len = render(line, &stamp, acts->root, act);
    enum kek_rc rc = audit_store_append(&acts->store, kek_bytes(line, len), &taken, why);
    if (rc != KEK_OK) {
        (void)!fdatasync(acts->store.head_fd); /* the count of what is lost */
        return rc;
    }
    return audit_store_sync(&acts->store, why);
}

enum kek_rc kek_audit_act(struct kek_audit_acts *acts, const struct kek_audit_act *act,
                          struct kek_why *why)
{
    acts->store.gives_up = true;
    return put(acts, act, why);
}

void kek_audit_act_lost(const struct kek_audit_place *place)
{
    struct kek_why why;
    KEK_AUTO_CLOSE int head = audit_head_open(place->head, &why);
    if (head >= 0 && audit_head_lock(head, LOCKED_MS, &why) == KEK_OK) {
        audit_head_lose(head, 1);
        (void)!fdatasync(head);
    }
}

enum kek_rc kek_audit_act_begin(struct kek_audit_acts *acts, const struct kek_audit_act *act,
                                struct kek_why *why)
{
    struct kek_audit_act begun = *act;
    begun.outcome = KEK_AUDIT_BEGUN;
    acts->store.gives_up = false;
    return put(acts, &begun, why);
}
