#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "below.h"
#include "kek/durable.h"
#include "kek/text.h"

#define SPACES " \t\r"
#define WORD_MAX PATH_MAX
#define DROPINS_MAX 32

static enum kek_rc add(struct unit *unit, const char *section, const char *key, const char *value,
                       struct kek_why *why)
{
    if (unit->count == UNIT_ENTRIES_MAX) {
        return kek_fail(why, KEK_TOO_LARGE, "more than %d assignments", UNIT_ENTRIES_MAX);
    }
    KEK_AUTO_FREE char *own_section = strdup(section), *own_key = strdup(key);
    KEK_AUTO_FREE char *own_value = strdup(value);
    if (own_section == NULL || own_key == NULL || own_value == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a unit");
    }
    unit->entries[unit->count++] = (struct unit_entry){.section = KEK_STEAL(own_section),
                                                       .key = KEK_STEAL(own_key),
                                                       .value = KEK_STEAL(own_value)};
    return KEK_OK;
}

static char *trim(char *text)
{
    text += strspn(text, SPACES);
    size_t len = strlen(text);
    while (len > 0 && strchr(SPACES, text[len - 1]) != NULL) {
        text[--len] = '\0';
    }
    return text;
}

/* One whole line. */
static enum kek_rc take_line(struct unit *unit, char *line, char *section, size_t size,
                             struct kek_why *why)
{
    line = trim(line);
    size_t len = strlen(line);
    if (len == 0 || line[0] == '#' || line[0] == ';') {
        return KEK_OK;
    }
    if (line[0] == '[' && line[len - 1] == ']' && len - 2 < size) {
        snprintf(section, size, "%.*s", (int)(len - 2), line + 1);
        return KEK_OK;
    }
    char *sign = strchr(line, '=');
    if (sign == NULL || section[0] == '\0') {
        return kek_fail(why, KEK_INVALID, "\"%.40s\" is no line of a unit", line);
    }
    *sign = '\0';
    return add(unit, section, trim(line), trim(sign + 1), why);
}

/* A backslash at its end, and the next line goes on: systemd puts a space there. */
static void join_lines(char *text)
{
    for (char *at = strstr(text, "\\\n"); at != NULL; at = strstr(at, "\\\n")) {
        at[0] = at[1] = ' ';
    }
}

enum kek_rc unit_parse(struct unit *unit, struct kek_bytes text, struct kek_why *why)
{
    char section[64] = "";
    enum kek_rc rc = KEK_OK;
    if (text.len > UNIT_BYTES_MAX) {
        return kek_fail(why, KEK_TOO_LARGE, "more than %u bytes", UNIT_BYTES_MAX);
    }
    KEK_AUTO_FREE char *copy = strndup(text.len == 0 ? "" : (const char *)text.data, text.len);
    if (copy == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a unit");
    }
    join_lines(copy);
    for (char *line = copy; line != NULL && rc == KEK_OK;) {
        char *end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
        }
        rc = take_line(unit, line, section, sizeof section, why);
        line = end == NULL ? NULL : end + 1;
    }
    return rc;
}

static enum kek_rc read_file(struct unit *unit, const char *path, struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf text;
    kek_buf_init(&text, UNIT_BYTES_MAX);
    enum kek_rc rc = kek_durable_read(path, UNIT_BYTES_MAX, &text, why);
    if (rc != KEK_OK) {
        return rc;
    }
    size_t first = unit->count;
    rc = unit_parse(unit, kek_buf_bytes(&text), why);
    for (size_t i = first; i < unit->count; i++) {
        unit->entries[i].file = strdup(path);
        if (unit->entries[i].file == NULL) {
            return kek_fail(why, KEK_NO_MEMORY, "no memory for a unit");
        }
    }
    return rc == KEK_OK ? KEK_OK : kek_fail_within(why, rc, "%s", path);
}

