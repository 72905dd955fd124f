#include "kek/json.h"

#include <stdlib.h>

char *kek_json_text(const json_t *value, size_t flags)
{
    size_t len = json_dumpb(value, NULL, 0, flags);
    char *text = len == 0 ? NULL : malloc(len + 1);
    if (text == NULL) {
        return NULL;
    }
    if (json_dumpb(value, text, len, flags) != len) {
        free(text);
        return NULL;
    }
    text[len] = '\0';
    return text;
}
