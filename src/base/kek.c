#include "kek/kek.h"

#include "kek/bytes.h"

void kek_id_format(const struct kek_id *id, char text[static KEK_ID_TEXT])
{
    kek_hex(kek_bytes(id->bytes, sizeof id->bytes), text);
}

bool kek_id_parse(const char *text, struct kek_id *id)
{
    static const char digits[] = "0123456789abcdef";
    struct kek_id parsed;
    if (strlen(text) != KEK_ID_TEXT - 1 || strspn(text, digits) != KEK_ID_TEXT - 1) {
        return false;
    }
    for (size_t i = 0; i < KEK_ID_LEN; i++) {
        const char *high = strchr(digits, text[2 * i]), *low = strchr(digits, text[2 * i + 1]);
        parsed.bytes[i] = (uint8_t)(16 * (high - digits) + (low - digits));
    }
    *id = parsed;
    return true;
}

#define GCM_IV 12
#define GCM_TAG 16
#define CBC_IV 16

/* Transit: a nonce of 12 bytes (aes256-gcm96, chacha20-poly1305) or 24 (xchacha20-poly1305). */
#define NONCE_MIN 12
#define NONCE_MAX 24

/* Cloud KMS: what is around 32 bytes differs with protection and time, and no document says a length. */
#define CLOUD_MIN (KEK_DATA_KEY_LEN + GCM_TAG)

static const struct wrap {
    const char *name;
    size_t min, max; /* bytes of a wrapped data key */
} wraps[] = {
    [KEK_WRAP_AES_KW] = {"AES-KW", KEK_DATA_KEY_LEN + 8, KEK_DATA_KEY_LEN + 8},
    [KEK_WRAP_AES_KWP] = {"AES-KWP", KEK_DATA_KEY_LEN + 8, KEK_DATA_KEY_LEN + 8},
    [KEK_WRAP_AES_GCM] = {"AES-GCM", GCM_IV + KEK_DATA_KEY_LEN + GCM_TAG,
                          GCM_IV + KEK_DATA_KEY_LEN + GCM_TAG},
    [KEK_WRAP_AES_CBC] = {"AES-CBC", CBC_IV + KEK_DATA_KEY_LEN, CBC_IV + KEK_DATA_KEY_LEN},
    [KEK_WRAP_TRANSIT] = {"TRANSIT", NONCE_MIN + KEK_DATA_KEY_LEN + GCM_TAG,
                          NONCE_MAX + KEK_DATA_KEY_LEN + GCM_TAG},
    [KEK_WRAP_GCP_KMS] = {"GCP-KMS", CLOUD_MIN, KEK_WRAPPED_MAX},
};

bool kek_wrap_alg_known(enum kek_wrap_alg alg)
{
    return (size_t)alg < sizeof wraps / sizeof wraps[0] && wraps[alg].name != NULL;
}

bool kek_wrap_alg_authenticates(enum kek_wrap_alg alg)
{
    return kek_wrap_alg_known(alg) && alg != KEK_WRAP_AES_CBC;
}

const char *kek_wrap_alg_name(enum kek_wrap_alg alg)
{
    return kek_wrap_alg_known(alg) ? wraps[alg].name : "none";
}

bool kek_wrap_alg_fits(enum kek_wrap_alg alg, size_t len)
{
    return kek_wrap_alg_known(alg) && len >= wraps[alg].min && len <= wraps[alg].max;
}

const char *kek_state_name(enum kek_state state)
{
    switch (state) {
    case KEK_STATE_PRE_ACTIVE:
        return "pre-active";
    case KEK_STATE_ACTIVE:
        return "active";
    case KEK_STATE_DEACTIVATED:
        return "deactivated";
    case KEK_STATE_SUSPENDED:
        return "suspended";
    case KEK_STATE_COMPROMISED:
        return "compromised";
    }
    return "unknown";
}
