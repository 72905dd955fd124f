#include "lines.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/output.h"

#define SEEN_TEXT (KEK_WHY_TEXT + 256)
#define REMARK "remark: "
#define MENDED "to be mended: "

const char *doctor_verdict_name(enum doctor_verdict verdict)
{
    static const char *const names[] = {[DOCTOR_OK] = "OK",
                                        [DOCTOR_UNSEEN] = "UNSEEN",
                                        [DOCTOR_WARN] = "WARN",
                                        [DOCTOR_FAIL] = "FAIL"};
    return names[verdict];
}

void lines_open(struct lines *lines)
{
    *lines = (struct lines){.list = json_array(),
                            .root = "",
                            .provider = "",
                            .subject = {"kekctl"},
                            .verdict = DOCTOR_WARN};
    lines->no_memory = lines->list == NULL;
}

void lines_close(struct lines *lines)
{
    json_decref(lines->list);
}

static void append(struct lines *lines, enum doctor_verdict verdict, const char *subject,
                   const char *todo, const char *seen)
{
    json_t *line =
        json_pack("{s:s, s:o, s:s, s:s, s:o, s:o}", "verdict", doctor_verdict_name(verdict),
                  "subject", output_text(subject), "root", lines->root, "provider", lines->provider,
                  "seen", output_text(seen), "do", output_text(todo == NULL ? "" : todo));
    lines->counts[verdict]++;
    if (line == NULL || json_array_append_new(lines->list, line) != 0) {
        lines->no_memory = true;
    }
}

void lines_add(struct lines *lines, enum doctor_verdict verdict, const char *subject,
               const char *todo, const char *format, ...)
{
    char seen[SEEN_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(seen, sizeof seen, format, args);
    va_end(args);
    kek_text_clean(seen);
    append(lines, verdict, subject, todo, seen);
}

void lines_take(struct lines *lines, const json_t *list)
{
    size_t i;
    json_t *line;
    json_array_foreach(list, i, line)
    {
        const char *is = json_string_value(json_object_get(line, "verdict"));
        for (size_t v = 0; is != NULL && v < DOCTOR_VERDICTS; v++) {
            lines->counts[v] += strcmp(is, doctor_verdict_name((enum doctor_verdict)v)) == 0;
        }
        lines->no_memory = json_array_append(lines->list, line) != 0 || lines->no_memory;
    }
}

static bool is_about(const json_t *line, enum lines_about about, const char *name,
                     enum doctor_verdict verdict)
{
    static const char *const keys[] = {
        [LINES_ROOT] = "root", [LINES_PROVIDER] = "provider", [LINES_SUBJECT] = "subject"};
    const char *of = json_string_value(json_object_get(line, keys[about]));
    const char *is = json_string_value(json_object_get(line, "verdict"));
    return of != NULL && is != NULL && strcmp(of, name) == 0 &&
           strcmp(is, doctor_verdict_name(verdict)) == 0;
}

bool lines_has(const struct lines *lines, enum lines_about about, const char *name,
               enum doctor_verdict verdict)
{
    size_t i;
    const json_t *line;
    json_array_foreach(lines->list, i, line)
    {
        if (is_about(line, about, name, verdict)) {
            return true;
        }
    }
    return false;
}

void lines_soften(struct lines *lines, enum lines_about about, const char *name)
{
    size_t i;
    json_t *line;
    json_array_foreach(lines->list, i, line)
    {
        if (is_about(line, about, name, DOCTOR_FAIL)) {
            json_t *softer = json_string(doctor_verdict_name(DOCTOR_WARN));
            lines->no_memory =
                json_object_set_new(line, "verdict", softer) != 0 || lines->no_memory;
            lines->counts[DOCTOR_FAIL]--;
            lines->counts[DOCTOR_WARN]++;
        }
    }
}

void lines_vtodo(char todo[static LINES_TODO], const char *format, va_list args)
{
    if (vsnprintf(todo, LINES_TODO, format, args) >= LINES_TODO) {
        snprintf(todo, LINES_TODO, "what the line says (the command is too long)");
    }
}

void lines_todo(char todo[static LINES_TODO], const char *format, ...)
{
    va_list args;
    va_start(args, format);
    lines_vtodo(todo, format, args);
    va_end(args);
}

void lines_hear(struct lines *lines, enum doctor_verdict verdict, const char *subject,
                const char *todo)
{
    lines->verdict = verdict;
    snprintf(lines->subject, sizeof lines->subject, "%s", subject);
    lines->heard = 0;
    snprintf(lines->todo, sizeof lines->todo, "%s", todo == NULL ? "" : todo);
}

void lines_heard(void *arg, const char *text)
{
    struct lines *lines = arg;
    bool remark = strncmp(text, REMARK, strlen(REMARK)) == 0;
    bool mended = strncmp(text, MENDED, strlen(MENDED)) == 0;
    const char *seen = text + (remark ? strlen(REMARK) : mended ? strlen(MENDED) : 0);
    lines->heard += remark || mended ? 0 : 1;
    if (mended) {
        lines_add(lines, DOCTOR_WARN, lines->subject, "mend what it names", "%s", seen);
        return;
    }
    lines_add(lines, remark ? DOCTOR_OK : lines->verdict, lines->subject,
              remark ? NULL : lines->todo, "%s", seen);
}

/* In quotes; false: there is no room. */
static bool quote(const char *word, char *out, size_t size)
{
    size_t at = 0;
    out[at++] = '\'';
    for (; *word != '\0'; word++) {
        if (at + 6 > size) {
            return false;
        }
        at += (size_t)snprintf(out + at, size - at, *word == '\'' ? "'\\''" : "%c", *word);
    }
    out[at++] = '\'';
    out[at] = '\0';
    return true;
}

void lines_quote(const char *word, char *out, size_t size)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "/._-+=:,@%";
    bool is_plain = word[0] != '\0' && word[strspn(word, plain)] == '\0';
    bool fits = is_plain ? snprintf(out, size, "%s", word) < (int)size : quote(word, out, size);
    if (!fits) {
        snprintf(out, size, "FILE");
    }
}

enum ctl_exit lines_print(const struct lines *lines, const struct ctl *ctl, const char *judged_as)
{
    static const struct column columns[] = {
        {"verdict", "VERDICT"}, {"subject", "SUBJECT"}, {"seen", "SEEN"}, {"do", "DO"}};
    enum doctor_verdict worst = lines->counts[DOCTOR_FAIL] > 0   ? DOCTOR_FAIL
                                : lines->counts[DOCTOR_WARN] > 0 ? DOCTOR_WARN
                                                                 : DOCTOR_OK;
    json_t *object = lines->no_memory
                         ? NULL
                         : json_pack("{s:s, s:s, s:O}", "verdict", doctor_verdict_name(worst),
                                     "judged_as", judged_as, "lines", lines->list);
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list_to_copy(ctl, object, "lines", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    if (code != CTL_GOOD) {
        return code;
    }
    return worst == DOCTOR_FAIL ? CTL_FAILED : worst == DOCTOR_WARN ? CTL_CHECK : CTL_GOOD;
}
