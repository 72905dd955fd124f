#include "rotate_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kek/json.h"
#include "kek/text.h"

#define COLUMNS 80 /* of a terminal that does not say */
#define NAME_COLUMNS 10

void rotate_show_init(struct rotate_show *show, const struct ctl *ctl)
{
    *show = (struct rotate_show){.ctl = ctl, .redraws = !ctl->json && isatty(STDOUT_FILENO) == 1};
}

/* The first characters of a line that fill at most `columns` of a terminal; returns their bytes. What is not ASCII
 * counts as two, since nobody knows how wide a terminal draws it. */
static size_t fit(const char *text, size_t width)
{
    size_t bytes = 0, used = 0;
    while (text[bytes] != '\0') {
        size_t len = kek_text_char_len((const unsigned char *)text + bytes);
        size_t wide = len == 1 ? 1 : 2;
        if (used + wide > width) {
            break;
        }
        used += wide;
        bytes += len == 0 ? 1 : len;
    }
    return bytes;
}

static size_t columns(void)
{
    struct winsize size;
    bool known = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return (known ? size.ws_col : COLUMNS) -
           1u; /* a full line makes some terminals begin another */
}

/* ---- lines ---- */

static void print_line(struct rotate_show *show, const char *line)
{
    if (show->redraws) {
        printf("\r%.*s\033[K", (int)fit(line, columns()), line);
        show->open = true;
    } else if (strcmp(line, show->last) != 0) {
        printf("%s\n", line);
        snprintf(show->last, sizeof show->last, "%s", line);
    }
    (void)fflush(stdout);
}

void rotate_show_end(struct rotate_show *show)
{
    if (show->open) {
        printf("\n");
        (void)fflush(stdout);
        show->open = false;
    }
}

static void print_plan(struct rotate_show *show, const struct rotation_plan *plan)
{
    char line[KEK_WHY_TEXT + 64], rest[48] = "", safe[KEK_WHY_TEXT];
    if (show->redraws && plan->wait_ms > 0) {
        snprintf(rest, sizeof rest, "at most %" PRIu64 " s more: ", (plan->wait_ms + 999) / 1000);
    }
    kek_text_copy(safe, sizeof safe, plan->text);
    snprintf(line, sizeof line, "%-*s %s%s", NAME_COLUMNS, rotation_step_name(plan->step), rest,
             safe);
    print_line(show, line);
}

static void print_step_end(struct rotate_show *show, int64_t now_ms)
{
    char line[64];
    snprintf(line, sizeof line, "%-*s done after %" PRId64 " s", NAME_COLUMNS,
             rotation_step_name(show->step), (now_ms - show->since_ms) / 1000);
    print_line(show, line);
    rotate_show_end(show);
}

/* ---- objects ---- */

static const char *state_name(const struct rotation_plan *plan)
{
    static const char *const names[] = {
        [ROTATION_REFUSED] = "refused", [ROTATION_WAIT] = "waits",      [ROTATION_ACT] = "acts",
        [ROTATION_REACHED] = "reached", [ROTATION_NOTHING] = "nothing", [ROTATION_ENDED] = "ended"};
    return names[plan->verdict];
}

static json_t *text_or_null(const char *text)
{
    char safe[NODE_NAME_MAX];
    kek_text_copy(safe, sizeof safe, text);
    return text == NULL ? json_null() : json_string(safe);
}

void rotate_show_event(struct rotate_show *show, const struct rotation_plan *plan, int64_t now_ms,
                       const char *state, json_t *more)
{
    char id[KEK_ID_TEXT], time[ROTATION_TIME_TEXT], safe[KEK_WHY_TEXT];
    if (!show->ctl->json) {
        json_decref(more);
        return;
    }
    kek_id_format(&plan->target.id, id);
    rotation_time_format(now_ms, time);
    kek_text_copy(safe, sizeof safe, plan->text);
    json_t *object = json_pack(
        "{s:s, s:s, s:s, s:I, s:o, s:o, s:o, s:I, s:s}", "time", time, "step",
        rotation_step_name(plan->step), "state", state, "version", (json_int_t)plan->target.number,
        "kek_id", plan->is_new || plan->target.number == 0 ? json_null() : json_string(id), "node",
        text_or_null(plan->node), "provider", text_or_null(plan->where), "wait_ms",
        (json_int_t)plan->wait_ms, "text", safe);
    if (object != NULL && more != NULL) {
        (void)json_object_update(object, more);
    }
    char *line = object == NULL ? NULL : kek_json_text(object, JSON_COMPACT);
    if (line != NULL) {
        printf("%s\n", line);
        (void)fflush(stdout);
    }
    free(line);
    json_decref(object);
    json_decref(more);
}

/* ---- both ---- */

void rotate_show(struct rotate_show *show, const struct rotation_plan *plan, int64_t now_ms)
{
    if (show->begun && plan->step != show->step && !show->ctl->json) {
        print_step_end(show, now_ms);
    }
    if (!show->begun || plan->step != show->step) {
        show->begun = true;
        show->step = plan->step;
        show->since_ms = now_ms;
    }
    if (show->ctl->json) {
        char said[sizeof show->last];
        snprintf(said, sizeof said, "%s %d %s", rotation_step_name(plan->step), (int)plan->verdict,
                 plan->text);
        if (strcmp(said, show->last) != 0) {
            snprintf(show->last, sizeof show->last, "%s", said);
            rotate_show_event(show, plan, now_ms, state_name(plan), NULL);
        }
    } else {
        print_plan(show, plan);
    }
}
