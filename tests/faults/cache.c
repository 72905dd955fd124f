#include "cache.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX 128
#define SEARCHES_MAX 64

static const CK_ATTRIBUTE_TYPE types[] = {
    CKA_CLASS,
    CKA_TOKEN,
    CKA_PRIVATE,
    CKA_LABEL,
    CKA_KEY_TYPE,
    CKA_ID,
    CKA_SENSITIVE,
    CKA_ENCRYPT,
    CKA_DECRYPT,
    CKA_WRAP,
    CKA_UNWRAP,
    CKA_SIGN,
    CKA_VERIFY,
    CKA_DERIVE,
    CKA_EXTRACTABLE,
    CKA_LOCAL,
    CKA_MODIFIABLE,
    CKA_VALUE_LEN,
    CKA_ALWAYS_SENSITIVE,
    CKA_NEVER_EXTRACTABLE,
    CKA_TRUSTED,
    CKA_START_DATE,
    CKA_WRAP_WITH_TRUSTED,
    CKA_KEY_GEN_MECHANISM,
    CKA_END_DATE,
    CKA_APPLICATION,
};
#define TYPES (sizeof types / sizeof types[0])

struct value {
    bool held;
    CK_ULONG size;
    CK_BYTE bytes[VALUE_MAX];
};

struct object {
    CK_OBJECT_HANDLE handle;
    struct value values[TYPES];
    struct object *next;
};

/* A search under way; its session is 0 where there is none. */
struct search {
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE *found;
    size_t count, given;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct object *objects;
static bool filled;
static struct search searches[SEARCHES_MAX];

static struct object *held(CK_OBJECT_HANDLE handle)
{
    struct object *object = objects;
    while (object != NULL && object->handle != handle) {
        object = object->next;
    }
    return object;
}

static struct value *value_of(struct object *object, CK_ATTRIBUTE_TYPE type)
{
    for (size_t i = 0; object != NULL && i < TYPES; i++) {
        if (types[i] == type) {
            return object->values[i].held ? &object->values[i] : NULL;
        }
    }
    return NULL;
}

static void read_values(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, struct object *object)
{
    for (size_t i = 0; i < TYPES; i++) {
        struct value *value = &object->values[i];
        CK_ATTRIBUTE attribute = {types[i], value->bytes, sizeof value->bytes};
        value->held = real->C_GetAttributeValue(session, object->handle, &attribute, 1) == CKR_OK;
        value->size = value->held ? attribute.ulValueLen : 0;
    }
}

static void add(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE handle)
{
    struct object *object = calloc(1, sizeof *object);
    if (object == NULL) {
        abort();
    }
    object->handle = handle;
    read_values(real, session, object);
    object->next = objects;
    objects = object;
}

/* Everything on the token that a session of its own is shown. */
static CK_RV fill(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session)
{
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE on_token = {CKA_TOKEN, &yes, sizeof yes};
    CK_SESSION_INFO info;
    CK_SESSION_HANDLE own;
    CK_RV rv = real->C_GetSessionInfo(session, &info);
    if (rv == CKR_OK) {
        rv = real->C_OpenSession(info.slotID, CKF_SERIAL_SESSION, NULL, NULL, &own);
    }
    if (rv != CKR_OK) {
        return rv;
    }
    rv = real->C_FindObjectsInit(own, &on_token, 1);
    CK_OBJECT_HANDLE handle;
    CK_ULONG count = 1;
    while (rv == CKR_OK && count == 1) {
        rv = real->C_FindObjects(own, &handle, 1, &count);
        if (rv == CKR_OK && count == 1) {
            add(real, own, handle);
        }
    }
    real->C_FindObjectsFinal(own);
    real->C_CloseSession(own);
    filled = rv == CKR_OK;
    return rv;
}

static bool matches(struct object *object, const CK_ATTRIBUTE *template, CK_ULONG count)
{
    for (CK_ULONG i = 0; i < count; i++) {
        const struct value *value = value_of(object, template[i].type);
        if (value == NULL || value->size != template[i].ulValueLen ||
            memcmp(value->bytes, template[i].pValue, value->size) != 0) {
            return false;
        }
    }
    return true;
}

static struct search *search_of(CK_SESSION_HANDLE session)
{
    for (size_t i = 0; i < SEARCHES_MAX; i++) {
        if (searches[i].session == session) {
            return &searches[i];
        }
    }
    return NULL;
}

static void empty(void)
{
    while (objects != NULL) {
        struct object *object = objects;
        objects = object->next;
        free(object);
    }
    filled = false;
}

void cache_clear(void)
{
    pthread_mutex_lock(&lock);
    empty();
    pthread_mutex_unlock(&lock);
}

static CK_RV begin(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, const CK_ATTRIBUTE *template,
                   CK_ULONG count)
{
    struct search *search = search_of(session) != NULL ? search_of(session) : search_of(0);
    if (search == NULL || search->session == session) {
        return search == NULL ? CKR_HOST_MEMORY : CKR_OPERATION_ACTIVE;
    }
    if (!filled) {
        empty();
        CK_RV rv = fill(real, session);
        if (rv != CKR_OK) {
            return rv;
        }
    }
    size_t max = 1;
    for (struct object *object = objects; object != NULL; object = object->next) {
        max++;
    }
    search->found = calloc(max, sizeof *search->found);
    if (search->found == NULL) {
        abort();
    }
    search->session = session;
    search->count = search->given = 0;
    for (struct object *object = objects; object != NULL; object = object->next) {
        if (matches(object, template, count)) {
            search->found[search->count++] = object->handle;
        }
    }
    return CKR_OK;
}

CK_RV cache_find_init(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session,
                      const CK_ATTRIBUTE *template, CK_ULONG count)
{
    CK_SESSION_INFO info;
    CK_RV rv = real->C_GetSessionInfo(session, &info);
    if (rv != CKR_OK) {
        return rv; /* as a search would say it */
    }
    pthread_mutex_lock(&lock);
    rv = begin(real, session, template, count);
    pthread_mutex_unlock(&lock);
    return rv;
}

CK_RV cache_find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *found, CK_ULONG max, CK_ULONG *count)
{
    pthread_mutex_lock(&lock);
    struct search *search = search_of(session);
    CK_RV rv = search == NULL ? CKR_OPERATION_NOT_INITIALIZED : CKR_OK;
    if (search != NULL) {
        size_t left = search->count - search->given;
        *count = left < max ? left : max;
        memcpy(found, search->found + search->given, *count * sizeof *found);
        search->given += *count;
    }
    pthread_mutex_unlock(&lock);
    return rv;
}

