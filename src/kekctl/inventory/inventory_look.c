#include "inventory_look.h"

#include <stdio.h>
#include <string.h>

#include "kek/keyring.h"
#include "kek/text.h"

static const char *const trouble_names[] = {"malformed",     "unknown-prefix", "key-id",
                                            "other-context", "other-key",      "other-form"};
_Static_assert(sizeof trouble_names / sizeof trouble_names[0] == TALLY_TROUBLES, "a name for each");

const char *tally_trouble_name(enum tally_trouble trouble)
{
    return trouble_names[trouble];
}

void tally_text(struct kek_bytes bytes, char text[static TALLY_TEXT])
{
    size_t len = bytes.len < TALLY_TEXT - 1 ? bytes.len : TALLY_TEXT - 1;
    for (size_t i = 0; i < len; i++) {
        text[i] = (char)(bytes.data[i] == '\0' ? '?' : bytes.data[i]);
    }
    text[len] = '\0';
    kek_text_clean(text);
}

void tally_name(struct tally_named *named, const struct kek_kube_name *name, struct kek_bytes key,
                const char *what)
{
    *named = (struct tally_named){.resource = ""};
    if (name == NULL) {
        tally_text(key, named->name); /* the whole key */
    } else {
        (void)kek_kube_resource(name, named->resource, sizeof named->resource);
        kek_text_clean(named->resource);
        tally_text(name->ns, named->ns);
        tally_text(name->name, named->name);
    }
    kek_text_copy(named->why, sizeof named->why, what);
}

static enum kek_rc note(struct tally *tally, enum tally_trouble trouble,
                        const struct kek_kube_name *name, struct kek_bytes key, const char *what,
                        struct kek_why *why)
{
    struct tally_resource *resource = &tally->resources[tally->last_resource];
    resource->troubled[trouble]++;
    tally->troubles[trouble]++;
    if (tally->named[trouble] == NULL) {
        tally->named[trouble] = calloc(TALLY_NAMED_MAX, sizeof *tally->named[trouble]);
        if (tally->named[trouble] == NULL) {
            return kek_fail(why, KEK_NO_MEMORY, "no memory to name objects");
        }
    }
    if (tally->named_count[trouble] == TALLY_NAMED_MAX) {
        return KEK_OK;
    }
    tally_name(&tally->named[trouble][tally->named_count[trouble]++], name, key, what);
    return KEK_OK;
}

/* The key_id that this cover has in a context; NULL: no memory. */
static const char *key_id_in(struct tally *tally, struct tally_cover *cover, size_t context)
{
    if (cover->key_ids[context] == NULL) {
        char *text = malloc(KEK_KEY_ID_TEXT);
        if (text != NULL &&
            kek_key_id(kek_bytes_of(tally->contexts[context]), cover->form.mode,
                       cover->form.kek_ids, cover->form.count, text, NULL) != KEK_OK) {
            free(text);
            text = NULL;
        }
        cover->key_ids[context] = text;
    }
    return cover->key_ids[context];
}

/* In which context it follows; SIZE_MAX - 1: in none; SIZE_MAX: no memory. */
#define IN_NONE (SIZE_MAX - 1)
static size_t find_context(struct tally *tally, struct tally_cover *cover, struct kek_bytes key_id)
{
    for (size_t i = 0; i < tally->context_count; i++) {
        const char *text = key_id_in(tally, cover, i);
        if (text == NULL) {
            return SIZE_MAX;
        }
        if (key_id.len == KEK_KEY_ID_TEXT - 1 && memcmp(key_id.data, text, key_id.len) == 0) {
            return i;
        }
    }
    return IN_NONE;
}

