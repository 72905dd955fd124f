#include "control.h"

#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define NAME_MAX_LEN 24
#define FUNCTIONS_MAX 64
#define RULES_MAX 16
#define ID_MAX 64

/* In the order of their counters. */
static const char *const functions[] = {
    "C_Initialize",
    "C_Finalize",
    "C_GetInfo",
    "C_GetSlotList",
    "C_GetSlotInfo",
    "C_GetTokenInfo",
    "C_GetMechanismList",
    "C_GetMechanismInfo",
    "C_OpenSession",
    "C_CloseSession",
    "C_Login",
    "C_Logout",
    "C_CreateObject",
    "C_DestroyObject",
    "C_GetAttributeValue",
    "C_SetAttributeValue",
    "C_FindObjectsInit",
    "C_FindObjects",
    "C_FindObjectsFinal",
    "C_EncryptInit",
    "C_Encrypt",
    "C_DecryptInit",
    "C_SignInit",
    "C_Sign",
    "C_Decrypt",
    "C_GenerateKey",
    "C_WrapKey",
    "C_UnwrapKey",
    "C_CopyObject",
};
#define FUNCTIONS (sizeof functions / sizeof functions[0])

enum deed {
    RV,
    DELAY,
    HANG,
    ABORT,
    SEGV,
    LEAK,
    DISCONNECT,
    RENUMBER,
    MISLEAD,
    FLAGS,
    WRONGKEY,
    BLIND,
    CACHING,
    REPEAT,
    SICK,
    MUTE,
    NUL,
    READONLY,
    SHORTEN,
    NOFLAGS,
    PAD,
    SESSIONS,
    FLIP,
    FORGE,
    KEEP,
    STALE,
    ORPHAN,
};

static const struct {
    const char *name;
    int base; /* of its operand; 0: it has none */
} deeds[] = {
    [RV] = {"rv", 16},
    [DELAY] = {"delay", 10},
    [HANG] = {"hang", 0},
    [ABORT] = {"abort", 0},
    [SEGV] = {"segv", 0},
    [LEAK] = {"leak", 10},
    [FLAGS] = {"flags", 16},
    [DISCONNECT] = {"disconnect", 16},
    [MISLEAD] = {"mislead", 0},
    [RENUMBER] = {"renumber", 0},
    [WRONGKEY] = {"wrongkey", 10},
    [BLIND] = {"blind", 10},
    [CACHING] = {"caching", 0},
    [REPEAT] = {"repeat", 0},
    [SICK] = {"sick", 16},
    [MUTE] = {"mute", 16},
    [NUL] = {"nul", 0},
    [READONLY] = {"readonly", 16},
    [SHORTEN] = {"shorten", 16},
    [NOFLAGS] = {"noflags", 16},
    [PAD] = {"pad", 0},
    [SESSIONS] = {"sessions", 10},
    [FLIP] = {"flip", 16},
    [FORGE] = {"forge", 0},
    [KEEP] = {"keep", 16},
    [STALE] = {"stale", 0},
    [ORPHAN] = {"orphan", 0},
};

/* The second page, little-endian on every machine that runs this. */
struct counters {
    struct {
        char name[NAME_MAX_LEN];
        uint64_t calls;
    } functions[FUNCTIONS_MAX];
    struct {
        uint64_t seen, done;
    } rules[RULES_MAX];
    uint64_t processes; /* that have called C_Initialize */
};
_Static_assert(sizeof(struct counters) <= PAGE, "the counters are one page");

/* Whom a rule is for. */
struct selector {
    unsigned long first, last; /* of the processes, by number */
    bool odd, even;            /* their numbers are; 0, which is none, is neither */
    unsigned long pid;         /* 0: any */
    unsigned char id[ID_MAX];  /* of the key that the call is by */
    size_t id_len;             /* 0: any, or none */
};

/* What a call says of itself. */
struct call {
    const char *function;
    unsigned long slot;      /* CONTROL_ANY: none */
    const unsigned char *id; /* of the key that it is by */
    size_t id_len;           /* 0: none, or not known */
};

struct rule {
    char function[NAME_MAX_LEN];
    unsigned long slot;        /* the one that it is for, or CONTROL_ANY */
    unsigned long first, last; /* of the calls that it is for, from 1 */
    enum deed deed;
    unsigned long value;
    struct selector who;
};

