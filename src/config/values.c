/* Readers of single values. */
#include "load.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

#include "kek/text.h"

static bool is_path(const char *text)
{
    return text[0] == '/';
}

bool load_any_text(const char *text)
{
    (void)text;
    return true;
}

const struct text_rule path_rule = {is_path, "an absolute path of at most 4000 bytes"};
const struct text_rule socket_rule = {is_path, "an absolute path of at most 107 bytes"};
const struct text_rule context_rule = {load_any_text, "a string of at most 255 bytes"};

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit time_units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}};
static const struct unit size_units[] = {
    {"KiB", UINT64_C(1) << 10}, {"MiB", UINT64_C(1) << 20}, {"GiB", UINT64_C(1) << 30}};
#define UNITS(table) (table), sizeof(table) / sizeof(table)[0]

static void store(const struct field *field, void *object, uint64_t value)
{
    void *at = (char *)object + field->offset;
    uint16_t v16 = (uint16_t)value;
    uint32_t v32 = (uint32_t)value;
    switch (field->size) {
    case sizeof v16:
        memcpy(at, &v16, sizeof v16);
        break;
    case sizeof v32:
        memcpy(at, &v32, sizeof v32);
        break;
    default:
        memcpy(at, &value, sizeof value);
    }
}

enum kek_rc load_number(struct load *load, const struct kek_doc_node *node,
                        const struct field *field, void *object)
{
    uint64_t value = 0;
    bool good = node->kind == KEK_DOC_SCALAR && node->plain &&
                kek_text_decimal(node->text, field->max, &value) && value >= field->min;
    if (!good) {
        const char *quoted = node->kind == KEK_DOC_SCALAR && !node->plain ? " without quotes" : "";
        return load_expected(load, node, "a whole number from %" PRIu64 " to %" PRIu64 "%s",
                             field->min, field->max, quoted);
    }
    store(field, object, value);
    return KEK_OK;
}

/* The shortest way to write a quantity. */
static void show_quantity(uint64_t value, const struct unit *units, size_t count, char text[32])
{
    size_t i = count - 1;
    while (i > 0 && (value == 0 || value % units[i].factor != 0)) {
        i--;
    }
    snprintf(text, 32, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
}

static bool take_quantity(const char *text, const struct unit *units, size_t count, uint64_t *value)
{
    uint64_t number = 0;
    if (!kek_text_digits(&text, UINT64_MAX, &number)) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text, units[i].name) == 0) {
            return !__builtin_mul_overflow(number, units[i].factor, value);
        }
    }
    return false;
}

bool kek_config_duration(const char *text, uint64_t *ms)
{
    return take_quantity(text, UNITS(time_units), ms);
}

static enum kek_rc load_quantity(struct load *load, const struct kek_doc_node *node,
                                 const struct field *field, void *object, const char *what,
                                 const struct unit *units, size_t count)
{
    uint64_t value = 0;
    if (node->kind == KEK_DOC_SCALAR && take_quantity(node->text, units, count, &value) &&
        value >= field->min && value <= field->max) {
        store(field, object, value);
        return KEK_OK;
    }
    char low[32], high[32];
    show_quantity(field->min, units, count, low);
    show_quantity(field->max, units, count, high);
    return load_expected(load, node, "%s from %s to %s", what, low, high);
}

enum kek_rc load_duration(struct load *load, const struct kek_doc_node *node,
                          const struct field *field, void *object)
{
    return load_quantity(load, node, field, object, "a duration (a number and ms, s, m or h)",
                         UNITS(time_units));
}

enum kek_rc load_size(struct load *load, const struct kek_doc_node *node, const struct field *field,
                      void *object)
{
    return load_quantity(load, node, field, object, "a size (a number and KiB, MiB or GiB)",
                         UNITS(size_units));
}

