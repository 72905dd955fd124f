#include "crc32c.h"

#define POLYNOMIAL 0x82f63b78u

/* Bit by bit: a request has a hundred bytes. */
uint32_t kek_gcp_crc32c(struct kek_bytes bytes)
{
    uint32_t sum = UINT32_MAX;
    for (size_t i = 0; i < bytes.len; i++) {
        sum ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            sum = (sum >> 1) ^ ((sum & 1) != 0 ? POLYNOMIAL : 0);
        }
    }
    return ~sum;
}
