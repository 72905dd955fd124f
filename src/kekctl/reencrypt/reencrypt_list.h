/*
 * The names of all objects, as the API server lists them: page after page, each read while the one before is
 * being rewritten, so that memory is that of two pages.
 *
 * How far all objects were handled is told in `place` after each page, for whoever resumes.  A list that takes
 * too long for the API server (410) goes on by the token that it gives for that, else begins anew: what is fresh by
 * then costs a look, no write.
 */
#ifndef KEKCTL_REENCRYPT_LIST_H
#define KEKCTL_REENCRYPT_LIST_H

#include "reencrypt.h"

/* How far the lists were handled. */
struct reencrypt_place {
    size_t resource;  /* those before it are done */
    char *from;       /* where its next page begins; NULL: at the beginning. Owned. */
    unsigned changes; /* grows whenever it has moved on */
};

struct reencrypt_list;

/* From `place` on, which moves on as pages are done. NULL: no memory. */
struct reencrypt_list *reencrypt_list_new(struct reencrypt *reencrypt,
                                          struct reencrypt_place *place);
void reencrypt_list_free(struct reencrypt_list *list);
struct reencrypt_source reencrypt_list_source(struct reencrypt_list *list);

#endif
