/* What a unit lets kekd do, and what the one that comes with kekd does not. */
#include <stdio.h>
#include <string.h>

#include "below.h"
#include "unit.h"

#define SERVICE "Service"

/* Of deploy/kekd.service; a test compares them. Not among them is what an HSM's library may need otherwise
 * (capabilities, address families, system calls). */
static const struct {
    const char *key, *value;
} shipped[] = {
    {"UMask", "0077"},
    {"LimitCORE", "0"},
    {"NoNewPrivileges", "yes"},
    {"ProtectSystem", "strict"},
    {"ProtectHome", "yes"},
    {"ProtectProc", "invisible"},
    {"ProtectClock", "yes"},
    {"ProtectHostname", "yes"},
    {"ProtectKernelLogs", "yes"},
    {"ProtectKernelModules", "yes"},
    {"ProtectKernelTunables", "yes"},
    {"ProtectControlGroups", "yes"},
    {"LockPersonality", "yes"},
    {"RestrictNamespaces", "yes"},
    {"RestrictRealtime", "yes"},
    {"RestrictSUIDSGID", "yes"},
    {"SystemCallArchitectures", "native"},
};

#define SHIPPED (sizeof shipped / sizeof shipped[0])

static bool is_yes(const char *value)
{
    return strcmp(value, "yes") == 0 || strcmp(value, "true") == 0 || strcmp(value, "1") == 0 ||
           strcmp(value, "on") == 0;
}

static bool is_same(const char *value, const char *wanted)
{
    return value != NULL && (strcmp(value, wanted) == 0 || (is_yes(wanted) && is_yes(value)));
}

size_t unit_unhardened(const struct unit *unit, char *text, size_t size)
{
    size_t found = 0, at = 0;
    bool said[SHIPPED] = {false};
    text[0] = '\0';
    for (size_t i = 0; i < SHIPPED; i++) {
        char place[UNIT_PLACE], other[UNIT_PLACE];
        unit_place(unit, SERVICE, shipped[i].key, place);
        size_t of_place = 0;
        for (size_t k = i; k < SHIPPED; k++) {
            unit_place(unit, SERVICE, shipped[k].key, other);
            if (said[k] || strcmp(place, other) != 0 ||
                is_same(unit_value(unit, SERVICE, shipped[k].key), shipped[k].value)) {
                continue;
            }
            said[k] = true;
            const char *before = of_place > 0 ? ", " : found > 0 ? "; in " : "in ";
            at += at >= size ? 0
                             : (size_t)snprintf(text + at, size - at, "%s%s%s%s=%s", before,
                                                of_place > 0 ? "" : place, of_place > 0 ? "" : ": ",
                                                shipped[k].key, shipped[k].value);
            of_place++;
            found++;
        }
    }
    return found;
}

struct asked {
    const char *path;
    const char *base; /* what the words are below; "": they are whole paths */
    bool binds;       /* the words are of the form SOURCE:DESTINATION[:OPTIONS] */
    bool options;     /* PATH[:OPTIONS] */
    size_t longest;   /* bytes of the deepest folder that has it; 0: none has */
};

/* What of the word is a folder that the service sees: of SOURCE:DESTINATION, where it is bound to. */
static const char *seen_part(const struct asked *asked, const char *word, size_t *len)
{
    const char *colon = asked->binds ? strchr(word, ':') : NULL;
    word = colon == NULL ? word : colon + 1;
    *len = strcspn(word, asked->binds || asked->options || asked->base[0] != '\0' ? ":" : "");
    return word;
}

static bool covers(void *arg, const char *word)
{
    struct asked *asked = arg;
    char folder[PATH_MAX];
    size_t len;
    word = seen_part(asked, word + strspn(word, "-+"), &len);
    snprintf(folder, sizeof folder, "%s%s%.*s", asked->base, asked->base[0] == '\0' ? "" : "/",
             (int)len, word);
    if (below_is(asked->path, folder) && strlen(folder) > asked->longest) {
        asked->longest = strlen(folder);
    }
    return true;
}

