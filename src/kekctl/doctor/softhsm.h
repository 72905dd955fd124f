/* Where SoftHSM keeps a provider's tokens, by its configuration (softhsm2.conf(5)): is that a folder, is it kekd's user's to use, and
 * where else may they be? */
#ifndef KEKCTL_DOCTOR_SOFTHSM_H
#define KEKCTL_DOCTOR_SOFTHSM_H

#include "doctor.h"

/* The folder of the tokens. False: the configuration names none. */
bool softhsm_folder(const struct kek_config_provider *provider, char folder[static PATH_MAX]);

/* What corrects its configuration, where that names no folder of tokens, or one that is not there. failed: it did not start; else
 * it shows no token, as it may in the folder that counts where none is named.  was_there: by the record there is a token.
 * False: that is not what is wrong, as far as is known. */
bool softhsm_say_configuration(const struct doctor *doctor,
                               const struct kek_config_provider *provider, bool failed,
                               bool was_there, char todo[static LINES_TODO]);

/* The token may be there: what gives its files to kekd's user. was_there: whoever's they are; else root's alone, as who makes a
 * token as root leaves them. False: none is shut to that user. */
bool softhsm_say_shut(const struct doctor *doctor, const struct kek_config_provider *provider,
                      bool was_there, char todo[static LINES_TODO]);

#endif