static int is_dropin(const struct dirent *item)
{
    const char *dot = strrchr(item->d_name, '.');
    return dot != NULL && strcmp(dot, ".conf") == 0;
}

/* One of a name, in the first folder that has it. */
struct dropin {
    char path[2 * PATH_MAX];
    size_t name; /* where that begins in it */
};

struct dropins {
    struct dropin list[DROPINS_MAX];
    size_t count;
};

static bool has(const struct dropins *dropins, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < dropins->count; i++) {
        const struct dropin *dropin = &dropins->list[i];
        found = found || strcmp(dropin->path + dropin->name, name) == 0;
    }
    return found;
}

static void gather(struct dropins *dropins, const char *folder)
{
    struct dirent **items = NULL;
    int count = scandir(folder, &items, is_dropin, alphasort);
    for (int i = 0; i < count; i++) {
        if (dropins->count < DROPINS_MAX && !has(dropins, items[i]->d_name)) {
            struct dropin *dropin = &dropins->list[dropins->count++];
            snprintf(dropin->path, sizeof dropin->path, "%s/%s", folder, items[i]->d_name);
            dropin->name = strlen(folder) + 1;
        }
        free(items[i]);
    }
    free(items);
}

static int by_name(const void *one, const void *other)
{
    const struct dropin *a = one, *b = other;
    return strcmp(a->path + a->name, b->path + b->name);
}

static enum kek_rc read_dropins(struct unit *unit, struct dropins *dropins, struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    qsort(dropins->list, dropins->count, sizeof dropins->list[0], by_name);
    for (size_t i = 0; i < dropins->count && rc == KEK_OK; i++) {
        struct stat about;
        bool masks = stat(dropins->list[i].path, &about) == 0 && !S_ISREG(about.st_mode);
        rc = masks ? KEK_OK : read_file(unit, dropins->list[i].path, why);
    }
    return rc;
}

static enum kek_rc read_unit(struct unit *unit, const char *path, struct kek_why *why)
{
    unit->path[0] = '\0';
    enum kek_rc rc = read_file(unit, path, why);
    if (rc == KEK_OK) {
        snprintf(unit->path, sizeof unit->path, "%s", path);
    }
    return rc;
}

enum kek_rc unit_read(struct unit *unit, const char *path, struct kek_why *why)
{
    char folder[PATH_MAX + 8];
    enum kek_rc rc = read_unit(unit, path, why);
    KEK_AUTO_FREE struct dropins *dropins = rc == KEK_OK ? calloc(1, sizeof *dropins) : NULL;
    if (dropins == NULL) {
        return rc == KEK_OK ? kek_fail(why, KEK_NO_MEMORY, "no memory for a unit") : rc;
    }
    snprintf(folder, sizeof folder, "%s.d", path);
    gather(dropins, folder);
    return read_dropins(unit, dropins, why);
}

enum kek_rc unit_read_installed(struct unit *unit, const char *path, const char *const *folders,
                                size_t count, struct kek_why *why)
{
    const char *name = strrchr(path, '/');
    enum kek_rc rc = read_unit(unit, path, why);
    KEK_AUTO_FREE struct dropins *dropins = rc == KEK_OK ? calloc(1, sizeof *dropins) : NULL;
    if (dropins == NULL) {
        return rc == KEK_OK ? kek_fail(why, KEK_NO_MEMORY, "no memory for a unit") : rc;
    }
    for (size_t i = 0; i < count; i++) {
        char folder[PATH_MAX + 8];
        snprintf(folder, sizeof folder, "%s/%s.d", folders[i], name == NULL ? path : name + 1);
        gather(dropins, folder);
    }
    return read_dropins(unit, dropins, why);
}

void unit_done(struct unit *unit)
{
    for (size_t i = 0; i < unit->count; i++) {
        free(unit->entries[i].section);
        free(unit->entries[i].key);
        free(unit->entries[i].value);
        free(unit->entries[i].file);
    }
    unit->count = 0;
}

