/* What became of the objects, in numbers and causes. */
#include "reencrypt.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

uint64_t reencrypt_seen(const struct reencrypt_counts *counts)
{
    return counts->rewritten + counts->fresh + counts->meanwhile + counts->gone + counts->unmoved +
           counts->refused;
}

struct reencrypt_counts reencrypt_sum(const struct reencrypt *reencrypt)
{
    struct reencrypt_counts sum = {.rewritten = 0};
    for (size_t i = 0; i < reencrypt->resource_count; i++) {
        const struct reencrypt_counts *one = &reencrypt->resources[i].counts;
        sum.rewritten += one->rewritten;
        sum.fresh += one->fresh;
        sum.meanwhile += one->meanwhile;
        sum.gone += one->gone;
        sum.unmoved += one->unmoved;
        sum.refused += one->refused;
    }
    return sum;
}

/* The cause that is as this one: one webhook is one cause whatever it says of each object; else the text counts,
 * less the object's name. The last place is of all that have no other. */
static struct reencrypt_cause *find(struct reencrypt *reencrypt, const char *by, const char *text)
{
    for (size_t i = 0; i < reencrypt->cause_count; i++) {
        struct reencrypt_cause *cause = &reencrypt->causes[i];
        bool same = by[0] != '\0' ? strcmp(cause->by, by) == 0
                                  : cause->by[0] == '\0' && strcmp(cause->text, text) == 0;
        if (same) {
            return cause;
        }
    }
    if (reencrypt->cause_count < REENCRYPT_CAUSES_MAX) {
        reencrypt->cause_count++;
    }
    return &reencrypt->causes[reencrypt->cause_count - 1];
}

/* "secrets \"a\" is forbidden" of each object is one cause. */
static void without_name(const char *text, const char *name, char out[static KEK_WHY_TEXT])
{
    char quoted[sizeof((struct kek_kubeapi_object *)0)->name + 3];
    int len = snprintf(quoted, sizeof quoted, "\"%s\"", name);
    const char *at = strstr(text, quoted);
    snprintf(out, KEK_WHY_TEXT, "%.*s%s%s", (int)(at == NULL ? 0 : at - text), text,
             at == NULL ? "" : "\"...\"", at == NULL ? text : at + len);
}

void reencrypt_refused(struct reencrypt *reencrypt, struct reencrypt_resource *resource,
                       const struct kek_kubeapi_object *object, const char *by, const char *text)
{
    char same[KEK_WHY_TEXT], name[KEK_KUBEAPI_OBJECT_TEXT];
    without_name(text, object->name, same);
    kek_kubeapi_object_name(object, name);
    kek_text_clean(name); /* it may have been read from etcd */
    struct reencrypt_cause *cause = find(reencrypt, by, same);
    if (cause->count == 0) {
        snprintf(cause->by, sizeof cause->by, "%s", by);
        snprintf(cause->text, sizeof cause->text, "%s", same);
        snprintf(cause->first, sizeof cause->first, "%s %s", resource->name, name);
        ctl_say(reencrypt->ctl, "%s: not rewritten: %s", cause->first, text);
    }
    cause->count++;
    resource->counts.refused++;
}
