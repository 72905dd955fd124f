#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "kek/descriptors.h"
#include "kek/log.h"
#include "kekctl.h"

#define DEFAULT_CONFIG "/etc/kekd/kekd.yaml"
#define TIMEOUT_MAX (UINT64_C(3600) * 1000)

/* Options, by the bit that a command accepts them with. --config, --output, --help and --version are
 * everybody's. */
enum {
    OPTION_SOCKET = 1,
    OPTION_API = 2,
    OPTION_TIMEOUT = 4,
    OPTION_KEY_ID = 8,
    OPTION_PROVIDER = 16,
    OPTION_COMPROMISED = 256, /* past what is a character */
    OPTION_BACKUP = 512,
    OPTION_DRY_RUN = 1024,
    OPTION_NODE = 2048,
    OPTION_UNTIL = 4096,
    OPTION_WITHOUT = 8192,
    OPTION_SINGLE_NODE = 16384,
    OPTION_AGAIN = 32768,
    OPTION_CONFIG = 65536,
    OPTION_OUTPUT = 2 * OPTION_CONFIG,
    OPTION_HELP = 4 * OPTION_CONFIG,
    OPTION_VERSION = 8 * OPTION_CONFIG,
};
#define CHARACTERS_END 256
#define OPTIONS_ROTATE                                                                 \
    (OPTION_PROVIDER | OPTION_BACKUP | OPTION_DRY_RUN | OPTION_TIMEOUT | OPTION_NODE | \
     OPTION_UNTIL | OPTION_WITHOUT | OPTION_SINGLE_NODE | OPTION_AGAIN)
#define OPTIONS_CHANGE (OPTION_DRY_RUN | OPTION_NODE | OPTION_TIMEOUT)
#define OPTIONS_KMS (OPTION_SOCKET | OPTION_API | OPTION_TIMEOUT)

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"api", required_argument, NULL, OPTION_API},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"key-id", required_argument, NULL, OPTION_KEY_ID},
    {"provider", required_argument, NULL, OPTION_PROVIDER},
    {"compromised", no_argument, NULL, OPTION_COMPROMISED},
    {"i-have-a-backup", no_argument, NULL, OPTION_BACKUP},
    {"dry-run", no_argument, NULL, OPTION_DRY_RUN},
    {"node", required_argument, NULL, OPTION_NODE},
    {"until", required_argument, NULL, OPTION_UNTIL},
    {"without", required_argument, NULL, OPTION_WITHOUT},
    {"single-node", no_argument, NULL, OPTION_SINGLE_NODE},
    {"again", no_argument, NULL, OPTION_AGAIN},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static enum ctl_exit help(struct ctl *ctl);
static enum ctl_exit version(struct ctl *ctl);

#define FILE_WORD "FILE"