enum kek_rc load_choice(struct load *load, const struct kek_doc_node *node,
                        const struct field *field, void *object)
{
    const struct choice *choice = field->with;
    char names[160] = "";
    for (size_t i = 0, at = 0; i < choice->count && at < sizeof names; i++) {
        if (node->kind == KEK_DOC_SCALAR && strcmp(node->text, choice->names[i]) == 0) {
            store(field, object, i);
            return KEK_OK;
        }
        const char *between = i == 0 ? "" : i + 1 == choice->count ? " or " : ", ";
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", between, choice->names[i]);
    }
    return load_expected(load, node, "%s", names);
}

enum kek_rc load_scalar_text(struct load *load, const struct kek_doc_node *node,
                             const struct field *field, char **text)
{
    const struct text_rule *rule = field->with;
    bool good = node->kind == KEK_DOC_SCALAR && !kek_doc_node_is_null(node) &&
                strlen(node->text) >= field->min && strlen(node->text) <= field->max &&
                rule->good(node->text);
    if (!good) {
        return load_expected(load, node, "%s", rule->expected);
    }
    *text = strdup(node->text);
    return *text == NULL ? load_no_memory(load) : KEK_OK;
}

enum kek_rc load_text(struct load *load, const struct kek_doc_node *node, const struct field *field,
                      void *object)
{
    char **at = (char **)(void *)((char *)object + field->offset);
    return load_scalar_text(load, node, field, at);
}

/* "unix:///absolute/path", without what the API server's URL parser would take for something else
 * than a path. Abstract sockets have no file mode, so they are refused. */
enum kek_rc load_listen(struct load *load, const struct kek_doc_node *node,
                        const struct field *field, void *object)
{
    static const char scheme[] = "unix://";
    const size_t skip = sizeof scheme - 1;
    bool good = node->kind == KEK_DOC_SCALAR && strncmp(node->text, scheme, skip) == 0 &&
                node->text[skip] == '/' && strpbrk(node->text, "%?#") == NULL &&
                node->text[strlen(node->text) - 1] != '/';
    if (!good) {
        return load_expected(load, node, "unix:///absolute/path (without %%, ? and #)");
    }
    if (node->text[skip + 1] == '@') {
        return load_expected(load, node,
                             "a socket in the file system (an abstract one has no mode)");
    }
    const size_t longest = sizeof((struct sockaddr_un *)0)->sun_path - 1;
    if (strlen(node->text + skip) > longest) {
        return load_expected(load, node, "a path of at most %zu bytes", longest);
    }
    char **at = (char **)(void *)((char *)object + field->offset);
    *at = strdup(node->text + skip);
    return *at == NULL ? load_no_memory(load) : KEK_OK;
}

static bool take_host_port(const char *text, char host[INET6_ADDRSTRLEN], uint16_t *port)
{
    bool v6 = text[0] == '[';
    const char *start = text + v6;
    const char *end = strchr(start, v6 ? ']' : ':');
    if (end == NULL || end - start >= INET6_ADDRSTRLEN) {
        return false;
    }
    memcpy(host, start, (size_t)(end - start));
    host[end - start] = '\0';
    const char *at = end + v6;
    struct in6_addr address;
    uint64_t number = 0;
    if (inet_pton(v6 ? AF_INET6 : AF_INET, host, &address) != 1 || *at != ':') {
        return false;
    }
    at++;
    if (!kek_text_decimal(at, UINT16_MAX, &number) || number < 1) {
        return false;
    }
    *port = (uint16_t)number;
    return true;
}

enum kek_rc load_host_port(struct load *load, const struct kek_doc_node *node,
                           const struct field *field, void *object)
{
    char host[INET6_ADDRSTRLEN];
    uint16_t port = 0;
    if (node->kind != KEK_DOC_SCALAR || !take_host_port(node->text, host, &port)) {
        return load_expected(load, node,
                             "a numeric address and a port, \"127.0.0.1:9478\" or \"[::1]:9478\"");
    }
    char **at = (char **)(void *)((char *)object + field->offset);
    memcpy((char *)object + *(const size_t *)field->with, &port, sizeof port);
    *at = strdup(host);
    return *at == NULL ? load_no_memory(load) : KEK_OK;
}
