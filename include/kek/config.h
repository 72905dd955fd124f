/*
 * The configuration file: one YAML file, one struct.
 *
 * Only kekd and kekctl read it; the rooms get what they need of the struct.  Every error names file,
 * line, column, the key and what was expected: "kekd.yaml:7:13: data_key.max_uses: expected a whole
 * number from 1 to 1000000000, found \"many\"".  Of a path of more than 120 bytes the end stands for
 * it.  Unknown and duplicate keys are errors.  Nothing is read but the file itself: whether a path
 * exists is for the programs to say.  The struct owns all it points to and is
 * read-only once loaded.  docs/kekd.conf.5 describes it.
 */
#ifndef KEK_CONFIG_H
#define KEK_CONFIG_H

#include <limits.h>
#include <sys/types.h>

#include "kek/bytes.h"
#include "kek/digest.h"
#include "kek/kek.h"
#include "kek/log.h"

#define KEK_CONFIG_PROVIDERS_MAX 8
#define KEK_CONFIG_ETCDS_MAX 16
#define KEK_CONFIG_ROOTS_MAX 4 /* as many as an envelope has entries */
#define KEK_CONFIG_PROCESSES_MAX 16
#define KEK_CONFIG_SESSIONS_MAX 64
#define KEK_CONFIG_FILE_MAX (256 * 1024) /* bytes */
#define KEK_CONFIG_URI_MAX 4096 /* bytes; with all else a worker is told, a message holds it */

/* A `versions:` entry: a key with a name of its own, or one whose state the token cannot hold. */
struct kek_config_version {
    uint32_t number;
    char *label;          /* NULL: "<keyring>.v<n>" */
    enum kek_state state; /* the most that it may do, whatever the token lets it */
};

/* A key that only the provider's type knows, with its value as the file has it. What a value may be has been
 * checked by the type's table; what it means is its worker's business. */
struct kek_config_setting {
    char *key;
    char *value;
};

struct kek_config_provider {
    char *name; /* unique; [a-z0-9-]{1,32} */
    char *type; /* "pkcs11", "transit", "gcpkms" */
    /* transit: see src/config/transit.c. pkcs11: uri (RFC 7512 with module-path or module-name, perhaps pin-source; no pin-value), strategy (auto,
     * wrap-key, encrypt), init_args (for C_Initialize; not there if not given). */
    struct kek_config_setting *settings;
    size_t setting_count;
    unsigned processes, sessions;
    uint64_t timeout_ms;       /* one HSM call */
    uint64_t start_timeout_ms; /* spawn to ready */
    uint64_t recycle_after;    /* operations */
    uint64_t recycle_memory;   /* bytes */
    char **env;                /* "NAME=value", NULL-terminated; NULL if none */
    char *user;                /* run the workers as this user; NULL: as kekd */
    char **groups;             /* supplementary groups, NULL-terminated; NULL if none */
    struct kek_config_version *versions;
    size_t version_count;
};

/* An etcd that holds objects under this keyring. For kekctl alone; kekd never asks it. */
struct kek_config_etcd {
    char *name;          /* unique; [a-z0-9-]{1,32} */
    char **endpoints;    /* "https://HOST:PORT" or "http://...", NULL-terminated, never empty */
    char *ca;            /* absolute path of a PEM file; NULL: the system's CAs */
    char *cert, *key;    /* absolute paths of PEM files; NULL, both: no client certificate */
    char *user;          /* NULL: none */
    char *password_file; /* absolute path; with user alone */
    char *prefix;        /* "/registry": what all keys begin with, and then a "/" */
    char *context;       /* of the kekd that seals there */
};

enum kek_config_mode {
    KEK_CONFIG_ANY = 0, /* each root opens alone */
    KEK_CONFIG_ALL,     /* every root is needed */
};

/* A root of trust: a KEK of its own, in a keyring that these providers alone hold. */
struct kek_config_root {
    char *name;    /* unique; [a-z0-9-]{1,32} */
    char *keyring; /* default: `keyring` of the whole file */
    char **names;  /* of its providers, NULL-terminated */
    bool seals;    /* else it only opens: it is to come, or to go */
    bool needed;   /* in mode `all`: else what it has no share of opens, too */
    size_t first_provider, provider_count;
    bool is_first; /* of those with this keyring */
    /* The configuration as if there were nothing but this root: what pool and keyring of it get. */
    struct kek_config *view;
};