struct control {
    dev_t device;
    ino_t inode;
    struct rule rules[RULES_MAX];
    size_t count;
    struct counters *counters;
    unsigned long process;  /* this one's number under this file; 0: it ran before */
    struct control *before; /* what was loaded before: another thread may be at it */
};

static _Atomic(struct control *) current;
static pthread_mutex_t loading = PTHREAD_MUTEX_INITIALIZER;
static atomic_ulong disconnected; /* what every call returns */
static atomic_uint renumbered;
static atomic_bool blind, caching; /* once, and for ever */
static _Atomic(uint64_t) initialized_ms;

/* A control file that nobody understands must not look like one that asks for nothing. */
static void reject(const char *line)
{
    fprintf(stderr, "fault.so: not understood: %s\n", line);
    abort();
}

/* "3" or "3+". */
static void parse_range(const char *text, unsigned long *first, unsigned long *last)
{
    char *end = NULL;
    *first = strtoul(text, &end, 10);
    *last = *end == '+' ? ULONG_MAX : *first;
    if (end == text || strcmp(end, *end == '+' ? "+" : "") != 0) {
        reject(text);
    }
}

static void parse_id(const char *hex, struct selector *who)
{
    size_t len = strlen(hex);
    if (len == 0 || len % 2 != 0 || len / 2 > sizeof who->id) {
        reject(hex);
    }
    for (size_t i = 0; i < len / 2; i++) {
        const char digits[3] = {hex[2 * i], hex[2 * i + 1], '\0'};
        char *end = NULL;
        who->id[i] = (unsigned char)strtoul(digits, &end, 16);
        if (*end != '\0') {
            reject(hex);
        }
    }
    who->id_len = len / 2;
}

static void parse_selector(const char *text, struct selector *who)
{
    if (strcmp(text, "proc=odd") == 0) {
        who->odd = true;
    } else if (strcmp(text, "proc=even") == 0) {
        who->even = true;
    } else if (strncmp(text, "proc=", 5) == 0) {
        parse_range(text + 5, &who->first, &who->last);
    } else if (strncmp(text, "pid=", 4) == 0) {
        parse_range(text + 4, &who->pid, &who->pid);
    } else if (strncmp(text, "id=", 3) == 0) {
        parse_id(text + 3, who);
    } else {
        reject(text);
    }
}

static void parse_rule(char *line, struct rule *rule)
{
    char *rest = NULL, *end = NULL;
    char *function = strtok_r(line, " ", &rest);
    const char *when = strtok_r(NULL, " ", &rest);
    const char *deed = strtok_r(NULL, " ", &rest), *value = strtok_r(NULL, " ", &rest);
    char *slot = function == NULL ? NULL : strchr(function, '@');
    rule->slot = CONTROL_ANY;
    if (slot != NULL) {
        *slot++ = '\0';
        rule->slot = strtoul(slot, &end, 10);
    }
    if (function == NULL || strlen(function) >= sizeof rule->function || deed == NULL ||
        (slot != NULL && (*slot == '\0' || *end != '\0'))) {
        reject(line);
        return;
    }
    memcpy(rule->function, function, strlen(function) + 1);
    rule->first = 1;
    rule->last = ULONG_MAX;
    if (strcmp(when, "every") != 0) {
        parse_range(when, &rule->first, &rule->last);
        if (rule->first == 0) {
            reject(when);
        }
    }
    rule->who = (struct selector){.last = ULONG_MAX};
    const char *selector = value;
    if (value != NULL && strchr(value, '=') != NULL) {
        value = NULL;
    } else {
        selector = strtok_r(NULL, " ", &rest);
    }
    for (; selector != NULL; selector = strtok_r(NULL, " ", &rest)) {
        parse_selector(selector, &rule->who);
    }
    size_t i = 0;
    while (i < sizeof deeds / sizeof deeds[0] && strcmp(deeds[i].name, deed) != 0) {
        i++;
    }
    if (i == sizeof deeds / sizeof deeds[0] || (deeds[i].base != 0) != (value != NULL)) {
        reject(deed);
        return;
    }
    rule->deed = (enum deed)i;
    if (value != NULL) {
        rule->value = strtoul(value, &end, deeds[i].base);
        if (*end != '\0') {
            reject(value);
        }
    }
}

