/* doctor: what the API server is told, in its command line and its EncryptionConfiguration. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "below.h"
#include "doctor.h"
#include "kek/text.h"
#include "kekctl/kube/kube_config.h"

#define SUBJECT "encryption"
/* Nothing else is in that folder, as a Pod gets all of it. */
#define DEFAULT_FILE "/etc/kubernetes/kekd/encryption.yaml"
#define TIMEOUT_MIN_MS 100 /* with less, a call ends before a token can have answered */

/* kekd's entry, and the list it is in. */
struct entry {
    const struct kek_encryption_rule *rule;
    const struct kek_encryption_provider *provider;
    size_t at; /* in the list: 0 writes */
};

static const char *wanted_name(const struct doctor *doctor)
{
    return doctor->ctl.name == NULL ? KUBE_DEFAULT_NAME : doctor->ctl.name;
}

/* Where that line says that `listen` is to change, or its place is to be made, what leads there is not judged before. */
static bool waits_for_socket(const struct doctor *doctor)
{
    return lines_has(&doctor->lines, LINES_SUBJECT, "socket", DOCTOR_FAIL);
}

static bool is_kms(const struct kek_encryption_provider *provider)
{
    return provider->kind == KEK_KUBE_KMS_V1 || provider->kind == KEK_KUBE_KMS_V2;
}

/* One folder and one name in it, by whatever way it is named. */
static bool is_one_socket(const char *one, const char *other)
{
    char folder[PATH_MAX], other_folder[PATH_MAX];
    struct stat about, other_about;
    if (strcmp(one, other) == 0) {
        return true;
    }
    const char *name = strrchr(one, '/'), *other_name = strrchr(other, '/');
    return name != NULL && other_name != NULL && strcmp(name, other_name) == 0 &&
           below_folder(one, folder, sizeof folder) &&
           below_folder(other, other_folder, sizeof other_folder) && stat(folder, &about) == 0 &&
           stat(other_folder, &other_about) == 0 && about.st_dev == other_about.st_dev &&
           about.st_ino == other_about.st_ino;
}

static bool is_here(const struct doctor *doctor, const struct kek_encryption_provider *provider)
{
    static const char scheme[] = "unix://";
    const char *endpoint = provider->endpoint;
    return is_kms(provider) && endpoint != NULL && strncmp(endpoint, scheme, strlen(scheme)) == 0 &&
           is_one_socket(endpoint + strlen(scheme), doctor->config->listen);
}

static bool reads_secrets(const struct doctor *doctor,
                          const struct kek_encryption_provider *provider)
{
    return kek_encryption_config_reads(doctor->outside.encryption, "secrets", provider->kind,
                                       kek_bytes_of(provider->name));
}

/* The first one for Secrets that leads here; else the first that does; else the first of kekd's name. */
static struct entry find(const struct doctor *doctor)
{
    const struct kek_encryption_config *file = doctor->outside.encryption;
    struct entry here = {.rule = NULL}, named = {.rule = NULL};
    for (size_t r = 0; r < file->rule_count; r++) {
        for (size_t p = 0; p < file->rules[r].provider_count; p++) {
            struct entry entry = {&file->rules[r], file->rules[r].providers[p], p};
            bool leads = is_here(doctor, entry.provider);
            if (leads && reads_secrets(doctor, entry.provider)) {
                return entry;
            }
            bool same =
                is_kms(entry.provider) && strcmp(entry.provider->name, wanted_name(doctor)) == 0;
            here = leads && here.rule == NULL ? entry : here;
            named = same && named.rule == NULL ? entry : named;
        }
    }
    return here.rule != NULL ? here : named;
}

