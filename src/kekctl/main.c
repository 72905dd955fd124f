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
    OPTION_CONFIG = 256,
    OPTION_OUTPUT = 512,
    OPTION_HELP = 1024,
    OPTION_VERSION = 2048,
};
#define OPTIONS_KMS (OPTION_SOCKET | OPTION_API | OPTION_TIMEOUT)

static const struct option options[] = {
    {"config", required_argument, NULL, OPTION_CONFIG},
    {"output", required_argument, NULL, OPTION_OUTPUT},
    {"socket", required_argument, NULL, OPTION_SOCKET},
    {"api", required_argument, NULL, OPTION_API},
    {"timeout", required_argument, NULL, OPTION_TIMEOUT},
    {"key-id", required_argument, NULL, OPTION_KEY_ID},
    {"provider", required_argument, NULL, OPTION_PROVIDER},
    {"help", no_argument, NULL, OPTION_HELP},
    {"version", no_argument, NULL, OPTION_VERSION},
    {NULL, 0, NULL, 0},
};

static const struct command {
    const char *words;
    int options; /* beyond everybody's */
    enum ctl_exit (*run)(struct ctl *ctl);
    const char *says;
} commands[] = {
    {"config check", 0, ctl_config_check, "is the configuration good?"},
    {"config example", 0, ctl_config_example, "a configuration to start from"},
    {"key list", 0, ctl_key_list, "the versions of the keyring on every provider"},
    {"key generate", OPTION_PROVIDER, ctl_key_generate, "makes the keyring's next version"},
    {"kms status", OPTIONS_KMS, ctl_kms_status, "what the API server is told about the plugin"},
    {"kms encrypt", OPTIONS_KMS, ctl_kms_encrypt, "standard input, encrypted"},
    {"kms decrypt", OPTIONS_KMS | OPTION_KEY_ID, ctl_kms_decrypt, "standard input, decrypted"},
    {"pin retry", OPTION_PROVIDER, ctl_pin_retry, "lets a refused PIN be tried once more"},
    {"probe", OPTION_PROVIDER, ctl_probe, "what the tokens can really do"},
};
#define COMMAND_COUNT (sizeof commands / sizeof commands[0])

static enum ctl_exit usage(const struct ctl *ctl, const char *format, ...) KEK_PRINTF(2, 3);

static enum ctl_exit usage(const struct ctl *ctl, const char *format, ...)
{
    char text[160];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ctl_say(ctl, "%s (see kekctl --help)", text);
    return CTL_USAGE;
}

static enum ctl_exit help(void)
{
    printf("usage: kekctl [--config FILE] [--output table|json] COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < COMMAND_COUNT; i++) {
        printf("  %-16s %s\n", commands[i].words, commands[i].says);
    }
    printf("\n"
           "  --config FILE          the configuration, " DEFAULT_CONFIG " by default\n"
           "  --output table|json    how results are printed\n"
           "  --help, --version\n"
           "of key generate, pin retry and probe:\n"
           "  --provider NAME        which provider is meant\n"
           "of the kms commands:\n"
           "  --socket PATH          the plugin's socket, by default the configuration's `listen`\n"
           "  --api v1|v2            which KMS API to speak, v2 by default\n"
           "  --timeout DURATION     of each call, 3s by default\n"
           "  --key-id ID            of what is to be decrypted, by default the one in Status\n"
           "\nExit codes: 0 good, 1 failed, 2 usage or configuration, 3 a check failed.\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

static enum ctl_exit version(void)
{
    printf("kekctl " PACKAGE_VERSION "\n");
    return fflush(stdout) == 0 ? CTL_GOOD : CTL_FAILED;
}

/* One option's value into ctl. False: it is not one of those allowed. */
static bool take_option(struct ctl *ctl, int option, const char *value)
{
    switch (option) {
    case OPTION_CONFIG:
        ctl->config_path = value;
        return true;
    case OPTION_OUTPUT:
        ctl->json = strcmp(value, "json") == 0;
        return ctl->json || strcmp(value, "table") == 0;
    case OPTION_SOCKET:
        ctl->socket = value;
        return true;
    case OPTION_API:
        ctl->api = strcmp(value, "v1") == 0 ? CTL_API_V1 : CTL_API_V2;
        return ctl->api == CTL_API_V1 || strcmp(value, "v2") == 0;
    case OPTION_TIMEOUT:
        return kek_config_duration(value, &ctl->timeout_ms) && ctl->timeout_ms >= 1 &&
               ctl->timeout_ms <= TIMEOUT_MAX;
    case OPTION_KEY_ID:
        ctl->key_id = value;
        return true;
    case OPTION_PROVIDER:
        ctl->provider = value;
        return true;
    default:
        return false;
    }
}

static const char *option_name(int option)
{
    size_t i = 0;
    while (options[i].val != option) {
        i++;
    }
    return options[i].name;
}

/* The words that are no options, as one text. */
static void join_words(int argc, char **argv, char *words, size_t size)
{
    words[0] = '\0';
    for (size_t at = 0; optind < argc && at < size; optind++) {
        at += (size_t)snprintf(words + at, size - at, "%s%s", at == 0 ? "" : " ", argv[optind]);
    }
}

int main(int argc, char **argv)
{
    struct ctl ctl = {.config_path = DEFAULT_CONFIG, .timeout_ms = 3000};
    int given = 0;
    int option;
    if (!kek_descriptors_fill()) {
        return CTL_FAILED;
    }
    kek_log_setup("kekctl", KEK_LOG_WARN, KEK_LOG_TEXT);
    opterr = 0;
    while ((option = getopt_long(argc, argv, ":", options, NULL)) != -1) {
        if (option == OPTION_HELP) {
            return (int)help();
        }
        if (option == OPTION_VERSION) {
            return (int)version();
        }
        if (option == '?' && optopt > ' ' && optopt < OPTION_CONFIG) {
            return (int)usage(&ctl, "unknown option -%c", optopt);
        }
        if (option == '?') {
            return (int)usage(&ctl, "unknown option %s", argv[optind - 1]);
        }
        if (option == ':') {
            return (int)usage(&ctl, "%s needs a value", argv[optind - 1]);
        }
        if (!take_option(&ctl, option, optarg)) {
            return (int)usage(&ctl, "--%s cannot be \"%s\"", option_name(option), optarg);
        }
        given |= option & (OPTION_CONFIG - 1);
    }
    char words[64];
    join_words(argc, argv, words, sizeof words);
    if (words[0] == '\0') {
        return (int)usage(&ctl, "a command is missing");
    }
    size_t i = 0;
    while (i < COMMAND_COUNT && strcmp(commands[i].words, words) != 0) {
        i++;
    }
    if (i == COMMAND_COUNT) {
        return (int)usage(&ctl, "unknown command \"%s\"", words);
    }
    ctl.command = commands[i].words;
    int foreign = given & ~commands[i].options;
    if (foreign != 0) {
        return (int)usage(&ctl, "takes no --%s", option_name(foreign & -foreign));
    }
    return (int)commands[i].run(&ctl);
}
