#include "keys.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

const CK_ATTRIBUTE_TYPE kek_p11_flag_types[KEK_P11_FLAGS] = {
    [KEK_P11_PRIVATE] = CKA_PRIVATE,
    [KEK_P11_SENSITIVE] = CKA_SENSITIVE,
    [KEK_P11_EXTRACTABLE] = CKA_EXTRACTABLE,
    [KEK_P11_LOCAL] = CKA_LOCAL,
    [KEK_P11_ALWAYS_SENSITIVE] = CKA_ALWAYS_SENSITIVE,
    [KEK_P11_NEVER_EXTRACTABLE] = CKA_NEVER_EXTRACTABLE,
    [KEK_P11_WRAP] = CKA_WRAP,
    [KEK_P11_UNWRAP] = CKA_UNWRAP,
    [KEK_P11_ENCRYPT] = CKA_ENCRYPT,
    [KEK_P11_DECRYPT] = CKA_DECRYPT,
    [KEK_P11_SIGN] = CKA_SIGN,
    [KEK_P11_VERIFY] = CKA_VERIFY,
    [KEK_P11_DERIVE] = CKA_DERIVE,
};

const char *const kek_p11_flag_names[KEK_P11_FLAGS] = {
    [KEK_P11_PRIVATE] = "CKA_PRIVATE",
    [KEK_P11_SENSITIVE] = "CKA_SENSITIVE",
    [KEK_P11_EXTRACTABLE] = "CKA_EXTRACTABLE",
    [KEK_P11_LOCAL] = "CKA_LOCAL",
    [KEK_P11_ALWAYS_SENSITIVE] = "CKA_ALWAYS_SENSITIVE",
    [KEK_P11_NEVER_EXTRACTABLE] = "CKA_NEVER_EXTRACTABLE",
    [KEK_P11_WRAP] = "CKA_WRAP",
    [KEK_P11_UNWRAP] = "CKA_UNWRAP",
    [KEK_P11_ENCRYPT] = "CKA_ENCRYPT",
    [KEK_P11_DECRYPT] = "CKA_DECRYPT",
    [KEK_P11_SIGN] = "CKA_SIGN",
    [KEK_P11_VERIFY] = "CKA_VERIFY",
    [KEK_P11_DERIVE] = "CKA_DERIVE",
};

bool kek_p11_label_unmark(const char *label, char plain[static KEK_LABEL_MAX])
{
    size_t len = strnlen(label, KEK_LABEL_MAX - 1), mark = strlen(KEK_P11_MARK);
    bool marked = len > mark && strcmp(label + len - mark, KEK_P11_MARK) == 0;
    len -= marked ? mark : 0;
    memcpy(plain, label, len);
    plain[len] = '\0';
    return marked;
}

bool kek_p11_label_number(const char *keyring, const char *label, uint32_t *number)
{
    size_t len = strlen(keyring);
    if (strncmp(label, keyring, len) != 0 || strncmp(label + len, ".v", 2) != 0) {
        return false;
    }
    const char *digit = label + len + 2;
    uint64_t value = 0;
    if (*digit < '1' || *digit > '9') {
        return false;
    }
    for (; *digit >= '0' && *digit <= '9'; digit++) {
        value = 10 * value + (uint64_t)(*digit - '0');
        if (value > UINT32_MAX) {
            return false;
        }
    }
    if (*digit != '\0') {
        return false;
    }
    *number = (uint32_t)value;
    return true;
}

static void refuse(struct kek_version *version, const char *format, ...) KEK_PRINTF(2, 3);

static void refuse(struct kek_version *version, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(version->refusal, sizeof version->refusal, format, args);
    va_end(args);
    version->eligible = false;
}

/* False, and the version refused, unless the token says `wanted`; untold_is_good where a token that
 * does not know the attribute may be believed. */
static bool require(const struct kek_p11_facts *facts, enum kek_p11_flag flag,
                    enum kek_p11_tri wanted, bool untold_is_good, struct kek_version *version)
{
    enum kek_p11_tri told = facts->flags[flag];
    if (told == wanted || (told == KEK_P11_UNTOLD && untold_is_good)) {
        return true;
    }
    if (told == KEK_P11_UNTOLD) {
        refuse(version, "the token does not tell %s", kek_p11_flag_names[flag]);
    } else {
        refuse(version, "%s is %s", kek_p11_flag_names[flag],
               told == KEK_P11_YES ? "true" : "false");
    }
    return false;
}

