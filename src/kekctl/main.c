#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kek/descriptors.h"
#include "kek/log.h"
#include "kek/text.h"
#include "completion.h"
#include "options.h"

#define OPTIONS_NODES (CTL_OPTION(OPTION_NODE) | CTL_OPTION(OPTION_TIMEOUT))
#define OPTIONS_CHANGE (CTL_OPTION(OPTION_DRY_RUN) | OPTIONS_NODES)
#define OPTIONS_ROTATE                                                                        \
    (OPTIONS_CHANGE | CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_BACKUP) |               \
     CTL_OPTION(OPTION_UNTIL) | CTL_OPTION(OPTION_WITHOUT) | CTL_OPTION(OPTION_SINGLE_NODE) | \
     CTL_OPTION(OPTION_AGAIN))
#define OPTIONS_DESTROY                                                                     \
    (OPTIONS_CHANGE | CTL_OPTION(OPTION_SINGLE_NODE) | CTL_OPTION(OPTION_BACKUPS_CHECKED) | \
     CTL_OPTION(OPTION_API_SERVERS_RESTARTED))
#define OPTIONS_KUBE_CONFIG                                                             \
    (CTL_OPTION(OPTION_PHASE) | CTL_OPTION(OPTION_FROM) | CTL_OPTION(OPTION_RESOURCE) | \
     CTL_OPTION(OPTION_NAME) | CTL_OPTION(OPTION_CHECK) | CTL_OPTION(OPTION_ETCD) |     \
     CTL_OPTION(OPTION_SINGLE_NODE) | OPTIONS_NODES)
#define OPTIONS_KMS \
    (CTL_OPTION(OPTION_SOCKET) | CTL_OPTION(OPTION_API) | CTL_OPTION(OPTION_TIMEOUT))

#define OPTIONS_REENCRYPT                                                                 \
    (OPTIONS_NODES | CTL_OPTION(OPTION_WITHOUT) | CTL_OPTION(OPTION_SINGLE_NODE) |        \
     CTL_OPTION(OPTION_KUBECONFIG) | CTL_OPTION(OPTION_KUBE_CONTEXT) |                    \
     CTL_OPTION(OPTION_RESOURCE) | CTL_OPTION(OPTION_VIA) | CTL_OPTION(OPTION_PARALLEL) | \
     CTL_OPTION(OPTION_RATE) | CTL_OPTION(OPTION_DECRYPT) | CTL_OPTION(OPTION_FROM))
#define OPTIONS_ETCD                                                                      \
    (CTL_OPTION(OPTION_SNAPSHOT) | CTL_OPTION(OPTION_ENDPOINTS) | CTL_OPTION(OPTION_CA) | \
     CTL_OPTION(OPTION_CERT) | CTL_OPTION(OPTION_KEY) | CTL_OPTION(OPTION_USER) |         \
     CTL_OPTION(OPTION_PASSWORD_FILE) | CTL_OPTION(OPTION_PREFIX))
#define OPTIONS_INVENTORY                                                   \
    (CTL_OPTION(OPTION_ETCD) | OPTIONS_ETCD | CTL_OPTION(OPTION_RESOURCE) | \
     CTL_OPTION(OPTION_ENCRYPTION_CONFIG) | CTL_OPTION(OPTION_VERIFY) | OPTIONS_NODES)
#define OPTIONS_DOCTOR                                                               \
    (CTL_OPTION(OPTION_ENCRYPTION_CONFIG) | CTL_OPTION(OPTION_API_SERVER) |          \
     CTL_OPTION(OPTION_UNIT) | CTL_OPTION(OPTION_NAME) | CTL_OPTION(OPTION_BACKUP) | \
     OPTIONS_NODES)

static enum ctl_exit completion(struct ctl *ctl);
static enum ctl_exit help(struct ctl *ctl);
static enum ctl_exit version(struct ctl *ctl);

#define FILE_WORD "FILE"
#define FILES_WORD "FILE..." /* one or more */

/* How long --timeout is, where the table of options does not say it. */
#define WAITS(text)             \
    {                           \
        {OPTION_TIMEOUT, text}, \
    }
#define WAITS_KMS WAITS("how long connecting, and then each call, may take; 3s by default")

