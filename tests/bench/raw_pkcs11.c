/*
 * The limit under strict mode: wraps and unwraps of a 32-byte key in a loop on one session of one
 * thread, straight at the PKCS#11 module.  Prints one line of JSON with the rates.
 *
 *   wrap:   C_CreateObject, C_WrapKey (CKM_AES_KEY_WRAP), C_DestroyObject
 *   unwrap: C_UnwrapKey, C_GetAttributeValue(CKA_VALUE), C_DestroyObject
 *
 * or, of a key that may encrypt (what a plugin with one C_Encrypt for each call can reach at most):
 *
 *   wrap:   C_EncryptInit (CKM_AES_GCM), C_Encrypt
 *   unwrap: C_DecryptInit, C_Decrypt
 *
 * It ends by _exit(): SoftHSM's exit handlers crash.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <p11-kit/pkcs11.h>

#include "common.h"

#define KEY_LEN 32
#define WRAPPED_LEN 40 /* by CKM_AES_KEY_WRAP */
#define TAG_LEN 16
#define WRAPPED_MAX 64
#define SLOTS_MAX 64
#define CALLS_MAX 10000000u

struct token {
    CK_FUNCTION_LIST *p11;
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE kek;
};

static CK_MECHANISM aes_key_wrap = {.mechanism = CKM_AES_KEY_WRAP};

static void must(CK_RV rv, const char *what)
{
    if (rv != CKR_OK) {
        bench_die("%s: CKR 0x%lx", what, rv);
    }
}

static CK_FUNCTION_LIST *load_module(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        bench_die("%s", dlerror());
    }
    CK_C_GetFunctionList get = NULL;
    *(void **)&get = dlsym(module, "C_GetFunctionList");
    CK_FUNCTION_LIST *p11 = NULL;
    if (get == NULL || get(&p11) != CKR_OK) {
        bench_die("%s: not a PKCS#11 module", path);
    }
    return p11;
}

static CK_SLOT_ID find_slot(CK_FUNCTION_LIST *p11, const char *label)
{
    CK_SLOT_ID slots[SLOTS_MAX];
    CK_ULONG count = SLOTS_MAX;
    must(p11->C_GetSlotList(CK_TRUE, slots, &count), "C_GetSlotList");
    for (CK_ULONG i = 0; i < count; i++) {
        CK_TOKEN_INFO info;
        if (p11->C_GetTokenInfo(slots[i], &info) != CKR_OK) {
            continue;
        }
        char padded[sizeof info.label + 1];
        snprintf(padded, sizeof padded, "%-*s", (int)sizeof info.label, label);
        if (memcmp(info.label, padded, sizeof info.label) == 0) {
            return slots[i];
        }
    }
    bench_die("no token \"%s\"", label);
}

static void log_in(struct token *token, const char *label, const char *pin_file)
{
    unsigned char pin[256];
    int fd = open(pin_file, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, pin, sizeof pin);
    if (len <= 0) {
        bench_die("%s: no PIN there", pin_file);
    }
    close(fd);
    if (pin[len - 1] == '\n') {
        len--;
    }
    CK_SLOT_ID slot = find_slot(token->p11, label);
    must(token->p11->C_OpenSession(slot, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL,
                                   &token->session),
         "C_OpenSession");
    must(token->p11->C_Login(token->session, CKU_USER, pin, (CK_ULONG)len), "C_Login");
}

static void find_kek(struct token *token, char *label)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_ATTRIBUTE wanted[] = {
        {.type = CKA_CLASS, .pValue = &class, .ulValueLen = sizeof class},
        {.type = CKA_LABEL, .pValue = label, .ulValueLen = strlen(label)},
    };
    CK_ULONG count = 0;
    must(token->p11->C_FindObjectsInit(token->session, wanted, 2), "C_FindObjectsInit");
    must(token->p11->C_FindObjects(token->session, &token->kek, 1, &count), "C_FindObjects");
    must(token->p11->C_FindObjectsFinal(token->session), "C_FindObjectsFinal");
    if (count != 1) {
        bench_die("no key \"%s\" on the token", label);
    }
}

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static CK_KEY_TYPE aes = CKK_AES;

static void wrap(struct token *token, unsigned char key[static KEY_LEN],
                 unsigned char wrapped[static WRAPPED_MAX])
{
    CK_ATTRIBUTE attributes[] = {
        {.type = CKA_CLASS, .pValue = &secret_key, .ulValueLen = sizeof secret_key},
        {.type = CKA_KEY_TYPE, .pValue = &aes, .ulValueLen = sizeof aes},
        {.type = CKA_TOKEN, .pValue = &no, .ulValueLen = sizeof no},
        {.type = CKA_SENSITIVE, .pValue = &no, .ulValueLen = sizeof no},
        {.type = CKA_EXTRACTABLE, .pValue = &yes, .ulValueLen = sizeof yes},
        {.type = CKA_VALUE, .pValue = key, .ulValueLen = KEY_LEN},
    };
    CK_OBJECT_HANDLE object;
    must(token->p11->C_CreateObject(token->session, attributes, 6, &object), "C_CreateObject");
    CK_ULONG len = WRAPPED_LEN;
    must(token->p11->C_WrapKey(token->session, &aes_key_wrap, token->kek, object, wrapped, &len),
         "C_WrapKey");
    must(token->p11->C_DestroyObject(token->session, object), "C_DestroyObject");
    if (len != WRAPPED_LEN) {
        bench_die("C_WrapKey gave %lu bytes", len);
    }
}

