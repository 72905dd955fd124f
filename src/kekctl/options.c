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

static const char *const outputs[] = {"table", "json", "junit", NULL};
static const char *const ways[] = {"rewrite", "storage-version-migration", NULL};
static const char *const apis[] = {"v2", "v1", NULL};

/* Words that a command reads itself: completion offers them. */
static const char *const phases[] = {"add-reader", "make-writer", "remove-old", "disable", NULL};
static const char *const steps[] = {"create", "seen", "promote", "announced", "retire", NULL};

static const struct option_row rows[OPTIONS_END] = {
    [OPTION_CONFIG] = {"config", 'c', "FILE",
                       "the configuration, " CTL_DEFAULT_CONFIG " by default", KIND_PATH,
                       FIELD(config_path), NULL, "a file's path"},
    [OPTION_OUTPUT] = {"output", 0, "table|json", "how results are printed; as a table by default",
                       KIND_CHOICE, FIELD(json), outputs, "table or json, or of conformance junit"},
    [OPTION_HELP] = {"help", 'h', NULL, "the commands; behind a command: its options", KIND_FLAG,
                     FIELD(help), NULL, NULL},
    [OPTION_VERSION] = {"version", 0, NULL, "kekctl's version", KIND_FLAG, FIELD(version), NULL,
                        NULL},
    [OPTION_ROOT] = {"root", 0, "NAME", "which root of trust is meant, where there are several",
                     KIND_TEXT, FIELD(root), NULL, NULL},
    [OPTION_PROVIDER] = {"provider", 0, "NAME",
                         "which provider makes the key; needed where there are several", KIND_TEXT,
                         FIELD(provider), NULL, NULL},
    [OPTION_DRY_RUN] = {"dry-run", 0, NULL, "only say what would be done", KIND_FLAG,
                        FIELD(dry_run), NULL, NULL},
    [OPTION_BACKUP] = {"i-have-a-backup", 0, NULL, "promote a version that is on one token alone",
                       KIND_FLAG, FIELD(has_backup), NULL, NULL},
    [OPTION_COMPROMISED] = {"compromised", 0, NULL, "retire for ever, and mark the version so",
                            KIND_FLAG, FIELD(compromised), NULL, NULL},
    [OPTION_NEW_KEYRING] = {"new-keyring", 0, NULL,
                            "the keyring begins, though state_dir has another one's record alone",
                            KIND_FLAG, FIELD(new_keyring), NULL, NULL},
    [OPTION_BACKUPS_CHECKED] = {"backups-checked", 0, NULL,
                                "no backup of etcd is needed any more that the version sealed",
                                KIND_FLAG, FIELD(backups_checked), NULL, NULL},
    [OPTION_API_SERVERS_RESTARTED] = {"api-servers-restarted", 0, NULL,
                                      "every API server was restarted since the quarantine began",
                                      KIND_FLAG, FIELD(api_servers_restarted), NULL, NULL},
    [OPTION_NODE] =
        {"node", 0, "NODE",
         "a node to ask: HOST:PORT, ssh:HOST or self; once for each; by default those of "
         "status.nodes, else this node alone",
         KIND_NAMES, FIELD(nodes), NULL, "at most 64 nodes"},
    [OPTION_SINGLE_NODE] = {"single-node", 0, NULL, "there is no other node than this one",
                            KIND_FLAG, FIELD(single_node), NULL, NULL},
    [OPTION_WITHOUT] =
        {"without", 0, "NODE",
         "go on though NODE does not answer, after the time that its kekd would take; "
         "once for each",
         KIND_NAMES, FIELD(without), NULL, "at most 64 nodes"},
    [OPTION_UNTIL] =
        {"until", 0, "STEP",
         "stop after create, seen, promote, announced or retire; by default it goes to the end",
         KIND_TEXT, FIELD(until), steps, NULL},
    [OPTION_AGAIN] = {"again", 0, NULL, "rotate although the last rotation ended within the hour",
                      KIND_FLAG, FIELD(again), NULL, NULL},
    [OPTION_PHASE] = {"phase", 0, "PHASE",
                      "which phase to print, or to check: add-reader, make-writer, remove-old or "
                      "disable; needed",
                      KIND_TEXT, FIELD(phase), phases, NULL},
    [OPTION_FROM] =
        {"from", 0, "FILE",
         "the EncryptionConfiguration that the API servers have now; without it the cluster is new",
         KIND_PATH, FIELD(from), NULL, "a file's path"},
    [OPTION_NAME] = {"name", 0, "NAME", "the name of the kms entry; kekd by default", KIND_TEXT,
                     FIELD(name), NULL, NULL},
    [OPTION_CHECK] = {"check", 0, NULL, "print nothing, and say whether the phase is safe now",
                      KIND_FLAG, FIELD(check), NULL, NULL},
    [OPTION_ETCD] = {"etcd", 0, "NAME",
                     "only this etcd of the configuration; once for each; all by default",
                     KIND_NAMES, FIELD(etcds), NULL, "at most 64 names"},
    [OPTION_SNAPSHOT] = {"snapshot", 0, "FILE", "read a snapshot of an etcd, not an etcd",
                         KIND_PATH, FIELD(snapshot), NULL, "a file's path"},
    [OPTION_ENDPOINTS] = {"endpoints", 0, "URL,...",
                          "read an etcd that is not in the configuration: its members", KIND_NAMES,
                          FIELD(endpoints), NULL, "at most 64 lists"},
    [OPTION_CA] = {"ca", 0, "FILE", "its CA's certificate; by default the system's", KIND_PATH,
                   FIELD(ca), NULL, "a file's path"},
    [OPTION_CERT] = {"cert", 0, "FILE", "the client certificate for it; none by default", KIND_PATH,
                     FIELD(cert), NULL, "a file's path"},
    [OPTION_KEY] = {"key", 0, "FILE", "the key of that certificate", KIND_PATH, FIELD(key_file),
                    NULL, "a file's path"},
    [OPTION_USER] = {"user", 0, "NAME",
                     "the user there, where it asks for a password; none by default", KIND_TEXT,
                     FIELD(user), NULL, NULL},
    [OPTION_PASSWORD_FILE] = {"password-file", 0, "FILE", "the file with that user's password",
                              KIND_PATH, FIELD(password_file), NULL, "a file's path"},
    [OPTION_PREFIX] = {"prefix", 0, "PREFIX", "what its keys begin with; /registry by default",
                       KIND_TEXT, FIELD(prefix), NULL, NULL},
    [OPTION_RESOURCE] =
        {"resource", 0, "RESOURCE",
         "which resource, such as things.group.example.com; once for each; secrets by default",
         KIND_NAMES, FIELD(resources), NULL, "at most 64 resources"},
    [OPTION_ENCRYPTION_CONFIG] =
        {"encryption-config", 0, "FILE",
         "what is to be encrypted, by the API server's own file; by default --resource says it",
         KIND_PATH, FIELD(encryption_config), NULL, "a file's path"},
    [OPTION_VERIFY] = {"verify", 0, NULL, "also open everything, by the HSMs", KIND_FLAG,
                       FIELD(verify), NULL, NULL},
    [OPTION_OUT] = {"out", 0, "FOLDER", "where the files go; made if it is not there, and needed",
                    KIND_PATH, FIELD(out), NULL, "a folder's path"},
    [OPTION_PAGE] = {"page", 0, "FILE", "also: is this file the page of that report?", KIND_PATH,
                     FIELD(page), NULL, "a file's path"},
    [OPTION_SOCKET] = {"socket", 0, "PATH",
                       "the plugin's socket; by default the configuration's `listen`", KIND_PATH,
                       FIELD(socket), NULL, "a socket's path"},
    [OPTION_API] = {"api", 0, "v1|v2", "which KMS API to speak; v2 by default", KIND_CHOICE,
                    FIELD(api), apis, "v1 or v2"},
    [OPTION_KEY_ID] = {"key-id", 0, "ID",
                       "the key_id of what is to be decrypted; by default its own in this context",
                       KIND_TEXT, FIELD(key_id), NULL, NULL},
    [OPTION_TIMEOUT] = {"timeout", 0, "DURATION",
                        "how long all nodes together may take to answer; 10s by default",
                        KIND_TIMEOUT, FIELD(timeout_ms), NULL,
                        "a duration (a number and ms, s, m or h) from 1ms to 1h"},
    [OPTION_KUBECONFIG] = {"kubeconfig", 0, "FILE",
                           "the API server and who asks it; by default the file of KUBECONFIG, "
                           "else /etc/kubernetes/admin.conf",
                           KIND_PATH, FIELD(kubeconfig), NULL, "a file's path"},
    [OPTION_KUBE_CONTEXT] = {"kube-context", 0, "NAME",
                             "a context of the kubeconfig; by default its current-context",
                             KIND_PATH, FIELD(kube_context), NULL, "a context's name"},
    [OPTION_VIA] = {"via", 0, "rewrite|storage-version-migration",
                    "who rewrites: kekctl (rewrite, the default) or the cluster's own controller",
                    KIND_CHOICE, FIELD(via), ways, "rewrite or storage-version-migration"},
    [OPTION_DECRYPT] = {"decrypt", 0, NULL,
                        "in clear, where identity is the first provider of the file of --from",
                        KIND_FLAG, FIELD(decrypt), NULL, NULL},
    [OPTION_PARALLEL] = {"parallel", 0, "N",
                         "objects under way at once, at most 256; 16 by default", KIND_NUMBER,
                         FIELD(parallel), NULL, "a number from 1 to 256", 256},
    [OPTION_RATE] = {"rate", 0, "N", "objects a second at most; no limit by default", KIND_NUMBER,
                     FIELD(rate), NULL, "a number from 1 to 100000", 100000},
    [OPTION_API_SERVER] =
        {"api-server", 0, "FILE",
         "the API server's manifest or command line; by default that of kubeadm, or of one that "
         "runs here",
         KIND_PATH, FIELD(api_server), NULL, "a file's path"},
    [OPTION_UNIT] = {"unit", 0, "FILE", "kekd's unit of systemd; by default as it is installed",
                     KIND_PATH, FIELD(unit), NULL, "a file's path"},
    [OPTION_INTO] = {"into", 0, "FOLDER",
                     "where what was received is written; by default a folder of state_dir",
                     KIND_PATH, FIELD(into), NULL, "a folder's path"},
    [OPTION_EXISTING_KEY] = {"existing-key", 0, "NAME",
                             "a key that nobody needs, where none can be made: a token's by its "
                             "label, twice for two, a "
                             "service's in place of `key`; it is used, and not changed",
                             KIND_NAMES, FIELD(existing), NULL, "at most 64 keys"},
};