/* In the order in which kekctl(1) has them. */
static const struct command {
    const char *words;
    uint64_t options; /* the set of those beyond everybody's */
    enum ctl_exit (*run)(struct ctl *ctl);
    const char *says;
    const char *takes; /* after its words; FILE may be missing, and is what --config would say */
    struct option_words own[CTL_OWN_WORDS];
    enum ctl_roots roots;
    bool junit; /* may print it */
} commands[] = {
    {"config check", 0, ctl_config_check, "is the configuration, or FILE, good?", FILE_WORD,
     .roots = CTL_ROOTS_ALL},
    {"config example", 0, ctl_config_example, "a configuration to start from",
     .roots = CTL_ROOTS_NONE},
    {"doctor",
     OPTIONS_DOCTOR,
     ctl_doctor,
     "what would keep the cluster from starting",
     NULL,
     {{OPTION_TIMEOUT, "how long all nodes together may take to answer; 2s by default"},
      {OPTION_BACKUP, "put on record that there is a backup of the newest version"},
      {OPTION_ENCRYPTION_CONFIG,
       "the API server's EncryptionConfiguration; by default the one that its command line names"}},
     .roots = CTL_ROOTS_ALL},
    {"key list", 0, ctl_key_list, "the versions of the keyring on every provider",
     .roots = CTL_ROOTS_ALL},
    {"key generate", CTL_OPTION(OPTION_PROVIDER), ctl_key_generate,
     "makes the keyring's next version"},
    {"key adopt", 0, ctl_key_adopt, "could a key that kekd did not make be used?", "LABEL|ID"},
    {"key attest",
     CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_INTO),
     ctl_key_attest,
     "does its HSM state, verifiably, what a key is?",
     "VERSION",
     {{OPTION_PROVIDER, "whose key; that of every provider by default"}}},
    {"key promote", CTL_OPTION(OPTION_BACKUP) | OPTIONS_CHANGE, ctl_key_promote,
     "lets a version seal", "VERSION"},
    {"key retire", CTL_OPTION(OPTION_COMPROMISED) | OPTIONS_CHANGE, ctl_key_retire,
     "lets it open only", "VERSION"},
    {"key suspend", OPTIONS_CHANGE, ctl_key_suspend, "lets it do nothing for a while", "VERSION"},
    {"key resume", OPTIONS_CHANGE, ctl_key_resume, "lets it open again", "VERSION"},
    {"key destroy", OPTIONS_DESTROY, ctl_key_destroy,
     "ends a version that nothing needs, after a quarantine", "VERSION"},
    {"pin retry",
     CTL_OPTION(OPTION_PROVIDER),
     ctl_pin_retry,
     "lets a refused PIN be tried once more",
     NULL,
     {{OPTION_PROVIDER, "whose refused PIN; of every provider by default"}},
     .roots = CTL_ROOTS_ALL},
    {"probe",
     CTL_OPTION(OPTION_PROVIDER),
     ctl_probe,
     "what the tokens can really do",
     NULL,
     {{OPTION_PROVIDER, "whose token is tried; that of every provider by default"}},
     .roots = CTL_ROOTS_ALL},
    {"conformance",
     CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_EXISTING_KEY) | CTL_OPTION(OPTION_DRY_RUN),
     ctl_conformance,
     "is a token fit for kekd? with throw-away keys",
     NULL,
     {{OPTION_PROVIDER, "whose token is tried; needed where there are several"},
      {OPTION_OUTPUT, "how results are printed: as a table by default, as JSON or JUnit's XML"},
      {OPTION_DRY_RUN, "only list the cases"}},
     .roots = CTL_ROOTS_ALL,
     .junit = true},
    {"kube config",
     OPTIONS_KUBE_CONFIG,
     ctl_kube_config,
     "the API server's EncryptionConfiguration, next phase",
     NULL,
     {{OPTION_TIMEOUT, "how long the API server is told to wait for an answer; by default what the "
                       "entry says, 3s in a new one"},
      {OPTION_RESOURCE, "which resource, such as things.group.example.com; once for each; by "
                        "default the list that has kekd's entry, else the one of Secrets"},
      {OPTION_NODE, "with --check, a node to ask: HOST:PORT, ssh:HOST or self; once for each; by "
                    "default those of status.nodes, else this node alone"}},
     .roots = CTL_ROOTS_JOINED},
    {"node status", OPTIONS_NODES, ctl_node_status, "which key each node of the cluster announces",
     .roots = CTL_ROOTS_ALL},
    {"key rotate", OPTIONS_ROTATE, ctl_key_rotate, "the next version, and the older ones retired",
     NULL,
     WAITS("how long it waits in all before it stops (run again, it goes on); 1h by default, "
           "and at most")},
    {"inventory", OPTIONS_INVENTORY, ctl_inventory, "what lies in etcd, and under which key", NULL,
     WAITS("how long the nodes may take, where they are asked for the versions since no provider "
           "answers; 10s by default"),
     .roots = CTL_ROOTS_JOINED},
    {"reencrypt", OPTIONS_REENCRYPT, ctl_reencrypt,
     "has every object written anew under the newest version", NULL,
     WAITS("how long it goes on without any progress; 5m by default, 2m with --via "
           "storage-version-migration"),
     .roots = CTL_ROOTS_ALL},
    {"audit generate", CTL_OPTION(OPTION_PROVIDER), ctl_audit_generate,
     "makes the key that MACs the audit log"},
    {"audit verify",
     0,
     ctl_audit_verify,
     "are the lines of the audit log as they were written?",
     FILES_WORD,
     {{OPTION_CONFIG, "the configuration that says where the record and the tokens are; without "
                      "it only the chain is checked"}},
     .roots = CTL_ROOTS_ALL},
    {"report",
     CTL_OPTION(OPTION_OUT) | CTL_OPTION(OPTION_KEY),
     ctl_report,
     "evidence for an auditor, as JSON and as a page",
     NULL,
     {{OPTION_KEY, "the private key that signs it, in PEM; by default it is not signed"}},
     .roots = CTL_ROOTS_ALL},
    {"report verify",
     CTL_OPTION(OPTION_KEY),
     ctl_report_verify,
     "is a report what this key has signed?",
     "REPORT SIGNATURE",
     {{OPTION_KEY, "the public key of who signed, in PEM; needed"}},
     .roots = CTL_ROOTS_NONE},
    {"kms status", OPTIONS_KMS, ctl_kms_status, "what the API server is told about the plugin",
     NULL, WAITS_KMS, .roots = CTL_ROOTS_ALL},
    {"kms encrypt", OPTIONS_KMS, ctl_kms_encrypt, "standard input, encrypted", NULL, WAITS_KMS,
     .roots = CTL_ROOTS_ALL},
    {"kms decrypt", OPTIONS_KMS | CTL_OPTION(OPTION_KEY_ID), ctl_kms_decrypt,
     "standard input, decrypted", NULL, WAITS_KMS, .roots = CTL_ROOTS_ALL},
    {"completion", 0, completion, "a script by which bash or zsh completes kekctl's words", "SHELL",
     .roots = CTL_ROOTS_NONE},
    {"help", 0, help, "this text", .roots = CTL_ROOTS_NONE},
    {"version", 0, version, "kekctl's version", .roots = CTL_ROOTS_NONE},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* Everybody's, and its own.  Where no root can be named, --root is not among them. */
