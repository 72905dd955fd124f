#include "verify.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "chain.h"
#include "kek/digest.h"
#include "kek/text.h"
#include "statement.h"

#define FORMAT "CAVIUM_V2_COMPRESSED"
#define CLASS_SECRET_KEY 4u /* PKCS#11's CKO_SECRET_KEY */
#define TYPE_AES 0x1fu      /* and CKK_AES */
#define KEY_BYTES 32u

/* In the order in which they are shown. */
enum check {
    CHECK_STATEMENT = 0,
    CHECK_MANUFACTURER,
    CHECK_OWNER,
    CHECK_SIGNATURE,
    CHECK_VERSION,
    CHECK_KEY,
    CHECK_GENERATED,
    CHECK_KEPT,
    CHECKS
};
_Static_assert(CHECKS <= KEK_PROVIDER_CHECKS_MAX, "an answer has room for all");

static const char *const names[CHECKS] = {
    [CHECK_STATEMENT] = "statement", [CHECK_MANUFACTURER] = "manufacturer",
    [CHECK_OWNER] = "owner",         [CHECK_SIGNATURE] = "signature",
    [CHECK_VERSION] = "version",     [CHECK_KEY] = "key",
    [CHECK_GENERATED] = "generated", [CHECK_KEPT] = "kept",
};

struct work {
    struct kek_provider_attested *attested;
    const struct kek_gcp_roots *roots;
    time_t now;
    struct kek_buf plain;
    struct kek_gcp_statement statement;
    bool readable;
    STACK_OF(X509) * maker, *card, *partition; /* verified, from leaf to root; NULL: not */
};

/* ---- outcomes ---- */

static void outcome(struct work *work, enum check check, enum kek_check_outcome how,
                    const char *format, ...) KEK_PRINTF(4, 5);
static void outcome(struct work *work, enum check check, enum kek_check_outcome how,
                    const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    struct kek_provider_check *at = &work->attested->checks[check];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    at->outcome = how;
    kek_text_copy(at->text, sizeof at->text, text);
}

static void name_all(struct kek_provider_attested *attested)
{
    for (size_t i = 0; i < CHECKS; i++) {
        attested->checks[i] = (struct kek_provider_check){.outcome = KEK_CHECK_UNTRIED};
        snprintf(attested->checks[i].name, sizeof attested->checks[i].name, "%s", names[i]);
    }
    attested->check_count = CHECKS;
}

static void fact(struct work *work, const char *name, const char *value)
{
    struct kek_provider_attested *attested = work->attested;
    if (attested->fact_count < KEK_PROVIDER_FACTS_MAX) {
        struct kek_provider_fact *at = &attested->facts[attested->fact_count++];
        snprintf(at->name, sizeof at->name, "%s", name);
        kek_text_copy(at->value, sizeof at->value, value);
    }
}

/* ---- the statement ---- */

static void take_statement(struct work *work)
{
    struct kek_provider_attested *attested = work->attested;
    struct kek_why why;
    if (strcmp(attested->format, FORMAT) != 0) {
        outcome(work, CHECK_STATEMENT, KEK_CHECK_FAILED,
                "its format is %s, and this kekd knows " FORMAT " alone", attested->format);
        return;
    }
    if (kek_gcp_statement_unpack(kek_bytes(attested->statement, attested->statement_len),
                                 &work->plain, &why) != KEK_OK ||
        kek_gcp_statement_read(kek_bytes(work->plain.data, work->plain.len), &work->statement,
                               &why) != KEK_OK) {
        outcome(work, CHECK_STATEMENT, KEK_CHECK_FAILED, "%s", why.text);
        return;
    }
    work->readable = true;
    outcome(work, CHECK_STATEMENT, KEK_CHECK_PASSED, "%s", FORMAT);
}

/* ---- the chains ---- */

