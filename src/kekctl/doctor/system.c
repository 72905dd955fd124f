/* doctor: limits and the clock. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timex.h>
#include <unistd.h>

#include "doctor.h"
#include "kek/clock.h"
#include "kek/descriptors.h"
#include "kek/keyring.h"
#include "kek/text.h"
#include "limits.h"

/* systemd's own, where a unit says nothing (systemd-system.conf(5)). */
#define SYSTEMD_MEMLOCK (UINT64_C(8) << 20)
#define SYSTEMD_FILES UINT64_C(1024)
/* Descriptors of kekd: a few of its own, 16 for each of the two HTTP listeners, and API servers' connections; and 4
 * for each worker. */
#define FILES_OWN UINT64_C(128)
#define FILES_WORKER UINT64_C(4)
/* Measured: with 20, and a provider or two, no worker starts; with 24 they do. */
#define FILES_LEAST UINT64_C(22)
#define BEGINNING_MS INT64_C(1735689600000) /* 2025: no clock that was ever set says less */

/* One limit, and who says it. */
struct found {
    uint64_t limit;
    char source[PATH_MAX + 64];
};

/* Of a kekd that runs: what counts. */
static bool of_process(const struct doctor *doctor, const char *name, struct found *found)
{
    char path[64], text[4096];
    if (doctor->runner.pid == 0) {
        return false;
    }
    snprintf(path, sizeof path, "/proc/%d/limits", (int)doctor->runner.pid);
    FILE *file = fopen(path, "re");
    size_t len = file == NULL ? 0 : fread(text, 1, sizeof text - 1, file);
    if (file != NULL) {
        (void)fclose(file);
    }
    text[len] = '\0';
    snprintf(found->source, sizeof found->source, "process %d", (int)doctor->runner.pid);
    return limits_of_process(text, name, &found->limit);
}

/* Of the unit: what the next start gives. */
static bool of_unit(const struct doctor *doctor, const char *key, uint64_t preset,
                    struct found *found)
{
    const struct unit *unit = &doctor->outside.unit;
    const char *value = unit_value(unit, "Service", key);
    snprintf(found->source, sizeof found->source, "%s", unit_source(unit, "Service", key));
    if (value == NULL || !unit_limit(value, &found->limit)) {
        found->limit = preset;
    }
    return unit->path[0] != '\0';
}

static void of_shell(int resource, struct found *found)
{
    struct rlimit own;
    found->limit = getrlimit(resource, &own) == 0 && own.rlim_cur != RLIM_INFINITY
                       ? (uint64_t)own.rlim_cur
                       : UINT64_MAX;
    snprintf(found->source, sizeof found->source, "this shell");
}

static void show(uint64_t limit, char text[static 32])
{
    if (limit == UINT64_MAX) {
        snprintf(text, 32, "no limit");
    } else {
        snprintf(text, 32, "%" PRIu64, limit);
    }
}

/* What kekd needs of one. */
struct need {
    const char *subject, *name, *key; /* line, /proc/PID/limits, unit */
    int resource;
    uint64_t preset; /* systemd's own */
    uint64_t least;  /* with less no worker starts */
    uint64_t needed;
    const char *of, *setting;
};

static void say_limit(struct doctor *doctor, const struct need *need, const struct found *found,
                      const char *when)
{
    char shown[32], todo[LINES_TODO], place[UNIT_PLACE] = "[Service] of kekd.service";
    show(found->limit, shown);
    bool few = found->limit < need->needed;
    enum doctor_verdict verdict = found->limit < need->least ? DOCTOR_FAIL
                                  : few                      ? DOCTOR_WARN
                                                             : DOCTOR_OK;
    if (doctor->outside.unit.path[0] != '\0') {
        unit_place(&doctor->outside.unit, "Service", need->key, place);
    }
    lines_todo(todo, "in %s: %s", place, need->setting);
    lines_add(&doctor->lines, verdict, need->subject, few ? todo : NULL,
              "%s (%s)%s, and kekd needs %" PRIu64 " %s", shown, found->source, when, need->needed,
              need->of);
}

/* The kekd that runs, and what it would have at its next start, where that is less. */
static void judge_limit(struct doctor *doctor, const struct need *need)
{
    struct found now, next;
    bool runs = of_process(doctor, need->name, &now);
    bool starts = of_unit(doctor, need->key, need->preset, &next);
    if (!runs && !starts) {
        of_shell(need->resource, &now);
    }
    if (runs || !starts) {
        say_limit(doctor, need, &now, "");
    }
    if (starts && !runs) {
        say_limit(doctor, need, &next, "");
    } else if (starts && next.limit < now.limit && next.limit < need->needed) {
        say_limit(doctor, need, &next, " at the next start");
    }
}

static void judge_memory(struct doctor *doctor)
{
    struct need need = {"locked memory",
                        "Max locked memory",
                        "LimitMEMLOCK",
                        RLIMIT_MEMLOCK,
                        SYSTEMD_MEMLOCK,
                        0,
                        kek_config_key_memory(doctor->config),
                        "bytes",
                        "LimitMEMLOCK=infinity"};
    judge_limit(doctor, &need);
}

static void judge_files(struct doctor *doctor)
{
    struct need need = {"descriptors", "Max open files",   "LimitNOFILE",
                        RLIMIT_NOFILE, SYSTEMD_FILES,      FILES_LEAST,
                        FILES_OWN,     "file descriptors", "LimitNOFILE=4096"};
    for (size_t i = 0; i < doctor->config->provider_count; i++) {
        need.least += doctor->config->providers[i].processes;
        need.needed += FILES_WORKER * (doctor->config->providers[i].processes + 1);
    }
    judge_limit(doctor, &need);
}

/* ---- the clock ---- */

/* The latest date that this node's kekd put on record: it was not to come then. */
static int64_t recorded_ms(const struct doctor *doctor)
{
    int64_t latest = 0;
    for (size_t i = 0; i < kek_config_root_count(doctor->config); i++) {
        struct kek_keyring_primary primary;
        struct kek_why why;
        KEK_AUTO(kek_keyring) ring = kek_keyring_read(kek_config_view(doctor->config, i), &why);
        if (ring != NULL && kek_keyring_primary(ring, &primary) && primary.announced_ms > latest) {
            latest = primary.announced_ms;
        }
    }
    return latest;
}

static void judge_clock(struct doctor *doctor)
{
    static const char todo[] = "timedatectl set-ntp true";
    int64_t now = kek_clock_wall_ms(), recorded = recorded_ms(doctor);
    char shown[KEK_CLOCK_TEXT], then[KEK_CLOCK_TEXT];
    struct timex state = {.modes = 0};
    kek_clock_text_seconds(now, shown);
    if (now < BEGINNING_MS) {
        lines_add(&doctor->lines, DOCTOR_FAIL, "clock", todo, "it says %s: it was never set",
                  shown);
    } else if (now < recorded) {
        kek_clock_text_seconds(recorded, then);
        lines_add(&doctor->lines, DOCTOR_FAIL, "clock", todo,
                  "it says %s, and this node announced its key at %s", shown, then);
    } else if (adjtimex(&state) == TIME_ERROR) {
        lines_add(&doctor->lines, DOCTOR_WARN, "clock", todo,
                  "it says %s, and nobody keeps it right (the kernel says so)", shown);
    } else {
        lines_add(&doctor->lines, DOCTOR_OK, "clock", NULL, "%s", shown);
    }
}

void doctor_system(struct doctor *doctor)
{
    judge_memory(doctor);
    judge_files(doctor);
    judge_clock(doctor);
}
