/*
 * kekctl: a table of commands.
 *
 * main.c reads the options and finds the command in the table (commands.c); each command is one function in a file of its own;
 * kekctl.c has what several need.
 * It prints its result on standard output (a table, or JSON with --output json), everything else on
 * standard error, and returns the exit code.
 */
#ifndef KEKCTL_KEKCTL_H
#define KEKCTL_KEKCTL_H

#include "kek/config.h"

enum ctl_exit {
    CTL_GOOD = 0,
    CTL_FAILED = 1,
    CTL_USAGE = 2, /* also: the configuration is wrong */
    CTL_CHECK = 3, /* it worked, but something it looked at is not as it must be */
};

/* What a command does where the configuration has several roots of trust. */
enum ctl_roots {
    CTL_ROOTS_ONE = 0, /* it is about the one that --root names */
    CTL_ROOTS_ALL,     /* about all, or that one */
    CTL_ROOTS_JOINED,  /* about all at once: of several, one cannot be named */
    CTL_ROOTS_NONE,    /* about none */
};

/* How results are printed; the last one by some commands alone. */
enum ctl_output { CTL_TABLE, CTL_JSON, CTL_JUNIT };

enum ctl_api { CTL_API_V2 = 0, CTL_API_V1 };
enum ctl_via { CTL_VIA_REWRITE = 0, CTL_VIA_MIGRATION };

#define CTL_DEFAULT_CONFIG "/etc/kekd/kekd.yaml"
#define CTL_NAMES_MAX 64

/* The values of an option that may be given several times. */
struct ctl_names {
    const char *list[CTL_NAMES_MAX];
    size_t count;
};

struct command_list;

/* What one command said, by whichever of its parts. */
struct ctl_told {
    bool unrecorded; /* that something is not on record: what went well ends with CTL_CHECK then */
    bool logins;     /* that the log does not have its logins */
};

struct ctl {
    const struct command_list *commands; /* all that there are */
    const char *command;                 /* its words, for messages */
    /* Who hears what ctl_say() would say, without the command's words; NULL: standard error. */
    void (*hear)(void *arg, const char *text);
    void *hear_arg;
    struct ctl_told *told; /* may be NULL */
    const char *config_path;
    bool config_given;  /* by --config or as an argument */
    const char *root;   /* NULL: the only one, or all */
    unsigned roots;     /* enum ctl_roots */
    unsigned json;      /* enum ctl_output; 0: tables */
    const char *socket; /* NULL: as the configuration says */
    unsigned api;       /* enum ctl_api */
    uint64_t timeout_ms;
    bool timeout_given;
    const char *key_id;     /* NULL: as the ciphertext or Status says */
    const char *provider;   /* NULL: the only one */
    const char **arguments; /* what stands after the command's words */
    size_t argument_count;
    const char *argument; /* the first of them; NULL: there is none */
    bool compromised, has_backup, dry_run, new_keyring;
    struct ctl_names nodes;   /* of --node */
    const char *until;        /* NULL: to the end */
    struct ctl_names without; /* nodes, as --node or the configuration writes them */
    bool single_node, again;
    bool backups_checked, api_servers_restarted;
    const char *phase; /* NULL: not given */
    const char *from;  /* NULL: no file */
    const char *name;  /* of a kms entry; NULL: the usual one */
    bool check;
    const char *kubeconfig, *kube_context; /* NULL: as kubectl finds them */
    unsigned parallel;                     /* 0: as the command likes */
    unsigned rate;                         /* a second; 0: no limit */
    unsigned via;                          /* enum ctl_via */
    bool decrypt;
    struct ctl_names etcds;     /* of --etcd: names in the configuration */
    struct ctl_names endpoints; /* each with commas, perhaps */
    const char *ca, *cert, *key_file, *user, *password_file, *prefix, *snapshot;
    struct ctl_names resources; /* of --resource; none: secrets */
    const char *encryption_config;
    const char *unit;          /* kekd's, of systemd; NULL: as it is installed */
    const char *api_server;    /* a file: its manifest or command line; NULL: as they are found */
    struct ctl_names existing; /* of --existing-key */
    bool verify;
    const char *into; /* NULL: a folder of state_dir */
    const char *out;  /* NULL: no folder */
    const char *page; /* NULL: no file */
    bool help, version;
};

enum ctl_exit ctl_audit_generate(struct ctl *ctl);
enum ctl_exit ctl_audit_verify(struct ctl *ctl);
enum ctl_exit ctl_completion(struct ctl *ctl);
enum ctl_exit ctl_conformance(struct ctl *ctl);
enum ctl_exit ctl_config_check(struct ctl *ctl);
enum ctl_exit ctl_config_example(struct ctl *ctl);
enum ctl_exit ctl_doctor(struct ctl *ctl);
enum ctl_exit ctl_help(struct ctl *ctl);
enum ctl_exit ctl_key_list(struct ctl *ctl);
enum ctl_exit ctl_key_generate(struct ctl *ctl);
enum ctl_exit ctl_key_adopt(struct ctl *ctl);
enum ctl_exit ctl_key_attest(struct ctl *ctl);
enum ctl_exit ctl_key_promote(struct ctl *ctl);
enum ctl_exit ctl_key_retire(struct ctl *ctl);
enum ctl_exit ctl_key_suspend(struct ctl *ctl);
enum ctl_exit ctl_key_resume(struct ctl *ctl);
enum ctl_exit ctl_key_destroy(struct ctl *ctl);
enum ctl_exit ctl_key_rotate(struct ctl *ctl);
enum ctl_exit ctl_inventory(struct ctl *ctl);
enum ctl_exit ctl_kms_status(struct ctl *ctl);
enum ctl_exit ctl_kms_encrypt(struct ctl *ctl);
enum ctl_exit ctl_kms_decrypt(struct ctl *ctl);
enum ctl_exit ctl_kube_config(struct ctl *ctl);
enum ctl_exit ctl_node_status(struct ctl *ctl);
enum ctl_exit ctl_pin_retry(struct ctl *ctl);
enum ctl_exit ctl_probe(struct ctl *ctl);
enum ctl_exit ctl_reencrypt(struct ctl *ctl);
enum ctl_exit ctl_report(struct ctl *ctl);
enum ctl_exit ctl_report_verify(struct ctl *ctl);
enum ctl_exit ctl_version(struct ctl *ctl);

/* "kekctl: <command>: <...>" on standard error, or to whoever hears it. */
void ctl_say(const struct ctl *ctl, const char *format, ...) KEK_PRINTF(2, 3);

/* Loads the configuration, of the root that --root names as if there were no other; NULL after saying why, then the exit
 * code is CTL_USAGE. */
struct kek_config *ctl_config(const struct ctl *ctl);

/* Says of destroy_after and quarantine which of them is too short to be of much use. */
void ctl_warn_of_short(const struct ctl *ctl, const struct kek_config *config);

/* Says which roots of trust an envelope of mode all may lack. */
void ctl_warn_of_change(const struct ctl *ctl, const struct kek_config *config);

#endif