static bool is(const struct unit_entry *entry, const char *section, const char *key)
{
    return strcmp(entry->section, section) == 0 && strcmp(entry->key, key) == 0;
}

static const struct unit_entry *last_of(const struct unit *unit, const char *section,
                                        const char *key)
{
    for (size_t i = unit->count; i > 0; i--) {
        if (is(&unit->entries[i - 1], section, key)) {
            return &unit->entries[i - 1];
        }
    }
    return NULL;
}

const char *unit_value(const struct unit *unit, const char *section, const char *key)
{
    const struct unit_entry *entry = last_of(unit, section, key);
    return entry == NULL || entry->value[0] == '\0' ? NULL : entry->value;
}

const char *unit_source(const struct unit *unit, const char *section, const char *key)
{
    const struct unit_entry *entry = last_of(unit, section, key);
    return entry == NULL || entry->file == NULL ? unit->path : entry->file;
}

bool unit_place(const struct unit *unit, const char *section, const char *key,
                char place[static UNIT_PLACE])
{
    const char *file = unit_source(unit, section, key);
    const char *name = strrchr(unit->path, '/');
    bool is_packaged = below_is(file, "/usr") || below_is(file, "/lib");
    if (is_packaged) {
        snprintf(place, UNIT_PLACE, "[%s] of a drop-in (systemctl edit %.60s)", section,
                 name == NULL ? unit->path : name + 1);
    } else {
        snprintf(place, UNIT_PLACE, "[%s] of %s", section, file);
    }
    return is_packaged;
}

/* The words of one value; quotes may stand around one. */
static bool each_word(const char *value, bool (*visit)(void *arg, const char *word), void *arg)
{
    char word[WORD_MAX];
    while (*(value += strspn(value, SPACES)) != '\0') {
        bool quoted = *value == '"' || *value == '\'';
        char end[] = {*value, '\0'};
        value += quoted ? 1 : 0;
        size_t len = strcspn(value, quoted ? end : SPACES);
        snprintf(word, sizeof word, "%.*s", (int)len, value);
        value += len + (quoted && value[len] != '\0' ? 1 : 0);
        if (!visit(arg, word)) {
            return false;
        }
    }
    return true;
}

void unit_each(const struct unit *unit, const char *section, const char *key,
               bool (*visit)(void *arg, const char *word), void *arg)
{
    size_t first = 0;
    for (size_t i = 0; i < unit->count; i++) {
        const struct unit_entry *entry = &unit->entries[i];
        first = is(entry, section, key) && entry->value[0] == '\0' ? i : first;
    }
    for (size_t i = first; i < unit->count; i++) {
        if (is(&unit->entries[i], section, key) && !each_word(unit->entries[i].value, visit, arg)) {
            return;
        }
    }
}

struct looking {
    const char *word;
    bool found;
};

static bool is_word(void *arg, const char *word)
{
    struct looking *looking = arg;
    looking->found = strcmp(word, looking->word) == 0;
    return !looking->found;
}

bool unit_lists(const struct unit *unit, const char *section, const char *key, const char *word)
{
    struct looking looking = {.word = word};
    unit_each(unit, section, key, is_word, &looking);
    return looking.found;
}

bool unit_limit(const char *text, uint64_t *limit)
{
    static const char letters[] = "KMGT";
    static const char infinity[] = "infinity";
    uint64_t number;
    if (strncmp(text, infinity, strlen(infinity)) == 0) {
        *limit = UINT64_MAX;
        return true;
    }
    if (!kek_text_digits(&text, UINT64_MAX >> 40, &number)) {
        return false;
    }
    const char *letter = *text == '\0' || *text == ':' ? NULL : strchr(letters, *text);
    if (letter == NULL && *text != '\0' && *text != ':') {
        return false;
    }
    *limit = letter == NULL ? number : number << (10 * (letter - letters + 1));
    return true;
}