/* Those of one list. NULL: *why says why there is none. */
static STACK_OF(X509) *
    sent(const struct kek_provider_attested *attested, const char *chain, struct kek_why *why)
{
    STACK_OF(X509) *all = NULL;
    KEK_AUTO_BUF struct kek_buf pem;
    kek_buf_init(&pem, sizeof attested->certificates);
    for (size_t i = 0; i < attested->certificate_count; i++) {
        const struct kek_provider_certificate *one = &attested->certificates[i];
        if (strcmp(one->chain, chain) == 0 &&
            (kek_buf_append(&pem, kek_bytes_of(one->pem), why) != KEK_OK ||
             kek_buf_append(&pem, kek_bytes("\n", 1), why) != KEK_OK)) {
            return NULL;
        }
    }
    if (pem.len == 0) {
        kek_fail(why, KEK_INVALID, "no certificate came with the statement");
        return NULL;
    }
    return kek_gcp_certificates_read(kek_bytes(pem.data, pem.len), &all, why) == KEK_OK ? all
                                                                                        : NULL;
}

/* From the leaf of that list to a root; NULL: the check fails. */
static STACK_OF(X509) * lead(struct work *work, enum check check, const char *list,
                             const struct kek_gcp_chain_rules *rules)
{
    struct kek_why why;
    STACK_OF(X509) *chain = NULL, *bag = sent(work->attested, list, &why);
    if (bag == NULL || kek_gcp_chain_verify(rules, bag, &chain, &why) != KEK_OK) {
        outcome(work, check, KEK_CHECK_FAILED, "%s: %s", list, why.text);
    }
    kek_gcp_certificates_free(bag);
    return chain;
}

static STACK_OF(X509) *
    roots_of(struct work *work, enum check check, const char *path, const char *setting)
{
    STACK_OF(X509) *roots = NULL;
    struct kek_why why;
    if (path[0] == '\0') {
        outcome(work, check, KEK_CHECK_UNTRIED, "%s is not set: nothing to lead to", setting);
    } else if (kek_gcp_certificates_file(path, setting, &roots, &why) != KEK_OK) {
        outcome(work, check, KEK_CHECK_UNTRIED, "%s", why.text);
    }
    return roots;
}

static void pass_chain(struct work *work, enum check check, STACK_OF(X509) * chain)
{
    char leaf[64], root[64];
    kek_gcp_chain_name(sk_X509_value(chain, 0), leaf, sizeof leaf);
    kek_gcp_chain_name(sk_X509_value(chain, sk_X509_num(chain) - 1), root, sizeof root);
    outcome(work, check, KEK_CHECK_PASSED, "\"%s\" leads to \"%s\"", leaf, root);
}

/* The partition's certificate was issued by its card's, and that by the manufacturer. */
static void take_maker(struct work *work)
{
    static const char setting[] = "manufacturer_root";
    struct kek_gcp_chain_rules rules = {
        .roots_name = setting, .at = work->now, .bare_issuer = true};
    rules.roots = roots_of(work, CHECK_MANUFACTURER, work->roots->manufacturer, setting);
    if (rules.roots == NULL) {
        return;
    }
    work->maker = lead(work, CHECK_MANUFACTURER, KEK_GCP_CAVIUM, &rules);
    kek_gcp_certificates_free(rules.roots);
    if (work->maker != NULL && sk_X509_num(work->maker) < 3) {
        kek_gcp_certificates_free(work->maker);
        work->maker = NULL;
        outcome(work, CHECK_MANUFACTURER, KEK_CHECK_FAILED,
                KEK_GCP_CAVIUM ": there is no certificate of a partition in it");
    } else if (work->maker != NULL) {
        pass_chain(work, CHECK_MANUFACTURER, work->maker);
    }
}

static bool same_key(STACK_OF(X509) * one, int at, STACK_OF(X509) * other)
{
    return EVP_PKEY_eq(X509_get0_pubkey(sk_X509_value(one, at)),
                       X509_get0_pubkey(sk_X509_value(other, 0))) == 1;
}