static void parse(char *text, struct control *control)
{
    char *rest = NULL;
    for (char *line = strtok_r(text, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (line[0] == '#') {
            continue;
        }
        if (control->count == RULES_MAX) {
            reject(line);
        }
        parse_rule(line, &control->rules[control->count++]);
    }
}

/* What was loaded before stays mapped, and its inode is not given to the next file. */
static struct control *load(const char *path)
{
    char text[PAGE + 1] = "";
    struct stat status;
    struct control *control = calloc(1, sizeof *control);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (control == NULL || fd < 0 || fstat(fd, &status) != 0 || read(fd, text, PAGE) < 0 ||
        (status.st_size < 2L * PAGE && ftruncate(fd, 2L * PAGE) != 0)) {
        reject(path);
        return NULL;
    }
    control->counters = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, PAGE);
    if (control->counters == MAP_FAILED) {
        reject(path);
    }
    close(fd);
    for (size_t i = 0; i < FUNCTIONS; i++) { /* every process writes the same */
        memcpy(control->counters->functions[i].name, functions[i], strlen(functions[i]));
    }
    control->device = status.st_dev;
    control->inode = status.st_ino;
    parse(text, control);
    return control;
}

static struct control *look(void)
{
    const char *path = getenv("KEK_FAULT_CONTROL");
    struct stat status;
    if (path == NULL || stat(path, &status) != 0) {
        return NULL;
    }
    struct control *control = atomic_load(&current);
    if (control != NULL && control->inode == status.st_ino && control->device == status.st_dev) {
        return control;
    }
    pthread_mutex_lock(&loading);
    control = atomic_load(&current);
    if (control == NULL || control->inode != status.st_ino || control->device != status.st_dev) {
        struct control *before = control;
        control = load(path);
        control->before = before;
        atomic_store(&current, control);
    }
    pthread_mutex_unlock(&loading);
    return control;
}

static void count(struct counters *counters, const char *function)
{
    for (size_t i = 0; i < FUNCTIONS; i++) {
        if (strcmp(functions[i], function) == 0) {
            __atomic_fetch_add(&counters->functions[i].calls, 1, __ATOMIC_SEQ_CST);
            return;
        }
    }
    reject(function);
}

static uint64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool selects(const struct selector *who, unsigned long process, const struct call *call)
{
    bool by = who->id_len == 0 ||
              (who->id_len == call->id_len && memcmp(who->id, call->id, call->id_len) == 0);
    return by && process >= who->first && process <= who->last && (!who->odd || process % 2 == 1) &&
           (!who->even || (process != 0 && process % 2 == 0)) &&
           (who->pid == 0 || who->pid == (unsigned long)getpid());
}

static void sleep_ms(unsigned long ms)
{
    struct timespec left = {(time_t)(ms / 1000), (long)(ms % 1000) * 1000000};
    while (nanosleep(&left, &left) != 0) {
    }
}

static void leak(size_t bytes)
{
    volatile char *lost = malloc(bytes);
    for (size_t i = 0; lost != NULL && i < bytes; i += PAGE) {
        lost[i] = 1;
    }
}

/* What happens to the calling process itself. False: the deed is none of these. */
static bool act(const struct rule *rule)
{
    switch (rule->deed) {
    case DELAY:
        sleep_ms(rule->value);
        return true;
    case HANG:
        for (;;) {
            pause();
        }
    case ORPHAN: /* and itself, since a worker that logs in does not go with its parent */
        (void)kill(getppid(), SIGKILL);
        (void)raise(SIGKILL);
        return true;
    case ABORT:
        abort();
    case SEGV:
        (void)signal(SIGSEGV, SIG_DFL);
        (void)raise(SIGSEGV);
        return true;
    case LEAK:
        leak(rule->value);
        return true;
    case DISCONNECT:
        atomic_store(&disconnected, rule->value);
        return true;
    case RENUMBER:
        atomic_fetch_add(&renumbered, 1);
        return true;
    case BLIND:
        if (rule->value == 0 || now_ms() - atomic_load(&initialized_ms) < rule->value) {
            atomic_store(&blind, true);
        }
        return true;
    case CACHING:
        atomic_store(&caching, true);
        return true;
    default:
        return false;
    }
}