static uint64_t options_of(const struct command *command)
{
    bool rootless = command->roots == CTL_ROOTS_JOINED || command->roots == CTL_ROOTS_NONE;
    return command->options | (CTL_OPTIONS_ALL & ~(rootless ? CTL_OPTION(OPTION_ROOT) : 0));
}

/* Of one command. */
static void help_command(const struct command *command)
{
    const char *takes = command->takes == NULL ? "" : command->takes;
    bool may = takes[0] != '\0' && strcmp(takes, FILE_WORD) == 0;
    printf("usage: kekctl %s [OPTION...]%s%s%s\n\n%s\n\n", command->words,
           takes[0] == '\0' ? ""
           : may            ? " ["
                            : " ",
           takes, may ? "]" : "", command->says);
    options_print(command->options, command->own);
    options_print(options_of(command) & CTL_OPTIONS_ALL, command->own);
}

static void help_line(const struct command *command)
{
    printf("  %s %-*s %s\n", command->words, 20 - (int)strlen(command->words),
           command->takes == NULL ? "" : command->takes, command->says);
}

/* Does the command have more than this one word, which is its first? */
static bool is_of_group(const struct command *command, const char *group)
{
    size_t len = strlen(group);
    return strncmp(command->words, group, len) == 0 && command->words[len] == ' ';
}

/* The commands that begin with the word. False: none does. */
static bool help_group(const char *group)
{
    bool some = false;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (is_of_group(&commands[i], group)) {
            if (!some) {
                printf("usage: kekctl %s COMMAND [OPTION...]\n\n", group);
            }
            help_line(&commands[i]);
            some = true;
        }
    }
    if (some) {
        printf("\nkekctl %s COMMAND --help tells its options.\n", group);
    }
    return some;
}

