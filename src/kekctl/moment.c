#include "moment.h"

#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"

#define BOOT_ID "/proc/sys/kernel/random/boot_id" /* random(4): drawn at each boot */

bool moment_is_boot(const char *text)
{
    return strlen(text) == MOMENT_BOOT_TEXT - 1 &&
           strspn(text, "0123456789abcdef-") == MOMENT_BOOT_TEXT - 1;
}

void moment_now(struct moment *now)
{
    struct timespec up = {0};
    FILE *file = fopen(BOOT_ID, "re");
    *now = (struct moment){.wall_ms = kek_clock_wall_ms()};
    size_t len = file == NULL ? 0 : fread(now->boot, 1, sizeof now->boot - 1, file);
    now->boot[len] = '\0';
    if (!moment_is_boot(now->boot) || clock_gettime(CLOCK_BOOTTIME, &up) != 0) {
        now->boot[0] = '\0';
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    now->up_ms = (int64_t)up.tv_sec * 1000 + up.tv_nsec / 1000000;
}

bool moment_same_boot(const struct moment *one, const struct moment *other)
{
    return one->boot[0] != '\0' && strcmp(one->boot, other->boot) == 0;
}

static int64_t slack_of(int64_t ms)
{
    return MOMENT_SLACK_MS + (ms < 0 ? -ms : ms) / 1000 * MOMENT_SLACK_PER_MIL;
}

bool moment_agrees(const struct moment *earlier, const struct moment *later)
{
    int64_t wall_ms = later->wall_ms - earlier->wall_ms;
    int64_t up_ms = later->up_ms - earlier->up_ms;
    if (earlier->boot[0] == '\0' || later->boot[0] == '\0') {
        return true;
    }
    if (!moment_same_boot(earlier, later)) {
        return wall_ms >= later->up_ms - slack_of(later->up_ms);
    }
    return up_ms >= 0 && wall_ms >= up_ms - slack_of(up_ms) && wall_ms <= up_ms + slack_of(up_ms);
}

int64_t moment_passed_ms(const struct moment *earlier, const struct moment *later)
{
    int64_t wall_ms = later->wall_ms - earlier->wall_ms;
    int64_t up_ms = later->up_ms - earlier->up_ms;
    return moment_same_boot(earlier, later) && up_ms < wall_ms ? up_ms : wall_ms;
}
