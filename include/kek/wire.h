/*
 * What both ends of a worker's socket know: the limits of proto/provider.proto's messages, and what an
 * answer holds once it has been read.  The pool (kek/pool.h) is kekd's end, a provider's loop
 * (kek/provider.h) the worker's.
 */
#ifndef KEK_WIRE_H
#define KEK_WIRE_H

#include "kek/kek.h"
#include "kek/rc.h"

#define KEK_PROVIDER_SOCKET 3
#define KEK_PROVIDER_PROTOCOL 2u
#define KEK_PROVIDER_MESSAGE_MAX (16u * 1024)
#define KEK_PROVIDER_SETTINGS_MAX 16 /* what only its type knows, of one provider */
#define KEK_PROVIDER_VERSIONS_MAX 64 /* versions of one keyring on one token */

/* The class of a failure whose cause (Kek__Provider__Cause) the wire carries. */
enum kek_rc kek_wire_rc(int cause);

#define KEK_PROVIDER_ALIKE_MAX 4 /* tokens that cannot be told apart, as far as they are told */
#define KEK_PROVIDER_SERIAL_LEN_MAX 64 /* with its NUL */
#define KEK_PROVIDER_OTHERS_MAX 4      /* other keyrings of a token that are named */
#define KEK_PROVIDER_OTHER_LEN_MAX 64  /* bytes of such a name, with its NUL */

/* How the keyrings begin that kekctl makes to try a token by.  One that is found there was left by a run that was cut
 * off, or is under way, so they are named before all others. */
#define KEK_PROVIDER_CONFORMANCE_KEYRING "kekd-conformance-"
#define KEK_PROVIDER_PROBE_KEYRING "kekd-probe-"
bool kek_wire_is_trial(const char *keyring);

struct kek_provider_versions {
    size_t count;
    struct kek_version items[KEK_PROVIDER_VERSIONS_MAX];
    /* Where there is none: the names of other keyrings, for messages; the first empty one ends them. */
    char others[KEK_PROVIDER_OTHERS_MAX][KEK_PROVIDER_OTHER_LEN_MAX];
    bool more_others; /* than have room there */
};

/* What a token can really do: a way to wrap, and how it went. */
enum kek_verdict {
    KEK_VERDICT_WORKS = 0, /* and refuses a damaged blob */
    KEK_VERDICT_MALLEABLE, /* takes a damaged blob, and another key comes out */
    KEK_VERDICT_WRONG,     /* a good blob gives another key, or a damaged one the same */
    KEK_VERDICT_REFUSED,   /* by the call that the text names */
    KEK_VERDICT_LOST,      /* so is the token; never on the wire */
};

struct kek_provider_trial {
    bool encrypts; /* strategy encrypt, else wrap-key */
    char mechanism[48];
    uint64_t type;
    enum kek_wrap_alg alg;
    bool advertised;
    enum kek_verdict verdict;
    uint64_t native;
    char text[128];
    char key[KEK_LABEL_MAX];
    bool chosen;
};

#define KEK_PROVIDER_TRIALS_MAX 32

/* Whether a key that says it is not extractable stays inside. */
enum kek_keeping {
    KEK_KEEPING_UNTRIED = 0, /* text and native say why */
    KEK_KEEPING_KEPT,
    KEK_KEEPING_HANDED_OUT, /* text says by which call */
};

struct kek_provider_keeping {
    enum kek_keeping outcome;
    uint64_t native;
    char text[128];
};

struct kek_provider_probed {
    struct kek_provider_keeping keeping;
    size_t trial_count;
    struct kek_provider_trial trials[KEK_PROVIDER_TRIALS_MAX];
};

/* What a key is, whoever made it. */
enum kek_tri { KEK_TRI_UNTOLD = 0, KEK_TRI_NO, KEK_TRI_YES };

#define KEK_PROVIDER_ATTRIBUTES_MAX 16
#define KEK_PROVIDER_OBJECT_ID_MAX 64
#define KEK_PROVIDER_OBJECTS_MAX 8 /* in one answer */
#define KEK_PROVIDER_NAME_MAX 128  /* bytes of what they are asked for by */

