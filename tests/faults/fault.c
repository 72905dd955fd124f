/*
 * A PKCS#11 module around SoftHSM that fails, hangs or counts on request.
 *
 * KEK_FAULT=<function>:<n>=<rv>  the n-th call of that function (any function: "*") returns <rv>
 *                                without reaching SoftHSM; rv is hexadecimal, or "hang" for ever
 * KEK_FAULT_FROM=<file>          no call counts before this file exists
 * KEK_FAULT_TRACE=<file>         each call that counts appends its name, a line each
 * KEK_FAULT_FLAGS=<hex>          token flags to add
 * Only for tests: it trusts its environment.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#define SOFTHSM "/usr/lib/softhsm/libsofthsm2.so"

static CK_FUNCTION_LIST *real;
static CK_FUNCTION_LIST list;
static char wanted[64] = "";
static unsigned long nth, value;
static int hang;
static atomic_ulong calls;

static void read_wish(void)
{
    const char *wish = getenv("KEK_FAULT");
    if (wish == NULL) {
        return;
    }
    size_t name = strcspn(wish, ":");
    if (name >= sizeof wanted || wish[name] == '\0') {
        return;
    }
    memcpy(wanted, wish, name);
    wanted[name] = '\0';
    char *rest;
    nth = strtoul(wish + name + 1, &rest, 10);
    hang = strcmp(rest, "=hang") == 0;
    value = hang || *rest == '\0' ? 0 : strtoul(rest + 1, NULL, 16);
}

static void trace(const char *name)
{
    const char *path = getenv("KEK_FAULT_TRACE");
    if (path == NULL) {
        return;
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    char line[64];
    int len = snprintf(line, sizeof line, "%s\n", name);
    if (fd >= 0) {
        if (write(fd, line, (size_t)len) != len) {
            abort();
        }
        close(fd);
    }
}

/* Whether this call is the one to fail. */
static int fails(const char *name)
{
    const char *from = getenv("KEK_FAULT_FROM");
    if (from != NULL && access(from, F_OK) != 0) {
        return 0;
    }
    trace(name);
    if (strcmp(wanted, "*") != 0 && strcmp(wanted, name) != 0) {
        return 0;
    }
    if (atomic_fetch_add(&calls, 1) + 1 != nth) {
        return 0;
    }
    while (hang) {
        pause();
    }
    return 1;
}

#define WRAP(name, parameters, arguments) \
    static CK_RV fault_##name parameters  \
    {                                     \
        if (fails(#name)) {               \
            return value;                 \
        }                                 \
        return real->name arguments;      \
    }

WRAP(C_Initialize, (void *a), (a))
WRAP(C_GetInfo, (CK_INFO * a), (a))
WRAP(C_GetSlotList, (CK_BBOOL a, CK_SLOT_ID *b, CK_ULONG *c), (a, b, c))
WRAP(C_GetSlotInfo, (CK_SLOT_ID a, CK_SLOT_INFO *b), (a, b))
WRAP(C_GetMechanismList, (CK_SLOT_ID a, CK_MECHANISM_TYPE *b, CK_ULONG *c), (a, b, c))
WRAP(C_OpenSession, (CK_SLOT_ID a, CK_FLAGS b, void *c, CK_NOTIFY d, CK_SESSION_HANDLE *e),
     (a, b, c, d, e))
WRAP(C_CloseSession, (CK_SESSION_HANDLE a), (a))
WRAP(C_Login, (CK_SESSION_HANDLE a, CK_USER_TYPE b, CK_BYTE *c, CK_ULONG d), (a, b, c, d))
WRAP(C_CreateObject, (CK_SESSION_HANDLE a, CK_ATTRIBUTE *b, CK_ULONG c, CK_OBJECT_HANDLE *d),
     (a, b, c, d))
WRAP(C_DestroyObject, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b), (a, b))
WRAP(C_GetAttributeValue, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *c, CK_ULONG d),
     (a, b, c, d))
WRAP(C_SetAttributeValue, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE b, CK_ATTRIBUTE *c, CK_ULONG d),
     (a, b, c, d))
WRAP(C_FindObjectsInit, (CK_SESSION_HANDLE a, CK_ATTRIBUTE *b, CK_ULONG c), (a, b, c))
WRAP(C_FindObjects, (CK_SESSION_HANDLE a, CK_OBJECT_HANDLE *b, CK_ULONG c, CK_ULONG *d),
     (a, b, c, d))
WRAP(C_FindObjectsFinal, (CK_SESSION_HANDLE a), (a))
WRAP(C_EncryptInit, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c), (a, b, c))
WRAP(C_Encrypt, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c, CK_BYTE *d, CK_ULONG *e),
     (a, b, c, d, e))
WRAP(C_DecryptInit, (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c), (a, b, c))
WRAP(C_Decrypt, (CK_SESSION_HANDLE a, CK_BYTE *b, CK_ULONG c, CK_BYTE *d, CK_ULONG *e),
     (a, b, c, d, e))
WRAP(C_GenerateKey,
     (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_ATTRIBUTE *c, CK_ULONG d, CK_OBJECT_HANDLE *e),
     (a, b, c, d, e))
WRAP(C_WrapKey,
     (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c, CK_OBJECT_HANDLE d, CK_BYTE *e,
      CK_ULONG *f),
     (a, b, c, d, e, f))
WRAP(C_UnwrapKey,
     (CK_SESSION_HANDLE a, CK_MECHANISM *b, CK_OBJECT_HANDLE c, CK_BYTE *d, CK_ULONG e,
      CK_ATTRIBUTE *f, CK_ULONG g, CK_OBJECT_HANDLE *h),
     (a, b, c, d, e, f, g, h))

static CK_RV fault_C_GetTokenInfo(CK_SLOT_ID slot, CK_TOKEN_INFO *info)
{
    if (fails("C_GetTokenInfo")) {
        return value;
    }
    CK_RV rv = real->C_GetTokenInfo(slot, info);
    const char *flags = getenv("KEK_FAULT_FLAGS");
    if (rv == CKR_OK && flags != NULL) {
        info->flags |= strtoul(flags, NULL, 16);
    }
    return rv;
}

static CK_RV fault_C_Forbidden(void *reserved)
{
    (void)reserved;
    abort();
}

static CK_RV fault_C_Logout(CK_SESSION_HANDLE session)
{
    (void)session;
    abort();
}

#define USE(name) list.name = fault_##name

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out);

CK_RV C_GetFunctionList(CK_FUNCTION_LIST **out)
{
    void *library = dlopen(SOFTHSM, RTLD_NOW);
    CK_RV (*get)(CK_FUNCTION_LIST **) = NULL;
    if (library != NULL) {
        *(void **)&get = dlsym(library, "C_GetFunctionList");
    }
    if (get == NULL || get(&real) != CKR_OK) {
        return CKR_GENERAL_ERROR;
    }
    read_wish();
    list = *real;
    USE(C_Initialize);
    USE(C_GetInfo);
    USE(C_GetSlotList);
    USE(C_GetSlotInfo);
    USE(C_GetTokenInfo);
    USE(C_GetMechanismList);
    USE(C_OpenSession);
    USE(C_CloseSession);
    USE(C_Login);
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
    USE(C_GenerateKey);
    USE(C_WrapKey);
    USE(C_UnwrapKey);
    /* The worker must never call these. */
    list.C_Finalize = fault_C_Forbidden;
    USE(C_Logout);
    *out = &list;
    return CKR_OK;
}
