/*
 * A PKCS#11 module around SoftHSM, or around that of KEK_FAULT_MODULE, that fails, hangs, crashes, leaks, is
 * cut off, confuses its keys, sees none or only old ones when its control file says so (control.h,
 * tests/faults/README.md).
 * Only for tests: it trusts its environment.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <p11-kit/pkcs11.h>

#include "cache.h"
#include "control.h"
#include "handles.h"

#define BLOB_MAX 512
#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;

/* `call` decides, and `then` is done if it succeeded. */
#define WRAP_CALL(name, call, parameters, arguments, then) \
    static CK_RV fault_##name parameters                   \
    {                                                      \
        struct control_verdict verdict = call;             \
        if (verdict.fails) {                               \
            return verdict.rv;                             \
        }                                                  \
        CK_RV rv = real->name arguments;                   \
        if (rv == CKR_OK) {                                \
            then;                                          \
        }                                                  \
        return rv;                                         \
    }
#define WRAP_THEN(name, parameters, arguments, then) \
    WRAP_CALL(name, control_call(#name), parameters, arguments, then)
#define WRAP(name, parameters, arguments) WRAP_THEN(name, parameters, arguments, (void)0)
/* The same where `key` is what the call is by. */
#define WRAP_KEY(name, key, parameters, arguments) \
    WRAP_CALL(name, control_by_key(#name, a, key), parameters, arguments, (void)0)
/* The same where `a` is a slot. */
#define WRAP_SLOT(name, parameters, arguments) \
    WRAP_CALL(name, control_call_at(#name, a), parameters, arguments, (void)0)

static struct control_verdict control_by_key(const char *function, CK_SESSION_HANDLE session,
                                             CK_OBJECT_HANDLE key)
{
    CK_BYTE id[64];
    CK_ATTRIBUTE attribute = {CKA_ID, id, sizeof id};
    bool known = real->C_GetAttributeValue(session, key, &attribute, 1) == CKR_OK;
    return control_call_by(function, id, known ? attribute.ulValueLen : 0);
}

WRAP_THEN(C_Initialize, (void *a), (a), cache_clear())
WRAP(C_Finalize, (void *a), (a))
WRAP(C_GetInfo, (CK_INFO * a), (a))
WRAP(C_GetSlotList, (CK_BBOOL a, CK_SLOT_ID *b, CK_ULONG *c), (a, b, c))
WRAP_SLOT(C_GetSlotInfo, (CK_SLOT_ID a, CK_SLOT_INFO *b), (a, b))
WRAP_SLOT(C_GetMechanismList, (CK_SLOT_ID a, CK_MECHANISM_TYPE *b, CK_ULONG *c), (a, b, c))
WRAP_SLOT(C_GetMechanismInfo, (CK_SLOT_ID a, CK_MECHANISM_TYPE b, CK_MECHANISM_INFO *c), (a, b, c))
WRAP_THEN(C_CloseSession, (CK_SESSION_HANDLE a), (a), (void)cache_find_final(a))
WRAP(C_Logout, (CK_SESSION_HANDLE a), (a))
WRAP_THEN(C_CreateObject, (CK_SESSION_HANDLE a, CK_ATTRIBUTE *b, CK_ULONG c, CK_OBJECT_HANDLE *d),
          (a, b, c, d), cache_changed(real, a, *d))
WRAP_THEN(C_DestroyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b),
          (a, handles_meant(b, &verdict)), cache_destroyed(b))
WRAP_KEY(C_EncryptInit, c, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c),
         (a, b, handles_key(real, a, c, &verdict)))
WRAP(C_Encrypt, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c, CK_BYTE *d, CK_ULONG *e),
     (a, b, c, d, e))
WRAP_KEY(C_DecryptInit, c, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c),
         (a, b, handles_key(real, a, c, &verdict)))
WRAP(C_Decrypt, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c, CK_BYTE *d, CK_ULONG *e),
     (a, b, c, d, e))
WRAP_KEY(C_SignInit, c, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c),
         (a, b, handles_key(real, a, c, &verdict)))
