/*
 * The Kubernetes API, for programs that may block: kekctl alone, never kekd.
 *
 * A kubeconfig says where the API server is, by which CA it is believed and who asks.  Nothing of it is run:
 * exec plugins, auth providers and passwords are refused, and so is a server that nobody verifies.  Over the
 * room `remote`.  Of objects only metadata is ever asked for: a Secret's data does not come here.  One thread.
 */
#ifndef KEK_KUBEAPI_H
#define KEK_KUBEAPI_H

#include <jansson.h>

#include "kek/bytes.h"
#include "kek/remote.h"
#include "kek/secret.h"

#define KEK_KUBECONFIG_MAX (1024u * 1024) /* bytes of the file */
#define KEK_KUBECONFIG_DEFAULT "/etc/kubernetes/admin.conf"
#define KEK_KUBEAPI_TOKEN_MAX (16u * 1024) /* bytes of a bearer token */
#define KEK_KUBEAPI_PAGE 500u              /* objects of a list's page, as kubectl asks for */
#define KEK_KUBEAPI_JSON_MAX (4u << 20)    /* bytes of an answer that is taken whole */

/* ---- who asks whom: kubeconfig ---- */

/* One context of a kubeconfig. It owns all it points to. A PEM text stands in the file itself, or its path does:
 * absolute, or made so from the kubeconfig's folder. */
struct kek_kubeconfig {
    char *path;        /* of the kubeconfig */
    char *context;     /* the context's name */
    char *server;      /* "https://HOST[:PORT][/PATH]", without a slash at the end */
    char *server_name; /* that the server's certificate must have; NULL: the URL's host */
    char *proxy;       /* NULL: none */
    char *ca_file;     /* NULL with ca empty: the system's CAs */
    struct kek_buf ca;
    char *cert_file, *key_file; /* the client's; NULL: inline, or there is none */
    struct kek_buf cert;
    struct kek_secret *key;
    struct kek_secret *token; /* NULL: none */
    char *token_file;         /* goes before `token`; NULL: none */
    bool is_open;             /* others than its owner may read the file */
};

/* Which file is meant: `given`, else the one file of KUBECONFIG, else KEK_KUBECONFIG_DEFAULT. Borrowed. NULL:
 * KUBECONFIG names several. */
const char *kek_kubeconfig_path(const char *given, struct kek_why *why);

/* `context`: NULL for current-context. The process must have called kek_secret_setup(). NULL: why names the file,
 * the line and what to do. */
struct kek_kubeconfig *kek_kubeconfig_load(const char *path, const char *context,
                                           struct kek_why *why);

/* The same from memory; `path` stands for the file. This is what the fuzzer feeds. */
struct kek_kubeconfig *kek_kubeconfig_parse(struct kek_bytes yaml, const char *path,
                                            const char *context, struct kek_why *why);

void kek_kubeconfig_free(struct kek_kubeconfig *config);
KEK_DEFINE_AUTO(kek_kubeconfig);

/* ---- one API server ---- */

struct kek_kubeapi;

/* `config` is borrowed while it lives. */
struct kek_kubeapi *kek_kubeapi_new(const struct kek_kubeconfig *config, struct kek_why *why);
void kek_kubeapi_free(struct kek_kubeapi *api); /* after every call is ended */
KEK_DEFINE_AUTO(kek_kubeapi);

/* Moves every call on; as kek_remote_turn(). */
size_t kek_kubeapi_turn(struct kek_kubeapi *api, const int *fds, size_t fd_count, uint64_t wait_ms);

/* A kind of object, as the API server serves it. */
struct kek_kubeapi_resource {
    char name[128];  /* "secrets" */
    char group[254]; /* "": core */
    char version[64];
    bool is_namespaced;
};

struct kek_kubeapi_object {
    char space[128]; /* its namespace; "": it has none */
    char name[254];
    char uid[64];              /* "": not known */
    char resource_version[64]; /* "": not known */
};

/* What an answer means for whoever asked. */
enum kek_kubeapi_answer {
    KEK_KUBEAPI_GOOD = 0,
    KEK_KUBEAPI_CONFLICT, /* 409: the object is not as it was said to be */
    KEK_KUBEAPI_MISSING, /* 404: the object is gone; or what was asked for otherwise is not there */
    KEK_KUBEAPI_EXPIRED, /* 410: of a list that took too long; continue_ may lead on */
    KEK_KUBEAPI_BUSY,    /* 429, or 503 with Retry-After: later */
    KEK_KUBEAPI_TROUBLE, /* 5xx, a lost connection, no answer in time: again */
    KEK_KUBEAPI_FORBIDDEN, /* 403 of the authorizer: why has the rule that is missing */
    KEK_KUBEAPI_REFUSED,   /* 400, 403, 422, ...: of this object, by admission or validation */
    KEK_KUBEAPI_STOP,      /* 401, a certificate, memory: nothing will work as it is */
};

