#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "kek/descriptors.h"
#include "kek/log.h"
#include "options.h"

#define OPTIONS_NODES (CTL_OPTION(OPTION_NODE) | CTL_OPTION(OPTION_TIMEOUT))
#define OPTIONS_CHANGE (CTL_OPTION(OPTION_DRY_RUN) | OPTIONS_NODES)
#define OPTIONS_ROTATE                                                                        \
    (OPTIONS_CHANGE | CTL_OPTION(OPTION_PROVIDER) | CTL_OPTION(OPTION_BACKUP) |               \
     CTL_OPTION(OPTION_UNTIL) | CTL_OPTION(OPTION_WITHOUT) | CTL_OPTION(OPTION_SINGLE_NODE) | \
     CTL_OPTION(OPTION_AGAIN))
#define OPTIONS_KUBE_CONFIG                                                                \
    (CTL_OPTION(OPTION_PHASE) | CTL_OPTION(OPTION_FROM) | CTL_OPTION(OPTION_RESOURCE) |    \
     CTL_OPTION(OPTION_NAME) | CTL_OPTION(OPTION_CHECK) | CTL_OPTION(OPTION_SINGLE_NODE) | \
     OPTIONS_NODES)
#define OPTIONS_KMS \
    (CTL_OPTION(OPTION_SOCKET) | CTL_OPTION(OPTION_API) | CTL_OPTION(OPTION_TIMEOUT))

#define OPTIONS_REENCRYPT                                                                 \
    (OPTIONS_NODES | CTL_OPTION(OPTION_WITHOUT) | CTL_OPTION(OPTION_SINGLE_NODE) |        \
     CTL_OPTION(OPTION_KUBECONFIG) | CTL_OPTION(OPTION_KUBE_CONTEXT) |                    \
     CTL_OPTION(OPTION_RESOURCE) | CTL_OPTION(OPTION_VIA) | CTL_OPTION(OPTION_PARALLEL) | \
     CTL_OPTION(OPTION_RATE))
#define OPTIONS_ETCD                                                                      \
    (CTL_OPTION(OPTION_SNAPSHOT) | CTL_OPTION(OPTION_ENDPOINTS) | CTL_OPTION(OPTION_CA) | \
     CTL_OPTION(OPTION_CERT) | CTL_OPTION(OPTION_KEY) | CTL_OPTION(OPTION_USER) |         \
     CTL_OPTION(OPTION_PASSWORD_FILE) | CTL_OPTION(OPTION_PREFIX))
#define OPTIONS_INVENTORY                                                   \
    (CTL_OPTION(OPTION_ETCD) | OPTIONS_ETCD | CTL_OPTION(OPTION_RESOURCE) | \
     CTL_OPTION(OPTION_ENCRYPTION_CONFIG) | CTL_OPTION(OPTION_VERIFY) | OPTIONS_NODES)

static enum ctl_exit help(struct ctl *ctl);
static enum ctl_exit version(struct ctl *ctl);

#define FILE_WORD "FILE"

