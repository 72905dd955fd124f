/* An entry of a provider's `versions` in the configuration, as a line of YAML. */
#ifndef KEKCTL_VERSION_ENTRY_H
#define KEKCTL_VERSION_ENTRY_H

#include "kek/kek.h"

/* "<keyring>.v<number>"; cut where KEK_LABEL_MAX ends. */
void version_entry_label(const char *keyring, uint32_t number, char label[static KEK_LABEL_MAX]);

/* "{n: 4, state: active}", with the label unless it is NULL or the one above; quoted, whatever is in it. */
#define VERSION_ENTRY_TEXT (4 * KEK_LABEL_MAX + 64)
void version_entry(const char *keyring, uint32_t number, const char *label, enum kek_state state,
                   char entry[static VERSION_ENTRY_TEXT]);

#endif