enum ctl_exit ctl_usage(const struct ctl *ctl, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctl_say(ctl, "%s (see kekctl %s%s--help)", text, ctl->command == NULL ? "" : ctl->command,
            ctl->command == NULL ? "" : " ");
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

#define MEANT_TEXT 256

/* ", did you mean --a or --b?" of those that the name is a slip for, the nearest alone, else of those that
 * begin with it; empty: there is none. */
static void guess(const char *name, char meant[static MEANT_TEXT])
{
    size_t least = SIZE_MAX, nearest = 0, at = 0;
    meant[0] = '\0';
    for (size_t i = 0; i < OPTIONS_END; i++) {
        size_t slip = kek_text_slip(name, rows[i].name);
        if (slip < least) {
            least = slip;
            nearest = i;
        }
    }
    for (size_t i = 0; i < OPTIONS_END && name[0] != '\0' && at < MEANT_TEXT; i++) {
        if (least != SIZE_MAX ? i == nearest : strncmp(rows[i].name, name, strlen(name)) == 0) {
            at += (size_t)snprintf(meant + at, MEANT_TEXT - at, "%s--%s",
                                   at == 0 ? ": did you mean " : " or ", rows[i].name);
        }
    }
    if (at > 0 && at + 1 < MEANT_TEXT) {
        memcpy(meant + at, "?", 2);
    }
}

/* What is wrong with what getopt_long() found. */
static enum ctl_exit say_wrong(const struct ctl *ctl, int found, const char *word)
{
    char name[64], meant[MEANT_TEXT];
    if (found == ':') {
        return ctl_usage(ctl, "%s needs a value", word);
    }
    if (optopt > ' ' && optopt < CHARACTERS_END) {
        return ctl_usage(ctl, "unknown option -%c", optopt);
    }
    snprintf(name, sizeof name, "%s", word + strspn(word, "-"));
    name[strcspn(name, "=")] = '\0';
    guess(name, meant);
    return ctl_usage(ctl, "unknown option --%s%s", name, meant);
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

void options_shape(enum ctl_option option, struct option_shape *shape)
{
    const struct option_row *row = &rows[option];
    *shape =
        (struct option_shape){.name = row->name,
                              .letter = row->letter,
                              .takes_value = row->value != NULL,
                              .is_file = row->value != NULL && (strcmp(row->value, "FILE") == 0 ||
                                                                strcmp(row->value, "FOLDER") == 0 ||
                                                                strcmp(row->value, "PATH") == 0),
                              .names = option == OPTION_ROOT       ? "roots"
                                       : option == OPTION_PROVIDER ? "providers"
                                                                   : NULL,
                              .choices = row->choices};
}

const char *options_first(uint64_t set)
{
    return rows[__builtin_ctzll(set)].name;
}

#define COLUMNS 80
#define INDENT 29 /* of what an option is for */

/* Its words, in lines that begin at INDENT, where the first one stands already. */
static void print_says(const char *says)
{
    size_t at = INDENT;
    for (const char *word = says; word[0] != '\0';) {
        size_t len = strcspn(word, " ");
        if (at > INDENT && at + 1 + len > COLUMNS) {
            printf("\n%*s", INDENT, "");
            at = INDENT;
        }
        at += (size_t)printf("%s%.*s", at > INDENT ? " " : "", (int)len, word);
        word += len + strspn(word + len, " ");
    }
    putchar('\n');
}

void options_print(uint64_t set, const struct option_words *own)
{
    for (unsigned i = 0; i < OPTIONS_END; i++) {
        char text[64], letter[] = {'-', rows[i].letter, ',', ' ', '\0'};
        const char *says = rows[i].says;
        if ((set & CTL_OPTION(i)) == 0) {
            continue;
        }
        for (size_t k = 0; own != NULL && k < CTL_OWN_WORDS; k++) {
            says = own[k].says != NULL && own[k].option == i ? own[k].says : says;
        }
        snprintf(text, sizeof text, "%s--%s%s%s", rows[i].letter == '\0' ? "" : letter,
                 rows[i].name, rows[i].value == NULL ? "" : " ",
                 rows[i].value == NULL ? "" : rows[i].value);
        printf("  %-*s", INDENT - 2, text);
        if (strlen(text) + 2 >= INDENT) {
            printf("\n%*s", INDENT, "");
        }
        print_says(says);
    }
}
