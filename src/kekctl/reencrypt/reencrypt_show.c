#include "reencrypt_show.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "kekctl/output.h"

#define BAR 24
#define REDRAW_MS 200u
#define LINE_MS 10000u /* between lines that are not redrawn */
#define SAMPLE_MS 1000u
#define SMOOTH 0.3 /* how much the last second counts */

void reencrypt_show_init(struct reencrypt_show *show, const struct reencrypt *reencrypt)
{
    uint64_t now = kek_clock_ms();
    *show = (struct reencrypt_show){.reencrypt = reencrypt,
                                    .redraws = isatty(STDERR_FILENO) == 1,
                                    .shown_ms = now,
                                    .sampled_ms = now};
}

static void format_left(uint64_t seconds, char text[static 32])
{
    if (seconds >= 3600) {
        snprintf(text, 32, "%" PRIu64 " h %" PRIu64 " min", seconds / 3600, seconds / 60 % 60);
    } else if (seconds >= 60) {
        snprintf(text, 32, "%" PRIu64 " min %" PRIu64 " s", seconds / 60, seconds % 60);
    } else {
        snprintf(text, 32, "%" PRIu64 " s", seconds);
    }
}

void reencrypt_show_line(uint64_t seen, uint64_t left, double rate, bool bar,
                         char line[static REENCRYPT_LINE])
{
    char fill[BAR + 4] = "", time[32] = "unknown";
    uint64_t all = seen + left;
    if (bar) {
        size_t full = all == 0 ? 0 : (size_t)((double)BAR * (double)seen / (double)all);
        fill[0] = '[';
        memset(fill + 1, '#', full);
        memset(fill + 1 + full, '-', BAR - full);
        memcpy(fill + 1 + BAR, "] ", 3);
    }
    if (rate >= 0.5) {
        format_left((uint64_t)((double)left / rate) + (left > 0), time);
    }
    snprintf(line, REENCRYPT_LINE, "%s%" PRIu64 " of %s, %.0f/s, %s left", fill, seen,
             kek_counted(all, "object").text, rate, time);
}

static void sample(struct reencrypt_show *show, uint64_t seen, uint64_t now)
{
    uint64_t passed = now - show->sampled_ms;
    if (passed < SAMPLE_MS) {
        return;
    }
    double last = 1000.0 * (double)(seen - show->sampled_seen) / (double)passed;
    show->rate = show->sampled_seen == 0 ? last : SMOOTH * last + (1 - SMOOTH) * show->rate;
    show->sampled_ms = now;
    show->sampled_seen = seen;
}

void reencrypt_show(struct reencrypt_show *show, uint64_t left)
{
    char line[REENCRYPT_LINE];
    uint64_t now = kek_clock_ms();
    struct reencrypt_counts sum = reencrypt_sum(show->reencrypt);
    uint64_t seen = reencrypt_seen(&sum);
    sample(show, seen, now);
    if (now - show->shown_ms < (show->redraws ? REDRAW_MS : LINE_MS)) {
        return;
    }
    show->shown_ms = now;
    reencrypt_show_line(seen, left, show->rate, show->redraws, line);
    if (show->redraws) {
        fprintf(stderr, "\r%s\033[K", line);
        show->open = true;
    } else {
        ctl_say(show->reencrypt->ctl, "%s", line);
    }
}

void reencrypt_show_end(struct reencrypt_show *show)
{
    if (show->open) {
        fprintf(stderr, "\n");
        show->open = false;
    }
}

/* ---- the report ---- */

static json_t *describe_counts(const char *name, const struct reencrypt_counts *counts)
{
    return json_pack("{s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "resource", name, "objects",
                     (json_int_t)reencrypt_seen(counts), "rewritten", (json_int_t)counts->rewritten,
                     "fresh", (json_int_t)counts->fresh, "written_meanwhile",
                     (json_int_t)counts->meanwhile, "gone", (json_int_t)counts->gone, "unmoved",
                     (json_int_t)counts->unmoved, "refused", (json_int_t)counts->refused);
}

static json_t *describe_resources(const struct reencrypt *reencrypt)
{
    json_t *list = json_array();
    for (size_t i = 0; i < reencrypt->resource_count; i++) {
        const struct reencrypt_resource *resource = &reencrypt->resources[i];
        json_t *object = describe_counts(resource->name, &resource->counts);
        json_object_set_new(object, "failed", json_boolean(resource->failed));
        json_array_append_new(list, object);
    }
    return list;
}

static json_t *describe_causes(const struct reencrypt *reencrypt)
{
    json_t *list = json_array();
    for (size_t i = 0; i < reencrypt->cause_count; i++) {
        const struct reencrypt_cause *cause = &reencrypt->causes[i];
        json_array_append_new(list, json_pack("{s:s, s:I, s:s, s:o}", "by",
                                              cause->by[0] == '\0' ? "API server" : cause->by,
                                              "count", (json_int_t)cause->count, "first",
                                              cause->first, "message", output_text(cause->text)));
    }
    return list;
}

static void say_rate(const struct reencrypt *reencrypt, uint64_t seconds_ms)
{
    struct reencrypt_counts sum = reencrypt_sum(reencrypt);
    uint64_t seen = reencrypt_seen(&sum);
    ctl_say(reencrypt->ctl, "%s in %.1f s, %.0f/s; %" PRIu64 " written",
            kek_counted(seen, "object").text, (double)seconds_ms / 1000,
            seconds_ms == 0 ? 0 : 1000.0 * (double)seen / (double)seconds_ms, sum.rewritten);
    for (size_t i = 0; i < reencrypt->cause_count; i++) {
        const struct reencrypt_cause *cause = &reencrypt->causes[i];
        ctl_say(reencrypt->ctl, "%" PRIu64 " refused by %s, the first of them %s: %s", cause->count,
                cause->by[0] == '\0' ? "the API server" : cause->by, cause->first, cause->text);
    }
}

enum ctl_exit reencrypt_report(const struct reencrypt *reencrypt, const char *state, uint64_t left,
                               json_t *proof)
{
    static const struct column columns[] = {{"resource", "RESOURCE"},
                                            {"objects", "OBJECTS"},
                                            {"rewritten", "REWRITTEN"},
                                            {"fresh", "FRESH"},
                                            {"written_meanwhile", "WRITTEN-MEANWHILE"},
                                            {"gone", "GONE"},
                                            {"unmoved", "UNMOVED"},
                                            {"refused", "REFUSED"}};
    uint64_t passed = reencrypt->ended_ms - reencrypt->began_ms;
    json_t *object = json_pack(
        "{s:s, s:f, s:I, s:o, s:o, s:o}", "state", state, "seconds", (double)passed / 1000, "left",
        (json_int_t)left, "resources", describe_resources(reencrypt), "refused_by",
        describe_causes(reencrypt), "inventory", proof == NULL ? json_null() : proof);
    if (object == NULL) {
        ctl_say(reencrypt->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    say_rate(reencrypt, passed);
    enum ctl_exit code = output_list(reencrypt->ctl, object, "resources", columns,
                                     sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}
