/*
 * Decrypt, v1 and v2.  What comes here was written by whoever can write etcd.  One message answers
 * every damaged or truncated ciphertext; the log names the cause.
 */
#include "kms/call.h"

#include <inttypes.h>
#include <string.h>

static void find_kek(struct call *call);
static void open_next(struct call *call);
static void open_with(struct call *call, struct kek_datakey_ref *ref);
static void key_came(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                     const struct kek_why *why);

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
    const struct kek_kms_settings *settings = &call->kms->settings;
    const struct kek_envelope *envelope = &call->envelope;
    struct kek_id kek_ids[KEK_ENVELOPE_ENTRIES_MAX];
    uint32_t number;
    if (context == 0 && envelope->count == 1 && envelope->mode == KEK_ENVELOPE_MODE_ANY &&
        kek_keyring_name(settings->ring, &call->kek_id, &number, key_id)) {
        return KEK_OK; /* known without hashing */
    }
    for (size_t i = 0; i < envelope->count; i++) {
        kek_ids[i] = envelope->entries[i].kek_id;
    }
    return kek_key_id(context_at(call, context), envelope->mode, kek_ids, envelope->count, key_id,
                      why);
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
    call->context_first = context_index(call); /* the one that its answer will be for */
    call->context_attempt = 0;
    (void)keep_sealed(call);
}

static void open_with(struct call *call, struct kek_datakey_ref *ref)
{
    KEK_UNFILLED struct kek_why why;
    KEK_AUTO(kek_secret) plaintext = NULL;
    enum kek_rc rc = kek_envelope_open(kek_datakey_ref_key(ref), &call->envelope, context_now(call),
                                       &plaintext, &why);
    if (rc == KEK_OK) {
        kek_datakey_verified(call->kms->settings.store, ref);
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
    call->provider = kek_datakey_wait_provider(call->wait);
    call->wait = NULL;
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
    call->look = kek_keyring_look(call->kms->settings.ring, looked, call);
    if (call->look == NULL) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory to look for the KEK");
        call_fail(call, KEK_NO_MEMORY, &why);
    }
}

/* Why this ciphertext cannot be opened whatever its data key is; KEK_OK: nothing is known against it. */
static enum kek_rc check_kek(const struct call *call, enum kek_keyring_knows knows,
                             struct kek_why *why)
{
    const struct kek_envelope_entry *entry = &call->envelope.entries[0];
    char id[KEK_ID_TEXT];
    uint32_t number;
    if (knows == KEK_KEYRING_OPENS &&
        kek_keyring_takes(call->kms->settings.ring, &entry->kek_id, entry->alg) &&
        !kek_datakey_is_damaged(call->kms->settings.store, call->sealed, tried_in(call))) {
        return KEK_OK;
    }
    kek_id_format(&entry->kek_id, id);
    switch (knows) {
    case KEK_KEYRING_UNKNOWN:
        if (kek_keyring_was_destroyed(call->kms->settings.ring, &entry->kek_id, &number)) {
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
            kek_keyring_suspended(call->kms->settings.ring, &entry->kek_id)
                ? "the KEK of this ciphertext is suspended until it is resumed: kek_id=%s"
                : "the KEK of this ciphertext is missing or may not unwrap: kek_id=%s",
            id);
    case KEK_KEYRING_OPENS:
        break;
    }
    if (!kek_keyring_takes(call->kms->settings.ring, &entry->kek_id, entry->alg)) {
        return kek_fail(why, KEK_DAMAGED, "its KEK does not wrap with %s: kek_id=%s",
                        kek_wrap_alg_name(entry->alg), id);
    }
    return kek_fail(why, KEK_DAMAGED, "the HSM was asked less than 30 s ago: kek_id=%s", id);
}

static void find_kek(struct call *call)
{
    KEK_UNFILLED struct kek_why why;
    enum kek_keyring_knows knows =
        kek_keyring_find(call->kms->settings.ring, &call->envelope.entries[0].kek_id);
    if (knows != KEK_KEYRING_OPENS && !call->looked) {
        look_again(call);
        return;
    }
    enum kek_rc rc = check_kek(call, knows, &why);
    if (knows == KEK_KEYRING_CLOSED || knows == KEK_KEYRING_UNKNOWN) {
        kek_keyring_asked(call->kms->settings.ring, &call->envelope.entries[0].kek_id);
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

/* What this kekd is configured for: who can write to etcd must not turn "all" into "any". */
static enum kek_rc check_form(const struct kek_envelope *envelope, struct kek_why *why)
{
    if (envelope->mode != KEK_ENVELOPE_MODE_ANY || envelope->count != 1) {
        return kek_fail(why, KEK_DAMAGED,
                        "mode %u with %u entries, where this kekd has one root of trust",
                        envelope->mode, envelope->count);
    }
    return KEK_OK;
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
        rc = check_form(&call->envelope, &why);
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
    kek_keyring_met(call->kms->settings.ring, &call->kek_id);
    find_kek(call);
}
