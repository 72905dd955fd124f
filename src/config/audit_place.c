/* `audit`: which of its keys is the log. */
#include "load.h"

const char *kek_config_audit_log(const struct kek_config *config)
{
    return config->audit_file != NULL      ? config->audit_file
           : config->audit_journal != NULL ? config->audit_journal
                                           : config->audit_syslog;
}

enum kek_rc audit_check(struct load *load, const struct kek_doc_node *node, void *object)
{
    return node == NULL || kek_config_audit_log(object) != NULL
               ? KEK_OK
               : load_refuse(load, node, "expected file, journal or syslog, found none of them");
}