/* name: of kekd's entry; NULL: as it is by default. */
static void say_phase(const struct doctor *doctor, const char *phase, const char *name,
                      char todo[static LINES_TODO])
{
    char path[PATH_MAX], shown[300], option[320] = "", command[LINES_TODO];
    lines_quote(doctor->outside.encryption_path, path, sizeof path);
    if (name != NULL) {
        lines_quote(name, shown, sizeof shown);
        snprintf(option, sizeof option, " --name %s", shown);
    }
    doctor_command(doctor, command, "kube config --phase %s --from %s%s", phase, path, option);
    /* It may have keys of other providers in it. */
    lines_todo(todo, "(umask 077; %s >%s.%s) # for every API server, as docs/encryption.md says",
               command, path, phase);
}

static void say_next(const struct doctor *doctor, const char *phase, char todo[static LINES_TODO])
{
    say_phase(doctor, phase, doctor->ctl.name, todo);
}
/* Neither what reads that list nor what reads Secrets now may go. */
static void judge_resources(struct doctor *doctor, const struct entry *entry)
{
    char todo[LINES_TODO], name[300];
    if (reads_secrets(doctor, entry->provider)) {
        return;
    }
    snprintf(name, sizeof name, "%.280s-secrets", wanted_name(doctor));
    say_phase(doctor, "add-reader", name, todo);
    lines_add(
        &doctor->lines, DOCTOR_WARN, SUBJECT, todo,
        "the entry %s is for %s%s, not for secrets: Secrets are stored in clear, or not under "
        "kekd",
        entry->provider->name, entry->rule->resources[0],
        entry->rule->resource_count > 1 ? " and others" : "");
}

/* The command that makes the file which an API server is to be told of first. */
static void say_missing_file(const struct doctor *doctor, const char *path,
                             char todo[static LINES_TODO])
{
    char command[LINES_TODO], folder[PATH_MAX], shown[PATH_MAX], shown_folder[PATH_MAX];
    bool runs = doctor->outside.server_why.rc != KEK_NOT_FOUND;
    (void)below_folder(path, folder, sizeof folder);
    lines_quote(path, shown, sizeof shown);
    lines_quote(folder, shown_folder, sizeof shown_folder);
    doctor_command(doctor, command, "kube config --phase %s", runs ? "add-reader" : "make-writer");
    lines_todo(todo,
               "mkdir -p %s && (umask 077; %s >%s) # %s: docs/encryption.md; where it is there, "
               "--encryption-config FILE",
               shown_folder, command, shown,
               runs ? "of a cluster that has Secrets, the first of three"
                    : "of a new cluster, before its first API server starts");
}

/* An API server is told of it, so a new one in its place would read nothing of what the right one reads. */
static void say_missing_config(const struct doctor *doctor, char todo[static LINES_TODO])
{
    const struct outside *outside = &doctor->outside;
    lines_todo(
        todo,
        "in %s: --encryption-provider-config: the path of the file that is there; or restore "
        "%s: a new one in its place would not read what is stored",
        outside->server.from, outside->encryption_path);
}

/* Nobody named a file, and no API server that was seen does. */
static void say_first(const struct doctor *doctor, char todo[static LINES_TODO])
{
    if (access(DEFAULT_FILE, F_OK) == 0) {
        doctor_command(doctor, todo, "doctor --encryption-config " DEFAULT_FILE);
        return;
    }
    say_missing_file(doctor, DEFAULT_FILE, todo);
}

static void judge_timeout(struct doctor *doctor, const struct kek_encryption_provider *provider)
{
    char todo[LINES_TODO];
    uint64_t slowest = 0, waits = kek_encryption_timeout_ms(provider);
    for (size_t i = 0; i < doctor->config->provider_count; i++) {
        uint64_t one = doctor->config->providers[i].timeout_ms;
        slowest = one > slowest ? one : slowest;
    }
    if (waits > slowest) {
        return;
    }
    bool none = waits < TIMEOUT_MIN_MS;
    lines_todo(todo, "in %s: timeout: %" PRIu64 "ms", doctor->outside.encryption_path, 3 * slowest);
    lines_add(&doctor->lines, none ? DOCTOR_FAIL : DOCTOR_WARN, SUBJECT, todo,
              "the API server waits %" PRIu64 " ms, and one call of an HSM may take %" PRIu64
              " ms (timeout): kekd has no time to %s",
              waits, slowest, none ? "answer at all" : "ask another");
}

