#include "kek/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t (*fake)(void);

void kek_clock_fake(uint64_t (*now_us)(void))
{
    fake = now_us;
}

uint64_t kek_clock_us(void)
{
    if (fake != NULL) {
        return fake();
    }
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u;
}

uint64_t kek_clock_ms(void)
{
    return kek_clock_us() / 1000u;
}

int64_t kek_clock_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
