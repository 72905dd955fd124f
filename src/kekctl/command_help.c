/* What there is, for people and for their shells: help, version and completion, by the table of commands. */
#include "command.h"

#include <stdio.h>
#include <string.h>

#include "completion.h"
#include "output.h"

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

/* The commands that begin with the word. False: none does. */
static bool help_group(const struct command_list *list, const char *group)
{
    bool some = false;
    for (size_t i = 0; i < list->count; i++) {
        if (command_is_of_group(&list->commands[i], group)) {
            if (!some) {
                printf("usage: kekctl %s COMMAND [OPTION...]\n\n", group);
            }
            help_line(&list->commands[i]);
            some = true;
        }
    }
    if (some) {
        printf("\nkekctl %s COMMAND --help tells its options.\n", group);
    }
    return some;
}

enum ctl_exit ctl_help(struct ctl *ctl)
{
    const struct command_list *list = ctl->commands;
    printf("usage: kekctl [--config FILE] [--output table|json] COMMAND [OPTION...]\n\n");
    for (size_t i = 0; i < list->count; i++) {
        help_line(&list->commands[i]);
    }
    printf("\n");
    options_print(CTL_OPTIONS_ALL, NULL);
    printf("\nkekctl COMMAND --help tells its options, kekctl(1) the rest.\n"
           "Exit codes: 0 good, 1 failed, 2 usage or configuration, 3 a check failed.\n");
    return output_end(ctl);
}

/* Where there is no configuration, there are no names. */
static enum ctl_exit complete_names(struct ctl *ctl, bool roots)
{
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    completion_names(config, roots);
    return output_end(ctl);
}

enum ctl_exit ctl_completion(struct ctl *ctl)
{
    const struct command_list *all = ctl->commands;
    bool roots = strcmp(ctl->argument, "roots") == 0;
    if (roots || strcmp(ctl->argument, "providers") == 0) {
        return complete_names(ctl, roots);
    }
    static const char *const shells[] = {[COMPLETION_BASH] = "bash", [COMPLETION_ZSH] = "zsh"};
    struct completion_command list[COMMANDS_MAX];
    for (size_t i = 0; i < all->count; i++) {
        list[i] = (struct completion_command){.words = all->commands[i].words,
                                              .takes = all->commands[i].takes,
                                              .options = options_of(&all->commands[i])};
    }
    for (size_t i = 0; i < sizeof shells / sizeof shells[0]; i++) {
        if (strcmp(ctl->argument, shells[i]) == 0) {
            completion_print((enum completion_shell)i, list, all->count);
            return output_end(ctl);
        }
    }
    return ctl_usage(ctl, "expected bash or zsh, found \"%.40s\"", ctl->argument);
}

enum ctl_exit ctl_version(struct ctl *ctl)
{
    printf("kekctl " PACKAGE_VERSION "\n");
    return output_end(ctl);
}

enum ctl_exit command_help(struct ctl *ctl, char **argv, int count)
{
    int known;
    const struct command *command = command_longest(ctl->commands, argv, count, &known);
    if (command == NULL && count > 0 && help_group(ctl->commands, argv[0])) {
        return output_end(ctl);
    }
    if (command == NULL) {
        return ctl_help(ctl);
    }
    help_command(command);
    return output_end(ctl);
}

enum ctl_exit command_help_named(struct ctl *ctl, char **argv, int count)
{
    int known;
    bool is_group = false;
    for (size_t i = 0; i < ctl->commands->count && count == 1; i++) {
        is_group = is_group || command_is_of_group(&ctl->commands->commands[i], argv[0]);
    }
    if (!is_group && command_longest(ctl->commands, argv, count, &known) == NULL) {
        command_say_unknown(ctl, argv, count);
        return CTL_USAGE;
    }
    return command_help(ctl, argv, count);
}
