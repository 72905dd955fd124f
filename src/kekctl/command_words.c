/* A command by its words, and what is wrong with words that are none. */
#include "command.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

/* The first words that are no options, as one text. */
static void join_words(char **argv, int count, char *words, size_t size)
{
    words[0] = '\0';
    size_t at = 0;
    for (int i = 0; i < count && at < size; i++) {
        at += (size_t)snprintf(words + at, size - at, "%s%s", at == 0 ? "" : " ", argv[i]);
    }
}

static const struct command *find_command(const struct command_list *list, char **argv, int count)
{
    char words[64];
    join_words(argv, count, words, sizeof words);
    for (size_t i = 0; i < list->count; i++) {
        if (strcmp(list->commands[i].words, words) == 0) {
            return &list->commands[i];
        }
    }
    return NULL;
}

const struct command *command_longest(const struct command_list *list, char **argv, int count,
                                      int *known)
{
    for (*known = count; *known > 0; (*known)--) {
        const struct command *command = find_command(list, argv, *known);
        if (command != NULL) {
            return command;
        }
    }
    return NULL;
}

bool command_is_of_group(const struct command *command, const char *group)
{
    size_t len = strlen(group);
    return strncmp(command->words, group, len) == 0 && command->words[len] == ' ';
}

/* The commands that begin with this word, or end with it, as one text. False: none does. */
static bool list_commands(const struct command_list *all, const char *word, bool first, char *list,
                          size_t size)
{
    size_t at = 0;
    list[0] = '\0';
    for (size_t i = 0; i < all->count && at < size; i++) {
        const char *words = all->commands[i].words, *space = strchr(words, ' ');
        bool same = space != NULL && (first ? strlen(word) == (size_t)(space - words) &&
                                                  strncmp(words, word, strlen(word)) == 0
                                            : strcmp(space + 1, word) == 0);
        if (same) {
            at += (size_t)snprintf(list + at, size - at, "%s%s", at == 0 ? "" : ", ", words);
        }
    }
    return at > 0;
}

/* The command that the words are a slip for; NULL: there is none. */
static const char *nearest_command(const struct command_list *list, const char *words)
{
    size_t least = SIZE_MAX;
    const char *nearest = NULL;
    for (size_t i = 0; i < list->count; i++) {
        size_t slip = kek_text_slip(words, list->commands[i].words);
        if (slip < least) {
            least = slip;
            nearest = list->commands[i].words;
        }
    }
    return nearest;
}

void command_say_unknown(struct ctl *ctl, char **argv, int count)
{
    char words[64], list[128];
    join_words(argv, count, words, sizeof words);
    bool begins = list_commands(ctl->commands, argv[0], true, list, sizeof list);
    /* "encrypt" is the end of "kms encrypt", and no slip for "reencrypt". */
    bool ends = !begins && list_commands(ctl->commands, argv[0], false, list, sizeof list);
    const char *nearest = ends ? NULL : nearest_command(ctl->commands, words);
    if (nearest != NULL) {
        (void)ctl_usage(ctl, "unknown command \"%s\": did you mean \"%s\"?", words, nearest);
        return;
    }
    if (!begins && !ends) {
        (void)list_commands(ctl->commands, argv[count - 1], false, list, sizeof list);
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

/* A word that is none of a command's own may be the end of one of its group: "report verfy".  NULL: it is not. */
static const char *nearest_of_group(const struct command_list *list, const char *group,
                                    const char *word)
{
    size_t least = SIZE_MAX;
    const char *nearest = NULL;
    for (size_t i = 0; i < list->count; i++) {
        const char *words = list->commands[i].words;
        size_t slip = command_is_of_group(&list->commands[i], group)
                          ? kek_text_slip(word, words + strlen(group) + 1)
                          : SIZE_MAX;
        if (slip < least) {
            least = slip;
            nearest = words;
        }
    }
    return nearest;
}

static void say_not_taken(struct ctl *ctl, const struct command *command, const char *word)
{
    const char *nearest = nearest_of_group(ctl->commands, command->words, word);
    if (nearest != NULL) {
        (void)ctl_usage(ctl, "does not take \"%.60s\": did you mean \"%s\"?", word, nearest);
    } else {
        (void)ctl_usage(ctl, "does not take \"%.60s\"", word);
    }
}

const struct command *command_take(struct ctl *ctl, char **argv, int count)
{
    int known;
    if (count == 0) {
        (void)ctl_usage(ctl, "a command is missing");
        return NULL;
    }
    const struct command *command = command_longest(ctl->commands, argv, count, &known);
    if (command == NULL) {
        command_say_unknown(ctl, argv, count);
        return NULL;
    }
    int given = count - known, taken = words_taken(command);
    bool is_file = taken == 1 && strcmp(command->takes, FILE_WORD) == 0;
    bool has_many = taken == 1 && strcmp(command->takes, FILES_WORD) == 0;
    ctl->command = command->words;
    if (given > taken && !has_many) {
        say_not_taken(ctl, command, argv[known + taken]);
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