static enum kek_rc check_key_id(struct tally *tally, const struct kek_kube_stored *stored,
                                const struct kek_kube_name *name, struct kek_bytes key,
                                struct kek_why *why)
{
    struct tally_cover *cover = &tally->covers[tally->last_cover];
    char what[256], said[TALLY_TEXT];
    size_t context = find_context(tally, cover, stored->key_id);
    if (context == SIZE_MAX) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to work out a key_id");
    }
    if (context == IN_NONE) {
        tally_text(stored->key_id, said);
        snprintf(what, sizeof what, "beside it stands key_id %.80s, and of its KEK it is %s", said,
                 cover->key_ids[0]);
        tally->disagreeing++;
        return note(tally, TALLY_KEY_ID, name, key, what, why);
    }
    cover->by_context[context]++;
    if (context >= tally->own_count) {
        snprintf(what, sizeof what, "its key_id is that of context \"%.180s\"",
                 tally->contexts[context]);
        return note(tally, TALLY_CONTEXT, name, key, what, why);
    }
    return KEK_OK;
}

#define MAGIC_LEN 4
#define SOURCE_MAX 1024 /* bytes of an envelope that is looked at for what it may have been */

/* Is it an envelope but for the bytes by which one is known? */
static bool is_envelope_beyond_magic(struct kek_bytes source)
{
    static const uint8_t magic[MAGIC_LEN] = {'K', 'E', 'K', 1};
    uint8_t whole[SOURCE_MAX];
    struct kek_envelope envelope;
    struct kek_why why;
    if (source.len <= MAGIC_LEN || source.len > sizeof whole) {
        return false;
    }
    memcpy(whole, magic, MAGIC_LEN);
    memcpy(whole + MAGIC_LEN, source.data + MAGIC_LEN, source.len - MAGIC_LEN);
    return kek_envelope_parse(kek_bytes(whole, source.len), &envelope, &why) == KEK_OK;
}

/* A later kekd may write another format, and a byte of this one may have been changed: which KEK it needs nobody here can
 * say, but no other plugin begins so, or goes on so. */
static bool is_of_later_kekd(const struct kek_kube_stored *stored)
{
    static const char name[] = "KEK";
    return !stored->is_kekd && ((stored->source.len > sizeof name - 1 &&
                                 memcmp(stored->source.data, name, sizeof name - 1) == 0) ||
                                is_envelope_beyond_magic(stored->source));
}

/* Does nobody know whether it needs a KEK, or which?  Of several KEKs, where there is one root of trust, any or all may be
 * needed. */
static bool is_unreadable(const struct tally *tally, const struct kek_kube_stored *stored,
                          bool damaged)
{
    bool kms = stored->kind == KEK_KUBE_KMS_V1 || stored->kind == KEK_KUBE_KMS_V2;
    return tally->last_cover == TALLY_REST || stored->kind == KEK_KUBE_UNKNOWN ||
           (stored->is_kekd && stored->envelope.count != 1 && tally->rules == NULL) ||
           (stored->kind == KEK_KUBE_PLAIN && damaged) ||
           (kms && !stored->is_kekd && (damaged || stored->ambiguous)) || is_of_later_kekd(stored);
}

/* Of one that is in trouble already: may its KEK be another than the one that stands in the envelope? */
static bool is_unconfirmed(struct tally *tally, const struct kek_kube_stored *stored)
{
    return stored->is_kekd && stored->kind == KEK_KUBE_KMS_V2 && tally->last_cover != TALLY_REST &&
           find_context(tally, &tally->covers[tally->last_cover], stored->key_id) >= IN_NONE;
}

/* Whoever can write to etcd turns no *all* into *any*; what is so by right is told all the same. */
static enum kek_rc refuse_form(struct tally *tally, const struct kek_kube_name *name,
                               struct kek_bytes key, struct kek_why *why)
{
    char text[KEK_WHY_TEXT + 64];
    struct kek_why unfit;
    const struct kek_root_form *form = &tally->covers[tally->last_cover].form;
    if (kek_root_rules_check(tally->rules, form, &unfit) == KEK_OK) {
        return KEK_OK;
    }
    snprintf(text, sizeof text, "kekd refuses its envelope: %s", unfit.text);
    return note(tally, TALLY_FORM, name, key, text, why);
}

