#include "kek/clock.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/text.h"

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

/* The year 292,278,994, which is the last, fits as well. */
const char *kek_clock_text_seconds(int64_t wall_ms, char text[static KEK_CLOCK_TEXT])
{
    struct tm utc;
    time_t seconds = (time_t)(wall_ms / 1000);
    gmtime_r(&seconds, &utc);
    strftime(text, KEK_CLOCK_TEXT, "%Y-%m-%dT%H:%M:%SZ", &utc);
    return text;
}

const char *kek_clock_text(int64_t wall_ms, char text[static KEK_CLOCK_TEXT])
{
    size_t len = strlen(kek_clock_text_seconds(wall_ms, text)) - 1; /* without the Z */
    snprintf(text + len, KEK_CLOCK_TEXT - len, ".%03dZ", (int)(wall_ms % 1000));
    return text;
}

/* `count` digits, and the byte behind them, which is passed too. */
static bool take(const char **text, int count, const char *ends, int *value)
{
    uint64_t number = 0;
    const char *from = *text;
    if (!kek_text_digits(text, 9999, &number) || *text - from != count || **text == '\0' ||
        strchr(ends, **text) == NULL) {
        return false;
    }
    *value = (int)number;
    (*text)++;
    return true;
}

/* Up to nine digits of a second, of which the first three count, and the Z. */
static bool take_fraction(const char **text, int *ms)
{
    int digits = 0;
    *ms = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++, digits++) {
        *ms = digits < 3 ? *ms * 10 + (**text - '0') : *ms;
    }
    for (int i = digits; i < 3; i++) {
        *ms *= 10;
    }
    return digits >= 1 && digits <= 9 && *(*text)++ == 'Z';
}

/* From 1970-01-01 to then, in the Gregorian calendar.  Years are taken to begin in March, so that a leap day is their
 * last; timegm(3) would take a third of the time that verifying a line of a log does. */
static int64_t days_of(int year, int month, int day)
{
    int64_t years = year + 400 - (month < 3 ? 1 : 0); /* since March of the year -400 */
    int64_t days = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return years * 365 + years / 4 - years / 100 + years / 400 + days - 865565;
}

int64_t kek_clock_parse(const char *text)
{
    struct tm utc = {0};
    int ms = 0;
    if (text == NULL || !take(&text, 4, "-", &utc.tm_year) || !take(&text, 2, "-", &utc.tm_mon) ||
        !take(&text, 2, "T", &utc.tm_mday) || !take(&text, 2, ":", &utc.tm_hour) ||
        !take(&text, 2, ":", &utc.tm_min) || !take(&text, 2, ".Z", &utc.tm_sec) ||
        (text[-1] == '.' && !take_fraction(&text, &ms)) || *text != '\0' || utc.tm_mon < 1 ||
        utc.tm_mon > 12 || utc.tm_mday < 1 || utc.tm_mday > 31 || utc.tm_hour > 23 ||
        utc.tm_min > 59 || utc.tm_sec > 60) {
        return 0;
    }
    int64_t hours = days_of(utc.tm_year, utc.tm_mon, utc.tm_mday) * 24 + utc.tm_hour;
    return ((hours * 60 + utc.tm_min) * 60 + utc.tm_sec) * 1000 + ms;
}
