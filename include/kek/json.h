/*
 * JSON as text, for files and pages that must be whole or not there.
 */
#ifndef KEK_JSON_H
#define KEK_JSON_H

#include <jansson.h>

/* As json_dumps(), whose text in jansson 2.14 may lack a piece when memory runs out, without a word: this one is
 * whole. To be freed. NULL: no memory. */
char *kek_json_text(const json_t *value, size_t flags);

#endif
