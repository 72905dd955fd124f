/*
 * A library that caches: what a process found at its first search is all that it will ever know
 * (README.md: caching).  It holds the token's objects with their attributes, as its login showed them;
 * what the process itself makes, changes or destroys is seen, what others do is not.  Any thread.
 */
#ifndef KEK_FAULT_CACHE_H
#define KEK_FAULT_CACHE_H

#include <p11-kit/pkcs11.h>

/* Forgets everything: a login may show more objects. */
void cache_clear(void);

CK_RV cache_find_init(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session,
                      const CK_ATTRIBUTE *template, CK_ULONG count);
CK_RV cache_find(CK_SESSION_HANDLE session, CK_OBJECT_HANDLE *objects, CK_ULONG max,
                 CK_ULONG *count);
CK_RV cache_find_final(CK_SESSION_HANDLE session);

CK_RV cache_attributes(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object,
                       CK_ATTRIBUTE *template, CK_ULONG count);

/* This process made or changed it. */
void cache_changed(CK_FUNCTION_LIST *real, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE object);
void cache_destroyed(CK_OBJECT_HANDLE object);

#endif
