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
    text[0] = '\0';
    for (size_t i = 0; i < sizeof shipped / sizeof shipped[0]; i++) {
        if (is_same(unit_value(unit, SERVICE, shipped[i].key), shipped[i].value)) {
            continue;
        }
        if (at < size) {
            at += (size_t)snprintf(text + at, size - at, "%s%s=%s", found > 0 ? ", " : "",
                                   shipped[i].key, shipped[i].value);
        }
        found++;
    }
    return found;
}

struct asked {
    const char *path;
    const char *base; /* what the words are below; "": they are whole paths */
    bool binds;       /* the words are of the form SOURCE:DESTINATION[:OPTIONS] */
    bool found;
};

/* What of the word is a folder that the service sees: of SOURCE:DESTINATION, where it is bound to. */
static const char *seen_part(const struct asked *asked, const char *word, size_t *len)
{
    const char *colon = asked->binds ? strchr(word, ':') : NULL;
    word = colon == NULL ? word : colon + 1;
    *len = strcspn(word, asked->binds || asked->base[0] != '\0' ? ":" : "");
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
    asked->found = below_is(asked->path, folder);
    return !asked->found;
}

static bool is_given(const struct unit *unit, const char *path)
{
    static const struct {
        const char *key, *base;
        bool binds;
    } givers[] = {{"ReadWritePaths", "", false},           {"StateDirectory", "/var/lib", false},
                  {"LogsDirectory", "/var/log", false},    {"RuntimeDirectory", "/run", false},
                  {"CacheDirectory", "/var/cache", false}, {"BindPaths", "", true}};
    struct asked asked = {.path = path};
    for (size_t i = 0; i < sizeof givers / sizeof givers[0] && !asked.found; i++) {
        asked.base = givers[i].base;
        asked.binds = givers[i].binds;
        unit_each(unit, SERVICE, givers[i].key, covers, &asked);
    }
    return asked.found;
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
    if (is_given(unit, path)) {
        return true;
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
    return !hides || !is_home(path) || is_given(unit, path);
}
