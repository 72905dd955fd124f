#include "reencrypt_etcd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/etcd.h"
#include "kek/keyring.h"
#include "kek/kube.h"
#include "kek/text.h"

#define KEY_TEXT 4096 /* bytes of a key, with its NUL: the prefix, and names of known sizes */
#define TRIES 3       /* where a revision is compacted before it is read to the end */

struct reencrypt_etcd {
    struct reencrypt *reencrypt;
    const char *key_id; /* borrowed */
    /* Of each: three bytes, which etcd, resource and what is known; then its key, and three texts with their NUL. */
    FILE *names;
    uint64_t kept, given;
    struct reencrypt_reading reading;
    size_t entry_at;
    const struct kek_config_etcd *entry; /* being read */
    const struct kek_etcd_read *read;
};

/* KNOWN_BY_V1: under the primary, by KMS v1, which the API server may have left for v2. */
enum known { KNOWN_OLD = 0, KNOWN_V1, KNOWN_DAMAGED, KNOWN_BY_V1 };

bool reencrypt_etcd_is_there(const struct kek_config *config)
{
    for (size_t i = 0; i < config->etcd_count; i++) {
        if (strcmp(config->etcd[i].context, config->context) == 0) {
            return true;
        }
    }
    return false;
}

const struct reencrypt_reading *reencrypt_etcd_reading(const struct reencrypt_etcd *etcd)
{
    return &etcd->reading;
}

void reencrypt_etcd_free(struct reencrypt_etcd *etcd)
{
    if (etcd != NULL) {
        if (etcd->names != NULL) {
            (void)fclose(etcd->names);
        }
        free(etcd);
    }
}

/* ---- one object ---- */

static bool is_text(struct kek_bytes bytes, const char *text)
{
    return bytes.len == strlen(text) && memcmp(bytes.data, text, bytes.len) == 0;
}

/* Its place among the resources; their count: it is none of them. */
static size_t resource_of(const struct reencrypt_etcd *etcd, const struct kek_kube_name *name)
{
    const struct reencrypt *reencrypt = etcd->reencrypt;
    size_t i = 0;
    for (; i < reencrypt->resource_count; i++) {
        const struct kek_kubeapi_resource *api = &reencrypt->resources[i].api;
        if (is_text(name->resource, api->name) &&
            (name->group_unknown || is_text(name->group, api->group))) {
            break;
        }
    }
    return i;
}

/* By the kek ids inside, of all roots of trust: not by what is written beside it. */
static bool is_under(const struct kek_envelope *envelope, const struct reencrypt_etcd *etcd)
{
    struct kek_id kek_ids[KEK_ENVELOPE_ENTRIES_MAX];
    char key_id[KEK_KEY_ID_TEXT];
    for (size_t i = 0; i < envelope->count; i++) {
        kek_ids[i] = envelope->entries[i].kek_id;
    }
    return kek_key_id(kek_bytes_of(etcd->entry->context), envelope->mode, kek_ids, envelope->count,
                      key_id, NULL) == KEK_OK &&
           strcmp(key_id, etcd->key_id) == 0;
}

/* Is it as it is to be? */
static bool is_as_wanted(const struct reencrypt_etcd *etcd, const struct kek_kube_stored *stored)
{
    if (etcd->reencrypt->decrypts) {
        return stored->kind == KEK_KUBE_PLAIN;
    }
    bool kms = stored->kind == KEK_KUBE_KMS_V1 || stored->kind == KEK_KUBE_KMS_V2;
    return kms && stored->is_kekd && is_under(&stored->envelope, etcd);
}

static bool keep_text(FILE *file, struct kek_bytes text)
{
    return (text.len == 0 || fwrite(text.data, text.len, 1, file) == 1) && fputc('\0', file) == 0;
}