/* The owner certifies the card and the partition, each by its key. */
static void take_owner(struct work *work)
{
    static const char setting[] = "owner_root";
    struct kek_gcp_chain_rules rules = {.roots_name = setting, .at = work->now};
    rules.roots = roots_of(work, CHECK_OWNER, work->roots->owner, setting);
    if (rules.roots == NULL) {
        return;
    }
    work->partition = lead(work, CHECK_OWNER, KEK_GCP_PARTITION, &rules);
    work->card = work->partition == NULL ? NULL : lead(work, CHECK_OWNER, KEK_GCP_CARD, &rules);
    kek_gcp_certificates_free(rules.roots);
    if (work->card == NULL || work->maker == NULL) {
        if (work->card != NULL) {
            outcome(work, CHECK_OWNER, KEK_CHECK_UNTRIED,
                    "it leads to a root, and there is no manufacturer's chain to hold it to");
        }
    } else if (!same_key(work->maker, 1, work->card)) {
        outcome(work, CHECK_OWNER, KEK_CHECK_FAILED,
                KEK_GCP_CARD ": its key is not that of the manufacturer's card");
    } else if (!same_key(work->maker, 0, work->partition)) {
        outcome(work, CHECK_OWNER, KEK_CHECK_FAILED,
                KEK_GCP_PARTITION ": its key is not that of the manufacturer's partition");
    } else {
        pass_chain(work, CHECK_OWNER, work->partition);
    }
}

/* ---- the signature ---- */

