/*
 * Decrypt, v1 and v2.  What comes here was written by whoever can write etcd.  One message answers
 * every damaged or truncated ciphertext; the log names the cause.
 */
#include "kms/call.h"

#include <inttypes.h>
#include <string.h>

#include "kek/log.h"
#include "kek/text.h"

static void find_kek(struct call *call);
static void open_next(struct call *call);
static void open_with(struct call *call, struct kek_datakey_ref *ref);
static void key_came(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                     const struct kek_why *why);

static struct kek_keyring *ring_of(const struct call *call)
{
    return kek_roots_of(call->kms->settings.roots, &call->kek_id)->ring;
}

static size_t context_count(const struct call *call)
{
    size_t count = 1;
    while (call->kms->settings.config->context_accept[count - 1] != NULL) {
        count++;
    }
    return count;
}

static struct kek_bytes context_at(const struct call *call, size_t index)
{
    const struct kek_config *config = call->kms->settings.config;
    return kek_bytes_of(index == 0 ? config->context : config->context_accept[index - 1]);
}

/* The context of this attempt: the likeliest first, then the others in their order. */
static size_t context_index(const struct call *call)
{
    size_t attempt = call->context_attempt, first = call->context_first;
    return attempt == 0 ? first : attempt <= first ? attempt - 1 : attempt;
}

static struct kek_bytes context_now(const struct call *call)
{
    return context_at(call, context_index(call));
}

/* The request's bytes go when its start returns: whoever waits keeps a copy. */
static bool keep_sealed(struct call *call)
{
    struct kek_why why;
    if (call->sealed_copy.data != NULL) {
        return true;
    }
    if (!call_keeps(call, call->sealed.len)) {
        return false;
    }
    kek_buf_init(&call->sealed_copy, call->sealed.len);
    enum kek_rc rc = kek_buf_append(&call->sealed_copy, call->sealed, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return false;
    }
    call->sealed = kek_buf_bytes(&call->sealed_copy);
    kek_envelope_rebase(&call->envelope, call->sealed.data);
    return true;
}

enum kek_rc call_name_key_id(const struct call *call, size_t context,
                             char key_id[static KEK_KEY_ID_TEXT], struct kek_why *why)
{
    const struct kek_envelope *envelope = &call->envelope;
    struct kek_id kek_ids[KEK_ENVELOPE_ENTRIES_MAX];
    uint32_t number;
    if (context == 0 && envelope->count == 1 && envelope->mode == KEK_ENVELOPE_MODE_ANY &&
        kek_keyring_name(ring_of(call), &call->kek_id, &number, key_id)) {
        return KEK_OK; /* known without hashing */
    }
    for (size_t i = 0; i < envelope->count; i++) {
        kek_ids[i] = envelope->entries[i].kek_id;
    }
    return kek_key_id(context_at(call, context), envelope->mode, kek_ids, envelope->count, key_id,
                      why);
}

/* What one root of trust calls damaged and another has opened: it is to be sealed anew before that one is lost, too. */
static void tell_damage(const struct call *call)
{
    const struct kek_datakey_damage *damage = call->damage;
    if (damage != NULL) {
        kek_log_often(KEK_LOG_WARN, damage->root,
                      KEK_LOG_FIELDS(kek_log_text("root", damage->root),
                                     kek_log_text("uid", call->uid),
                                     kek_log_text("key_id", call->key_id),
                                     kek_log_origin(&damage->why), kek_log_code(&damage->why)),
                      "%s opened by another root of trust: to %s it is damaged: %s",
                      kek_kms_method_name(call->method), damage->root, damage->why.text);
    }
}