static enum kek_rc keep(struct reencrypt_etcd *etcd, size_t resource, enum known known,
                        const struct kek_kube_name *name, const struct kek_etcd_pair *pair,
                        struct kek_why *why)
{
    char version[32];
    snprintf(version, sizeof version, "%" PRId64, pair->mod_revision);
    bool good = fputc((int)etcd->entry_at, etcd->names) != EOF &&
                fputc((int)resource, etcd->names) != EOF && fputc((int)known, etcd->names) != EOF &&
                keep_text(etcd->names, pair->key) && keep_text(etcd->names, name->ns) &&
                keep_text(etcd->names, name->name) && keep_text(etcd->names, kek_bytes_of(version));
    etcd->kept += good;
    return good ? KEK_OK
                : kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                  "keeping a name in state_dir");
}

/* No object of Kubernetes has another. */
static bool is_name(struct kek_bytes text, size_t size)
{
    return text.len < size && (text.len == 0 || memchr(text.data, '\0', text.len) == NULL);
}

static enum kek_rc take(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    struct reencrypt_etcd *etcd = arg;
    struct kek_kube_name name;
    struct kek_kube_stored stored;
    if (!kek_kube_name(pair->key, kek_bytes_of(etcd->entry->prefix), &name)) {
        return KEK_OK;
    }
    size_t place = resource_of(etcd, &name);
    if (place == etcd->reencrypt->resource_count) {
        return KEK_OK;
    }
    struct reencrypt_resource *resource = &etcd->reencrypt->resources[place];
    if (resource->since[0] == '\0') {
        snprintf(resource->since, sizeof resource->since, "%" PRId64, etcd->read->revision);
    }
    etcd->reading.objects++;
    enum kek_rc rc = kek_kube_parse(pair->value, &stored, NULL);
    const struct kek_kubeapi_object *none = NULL;
    bool named = is_name(name.ns, sizeof none->space) && is_name(name.name, sizeof none->name) &&
                 is_name(pair->key, KEY_TEXT);
    if (rc == KEK_OK && is_as_wanted(etcd, &stored)) {
        return named && stored.kind == KEK_KUBE_KMS_V1
                   ? keep(etcd, place, KNOWN_BY_V1, &name, pair, why)
                   : KEK_OK;
    }
    enum known known = rc != KEK_OK || !named           ? KNOWN_DAMAGED
                       : stored.kind == KEK_KUBE_KMS_V1 ? KNOWN_V1
                                                        : KNOWN_OLD;
    etcd->reading.old++;
    etcd->reading.damaged += known == KNOWN_DAMAGED;
    etcd->reading.v1 += known == KNOWN_V1;
    return named ? keep(etcd, place, known, &name, pair, why) : KEK_OK;
}

/* ---- all of them ---- */

static enum kek_rc read_once(struct reencrypt_etcd *etcd, struct kek_etcd *from,
                             struct kek_why *why)
{
    char prefix[512];
    bool is_root = strcmp(etcd->entry->prefix, "/") == 0;
    snprintf(prefix, sizeof prefix, "%s%s", etcd->entry->prefix, is_root ? "" : "/");
    struct kek_etcd_read read = {.prefix = kek_bytes_of(prefix), .take = take, .arg = etcd};
    etcd->read = &read;
    return kek_etcd_read(from, &read, why);
}

static enum kek_rc open_etcd(const struct kek_config_etcd *entry, struct kek_etcd **from,
                             struct kek_why *why)
{
    const struct kek_etcd_settings settings = {
        .name = entry->name,
        .endpoints = (const char *const *)entry->endpoints,
        .ca = entry->ca,
        .cert = entry->cert,
        .key = entry->key,
        .user = entry->user,
        .password_file = entry->password_file,
    };
    return kek_etcd_open(&settings, from, why);
}

