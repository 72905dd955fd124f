/* What the tests of the audit log share: a loop, a log on it, and the lines of its file taken apart. */
#ifndef AUDIT_HELP_H
#define AUDIT_HELP_H

#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>

#include "kek/audit.h"
#include "kek/audit_act.h"
#include "ops_folder.h"
#include "src/ops/audit_line.h"

#define LINES_MAX 40000

static uv_loop_t loop;
static json_t *lines[LINES_MAX]; /* of the files read so far */
static size_t line_count;

static const struct kek_rpc_peer peer = {.uid = 0, .gid = 0, .pid = 4321};

static char hsm_a[] = "hsm-a", hsm_b[] = "hsm-b";
static struct kek_config_provider two[] = {{.name = hsm_a}, {.name = hsm_b}};
static const struct kek_config config
    __attribute__((unused)) = {.providers = two, .provider_count = 2};

static inline void setup(void)
{
    folder_make();
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

static inline void teardown(void)
{
    while (line_count > 0) {
        json_decref(lines[--line_count]);
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    folder_remove();
}

/* The log that is in this file, and its record, which all files of the folder share. */
static inline struct kek_audit_place place_of(const char *path)
{
    static char head[sizeof folder + sizeof "/head"];
    snprintf(head, sizeof head, "%s/head", folder);
    return (struct kek_audit_place){.file = path, .head = head};
}

static inline void put_bytes(const char *path, const char *text)
{
    int fd = open(path, O_CREAT | O_WRONLY | O_APPEND, 0600);
    ck_assert_int_eq(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline struct kek_audit *new_ok(const char *path)
{
    struct kek_why why = {.text = ""};
    struct kek_audit_place place = place_of(path);
    struct kek_audit *audit = kek_audit_new(&loop, &place, "node-1", &why);
    ck_assert_msg(audit != NULL, "%s", why.text);
    return audit;
}

static inline void on_stopped(void *arg)
{
    bool *stopped = arg;
    ck_assert(!*stopped);
    *stopped = true;
}

static inline void stop(struct kek_audit *audit)
{
    bool stopped = false;
    kek_audit_stop(audit, on_stopped, &stopped);
    ck_assert(!stopped);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(stopped);
    kek_audit_free(audit);
}

static inline struct kek_kms_event event_of(enum kek_kms_method method, enum kek_rpc_status status,
                                            const char *uid)
{
    return (struct kek_kms_event){
        .method = method,
        .status = status,
        .duration_us = 1234,
        .peer = &peer,
        .uid = uid,
        .key_id = "kek1-00112233445566778899aabbccddeeff",
    };
}

static inline void call(struct kek_audit *audit, const char *uid)
{
    struct kek_kms_event event = event_of(KEK_KMS_V2_DECRYPT, KEK_RPC_OK, uid);
    kek_audit_call(audit, &event);
}

/* The log for what an operator does. */
static inline struct kek_audit_acts *acts_ok(const char *path)
{
    struct kek_why why = {.text = ""};
    struct kek_audit_place place = place_of(path);
    struct kek_audit_acts *log = kek_audit_acts_new(&place, NULL, &why);
    ck_assert_msg(log != NULL, "%s", why.text);
    return log;
}

/* Every line of the file must be a JSON object, but for the first `broken` ones, and the last one complete; returns
 * how many are. */
static inline size_t read_lines_but(const char *path, size_t broken)
{
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    char text[2 * AUDIT_LINE_MAX];
    size_t first = line_count;
    while (fgets(text, sizeof text, file) != NULL) {
        json_error_t error;
        ck_assert_uint_lt(line_count, LINES_MAX);
        ck_assert_msg(strchr(text, '\n') != NULL, "%s: unfinished: %s", path, text);
        lines[line_count] = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        if (lines[line_count] == NULL && broken > 0) {
            broken--;
            continue;
        }
        ck_assert_msg(lines[line_count] != NULL, "%s: %s: %s", path, error.text, text);
        line_count++;
    }
    fclose(file);
    return line_count - first;
}

static inline size_t read_lines(const char *path)
{
    return read_lines_but(path, 0);
}

static inline const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    ck_assert_msg(text != NULL, "no text \"%s\"", key);
    return text;
}

static inline json_int_t number_of(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    ck_assert_msg(json_is_integer(value), "no number \"%s\"", key);
    return json_integer_value(value);
}

/* The line in words: its event, and the values of these fields in their order. */
static inline void in_words(const json_t *line, char said[static 256])
{
    static const char *const keys[] = {"provider", "version", "state",  "kek_id",
                                       "key_id",   "surplus", "health", "error"};
    int at = snprintf(said, 256, "%s", text_of(line, "event"));
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        const json_t *value = json_object_get(line, keys[k]);
        if (json_is_integer(value)) {
            at += snprintf(said + at, 256 - (size_t)at, " %d", (int)json_integer_value(value));
        } else if (json_is_true(value)) {
            at += snprintf(said + at, 256 - (size_t)at, " %s", keys[k]);
        } else if (value != NULL) {
            at += snprintf(said + at, 256 - (size_t)at, " %s", json_string_value(value));
        }
    }
}

/* A disk of `bytes`: writing past them is cut short, then fails. */
static inline void disk_holds(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

#endif
