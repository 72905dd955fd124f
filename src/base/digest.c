#include "kek/digest.h"

#include <openssl/evp.h>

bool kek_sha256_text(struct kek_bytes bytes, char text[static KEK_SHA256_TEXT])
{
    uint8_t digest[(KEK_SHA256_TEXT - 1) / 2];
    if (EVP_Digest(bytes.data, bytes.len, digest, NULL, EVP_sha256(), NULL) != 1) {
        return false;
    }
    kek_hex(kek_bytes(digest, sizeof digest), text);
    return true;
}
