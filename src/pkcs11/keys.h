/*
 * Which keys on a token are versions of a keyring, and whether one may be used.
 *
 * Pure: what the token said about a key goes in, the judgement comes out (docs/provider-protocol.md
 * has the rules).  A key is refused for the first thing that is wrong with it, named by attribute
 * and value.  A key that the configuration names under `versions:` answers for its own origin and
 * usages; what keeps it inside the token (SENSITIVE, not EXTRACTABLE, PRIVATE) nobody may skip.
 */
#ifndef KEK_PKCS11_KEYS_H
#define KEK_PKCS11_KEYS_H

#include "kek/provider.h"

#include "calls.h"
#include "provider.pb-c.h"

/* What a token says about a yes-or-no attribute. */
enum kek_p11_tri { KEK_P11_UNTOLD = 0, KEK_P11_NO, KEK_P11_YES };

enum kek_p11_flag {
    KEK_P11_PRIVATE,
    KEK_P11_SENSITIVE,
    KEK_P11_EXTRACTABLE,
    KEK_P11_LOCAL,
    KEK_P11_ALWAYS_SENSITIVE,
    KEK_P11_NEVER_EXTRACTABLE,
    KEK_P11_WRAP,
    KEK_P11_UNWRAP,
    KEK_P11_ENCRYPT,
    KEK_P11_DECRYPT,
    KEK_P11_SIGN,
    KEK_P11_VERIFY,
    KEK_P11_DERIVE,
    KEK_P11_FLAGS
};

extern const CK_ATTRIBUTE_TYPE kek_p11_flag_types[KEK_P11_FLAGS];
extern const char *const kek_p11_flag_names[KEK_P11_FLAGS]; /* "CKA_PRIVATE", ... */

#define KEK_P11_UNKNOWN_ULONG (~(CK_ULONG)0)

struct kek_p11_facts {
    char label[KEK_LABEL_MAX];
    uint8_t id[KEK_ID_LEN];
    size_t id_len; /* of the token's CKA_ID, whatever fits in id */
    CK_ULONG key_type, value_len;
    enum kek_p11_tri flags[KEK_P11_FLAGS];
};

struct kek_p11_named {
    uint32_t number;
    char label[KEK_LABEL_MAX];
    enum kek_state state;
};

/* How a key wraps: never AUTO, and NONE where it may do neither. */
enum kek_p11_strategy { KEK_P11_BY_NOTHING = 0, KEK_P11_BY_WRAP_KEY, KEK_P11_BY_ENCRYPT };

/* At the end of a label: the key is compromised, whatever its flags are and whoever names it. */
#define KEK_P11_MARK ".compromised"

/* The label without the mark; returns whether it had one. */
bool kek_p11_label_unmark(const char *label, char plain[static KEK_LABEL_MAX]);

/* The N of "<keyring>.v<N>", without a mark: decimal, no leading zero, 1 to 4294967295. False: not such a label. */
bool kek_p11_label_number(const char *keyring, const char *label, uint32_t *number);

/* Fills *version (all but number and alg) and *strategy.  `named` is NULL for a key that nobody
 * names; local_told is false where the token says LOCAL=false of keys that it made itself. */
void kek_p11_judge(const struct kek_p11_facts *facts, Kek__Provider__Strategy wanted,
                   const struct kek_p11_named *named, bool local_told, struct kek_version *version,
                   enum kek_p11_strategy *strategy);

#endif
