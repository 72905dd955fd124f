/*
 * A moment by two clocks: the wall clock, which may be set, and the time since boot, which nobody sets.
 *
 * What lasted long by the wall clock alone may be no more than a clock that was set.  Pure but for moment_now().
 */
#ifndef KEKCTL_MOMENT_H
#define KEKCTL_MOMENT_H

#include <stdbool.h>
#include <stdint.h>

#define MOMENT_BOOT_TEXT 37    /* of a boot's id: a UUID, with the NUL */
#define MOMENT_SLACK_MS 10000  /* of which two clocks may differ, */
#define MOMENT_SLACK_PER_MIL 1 /* and in proportion: NTP slews by half of that at most */

struct moment {
    int64_t wall_ms;             /* since 1970, UTC */
    int64_t up_ms;               /* of CLOCK_BOOTTIME */
    char boot[MOMENT_BOOT_TEXT]; /* which boot up_ms counts from; empty: not known */
};

void moment_now(struct moment *now);

/* Is this the id of a boot, as the kernel writes it? */
bool moment_is_boot(const char *text);

/* Are both of one boot, as far as is known? */
bool moment_same_boot(const struct moment *one, const struct moment *other);

/* Do the two clocks say alike what passed between them?  Of two boots: was the later one's after the earlier
 * moment?  True where a boot is not known. */
bool moment_agrees(const struct moment *earlier, const struct moment *later);

/* What passed by both clocks: the lesser of the two, or by the wall clock where that alone can tell. */
int64_t moment_passed_ms(const struct moment *earlier, const struct moment *later);

#endif
