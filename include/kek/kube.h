/*
 * What Kubernetes stores in etcd: a key and a value in, where they belong and what covers them out.
 * docs/kube-storage.md says how each is laid out, and where that stands in Kubernetes' sources.
 *
 * Pure: no I/O, no allocation while parsing, any thread.  Everything borrows from the bytes that were
 * parsed, which came from etcd and are trusted in nothing: every length is checked before the byte it
 * covers.  Errors: KEK_DAMAGED says what, and at which offset of the value.
 * For kekctl: the API server parses its own values, and kekd never sees them.
 */
#ifndef KEK_KUBE_H
#define KEK_KUBE_H

#include "kek/envelope.h"

/* What covers a value: its prefix says. */
enum kek_kube_kind {
    KEK_KUBE_PLAIN = 0, /* nothing does: JSON, protobuf ("k8s" NUL), or what else has no prefix */
    KEK_KUBE_AESCBC,
    KEK_KUBE_AESGCM,
    KEK_KUBE_SECRETBOX,
    KEK_KUBE_KMS_V1,
    KEK_KUBE_KMS_V2,
    KEK_KUBE_UNKNOWN, /* "k8s:enc:" and no kind above: a newer Kubernetes, a fork, or damage */
};

/* "plain", "aescbc", "aesgcm", "secretbox", "kms v1", "kms v2", "unknown". */
const char *kek_kube_kind_name(enum kek_kube_kind kind);

/* What a KMS plugin's key opens to; the numbers are those of EncryptedObject.encryptedDEKSourceType. */
enum kek_kube_source {
    KEK_KUBE_SOURCE_KEY = 0,  /* the AES key itself (v1, and v2 before Kubernetes 1.29) */
    KEK_KUBE_SOURCE_SEED = 1, /* a seed: each object has a key of its own, by HKDF-Expand-SHA256 */
};

struct kek_kube_stored {
    enum kek_kube_kind kind;
    /* The key's name in the API server's configuration, or the plugin's. Unknown: all up to the third
     * ':' behind "k8s:enc:", if there are so many. Plain: empty. */
    struct kek_bytes provider;
    /* The name may go on behind another ':' that is in `data` now, or (kms v1, a wrapped key of more than
     * 8 KiB) it may end at an earlier one. The kind is certain. */
    bool ambiguous;
    struct kek_bytes key_id; /* kms v2: what the plugin said at writing; not authenticated */
    struct kek_bytes source; /* kms: the plugin's ciphertext of the key or seed */
    uint32_t source_type;    /* enum kek_kube_source; any other number is damage */
    struct kek_bytes data;   /* what the key covers; plain: the whole value */
    bool is_kekd;            /* `source` is a whole kekd envelope, and this is it: */
    struct kek_envelope envelope;
};

/* Takes a value apart.  What the API server would refuse without asking a plugin (a truncated value, an
 * EncryptedObject that its rules forbid) is KEK_DAMAGED, and so is a source that begins as a kekd envelope
 * and is none.  *stored is written either way, with what could be read up to there: kind always; and what
 * is_kekd says is certain even then.  KEK_KUBE_UNKNOWN is KEK_OK: nobody can say more of it. */
enum kek_rc kek_kube_parse(struct kek_bytes value, struct kek_kube_stored *stored,
                           struct kek_why *why) KEK_MUST_CHECK;

/* Does the object itself open?  `key` is, under KMS, what its source opens to (the API server's seed or key), and
 * else the key of its name in the API server's configuration.  What authenticates an object is that and its place:
 * its whole etcd key, prefix included (secretbox: the key alone).  The plaintext never leaves.  KEK_OK: it does; of
 * CBC, which nothing authenticates (aescbc, and what KMS v1 wrote up to Kubernetes 1.24), its padding and its
 * beginning are right, as under another key they are once in 60,000 times.
 * KEK_DAMAGED: it does not, with one message for every cause; the API server cannot read it either.
 * KEK_INVALID: it is plain or of an unknown kind. KEK_EXHAUSTED, KEK_NO_MEMORY, KEK_INTERNAL: nothing is known of
 * it. */
enum kek_rc kek_kube_open(const struct kek_kube_stored *stored, struct kek_bytes etcd_key,
                          const struct kek_secret *key, struct kek_why *why) KEK_MUST_CHECK;

/* Where a key belongs. Borrows from the key, or is constant. */
struct kek_kube_name {
    struct kek_bytes resource; /* "secrets", "nodes": as the API calls it, not the folder */
    struct kek_bytes group;    /* "apps", "example.com"; the core group is empty */
    struct kek_bytes ns;       /* empty: cluster-scoped */
    struct kek_bytes name;
    /* Kubernetes keeps its own resources in folders without a group. This one is none that it had up to
     * 1.37: `group` is empty, and may be another one. */
    bool group_unknown;
    /* No EncryptionConfiguration reaches it, "*.*" included: it is plain for ever (the IP and port
     * allocations, the API servers' own leases). */
    bool never_encrypted;
};

/* `prefix` is the API server's --etcd-prefix, "/registry" by default; slashes around it do not count.
 * False: the key is not below it, or is no object's. */
bool kek_kube_name(struct kek_bytes etcd_key, struct kek_bytes prefix, struct kek_kube_name *name);

/* Is it one of those that Kubernetes up to 1.37 stores itself, as kek_kube_resource() writes it?  *custom: it is not, and
 * a CustomResourceDefinition may have brought it, whose group has a '.' and is none of Kubernetes' own. */
bool kek_kube_is_known(const char *resource, bool *custom);

/* "secrets", "deployments.apps": as EncryptionConfiguration and kubectl write it. NUL-terminated and cut
 * to `size`, with '?' for a NUL in it; returns the length it has uncut: the bytes of resource, '.' and group. */
size_t kek_kube_resource(const struct kek_kube_name *name, char *out, size_t size);

#endif