static bool has_identity(const struct kek_encryption_rule *rule)
{
    for (size_t i = 0; i < rule->provider_count; i++) {
        if (rule->providers[i]->kind == KEK_KUBE_PLAIN) {
            return true;
        }
    }
    return false;
}

/* Of Secrets all lists count that name them, one after the other: is it the first of the first one? */
static bool writes(const struct doctor *doctor, const struct entry *entry)
{
    return reads_secrets(doctor, entry->provider)
               ? kek_encryption_config_writer(doctor->outside.encryption, "secrets") ==
                     entry->provider
               : entry->at == 0;
}

static bool reads_clear(const struct doctor *doctor, const struct entry *entry)
{
    return has_identity(entry->rule) ||
           (reads_secrets(doctor, entry->provider) &&
            kek_encryption_config_reads(doctor->outside.encryption, "secrets", KEK_KUBE_PLAIN,
                                        kek_bytes(NULL, 0)));
}

static void judge_order(struct doctor *doctor, const struct entry *entry)
{
    char todo[LINES_TODO];
    if (!writes(doctor, entry)) {
        say_next(doctor, "make-writer", todo);
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "%s is read by kekd and written by another provider, the first of the list",
                  entry->rule->resources[0]);
    } else if (reads_clear(doctor, entry)) {
        say_next(doctor, "remove-old", todo);
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "identity is still in the list: what was stored in clear is read in clear; "
                  "once all is rewritten (kekctl inventory), take it out");
    }
}

/* In place of v1 nothing would read what is stored under it: v2 is an entry of its own. */
static void say_beside_v1(const struct doctor *doctor, char todo[static LINES_TODO])
{
    const struct kek_encryption_config *file = doctor->outside.encryption;
    char name[300];
    for (size_t r = 0; r < file->rule_count; r++) {
        for (size_t p = 0; p < file->rules[r].provider_count; p++) {
            const struct kek_encryption_provider *provider = file->rules[r].providers[p];
            if (provider->kind == KEK_KUBE_KMS_V2 && is_here(doctor, provider)) {
                say_phase(doctor, "make-writer", provider->name, todo);
                return;
            }
        }
    }
    snprintf(name, sizeof name, "%.280s-v2", wanted_name(doctor));
    say_phase(doctor, "add-reader", name, todo);
}

static void judge_endpoint(struct doctor *doctor, const struct entry *entry)
{
    char todo[LINES_TODO];
    if (is_here(doctor, entry->provider)) {
        return;
    }
    if (waits_for_socket(doctor)) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, SUBJECT, "the line of socket first",
                  "not judged: the entry %s has endpoint %s, and kekd listens at %s",
                  entry->provider->name, entry->provider->endpoint, doctor->config->listen);
        return;
    }
    lines_todo(todo, "in %s: endpoint: unix://%s", doctor->outside.encryption_path,
               doctor->config->listen);
    lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo,
              "the entry %s has endpoint %s, and kekd listens at %s", entry->provider->name,
              entry->provider->endpoint, doctor->config->listen);
}

static void judge_entry(struct doctor *doctor, const struct entry *entry)
{
    char todo[LINES_TODO], shown[320];
    const char *path = doctor->outside.encryption_path;
    size_t before = doctor->lines.counts[DOCTOR_WARN] + doctor->lines.counts[DOCTOR_FAIL];
    judge_endpoint(doctor, entry);
    if (strcmp(entry->provider->name, wanted_name(doctor)) != 0) {
        lines_quote(entry->provider->name, shown, sizeof shown);
        doctor_command(doctor, todo, "doctor --name %s # if that is kekd's entry", shown);
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "kekd's entry is called %s, not %s: what etcd has under another name is read by "
                  "no other entry",
                  entry->provider->name, wanted_name(doctor));
    }
    if (entry->provider->kind == KEK_KUBE_KMS_V1) {
        say_beside_v1(doctor, todo);
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "the entry %s is of KMS v1, which Kubernetes 1.29 and later do not serve unless "
                  "told to",
                  entry->provider->name);
    }
    judge_resources(doctor, entry);
    judge_timeout(doctor, entry->provider);
    if (entry->provider->kind != KEK_KUBE_KMS_V1) {
        judge_order(doctor, entry); /* the line of v1 says what comes next */
    }
    if (doctor->lines.counts[DOCTOR_WARN] + doctor->lines.counts[DOCTOR_FAIL] == before &&
        is_here(doctor, entry->provider)) {
        lines_add(&doctor->lines, DOCTOR_OK, SUBJECT, NULL, "%s: %s writes and reads %s", path,
                  entry->provider->name, entry->rule->resources[0]);
    }
}

