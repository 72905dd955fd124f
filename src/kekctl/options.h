/*
 * kekctl's options: a table.  One row says what an option is called, what its value must be, and which
 * field of struct ctl it lands in; main.c's table of commands says which command takes which.
 */
#ifndef KEKCTL_OPTIONS_H
#define KEKCTL_OPTIONS_H

#include "kekctl.h"

/* In the order in which help names them. */
enum ctl_option {
    /* everybody's */
    OPTION_CONFIG = 0,
    OPTION_OUTPUT,
    OPTION_HELP,
    OPTION_VERSION,
    /* of some commands */
    OPTION_ROOT,
    OPTION_PROVIDER,
    OPTION_DRY_RUN,
    OPTION_BACKUP,
    OPTION_COMPROMISED,
    OPTION_NEW_KEYRING,
    OPTION_BACKUPS_CHECKED,
    OPTION_API_SERVERS_RESTARTED,
    OPTION_NODE,
    OPTION_SINGLE_NODE,
    OPTION_WITHOUT,
    OPTION_UNTIL,
    OPTION_AGAIN,
    OPTION_PHASE,
    OPTION_FROM,
    OPTION_NAME,
    OPTION_CHECK,
    OPTION_ETCD,
    OPTION_SNAPSHOT,
    OPTION_ENDPOINTS,
    OPTION_CA,
    OPTION_CERT,
    OPTION_KEY,
    OPTION_USER,
    OPTION_PASSWORD_FILE,
    OPTION_PREFIX,
    OPTION_RESOURCE,
    OPTION_ENCRYPTION_CONFIG,
    OPTION_VERIFY,
    OPTION_OUT,
    OPTION_PAGE,
    OPTION_SOCKET,
    OPTION_API,
    OPTION_KEY_ID,
    OPTION_TIMEOUT,
    OPTION_KUBECONFIG,
    OPTION_KUBE_CONTEXT,
    OPTION_VIA,
    OPTION_DECRYPT,
    OPTION_PARALLEL,
    OPTION_RATE,
    OPTION_API_SERVER,
    OPTION_UNIT,
    OPTION_INTO,
    OPTION_EXISTING_KEY,
    OPTIONS_END
};

/* A set of options. */
#define CTL_OPTION(option) (UINT64_C(1) << (option))
_Static_assert(OPTIONS_END <= 64, "a set has a bit for each option");
#define CTL_OPTIONS_ALL                                                                \
    (CTL_OPTION(OPTION_CONFIG) | CTL_OPTION(OPTION_OUTPUT) | CTL_OPTION(OPTION_HELP) | \
     CTL_OPTION(OPTION_VERSION) | CTL_OPTION(OPTION_ROOT))

/* Takes the options out of argv, which is left at the words (optind of getopt), and fills `ctl` and the set of
 * those given; behind --help or --version nothing is wrong.  CTL_USAGE after saying what is wrong. */
enum ctl_exit options_take(struct ctl *ctl, int argc, char **argv, uint64_t *given);

/* What a completion needs to know of one. */
struct option_shape {
    const char *name;
    char letter; /* 0: it has none */
    bool takes_value, is_file;
    const char *names;          /* what of the configuration it names: "roots"; NULL: nothing */
    const char *const *choices; /* NULL: the value is free */
};
void options_shape(enum ctl_option option, struct option_shape *shape);

/* The first option of a set that is not empty, as it is written: without the dashes. Static. */
const char *options_first(uint64_t set);

/* What a command has to say of an option of its own, in the table's place; says == NULL: nothing. */
#define CTL_OWN_WORDS 3
struct option_words {
    enum ctl_option option;
    const char *says;
};

/* Prints what each option of the set is for, in lines of at most 80 columns. `own` may be NULL. */
void options_print(uint64_t set, const struct option_words *own);

/* Says it, and whose --help says more. Always CTL_USAGE. */
enum ctl_exit ctl_usage(const struct ctl *ctl, const char *format, ...) KEK_PRINTF(2, 3);

#endif