/* What one API server wrote under a key's name another cannot read where its own file has another key of that name. */
static enum kek_rc open_by_file(struct tally *tally, const struct kek_kube_stored *stored,
                                const struct kek_kube_name *name, struct kek_bytes key,
                                struct kek_why *why)
{
    const struct tally_resource *resource = &tally->resources[tally->last_resource];
    char provider[TALLY_TEXT], text[TALLY_TEXT + 64];
    struct kek_why unopened;
    enum kek_rc rc =
        kek_encryption_config_open(tally->file, resource->name, stored, key, &unopened);
    switch (rc) {
    case KEK_OK:
        tally->opened++;
        return KEK_OK;
    case KEK_NOT_FOUND:
        return KEK_OK;
    case KEK_DAMAGED:
        tally_text(stored->provider, provider);
        snprintf(text, sizeof text, "the file's %s key %.100s does not open it",
                 kek_kube_kind_name(stored->kind), provider);
        return note(tally, TALLY_KEY, name, key, text, why);
    default:
        *why = unopened;
        return rc;
    }
}

static bool has_key_in_file(enum kek_kube_kind kind)
{
    return kind == KEK_KUBE_AESCBC || kind == KEK_KUBE_AESGCM || kind == KEK_KUBE_SECRETBOX;
}

/* Does it begin as an object does that an API server stores: protobuf, JSON, CBOR or YAML?  What does not may have been
 * encrypted, and damaged where it says so. */
static bool begins_as_object(struct kek_bytes value)
{
    static const struct {
        const char *bytes;
        size_t len;
    } beginnings[] = {{"k8s", 4}, {"{", 1}, {"\xd9\xd9\xf7", 3}, {"apiVersion:", 11}};
    for (size_t i = 0; i < sizeof beginnings / sizeof beginnings[0]; i++) {
        if (value.len >= beginnings[i].len &&
            memcmp(value.data, beginnings[i].bytes, beginnings[i].len) == 0) {
            return true;
        }
    }
    return false;
}

enum kek_rc tally_look(struct tally *tally, const struct kek_kube_stored *stored,
                       const struct kek_kube_name *name, struct kek_bytes key,
                       struct kek_bytes value, const char *damage, struct kek_why *why)
{
    if (name != NULL && stored->kind == KEK_KUBE_PLAIN && !begins_as_object(value)) {
        damage = "neither encrypted nor an object: it begins as nothing that an API server stores";
    }
    bool unreadable = is_unreadable(tally, stored, damage != NULL);
    tally->unreadable += unreadable ? 1 : 0;
    tally->covers[tally->last_cover].readable += unreadable ? 0 : 1;
    if (damage != NULL) {
        tally->disagreeing += is_unconfirmed(tally, stored) ? 1 : 0;
        return note(tally, TALLY_MALFORMED, name, key, damage, why);
    }
    if (stored->kind == KEK_KUBE_UNKNOWN) {
        char what[TALLY_TEXT], text[TALLY_TEXT + 32];
        tally_text(stored->provider, what);
        snprintf(text, sizeof text, "it begins with k8s:enc:%s", what);
        return note(tally, TALLY_UNKNOWN, name, key, text, why);
    }
    if (is_of_later_kekd(stored)) {
        return note(tally, TALLY_UNKNOWN, name, key,
                    "its envelope is kekd's, damaged or in a format that this kekctl does not know",
                    why);
    }
    if (stored->is_kekd && tally->covers[tally->last_cover].refused) {
        tally->disagreeing += is_unconfirmed(tally, stored) ? 1 : 0;
        return refuse_form(tally, name, key, why);
    }
    if (stored->kind == KEK_KUBE_KMS_V2 && stored->is_kekd && tally->last_cover != TALLY_REST &&
        tally->context_count > 0) {
        return check_key_id(tally, stored, name, key, why);
    }
    return tally->file != NULL && name != NULL && has_key_in_file(stored->kind)
               ? open_by_file(tally, stored, name, key, why)
               : KEK_OK;
}
