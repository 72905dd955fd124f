#include "listening.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define WORDS 10

/* The first words of a line, which has room for NULs. Returns how many. */
static size_t split(char *line, char *words[static WORDS])
{
    size_t count = 0;
    line[strcspn(line, "\n")] = '\0';
    for (line += strspn(line, " "); *line != '\0' && count < WORDS; line += strspn(line, " ")) {
        words[count++] = line;
        line += strcspn(line, " ");
        if (*line != '\0' && count < WORDS) {
            *line++ = '\0';
        }
    }
    return count;
}

static void add(struct listening *listening, const char *inode)
{
    uint64_t number;
    if (listening->count < LISTENING_MAX && kek_text_digits(&inode, UINT64_MAX, &number)) {
        listening->inodes[listening->count++] = number;
    }
}

/* "Num RefCount Protocol Flags Type St Inode Path"; the flag is __SO_ACCEPTCON. */
static void look_at_path(struct listening *listening, const char *path)
{
    char line[PATH_MAX], *words[WORDS];
    FILE *file = fopen("/proc/net/unix", "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *at = strchr(line, '/');
        char own[PATH_MAX];
        snprintf(own, sizeof own, "%.*s", at == NULL ? 0 : (int)strcspn(at, "\n"),
                 at == NULL ? "" : at);
        if (strcmp(own, path) == 0 && split(line, words) > 7 && strcmp(words[3], "00010000") == 0) {
            add(listening, words[6]);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

/* "sl local_address rem_address st tx_queue:rx_queue tr:tm->when retrnsmt uid timeout inode"; 0A: TCP_LISTEN. */
static void look_at_port(struct listening *listening, const char *list, uint16_t port)
{
    char line[512], end[8], *words[WORDS];
    snprintf(end, sizeof end, ":%04X", (unsigned)port);
    FILE *file = fopen(list, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *colon = split(line, words) < WORDS ? NULL : strrchr(words[1], ':');
        if (colon != NULL && strcmp(colon, end) == 0 && strcmp(words[3], "0A") == 0) {
            add(listening, words[9]);
        }
    }
    if (file != NULL) {
        (void)fclose(file);
    }
}

void listening_look(struct listening *listening, const struct kek_config *config)
{
    const struct {
        const char *host;
        uint16_t port;
    } ports[] = {{config->metrics_host, config->metrics_port},
                 {config->status.host, config->status.port}};
    listening->count = 0;
    look_at_path(listening, config->listen);
    for (size_t i = 0; i < sizeof ports / sizeof ports[0]; i++) {
        if (ports[i].host != NULL) {
            look_at_port(listening, "/proc/net/tcp", ports[i].port);
            look_at_port(listening, "/proc/net/tcp6", ports[i].port);
        }
    }
}

bool listening_has(const struct listening *listening, uint64_t inode)
{
    for (size_t i = 0; i < listening->count; i++) {
        if (listening->inodes[i] == inode) {
            return true;
        }
    }
    return false;
}

bool listening_at(const char *path)
{
    struct listening listening = {.count = 0};
    look_at_path(&listening, path);
    return listening.count > 0;
}