/* Does it have keys of its own in it, beside kekd's entry? */
static bool has_keys(const struct kek_encryption_config *file)
{
    for (size_t r = 0; r < file->rule_count; r++) {
        for (size_t p = 0; p < file->rules[r].provider_count; p++) {
            const struct kek_encryption_provider *provider = file->rules[r].providers[p];
            if (provider->kind != KEK_KUBE_PLAIN && !is_kms(provider)) {
                return true;
            }
        }
    }
    return false;
}

static void judge_mode(struct doctor *doctor)
{
    const struct outside *outside = &doctor->outside;
    char todo[LINES_TODO], path[PATH_MAX];
    if ((outside->encryption_mode & 077) == 0 || !has_keys(outside->encryption)) {
        return;
    }
    lines_quote(outside->encryption_path, path, sizeof path);
    lines_todo(todo, "chmod go-rwx %s", path);
    lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
              "%s has keys in it, and mode %04o, so others may use it", outside->encryption_path,
              (unsigned)outside->encryption_mode);
}

/* These files are root's: nobody else's doctor judges by not reading them. */
static bool is_roots(const struct doctor *doctor, const struct kek_why *why)
{
    return why->rc == KEK_DENIED && geteuid() != 0 && !doctor->became;
}

static void judge_file(struct doctor *doctor)
{
    const struct outside *outside = &doctor->outside;
    char todo[LINES_TODO];
    if (outside->encryption_path[0] == '\0') {
        say_first(doctor, todo);
        lines_add(&doctor->lines, DOCTOR_UNSEEN, SUBJECT, todo,
                  "not looked at: --encryption-config names the API server's file");
        return;
    }
    if (outside->encryption == NULL && is_roots(doctor, &outside->encryption_why)) {
        doctor_say_unseen(doctor, SUBJECT, "%s", outside->encryption_why.text);
        return;
    }
    if (outside->encryption == NULL) {
        lines_todo(todo, "correct %s, before an API server reads it", outside->encryption_path);
        if (outside->encryption_why.rc == KEK_NOT_FOUND && outside->server.config[0] != '\0') {
            say_missing_config(doctor, todo);
        } else if (outside->encryption_why.rc == KEK_NOT_FOUND) {
            say_missing_file(doctor, outside->encryption_path, todo);
        }
        lines_add(&doctor->lines, DOCTOR_FAIL, SUBJECT, todo, "%s", outside->encryption_why.text);
        return;
    }
    judge_mode(doctor);
    struct entry entry = find(doctor);
    if (entry.rule == NULL) {
        say_next(doctor, "add-reader", todo);
        lines_add(&doctor->lines, DOCTOR_WARN, SUBJECT, todo,
                  "%s has no entry for kekd: nothing is sealed by it", outside->encryption_path);
        return;
    }
    judge_entry(doctor, &entry);
}

/* ---- the API server ---- */