/* What this call is to be told of the token: its sessions, its flags, its new keys. */
static void tell_of_token(const struct rule *rule, struct control_verdict *verdict)
{
    switch (rule->deed) {
    case FLAGS:
        verdict->flags |= rule->value;
        break;
    case NOFLAGS:
        verdict->no_flags |= rule->value;
        break;
    case NUL:
        verdict->pads_by_nul = true;
        break;
    case SESSIONS:
        verdict->sessions = rule->value;
        break;
    case PAD:
        verdict->has_pad = true;
        break;
    case READONLY:
        verdict->readonly = rule->value;
        break;
    case FLIP:
        if (verdict->flip_count < CONTROL_FLIPS) {
            verdict->flips[verdict->flip_count++] = rule->value;
        }
        break;
    case SHORTEN:
        verdict->shortens = rule->value;
        break;
    case FORGE:
        verdict->forges = true;
        break;
    case KEEP:
        verdict->keeps = rule->value;
        break;
    case STALE:
        verdict->stale = true;
        break;
    default:
        reject(deeds[rule->deed].name);
    }
}

/* What this call is to make of the keys, or fail with. */
static void apply(const struct rule *rule, struct control_verdict *verdict)
{
    if (act(rule)) {
        return;
    }
    switch (rule->deed) {
    case RV:
        verdict->fails = true;
        verdict->rv = rule->value;
        break;
    case MISLEAD:
        verdict->misleads = true;
        break;
    case REPEAT:
        verdict->repeats = true;
        break;
    case SICK:
        verdict->sick = rule->value;
        break;
    case MUTE:
        verdict->mute = rule->value;
        break;
    case WRONGKEY:
        verdict->wrongkey = true;
        verdict->other = rule->value;
        break;
    default:
        tell_of_token(rule, verdict);
    }
}

static void apply_all(const struct control *control, const struct call *call,
                      struct control_verdict *verdict)
{
    for (size_t i = 0; i < control->count; i++) {
        const struct rule *rule = &control->rules[i];
        if (!selects(&rule->who, control->process, call) ||
            (strcmp(rule->function, "*") != 0 && strcmp(rule->function, call->function) != 0) ||
            (rule->slot != CONTROL_ANY && rule->slot != call->slot)) {
            continue;
        }
        uint64_t *seen = &control->counters->rules[i].seen;
        uint64_t number = __atomic_add_fetch(seen, 1, __ATOMIC_SEQ_CST);
        if (number >= rule->first && number <= rule->last) {
            __atomic_fetch_add(&control->counters->rules[i].done, 1, __ATOMIC_SEQ_CST);
            apply(rule, verdict);
        }
    }
}

static struct control_verdict decide(const struct call *call)
{
    const char *function = call->function;
    struct control_verdict verdict = {.shortens = CONTROL_ANY, .keeps = CONTROL_ANY};
    struct control *control = look();
    if (strcmp(function, "C_Initialize") == 0) {
        atomic_store(&initialized_ms, now_ms());
        atomic_store(&blind, false);
        atomic_store(&caching, false);
        if (control != NULL) {
            control->process =
                __atomic_add_fetch(&control->counters->processes, 1, __ATOMIC_SEQ_CST);
        }
    }
    if (control != NULL) {
        count(control->counters, function);
        apply_all(control, call, &verdict);
    }
    if (strcmp(function, "C_Initialize") == 0 || strcmp(function, "C_Finalize") == 0) {
        atomic_store(&disconnected, 0);
    } else if (atomic_load(&disconnected) != 0) {
        verdict.fails = true;
        verdict.rv = atomic_load(&disconnected);
    }
    verdict.blind = atomic_load(&blind);
    verdict.caching = atomic_load(&caching);
    return verdict;
}

struct control_verdict control_call(const char *function)
{
    return control_call_at(function, CONTROL_ANY);
}

struct control_verdict control_call_at(const char *function, unsigned long slot)
{
    const struct call call = {.function = function, .slot = slot};
    return decide(&call);
}

struct control_verdict control_call_by(const char *function, const unsigned char *id, size_t len)
{
    const struct call call = {.function = function, .slot = CONTROL_ANY, .id = id, .id_len = len};
    return decide(&call);
}

unsigned control_renumbered(void)
{
    return atomic_load(&renumbered);
}
