#include "pins.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/login.h"
#include "as_worker.h"
#include "credentials.h"
#include "secrets.h"

#define FILE_URI "file:"
#define SUBJECT 64

static bool attribute_of(const struct kek_config_provider *provider, const char *attribute,
                         char *value, size_t size)
{
    const char *uri = kek_config_setting(provider, "uri");
    return uri != NULL && kek_config_pkcs11_attribute(uri, attribute, value, size);
}

static bool source_of(const struct kek_config_provider *provider, char *source, size_t size)
{
    return attribute_of(provider, "pin-source", source, size);
}

/* Of a "file:" source. */
static const char *path_of(const char *source)
{
    const char *path = source + strlen(FILE_URI);
    return strncmp(path, "///", 3) == 0 ? path + 2 : path;
}

static bool is_credential(const char *text)
{
    return strncmp(text, CREDENTIAL, strlen(CREDENTIAL)) == 0;
}

const char *pins_file(const struct kek_config_provider *provider, char source[static PATH_MAX])
{
    return source_of(provider, source, PATH_MAX) && !is_credential(source) ? path_of(source) : NULL;
}

bool pins_are_away(const struct kek_config_provider *provider)
{
    char source[PATH_MAX];
    bool away = source_of(provider, source, sizeof source) && is_credential(source);
    for (size_t i = 0; i < provider->setting_count; i++) {
        away = away || is_credential(provider->settings[i].value);
    }
    return away && getenv("CREDENTIALS_DIRECTORY") == NULL;
}

static struct secret_file file_of(const char *path)
{
    return (struct secret_file){.what = "PIN file ",
                                .path = path,
                                .forbidden = 077,
                                .public = DOCTOR_FAIL,
                                .is_line = true,
                                .variable = "PIN"};
}

void pins_todo(const struct doctor *doctor, const struct kek_config_provider *provider,
               char todo[static LINES_TODO])
{
    char source[PATH_MAX], retry[LINES_TODO], command[LINES_TODO];
    doctor_user_command(doctor, retry, "pin retry --provider %s", provider->name);
    if (!source_of(provider, source, sizeof source)) {
        lines_todo(todo, "%s # the right PIN comes from the PIN pad", retry);
    } else if (is_credential(source)) {
        lines_todo(todo, "put the right PIN into the unit's credential %s; where it is right: %s",
                   source + strlen(CREDENTIAL), retry);
    } else {
        const struct secret_file file = file_of(path_of(source));
        secrets_write(doctor, &file, command);
        lines_todo(todo, "%s; where it is right there: %s", command, retry);
    }
}

static void say_tries(struct doctor *doctor, const struct kek_config_provider *provider,
                      const struct kek_login_entry *worst, const char *subject)
{
    char todo[LINES_TODO], when[KEK_CLOCK_TEXT];
    pins_todo(doctor, provider, todo);
    kek_clock_text_seconds(worst->time_ms, when);
    if (worst->refused) {
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo,
                  "the token refused it at %s (0x%lx): nobody tries it again", when, worst->code);
    } else {
        lines_add(&doctor->lines, worst->tries >= KEK_LOGIN_TRIES ? DOCTOR_FAIL : DOCTOR_WARN,
                  subject, todo, "%u of %d tries had no clear answer, the last at %s (0x%lx)",
                  worst->tries, KEK_LOGIN_TRIES, when, worst->code);
    }
}

/* NULL: whatever its file was. */
static void judge_record(struct doctor *doctor, const struct kek_config_provider *provider,
                         const struct kek_login_pin *pin, const char *subject, const char *where)
{
    struct kek_login_entry worst;
    struct kek_why why;
    char todo[LINES_TODO];
    enum kek_rc rc =
        kek_login_on_record(doctor->config->state_dir, provider->name, pin, &worst, &why);
    if (rc == KEK_DENIED) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, subject, "the line of state_dir first",
                  "not looked at: %s", why.text);
    } else if (rc != KEK_OK) {
        doctor_user_command(doctor, todo, "pin retry");
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "%s", why.text);
    } else if (worst.tries > 0 || worst.refused) {
        say_tries(doctor, provider, &worst, subject);
    } else {
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL, "%s; no failed try of it is on record",
                  where);
    }
}

/* As the user who reads it. */
static void judge_reading(struct doctor *doctor, const struct kek_config_provider *provider)
{
    char source[PATH_MAX], subject[SUBJECT];
    snprintf(subject, sizeof subject, "PIN of %s", provider->name);
    if (source_of(provider, source, sizeof source)) {
        const struct secret_file file = file_of(path_of(source));
        (void)secrets_judge(doctor, subject, &file, NULL);
    }
}

static void judge_file(struct doctor *doctor, const struct kek_config_provider *provider,
                       const char *path, const char *subject)
{
    size_t before = json_array_size(doctor->lines.list);
    struct stat about;
    if (provider->user == NULL) {
        judge_reading(doctor, provider);
    } else if (!as_worker(doctor, provider, judge_reading)) {
        return; /* a line says that its files are not looked at */
    }
    if (json_array_size(doctor->lines.list) > before || stat(path, &about) != 0) {
        return;
    }
    const struct kek_login_pin pin = {.inode = about.st_ino,
                                      .mtime_ns = (int64_t)about.st_mtim.tv_sec * 1000000000 +
                                                  about.st_mtim.tv_nsec,
                                      .size = (uint64_t)about.st_size};
    judge_record(doctor, provider, &pin, subject, path);
}

/* kekctl's alone, and better not kekd's to read. */
static void judge_officers(struct doctor *doctor, const struct kek_config_provider *provider,
                           const char *subject)
{
    char source[PATH_MAX];
    if (attribute_of(provider, "admin-pin-source", source, sizeof source) &&
        !is_credential(source)) {
        const struct secret_file file = {
            .what = "admin-pin-source: ", .path = path_of(source), .forbidden = 077};
        (void)!secrets_judge_mode(doctor, subject, &file);
    }
}

void pins_judge(struct doctor *doctor, const struct kek_config_provider *provider)
{
    char source[PATH_MAX], subject[SUBJECT];
    snprintf(subject, sizeof subject, "PIN of %s", provider->name);
    judge_officers(doctor, provider, subject);
    if (!source_of(provider, source, sizeof source)) {
        judge_record(doctor, provider, NULL, subject, "its PIN pad");
    } else if (is_credential(source)) {
        if (credentials_judge(doctor, subject, source + strlen(CREDENTIAL), "PIN")) {
            judge_record(doctor, provider, NULL, subject, "the unit's credential");
        }
    } else {
        judge_file(doctor, provider, path_of(source), subject);
    }
}
