/*
 * kekctl doctor: what would keep kekd, or an API server with it, from starting, found before it does.
 *
 * doctor.c looks at what only root may read, becomes the user that kekd runs as, and asks each subject, one file for each.
 * A subject asks whoever knows: the configuration's reader, the workers, the record, the nodes; what they say becomes a
 * line.  Nothing is changed anywhere but for the word about a backup and the
 * audit log, which has their logins, and no lock of kekd's is taken; workers log in
 * as kekd's own do, honour a PIN's refusal that is on record, and their logins are in the audit log.  It blocks.
 */
#ifndef KEKCTL_DOCTOR_DOCTOR_H
#define KEKCTL_DOCTOR_DOCTOR_H

#include "kek/encryption_config.h"
#include "kekctl/audit/chain_end.h"
#include "kekctl/key/root_twins.h"
#include "elsewhere.h"
#include "lines.h"
#include "unit.h"
#include "who.h"

/* The API server's command line, as it was found. */
struct api_server {
    char from[PATH_MAX + 32]; /* what it was read from; empty: nothing was found */
    char config[PATH_MAX];    /* of --encryption-provider-config; empty: it has none */
    bool reloads;             /* --encryption-provider-config-automatic-reload */
    bool has_uid;
    uid_t uid;
    bool is_apart;    /* in a user namespace of its own: kekd sees another uid */
    bool is_pod;      /* it sees what is mounted, and nothing else: */
    bool sees_socket; /* something of the node's at `listen` */
    bool sees_config; /* likewise at --encryption-provider-config */
    char socket_on_host[PATH_MAX], config_on_host[PATH_MAX]; /* what that is on the node */
};

#define CREDENTIALS_MAX 16

/* A file that LoadCredential= of the unit names. */
struct credential {
    char name[256], path[PATH_MAX];
    int error; /* errno of looking at it */
    bool is_empty;
    mode_t mode;
};

/* What was read before root was given up. */
struct outside {
    struct credential credentials[CREDENTIALS_MAX];
    size_t credential_count;
    struct unit unit, socket; /* kekd.service and kekd.socket */
    struct kek_why unit_why;  /* rc: NOT_FOUND where there is none */
    bool is_masked;           /* kekd.service is a link to /dev/null */
    struct api_server server;
    struct kek_why server_why;      /* rc: KEK_OK, NOT_FOUND, or why it cannot be read */
    char encryption_path[PATH_MAX]; /* empty: nobody named one */
    mode_t encryption_mode;         /* of that file */
    struct kek_encryption_config *encryption;
    struct kek_why encryption_why; /* where it is NULL */
};

/* A provider's token, as its worker says. */
struct doctor_token {
    bool answered; /* else nothing is known of it */
    char serial[64], model[64];
    uint64_t max_sessions; /* 0: no limit is known */
};

/* What the tokens of one root of trust show. */
struct doctor_root {
    bool looked;     /* its workers were asked */
    size_t answered; /* of its providers */
    uint32_t newest; /* version that may wrap, on any of them; 0: none */
    bool wraps;      /* and does, on one of them */
};

/* The end of the audit log, as it was found. */
struct doctor_chain {
    enum kek_rc rc; /* KEK_OK: `end` is set; else why says why not */
    struct kek_why why;
    struct chain_end end;
};

struct doctor {
    struct ctl ctl; /* what it says becomes lines */
    struct kek_config *config;
    struct lines lines;
    struct outside outside;
    struct who who;
    bool became;                   /* another user than the one that began */
    struct kek_lock_holder runner; /* the kekd that runs on this state_dir */
    struct elsewhere elsewhere;    /* one that runs here on another */
    bool state_good;               /* state_dir can be used: what is on record counts */
    bool begins_record; /* a login would begin a record of a keyring that may be mistyped */
    size_t nodes;       /* that the cluster has, as far as anybody named them; at least 1 */
    struct doctor_token tokens[KEK_CONFIG_PROVIDERS_MAX];
    struct doctor_root roots[KEK_CONFIG_ROOTS_MAX]; /* where none has a name, the first */
    struct root_twins twins;                        /* of those that have */
    struct doctor_chain chain;
    struct kek_audit_owed owed; /* by the audit log */
    /* A provider whose token has a key for the audit log's MACs; empty: none is known. */
    char mac_provider[33];
    /* Where none is: the command that makes one; empty: no token that answers is of a type that can. */
    char mac_todo[LINES_TODO];
};

/* "kekctl --config FILE ...": a command that works here. */
void doctor_command(const struct doctor *doctor, char out[static LINES_TODO], const char *format,
                    ...) KEK_PRINTF(3, 4);

