/*
 * What a command of kekctl is, and what its words are taken for.
 *
 * commands.c is the table of all; command_words.c finds one by its words, command_help.c tells what there is.  Both are given
 * the table, since the commands that tell of it stand in it.
 */
#ifndef KEKCTL_COMMAND_H
#define KEKCTL_COMMAND_H

#include "kekctl.h"
#include "options.h"

#define FILE_WORD "FILE"
#define FILES_WORD "FILE..." /* one or more */

struct command {
    const char *words;
    uint64_t options; /* the set of those beyond everybody's */
    enum ctl_exit (*run)(struct ctl *ctl);
    const char *says;
    const char *takes; /* after its words; FILE may be missing, and is what --config would say */
    struct option_words own[CTL_OWN_WORDS];
    enum ctl_roots roots;
    bool junit; /* may print it */
};

#define COMMANDS_MAX 64 /* of a list */

struct command_list {
    const struct command *commands;
    size_t count;
};

/* commands.c */
extern const struct command_list commands_all;

/* command_words.c */
/* The command that as many of the words as possible are; NULL: none. *known: how many those are. */
const struct command *command_longest(const struct command_list *list, char **words, int count,
                                      int *known);
/* Is this word the first of several of the command's? */
bool command_is_of_group(const struct command *command, const char *group);
/* Says what is wrong with words that are no command: a slip, one too few. */
void command_say_unknown(struct ctl *ctl, char **words, int count);
/* The words into a command; NULL after saying what is wrong with them. */
const struct command *command_take(struct ctl *ctl, char **words, int count);

/* command_help.c */
/* Of the command that the words are, or begin with; else of all. */
enum ctl_exit command_help(struct ctl *ctl, char **words, int count);
/* "help key list", as "key list --help". */
enum ctl_exit command_help_named(struct ctl *ctl, char **words, int count);

#endif