WRAP(C_Sign, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c, CK_BYTE *d, CK_ULONG *e),
     (a, b, c, d, e))
WRAP_KEY(C_WrapKey, c,
         (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c, CK_OBJECT_HANDLE d, CK_BYTE *e,
          CK_ULONG *f),
         (a, b, handles_key(real, a, c, &verdict), d, e, f))

/* Keeps what is to be unwrapped, for the call after this one; returns how long the one before was. */
static CK_ULONG exchange(const CK_BYTE *blob, CK_ULONG len, CK_BYTE before[static BLOB_MAX])
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static CK_BYTE kept[BLOB_MAX];
    static CK_ULONG kept_len;
    pthread_mutex_lock(&lock);
    CK_ULONG before_len = kept_len;
    memcpy(before, kept, kept_len);
    kept_len = len < BLOB_MAX ? len : BLOB_MAX;
    memcpy(kept, blob, kept_len);
    pthread_mutex_unlock(&lock);
    return before_len;
}

static CK_RV fault_C_UnwrapKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                               CK_OBJECT_HANDLE key, CK_BYTE *blob, CK_ULONG len,
                               CK_ATTRIBUTE *template, CK_ULONG count, CK_OBJECT_HANDLE *unwrapped)
{
    struct control_verdict verdict = control_by_key("C_UnwrapKey", session, key);
    CK_BYTE before[BLOB_MAX];
    if (verdict.fails) {
        return verdict.rv;
    }
    CK_ULONG before_len = exchange(blob, len, before);
    if (verdict.stale && before_len > 0) {
        blob = before;
        len = before_len;
    }
    return real->C_UnwrapKey(session, mechanism, handles_key(real, session, key, &verdict), blob,
                             len, template, count, unwrapped);
}

static bool is_sick(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    char label[128] = "";
    CK_ATTRIBUTE attribute = {CKA_LABEL, label, sizeof label - 1};
    return real->C_GetAttributeValue(session, object, &attribute, 1) == CKR_OK &&
           strncmp(label, "sick", 4) == 0;
}

static CK_RV fault_C_GetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                       CK_ATTRIBUTE *template, CK_ULONG count)
{
    struct control_verdict verdict = control_call("C_GetAttributeValue");
    if (verdict.fails) {
        return verdict.rv;
    }
    object = handles_meant(object, &verdict);
    if (verdict.sick != 0 && is_sick(session, object)) {
        return verdict.sick;
    }
    for (CK_ULONG i = 0; verdict.mute != 0 && i < count; i++) {
        if (template[i].type == verdict.mute) {
            return CKR_GENERAL_ERROR;
        }
    }
    return verdict.caching ? cache_attributes(real, session, object, template, count)
                           : real->C_GetAttributeValue(session, object, template, count);
}

/* A search that began in SoftHSM ends there, though its process caches by now. */
static CK_RV fault_C_FindObjectsInit(CK_SESSION_HANDLE session, CK_ATTRIBUTE *template,
                                     CK_ULONG count)
{
    struct control_verdict verdict = control_call("C_FindObjectsInit");
    if (verdict.fails) {
        return verdict.rv;
    }
    return verdict.caching ? cache_find_init(real, session, template, count)
                           : real->C_FindObjectsInit(session, template, count);
}

static CK_RV fault_C_FindObjectsFinal(CK_SESSION_HANDLE session)
{
    struct control_verdict verdict = control_call("C_FindObjectsFinal");
    if (verdict.fails) {
        return verdict.rv;
    }
    return cache_find_final(session) == CKR_OK ? CKR_OK : real->C_FindObjectsFinal(session);
}

