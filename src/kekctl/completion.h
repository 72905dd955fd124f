/*
 * Completion for shells: a script that is made of kekctl's own tables of commands and options, so that it never says
 * anything else than they do.
 */
#ifndef KEKCTL_COMPLETION_H
#define KEKCTL_COMPLETION_H

#include <stddef.h>
#include <stdint.h>

#include "kek/config.h"

struct completion_command {
    const char *words; /* "key list" */
    const char *takes; /* what stands behind them; NULL: nothing */
    uint64_t options;  /* everybody's among them */
};

enum completion_shell { COMPLETION_BASH = 0, COMPLETION_ZSH };

/* On standard output, which is the caller's to flush. */
void completion_print(enum completion_shell shell, const struct completion_command *commands,
                      size_t count);

/* What the scripts ask for: the names of the roots of trust, or else of the providers, one a line. Likewise. */
void completion_names(const struct kek_config *config, bool roots);

#endif
