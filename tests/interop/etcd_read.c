/* Reads an etcd by kek/etcd.h and prints what it got, for test_etcd.py and the benchmark:
 *     etcd_read [OPTION VALUE]... PREFIX ENDPOINT...
 * Lines: "member ENDPOINT ok|WHY", "pair KEY MOD_REVISION LENGTH CRC", "end RC TAKEN TOTAL REVISION
 * COMPACTED_AT PEAK_KIB WHY". */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kek/etcd.h"
#include "kek/secret.h"

static struct kek_etcd_settings settings = {.name = "test"};
static struct kek_etcd_read job;
static struct kek_etcd_snapshot_settings snapshot_settings;
static unsigned long pause_us; /* after each pair */
static bool quiet;

static uint32_t crc(struct kek_bytes bytes)
{
    uint32_t sum = ~0u;
    for (size_t i = 0; i < bytes.len; i++) {
        sum ^= bytes.data[i];
        for (int bit = 0; bit < 8; bit++) {
            sum = sum >> 1 ^ (0xedb88320u & (0u - (sum & 1)));
        }
    }
    return ~sum;
}

static enum kek_rc on_pair(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    (void)arg;
    (void)why;
    if (!quiet) {
        printf("pair %.*s %" PRId64 " %zu %08x\n", (int)pair->key.len, (const char *)pair->key.data,
               pair->mod_revision, pair->value.len, crc(pair->value));
    }
    if (pause_us > 0) {
        struct timespec pause = {.tv_sec = (time_t)(pause_us / 1000000),
                                 .tv_nsec = (long)(pause_us % 1000000) * 1000};
        fflush(stdout);
        (void)nanosleep(&pause, NULL);
    }
    return KEK_OK;
}

static bool option(const char *name, const char *value)
{
    const struct {
        const char *name;
        const char **to;
    } texts[] = {{"--ca", &settings.ca},
                 {"--cert", &settings.cert},
                 {"--key", &settings.key},
                 {"--user", &settings.user},
                 {"--password-file", &settings.password_file},
                 {"--socket", &settings.socket},
                 {"--snapshot", &snapshot_settings.file},
                 {"--tmp", &snapshot_settings.tmp}};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (strcmp(name, texts[i].name) == 0) {
            *texts[i].to = value;
            return true;
        }
    }
    unsigned long number = strtoul(value, NULL, 10);
    if (strcmp(name, "--timeout") == 0) {
        settings.timeout_ms = snapshot_settings.timeout_ms = number;
    } else if (strcmp(name, "--revision") == 0) {
        job.revision = (int64_t)number;
    } else if (strcmp(name, "--keys-only") == 0) {
        job.keys_only = number != 0;
    } else if (strcmp(name, "--count") == 0) {
        job.take = number != 0 ? NULL : on_pair;
    } else if (strcmp(name, "--quiet") == 0) {
        quiet = number != 0;
    } else if (strcmp(name, "--pause-us") == 0) {
        pause_us = number;
    } else {
        return false;
    }
    return true;
}

/* Of this program: ru_maxrss would begin with that of whoever started it. */
static long peak_kib(void)
{
    static const char name[] = "VmHWM:";
    char line[256];
    long kib = 0;
    FILE *status = fopen("/proc/self/status", "re");
    while (status != NULL && fgets(line, sizeof line, status) != NULL) {
        if (strncmp(line, name, sizeof name - 1) == 0) {
            kib = strtol(line + sizeof name - 1, NULL, 10);
        }
    }
    if (status != NULL) {
        (void)fclose(status);
    }
    return kib;
}

static void end(enum kek_rc rc, const struct kek_why *why)
{
    printf("end %s %" PRId64 " %" PRId64 " %" PRId64 " %" PRId64 " %ld %s\n", kek_rc_name(rc),
           job.taken, job.total, job.revision, job.compacted_at, peak_kib(),
           rc == KEK_OK ? "" : why->text);
}

static void members(const struct kek_etcd *etcd)
{
    size_t count;
    const struct kek_etcd_member *list = kek_etcd_members(etcd, &count);
    for (size_t i = 0; i < count; i++) {
        printf("member %s %s\n", list[i].endpoint, list[i].reachable ? "ok" : list[i].why.text);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    struct kek_why why = {.text = ""};
    KEK_AUTO(kek_etcd) etcd = NULL;
    KEK_AUTO(kek_etcd_snapshot) snapshot = NULL;
    bool locked;
    int at = 1;
    job.take = on_pair;
    while (at + 1 < argc && argv[at][0] == '-' && option(argv[at], argv[at + 1])) {
        at += 2;
    }
    if (at >= argc || kek_secret_setup(1 << 16, &locked, &why) != KEK_OK) {
        return 2;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    job.prefix = kek_bytes_of(argv[at]);
    settings.endpoints = (const char *const *)argv + at + 1;
    enum kek_rc rc = snapshot_settings.file != NULL
                         ? kek_etcd_snapshot_open(&snapshot_settings, &snapshot, &why)
                         : kek_etcd_open(&settings, &etcd, &why);
    if (rc == KEK_OK) {
        struct kek_etcd *of = snapshot != NULL ? kek_etcd_snapshot_etcd(snapshot) : etcd;
        members(of);
        rc = kek_etcd_read(of, &job, &why);
    }
    end(rc, &why);
    return rc == KEK_OK ? 0 : 1;
}
