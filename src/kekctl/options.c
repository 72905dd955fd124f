#include "options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define TIMEOUT_MAX (UINT64_C(3600) * 1000)
#define CHARACTERS_END 256 /* what getopt returns below is a letter */

enum kind {
    KIND_FLAG = 0, /* bool */
    KIND_TEXT,     /* const char *, perhaps empty */
    KIND_PATH,     /* const char *, not empty */
    KIND_NAMES,    /* struct ctl_names: once for each */
    KIND_CHOICE,   /* unsigned: the place among `choices` */
    KIND_TIMEOUT,  /* uint64_t, in milliseconds */
    KIND_NUMBER,   /* unsigned, from 1 to `most` */
};

struct option_row {
    const char *name;
    char letter;       /* 0: it has none */
    const char *value; /* its word in help; NULL: it takes none */
    const char *says;
    enum kind kind;
    size_t field; /* of struct ctl */
    const char *const *choices;
    const char *expected; /* where the kind does not say it */
    uint64_t most;        /* of a number */
};

#define FIELD(name) offsetof(struct ctl, name)

static const char *const outputs[] = {"table", "json", NULL};
static const char *const ways[] = {"rewrite", "storage-version-migration", NULL};
static const char *const apis[] = {"v2", "v1", NULL};

static const struct option_row rows[OPTIONS_END] = {
    [OPTION_CONFIG] = {"config", 'c', "FILE",
                       "the configuration, " CTL_DEFAULT_CONFIG " by default", KIND_PATH,
                       FIELD(config_path), NULL, "a file's path"},
    [OPTION_OUTPUT] = {"output", 0, "table|json", "how results are printed", KIND_CHOICE,
                       FIELD(json), outputs, "table or json"},
    [OPTION_HELP] = {"help", 'h', NULL, "this text; behind a command: the command's options",
                     KIND_FLAG, FIELD(help), NULL, NULL},
    [OPTION_VERSION] = {"version", 0, NULL, "kekctl's version", KIND_FLAG, FIELD(version), NULL,
                        NULL},
    [OPTION_PROVIDER] = {"provider", 0, "NAME", "which provider is meant", KIND_TEXT,
                         FIELD(provider), NULL, NULL},
    [OPTION_DRY_RUN] = {"dry-run", 0, NULL, "only say what would be done", KIND_FLAG,
                        FIELD(dry_run), NULL, NULL},
    [OPTION_BACKUP] = {"i-have-a-backup", 0, NULL, "promote a version that is on one token alone",
                       KIND_FLAG, FIELD(has_backup), NULL, NULL},
    [OPTION_COMPROMISED] = {"compromised", 0, NULL, "retire for ever, and mark the version so",
                            KIND_FLAG, FIELD(compromised), NULL, NULL},
    [OPTION_NODE] = {"node", 0, "NODE",
                     "a node to ask (HOST:PORT, ssh:HOST or self), not status.nodes; once for each",
                     KIND_NAMES, FIELD(nodes), NULL, "at most 64 nodes"},
    [OPTION_SINGLE_NODE] = {"single-node", 0, NULL, "there is no other node than this one",
                            KIND_FLAG, FIELD(single_node), NULL, NULL},
    [OPTION_WITHOUT] = {"without", 0, "NODE",
                        "go on, after the stated times, though NODE does not answer", KIND_NAMES,
                        FIELD(without), NULL, "at most 64 nodes"},
    [OPTION_UNTIL] = {"until", 0, "STEP", "stop after create, seen, promote, announced or retire",
                      KIND_TEXT, FIELD(until), NULL, NULL},
    [OPTION_AGAIN] = {"again", 0, NULL, "though the last rotation ended within the hour", KIND_FLAG,
                      FIELD(again), NULL, NULL},
    [OPTION_PHASE] = {"phase", 0, "PHASE", "add-reader, make-writer, remove-old or disable",
                      KIND_TEXT, FIELD(phase), NULL, NULL},
    [OPTION_FROM] = {"from", 0, "FILE", "the EncryptionConfiguration that the API servers have now",
                     KIND_PATH, FIELD(from), NULL, "a file's path"},
    [OPTION_NAME] = {"name", 0, "NAME", "of the kms entry, kekd by default", KIND_TEXT, FIELD(name),
                     NULL, NULL},
    [OPTION_CHECK] = {"check", 0, NULL, "print nothing, and say whether the phase is safe now",
                      KIND_FLAG, FIELD(check), NULL, NULL},
    [OPTION_ETCD] = {"etcd", 0, "NAME", "this etcd of the configuration alone; once for each",
                     KIND_NAMES, FIELD(etcds), NULL, "at most 64 names"},
    [OPTION_SNAPSHOT] = {"snapshot", 0, "FILE", "a snapshot of an etcd, not an etcd", KIND_PATH,
                         FIELD(snapshot), NULL, "a file's path"},
    [OPTION_ENDPOINTS] = {"endpoints", 0, "URL,...",
                          "an etcd that is not in the configuration, by its members", KIND_NAMES,
                          FIELD(endpoints), NULL, "at most 64 lists"},
    [OPTION_CA] = {"ca", 0, "FILE", "its CA's certificate; by default the system's", KIND_PATH,
                   FIELD(ca), NULL, "a file's path"},
    [OPTION_CERT] = {"cert", 0, "FILE", "the client certificate that it asks for", KIND_PATH,
                     FIELD(cert), NULL, "a file's path"},
    [OPTION_KEY] = {"key", 0, "FILE", "the client certificate's key", KIND_PATH, FIELD(key_file),
                    NULL, "a file's path"},
    [OPTION_USER] = {"user", 0, "NAME", "its user, where it asks for a password", KIND_TEXT,
                     FIELD(user), NULL, NULL},
    [OPTION_PASSWORD_FILE] = {"password-file", 0, "FILE", "the file with that user's password",
                              KIND_PATH, FIELD(password_file), NULL, "a file's path"},
    [OPTION_PREFIX] = {"prefix", 0, "PREFIX", "what its keys begin with, /registry by default",
                       KIND_TEXT, FIELD(prefix), NULL, NULL},
    [OPTION_RESOURCE] =
        {"resource", 0, "RESOURCE",
         "what is meant (secrets by default; things.group.example.com); once for each", KIND_NAMES,
         FIELD(resources), NULL, "at most 64 resources"},
    [OPTION_ENCRYPTION_CONFIG] = {"encryption-config", 0, "FILE",
                                  "what is to be encrypted, by the API server's own file",
                                  KIND_PATH, FIELD(encryption_config), NULL, "a file's path"},
    [OPTION_VERIFY] = {"verify", 0, NULL, "also open everything, by the HSMs", KIND_FLAG,
                       FIELD(verify), NULL, NULL},
    [OPTION_SOCKET] = {"socket", 0, "PATH",
                       "the plugin's socket, by default the configuration's `listen`", KIND_PATH,
                       FIELD(socket), NULL, "a socket's path"},
    [OPTION_API] = {"api", 0, "v1|v2", "which KMS API to speak, v2 by default", KIND_CHOICE,
                    FIELD(api), apis, "v1 or v2"},
    [OPTION_KEY_ID] = {"key-id", 0, "ID",
                       "of what is to be decrypted, by default its own in this context", KIND_TEXT,
                       FIELD(key_id), NULL, NULL},
    [OPTION_TIMEOUT] = {"timeout", 0, "DURATION",
                        "of each KMS call, 3s by default; for all nodes, 10s; key rotate: of all "
                        "waiting, 1h; reencrypt: without any progress, 5m",
                        KIND_TIMEOUT, FIELD(timeout_ms), NULL,
                        "a duration (a number and ms, s, m or h) from 1ms to 1h"},
    [OPTION_KUBECONFIG] = {"kubeconfig", 0, "FILE",
                           "the API server and who asks it; by default KUBECONFIG, else "
                           "/etc/kubernetes/admin.conf",
                           KIND_PATH, FIELD(kubeconfig), NULL, "a file's path"},
    [OPTION_KUBE_CONTEXT] = {"kube-context", 0, "NAME",
                             "of the kubeconfig, by default its current-context", KIND_PATH,
                             FIELD(kube_context), NULL, "a context's name"},
    [OPTION_VIA] = {"via", 0, "rewrite|storage-version-migration",
                    "who rewrites: kekctl, which is the default, or the cluster's own controller",
                    KIND_CHOICE, FIELD(via), ways, "rewrite or storage-version-migration"},
    [OPTION_PARALLEL] = {"parallel", 0, "N", "objects under way at once, 16 by default",
                         KIND_NUMBER, FIELD(parallel), NULL, "a number from 1 to 256", 256},
    [OPTION_RATE] = {"rate", 0, "N", "objects a second at most; no limit by default", KIND_NUMBER,
                     FIELD(rate), NULL, "a number from 1 to 100000", 100000},
};

