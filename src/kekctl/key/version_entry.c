#include "version_entry.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void version_entry_label(const char *keyring, uint32_t number, char label[static KEK_LABEL_MAX])
{
    snprintf(label, KEK_LABEL_MAX, "%s.v%" PRIu32, keyring, number);
}

/* YAML 1.2 section 7.3.1, double-quoted: what is printable ASCII or not ASCII stands for itself. */
static size_t quote(const char *text, char *out, size_t size)
{
    size_t at = (size_t)snprintf(out, size, "\"");
    for (const char *c = text; *c != '\0'; c++) {
        if (*c == '"' || *c == '\\') {
            at += (size_t)snprintf(out + at, size - at, "\\%c", *c);
        } else if ((*c >= 0 && *c < ' ') || *c == 0x7f) {
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", (unsigned char)*c);
        } else {
            at += (size_t)snprintf(out + at, size - at, "%c", *c);
        }
    }
    return at + (size_t)snprintf(out + at, size - at, "\"");
}

void version_entry(const char *keyring, uint32_t number, const char *label, enum kek_state state,
                   char entry[static VERSION_ENTRY_TEXT])
{
    char own[KEK_LABEL_MAX];
    version_entry_label(keyring, number, own);
    size_t at = (size_t)snprintf(entry, VERSION_ENTRY_TEXT, "{n: %" PRIu32, number);
    if (label != NULL && strcmp(label, own) != 0) {
        at += (size_t)snprintf(entry + at, VERSION_ENTRY_TEXT - at, ", label: ");
        at += quote(label, entry + at, VERSION_ENTRY_TEXT - at);
    }
    snprintf(entry + at, VERSION_ENTRY_TEXT - at, ", state: %s}", kek_state_name(state));
}