static CK_RV fault_C_FindObjects(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                                 CK_ULONG *count)
{
    struct control_verdict verdict = control_call("C_FindObjects");
    if (verdict.fails) {
        return verdict.rv;
    }
    if (verdict.blind) {
        *count = 0;
        return CKR_OK;
    }
    bool twice = verdict.repeats && max > 1;
    CK_RV rv = cache_find(session, objects, twice ? max / 2 : max, count);
    if (rv == CKR_OPERATION_NOT_INITIALIZED) {
        rv = real->C_FindObjects(session, objects, twice ? max / 2 : max, count);
    }
    for (CK_ULONG i = 0; rv == CKR_OK && i < *count; i++) {
        objects[i] = handles_told(objects[i]);
    }
    if (rv == CKR_OK && twice) {
        memcpy(objects + *count, objects, *count * sizeof *objects);
        *count *= 2;
    }
    return rv;
}

static CK_RV fault_C_OpenSession(CK_SLOT_ID slot, CK_FLAGS flags, void *arg, CK_NOTIFY notify,
                                 CK_SESSION_HANDLE *session)
{
    struct control_verdict verdict = control_call_at("C_OpenSession", slot);
    if (verdict.fails) {
        return verdict.rv;
    }
    if (verdict.readonly != 0 && (flags & CKF_RW_SESSION) != 0) {
        return verdict.readonly;
    }
    return real->C_OpenSession(slot, flags, arg, notify, session);
}

static CK_RV fault_C_Login(CK_SESSION_HANDLE session, CK_USER_TYPE user, CK_BYTE *pin, CK_ULONG len)
{
    struct control_verdict verdict = control_call("C_Login");
    if (verdict.fails) {
        return verdict.rv;
    }
    if (verdict.has_pad) {
        char *entered = getenv("KEK_FAULT_PIN");
        if (pin != NULL || len != 0 || entered == NULL) {
            return CKR_ARGUMENTS_BAD;
        }
        pin = (CK_BYTE *)entered;
        len = strlen(entered);
    }
    CK_RV rv = real->C_Login(session, user, pin, len);
    if (rv == CKR_OK) {
        cache_clear();
    }
    return rv;
}

#define ATTRIBUTES_MAX 32

static CK_RV fault_C_GenerateKey(CK_SESSION_HANDLE session, CK_MECHANISM *mechanism,
                                 CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *key)
{
    struct control_verdict verdict = control_call("C_GenerateKey");
    CK_ATTRIBUTE copy[ATTRIBUTES_MAX];
    CK_BBOOL flipped[ATTRIBUTES_MAX];
    if (verdict.fails || count > ATTRIBUTES_MAX) {
        return verdict.fails ? verdict.rv : CKR_ARGUMENTS_BAD;
    }
    for (CK_ULONG i = 0; i < count; i++) {
        copy[i] = attributes[i];
        if (copy[i].type == verdict.shortens) {
            copy[i].ulValueLen /= 2;
        }
        for (unsigned f = 0; f < verdict.flip_count; f++) {
            if (copy[i].type == verdict.flips[f] && copy[i].ulValueLen == sizeof flipped[i]) {
                flipped[i] = *(CK_BBOOL *)copy[i].pValue == CK_FALSE ? CK_TRUE : CK_FALSE;
                copy[i].pValue = &flipped[i];
            }
        }
    }
    CK_RV rv = real->C_GenerateKey(session, mechanism, copy, count, key);
    if (rv == CKR_OK) {
        cache_changed(real, session, *key);
    }
    return rv;
}

/* What it is told to keep as it is, it says it changed. */
static CK_RV fault_C_SetAttributeValue(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                       CK_ATTRIBUTE *attributes, CK_ULONG count)
{
    struct control_verdict verdict = control_call("C_SetAttributeValue");
    CK_ATTRIBUTE copy[ATTRIBUTES_MAX];
    CK_ULONG left = 0;
    if (verdict.fails || count > ATTRIBUTES_MAX) {
        return verdict.fails ? verdict.rv : CKR_ARGUMENTS_BAD;
    }
    for (CK_ULONG i = 0; i < count; i++) {
        if (attributes[i].type == verdict.keeps) {
            continue;
        }
        copy[left] = attributes[i];
        copy[left++].ulValueLen /= attributes[i].type == verdict.shortens ? 2 : 1;
    }
    object = handles_meant(object, &verdict);
    CK_RV rv = left == 0 ? CKR_OK : real->C_SetAttributeValue(session, object, copy, left);
    if (rv == CKR_OK) {
        cache_changed(real, session, object);
    }
    return rv;
}

