/*
 * kekctl reencrypt: what its files share.
 *
 * reencrypt.c is the command, from the options to the report.  reencrypt_guard.c says whether it is the time to
 * rewrite anything; a source (reencrypt_list.c: the API server's lists; reencrypt_etcd.c: what is in etcd under
 * another key) names objects one by one; reencrypt_run.c has the API server rewrite them, many at once, at the pace
 * of reencrypt_pace.c; reencrypt_record.c remembers how far the lists were read; reencrypt_show.c tells.
 */
#ifndef KEKCTL_REENCRYPT_H
#define KEKCTL_REENCRYPT_H

#include "kek/kubeapi.h"
#include "kekctl/kekctl.h"

#define REENCRYPT_RESOURCES_MAX CTL_NAMES_MAX
#define REENCRYPT_CAUSES_MAX 32
#define REENCRYPT_VERSION_TEXT 64 /* of a resourceVersion */

/* What became of objects. */
struct reencrypt_counts {
    uint64_t rewritten;
    uint64_t fresh;     /* the API server had nothing to write anew */
    uint64_t meanwhile; /* somebody else wrote it since the run began */
    uint64_t gone;      /* deleted since */
    uint64_t
        unmoved; /* under another key in etcd, and yet nothing to write anew for the API server */
    uint64_t refused;
};

struct reencrypt_resource {
    struct kek_kubeapi_resource api;
    char name[KEK_KUBEAPI_RESOURCE_TEXT];
    char since
        [REENCRYPT_VERSION_TEXT]; /* of the first list: who has a later one was written since; "": none yet */
    struct reencrypt_counts counts;
    bool failed; /* its list could not be read to the end */
};

/* Why objects were refused: by whom, how many, and the first of them. */
struct reencrypt_cause {
    char by[128];
    char text[KEK_WHY_TEXT];
    char first[KEK_KUBEAPI_RESOURCE_TEXT + KEK_KUBEAPI_OBJECT_TEXT + 1];
    uint64_t count;
};

struct reencrypt {
    struct ctl *ctl;
    const struct kek_config *config;
    struct kek_kubeapi *api;
    struct reencrypt_resource resources[REENCRYPT_RESOURCES_MAX];
    size_t resource_count;
    bool decrypts; /* in clear is what is wanted, else under the primary */
    struct reencrypt_cause causes[REENCRYPT_CAUSES_MAX];
    size_t cause_count;
    uint64_t began_ms, ended_ms; /* of kek_clock_ms() */
};

struct reencrypt_counts reencrypt_sum(const struct reencrypt *reencrypt);
uint64_t reencrypt_seen(const struct reencrypt_counts *counts); /* all of them */

/* Puts it on the list of causes; `text` is what the server said. */
void reencrypt_refused(struct reencrypt *reencrypt, struct reencrypt_resource *resource,
                       const struct kek_kubeapi_object *object, const char *by, const char *text);

/* ---- where names come from ---- */

struct reencrypt_target {
    size_t resource; /* among reencrypt->resources */
    struct kek_kubeapi_object object;
    uint64_t ticket; /* the source's */
    bool is_old;     /* it is known to be under another key */
};

enum reencrypt_next {
    REENCRYPT_NAME = 0, /* *target is set */
    REENCRYPT_WAIT,     /* one may come later: turn the API */
    REENCRYPT_END,
    REENCRYPT_FAILED, /* why says why */
};

struct reencrypt_source {
    enum reencrypt_next (*next)(void *arg, struct reencrypt_target *target, struct kek_why *why);
    /* The target has come to its end, whichever; each that was given comes back once. is_done: nothing is left to be
     * done about it. */
    void (*handled)(void *arg, const struct reencrypt_target *target, bool is_done);
    /* Not given yet, as far as is known. */
    uint64_t (*left)(void *arg);
    /* Was it stored as is wanted?  Asked of the first one that was written, before another is begun: who writes under
     * another key, or in clear, is seen by one object.  KEK_NOT_FOUND: it is gone, so the next one is to tell.
     * NULL: nobody can say. */
    enum kek_rc (*check)(void *arg, const struct reencrypt_target *target, struct kek_why *why);
    /* What keeps it waiting, if that is trouble; NULL: nothing does. */
    const struct kek_why *(*trouble)(void *arg);
    void *arg;
};

#endif