struct kek_config {
    char *path;                   /* the file it came from */
    char digest[KEK_SHA256_TEXT]; /* of its bytes: SHA-256 in lower-case hex */
    char *listen;                 /* absolute path of the Unix socket */
    uid_t *allow_uids;
    size_t allow_uid_count; /* default: 0 and the effective uid */
    char *keyring;          /* [a-z0-9][a-z0-9.-]{0,62} */
    char **
        keyrings; /* those of all roots, also of one root alone; NULL-terminated; NULL: there is this one */
    char *context;         /* default "" */
    char **context_accept; /* NULL-terminated, never NULL */
    struct {
        uint64_t max_uses; /* 1: strict mode */
        uint64_t max_age_ms;
        size_t cache_entries;
        uint64_t cache_ttl_ms;
    } data_key;
    struct {
        uint64_t probe_interval_ms;
        uint64_t canary_interval_ms;
        uint64_t grace_ms;
    } health;
    uint64_t refresh_ms;
    uint64_t settle_ms;
    uint64_t destroy_after_ms; /* that a version is out of use before kekctl destroys it */
    uint64_t quarantine_ms;    /* that it is suspended then */
    char *state_dir;
    struct kek_config_provider *providers; /* those of a root stand together */
    size_t provider_count;                 /* >= 1 */
    char *root;                            /* of one root alone: its name; else "" */
    char *
        state_name; /* of one root alone: `keyring` of the whole file, for what is on record of all; else NULL */
    bool root_is_first; /* of those with its keyring: it goes on from before there were roots */
    enum kek_config_mode mode,
        mode_accept;               /* the second opens, too, and never seals; else it is mode's */
    struct kek_config_root *roots; /* NULL: one, which all providers hold */
    size_t root_count;             /* 0: likewise */
    char *metrics_host;            /* numeric address; NULL: off */
    uint16_t metrics_port;
    struct {
        char *host; /* numeric address; NULL: no listener */
        uint16_t port;
        char *cert, *key, *ca; /* absolute paths of PEM files */
        char **allow;          /* CNs and DNS names of clients, NULL-terminated, never empty */
        char **nodes;          /* the listeners of all nodes, NULL-terminated; NULL: not known */
        char *name;            /* what this node calls itself; default: the host name */
    } status;
    struct kek_config_etcd *etcd; /* NULL: none */
    size_t etcd_count;
    /* Absolute paths, NULL where they are not set: of a file, and of sockets.  Of those that are set the first is the log,
     * and the others get copies. */
    char *audit_file, *audit_journal, *audit_syslog;
    uint64_t audit_mac_interval_ms;
    enum kek_log_level log_level;
    enum kek_log_format log_format;
};

struct kek_config *kek_config_load(const char *path, struct kek_why *why);

/* The same from memory; `name` stands for the file in messages. This is what the fuzzer feeds. */
struct kek_config *kek_config_parse(struct kek_bytes yaml, const char *name, struct kek_why *why);

/* Where the audit log is: its file, or else a socket.  Borrowed; NULL: it is off. */
const char *kek_config_audit_log(const struct kek_config *config);

/* STATE_DIR/KEYRING.SUFFIX: what this node keeps of the keyring stands there. KEK_INVALID: that is too long. */
enum kek_rc kek_config_state_file(const struct kek_config *config, const char *suffix,
                                  char path[static PATH_MAX], struct kek_why *why) KEK_MUST_CHECK;

void kek_config_free(struct kek_config *config);
KEK_DEFINE_AUTO(kek_config);

/* The value of a key that only the provider's type knows; NULL: neither given nor preset. Borrowed. */
static inline const char *kek_config_setting(const struct kek_config_provider *provider,
                                             const char *key)
{
    for (size_t i = 0; i < provider->setting_count; i++) {
        if (strcmp(provider->settings[i].key, key) == 0) {
            return provider->settings[i].value;
        }
    }
    return NULL;
}

/* One root's view of it, by index; the configuration itself where it names none. Borrowed. */
static inline size_t kek_config_root_count(const struct kek_config *config)
{
    return config->root_count == 0 ? 1 : config->root_count;
}
static inline const struct kek_config *kek_config_view(const struct kek_config *config, size_t root)
{
    return config->root_count == 0 ? config : config->roots[root].view;
}

/* `keyring` of the whole file, by which nodes and what is on record of all roots are named, whatever a root's own is. */
static inline const char *kek_config_file_keyring(const struct kek_config *config)
{
    return config->state_name != NULL ? config->state_name : config->keyring;
}

/* Leaves this root of several, as if the file had nothing else: for kekctl, which is told which one. KEK_NOT_FOUND: there
 * is none of that name. */
enum kek_rc kek_config_keep_root(struct kek_config *config, const char *name,
                                 struct kek_why *why) KEK_MUST_CHECK;

/* How many bytes of locked memory kekd asks for: twice what a full cache needs, and room for payloads on their way; a
 * power of two. */
static inline size_t kek_config_key_memory(const struct kek_config *config)
{
    size_t wanted = config->data_key.cache_entries * 2 * 128 + (1u << 20);
    size_t size = 1u << 20;
    while (size < wanted) {
        size *= 2;
    }
    return size;
}

/* What of a `versions` entry is not so on a token that shows these, in words that go on from "the token";
 * NULL: nothing. Static. */
const char *kek_config_version_unmet(const struct kek_config_version *named,
                                     const struct kek_version *versions, size_t count);

/* A complete, commented example that kek_config_parse accepts. Static. */
const char *kek_config_example(void);

/* Checks a PKCS#11 URI as a provider's `uri` must be (RFC 7512 syntax; module-path or module-name;
 * token, serial or slot-id; pin-source, if there is one, "file:/absolute/path" or "credential:NAME"; no pin-value).
 * Nothing in kekd itself loads p11-kit; the worker parses the URI again with it. */
enum kek_rc kek_config_check_pkcs11_uri(const char *uri, struct kek_why *why) KEK_MUST_CHECK;

/* The value of an attribute of such a URI that was checked ("module-path", "pin-source"), decoded. False: it is not
 * there, or does not fit. */
bool kek_config_pkcs11_attribute(const char *uri, const char *name, char *value, size_t size);

struct kek_vendor;
/* Whose library such a provider's uri names. NULL: it has none, or none that is known. */
const struct kek_vendor *kek_config_vendor(const struct kek_config_provider *provider);

/* A node's HOST:PORT, where an IPv6 address stands in brackets. */
bool kek_config_is_node(const char *text);

/* What may stand in etcd[].endpoints and etcd[].prefix. */
bool kek_config_is_endpoint(const char *text);
bool kek_config_is_etcd_prefix(const char *text);

/* A password to this endpoint would leave the machine in the clear. */
bool kek_config_endpoint_is_open(const char *endpoint);

/* A duration as the file has them: a number and ms, s, m or h ("250ms"). False: it is not one. */
bool kek_config_duration(const char *text, uint64_t *ms);

#endif
