/*
 * CRC32C (Castagnoli, reflected 0x82F63B78; RFC 3720, B.4): the checksum that Cloud KMS wants of each field and
 * gives of each. Pure; any thread.
 */
#ifndef GCPKMS_CRC32C_H
#define GCPKMS_CRC32C_H

#include <stdint.h>

#include "kek/bytes.h"

uint32_t kek_gcp_crc32c(struct kek_bytes bytes);

#endif
