/*
 * The PINs that kekctl sends, on record in the audit log, whatever the command is: each login, as kekd puts its own there,
 * with the command and who ran it.
 *
 * A command that changes something has opened the log before, and does nothing without it.  One that only looks opens it
 * at its first login; where it cannot, it says so once, and goes on; the exit code says it, too.
 */
#ifndef KEKCTL_LOGIN_LOG_H
#define KEKCTL_LOGIN_LOG_H

#include "kek/pool.h"
#include "on_record.h"

/* A login that is put on record later. */
struct login_held;

struct login_log {
    const struct ctl *ctl;
    const struct kek_config *config;
    struct kek_audit_acts *own; /* NULL: it was not opened here */
    bool tried;                 /* to open it */
    bool lacks;                 /* a login, which was said; `why` says why */
    struct kek_why why;
    bool holds; /* until login_log_done(): who verifies the log adds nothing to it meanwhile */
    struct login_held *held;
};

/* Both are borrowed until login_log_done(). */
void login_log_init(struct login_log *log, const struct ctl *ctl, const struct kek_config *config);

/* acts: the log that is open already; NULL: none is. */
void login_log_put(struct login_log *log, struct kek_audit_acts *acts,
                   const struct kek_pool_login *login);

/* Puts on record what is about to be done to a token, by whoever is logged in.  False after saying that it is not done, since
 * that could not be, or a login was not. */
bool login_log_begin(struct login_log *log, struct kek_audit_acts *acts,
                     const struct kek_audit_act *act) KEK_MUST_CHECK;

/* The same of how it ended, in the log in which it began. */
void login_log_end(const struct login_log *log, struct kek_audit_acts *acts,
                   const struct kek_audit_act *act);

/* Puts on record what was held. Also of one that is all zeros. */
void login_log_done(struct login_log *log);

#endif
