/*
 * Which key of SoftHSM a caller's handle stands for, when the fault module mixes them up (README.md:
 * renumber, mislead, wrongkey).  Any thread.
 */
#ifndef KEK_FAULT_HANDLES_H
#define KEK_FAULT_HANDLES_H

#include <p11-kit/pkcs11.h>

#include "control.h"

/* What a caller's handle means now: for attributes as for everything else. */
CK_OBJECT_HANDLE handles_meant(CK_OBJECT_HANDLE handle, const struct control_verdict *verdict);

/* The key that a wrap, an unwrap, an encryption or a decryption really uses; 0 if it cannot be had. */
CK_OBJECT_HANDLE handles_key(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE handle, const struct control_verdict *verdict);

/* What a caller is told who finds this object. */
CK_OBJECT_HANDLE handles_told(CK_OBJECT_HANDLE object);

#endif