static const struct command {
    const char *words;
    int options; /* beyond everybody's */
    enum ctl_exit (*run)(struct ctl *ctl);
    const char *says;
    const char *takes; /* after its words; FILE may be missing, and is what --config would say */
} commands[] = {
    {"config check", 0, ctl_config_check, "is the configuration, or FILE, good?", FILE_WORD},
    {"config example", 0, ctl_config_example, "a configuration to start from"},
    {"key list", 0, ctl_key_list, "the versions of the keyring on every provider"},
    {"key generate", OPTION_PROVIDER, ctl_key_generate, "makes the keyring's next version"},
    {"key promote", OPTION_BACKUP | OPTIONS_CHANGE, ctl_key_promote, "lets a version seal",
     "VERSION"},
    {"key retire", OPTION_COMPROMISED | OPTIONS_CHANGE, ctl_key_retire, "lets it open only",
     "VERSION"},
    {"key suspend", OPTIONS_CHANGE, ctl_key_suspend, "lets it do nothing for a while", "VERSION"},
    {"key resume", OPTIONS_CHANGE, ctl_key_resume, "lets it open again", "VERSION"},
    {"key rotate", OPTIONS_ROTATE, ctl_key_rotate, "the next version, and the older ones retired"},
    {"key adopt", 0, ctl_key_adopt, "could a key that kekd did not make be used?", "LABEL|ID"},
    {"kms status", OPTIONS_KMS, ctl_kms_status, "what the API server is told about the plugin"},
    {"kms encrypt", OPTIONS_KMS, ctl_kms_encrypt, "standard input, encrypted"},
    {"kms decrypt", OPTIONS_KMS | OPTION_KEY_ID, ctl_kms_decrypt, "standard input, decrypted"},
    {"node status", OPTION_NODE | OPTION_TIMEOUT, ctl_node_status,
     "which key each node of the cluster announces"},
    {"pin retry", OPTION_PROVIDER, ctl_pin_retry, "lets a refused PIN be tried once more"},
    {"probe", OPTION_PROVIDER, ctl_probe, "what the tokens can really do"},
    {"help", 0, help, "this text"},
    {"version", 0, version, "kekctl's version"},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static enum ctl_exit usage(const struct ctl *ctl, const char *format, ...) KEK_PRINTF(2, 3);

static enum ctl_exit usage(const struct ctl *ctl, const char *format, ...)
{
    char text[256];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctl_say(ctl, "%s (see kekctl --help)", text);
    return CTL_USAGE;
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
    printf(
        "\n"
        "  -c, --config FILE      the configuration, " DEFAULT_CONFIG " by default\n"
        "  --output table|json    how results are printed\n"
        "  -h, --help, --version\n"
        "of key generate, key rotate, pin retry and probe:\n"
        "  --provider NAME        which provider is meant\n"
        "of key promote, retire, suspend, resume (VERSION: a number or a kek id) and rotate:\n"
        "  --dry-run              only say what would be done\n"
        "  --i-have-a-backup      promote a version that is on one token alone\n"
        "  --compromised          retire for ever, and mark the version so\n"
        "of those and node status:\n"
        "  --node HOST:PORT|ssh:HOST|self  a node to ask, instead of status.nodes; once for each\n"
        "  --timeout DURATION     for all nodes, 10s by default; key rotate: of all waiting, 1h\n"
        "of key rotate:\n"
        "  --single-node          there is no other node than this one\n"
        "  --without NODE         go on, after the stated times, though NODE does not answer\n"
        "  --until STEP           stop after create, seen, promote, announced or retire\n"
        "  --again                though the last rotation ended within the hour\n"
        "of the kms commands:\n"
        "  --socket PATH          the plugin's socket, by default the configuration's `listen`\n"
        "  --api v1|v2            which KMS API to speak, v2 by default\n"
        "  --timeout DURATION     of each call, 3s by default\n"
        "  --key-id ID            of what is to be decrypted, by default its own in this context\n"
        "\nExit codes: 0 good, 1 failed, 2 usage or configuration, 3 a check failed.\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

static enum ctl_exit version(struct ctl *ctl)
{
    (void)ctl;
    printf("kekctl " PACKAGE_VERSION "\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

static bool add_name(const char *names[static CTL_NODES_MAX], size_t *count, const char *name)
{
    if (*count < CTL_NODES_MAX) {
        names[(*count)++] = name;
        return true;
    }
    return false;
}

/* One option's value into ctl; returns what was expected if it is not that. */
static const char *take_option(struct ctl *ctl, int option, const char *value)
{
    bool good = true;
    const char *expected = NULL;
    switch (option) {
    case OPTION_CONFIG:
        ctl->config_path = value;
        ctl->config_given = true;
        good = value[0] != '\0';
        expected = "a file's path";
        break;
    case OPTION_OUTPUT:
        ctl->json = strcmp(value, "json") == 0;
        good = ctl->json || strcmp(value, "table") == 0;
        expected = "table or json";
        break;
    case OPTION_SOCKET:
        ctl->socket = value;
        good = value[0] != '\0';
        expected = "a socket's path";
        break;
    case OPTION_API:
        ctl->api = strcmp(value, "v1") == 0 ? CTL_API_V1 : CTL_API_V2;
        good = ctl->api == CTL_API_V1 || strcmp(value, "v2") == 0;
        expected = "v1 or v2";
        break;
    case OPTION_TIMEOUT:
        good = kek_config_duration(value, &ctl->timeout_ms) && ctl->timeout_ms >= 1 &&
               ctl->timeout_ms <= TIMEOUT_MAX;
        ctl->timeout_given = true;
        expected = "a duration (a number and ms, s, m or h) from 1ms to 1h";
        break;
    case OPTION_KEY_ID:
        ctl->key_id = value;
        break;
    case OPTION_PROVIDER:
        ctl->provider = value;
        break;
    case OPTION_COMPROMISED:
        ctl->compromised = true;
        break;
    case OPTION_BACKUP:
        ctl->has_backup = true;
        break;
    case OPTION_DRY_RUN:
        ctl->dry_run = true;
        break;
    case OPTION_NODE:
        good = add_name(ctl->nodes, &ctl->node_count, value);
        expected = "at most 64 nodes";
        break;
    case OPTION_UNTIL:
        ctl->until = value;
        break;
    case OPTION_WITHOUT:
        good = add_name(ctl->without, &ctl->without_count, value);
        expected = "at most 64 nodes";
        break;
    case OPTION_SINGLE_NODE:
        ctl->single_node = true;
        break;
    case OPTION_AGAIN:
        ctl->again = true;
        break;
    default:
        break;
    }
    return good ? NULL : expected;
}

static const char *option_name(int option)
{
    size_t i = 0;
    while (options[i].val != option) {
        i++;
    }
    return options[i].name;
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

/* Options into ctl, and their bits; argv is left at the words. CTL_GOOD, or after saying what is wrong. */
static enum ctl_exit take_options(struct ctl *ctl, int argc, char **argv, int *given)
{
    int option;
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":hc:", options, NULL)) != -1) {
        if (option == '?' && optopt > ' ' && optopt < CHARACTERS_END) {
            return usage(ctl, "unknown option -%c", optopt);
        }
        if (option == '?') {
            return usage(ctl, "unknown option %s", argv[optind - 1]);
        }
        if (option == ':') {
            return usage(ctl, "%s needs a value", argv[optind - 1]);
        }
        option = option == 'h' ? OPTION_HELP : option == 'c' ? OPTION_CONFIG : option;
        const char *expected = take_option(ctl, option, optarg);
        if (expected != NULL) {
            return usage(ctl, "--%s: expected %s, found \"%s\"", option_name(option), expected,
                         optarg);
        }
        *given |= option;
        if ((option & (OPTION_HELP | OPTION_VERSION)) != 0) {
            break; /* whatever else stands there */
        }
    }
    return CTL_GOOD;
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
            (void)usage(ctl, "does not take \"%.60s\"",
                        argv[known + (command->takes != NULL ? 1 : 0)]);
            return;
        }
    }
    join_words(argv, count, words, sizeof words);
    list_commands(argv[0], true, list, sizeof list);
    if (list[0] == '\0') {
        list_commands(argv[count - 1], false, list, sizeof list);
    }
    (void)usage(ctl, "unknown command \"%s\"%s%s", words, list[0] == '\0' ? "" : ": there is ",
                list);
}

/* The words into a command; NULL after saying what is wrong with them. */
static const struct command *take_command(struct ctl *ctl, char **argv, int count)
{
    if (count == 0) {
        (void)usage(ctl, "a command is missing");
        return NULL;
    }
    const struct command *command = find_command(argv, count);
    if (command != NULL && command->takes != NULL && strcmp(command->takes, FILE_WORD) != 0) {
        ctl->command = command->words;
        (void)usage(ctl, "the %s is missing", command->takes);
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
        (void)usage(ctl, "takes a file or --config, not both");
        return NULL;
    }
    ctl->config_path = argv[count - 1];
    return command;
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.config_path = DEFAULT_CONFIG, .timeout_ms = 3000};
    int given = 0;
    if (!kek_descriptors_fill()) {
        return CTL_FAILED;
    }
    kek_log_setup("kekctl", KEK_LOG_WARN, KEK_LOG_TEXT);
    enum ctl_exit code = take_options(&ctl, argc, argv, &given);
    if (code != CTL_GOOD) {
        return (int)code;
    }
    if ((given & (OPTION_HELP | OPTION_VERSION)) != 0) {
        return (int)((given & OPTION_HELP) != 0 ? help(&ctl) : version(&ctl));
    }
    const struct command *command = take_command(&ctl, argv + optind, argc - optind);
    if (command == NULL) {
        return CTL_USAGE;
    }
    ctl.command = command->words;
    int foreign = given & (OPTION_CONFIG - 1) & ~command->options;
    if (foreign != 0) {
        return (int)usage(&ctl, "takes no --%s", option_name(foreign & -foreign));
    }
    return (int)command->run(&ctl);
}