static enum kek_rc read_etcd(struct reencrypt_etcd *etcd, struct kek_why *why)
{
    struct kek_etcd *from = NULL;
    enum kek_rc rc = open_etcd(etcd->entry, &from, why);
    const struct reencrypt_reading before = etcd->reading;
    const uint64_t kept = etcd->kept;
    const long at = ftell(etcd->names);
    for (unsigned tries = 0; rc == KEK_OK && tries < TRIES; tries++) {
        rc = read_once(etcd, from, why);
        bool again =
            rc == KEK_PRECONDITION && tries + 1 < TRIES; /* compacted: at a newer revision */
        if (!again || fseek(etcd->names, at, SEEK_SET) != 0) {
            break;
        }
        etcd->reading = before;
        etcd->kept = kept;
        rc = KEK_OK;
    }
    kek_etcd_free(from);
    return rc;
}

static FILE *open_names(const char *folder)
{
    int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, S_IRUSR | S_IWUSR);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "w+");
    if (file == NULL && fd >= 0) {
        close(fd);
    }
    return file;
}

struct reencrypt_etcd *reencrypt_etcd_new(struct reencrypt *reencrypt, const char *key_id,
                                          struct kek_why *why)
{
    const struct kek_config *config = reencrypt->config;
    KEK_AUTO(reencrypt_etcd) etcd = calloc(1, sizeof *etcd);
    if (etcd == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read etcd");
        return NULL;
    }
    etcd->reencrypt = reencrypt;
    etcd->key_id = key_id;
    etcd->names = open_names(config->state_dir);
    if (etcd->names == NULL) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "a file for names in %s", config->state_dir);
        return NULL;
    }
    for (size_t i = 0; i < config->etcd_count; i++) {
        etcd->entry = &config->etcd[i];
        etcd->entry_at = i;
        if (strcmp(etcd->entry->context, config->context) == 0 && read_etcd(etcd, why) != KEK_OK) {
            return NULL;
        }
    }
    if (fflush(etcd->names) != 0 || fseek(etcd->names, 0, SEEK_SET) != 0) {
        kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "keeping names in %s", config->state_dir);
        return NULL;
    }
    return KEK_STEAL(etcd);
}

/* ---- the source ---- */

static bool read_text(FILE *file, char *out, size_t size)
{
    size_t len = 0;
    for (int byte = fgetc(file); byte != EOF && len < size; byte = fgetc(file)) {
        out[len++] = (char)byte;
        if (byte == '\0') {
            return true;
        }
    }
    return false;
}

static bool read_name(struct reencrypt_etcd *etcd, struct reencrypt_target *target,
                      enum known *known)
{
    struct kek_kubeapi_object *object = &target->object;
    char key[KEY_TEXT];
    const long at = ftell(etcd->names);
    int entry = fgetc(etcd->names), resource = fgetc(etcd->names), what = fgetc(etcd->names);
    *known = (enum known)what;
    *target = (struct reencrypt_target){
        .resource = (size_t)resource, .ticket = (uint64_t)at, .is_old = *known != KNOWN_BY_V1};
    return at >= 0 && entry != EOF && resource != EOF && what != EOF &&
           read_text(etcd->names, key, sizeof key) &&
           read_text(etcd->names, object->space, sizeof object->space) &&
           read_text(etcd->names, object->name, sizeof object->name) &&
           read_text(etcd->names, object->resource_version, sizeof object->resource_version);
}

static enum reencrypt_next next(void *arg, struct reencrypt_target *target, struct kek_why *why)
{
    struct reencrypt_etcd *etcd = arg;
    enum known known;
    while (etcd->given < etcd->kept) {
        if (!read_name(etcd, target, &known)) {
            kek_fail(why, KEK_UNAVAILABLE, "the names that were kept cannot be read back");
            return REENCRYPT_FAILED;
        }
        etcd->given++;
        if (known != KNOWN_DAMAGED) {
            return REENCRYPT_NAME;
        }
        reencrypt_refused(etcd->reencrypt, &etcd->reencrypt->resources[target->resource],
                          &target->object, "etcd",
                          "it is damaged there, and no API server opens it: kekctl inventory "
                          "--verify says more");
    }
    return REENCRYPT_END;
}