typedef enum kek_rc kek_kubeapi_object_fn(void *arg, const struct kek_kubeapi_object *object,
                                          struct kek_why *why);

/* One request and what came of it. The caller owns it, zeroed before its first use; it stays where it is until it
 * is done, and is ended by kek_kubeapi_end(), which may come at any time. */
struct kek_kubeapi_call {
    /* Once it is done: */
    bool done;
    enum kek_kubeapi_answer answer;
    struct kek_why why; /* unless GOOD: one sentence, with what to do */
    char by[128];       /* REFUSED: which webhook did; "": the API server itself */
    uint64_t retry_ms;  /* BUSY: how long to stay away; 0: it does not say */
    /* Of a list's page, and EXPIRED: where the next one begins, NULL if there is none; owned by the call. */
    char *continue_;
    uint64_t remaining;               /* of a page: how many objects follow; 0: none, or not said */
    char list_version[64];            /* of a page: the resourceVersion of the list */
    size_t count;                     /* of a page: objects in it */
    struct kek_kubeapi_object object; /* of one object: as the server has it now */
    json_t *json;        /* of kek_kubeapi_ask(); owned by the call; NULL: no JSON came */
    struct kek_buf text; /* the same, as it came */

    /* The room's own. */
    struct kek_remote_call remote;
    struct kek_remote_header wanted[1];
    const char *headers[4];
    char *url, *send;
    struct objects *objects;
    const char *what; /* the verb, for messages */
    const struct kek_kubeapi_resource *resource;
    bool is_list;
};

/* Each begins a call, which is done at once if it cannot be begun. `resource` and what it points to are borrowed
 * until it is done. */

/* A page of metadata; `from`: a continue_ (copied); NULL: the beginning. Each object is handed over as it comes; the
 * server's list may end badly after some were. */
void kek_kubeapi_list(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                      const struct kek_kubeapi_resource *resource, const char *from,
                      kek_kubeapi_object_fn *on_object, void *arg);

/*
 * Has the server write the object as it is: a patch that changes nothing, if it still has this uid and
 * resourceVersion.  What is stored under another key than the server's own is written anew, and gets a
 * resourceVersion; what is not stays as it is, resourceVersion and all (k8s.io/apiserver GuaranteedUpdate).
 * The object never leaves the server.
 */
void kek_kubeapi_rewrite(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                         const struct kek_kubeapi_resource *resource,
                         const struct kek_kubeapi_object *object);

/* The object's metadata as it is now. */
void kek_kubeapi_look(struct kek_kubeapi *api, struct kek_kubeapi_call *call,
                      const struct kek_kubeapi_resource *resource,
                      const struct kek_kubeapi_object *object);

/* Anything else: `path` from the server's root, with its query; `send` is JSON, copied, or NULL. A text that is no
 * JSON is an answer too. */
void kek_kubeapi_ask(struct kek_kubeapi *api, struct kek_kubeapi_call *call, const char *method,
                     const char *path, const char *send);

/* Turns until it is done. */
enum kek_kubeapi_answer kek_kubeapi_wait(struct kek_kubeapi *api, struct kek_kubeapi_call *call);

/* Ends it if it is under way, and frees what it has; it may be used again. */
void kek_kubeapi_end(struct kek_kubeapi *api, struct kek_kubeapi_call *call);

/* ---- what there is ---- */

/* Fills `resource` from "secrets" or "things.group.example.com": the version that the server prefers, and whether it
 * has namespaces. Blocks. KEK_NOT_FOUND: no such resource; KEK_UNIMPLEMENTED: it cannot be listed and patched. */
enum kek_rc kek_kubeapi_discover(struct kek_kubeapi *api, const char *name,
                                 struct kek_kubeapi_resource *resource, struct kek_why *why);

/* "secrets" or "things.group.example.com". */
#define KEK_KUBEAPI_RESOURCE_TEXT 384
void kek_kubeapi_resource_name(const struct kek_kubeapi_resource *resource,
                               char text[static KEK_KUBEAPI_RESOURCE_TEXT]);

/* "NAMESPACE/NAME", or the name alone. */
#define KEK_KUBEAPI_OBJECT_TEXT 400
void kek_kubeapi_object_name(const struct kek_kubeapi_object *object,
                             char text[static KEK_KUBEAPI_OBJECT_TEXT]);

/* Is version a later one than b?  Both are decimal numbers, as the API server's are; else: do they differ? */
bool kek_kubeapi_is_later(const char *a, const char *b);

#endif
