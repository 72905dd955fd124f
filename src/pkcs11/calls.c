#include "calls.h"

/* One call: its name and what it returned. */
#define CALL(f, function, ...)                                                          \
    ((struct kek_p11_outcome){.rv = (f)->function == NULL ? CKR_FUNCTION_NOT_SUPPORTED  \
                                                          : (f)->function(__VA_ARGS__), \
                              .call = #function})

struct kek_p11_outcome kek_p11_initialize(CK_FUNCTION_LIST *f, CK_C_INITIALIZE_ARGS *args)
{
    return CALL(f, C_Initialize, args);
}

struct kek_p11_outcome kek_p11_get_info(CK_FUNCTION_LIST *f, CK_INFO *info)
{
    return CALL(f, C_GetInfo, info);
}

struct kek_p11_outcome kek_p11_get_slots(CK_FUNCTION_LIST *f, CK_SLOT_ID *slots, CK_ULONG *count)
{
    return CALL(f, C_GetSlotList, CK_TRUE, slots, count);
}

struct kek_p11_outcome kek_p11_get_slot_info(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                             CK_SLOT_INFO *info)
{
    return CALL(f, C_GetSlotInfo, slot, info);
}

struct kek_p11_outcome kek_p11_get_token_info(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                              CK_TOKEN_INFO *info)
{
    return CALL(f, C_GetTokenInfo, slot, info);
}

struct kek_p11_outcome kek_p11_get_mechanisms(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                              CK_MECHANISM_TYPE *types, CK_ULONG *count)
{
    return CALL(f, C_GetMechanismList, slot, types, count);
}

struct kek_p11_outcome kek_p11_get_mechanism_info(CK_FUNCTION_LIST *f, CK_SLOT_ID slot,
                                                  CK_MECHANISM_TYPE type, CK_MECHANISM_INFO *info)
{
    return CALL(f, C_GetMechanismInfo, slot, type, info);
}

struct kek_p11_outcome kek_p11_open_session(CK_FUNCTION_LIST *f, CK_SLOT_ID slot, bool read_only,
                                            CK_SESSION_HANDLE *session)
{
    CK_FLAGS flags = CKF_SERIAL_SESSION | (read_only ? 0 : CKF_RW_SESSION);
    return CALL(f, C_OpenSession, slot, flags, NULL, NULL, session);
}

struct kek_p11_outcome kek_p11_close_session(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session)
{
    return CALL(f, C_CloseSession, session);
}

struct kek_p11_outcome kek_p11_login(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                     const uint8_t *pin, size_t len)
{
    return CALL(f, C_Login, session, CKU_USER, (CK_BYTE *)pin, len);
}

struct kek_p11_outcome kek_p11_create_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                             CK_ATTRIBUTE *attributes, CK_ULONG count,
                                             CK_OBJECT_HANDLE *object)
{
    return CALL(f, C_CreateObject, session, attributes, count, object);
}

struct kek_p11_outcome kek_p11_copy_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                           CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                                           CK_ULONG count, CK_OBJECT_HANDLE *copy)
{
    return CALL(f, C_CopyObject, session, object, attributes, count, copy);
}

struct kek_p11_outcome kek_p11_destroy_object(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                              CK_OBJECT_HANDLE object)
{
    return CALL(f, C_DestroyObject, session, object);
}

struct kek_p11_outcome kek_p11_get_attributes(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                              CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                                              CK_ULONG count)
{
    return CALL(f, C_GetAttributeValue, session, object, attributes, count);
}

struct kek_p11_outcome kek_p11_set_attributes(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                              CK_OBJECT_HANDLE object, CK_ATTRIBUTE *attributes,
                                              CK_ULONG count)
{
    return CALL(f, C_SetAttributeValue, session, object, attributes, count);
}

struct kek_p11_outcome kek_p11_find_begin(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                          CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    return CALL(f, C_FindObjectsInit, session, attributes, count);
}

struct kek_p11_outcome kek_p11_find_next(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                         CK_OBJECT_HANDLE *objects, size_t max, size_t *count)
{
    CK_ULONG more = 0;
    struct kek_p11_outcome outcome = CALL(f, C_FindObjects, session, objects, max, &more);
    if (kek_p11_good(outcome)) {
        *count = more < max ? more : max;
    }
    return outcome;
}

struct kek_p11_outcome kek_p11_find_end(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session)
{
    return CALL(f, C_FindObjectsFinal, session);
}

struct kek_p11_outcome kek_p11_find(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                    CK_ATTRIBUTE *attributes, CK_ULONG attribute_count,
                                    CK_OBJECT_HANDLE *objects, size_t max, size_t *count)
{
    struct kek_p11_outcome outcome = kek_p11_find_begin(f, session, attributes, attribute_count);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    size_t found = 0, more = 1;
    while (found < max && more > 0) {
        outcome = kek_p11_find_next(f, session, objects + found, max - found, &more);
        if (!kek_p11_good(outcome)) {
            break;
        }
        found += more;
    }
    struct kek_p11_outcome final = kek_p11_find_end(f, session);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    if (kek_p11_good(final)) {
        *count = found;
    }
    return final;
}

struct kek_p11_outcome kek_p11_encrypt_init(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                            CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return CALL(f, C_EncryptInit, session, mechanism, key);
}

struct kek_p11_outcome kek_p11_encrypt(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                       const uint8_t *in, size_t in_len, uint8_t *out,
                                       CK_ULONG *out_len)
{
    return CALL(f, C_Encrypt, session, (CK_BYTE *)in, in_len, out, out_len);
}

struct kek_p11_outcome kek_p11_decrypt_init(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                            CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return CALL(f, C_DecryptInit, session, mechanism, key);
}

struct kek_p11_outcome kek_p11_decrypt(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                       const uint8_t *in, size_t in_len, uint8_t *out,
                                       CK_ULONG *out_len)
{
    return CALL(f, C_Decrypt, session, (CK_BYTE *)in, in_len, out, out_len);
}

struct kek_p11_outcome kek_p11_sign_init(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                         CK_MECHANISM *mechanism, CK_OBJECT_HANDLE key)
{
    return CALL(f, C_SignInit, session, mechanism, key);
}

struct kek_p11_outcome kek_p11_sign(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                    const uint8_t *in, size_t in_len, uint8_t *out,
                                    CK_ULONG *out_len)
{
    return CALL(f, C_Sign, session, (CK_BYTE *)in, in_len, out, out_len);
}

struct kek_p11_outcome kek_p11_generate_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                            CK_MECHANISM *mechanism, CK_ATTRIBUTE *attributes,
                                            CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    return CALL(f, C_GenerateKey, session, mechanism, attributes, count, key);
}

struct kek_p11_outcome kek_p11_wrap_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                        CK_MECHANISM *mechanism, CK_OBJECT_HANDLE wrapping,
                                        CK_OBJECT_HANDLE key, uint8_t *out, CK_ULONG *out_len)
{
    return CALL(f, C_WrapKey, session, mechanism, wrapping, key, out, out_len);
}

struct kek_p11_outcome kek_p11_unwrap_key(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session,
                                          CK_MECHANISM *mechanism, CK_OBJECT_HANDLE unwrapping,
                                          const uint8_t *wrapped, size_t len,
                                          CK_ATTRIBUTE *attributes, CK_ULONG count,
                                          CK_OBJECT_HANDLE *key)
{
    return CALL(f, C_UnwrapKey, session, mechanism, unwrapping, (CK_BYTE *)wrapped, len, attributes,
                count, key);
}
