#include "handles.h"

#include <pthread.h>
#include <string.h>

#define KEYS_MAX 64
#define OTHERS_MAX 64
#define KEY_SIZE 32
#define ID_MAX 64

/* Token keys in the order in which they were found first.  Renumbered once, each key answers to the
 * handle of the one before it, for everything: a library that enumerates anew after a lost connection
 * does so.  Keys found later keep their handles. */
static struct {
    pthread_mutex_t lock;
    CK_OBJECT_HANDLE keys[KEYS_MAX];
    size_t count, renumbered_count;
    unsigned renumbered;
} known = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* The keys that are on no token: each stands for one that is.  They are session objects, of a session
 * that is never closed. */
static struct {
    pthread_mutex_t lock;
    struct {
        CK_OBJECT_HANDLE key, other;
        unsigned long number;
    } keys[OTHERS_MAX];
    size_t count;
} others = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void renumber(void)
{
    if (known.renumbered != control_renumbered()) {
        known.renumbered = control_renumbered();
        known.renumbered_count = known.count;
    }
}

static bool is_known(CK_OBJECT_HANDLE key)
{
    for (size_t i = 0; i < known.count; i++) {
        if (known.keys[i] == key) {
            return true;
        }
    }
    return false;
}

static CK_OBJECT_HANDLE shifted(CK_OBJECT_HANDLE handle, size_t count, size_t by)
{
    for (size_t i = 0; i < count; i++) {
        if (known.keys[i] == handle) {
            return known.keys[(i + by) % count];
        }
    }
    return handle;
}

CK_OBJECT_HANDLE handles_meant(CK_OBJECT_HANDLE handle, const struct control_verdict *verdict)
{
    pthread_mutex_lock(&known.lock);
    renumber();
    if (known.renumbered_count > 0) {
        handle = shifted(handle, known.renumbered_count, known.renumbered);
    }
    if (verdict->misleads && known.count > 0) {
        handle = shifted(handle, known.count, 1);
    }
    pthread_mutex_unlock(&known.lock);
    return handle;
}

CK_OBJECT_HANDLE handles_told(CK_OBJECT_HANDLE object)
{
    pthread_mutex_lock(&known.lock);
    if (!is_known(object) && known.count < KEYS_MAX) {
        known.keys[known.count++] = object;
    }
    renumber();
    size_t count = known.renumbered_count;
    if (count > 0) {
        object = shifted(object, count, count - known.renumbered % count);
    }
    pthread_mutex_unlock(&known.lock);
    return object;
}

/* A key for the same uses as `key`. Its value follows from that one's CKA_ID and the number, so that all
 * processes with one number have the same: members of a group that were restored from one backup. */
static CK_OBJECT_HANDLE make(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE key, unsigned long number)
{
    CK_BYTE id[ID_MAX], value[KEY_SIZE];
    CK_BBOOL uses[4], yes = CK_TRUE, no = CK_FALSE;
    CK_ATTRIBUTE shown[] = {{CKA_WRAP, &uses[0], 1},
                            {CKA_UNWRAP, &uses[1], 1},
                            {CKA_ENCRYPT, &uses[2], 1},
                            {CKA_DECRYPT, &uses[3], 1},
                            {CKA_ID, id, sizeof id}};
    if (real->C_GetAttributeValue(session, key, shown, 5) != CKR_OK || shown[4].ulValueLen == 0) {
        return 0;
    }
    for (size_t i = 0; i < sizeof value; i++) {
        value[i] = (CK_BYTE)(id[i % shown[4].ulValueLen] + 31 * number + 7 * i);
    }
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ATTRIBUTE template[] = {{CKA_CLASS, &class, sizeof class},
                               {CKA_KEY_TYPE, &type, sizeof type},
                               {CKA_TOKEN, &no, sizeof no},
                               {CKA_PRIVATE, &no, sizeof no},
                               {CKA_SENSITIVE, &yes, sizeof yes},
                               {CKA_VALUE, value, sizeof value},
                               shown[0],
                               shown[1],
                               shown[2],
                               shown[3]};
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE own;
    CK_OBJECT_HANDLE other = 0;
    if (real->C_GetSessionInfo(session, &info) != CKR_OK ||
        real->C_OpenSession(info.slotID, CKF_SERIAL_SESSION | CKF_RW_SESSION, NULL, NULL, &own) !=
            CKR_OK) {
        return 0;
    }
    if (real->C_CreateObject(own, template, sizeof template / sizeof template[0], &other) !=
        CKR_OK) {
        real->C_CloseSession(own);
        return 0;
    }
    return other;
}

static CK_OBJECT_HANDLE other_of(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session,
                                 CK_OBJECT_HANDLE key, unsigned long number)
{
    CK_OBJECT_HANDLE other = 0;
    pthread_mutex_lock(&others.lock);
    for (size_t i = 0; i < others.count && other == 0; i++) {
        if (others.keys[i].key == key && others.keys[i].number == number) {
            other = others.keys[i].other;
        }
    }
    if (other == 0 && others.count < OTHERS_MAX) {
        other = make(real, session, key, number);
        if (other != 0) {
            others.keys[others.count].key = key;
            others.keys[others.count].number = number;
            others.keys[others.count++].other = other;
        }
    }
    pthread_mutex_unlock(&others.lock);
    return other;
}

CK_OBJECT_HANDLE handles_key(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session,
                             CK_OBJECT_HANDLE handle, const struct control_verdict *verdict)
{
    CK_OBJECT_HANDLE key = handles_meant(handle, verdict);
    if (!verdict->wrongkey) {
        return key;
    }
    CK_BBOOL on_token = CK_FALSE;
    CK_ATTRIBUTE where = {CKA_TOKEN, &on_token, sizeof on_token};
    if (real->C_GetAttributeValue(session, key, &where, 1) != CKR_OK || !on_token) {
        return key; /* which fails as it would, or was made by the caller */
    }
    return other_of(real, session, key, verdict->other);
}