/* A token may not know the length of a key that was unwrapped into it: SoftHSM says 0, others nothing.
 * No round trip tells AES-128 from AES-256 either, so it is the configuration's word or nobody's. */
static bool is_long_enough(const struct kek_p11_facts *facts, const struct kek_p11_named *named,
                           struct kek_version *version)
{
    bool told = facts->value_len != KEK_P11_UNKNOWN_ULONG && facts->value_len != 0;
    if (facts->value_len == 32 || (!told && named != NULL)) {
        return true;
    }
    if (told) {
        refuse(version, "CKA_VALUE_LEN is %lu, not 32", facts->value_len);
    } else {
        refuse(version,
               "the token does not tell CKA_VALUE_LEN%s: if it is an AES-256 key that was "
               "imported, only versions: in the configuration can vouch for it",
               facts->value_len == 0 ? " (it says 0)" : "");
    }
    return false;
}

/* What no configuration can excuse, but for a length that the token does not tell. */
static bool is_kept_inside(const struct kek_p11_facts *facts, const struct kek_p11_named *named,
                           struct kek_version *version)
{
    if (facts->id_len != KEK_ID_LEN) {
        refuse(version, "CKA_ID has %s, not 16", kek_counted(facts->id_len, "byte").text);
        return false;
    }
    if (facts->key_type != CKK_AES) {
        refuse(version, "CKA_KEY_TYPE is 0x%lx, not CKK_AES", facts->key_type);
        return false;
    }
    return is_long_enough(facts, named, version) &&
           require(facts, KEK_P11_SENSITIVE, KEK_P11_YES, false, version) &&
           require(facts, KEK_P11_EXTRACTABLE, KEK_P11_NO, false, version) &&
           require(facts, KEK_P11_PRIVATE, KEK_P11_YES, false, version);
}

static bool is_born_inside(const struct kek_p11_facts *facts, bool local_told,
                           struct kek_version *version)
{
    return (!local_told || require(facts, KEK_P11_LOCAL, KEK_P11_YES, true, version)) &&
           require(facts, KEK_P11_ALWAYS_SENSITIVE, KEK_P11_YES, true, version) &&
           require(facts, KEK_P11_NEVER_EXTRACTABLE, KEK_P11_YES, true, version);
}

static bool has_one_use(const struct kek_p11_facts *facts, enum kek_p11_strategy strategy,
                        struct kek_version *version)
{
    static const enum kek_p11_flag others[] = {KEK_P11_SIGN, KEK_P11_VERIFY, KEK_P11_DERIVE};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (!require(facts, others[i], KEK_P11_NO, true, version)) {
            return false;
        }
    }
    if (strategy == KEK_P11_BY_WRAP_KEY) {
        return require(facts, KEK_P11_ENCRYPT, KEK_P11_NO, true, version) &&
               require(facts, KEK_P11_DECRYPT, KEK_P11_NO, true, version);
    }
    return require(facts, KEK_P11_WRAP, KEK_P11_NO, true, version) &&
           require(facts, KEK_P11_UNWRAP, KEK_P11_NO, true, version);
}

static bool has(const struct kek_p11_facts *facts, enum kek_p11_flag flag)
{
    return facts->flags[flag] == KEK_P11_YES;
}

static enum kek_p11_strategy strategy_for(const struct kek_p11_facts *facts,
                                          Kek__Provider__Strategy wanted)
{
    if (wanted == KEK__PROVIDER__STRATEGY__WRAP_KEY) {
        return KEK_P11_BY_WRAP_KEY;
    }
    if (wanted == KEK__PROVIDER__STRATEGY__ENCRYPT) {
        return KEK_P11_BY_ENCRYPT;
    }
    if (has(facts, KEK_P11_WRAP) || has(facts, KEK_P11_UNWRAP)) {
        return KEK_P11_BY_WRAP_KEY;
    }
    if (has(facts, KEK_P11_ENCRYPT) || has(facts, KEK_P11_DECRYPT)) {
        return KEK_P11_BY_ENCRYPT;
    }
    return KEK_P11_BY_NOTHING;
}

