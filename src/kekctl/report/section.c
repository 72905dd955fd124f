/* What the sections of a report share. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "report.h"

#define SENTENCE_MAX (2 * KEK_WHY_TEXT)

void report_attend(struct report *report, const char *format, ...)
{
    char text[SENTENCE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    (void)report_add(report->attention, output_text(text));
}

/* A row or a sentence found no memory. kekctl makes one report, in one thread. */
static bool spoilt;

bool report_is_whole(void)
{
    return !spoilt;
}

bool report_add(json_t *list, json_t *row)
{
    bool added = json_array_append_new(list, row) == 0;
    spoilt = spoilt || !added;
    return added;
}

bool report_say(json_t *sentences, const char *format, ...)
{
    char text[SENTENCE_MAX];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return report_add(sentences, output_text(text));
}

json_t *report_section(json_t *content, json_t *why, bool any)
{
    const char *filled = json_array_size(why) == 0 ? "yes" : any ? "partly" : "no";
    if (content == NULL || why == NULL ||
        json_object_set_new(content, "filled", json_string(filled)) != 0 ||
        json_object_set(content, "why", why) != 0) {
        json_decref(content);
        json_decref(why);
        return NULL;
    }
    json_decref(why);
    return content;
}

json_t *report_date(int64_t ms)
{
    char text[KEK_CLOCK_TEXT];
    return json_string(ms <= 0 ? "not known" : kek_clock_text_seconds(ms, text));
}

const char *report_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

size_t report_provider(const struct keys *keys, const char *name)
{
    size_t p = 0;
    while (p < keys->config->provider_count && strcmp(keys->config->providers[p].name, name) != 0) {
        p++;
    }
    return p;
}

const json_t *report_version(const struct report_root *root, const char *kek_id)
{
    size_t i;
    const json_t *version;
    json_array_foreach(json_object_get(root->shown, "versions"), i, version)
    {
        if (strcmp(report_text(version, "kek_id"), kek_id) == 0) {
            return version;
        }
    }
    return NULL;
}

static bool is_among(const json_t *versions, const json_t *version)
{
    size_t i;
    const json_t *other;
    json_array_foreach(versions, i, other)
    {
        if (json_equal(json_object_get(other, "kek_id"), json_object_get(version, "kek_id")) == 1) {
            return true;
        }
    }
    return false;
}

json_t *report_versions_once(const struct report_root *root)
{
    size_t i;
    json_t *version, *once = json_array();
    json_array_foreach(json_object_get(root->shown, "versions"), i, version)
    {
        if (once != NULL && !is_among(once, version) && json_array_append(once, version) != 0) {
            json_decref(once);
            return NULL;
        }
    }
    return once;
}