static CK_RV fault_C_CopyObject(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                                CK_ATTRIBUTE *attributes, CK_ULONG count, CK_OBJECT_HANDLE *copy)
{
    struct control_verdict verdict = control_call("C_CopyObject");
    if (verdict.fails) {
        return verdict.rv;
    }
    if (!verdict.forges) {
        object = handles_meant(object, &verdict);
        CK_RV rv = real->C_CopyObject(session, object, attributes, count, copy);
        if (rv == CKR_OK) {
            cache_changed(real, session, *copy);
        }
        return rv;
    }
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_BYTE value[32] = "what a loose token would copy..";
    CK_ATTRIBUTE loose[] = {
        {CKA_CLASS, &class, sizeof class},   {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},         {CKA_SENSITIVE, &no, sizeof no},
        {CKA_EXTRACTABLE, &yes, sizeof yes}, {CKA_VALUE, value, sizeof value},
    };
    return real->C_CreateObject(session, loose, sizeof loose / sizeof loose[0], copy);
}

/* Ends a blank-padded text by NUL. */
static void pad_by_nul(unsigned char *text, size_t width)
{
    while (width > 0 && text[width - 1] == ' ') {
        text[--width] = '\0';
    }
}

static CK_RV fault_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    struct control_verdict verdict = control_call_at("C_GetTokenInfo", slot);
    if (verdict.fails) {
        return verdict.rv;
    }
    CK_RV rv = real->C_GetTokenInfo(slot, info);
    if (rv == CKR_OK) {
        info->flags = (info->flags | verdict.flags) & ~verdict.no_flags;
    }
    if (rv == CKR_OK && verdict.sessions != 0) {
        info->ulMaxSessionCount = 2 * verdict.sessions;
        info->ulMaxRwSessionCount = verdict.sessions;
    }
    if (rv == CKR_OK && verdict.pads_by_nul) {
        pad_by_nul(info->label, sizeof info->label);
        pad_by_nul(info->manufacturerID, sizeof info->manufacturerID);
        pad_by_nul(info->model, sizeof info->model);
        pad_by_nul(info->serialNumber, sizeof info->serialNumber);
    }
    return rv;
}

#define USE(name) list.name = fault_##name

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out);

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out)
{
    const char *other = getenv("KEK_FAULT_MODULE");
    void *library = dlopen(other == NULL ? SOFTHSM : other, RTLD_NOW);
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
    if (library != NULL) {
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    }
    if (get == NULL || get(&real) != CKR_OK) {
        return CKR_GENERAL_ERROR;
    }
    list = *real;
    USE(C_Initialize);
    USE(C_Finalize);
    USE(C_GetInfo);
    USE(C_GetSlotList);
    USE(C_GetSlotInfo);
    USE(C_GetTokenInfo);
    USE(C_GetMechanismList);
    USE(C_GetMechanismInfo);
    USE(C_OpenSession);
    USE(C_CloseSession);
    USE(C_Login);
    USE(C_Logout);
    USE(C_CreateObject);
    USE(C_DestroyObject);
    USE(C_GetAttributeValue);
    USE(C_SetAttributeValue);
    USE(C_FindObjectsInit);
    USE(C_FindObjects);
    USE(C_FindObjectsFinal);
    USE(C_EncryptInit);
    USE(C_Encrypt);
    USE(C_DecryptInit);
    USE(C_Decrypt);
    USE(C_SignInit);
    USE(C_Sign);
    USE(C_GenerateKey);
    USE(C_WrapKey);
    USE(C_UnwrapKey);
    USE(C_CopyObject);
    *out = &list;
    return CKR_OK;
}