/* What it is there for by its flags; NOTHING: for neither, or for both. */
static enum kek_p11_strategy made_for(const struct kek_p11_facts *facts)
{
    bool wraps = has(facts, KEK_P11_WRAP) || has(facts, KEK_P11_UNWRAP);
    bool encrypts = has(facts, KEK_P11_ENCRYPT) || has(facts, KEK_P11_DECRYPT);
    return wraps == encrypts ? KEK_P11_BY_NOTHING
           : wraps           ? KEK_P11_BY_WRAP_KEY
                             : KEK_P11_BY_ENCRYPT;
}

/* Who finds the key under another strategy than its own finds nothing wrong with the key. */
static bool is_of_strategy(const struct kek_p11_facts *facts, enum kek_p11_strategy strategy,
                           struct kek_version *version)
{
    static const char *const names[] = {
        [KEK_P11_BY_WRAP_KEY] = "wrap-key", [KEK_P11_BY_ENCRYPT] = "encrypt"};
    enum kek_p11_strategy own = made_for(facts);
    if (own == KEK_P11_BY_NOTHING || own == strategy) {
        return true;
    }
    bool wraps = own == KEK_P11_BY_WRAP_KEY;
    enum kek_p11_flag seals = wraps ? KEK_P11_WRAP : KEK_P11_ENCRYPT;
    enum kek_p11_flag opens = wraps ? KEK_P11_UNWRAP : KEK_P11_DECRYPT;
    refuse(version,
           "it is there for strategy %s (%s is true), and the configuration says strategy: %s",
           names[own], kek_p11_flag_names[has(facts, seals) ? seals : opens], names[strategy]);
    version->refused_for = KEK_REFUSAL_STRATEGY;
    return false;
}

/* A key that wraps what it cannot unwrap would lose data: such a one may do neither.  The configuration and
 * the mark take away what the token lets it do, and never add to it. */
static void find_abilities(const struct kek_p11_facts *facts, enum kek_p11_strategy strategy,
                           const struct kek_p11_named *named, struct kek_version *version)
{
    bool wraps = false, unwraps = false;
    if (strategy == KEK_P11_BY_WRAP_KEY) {
        wraps = has(facts, KEK_P11_WRAP);
        unwraps = has(facts, KEK_P11_UNWRAP);
    } else if (strategy == KEK_P11_BY_ENCRYPT) {
        wraps = has(facts, KEK_P11_ENCRYPT);
        unwraps = has(facts, KEK_P11_DECRYPT);
    }
    version->can_unwrap = unwraps && (named == NULL || named->state != KEK_STATE_SUSPENDED);
    version->can_wrap = wraps && unwraps && !version->compromised &&
                        (named == NULL || named->state == KEK_STATE_ACTIVE);
}

void kek_p11_judge(const struct kek_p11_facts *facts, Kek__Provider__Strategy wanted,
                   const struct kek_p11_named *named, bool local_told, struct kek_version *version,
                   enum kek_p11_strategy *strategy)
{
    *strategy = strategy_for(facts, wanted);
    memcpy(version->id.bytes, facts->id, sizeof version->id.bytes);
    version->id_pad = facts->id_len < KEK_ID_LEN ? (uint8_t)(KEK_ID_LEN - facts->id_len) : 0;
    snprintf(version->label, sizeof version->label, "%s", facts->label);
    version->refusal[0] = '\0';
    version->refused_for = KEK_REFUSAL_KEY;
    version->eligible = true;
    char plain[KEK_LABEL_MAX];
    version->compromised = kek_p11_label_unmark(facts->label, plain) ||
                           (named != NULL && named->state == KEK_STATE_COMPROMISED);
    find_abilities(facts, *strategy, named, version);
    if (!is_kept_inside(facts, named, version) || !is_of_strategy(facts, *strategy, version) ||
        named != NULL) {
        return;
    }
    if (is_born_inside(facts, local_told, version) && *strategy != KEK_P11_BY_NOTHING) {
        (void)has_one_use(facts, *strategy, version);
    }
}
