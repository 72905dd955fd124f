#include "login_log.h"

#include <stdlib.h>

#include <utlist.h>

#include "kek/text.h"

struct login_held {
    struct kek_pool_login login; /* its texts are those below */
    char token[64];
    struct kek_why why;
    struct login_held *next;
};

void login_log_init(struct login_log *log, const struct ctl *ctl, const struct kek_config *config)
{
    *log = (struct login_log){.ctl = ctl, .config = config};
}

/* Once in a command, however many such logs it has: the others are for the same reason. */
static void say_lacking(struct login_log *log, const struct kek_why *why)
{
    if (!log->lacks) {
        log->lacks = true;
        log->why = *why;
        ctl_audit_lost(log->ctl);
        bool said = log->ctl->told != NULL && log->ctl->told->logins;
        if (!said) {
            ctl_say(log->ctl, "to be mended: the audit log does not have this command's logins: %s",
                    why->text);
        }
        if (log->ctl->told != NULL) {
            log->ctl->told->logins = true;
        }
    }
}

/* NULL: there is none, or it cannot be written, which was said. */
static struct kek_audit_acts *open_own(struct login_log *log)
{
    struct kek_why why = {.rc = KEK_OK};
    if (!log->tried) {
        log->tried = true;
        log->own = ctl_audit_look(log->config, &why);
    }
    if (log->own == NULL && why.rc != KEK_OK) {
        say_lacking(log, &why);
    }
    return log->own;
}

static void write_line(struct login_log *log, struct kek_audit_acts *acts,
                       const struct kek_pool_login *login)
{
    struct kek_why why;
    const struct kek_audit_act act = {
        .event = "login",
        .outcome = kek_pool_login_name(login->outcome),
        .provider = log->config->providers[login->provider].name,
        .token = login->token,
        .why = login->why,
    };
    acts = acts == NULL ? open_own(log) : acts;
    if (acts == NULL && log->lacks) {
        ctl_audit_count_lost(log->config);
        return;
    }
    if (ctl_audit_put(log->ctl, acts, &act, &why) != KEK_OK) {
        say_lacking(log, &why);
    }
}

bool login_log_begin(struct login_log *log, struct kek_audit_acts *acts,
                     const struct kek_audit_act *act)
{
    acts = acts == NULL ? open_own(log) : acts;
    if (log->lacks) {
        ctl_say(log->ctl, "%s: nothing was done, since this command's login is not on record: %s",
                act->provider, log->why.text);
        return false;
    }
    return ctl_audit_begin(log->ctl, acts, act);
}

void login_log_end(const struct login_log *log, struct kek_audit_acts *acts,
                   const struct kek_audit_act *act)
{
    ctl_audit(log->ctl, acts == NULL ? log->own : acts, act);
}

void login_log_put(struct login_log *log, struct kek_audit_acts *acts,
                   const struct kek_pool_login *login)
{
    struct login_held *held = log->holds ? calloc(1, sizeof *held) : NULL;
    if (held == NULL) {
        write_line(log, acts, login);
        return;
    }
    held->login = *login;
    kek_text_copy(held->token, sizeof held->token, login->token);
    held->login.token = held->token;
    if (login->why != NULL) {
        held->why = *login->why;
        held->login.why = &held->why;
    }
    LL_APPEND(log->held, held);
}

void login_log_done(struct login_log *log)
{
    struct login_held *held, *next;
    LL_FOREACH_SAFE(log->held, held, next)
    {
        write_line(log, NULL, &held->login);
        free(held);
    }
    kek_audit_acts_free(log->own);
    *log = (struct login_log){.ctl = NULL};
}
