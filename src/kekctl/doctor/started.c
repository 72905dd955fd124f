#include "started.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kekctl/kekctl.h"

/* However it is named. */
static bool is_one_file(const struct started *started, const char *word)
{
    struct stat about, other;
    char path[2 * PATH_MAX];
    snprintf(path, sizeof path, "%s%s%s", started->root,
             word[0] != '/' && started->root[0] != '\0' ? "/" : "", word);
    if (stat(path, &about) != 0 || stat(started->path, &other) != 0) {
        return strcmp(word, started->path) == 0;
    }
    return about.st_dev == other.st_dev && about.st_ino == other.st_ino;
}

bool started_take(void *arg, const char *word)
{
    static const char option[] = "--config=";
    struct started *started = arg;
    bool joined = strncmp(word, option, strlen(option)) == 0;
    if (started->next || joined) {
        started->named = true;
        started->same = is_one_file(started, joined ? word + strlen(option) : word);
    }
    started->next = strcmp(word, "--config") == 0 || strcmp(word, "-c") == 0;
    return true;
}

bool started_is_same(const struct started *started)
{
    return started->named ? started->same : is_one_file(started, CTL_DEFAULT_CONFIG);
}