/* The deepest folder that one key names and the path is in; bytes, 0: none. */
static size_t named(const struct unit *unit, const char *key, const char *path)
{
    struct asked asked = {.path = path, .base = "", .options = true};
    unit_each(unit, SERVICE, key, covers, &asked);
    return asked.longest;
}

/* Likewise of those that give it to the service. */
static size_t given(const struct unit *unit, const char *path)
{
    static const struct {
        const char *key, *base;
        bool binds;
    } givers[] = {{"ReadWritePaths", "", false},           {"StateDirectory", "/var/lib", false},
                  {"LogsDirectory", "/var/log", false},    {"RuntimeDirectory", "/run", false},
                  {"CacheDirectory", "/var/cache", false}, {"BindPaths", "", true}};
    struct asked asked = {.path = path};
    for (size_t i = 0; i < sizeof givers / sizeof givers[0]; i++) {
        asked.base = givers[i].base;
        asked.binds = givers[i].binds;
        unit_each(unit, SERVICE, givers[i].key, covers, &asked);
    }
    return asked.longest;
}

/* The deepest folder that is taken from the service, or replaced by an empty one. */
static size_t hidden(const struct unit *unit, const char *path)
{
    static const char *const shared[] = {"/tmp", "/var/tmp"};
    size_t inaccessible = named(unit, "InaccessiblePaths", path);
    size_t replaced = named(unit, "TemporaryFileSystem", path);
    const char *private = unit_value(unit, SERVICE, "PrivateTmp");
    size_t deepest = inaccessible > replaced ? inaccessible : replaced;
    bool is_private = private != NULL && strcmp(private, "no") != 0 &&
                      strcmp(private, "false") != 0 && strcmp(private, "0") != 0 &&
                      strcmp(private, "off") != 0;
    for (size_t i = 0; i < sizeof shared / sizeof shared[0] && is_private; i++) {
        size_t len = strlen(shared[i]);
        deepest = below_is(path, shared[i]) && len > deepest ? len : deepest;
    }
    return deepest;
}

static bool is_home(const char *path)
{
    return below_is(path, "/home") || below_is(path, "/root") || below_is(path, "/run/user");
}

/* systemd.exec(5): what each value of ProtectSystem= makes read-only, and that of ProtectHome=. */
bool unit_lets_write(const struct unit *unit, const char *path)
{
    const char *value = unit_value(unit, SERVICE, "ProtectSystem");
    const char *home = unit_value(unit, SERVICE, "ProtectHome");
    size_t gives = given(unit, path), shuts = named(unit, "ReadOnlyPaths", path);
    if (gives > 0 || shuts > 0) {
        return gives > shuts;
    }
    if (home != NULL && strcmp(home, "read-only") == 0 && is_home(path)) {
        return false;
    }
    if (value == NULL) {
        return true;
    }
    if (strcmp(value, "strict") == 0) {
        return below_is(path, "/dev") || below_is(path, "/proc") || below_is(path, "/sys");
    }
    bool full = strcmp(value, "full") == 0;
    bool system = below_is(path, "/usr") || below_is(path, "/boot") || below_is(path, "/efi");
    return !((full || is_yes(value)) && (system || (full && below_is(path, "/etc"))));
}

bool unit_lets_see(const struct unit *unit, const char *path)
{
    const char *value = unit_value(unit, SERVICE, "ProtectHome");
    bool hides = value != NULL && (is_yes(value) || strcmp(value, "tmpfs") == 0);
    struct asked bound = {.path = path, .base = "", .binds = true};
    unit_each(unit, SERVICE, "BindPaths", covers, &bound);
    unit_each(unit, SERVICE, "BindReadOnlyPaths", covers, &bound);
    if (hidden(unit, path) > bound.longest) {
        return false;
    }
    return !hides || !is_home(path) || given(unit, path) > 0 || bound.longest > 0;
}