CK_RV cache_find_final(CK_SESSION_HANDLE session)
{
    pthread_mutex_lock(&lock);
    struct search *search = search_of(session);
    CK_RV rv = search == NULL ? CKR_OPERATION_NOT_INITIALIZED : CKR_OK;
    if (search != NULL) {
        free(search->found);
        *search = (struct search){0};
    }
    pthread_mutex_unlock(&lock);
    return rv;
}

static CK_RV give(const struct value *value, CK_ATTRIBUTE *attribute)
{
    if (attribute->pValue != NULL && attribute->ulValueLen < value->size) {
        attribute->ulValueLen = CK_UNAVAILABLE_INFORMATION;
        return CKR_BUFFER_TOO_SMALL;
    }
    if (attribute->pValue != NULL) {
        memcpy(attribute->pValue, value->bytes, value->size);
    }
    attribute->ulValueLen = value->size;
    return CKR_OK;
}

CK_RV cache_attributes(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                       CK_ATTRIBUTE *template, CK_ULONG count)
{
    CK_RV rv = CKR_OK;
    pthread_mutex_lock(&lock);
    for (CK_ULONG i = 0; i < count; i++) {
        const struct value *value = value_of(held(object), template[i].type);
        CK_RV one = value != NULL ? give(value, &template[i])
                                  : real->C_GetAttributeValue(session, object, &template[i], 1);
        rv = one != CKR_OK ? one : rv;
    }
    pthread_mutex_unlock(&lock);
    return rv;
}

void cache_changed(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object)
{
    CK_BBOOL on_token = CK_FALSE;
    CK_ATTRIBUTE where = {CKA_TOKEN, &on_token, sizeof on_token};
    if (real->C_GetAttributeValue(session, object, &where, 1) != CKR_OK || !on_token) {
        return;
    }
    pthread_mutex_lock(&lock);
    if (held(object) != NULL) {
        read_values(real, session, held(object));
    } else if (filled) {
        add(real, session, object);
    }
    pthread_mutex_unlock(&lock);
}

void cache_destroyed(CK_OBJECT_HANDLE object)
{
    pthread_mutex_lock(&lock);
    for (struct object **at = &objects; *at != NULL; at = &(*at)->next) {
        if ((*at)->handle == object) {
            struct object *gone = *at;
            *at = gone->next;
            free(gone);
            break;
        }
    }
    pthread_mutex_unlock(&lock);
}