static const struct command {
    const char *words;
    uint64_t options; /* the set of those beyond everybody's */
    enum ctl_exit (*run)(struct ctl *ctl);
    const char *says;
    const char *takes; /* after its words; FILE may be missing, and is what --config would say */
} commands[] = {
    {"config check", 0, ctl_config_check, "is the configuration, or FILE, good?", FILE_WORD},
    {"config example", 0, ctl_config_example, "a configuration to start from"},
    {"key list", 0, ctl_key_list, "the versions of the keyring on every provider"},
    {"key generate", CTL_OPTION(OPTION_PROVIDER), ctl_key_generate,
     "makes the keyring's next version"},
    {"key promote", CTL_OPTION(OPTION_BACKUP) | OPTIONS_CHANGE, ctl_key_promote,
     "lets a version seal", "VERSION"},
    {"key retire", CTL_OPTION(OPTION_COMPROMISED) | OPTIONS_CHANGE, ctl_key_retire,
     "lets it open only", "VERSION"},
    {"key suspend", OPTIONS_CHANGE, ctl_key_suspend, "lets it do nothing for a while", "VERSION"},
    {"key resume", OPTIONS_CHANGE, ctl_key_resume, "lets it open again", "VERSION"},
    {"key rotate", OPTIONS_ROTATE, ctl_key_rotate, "the next version, and the older ones retired"},
    {"key adopt", 0, ctl_key_adopt, "could a key that kekd did not make be used?", "LABEL|ID"},
    {"reencrypt", OPTIONS_REENCRYPT, ctl_reencrypt,
     "has the API server write every object under the newest version"},
    {"inventory", OPTIONS_INVENTORY, ctl_inventory, "what lies in etcd, and under which key"},
    {"kms status", OPTIONS_KMS, ctl_kms_status, "what the API server is told about the plugin"},
    {"kms encrypt", OPTIONS_KMS, ctl_kms_encrypt, "standard input, encrypted"},
    {"kms decrypt", OPTIONS_KMS | CTL_OPTION(OPTION_KEY_ID), ctl_kms_decrypt,
     "standard input, decrypted"},
    {"kube config", OPTIONS_KUBE_CONFIG, ctl_kube_config,
     "the API server's EncryptionConfiguration, one phase further"},
    {"node status", OPTIONS_NODES, ctl_node_status, "which key each node of the cluster announces"},
    {"pin retry", CTL_OPTION(OPTION_PROVIDER), ctl_pin_retry,
     "lets a refused PIN be tried once more"},
    {"probe", CTL_OPTION(OPTION_PROVIDER), ctl_probe, "what the tokens can really do"},
    {"help", 0, help, "this text"},
    {"version", 0, version, "kekctl's version"},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

/* Of one command. */
static void help_command(const struct command *command)
{
    const char *takes = command->takes == NULL ? "" : command->takes;
    printf("usage: kekctl %s%s%s [OPTION...]\n\n%s\n\n", command->words,
           takes[0] == '\0' ? "" : " ", takes, command->says);
    options_print(command->options);
    options_print(CTL_OPTIONS_ALL);
}

static enum ctl_exit help(struct ctl *ctl)
{
    (void)ctl;
    printf("usage: kekctl [--config FILE] [--output table|json] COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        const char *takes = commands[i].takes == NULL ? "" : commands[i].takes;
        printf("  %s %-*s %s\n", commands[i].words, 20 - (int)strlen(commands[i].words), takes,
               commands[i].says);
    }
    printf("\n");
    options_print(CTL_OPTIONS_ALL);
    printf("\nExit codes: 0 good, 1 failed, 2 usage or configuration, 3 a check failed.\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
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

/* Of the command that the words begin with, if they do. */
static enum ctl_exit help_for(struct ctl *ctl, char **argv, int count)
{
    for (int known = count; known > 0; known--) {
        const struct command *command = find_command(argv, known);
        if (command != NULL) {
            help_command(command);
            return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
        }
    }
    return help(ctl);
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

/* Says what is wrong with words that are no command: one too many, one too few, a slip. */
static void say_unknown(struct ctl *ctl, char **argv, int count)
{
    char words[64], list[128];
    for (int known = count - 1; known > 0; known--) {
        const struct command *command = find_command(argv, known);
        if (command != NULL) {
            ctl->command = command->words;
            (void)ctl_usage(ctl, "does not take \"%.60s\"",
                            argv[known + (command->takes != NULL ? 1 : 0)]);
            return;
        }
    }
    join_words(argv, count, words, sizeof words);
    list_commands(argv[0], true, list, sizeof list);
    if (list[0] == '\0') {
        list_commands(argv[count - 1], false, list, sizeof list);
    }
    (void)ctl_usage(ctl, "unknown command \"%s\"%s%s", words, list[0] == '\0' ? "" : ": there is ",
                    list);
}

/* The words into a command; NULL after saying what is wrong with them. */
static const struct command *take_command(struct ctl *ctl, char **argv, int count)
{
    if (count == 0) {
        (void)ctl_usage(ctl, "a command is missing");
        return NULL;
    }
    const struct command *command = find_command(argv, count);
    if (command != NULL && command->takes != NULL && strcmp(command->takes, FILE_WORD) != 0) {
        ctl->command = command->words;
        (void)ctl_usage(ctl, "the %s is missing", command->takes);
        return NULL;
    }
    if (command != NULL) {
        return command;
    }
    command = find_command(argv, count - 1);
    if (command == NULL || command->takes == NULL) {
        say_unknown(ctl, argv, count);
        return NULL;
    }
    if (strcmp(command->takes, FILE_WORD) != 0) {
        ctl->argument = argv[count - 1];
        return command;
    }
    if (ctl->config_given) {
        ctl->command = command->words;
        (void)ctl_usage(ctl, "takes a file or --config, not both");
        return NULL;
    }
    ctl->config_path = argv[count - 1];
    return command;
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
    const struct command *command = take_command(&ctl, argv + optind, argc - optind);
    if (command == NULL) {
        return CTL_USAGE;
    }
    ctl.command = command->words;
    uint64_t foreign = given & ~CTL_OPTIONS_ALL & ~command->options;
    if (foreign != 0) {
        return (int)ctl_usage(&ctl, "takes no --%s", options_first(foreign));
    }
    return (int)command->run(&ctl);
}
