/* kekctl audit verify: are the lines of the audit log as they were written? */
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/output.h"
#include "verify.h"

/* Files without a line of a chain are not well: nothing is known of them. */
static void expect_lines(struct verify *verify, const struct ctl *ctl)
{
    const char *first = ctl->arguments[0];
    bool is_stdin = strcmp(first, FILES_STDIN) == 0;
    char what[CHECK_TEXT / 2];
    if (ctl->argument_count == 1) {
        snprintf(what, sizeof what, "%s", is_stdin ? "standard input" : first);
    } else {
        snprintf(what, sizeof what, "%zu files, the first one %s", ctl->argument_count,
                 is_stdin ? "standard input" : first);
    }
    check_nothing(verify->check, what);
}

static bool read_files(struct verify *verify, const struct ctl *ctl)
{
    struct kek_why why;
    bool good = files_order(ctl->arguments, ctl->argument_count, &why);
    for (size_t i = 0; good && i < ctl->argument_count; i++) {
        good = verify_file(verify, ctl->arguments[i], NULL, NULL, &why);
    }
    if (!good) {
        ctl_say(ctl, "%s", why.text);
        return false;
    }
    verify_end(verify);
    expect_lines(verify, ctl);
    return true;
}

static void say_problems(const struct ctl *ctl, const struct check *check)
{
    for (size_t i = 0; i < check->problem_count; i++) {
        char text[VERIFY_PROBLEM_TEXT];
        verify_problem_text(&check->problems[i], text);
        ctl_say(ctl, "%s", text);
    }
    if (check->more > 0) {
        ctl_say(ctl, "and %s more", kek_counted(check->more, "problem").text);
    }
}

static void say_limit(void *arg, const char *sentence)
{
    const struct ctl *ctl = arg;
    ctl_say(ctl, "%s", sentence);
}

static enum ctl_exit show(const struct verify *verify, struct ctl *ctl)
{
    static const struct column columns[] = {
        {"chain", "CHAIN"}, {"first", "FIRST"}, {"last", "LAST"}, {"lines", "LINES"},
        {"maced", "MACED"}, {"from", "FROM"},   {"to", "TO"}};
    const struct check *check = verify->check;
    bool good = check->problem_count == 0;
    json_t *object = json_pack(
        "{s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:b, s:o, s:o, s:I}", "good", good, "lines",
        (json_int_t)check->lines, "before", (json_int_t)check->before, "headers",
        (json_int_t)check->headers, "torn", (json_int_t)check->torn, "dropped",
        (json_int_t)check->dropped, "dropped_at_most", (json_int_t)check->dropped_at_most, "lost",
        (json_int_t)verify->owed.lost, "waiting", (json_int_t)verify->owed.waiting, "record",
        verify->record_why.rc == KEK_OK, "chains", verify_chains_json(check), "problems",
        verify_problems_json(check), "more", (json_int_t)check->more);
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_list(ctl, object, "chains", columns, 7);
    json_decref(object);
    if (!ctl->json) {
        say_problems(ctl, check);
    }
    verify_limits(verify, say_limit, ctl);
    return code == CTL_GOOD && !good ? CTL_CHECK : code;
}

enum ctl_exit ctl_audit_verify(struct ctl *ctl)
{
    VERIFY_AUTO struct verify verify = {.check = NULL};
    struct kek_why why;
    KEK_AUTO(kek_config) config = ctl->config_given ? ctl_config(ctl) : NULL;
    if (ctl->config_given && config == NULL) {
        return CTL_USAGE;
    }
    if (verify_open(&verify, ctl, config, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    verify.check->takes_headers = true;
    return read_files(&verify, ctl) ? show(&verify, ctl) : CTL_FAILED;
}