/* The same by the user that kekd runs as: what a library makes on a software token belongs to whoever ran it. */
void doctor_user_command(const struct doctor *doctor, char out[static LINES_TODO],
                         const char *format, ...) KEK_PRINTF(3, 4);

/* This process is neither root nor kekd's user: what it may not use may well be kekd's to use. */
bool doctor_is_stranger(const struct doctor *doctor);

/* A line about what this process may not judge. */
void doctor_say_unseen(struct doctor *doctor, const char *subject, const char *format, ...)
    KEK_PRINTF(3, 4);

/* What gives something to kekd's user: the command, or, where it is not certain who that is, what comes before it. */
void doctor_give(const struct doctor *doctor, char todo[static LINES_TODO], const char *format, ...)
    KEK_PRINTF(3, 4);

/* True, and so is what is to be done, where a kekd runs here on another record: which of the two is right is settled first. */
bool doctor_elsewhere_waits(const struct doctor *doctor, char todo[static LINES_TODO]);

/* The same of a record that may be the wrong one: also where there is one of another keyring alone. */
bool doctor_record_waits(const struct doctor *doctor, char todo[static LINES_TODO]);

#define KEYRING_NAME 256
/* The keyring of another record in state_dir, where there is none of the configuration's. */
bool doctor_record_is_anothers(const struct kek_config *config, char other[static KEYRING_NAME]);

/* Does state_dir lack what the audit log says that this node announced?  what: how that shows. */
bool doctor_record_is_lost(const struct doctor *doctor, char what[static PATH_MAX]);

/* A folder that is everybody's, as /var/lib or /tmp? */
bool doctor_is_everybodys(const char *path);

/* What is to be done where a file is in such a folder; false: `at` is none. */
bool doctor_move_elsewhere(const struct doctor *doctor, const char *path, const char *at,
                           char todo[static LINES_TODO]);

/* A line, if this process cannot use the file; true: it can. secret: nobody else may read it. */
bool doctor_reaches(struct doctor *doctor, const char *subject, const char *path, int mode,
                    bool secret);

struct reach;
/* What lets kekd's user use the file that it does not reach. */
void doctor_let(const struct doctor *doctor, const char *path, int mode, bool secret,
                const struct reach *found, char todo[static LINES_TODO]);

/* That the folder is not there, and the command that makes it. WARN: kekd makes it itself. */
void doctor_say_missing(struct doctor *doctor, enum doctor_verdict verdict, const char *subject,
                        const char *path, const char *mode);

void outside_look(struct doctor *doctor);
void outside_done(struct outside *outside);
enum kek_rc api_server_read(const char *path, const char *listen, struct api_server *server,
                            struct kek_why *why) KEK_MUST_CHECK;
/* Pure. text: a Pod's manifest, or the words of a command line with blanks or NULs between them. */
enum kek_rc api_server_parse(struct kek_bytes text, const char *name, const char *listen,
                             struct api_server *server, struct kek_why *why) KEK_MUST_CHECK;

/* From here on lines are about this provider of the whole configuration, and the root of trust that it is of, where there are
 * several; of NULL, about none in particular. */
void doctor_about(struct doctor *doctor, const struct kek_config_provider *provider);

/* systemd makes the socket and its folder, before kekd is anybody. */
bool doctor_socket_is_systemds(const struct doctor *doctor);

/* Are these two providers one token, as far as they say? */
bool doctor_one_token(const struct doctor *doctor, size_t one, size_t other);

/* Reads the end of the audit log, and what is lost of it, before doctor's own logins stand there. */
void doctor_audit_look(struct doctor *doctor);
void doctor_audit_lost_look(struct doctor *doctor); /* of what is lost */

/* The subjects, in this order. */
void doctor_elsewhere(struct doctor *doctor);
void doctor_unit(struct doctor *doctor);
void doctor_files(struct doctor *doctor);
void doctor_record(struct doctor *doctor);
void doctor_audit_file(struct doctor *doctor); /* doctor_files() asks it, and these: */
void doctor_status(struct doctor *doctor);
void doctor_provider_files(struct doctor *doctor);
void doctor_audit_sockets(struct doctor *doctor);
void doctor_socket(struct doctor *doctor);
void doctor_listeners(struct doctor *doctor);
void doctor_system(struct doctor *doctor);
void doctor_tokens(struct doctor *doctor);
void doctor_sessions(struct doctor *doctor);
void doctor_roots(struct doctor *doctor);
void doctor_audit_chain(struct doctor *doctor); /* after doctor_audit_look() */
void doctor_audit_lost(struct doctor *doctor);  /* likewise */
void doctor_nodes(struct doctor *doctor);
void doctor_kube(struct doctor *doctor);
void doctor_backup(struct doctor *doctor);

#endif
