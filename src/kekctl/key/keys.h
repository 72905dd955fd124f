/*
 * What the key commands share: the configuration, and a pool of workers on a loop of its own that
 * runs until what was asked is answered.  Everything asked has a deadline: the slowest provider's
 * start_timeout and ten seconds.  Somebody who waits at a terminal is told after three seconds for whom.  A provider whose PIN or PIN file is refused, or whose worker fails
 * three times in a row, is given up before that: its reason will not go away by waiting.
 */
#ifndef KEKCTL_KEYS_H
#define KEKCTL_KEYS_H

#include "kek/pool.h"
#include "kek/wire.h"
#include "kekctl/kekctl.h"
#include "login_log.h"

/* What one provider answered last. */
struct listing {
    struct keys *keys;
    struct kek_pool_call *call; /* NULL: none is under way */
    uint64_t deadline_ms;       /* of it; of kek_clock_ms() */
    unsigned strikes;           /* how often it failed to get ready, in a row */
    enum kek_rc rc;             /* KEK_OK: the versions are there; else why says why not */
    struct kek_why why;
    struct kek_version *versions;
    size_t count;
    struct kek_provider_probed *probed;       /* of keys_probe */
    struct kek_provider_described *described; /* of keys_describe */
    struct kek_provider_attested *attested;   /* of keys_attest */
    struct kek_id made;                       /* of keys_generate */
};

struct keys {
    const struct ctl *ctl;
    struct kek_config *config;
    uv_loop_t loop;
    bool has_loop;
    uv_timer_t waiting; /* until somebody who waits is told */
    struct kek_pool *pool;
    struct listing listings[KEK_CONFIG_PROVIDERS_MAX];
    enum ctl_exit code;           /* of what failed */
    struct kek_audit_acts *audit; /* where acts are put on record, and logins too; NULL: not open */
    struct login_log logins;      /* where it is not */
    bool counted_low[KEK_CONFIG_PROVIDERS_MAX]; /* when a worker of it logged in */
};

/* False after saying why, then keys->code is the exit code. */
bool keys_open(struct keys *keys, const struct ctl *ctl);
bool keys_start(struct keys *keys, bool officer); /* starts the workers */
void keys_close(struct keys *keys);
#define KEYS_AUTO __attribute__((cleanup(keys_close)))

/* Asks every provider for its versions and waits for all. fresh: past any library's cache. Says which
 * did not answer, and returns how many did. */
size_t keys_list(struct keys *keys, bool fresh);

/* The same without a word; each listing says how it went. */
size_t keys_look(struct keys *keys, bool fresh);

/* Asks one provider; its listing says how it went. */
void keys_list_one(struct keys *keys, size_t provider, bool fresh);

/* Makes the audit log's key in a provider's token. */
enum kek_rc keys_make_audit_key(struct keys *keys, size_t provider, const struct kek_id *key_id,
                                struct kek_why *why);

/* Does one provider make MACs of the audit log?  Tried with a text that is none of its chain's; the listing is gone. */
bool keys_makes_macs(struct keys *keys, size_t provider);

/* Which provider is meant by --provider; false after saying that there is none of this name. */
bool keys_named(struct keys *keys, size_t *provider);

/* Has every provider, or the one named by --provider, try what its token can do; each listing has the
 * result or says why not. Returns how many answered. */
size_t keys_probe(struct keys *keys);

/* Asks one provider for the keys of that name, a label or a CKA_ID in hexadecimal, after the first `skip`; its
 * listing has the answer or says why not. */
enum kek_rc keys_describe(struct keys *keys, size_t provider, const char *name, uint32_t skip);

/* Asks one provider what its HSM states of that key, and what of it holds: all certificates, in as many answers as it
 * takes; its listing has it or says why not. */
enum kek_rc keys_attest(struct keys *keys, size_t provider, const struct kek_id *kek_id);

/* Has one provider unwrap what its KEK wrapped; the listings stay.  *data_key: to be freed. */
enum kek_rc keys_unwrap(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                        enum kek_wrap_alg alg, struct kek_bytes wrapped,
                        struct kek_secret **data_key, struct kek_why *why) KEK_MUST_CHECK;

/* Has one provider wrap a new data key under its KEK and unwrap it again; nothing of it stays anywhere. *alg: what it
 * wrapped with. KEK_DAMAGED: another data key came back. */
enum kek_rc keys_round_trip(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                            enum kek_wrap_alg *alg, struct kek_why *why) KEK_MUST_CHECK;

/* Did the token say, before one of its workers logged in, that its PIN had been tried wrongly?  After a login it does not say so
 * any more. */
bool keys_pin_count_low(const struct keys *keys, size_t provider);

/* Does the provider number and name new versions itself, which wrap at once? Known once it has answered. */
bool keys_names_keys(const struct keys *keys, size_t provider);

/* Sent once: after a failure the key may be there all the same, or be changed, or gone. The provider's listing is
 * gone. *kek_id: what it is to be called, and what it is called where the provider names its keys itself; after a
 * failure, too, if a version of that number is there now. */
enum kek_rc keys_generate(struct keys *keys, size_t provider, uint32_t number,
                          struct kek_id *kek_id, enum kek_state state, struct kek_why *why);
enum kek_rc keys_set_state(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                           enum kek_state state, struct kek_why *why);
/* Of the one key that has this CKA_ID there; KEK_NOT_FOUND: there is none, KEK_DENIED: there are two. */
enum kek_rc keys_destroy(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                         struct kek_why *why);

#endif