enum ctl_exit ctl_usage(const struct ctl *ctl, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctl_say(ctl, "%s (see kekctl --help)", text);
    return CTL_USAGE;
}

static bool take_name(struct ctl_names *names, const char *name)
{
    if (names->count < CTL_NAMES_MAX) {
        names->list[names->count++] = name;
        return true;
    }
    return false;
}

static bool take_choice(const char *const *choices, const char *value, unsigned *choice)
{
    for (unsigned i = 0; choices[i] != NULL; i++) {
        if (strcmp(choices[i], value) == 0) {
            *choice = i;
            return true;
        }
    }
    return false;
}

/* The value into its field; false: it is not what the option takes. */
static bool take_value(struct ctl *ctl, const struct option_row *row, const char *value)
{
    void *field = (char *)ctl + row->field;
    uint64_t *timeout_ms = field, number;
    switch (row->kind) {
    case KIND_FLAG:
        *(bool *)field = true;
        return true;
    case KIND_TEXT:
        *(const char **)field = value;
        return true;
    case KIND_PATH:
        *(const char **)field = value;
        return value[0] != '\0';
    case KIND_NAMES:
        return take_name(field, value);
    case KIND_CHOICE:
        return take_choice(row->choices, value, field);
    case KIND_TIMEOUT:
        return kek_config_duration(value, timeout_ms) && *timeout_ms >= 1 &&
               *timeout_ms <= TIMEOUT_MAX;
    case KIND_NUMBER:
        if (!kek_text_decimal(value, row->most, &number) || number == 0) {
            return false;
        }
        *(unsigned *)field = (unsigned)number;
        return true;
    default:
        return false;
    }
}