static void answer(struct call *call, const struct kek_secret *plaintext)
{
    if (call->key_id[0] == '\0') {
        (void)call_name_key_id(call, context_index(call), call->key_id, NULL); /* v1 named none */
    }
    struct kek_bytes bytes = kek_secret_bytes(plaintext);
    KEK_UNFILLED struct kek_why why;
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, bytes.len + 16);
    if (!message_write_payload(call->method, bytes, NULL, &message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}

static uint8_t tried_in(const struct call *call)
{
    return call->context_known ? (uint8_t)call->context_first : UINT8_MAX;
}

/* What the HSM was asked about and is damaged is not asked of it again for a while. */
static void fail(struct call *call, enum kek_rc rc, const struct kek_why *why)
{
    if (rc == KEK_DAMAGED && call->hsm) {
        kek_datakey_note_damaged(call->kms->settings.store, call->sealed, tried_in(call));
    }
    call_fail(call, rc, why);
}

/* What the HSM has unwrapped once is not asked of it again. */
static void try_next_context(struct call *call, const struct kek_datakey_ref *ref)
{
    struct kek_datakey_store *store = call->kms->settings.store;
    call->context_attempt++;
    KEK_AUTO(kek_datakey_ref) other = kek_datakey_in_context(store, ref, context_now(call));
    if (other != NULL) {
        open_with(call, other);
    } else {
        open_next(call);
    }
}

/* Some wraps unwrap to something under any key: the data key may be wrong, and not the ciphertext. */
static bool key_may_be_wrong(const struct call *call)
{
    for (size_t i = 0; i < call->envelope.count; i++) {
        if (!kek_wrap_alg_authenticates(call->envelope.entries[i].alg)) {
            return true;
        }
    }
    return false;
}

/* Its tag matched in no context. What another worker makes of its data key is tried in all of them again. */
static void doubt(struct call *call, struct kek_datakey_ref *ref)
{
    struct kek_why why;
    if (call->doubts++ >= DOUBTS_MAX) {
        kek_fail(&why, KEK_UNAVAILABLE,
                 "no HSM was found that surely has the right KEK for this ciphertext");
        call_fail(call, KEK_UNAVAILABLE, &why);
        return;
    }
    enum kek_rc rc = kek_datakey_doubted(call->kms->settings.store, ref, call->rpc->deadline_ms,
                                         key_came, call, &call->wait, &why);
    if (rc != KEK_OK) {
        fail(call, rc, &why);
        return;
    }
    call->hsm = true;
    call->damage = NULL;
    call->context_first = context_index(call); /* the one that its answer will be for */
    call->context_attempt = 0;
    (void)keep_sealed(call);
}

/* What is said of the call is about the first of them. */
static void opened_by(struct call *call, unsigned keks)
{
    size_t first = 0;
    while (first + 1 < call->envelope.count && (keks >> first & 1) == 0) {
        first++;
    }
    call->opened = (uint8_t)keks;
    call->kek_id = call->envelope.entries[first].kek_id;
}

static void open_with(struct call *call, struct kek_datakey_ref *ref)
{
    KEK_UNFILLED struct kek_why why;
    KEK_AUTO(kek_secret) plaintext = NULL;
    enum kek_rc rc = kek_envelope_open(kek_datakey_ref_key(ref), &call->envelope, context_now(call),
                                       &plaintext, &why);
    if (rc == KEK_OK) {
        opened_by(call, kek_datakey_ref_keks(ref));
        kek_datakey_verified(call->kms->settings.store, ref);
        tell_damage(call);
        answer(call, plaintext);
    } else if (rc == KEK_DAMAGED && !call->context_known &&
               call->context_attempt + 1 < context_count(call)) {
        try_next_context(call, ref);
    } else if (rc == KEK_DAMAGED && key_may_be_wrong(call)) {
        doubt(call, ref);
    } else {
        fail(call, rc, &why);
    }
}

static void key_came(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                     const struct kek_why *why)
{
    struct call *call = arg;
    call->damage = kek_datakey_wait_damage(call->wait);
    call_heard(call);
    if (rc != KEK_OK) {
        fail(call, rc, why);
        return;
    }
    open_with(call, ref);
    kek_datakey_ref_free(ref);
}

static void open_next(struct call *call)
{
    KEK_UNFILLED struct kek_why why;
    struct kek_datakey_ref *ref = NULL;
    enum kek_rc rc =
        kek_datakey_for_opening(call->kms->settings.store, &call->envelope, context_now(call),
                                call->rpc->deadline_ms, key_came, call, &ref, &call->wait, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    if (ref != NULL) {
        open_with(call, ref);
        kek_datakey_ref_free(ref);
        return;
    }
    call->hsm = true;
    call->damage = NULL;
    (void)keep_sealed(call);
}

/* v1 does not say which context: the one whose data key is at hand is the likeliest. */
static void choose_context(struct call *call)
{
    size_t count = context_count(call);
    for (size_t i = 0; !call->context_known && count > 1 && i < count; i++) {
        if (kek_datakey_cached(call->kms->settings.store, &call->envelope, context_at(call, i))) {
            call->context_first = i;
            return;
        }
    }
}

static void looked(void *arg)
{
    struct call *call = arg;
    call->look = NULL;
    find_kek(call);
}

/* Once for each call. */
static void look_again(struct call *call)
{
    struct kek_why why;
    if (!keep_sealed(call)) {
        return;
    }
    call->looked = true;
    call->look = kek_roots_look(call->kms->settings.roots, looked, call);
    if (call->look == NULL) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory to look for the KEK");
        call_fail(call, KEK_NO_MEMORY, &why);
    }
}

/* Why this ciphertext cannot be opened whatever its data key is; KEK_OK: nothing is known against it. */
static enum kek_rc check_kek(const struct call *call, enum kek_keyring_knows knows,
                             struct kek_why *why)
{
    const struct kek_envelope_entry *entry = &call->envelope.entries[call->entry];
    struct kek_keyring *ring = ring_of(call);
    char id[KEK_ID_TEXT];
    uint32_t number;
    if (knows == KEK_KEYRING_OPENS && kek_keyring_takes(ring, &entry->kek_id, entry->alg) &&
        !kek_datakey_is_damaged(call->kms->settings.store, call->sealed, tried_in(call))) {
        return KEK_OK;
    }
    kek_id_format(&entry->kek_id, id);
    switch (knows) {
    case KEK_KEYRING_UNKNOWN:
        if (kek_keyring_was_destroyed(ring, &entry->kek_id, &number)) {
            return kek_fail(why, KEK_INVALID,
                            "the KEK of this ciphertext, version %" PRIu32
                            ", was destroyed: kek_id=%s",
                            number, id);
        }
        return kek_fail(why, KEK_INVALID,
                        "no HSM here has the KEK that sealed this ciphertext: kek_id=%s", id);
    case KEK_KEYRING_UNSEEN:
        return kek_fail(why, KEK_UNAVAILABLE,
                        "no HSM that answers has the KEK of this ciphertext: kek_id=%s", id);
    case KEK_KEYRING_CLOSED:
        return kek_fail(
            why, KEK_PRECONDITION,
            kek_keyring_suspended(ring, &entry->kek_id)
                ? "the KEK of this ciphertext is suspended until it is resumed: kek_id=%s"
                : "the KEK of this ciphertext is missing or may not unwrap: kek_id=%s",
            id);
    case KEK_KEYRING_OPENS:
        break;
    }
    if (!kek_keyring_takes(ring, &entry->kek_id, entry->alg)) {
        return kek_fail(why, KEK_DAMAGED, "its KEK does not wrap with %s: kek_id=%s",
                        kek_wrap_alg_name(entry->alg), id);
    }
    return kek_fail(why, KEK_DAMAGED, "the HSM was asked less than 30 s ago: kek_id=%s", id);
}

/* The entry that decides: what the log says of the call is about its KEK. */
static enum kek_keyring_knows choose_kek(struct call *call)
{
    enum kek_keyring_knows knows =
        kek_roots_find(call->kms->settings.roots, &call->envelope, &call->entry);
    call->kek_id = call->envelope.entries[call->entry].kek_id;
    return knows;
}

static void meet_keks(const struct call *call)
{
    for (size_t i = 0; i < call->envelope.count; i++) {
        const struct kek_id *kek_id = &call->envelope.entries[i].kek_id;
        kek_keyring_met(kek_roots_of(call->kms->settings.roots, kek_id)->ring, kek_id);
    }
}

static void find_kek(struct call *call)
{
    KEK_UNFILLED struct kek_why why;
    enum kek_keyring_knows knows = choose_kek(call);
    if (knows != KEK_KEYRING_OPENS && !call->looked) {
        look_again(call);
        return;
    }
    enum kek_rc rc = check_kek(call, knows, &why);
    if (knows == KEK_KEYRING_CLOSED || knows == KEK_KEYRING_UNKNOWN) {
        kek_keyring_asked(ring_of(call), &call->kek_id);
    }
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    choose_context(call);
    open_next(call);
}

/* The key_id must be that of the envelope's own KEK, in a context that may be opened here. */
static enum kek_rc check_key_id(struct call *call, struct kek_bytes key_id, struct kek_why *why)
{
    char expected[KEK_KEY_ID_TEXT];
    size_t count = context_count(call);
    for (size_t i = 0; i < count; i++) {
        enum kek_rc rc = call_name_key_id(call, i, expected, why);
        if (rc != KEK_OK) {
            return rc;
        }
        if (kek_bytes_equal(key_id, kek_bytes_of(expected))) {
            call->context_first = i;
            call->context_known = true;
            return KEK_OK;
        }
    }
    return kek_fail(why, KEK_INVALID,
                    "key_id is not that of the KEK that sealed this ciphertext in this context");
}

/* For log and audit, whatever it is. */
static void keep_key_id(struct call *call, struct kek_bytes key_id)
{
    size_t len = key_id.len < sizeof call->key_id ? key_id.len : sizeof call->key_id - 1;
    if (len > 0) {
        memcpy(call->key_id, key_id.data, len);
    }
    call->key_id[len] = '\0';
}

void call_decrypt(struct call *call, struct kek_bytes sealed, struct kek_bytes key_id)
{
    KEK_UNFILLED struct kek_why why;
    keep_key_id(call, key_id);
    if (sealed.len == 0) {
        kek_fail(&why, KEK_INVALID, "the ciphertext is empty");
        call_fail(call, KEK_INVALID, &why);
        return;
    }
    call->sealed = sealed;
    enum kek_rc rc = kek_envelope_parse(sealed, &call->envelope, &why);
    if (rc == KEK_OK) {
        rc = kek_roots_form(call->kms->settings.roots, &call->envelope, &why);
    }
    if (rc == KEK_OK) {
        call->has_kek = true;
        call->kek_id = call->envelope.entries[0].kek_id;
    }
    if (rc == KEK_OK && call->method == KEK_KMS_V2_DECRYPT) {
        rc = check_key_id(call, key_id, &why);
    }
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    meet_keks(call);
    find_kek(call);
}