static void unwrap(struct token *token, unsigned char wrapped[static WRAPPED_MAX],
                   unsigned char key[static KEY_LEN])
{
    CK_ATTRIBUTE attributes[] = {
        {.type = CKA_CLASS, .pValue = &secret_key, .ulValueLen = sizeof secret_key},
        {.type = CKA_KEY_TYPE, .pValue = &aes, .ulValueLen = sizeof aes},
        {.type = CKA_TOKEN, .pValue = &no, .ulValueLen = sizeof no},
        {.type = CKA_SENSITIVE, .pValue = &no, .ulValueLen = sizeof no},
        {.type = CKA_EXTRACTABLE, .pValue = &yes, .ulValueLen = sizeof yes},
    };
    CK_OBJECT_HANDLE object;
    must(token->p11->C_UnwrapKey(token->session, &aes_key_wrap, token->kek, wrapped, WRAPPED_LEN,
                                 attributes, 5, &object),
         "C_UnwrapKey");
    CK_ATTRIBUTE value = {.type = CKA_VALUE, .pValue = key, .ulValueLen = KEY_LEN};
    must(token->p11->C_GetAttributeValue(token->session, object, &value, 1), "C_GetAttributeValue");
    must(token->p11->C_DestroyObject(token->session, object), "C_DestroyObject");
    if (value.ulValueLen != KEY_LEN) {
        bench_die("CKA_VALUE has %lu bytes", value.ulValueLen);
    }
}

static unsigned char iv[12]; /* one for all: nothing is kept secret here */
static CK_GCM_PARAMS gcm = {
    .pIv = iv, .ulIvLen = sizeof iv, .ulIvBits = 8 * sizeof iv, .ulTagBits = 8 * TAG_LEN};
static CK_MECHANISM aes_gcm = {
    .mechanism = CKM_AES_GCM, .pParameter = &gcm, .ulParameterLen = sizeof gcm};

static void encrypt(struct token *token, unsigned char key[static KEY_LEN],
                    unsigned char wrapped[static WRAPPED_MAX])
{
    CK_ULONG len = WRAPPED_MAX;
    must(token->p11->C_EncryptInit(token->session, &aes_gcm, token->kek), "C_EncryptInit");
    must(token->p11->C_Encrypt(token->session, key, KEY_LEN, wrapped, &len), "C_Encrypt");
    if (len != KEY_LEN + TAG_LEN) {
        bench_die("C_Encrypt gave %lu bytes", len);
    }
}

static void decrypt(struct token *token, unsigned char wrapped[static WRAPPED_MAX],
                    unsigned char key[static KEY_LEN])
{
    unsigned char out[WRAPPED_MAX];
    CK_ULONG len = sizeof out;
    must(token->p11->C_DecryptInit(token->session, &aes_gcm, token->kek), "C_DecryptInit");
    must(token->p11->C_Decrypt(token->session, wrapped, KEY_LEN + TAG_LEN, out, &len), "C_Decrypt");
    if (len != KEY_LEN) {
        bench_die("C_Decrypt gave %lu bytes", len);
    }
    memcpy(key, out, KEY_LEN);
}

static bool may_encrypt(struct token *token)
{
    CK_BBOOL may = 0;
    CK_ATTRIBUTE attribute = {.type = CKA_ENCRYPT, .pValue = &may, .ulValueLen = sizeof may};
    must(token->p11->C_GetAttributeValue(token->session, token->kek, &attribute, 1),
         "C_GetAttributeValue");
    return may != 0;
}

static double rate(unsigned long calls, uint64_t start)
{
    return (double)calls / ((double)(bench_now_ns() - start) / 1e9);
}

int main(int argc, char **argv)
{
    if (argc != 6) {
        fprintf(stderr, "usage: raw_pkcs11 MODULE TOKEN_LABEL PIN_FILE KEY_LABEL CALLS\n");
        return 2;
    }
    unsigned long calls = bench_number("CALLS", argv[5], CALLS_MAX);
    struct token token = {.p11 = load_module(argv[1])};
    CK_C_INITIALIZE_ARGS os_locking = {.flags = CKF_OS_LOCKING_OK};
    must(token.p11->C_Initialize(&os_locking), "C_Initialize");
    log_in(&token, argv[2], argv[3]);
    find_kek(&token, argv[4]);

    unsigned char key[KEY_LEN];
    unsigned char back[KEY_LEN];
    unsigned char wrapped[WRAPPED_MAX];
    for (size_t i = 0; i < KEY_LEN; i++) {
        key[i] = (unsigned char)(i * 7);
    }
    bool encrypts = may_encrypt(&token);
    uint64_t start = bench_now_ns();
    for (unsigned long i = 0; i < calls; i++) {
        (encrypts ? encrypt : wrap)(&token, key, wrapped);
    }
    double wraps = rate(calls, start);
    start = bench_now_ns();
    for (unsigned long i = 0; i < calls; i++) {
        (encrypts ? decrypt : unwrap)(&token, wrapped, back);
    }
    double unwraps = rate(calls, start);
    if (memcmp(key, back, KEY_LEN) != 0) {
        bench_die("the key that came back is another one");
    }
    printf("{\"wraps_per_second\": %.1f, \"unwraps_per_second\": %.1f}\n", wraps, unwraps);
    fflush(stdout);
    _exit(0);
}
