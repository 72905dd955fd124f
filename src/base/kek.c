#include "kek/kek.h"

#include "kek/bytes.h"

void kek_id_format(const struct kek_id *id, char text[static KEK_ID_TEXT])
{
    kek_hex(kek_bytes(id->bytes, sizeof id->bytes), text);
}

const char *kek_wrap_alg_name(enum kek_wrap_alg alg)
{
    switch (alg) {
    case KEK_WRAP_AES_KW:
        return "AES-KW";
    case KEK_WRAP_AES_KWP:
        return "AES-KWP";
    case KEK_WRAP_AES_GCM:
        return "AES-GCM";
    case KEK_WRAP_AES_CBC:
        return "AES-CBC";
    case KEK_WRAP_NONE:
        break;
    }
    return "none";
}

size_t kek_wrap_alg_len(enum kek_wrap_alg alg)
{
    switch (alg) {
    case KEK_WRAP_AES_KW:
    case KEK_WRAP_AES_KWP:
        return KEK_DATA_KEY_LEN + 8;
    case KEK_WRAP_AES_GCM:
        return 12 + KEK_DATA_KEY_LEN + 16;
    case KEK_WRAP_AES_CBC:
        return 16 + KEK_DATA_KEY_LEN;
    case KEK_WRAP_NONE:
        break;
    }
    return 0;
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
    case KEK_STATE_DISABLED:
        return "disabled";
    }
    return "unknown";
}
