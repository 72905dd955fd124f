/* Lines that others can cause as often as they like: the first of each kind, then a count. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "log_line.h"

#define KINDS_MAX 64
#define KIND_MS 10000u

struct kind {
    bool open;
    bool rest; /* all that are of no kind of their own, in the group or (NULL) at all */
    enum kek_log_level level;
    const char *group;
    uint64_t since_ms;
    unsigned long more; /* that were not logged */
    char message[LOG_MESSAGE_MAX];
};

static struct kind kinds[KINDS_MAX + 1]; /* the last one is for what finds no other place */

static void tell(struct kind *kind, uint64_t now)
{
    unsigned long seconds = (unsigned long)((now - kind->since_ms + 999) / 1000);
    kind->open = false;
    if (kind->rest) {
        kek_log(kind->level, "%lu more of other kinds in %lu s: %s", kind->more, seconds,
                kind->group);
    } else if (kind->more > 0) {
        kek_log(kind->level, "%lu more of the same in %lu s: %s", kind->more, seconds,
                kind->message);
    }
}

void kek_log_often_count(bool all)
{
    uint64_t now = kek_clock_ms();
    for (size_t i = 0; i <= KINDS_MAX; i++) {
        if (kinds[i].open && (all || now - kinds[i].since_ms >= KIND_MS)) {
            tell(&kinds[i], now);
        }
    }
}

static struct kind *begin(struct kind *kind, enum kek_log_level level, const char *group, bool rest)
{
    if (!kind->open) {
        kind->open = true;
        kind->rest = rest;
        kind->level = level;
        kind->group = group;
        kind->since_ms = kek_clock_ms();
        kind->more = 0;
        kind->message[0] = '\0';
    }
    return kind;
}

/* One that is open, or a new one, which has no message yet. */
static struct kind *kind_for(enum kek_log_level level, const char *group, const char *message)
{
    struct kind *place = NULL, *rest = NULL;
    size_t of_group = 0;
    for (size_t i = 0; i < KINDS_MAX; i++) {
        struct kind *kind = &kinds[i];
        if (!kind->open) {
            place = kind;
        } else if (strcmp(kind->group, group) == 0 && kind->rest) {
            rest = kind;
        } else if (strcmp(kind->group, group) == 0) {
            of_group++;
            if (kind->level == level && strcmp(kind->message, message) == 0) {
                return kind;
            }
        }
    }
    if (rest == NULL && place == NULL) {
        return begin(&kinds[KINDS_MAX], level, "of any group", true);
    }
    if (of_group >= KEK_LOG_KINDS) {
        return begin(rest != NULL ? rest : place, level, group, true);
    }
    return place != NULL ? begin(place, level, group, false) : rest;
}

void kek_log_often(enum kek_log_level level, const char *group, const struct kek_log_field *fields,
                   const char *format, ...)
{
    char message[LOG_MESSAGE_MAX];
    va_list args;
    if (!kek_log_enabled(level)) {
        return;
    }
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    kek_log_often_count(false);
    struct kind *kind = kind_for(level, group, message);
    if (!kind->rest && kind->message[0] == '\0') {
        snprintf(kind->message, sizeof kind->message, "%s", message);
        kek_log_with(level, fields, "%s", message);
    } else {
        kind->more++;
    }
}
