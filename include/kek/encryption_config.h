/*
 * The API server's EncryptionConfiguration: read as strictly as the API server reads it, taken one phase
 * further, and written again.
 *
 * Pure: no I/O, any thread.  What is read is what k8s.io/apiserver accepts (apiserver.config.k8s.io/v1; its
 * pkg/apis/apiserver/validation), less what only an absurd file has: YAML's anchors, aliases and tags, an
 * empty resource name, a unix: endpoint with a port.  Errors are KEK_INVALID and say
 * "FILE:LINE:COLUMN: PATH: ..."; none shows a key.  A configuration has keys of aescbc, aesgcm and secretbox
 * in it: they are passed through as they stand, tried where a caller asks whether an object opens, and wiped when it
 * is freed.  Comments of the file are lost.
 *
 * A phase changes one list of providers so that an API server that has the file before and one that has the
 * file after can always read what the other writes: a cluster's API servers never change at one moment.
 */
#ifndef KEK_ENCRYPTION_CONFIG_H
#define KEK_ENCRYPTION_CONFIG_H

#include "kek/kube.h"

struct kek_encryption_key {
    char *name;
    char *secret; /* base64, as it stood */
};

struct kek_encryption_provider {
    enum kek_kube_kind kind;         /* KEK_KUBE_PLAIN is identity; never KEK_KUBE_UNKNOWN */
    struct kek_encryption_key *keys; /* aescbc, aesgcm, secretbox: the first one writes */
    size_t key_count;
    char *name, *endpoint; /* kms */
    char *timeout;         /* kms, a duration in Go's words; NULL: the API server's default, 3s */
    char *cachesize;       /* kms v1, a number; NULL: its default, 1000 */
    size_t line, column;   /* 0: it comes from no file */
};

/* One item of `resources`: the first provider writes, all read. */
struct kek_encryption_rule {
    char **resources;
    size_t resource_count;
    struct kek_encryption_provider **providers;
    size_t provider_count;
    size_t line, column;
};

struct kek_encryption_config {
    char *file; /* its name in messages; NULL: there is none */
    struct kek_encryption_rule *rules;
    size_t rule_count;
};

/* NULL on failure. `file` stands for it in messages. */
struct kek_encryption_config *kek_encryption_config_parse(struct kek_bytes yaml, const char *file,
                                                          struct kek_why *why);

/* How long an API server waits for what a kms entry names. */
uint64_t kek_encryption_timeout_ms(const struct kek_encryption_provider *provider);

/* What an API server has that was told of no file: no rule, so that everything is plain. NULL: no memory. */
struct kek_encryption_config *kek_encryption_config_new(void);

void kek_encryption_config_free(struct kek_encryption_config *config);
KEK_DEFINE_AUTO(kek_encryption_config);

enum kek_encryption_phase {
    KEK_ENCRYPTION_ADD_READER = 0, /* kekd reads, the writer stays */
    KEK_ENCRYPTION_MAKE_WRITER,    /* kekd writes, all others read */
    KEK_ENCRYPTION_REMOVE_OLD,     /* kekd alone */
    /* Away from kekd, one file a call: identity reads; identity writes; kekd is gone. */
    KEK_ENCRYPTION_DISABLE,
};

/* kekd's entry, and what it is for. */
struct kek_encryption_target {
    /* Resources as the file has them ("secrets", "*.*"). None: those of the list that has the entry, else
     * of the one that governs secrets, else secrets. */
    const char *const *resources;
    size_t resource_count;
    const char *name; /* what stands in etcd beside each object: never used for another provider */
    const char *endpoint; /* "unix:///run/kekd/kms.sock" */
    const char *timeout;  /* NULL: what the entry has, 3s for a new one */
};

/* Where a phase has led. */
enum kek_encryption_stage {
    KEK_ENCRYPTION_STAGE_READER = 0,   /* another writes, kekd reads */
    KEK_ENCRYPTION_STAGE_WRITER,       /* kekd writes, others read */
    KEK_ENCRYPTION_STAGE_ALONE,        /* kekd alone */
    KEK_ENCRYPTION_STAGE_PLAIN_READER, /* disabling: kekd writes, identity reads */
    KEK_ENCRYPTION_STAGE_PLAIN_WRITER, /* disabling: identity writes, kekd reads */
    KEK_ENCRYPTION_STAGE_GONE,         /* disabling: kekd is not there any more */
};

struct kek_encryption_step {
    enum kek_encryption_stage stage;
    size_t rule;    /* the one that was meant, in the configuration as it is now */
    bool unchanged; /* it had been there already */
    bool
        removes_reader; /* an object that only the providers that went can open would be lost to sight */
};

/* Takes the configuration one phase further.  KEK_PRECONDITION: it is not at the phase before, and the
 * sentence says which comes first; KEK_INVALID: the name or the resources cannot be had in this
 * configuration.  After a failure it may only be freed. */
enum kek_rc kek_encryption_config_advance(struct kek_encryption_config *config,
                                          enum kek_encryption_phase phase,
                                          const struct kek_encryption_target *target,
                                          struct kek_encryption_step *step,
                                          struct kek_why *why) KEK_MUST_CHECK;

/* What writes the resource: the first provider of the first list that has it by the name which counts for it. NULL: no list
 * has it, and it is plain. */
const struct kek_encryption_provider *
kek_encryption_config_writer(const struct kek_encryption_config *config, const char *resource);

/* Would an API server with this configuration find a provider for what is stored so?  resource: as
 * kek_kube_resource() writes it; provider: the key's or plugin's name in the value's prefix. */
bool kek_encryption_config_reads(const struct kek_encryption_config *config, const char *resource,
                                 enum kek_kube_kind kind, struct kek_bytes provider);

/* Whoever knows the names of aescbc's, aesgcm's and secretbox's keys need not guess where one ends that may have a ':'
 * in it: where one of the configuration stands there, *stored is taken apart behind it.  stored: as it was parsed, without
 * an error. */
void kek_encryption_config_name(const struct kek_encryption_config *config, const char *resource,
                                struct kek_kube_stored *stored);

/* Does what is stored so, under aescbc, aesgcm or secretbox, open by the keys that the configuration has for it: one
 * of this very name, whose secret may be another one all the same?  As kek_kube_open() tells.  stored: as it was parsed,
 * without an error.  KEK_OK: it does.  KEK_DAMAGED: it opens under none of those that have the name.  KEK_NOT_FOUND:
 * none has it, or it is under nothing that has its key in a file.  KEK_EXHAUSTED, KEK_NO_MEMORY, KEK_INTERNAL: nothing
 * is known of it. */
enum kek_rc kek_encryption_config_open(const struct kek_encryption_config *config,
                                       const char *resource, const struct kek_kube_stored *stored,
                                       struct kek_bytes etcd_key,
                                       struct kek_why *why) KEK_MUST_CHECK;

/* Appends it as YAML, below a comment of whole lines that begin with '#' (NULL: none). */
enum kek_rc kek_encryption_config_write(const struct kek_encryption_config *config,
                                        const char *comment, struct kek_buf *out,
                                        struct kek_why *why) KEK_MUST_CHECK;

#endif
