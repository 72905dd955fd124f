/*
 * Every C_* call of the worker, in one place.
 *
 * Each function makes exactly one call of the module (kek_p11_find makes the three of a search) and
 * says which one it was together with its CK_RV, so that neither is lost on the way up.  A function
 * that a module leaves out of its list counts as CKR_FUNCTION_NOT_SUPPORTED.  Any thread, as far as
 * the module keeps its promise of CKF_OS_LOCKING_OK; one thread at a time per session.
 * C_Logout and C_Finalize are never called: a module is left by _exit() alone.
 */
#ifndef KEK_PKCS11_CALLS_H
#define KEK_PKCS11_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <p11-kit/pkcs11.h>

#ifndef CKM_AES_KEY_WRAP_KWP
#define CKM_AES_KEY_WRAP_KWP 0x210BUL /* PKCS#11 3.1 */
#endif

#ifndef CKR_AEAD_DECRYPT_FAILED
#define CKR_AEAD_DECRYPT_FAILED 0x42UL /* PKCS#11 3.0 */
#endif
#ifndef CKR_TOKEN_RESOURCE_EXCEEDED
#define CKR_TOKEN_RESOURCE_EXCEEDED 0x201UL /* PKCS#11 3.0 */
#endif

struct kek_p11_outcome {
    CK_RV rv;
    const char *call; /* "C_WrapKey" */
};

static inline bool kek_p11_good(struct kek_p11_outcome outcome)
{
    return outcome.rv == CKR_OK;
}

struct kek_p11_outcome kek_p11_initialize(CK_FUNCTION_LIST *f, CK_C_INITIALIZE_ARGS *args);
struct kek_p11_outcome kek_p11_get_info(CK_FUNCTION_LIST *f, CK_INFO *info);
struct kek_p11_outcome kek_p11_get_slots(CK_FUNCTION_LIST *f, CK_SLOT_ID *slots, CK_ULONG *count);
struct kek_p11_outcome kek_p11_get_slot_info(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                             CK_SLOT_INFO *info);
struct kek_p11_outcome kek_p11_get_token_info(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                              CK_TOKEN_INFO *info);
struct kek_p11_outcome kek_p11_get_mechanisms(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                              CK_MECHANISM_TYPE *types, CK_ULONG *count);
struct kek_p11_outcome kek_p11_get_mechanism_info(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                                  CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info);
struct kek_p11_outcome kek_p11_open_session(CK_FUNCTION_LIST *f, CK_SLOT_ID slot, bool read_only,
                                            CK_SESSION_HANDLE *session);
struct kek_p11_outcome kek_p11_close_session(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session);
struct kek_p11_outcome kek_p11_login(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                     const uint8_t *pin, size_t len);
struct kek_p11_outcome kek_p11_create_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                             CK_ATTRIBUTE *attributes, CK_ULONG count,
                                             CK_OBJECT_HANDLE *object);
struct kek_p11_outcome kek_p11_copy_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                           CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                                           CK_ULONG count, CK_OBJECT_HANDLE *copy);
struct kek_p11_outcome kek_p11_destroy_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                              CK_OBJECT_HANDLE object);
struct kek_p11_outcome kek_p11_get_attributes(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                              CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                                              CK_ULONG count);
struct kek_p11_outcome kek_p11_set_attributes(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                              CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                                              CK_ULONG count);
/* The three calls of a search, one by one. */
struct kek_p11_outcome kek_p11_find_begin(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                          CK_ATTRIBUTE *attributes, CK_ULONG count);
struct kek_p11_outcome kek_p11_find_next(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                         CK_OBJECT_HANDLE *objects, size_t max, size_t *count);
struct kek_p11_outcome kek_p11_find_end(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session);
/* The first `max` matches; *count may not exceed it. */
struct kek_p11_outcome kek_p11_find(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                    CK_ATTRIBUTE *attributes, CK_ULONG attribute_count,
                                    CK_OBJECT_HANDLE *objects, size_t max, size_t *count);
struct kek_p11_outcome kek_p11_encrypt_init(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                            CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
struct kek_p11_outcome kek_p11_encrypt(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                       const uint8_t *in, size_t in_len, uint8_t *out,
                                       CK_ULONG *out_len);
struct kek_p11_outcome kek_p11_decrypt_init(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                            CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
struct kek_p11_outcome kek_p11_decrypt(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                       const uint8_t *in, size_t in_len, uint8_t *out,
                                       CK_ULONG *out_len);
struct kek_p11_outcome kek_p11_sign_init(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                         CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key);
struct kek_p11_outcome kek_p11_sign(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                    const uint8_t *in, size_t in_len, uint8_t *out,
                                    CK_ULONG *out_len);
struct kek_p11_outcome kek_p11_generate_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                            CK_MECHANISM *mechanism, CK_ATTRIBUTE *attributes,
                                            CK_ULONG count, CK_OBJECT_HANDLE *key);
struct kek_p11_outcome kek_p11_wrap_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                        CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                                        CK_OBJECT_HANDLE key, uint8_t *out, CK_ULONG *out_len);
struct kek_p11_outcome kek_p11_unwrap_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                          CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                                          const uint8_t *wrapped, size_t len,
                                          CK_ATTRIBUTE *attributes, CK_ULONG count,
                                          CK_OBJECT_HANDLE *key);

#endif
