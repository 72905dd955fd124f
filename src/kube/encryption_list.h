/* The list of an EncryptionConfiguration that a phase is about. */
#ifndef KUBE_ENCRYPTION_LIST_H
#define KUBE_ENCRYPTION_LIST_H

#include "kek/encryption_config.h"

#define ENCRYPTION_NONE SIZE_MAX /* no such index */

/* What a phase works on. */
struct encryption_advance {
    struct kek_encryption_config *config;
    const struct kek_encryption_target *target;
    struct kek_encryption_step *step;
    struct kek_why *why;
};

/* What messages call the configuration. */
const char *encryption_file(const struct encryption_advance *advance);
enum kek_rc encryption_no_room(const struct encryption_advance *advance);

/* A copy, or NULL of NULL; false: no memory. */
bool encryption_copy_text(const char *text, char **copy);

/* Where the list names the resource. */
size_t encryption_find_resource(const struct kek_encryption_rule *rule, const char *resource);

/* Where the list has kekd's entry. */
size_t encryption_find_kekd(const struct encryption_advance *advance,
                            const struct kek_encryption_rule *rule);

/* Takes the provider, also where it fails. */
enum kek_rc encryption_insert_provider(const struct encryption_advance *advance,
                                       struct kek_encryption_rule *rule, size_t at,
                                       struct kek_encryption_provider *provider);

/* Can the target be at all? */
enum kek_rc encryption_check_target(const struct encryption_advance *advance);

/* The one list that the target means.  Where it means a part of one, that part gets a list of its own, with the
 * same providers; where it means none, a list without providers. */
enum kek_rc encryption_find_rule(const struct encryption_advance *advance, size_t *at);

#endif