/* The rows as getopt_long() wants them: what it returns is CHARACTERS_END and the row's place. */
static void list_options(struct option list[static OPTIONS_END + 1])
{
    for (int i = 0; i < OPTIONS_END; i++) {
        list[i] =
            (struct option){rows[i].name, rows[i].value == NULL ? no_argument : required_argument,
                            NULL, CHARACTERS_END + i};
    }
    list[OPTIONS_END] = (struct option){0};
}

/* Which row a letter stands for. */
static int row_of_letter(int letter)
{
    for (int i = 0; i < OPTIONS_END; i++) {
        if (rows[i].letter == letter) {
            return i;
        }
    }
    return OPTIONS_END;
}

/* What is wrong with what getopt_long() found. */
static enum ctl_exit say_wrong(const struct ctl *ctl, int found, const char *word)
{
    if (found == ':') {
        return ctl_usage(ctl, "%s needs a value", word);
    }
    if (optopt > ' ' && optopt < CHARACTERS_END) {
        return ctl_usage(ctl, "unknown option -%c", optopt);
    }
    return ctl_usage(ctl, "unknown option %s", word);
}

enum ctl_exit options_take(struct ctl *ctl, int argc, char **argv, uint64_t *given)
{
    struct option list[OPTIONS_END + 1];
    int found;
    list_options(list);
    opterr = 0;
    while ((found = getopt_long(argc, argv, ":hc:", list, NULL)) != -1) {
        if (ctl->help || ctl->version) {
            continue; /* whatever else stands there, which is moved behind the words all the same */
        }
        if (found == '?' || found == ':') {
            return say_wrong(ctl, found, argv[optind - 1]);
        }
        int option = found < CHARACTERS_END ? row_of_letter(found) : found - CHARACTERS_END;
        if (!take_value(ctl, &rows[option], optarg)) {
            return ctl_usage(ctl, "--%s: expected %s, found \"%s\"", rows[option].name,
                             rows[option].expected, optarg);
        }
        *given |= CTL_OPTION(option);
    }
    return CTL_GOOD;
}

const char *options_first(uint64_t set)
{
    return rows[__builtin_ctzll(set)].name;
}

void options_print(uint64_t set)
{
    for (int i = 0; i < OPTIONS_END; i++) {
        char text[64], letter[] = {'-', rows[i].letter, ',', ' ', '\0'};
        if ((set & CTL_OPTION(i)) == 0) {
            continue;
        }
        snprintf(text, sizeof text, "%s--%s%s%s", rows[i].letter == '\0' ? "" : letter,
                 rows[i].name, rows[i].value == NULL ? "" : " ",
                 rows[i].value == NULL ? "" : rows[i].value);
        printf("  %-26s %s\n", text, rows[i].says);
    }
}
