#include "turn.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/auto.h"
#include "kek/login.h"
#include "kek/text.h"

#define COMMAND 96

static ssize_t read_of(pid_t pid, const char *name, char *text, size_t size)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);
    text[len < 0 ? 0 : len] = '\0';
    return len;
}

/* Its command line as far as there is room, else its name. */
static void command_of(pid_t pid, char command[static COMMAND])
{
    ssize_t len = read_of(pid, "cmdline", command, COMMAND);
    if (len <= 0) {
        len = read_of(pid, "comm", command, COMMAND);
    }
    while (len > 0 && strchr("\n", command[len - 1]) != NULL) { /* or a NUL */
        command[--len] = '\0';
    }
    for (ssize_t i = 0; i < len; i++) {
        command[i] = command[i] == '\0' ? ' ' : command[i];
    }
    kek_text_clean(command);
}

/* Of another keyring, or started by another unit. */
static bool is_kekd(pid_t pid)
{
    char name[32];
    (void)read_of(pid, "comm", name, sizeof name);
    return strcmp(name, "kekd\n") == 0;
}

/* By a signal, not by a debugger (proc(5)). */
static bool is_stopped(pid_t pid)
{
    char text[256];
    (void)read_of(pid, "stat", text, sizeof text);
    const char *end = strrchr(text, ')');
    return end != NULL && strncmp(end, ") T", 3) == 0;
}

void turn_say(const struct doctor *doctor, const char *serial, char seen[static TURN_SEEN],
              char todo[static LINES_TODO])
{
    const struct kek_lock_holder holder = kek_login_turn(doctor->config->state_dir, serial);
    char command[COMMAND];
    seen[0] = '\0';
    if (holder.pid == 0) {
        doctor_command(doctor, todo, "doctor # once more: nobody is seen to have that turn now");
        return;
    }
    command_of(holder.pid, command);
    bool stopped = is_stopped(holder.pid);
    snprintf(seen, TURN_SEEN, "; process %d (%s) has that turn%s", (int)holder.pid, command,
             stopped ? ", and was stopped" : "");
    if (stopped) {
        lines_todo(todo, "kill -CONT %d # as root: it goes on, and gives the turn back",
                   (int)holder.pid);
    } else if (doctor->runner.pid == holder.pid) {
        lines_todo(todo, "systemctl restart kekd.service # which hangs at its login");
    } else if (is_kekd(holder.pid)) {
        lines_todo(todo, "restart the unit of that kekd, which hangs at its login");
    } else {
        lines_todo(todo, "kill %d # as root, where it does not end by itself", (int)holder.pid);
    }
}
