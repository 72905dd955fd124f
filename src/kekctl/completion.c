#include "completion.h"

#include <stdio.h>
#include <string.h>

#include "options.h"

/*
 * Both scripts go the same way.  The words before the cursor that are neither options nor their values say which
 * command it is; then what may come is known: another word of a command, an option of it, the value of
 * one, or a file.  `_kekctl_value` says what the value of an option may be: words, "@files", nothing, or "@roots" and
 * "@providers", whose names kekctl itself is asked for: it reads the configuration that the words name.
 */

/* ---- the tables, as shell functions that both shells read alike ---- */

/* Does an earlier command begin with the same word? */
static bool is_first(const struct completion_command *commands, size_t i)
{
    size_t len = strcspn(commands[i].words, " ");
    for (size_t k = 0; k < i; k++) {
        if (strcspn(commands[k].words, " ") == len &&
            strncmp(commands[k].words, commands[i].words, len) == 0) {
            return false;
        }
    }
    return true;
}

/* The second words of the commands whose first one is the ith's, where there are any. */
static void print_seconds(const struct completion_command *commands, size_t count, size_t i)
{
    int len = (int)strcspn(commands[i].words, " ");
    bool some = false;
    for (size_t k = 0; k < count; k++) {
        const char *words = commands[k].words;
        if (strncmp(words, commands[i].words, (size_t)len) != 0 || words[len] != ' ') {
            continue;
        }
        if (!some) {
            printf("    %.*s) echo '", len, words);
        }
        printf("%s%s", some ? " " : "", words + len + 1);
        some = true;
    }
    printf("%s", some ? "' ;;\n" : "");
}

/* What may come behind the words of a command that takes more. */
static void print_taken(const struct completion_command *command)
{
    const char *takes = command->takes == NULL ? "" : command->takes;
    if (strcmp(takes, "FILE") == 0) {
        printf("    '%s') echo '@files' ;;\n", command->words);
    } else if (strcmp(takes, "FILE...") == 0 || strcmp(takes, "REPORT SIGNATURE") == 0) {
        printf("    '%s' | '%s '*) echo '@files' ;;\n", command->words, command->words);
    } else if (strcmp(takes, "SHELL") == 0) {
        printf("    '%s') echo 'bash zsh' ;;\n", command->words);
    }
}

static void print_words(const struct completion_command *commands, size_t count)
{
    printf("_kekctl_words() {\n    case $1 in\n"
           "    'help '*) _kekctl_words \"${1#help }\" ;;\n"
           "    '' | help) echo '");
    for (size_t i = 0; i < count; i++) {
        if (is_first(commands, i)) {
            printf("%s%.*s", i > 0 ? " " : "", (int)strcspn(commands[i].words, " "),
                   commands[i].words);
        }
    }
    printf("' ;;\n");
    for (size_t i = 0; i < count; i++) {
        if (is_first(commands, i)) {
            print_seconds(commands, count, i);
        }
    }
    for (size_t i = 0; i < count; i++) {
        print_taken(&commands[i]);
    }
    printf("    esac\n}\n\n");
}

static void print_options(const struct completion_command *commands, size_t count)
{
    printf("_kekctl_options() {\n    case $1 in\n");
    for (size_t i = 0; i < count; i++) {
        printf("    '%s') echo '", commands[i].words);
        bool some = false;
        for (unsigned k = 0; k < OPTIONS_END; k++) {
            struct option_shape shape;
            options_shape((enum ctl_option)k, &shape);
            if ((commands[i].options & CTL_OPTION(k)) != 0) {
                printf("%s--%s", some ? " " : "", shape.name);
                some = true;
            }
        }
        printf("' ;;\n");
    }
    printf("    *) echo '");
    for (unsigned k = 0; k < OPTIONS_END; k++) {
        struct option_shape shape;
        options_shape((enum ctl_option)k, &shape);
        if ((CTL_OPTIONS_ALL & CTL_OPTION(k)) != 0) {
            printf("%s--%s", k > 0 ? " " : "", shape.name);
        }
    }
    printf("' ;;\n    esac\n}\n\n");
}