struct kek_provider_object {
    uint64_t handle;
    uint8_t label[KEK_LABEL_MAX]; /* its bytes, with a NUL */
    size_t label_len;             /* of the token's; what does not fit is cut */
    uint8_t id[KEK_PROVIDER_OBJECT_ID_MAX];
    size_t id_len;                /* likewise */
    uint64_t key_type, value_len; /* UINT64_MAX: untold */
    struct kek_provider_attribute {
        char name[32];
        enum kek_tri value;
    } attributes[KEK_PROVIDER_ATTRIBUTES_MAX];
    size_t attribute_count;
    uint32_t label_keys, id_keys; /* other secret keys with its label, with its CKA_ID */
    uint32_t shared;              /* objects of other classes with either */
    uint32_t number;              /* of the version that its label makes it; 0: none */
    bool named;                   /* the configuration names it */
    char refusal[160];            /* why it is not used if nobody names it; empty: it is */
    char named_refusal[160];      /* why not if the configuration does */
};

struct kek_provider_described {
    uint32_t total;  /* secret keys of that name */
    uint32_t others; /* objects of other classes of that name */
    size_t object_count;
    struct kek_provider_object objects[KEK_PROVIDER_OBJECTS_MAX];
};

/* What the HSM that holds a version states about it, the certificates that go with it, and what of that holds. */
enum kek_check_outcome {
    KEK_CHECK_UNTRIED = 0, /* the text says why */
    KEK_CHECK_PASSED,
    KEK_CHECK_FAILED, /* likewise */
};

#define KEK_PROVIDER_STATEMENT_MAX 4096   /* bytes of a statement, as the service has it */
#define KEK_PROVIDER_CERTIFICATE_MAX 4096 /* of one certificate in PEM, with a NUL */
#define KEK_PROVIDER_CERTIFICATES_MAX 12
#define KEK_PROVIDER_CHECKS_MAX 8
#define KEK_PROVIDER_FACTS_MAX 4
#define KEK_PROVIDER_FACT_LEN 144 /* bytes, with a NUL */

struct kek_provider_attested {
    char format[48]; /* the service's word; empty: there is no statement */
    size_t statement_len;
    uint8_t statement[KEK_PROVIDER_STATEMENT_MAX];
    size_t certificate_count; /* that are here */
    uint32_t total;           /* and in all: one answer has no room for many */
    struct kek_provider_certificate {
        char chain[24]; /* the service's name for the list that it is of */
        char pem[KEK_PROVIDER_CERTIFICATE_MAX];
    } certificates[KEK_PROVIDER_CERTIFICATES_MAX];
    size_t check_count;
    struct kek_provider_check {
        char name[16];
        enum kek_check_outcome outcome;
        char text[200];
    } checks[KEK_PROVIDER_CHECKS_MAX];
    size_t fact_count;
    struct kek_provider_fact {
        char name[16];
        char value[KEK_PROVIDER_FACT_LEN];
    } facts[KEK_PROVIDER_FACTS_MAX]; /* what else it says of the key */
};

/* A MAC by the audit log's key. */
#define KEK_PROVIDER_MAC_TEXT_MAX 256 /* bytes that are MACed */
#define KEK_PROVIDER_MAC_MIN 16
#define KEK_PROVIDER_MAC_MAX 64

struct kek_provider_maced {
    struct kek_id key_id;
    char mechanism[24];
    size_t len;
    uint8_t mac[KEK_PROVIDER_MAC_MAX];
};

/* What a token does with one key, whatever the key's flags are. */
struct kek_provider_attempt {
    bool made, done;
    uint64_t native; /* not done: by whom and why */
    char text[128];
};

struct kek_provider_tried {
    bool shown; /* the process sees the key, under its name */
    bool flag_wrap, flag_unwrap, compromised;
    struct kek_provider_attempt wrap, unwrap, copy;
    char lost[160]; /* attributes that a copy has otherwise, by name */
    bool reopened;  /* a copy that wraps was made of a key that may not */
};

#endif