static enum ctl_exit help(struct ctl *ctl)
{
    (void)ctl;
    printf("usage: kekctl [--config FILE] [--output table|json] COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        help_line(&commands[i]);
    }
    printf("\n");
    options_print(CTL_OPTIONS_ALL, NULL);
    printf("\nkekctl COMMAND --help tells its options, kekctl(1) the rest.\n"
           "Exit codes: 0 good, 1 failed, 2 usage or configuration, 3 a check failed.\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

/* Where there is no configuration, there are no names. */
static enum ctl_exit complete_names(struct ctl *ctl, bool roots)
{
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    completion_names(config, roots);
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

static enum ctl_exit completion(struct ctl *ctl)
{
    bool roots = strcmp(ctl->argument, "roots") == 0;
    if (roots || strcmp(ctl->argument, "providers") == 0) {
        return complete_names(ctl, roots);
    }
    static const char *const shells[] = {[COMPLETION_BASH] = "bash", [COMPLETION_ZSH] = "zsh"};
    struct completion_command list[COMMAND_COUNT];
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        list[i] = (struct completion_command){.words = commands[i].words,
                                              .takes = commands[i].takes,
                                              .options = options_of(&commands[i])};
    }
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(ctl->argument, shells[i]) == 0) {
            completion_print((enum completion_shell)i, list, COMMAND_COUNT);
            return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
        }
    }
    return ctl_usage(ctl, "expected bash or zsh, found \"%.40s\"", ctl->argument);
}

