/* What kekctl puts on record. */
#include "on_record.h"

#include <limits.h>

/* False: there is no log, or its record's path is none, as why says. */
static bool find_place(const struct kek_config *config, char head[static PATH_MAX],
                       struct kek_audit_place *place, struct kek_why *why)
{
    why->rc = KEK_OK;
    if (kek_config_audit_log(config) == NULL ||
        kek_config_state_file(config, "audit", head, why) != KEK_OK) {
        return false;
    }
    *place = (struct kek_audit_place){.file = config->audit_file,
                                      .head = head,
                                      .journal = config->audit_journal,
                                      .syslog = config->audit_syslog};
    return true;
}

struct kek_audit_acts *ctl_audit_look(const struct kek_config *config, struct kek_why *why)
{
    char head[PATH_MAX];
    struct kek_audit_place place;
    return find_place(config, head, &place, why) ? kek_audit_acts_new(&place, config->root, why)
                                                 : NULL;
}

bool ctl_audit_elsewhere(const struct kek_config *config, char log[static PATH_MAX])
{
    char head[PATH_MAX];
    struct kek_audit_place place;
    struct kek_why why;
    return find_place(config, head, &place, &why) && kek_audit_elsewhere(&place, log);
}

void ctl_audit_count_lost(const struct kek_config *config)
{
    char head[PATH_MAX];
    struct kek_audit_place place;
    struct kek_why why;
    if (find_place(config, head, &place, &why)) {
        kek_audit_act_lost(&place);
    }
}

bool ctl_audit_open(const struct ctl *ctl, const struct kek_config *config,
                    struct kek_audit_acts **acts)
{
    struct kek_why why;
    *acts = ctl_audit_look(config, &why);
    if (*acts == NULL && why.rc != KEK_OK) {
        ctl_say(ctl, "nothing was done, since it could not be put on record: %s", why.text);
    }
    return *acts != NULL || why.rc == KEK_OK;
}

enum kek_rc ctl_audit_put(const struct ctl *ctl, struct kek_audit_acts *acts,
                          const struct kek_audit_act *act, struct kek_why *why)
{
    struct kek_audit_act told = *act;
    told.command = ctl->command;
    return acts == NULL ? KEK_OK : kek_audit_act(acts, &told, why);
}

void ctl_audit_lost(const struct ctl *ctl)
{
    if (ctl->told != NULL) {
        ctl->told->unrecorded = true;
    }
}

void ctl_audit(const struct ctl *ctl, struct kek_audit_acts *acts, const struct kek_audit_act *act)
{
    struct kek_why why;
    if (ctl_audit_put(ctl, acts, act, &why) != KEK_OK) {
        ctl_say(ctl, "what was done is not on record: %s", why.text);
        ctl_audit_lost(ctl);
    }
}

bool ctl_audit_begin(const struct ctl *ctl, struct kek_audit_acts *acts,
                     const struct kek_audit_act *act)
{
    struct kek_audit_act told = *act;
    struct kek_why why;
    told.command = ctl->command;
    if (acts == NULL || kek_audit_act_begin(acts, &told, &why) == KEK_OK) {
        return true;
    }
    ctl_say(ctl, "%s%snothing was done, since it could not be put on record: %s",
            act->provider == NULL ? "" : act->provider, act->provider == NULL ? "" : ": ",
            why.text);
    return false;
}