static void take_signature(struct work *work)
{
    STACK_OF(X509) *by = work->maker != NULL ? work->maker : work->partition;
    const struct kek_gcp_statement *statement = &work->statement;
    if (!work->readable || by == NULL) {
        outcome(work, CHECK_SIGNATURE, KEK_CHECK_UNTRIED,
                work->readable ? "no certificate that leads to a root" : "there is no statement");
        return;
    }
    EVP_PKEY *key = X509_get0_pubkey(sk_X509_value(by, 0));
    EVP_MD_CTX *verify = EVP_MD_CTX_new();
    bool good = verify != NULL && EVP_PKEY_is_a(key, "RSA") == 1 &&
                EVP_DigestVerifyInit(verify, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestVerify(verify, statement->signature.data, statement->signature.len,
                                 statement->is_signed.data, statement->is_signed.len) == 1;
    EVP_MD_CTX_free(verify);
    outcome(work, CHECK_SIGNATURE, good ? KEK_CHECK_PASSED : KEK_CHECK_FAILED, "%s",
            good ? "the partition's key signed the statement"
                 : "the partition's key did not sign this statement");
}

/* ---- what it says ---- */

static bool is(const struct work *work, enum kek_gcp_attribute type, uint32_t wanted)
{
    uint32_t number;
    return kek_gcp_statement_number(&work->statement, type, &number) && number == wanted;
}

/* The key's id is two digests in hex; the second is that of the version's resource name. */
static void judge_version(struct work *work, const char *version)
{
    const struct kek_bytes *id = kek_gcp_statement_find(&work->statement, KEK_GCP_ATTR_ID);
    char digest[KEK_SHA256_TEXT];
    size_t len = KEK_SHA256_TEXT - 1;
    if (!kek_sha256_text(kek_bytes_of(version), digest)) {
        outcome(work, CHECK_VERSION, KEK_CHECK_UNTRIED, "no memory for a digest");
        return;
    }
    bool same = id != NULL && id->len == 2 * len && memcmp(id->data + len, digest, len) == 0;
    outcome(work, CHECK_VERSION, same ? KEK_CHECK_PASSED : KEK_CHECK_FAILED, "%s",
            same ? "it is about this version"
                 : "it is about another key: its id is not made of this version's name");
}

static void judge(struct work *work, const char *version)
{
    if (!work->readable) {
        for (int i = CHECK_VERSION; i < CHECKS; i++) {
            outcome(work, (enum check)i, KEK_CHECK_UNTRIED, "there is no statement");
        }
        return;
    }
    bool aes = is(work, KEK_GCP_ATTR_CLASS, CLASS_SECRET_KEY) &&
               is(work, KEK_GCP_ATTR_KEY_TYPE, TYPE_AES) &&
               is(work, KEK_GCP_ATTR_VALUE_LEN, KEY_BYTES);
    bool local = is(work, KEK_GCP_ATTR_LOCAL, 1);
    bool kept = is(work, KEK_GCP_ATTR_EXTRACTABLE, 0) &&
                is(work, KEK_GCP_ATTR_NEVER_EXTRACTABLE, 1) &&
                is(work, KEK_GCP_ATTR_SENSITIVE, 1) && is(work, KEK_GCP_ATTR_ALWAYS_SENSITIVE, 1);
    judge_version(work, version);
    outcome(work, CHECK_KEY, aes ? KEK_CHECK_PASSED : KEK_CHECK_FAILED, "it is %s",
            aes ? "an AES key of 256 bits" : "no AES key of 256 bits");
    outcome(work, CHECK_GENERATED, local ? KEK_CHECK_PASSED : KEK_CHECK_FAILED, "it was %s",
            local ? "generated in the HSM" : "not generated in the HSM");
    outcome(work, CHECK_KEPT, kept ? KEK_CHECK_PASSED : KEK_CHECK_FAILED, "it %s",
            kept ? "is not extractable, and never was" : "is extractable, or once was");
}

static void tell_facts(struct work *work)
{
    static const struct {
        const char *name;
        enum kek_gcp_attribute type;
    } shown[] = {{"kcv", KEK_GCP_ATTR_KCV}, {"ekcv", KEK_GCP_ATTR_EKCV}};
    char text[KEK_PROVIDER_FACT_LEN];
    const struct kek_bytes *id = kek_gcp_statement_find(&work->statement, KEK_GCP_ATTR_ID);
    if (id != NULL) {
        snprintf(text, sizeof text, "%.*s", (int)(id->len < 128 ? id->len : 128),
                 (const char *)id->data);
        fact(work, "id", text);
    }
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        const struct kek_bytes *bytes = kek_gcp_statement_find(&work->statement, shown[i].type);
        if (bytes != NULL && bytes->len * 2 < sizeof text) {
            kek_hex(*bytes, text);
            fact(work, shown[i].name, text);
        }
    }
}

/* ---- all of it ---- */

void kek_gcp_verify(struct kek_provider_attested *attested, const char *version,
                    const struct kek_gcp_roots *roots, time_t now)
{
    struct work work = {.attested = attested, .roots = roots, .now = now};
    kek_buf_init(&work.plain, KEK_GCP_STATEMENT_PLAIN);
    name_all(attested);
    take_statement(&work);
    take_maker(&work);
    take_owner(&work);
    take_signature(&work);
    judge(&work, version);
    if (work.readable) {
        tell_facts(&work);
    }
    kek_gcp_certificates_free(work.maker);
    kek_gcp_certificates_free(work.card);
    kek_gcp_certificates_free(work.partition);
    kek_buf_done(&work.plain);
}

void kek_gcp_verify_nothing(struct kek_provider_attested *attested, const char *reason)
{
    struct work work = {.attested = attested};
    name_all(attested);
    for (int i = 0; i < CHECKS; i++) {
        outcome(&work, (enum check)i, KEK_CHECK_UNTRIED, "there is no statement");
    }
    outcome(&work, CHECK_STATEMENT, KEK_CHECK_FAILED, "%s", reason);
}

bool kek_gcp_verified(const struct kek_provider_attested *attested)
{
    for (size_t i = 0; i < attested->check_count; i++) {
        if (attested->checks[i].outcome != KEK_CHECK_PASSED) {
            return false;
        }
    }
    return attested->check_count > 0;
}
