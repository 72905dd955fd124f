/* kms v2's EncryptedObject, and the rules that the API server has for it. */
#ifndef KEK_KUBE_OBJECT_H
#define KEK_KUBE_OBJECT_H

#include "kek/kube.h"

/* Reads key_id, source, source_type and data; `start` is the message's offset in the value, for why.
 * KEK_DAMAGED: *stored has what was read up to there, and what the rules forbid. */
enum kek_rc kek_kube_read_object(struct kek_bytes message, size_t start,
                                 struct kek_kube_stored *stored,
                                 struct kek_why *why) KEK_MUST_CHECK;

#endif