static void handled(void *arg, const struct reencrypt_target *target, bool is_done)
{
    (void)arg;
    (void)target;
    (void)is_done;
}

/* ---- the first one that was written ---- */

/* What lies under one key. */
struct one {
    const struct reencrypt_etcd *etcd;
    const char *key;
    bool is_there, is_wanted, is_plain;
};

static enum kek_rc take_one(void *arg, const struct kek_etcd_pair *pair, struct kek_why *why)
{
    struct one *one = arg;
    struct kek_kube_stored stored;
    if (!is_text(pair->key, one->key)) {
        return KEK_OK; /* another one, whose name goes on */
    }
    (void)why;
    bool parsed = kek_kube_parse(pair->value, &stored, NULL) == KEK_OK;
    one->is_there = true;
    one->is_wanted = parsed && is_as_wanted(one->etcd, &stored);
    one->is_plain = stored.kind == KEK_KUBE_PLAIN;
    return KEK_OK;
}

static bool read_key(struct reencrypt_etcd *etcd, uint64_t ticket, char key[static KEY_TEXT],
                     const struct kek_config_etcd **entry)
{
    const long now = ftell(etcd->names);
    bool good = now >= 0 && fseek(etcd->names, (long)ticket, SEEK_SET) == 0;
    int at = good ? fgetc(etcd->names) : EOF;
    good = good && at != EOF && fgetc(etcd->names) != EOF && fgetc(etcd->names) != EOF &&
           read_text(etcd->names, key, KEY_TEXT) && fseek(etcd->names, now, SEEK_SET) == 0;
    *entry = good ? &etcd->reencrypt->config->etcd[at] : NULL;
    return good;
}

static enum kek_rc check(void *arg, const struct reencrypt_target *target, struct kek_why *why)
{
    struct reencrypt_etcd *etcd = arg;
    const struct kek_config_etcd *entry;
    char key[KEY_TEXT], name[KEK_KUBEAPI_OBJECT_TEXT];
    struct one one = {.etcd = etcd, .key = key};
    if (!read_key(etcd, target->ticket, key, &entry)) {
        return kek_fail(why, KEK_UNAVAILABLE, "the names that were kept cannot be read back");
    }
    struct kek_etcd *from = NULL;
    struct kek_etcd_read read = {.prefix = kek_bytes_of(key), .take = take_one, .arg = &one};
    enum kek_rc rc = open_etcd(entry, &from, why);
    rc = rc == KEK_OK ? kek_etcd_read(from, &read, why) : rc;
    kek_etcd_free(from);
    if (rc != KEK_OK || one.is_wanted) {
        return rc;
    }
    if (!one.is_there) {
        return kek_fail(why, KEK_NOT_FOUND, "it is gone");
    }
    kek_kubeapi_object_name(&target->object, name);
    return kek_fail(
        why, KEK_PRECONDITION, "%s %s, the first that was written, is in etcd %s",
        etcd->reencrypt->resources[target->resource].name, name,
        etcd->reencrypt->decrypts ? "encrypted: this API server does not have the file of --from"
        : one.is_plain            ? "in clear: identity is the first provider of the API server's "
                                    "EncryptionConfiguration, and nothing more is rewritten so (--decrypt "
                                    "is for who wants it)"
                       : "not under the version that is announced: this API server has not heard "
                         "of it, or another provider writes");
}

static uint64_t left(void *arg)
{
    const struct reencrypt_etcd *etcd = arg;
    return etcd->kept - etcd->given;
}

struct reencrypt_source reencrypt_etcd_source(struct reencrypt_etcd *etcd)
{
    return (struct reencrypt_source){
        .next = next, .handled = handled, .left = left, .check = check, .arg = etcd};
}
