#include <getopt.h>
#include <signal.h>
#include <string.h>

#include "kek/descriptors.h"
#include "kek/log.h"
#include "command.h"
#include "output.h"

int main(int argc, char **argv)
{
    struct ctl ctl = {
        .config_path = CTL_DEFAULT_CONFIG, .timeout_ms = 3000, .commands = &commands_all};
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
        return (int)ctl_version(&ctl);
    }
    if (ctl.help) {
        return (int)command_help(&ctl, argv + optind, argc - optind);
    }
    if (argc - optind > 1 && strcmp(argv[optind], "help") == 0) {
        return (int)command_help_named(&ctl, argv + optind + 1, argc - optind - 1);
    }
    const struct command *command = command_take(&ctl, argv + optind, argc - optind);
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
    struct ctl_told told = {.unrecorded = false};
    ctl.told = &told;
    enum ctl_exit ended = command->run(&ctl);
    if (ended == CTL_GOOD || ended == CTL_CHECK) { /* what failed may have said it already */
        ended = output_end(&ctl) == CTL_GOOD ? ended : CTL_FAILED;
    }
    return (int)(ended == CTL_GOOD && told.unrecorded ? CTL_CHECK : ended);
}