static enum ctl_exit version(struct ctl *ctl)
{
    (void)ctl;
    printf("kekctl " PACKAGE_VERSION "\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

/* The first words that are no options, as one text. */
static void join_words(char **argv, int count, char *words, size_t size)
{
    words[0] = '\0';
    size_t at = 0;
    for (int i = 0; i < count && at < size; i++) {
        at += (size_t)snprintf(words + at, size - at, "%s%s", at == 0 ? "" : " ", argv[i]);
    }
}

static const struct command *find_command(char **argv, int count)
{
    char words[64];
    join_words(argv, count, words, sizeof words);
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i].words, words) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/* The command that as many of the words as possible are; NULL: none. *known: how many those are. */
static const struct command *longest_command(char **argv, int count, int *known)
{
    for (*known = count; *known > 0; (*known)--) {
        const struct command *command = find_command(argv, *known);
        if (command != NULL) {
            return command;
        }
    }
    return NULL;
}

/* Of the command that the words begin with, if they do. */
static enum ctl_exit help_for(struct ctl *ctl, char **argv, int count)
{
    int known;
    const struct command *command = longest_command(argv, count, &known);
    if (command == NULL && count > 0 && help_group(argv[0])) {
        return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
    }
    if (command == NULL) {
        return help(ctl);
    }
    help_command(command);
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

/* The commands that begin with this word, or end with it, as one text; empty: none does. */
static void list_commands(const char *word, bool first, char *list, size_t size)
{
    size_t at = 0;
    list[0] = '\0';
    for (size_t i = 0; i < COMMAND_COUNT && at < size; i++) {
        const char *words = commands[i].words, *space = strchr(words, ' ');
        bool same = space != NULL && (first ? strlen(word) == (size_t)(space - words) &&
                                                  strncmp(words, word, strlen(word)) == 0
                                            : strcmp(space + 1, word) == 0);
        if (same) {
            at += (size_t)snprintf(list + at, size - at, "%s%s", at == 0 ? "" : ", ", words);
        }
    }
}

/* The command that the words are a slip for; NULL: there is none. */
static const char *nearest_command(const char *words)
{
    size_t least = SIZE_MAX;
    const char *nearest = NULL;
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        size_t slip = kek_text_slip(words, commands[i].words);
        if (slip < least) {
            least = slip;
            nearest = commands[i].words;
        }
    }
    return nearest;
}

/* Says what is wrong with words that are no command: a slip, one too few. */
static void say_unknown(struct ctl *ctl, char **argv, int count)
{
    char words[64], list[128];
    join_words(argv, count, words, sizeof words);
    const char *nearest = nearest_command(words);
    if (nearest != NULL) {
        (void)ctl_usage(ctl, "unknown command \"%s\": did you mean \"%s\"?", words, nearest);
        return;
    }
    list_commands(argv[0], true, list, sizeof list);
    if (list[0] == '\0') {
        list_commands(argv[count - 1], false, list, sizeof list);
    }
    (void)ctl_usage(ctl, "unknown command \"%s\"%s%s", words,
                    list[0] == '\0'             ? ""
                    : strchr(list, ',') == NULL ? ": there is "
                                                : ": there are ",
                    list);
}

/* How many words a command takes behind its own; of FILE: at most; of FILES: at least. */
static int words_taken(const struct command *command)
{
    int taken = command->takes == NULL ? 0 : 1;
    for (const char *at = command->takes; at != NULL && *at != '\0'; at++) {
        taken += *at == ' ' ? 1 : 0;
    }
    return taken;
}

/* What is taken from the nth word on. */
static const char *from_word(const char *takes, int n)
{
    for (; n > 0; n--) {
        takes = strchr(takes, ' ') + 1;
    }
    return takes;
}

/* The words into a command; NULL after saying what is wrong with them. */
static const struct command *take_command(struct ctl *ctl, char **argv, int count)
{
    int known;
    if (count == 0) {
        (void)ctl_usage(ctl, "a command is missing");
        return NULL;
    }
    const struct command *command = longest_command(argv, count, &known);
    if (command == NULL) {
        say_unknown(ctl, argv, count);
        return NULL;
    }
    int given = count - known, taken = words_taken(command);
    bool is_file = taken == 1 && strcmp(command->takes, FILE_WORD) == 0;
    bool has_many = taken == 1 && strcmp(command->takes, FILES_WORD) == 0;
    ctl->command = command->words;
    if (given > taken && !has_many) {
        (void)ctl_usage(ctl, "does not take \"%.60s\"", argv[known + taken]);
        return NULL;
    }
    if (given < taken && !is_file) {
        (void)ctl_usage(ctl, "the %s is missing", from_word(command->takes, given));
        return NULL;
    }
    if (is_file && given == 1 && ctl->config_given) {
        (void)ctl_usage(ctl, "takes a file or --config, not both");
        return NULL;
    }
    if (is_file) {
        ctl->config_path = given == 1 ? argv[known] : ctl->config_path;
        return command;
    }
    ctl->arguments = (const char **)(uintptr_t)(argv + known);
    ctl->argument_count = (size_t)given;
    ctl->argument = given > 0 ? argv[known] : NULL;
    return command;
}

/* "help key list", as "key list --help". */
static enum ctl_exit help_named(struct ctl *ctl, char **argv, int count)
{
    int known;
    bool is_group = false;
    for (size_t i = 0; i < COMMAND_COUNT && count == 1; i++) {
        is_group = is_group || is_of_group(&commands[i], argv[0]);
    }
    if (!is_group && longest_command(argv, count, &known) == NULL) {
        say_unknown(ctl, argv, count);
        return CTL_USAGE;
    }
    return help_for(ctl, argv, count);
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.config_path = CTL_DEFAULT_CONFIG, .timeout_ms = 3000};
    uint64_t given = 0;
    if (!kek_descriptors_fill()) {
        return CTL_FAILED;
    }
    kek_log_setup("kekctl", KEK_LOG_WARN, KEK_LOG_TEXT);
    enum ctl_exit code = options_take(&ctl, argc, argv, &given);
    if (code != CTL_GOOD) {
        return (int)code;
    }
    ctl.config_given = (given & CTL_OPTION(OPTION_CONFIG)) != 0;
    ctl.timeout_given = (given & CTL_OPTION(OPTION_TIMEOUT)) != 0;
    if (ctl.version) {
        return (int)version(&ctl);
    }
    if (ctl.help) {
        return (int)help_for(&ctl, argv + optind, argc - optind);
    }
    if (argc - optind > 1 && strcmp(argv[optind], "help") == 0) {
        return (int)help_named(&ctl, argv + optind + 1, argc - optind - 1);
    }
    const struct command *command = take_command(&ctl, argv + optind, argc - optind);
    if (command == NULL) {
        return CTL_USAGE;
    }
    ctl.command = command->words;
    ctl.roots = command->roots;
    uint64_t foreign = given & ~CTL_OPTIONS_ALL & ~command->options;
    foreign |= command->roots == CTL_ROOTS_NONE ? given & CTL_OPTION(OPTION_ROOT) : 0;
    if (foreign != 0) {
        return (int)ctl_usage(&ctl, "takes no --%s", options_first(foreign));
    }
    if (ctl.json == CTL_JUNIT && !command->junit) {
        return (int)ctl_usage(&ctl, "--output: expected table or json, found \"junit\"");
    }
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is a full disk: the write says so */
    bool unrecorded = false;
    ctl.unrecorded = &unrecorded;
    enum ctl_exit ended = command->run(&ctl);
    return (int)(ended == CTL_GOOD && unrecorded ? CTL_CHECK : ended);
}