/* It works without kekd, too: that is why it is no FAIL. */
static void judge_flag(struct doctor *doctor)
{
    const struct api_server *server = &doctor->outside.server;
    const char *given = doctor->ctl.encryption_config;
    char todo[LINES_TODO];
    lines_todo(todo, "in %s: --encryption-provider-config=%s", server->from,
               given == NULL ? DEFAULT_FILE : given);
    if (server->config[0] == '\0') {
        lines_add(&doctor->lines, DOCTOR_WARN, "API server", todo,
                  "it is told of no EncryptionConfiguration: all is stored in clear");
    } else if (server->config[0] != '/') {
        lines_add(&doctor->lines, DOCTOR_WARN, "API server", todo,
                  "its EncryptionConfiguration is %s, which leads from wherever it is started: "
                  "not looked at",
                  server->config);
    } else if (given != NULL && strcmp(given, server->config) != 0) {
        lines_add(&doctor->lines, DOCTOR_WARN, "API server", todo,
                  "it has another EncryptionConfiguration than the one judged here: %s",
                  server->config);
    }
}

/* Of the right name, and another folder of the node? */
static void judge_mount(struct doctor *doctor)
{
    const struct api_server *server = &doctor->outside.server;
    const char *listen = doctor->config->listen;
    char folder[PATH_MAX], todo[LINES_TODO];
    if (!server->is_pod || !server->sees_socket || is_one_socket(server->socket_on_host, listen) ||
        !below_folder(listen, folder, sizeof folder)) {
        return;
    }
    lines_todo(todo, "in %s: a hostPath %s, mounted at %s", server->from, folder, folder);
    lines_add(&doctor->lines, DOCTOR_FAIL, "API server", todo,
              "its Pod has %s of the node at %s: kekd's socket is not in it",
              server->socket_on_host, listen);
}

static void judge_server(struct doctor *doctor)
{
    const struct outside *outside = &doctor->outside;
    const struct api_server *server = &outside->server;
    struct lines *lines = &doctor->lines;
    char todo[LINES_TODO], folder[PATH_MAX];
    if (outside->server_why.rc == KEK_NOT_FOUND && doctor->ctl.api_server == NULL) {
        lines_add(lines, DOCTOR_UNSEEN, "API server", "--api-server FILE",
                  "not looked at: %s (--api-server FILE)", outside->server_why.text);
        return;
    }
    if (is_roots(doctor, &outside->server_why)) {
        doctor_say_unseen(doctor, "API server", "%s", outside->server_why.text);
        return;
    }
    if (outside->server_why.rc != KEK_OK) {
        lines_add(lines, DOCTOR_FAIL, "API server",
                  "--api-server FILE: its manifest or command line", "%s",
                  outside->server_why.text);
        return;
    }
    size_t before = lines->counts[DOCTOR_FAIL] + lines->counts[DOCTOR_WARN];
    judge_flag(doctor);
    bool waits = waits_for_socket(doctor); /* what is mounted is to be the right place's */
    if (server->is_pod && !server->sees_socket && !waits) {
        (void)below_folder(doctor->config->listen, folder, sizeof folder);
        lines_todo(todo, "in %s: a hostPath %s, mounted at %s", server->from, folder, folder);
        lines_add(lines, DOCTOR_FAIL, "API server", todo, "its Pod does not see %s",
                  doctor->config->listen);
    }
    if (!waits) {
        judge_mount(doctor);
    }
    if (server->is_pod && server->config[0] == '/' && !server->sees_config) {
        lines_todo(todo, "in %s: a hostPath %s, mounted at the same path", server->from,
                   server->config);
        lines_add(lines, DOCTOR_FAIL, "API server", todo, "its Pod does not see %s",
                  server->config);
    }
    if (waits && server->is_pod) {
        lines_add(lines, DOCTOR_UNSEEN, "API server", "the line of socket first",
                  "not judged: whether its Pod sees kekd's socket");
    } else if (lines->counts[DOCTOR_FAIL] + lines->counts[DOCTOR_WARN] == before) {
        lines_add(lines, DOCTOR_OK, "API server", NULL, "%s: %s%s", server->from, server->config,
                  server->reloads ? ", which it reads again by itself" : "");
    }
}

void doctor_kube(struct doctor *doctor)
{
    judge_server(doctor);
    judge_file(doctor);
}