static void print_values(void)
{
    printf("# Fails for an option that takes no value.\n_kekctl_value() {\n    case $1 in\n");
    for (unsigned k = 0; k < OPTIONS_END; k++) {
        struct option_shape shape;
        options_shape((enum ctl_option)k, &shape);
        if (!shape.takes_value) {
            continue;
        }
        char letter[] = {'|', '-', shape.letter, '\0'};
        printf("    --%s%s) echo '", shape.name, shape.letter == '\0' ? "" : letter);
        if (shape.is_file) {
            printf("@files");
        }
        if (shape.names != NULL) {
            printf("@%s", shape.names);
        }
        for (size_t i = 0; shape.choices != NULL && shape.choices[i] != NULL; i++) {
            printf("%s%s", i > 0 ? " " : "", shape.choices[i]);
        }
        printf("' ;;\n");
    }
    printf("    *) return 1 ;;\n    esac\n}\n\n");
}

/* ---- what asks them ---- */

static const char walk[] =
    "# What may come at the cursor: $1 is the word that was begun, the others stand before it.\n"
    "_kekctl_candidates() {\n"
    "    local begun=$1 words='' last='' config='' word found\n"
    "    shift\n"
    "    for word in \"$@\"; do\n"
    "        if [ \"$word\" = = ]; then\n"
    "            continue\n"
    "        elif [ -n \"$last\" ]; then\n"
    "            case $last in -c | --config) config=$word ;; esac\n"
    "            last=''\n"
    "        elif _kekctl_value \"$word\" >/dev/null; then\n"
    "            last=$word\n"
    "        else\n"
    "            case $word in\n"
    "            --config=*) config=${word#--config=} ;;\n"
    "            -*) ;;\n"
    "            *) words=\"$words${words:+ }$word\" ;;\n"
    "            esac\n"
    "        fi\n"
    "    done\n"
    "    if [ -n \"$last\" ]; then\n"
    "        found=$(_kekctl_value \"$last\")\n"
    "        case $found in\n"
    "        @roots | @providers) kekctl completion \"${found#@}\" ${config:+\"--config=$config\"} "
    "2>/dev/null ;;\n"
    "        *) echo \"$found\" ;;\n"
    "        esac\n"
    "        return\n"
    "    fi\n"
    "    case $begun in\n"
    "    -*) _kekctl_options \"$words\" ;;\n"
    "    *) _kekctl_words \"$words\" ;;\n"
    "    esac\n"
    "}\n\n";

static const char bash_end[] =
    "_kekctl() {\n"
    "    local begun=${COMP_WORDS[COMP_CWORD]} found\n"
    "    [ \"$begun\" = = ] && begun=''\n"
    "    found=$(_kekctl_candidates \"$begun\" \"${COMP_WORDS[@]:1:COMP_CWORD-1}\")\n"
    "    if [ \"$found\" = @files ]; then\n"
    "        compopt -o filenames 2>/dev/null\n"
    "        mapfile -t COMPREPLY < <(compgen -f -- \"$begun\")\n"
    "    else\n"
    "        mapfile -t COMPREPLY < <(compgen -W \"$found\" -- \"$begun\")\n"
    "    fi\n"
    "}\n"
    "complete -F _kekctl kekctl\n";

static const char zsh_end[] =
    "_kekctl() {\n"
    "    local found\n"
    "    found=$(_kekctl_candidates \"$words[CURRENT]\" \"${(@)words[2,CURRENT-1]}\")\n"
    "    if [ \"$found\" = @files ]; then\n"
    "        _files\n"
    "    else\n"
    "        compadd -- ${=found}\n"
    "    fi\n"
    "}\n"
    "# Loaded by name, from a folder of fpath, or read by `source`.\n"
    "if [ \"$funcstack[1]\" = _kekctl ]; then\n"
    "    _kekctl\n"
    "else\n"
    "    compdef _kekctl kekctl\n"
    "fi\n";

void completion_names(const struct kek_config *config, bool roots)
{
    size_t count = roots ? config->root_count : config->provider_count;
    for (size_t i = 0; i < count; i++) {
        printf("%s\n", roots ? config->roots[i].name : config->providers[i].name);
    }
}

void completion_print(enum completion_shell shell, const struct completion_command *commands,
                      size_t count)
{
    bool bash = shell == COMPLETION_BASH;
    printf("%s# Completion of kekctl, as `kekctl completion %s` prints it.\n\n",
           bash ? "" : "#compdef kekctl\n", bash ? "bash" : "zsh");
    print_words(commands, count);
    print_options(commands, count);
    print_values();
    printf("%s%s", walk, bash ? bash_end : zsh_end);
}
