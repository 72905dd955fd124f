/*
 * The words every room shares: what a key-encryption key (KEK) is called and how it wraps.
 *
 * A KEK version is a secret key on a token, label "<keyring>.v<N>", found by its kek id (a random
 * 16-byte CKA_ID; for a cloud key the first 16 bytes of SHA-256 of its resource name).  What a
 * version may do is what the token lets it do.
 */
#ifndef KEK_KEK_H
#define KEK_KEK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define KEK_ID_LEN 16
#define KEK_DATA_KEY_LEN 32 /* bytes of every data key */
#define KEK_WRAPPED_MAX 512 /* bytes of a wrapped data key, at most */
#define KEK_LABEL_MAX 128   /* bytes of a key's label, with its NUL */

struct kek_id {
    uint8_t bytes[KEK_ID_LEN];
};

static inline bool kek_id_equal(const struct kek_id *a, const struct kek_id *b)
{
    return memcmp(a->bytes, b->bytes, KEK_ID_LEN) == 0;
}

#define KEK_ID_TEXT (2 * KEK_ID_LEN + 1)
void kek_id_format(const struct kek_id *id, char text[static KEK_ID_TEXT]); /* lower-case hex */

/* False, and *id is as it was: the text is not exactly what kek_id_format() writes. */
bool kek_id_parse(const char *text, struct kek_id *id);

/* The "wrap alg" byte of an envelope entry. It fixes the wrapped key's layout; never a CKM number. */
enum kek_wrap_alg {
    KEK_WRAP_NONE = 0,    /* unknown: nothing proven yet */
    KEK_WRAP_AES_KW = 1,  /* RFC 3394: 40 bytes */
    KEK_WRAP_AES_KWP = 2, /* RFC 5649: 40 bytes */
    KEK_WRAP_AES_GCM = 3, /* IV [12] | ciphertext [32] | tag [16] */
    KEK_WRAP_AES_CBC = 4, /* IV [16] | ciphertext [32]; authenticated by the envelope's tag alone */
    /* OpenBao's or Vault's Transit: what "vault:vN:" is followed by, decoded; the service says what it is. */
    KEK_WRAP_TRANSIT = 5,
    KEK_WRAP_GCP_KMS = 6, /* Google Cloud KMS' ciphertext, which says nothing of itself */
};

const char *kek_wrap_alg_name(enum kek_wrap_alg alg); /* "AES-KW", ...; "none" if not known */

/* NONE is not known, nor is any number that is not in the list. */
bool kek_wrap_alg_known(enum kek_wrap_alg alg);

/* Whether a data key wrapped so may have `len` bytes; false if the algorithm is not known. Each has a
 * shortest and a longest length, never over KEK_WRAPPED_MAX; the AES ones have one length each. */
bool kek_wrap_alg_fits(enum kek_wrap_alg alg, size_t len);

/* Does a wrong key or a damaged blob fail to unwrap?  Otherwise (AES-CBC) some other key comes out. */
bool kek_wrap_alg_authenticates(enum kek_wrap_alg alg);

/* One KEK version as one provider shows it. */
/* Must a service's HSM have stated, verifiably, what a version's key is? */
enum kek_attestation {
    KEK_ATTESTATION_FREE = 0, /* it has, or nobody wants to know */
    KEK_ATTESTATION_WANTED,   /* it has not: told, and used all the same */
    KEK_ATTESTATION_REQUIRED, /* it has not: nothing new is sealed under it */
};

/* What a version is not eligible for, beyond its refusal's words. */
enum kek_refusal {
    KEK_REFUSAL_KEY = 0,  /* what the key is */
    KEK_REFUSAL_STRATEGY, /* the configuration's strategy: nothing is wrong with the key */
};

struct kek_version {
    uint32_t number; /* N of "<keyring>.v<N>", >= 1 */
    struct kek_id id;
    uint8_t id_pad; /* bytes at the end of id that its CKA_ID has not; not 0: it is not eligible */
    enum kek_wrap_alg alg; /* what the provider wraps with; NONE until a round trip proved one */
    bool can_wrap;         /* the token lets it wrap (or encrypt) */
    bool can_unwrap;       /* the token lets it unwrap (or decrypt) */
    bool compromised;      /* marked so: it opens, and is never to wrap again */
    bool eligible;         /* class, type, length, usages and origin are as they must be */
    int64_t
        destroy_s; /* since 1970: when its provider destroys it by itself; 0: nothing is scheduled */
    char label[KEK_LABEL_MAX];
    char refusal[160]; /* why it is not eligible, else empty */
    enum kek_refusal refused_for;
    enum kek_attestation attestation;
};

/* SP 800-57 part 1 states, derived from what the token allows and from the other versions. */
enum kek_state {
    KEK_STATE_PRE_ACTIVE = 0, /* newer than every active one; may unwrap, not wrap */
    KEK_STATE_ACTIVE,
    KEK_STATE_DEACTIVATED, /* may unwrap only, a newer one is active */
    KEK_STATE_SUSPENDED,   /* may do neither, until it is resumed */
    KEK_STATE_COMPROMISED, /* may unwrap only, and is never active again */
};

const char *kek_state_name(enum kek_state state);

/* The state of versions[i] among all that one provider shows. Another's WRAP counts only if it is
 * eligible: a key that nobody will use deactivates none. */
enum kek_state kek_version_state(const struct kek_version *versions, size_t count, size_t i);

#endif
