/* kekd-gcpkms without a network: names, checksums, messages, lists, credentials and assertions. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>
#include <openssl/pem.h>

#include "crc32c.h"
#include "credential.h"
#include "gcp.h"
#include "jwt.h"

#define KEY "projects/p/locations/europe-west1/keyRings/ring/cryptoKeys/kek"
#define V2 KEY "/cryptoKeyVersions/2"

static json_t *json(const char *text)
{
    struct kek_why why;
    json_t *value = kek_bridge_parse(kek_bytes_of(text), &why);
    ck_assert_msg(value != NULL, "%s: %s", text, why.text);
    return value;
}

/* ---- names ---- */

START_TEST(a_key_name_is_taken_only_as_google_writes_it)
{
    static const struct {
        const char *name;
        bool good;
    } names[] = {
        {KEY, true},
        {"projects/example.com:p-1/locations/global/keyRings/A_b-9/cryptoKeys/K", true},
        {"", false},
        {KEY "/", false},
        {V2, false},
        {"/" KEY, false},
        {"projects/p/locations/l/keyRings/r/cryptoKeys/", false},
        {"projects//locations/l/keyRings/r/cryptoKeys/k", false},
        {"projects/p/locations/l/keyRings/../cryptoKeys/k", false},
        {"projects/p/locations/l/keyRings/r/cryptoKeys/k?x=1", false},
        {"projects/p/locations/l/keyRings/r/cryptoKeys/k%2e", false},
        {"projects/p/locations/l/keyRings/r/cryptoKeys/k:encrypt", false},
        {"projects/P/locations/l/keyRings/r/cryptoKeys/k", false},
        {"projects/p/keyRings/r/locations/l/cryptoKeys/k", false},
        {"projects/p/locations/l/keyRings/r/cryptoKeys/"
         "0123456789012345678901234567890123456789012345678901234567890123",
         false},
    };
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct kek_why why;
        ck_assert_msg((kek_gcp_key_check(names[i].name, &why) == KEK_OK) == names[i].good, "%s",
                      names[i].name);
    }
}
END_TEST

START_TEST(a_version_is_one_of_this_key_alone)
{
    char part[64];
    struct kek_id id;
    char text[KEK_ID_TEXT];
    ck_assert_uint_eq(kek_gcp_version_number(KEY, V2), 2);
    ck_assert_uint_eq(kek_gcp_version_number(KEY, KEY "/cryptoKeyVersions/4294967295"), 4294967295);
    ck_assert_uint_eq(kek_gcp_version_number(KEY, KEY "/cryptoKeyVersions/4294967296"), 0);
    ck_assert_uint_eq(kek_gcp_version_number(KEY, KEY "/cryptoKeyVersions/02"), 0);
    ck_assert_uint_eq(kek_gcp_version_number(KEY, KEY "/cryptoKeyVersions/2/"), 0);
    ck_assert_uint_eq(kek_gcp_version_number(KEY, KEY "2/cryptoKeyVersions/2"), 0);
    ck_assert_uint_eq(kek_gcp_version_number(KEY, KEY), 0);
    kek_gcp_key_part(KEY, "keyRings", part, sizeof part);
    ck_assert_str_eq(part, "ring");
    kek_gcp_key_part(KEY, "cryptoKeys", part, sizeof part);
    ck_assert_str_eq(part, "kek");
    /* printf %s NAME | sha256sum */
    kek_gcp_version_id(KEY, 2, &id);
    kek_id_format(&id, text);
    ck_assert_str_eq(text, "ec2b89471a1e20f1e7bab717934109c9");
}
END_TEST

/* ---- checksums ---- */

START_TEST(crc32c_is_google_s)
{
    static const struct {
        const char *text;
        uint32_t sum;
    } known[] = {
        {"123456789", 3808858755u},
        {"aad-bytes", 3843394073u},
        {"hello-dek-0123456789abcdef", 1616519357u},
        {"", 0},
    };
    uint8_t blob[64];
    size_t len;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        ck_assert_uint_eq(kek_gcp_crc32c(kek_bytes_of(known[i].text)), known[i].sum);
    }
    ck_assert(kek_unbase64("CiRDVGhlbGxvLWRlay0wMTIzNDU2Nzg5YWJjZGVm", blob, sizeof blob, &len));
    ck_assert_uint_eq(kek_gcp_crc32c(kek_bytes(blob, len)), 697991571u);
}
END_TEST

/* ---- requests ---- */

START_TEST(a_request_has_each_field_and_its_checksum)
{
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, KEK_GCP_BODY_MAX);
    ck_assert(kek_gcp_message_encrypt(&body, kek_bytes_of("hello-dek-0123456789abcdef"),
                                      kek_bytes_of("aad-bytes")));
    static const char wanted[] =
        "{\"plaintext\":\"aGVsbG8tZGVrLTAxMjM0NTY3ODlhYmNkZWY=\",\"plaintextCrc32c\":"
        "\"1616519357\",\"additionalAuthenticatedData\":\"YWFkLWJ5dGVz\","
        "\"additionalAuthenticatedDataCrc32c\":\"3843394073\"}";
    ck_assert_uint_eq(body.len, strlen(wanted));
    ck_assert(memcmp(body.data, wanted, body.len) == 0);
}
END_TEST

/* ---- answers ---- */

/* Of encrypt, with 48 bytes of "A". */
#define CIPHERTEXT "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFB"

static char *answer_with(const char *name, const char *replacement)
{
    static char text[1024];
    uint8_t blob[48];
    char crc[32];
    memset(blob, 'A', sizeof blob);
    snprintf(crc, sizeof crc, "\"%u\"", kek_gcp_crc32c(kek_bytes(blob, sizeof blob)));
    const struct {
        const char *name, *value;
    } members[] = {
        {"name", "\"" V2 "\""},
        {"ciphertext", "\"" CIPHERTEXT "\""},
        {"ciphertextCrc32c", crc},
        {"verifiedPlaintextCrc32c", "true"},
        {"verifiedAdditionalAuthenticatedDataCrc32c", "true"},
        {"protectionLevel", "\"HSM\""},
    };
    size_t at = (size_t)snprintf(text, sizeof text, "{\"a\":1");
    for (size_t i = 0; i < sizeof members / sizeof members[0]; i++) {
        const char *value = strcmp(members[i].name, name) == 0 ? replacement : members[i].value;
        if (value != NULL) {
            at +=
                (size_t)snprintf(text + at, sizeof text - at, ",\"%s\":%s", members[i].name, value);
        }
    }
    snprintf(text + at, sizeof text - at, "}");
    return text;
}

START_TEST(an_answer_to_encrypt_is_taken_only_if_all_of_it_is_right)
{
    static const struct {
        const char *name, *value;
        enum kek_gcp_class class;
    } wrong[] = {
        {"name", NULL, KEK_GCP_POLICY},
        {"name", "\"" KEY "/cryptoKeyVersions/1\"", KEK_GCP_POLICY},
        {"name", "2", KEK_GCP_POLICY},
        {"ciphertext", NULL, KEK_GCP_TRANSIENT},
        {"ciphertext", "\"\"", KEK_GCP_TRANSIENT},
        {"ciphertext", "\"QUFB\"", KEK_GCP_TRANSIENT},
        {"ciphertext", "\"*\"", KEK_GCP_TRANSIENT},
        {"ciphertextCrc32c", NULL, KEK_GCP_TRANSIENT},
        {"ciphertextCrc32c", "\"0\"", KEK_GCP_TRANSIENT},
        {"ciphertextCrc32c", "\"-1\"", KEK_GCP_TRANSIENT},
        {"ciphertextCrc32c", "\"4294967296\"", KEK_GCP_TRANSIENT},
        {"ciphertextCrc32c", "1", KEK_GCP_TRANSIENT},
        {"verifiedPlaintextCrc32c", NULL, KEK_GCP_TRANSIENT},
        {"verifiedPlaintextCrc32c", "false", KEK_GCP_TRANSIENT},
        {"verifiedPlaintextCrc32c", "\"true\"", KEK_GCP_TRANSIENT},
        {"verifiedAdditionalAuthenticatedDataCrc32c", NULL, KEK_GCP_TRANSIENT},
        {"protectionLevel", NULL, KEK_GCP_POLICY},
        {"protectionLevel", "\"SOFTWARE\"", KEK_GCP_POLICY},
        {"protectionLevel", "\"hsm\"", KEK_GCP_POLICY},
    };
    struct kek_gcp_fault fault;
    struct kek_provider_wrapped wrapped = {0};
    KEK_GCP_AUTO_JSON good = json(answer_with("", NULL));
    ck_assert_msg(kek_gcp_message_encrypted(good, V2, KEK_GCP_HSM, &wrapped, &fault), "%s",
                  fault.why.text);
    ck_assert_uint_eq(wrapped.len, 48);
    ck_assert_int_eq(wrapped.alg, KEK_WRAP_GCP_KMS);
    ck_assert(!kek_gcp_message_encrypted(NULL, V2, KEK_GCP_HSM, &wrapped, &fault));
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kek_provider_wrapped untouched = {.len = 7};
        KEK_GCP_AUTO_JSON answer = json(answer_with(wrong[i].name, wrong[i].value));
        ck_assert_msg(!kek_gcp_message_encrypted(answer, V2, KEK_GCP_HSM, &untouched, &fault),
                      "%s: %s", wrong[i].name, wrong[i].value);
        ck_assert_msg(fault.class == wrong[i].class, "%s: %s: %s", wrong[i].name, wrong[i].value,
                      fault.why.text);
        ck_assert_uint_eq(untouched.len, 7);
    }
}
END_TEST

START_TEST(an_answer_to_decrypt_is_a_data_key_or_nothing)
{
    static const struct {
        const char *text;
        bool good;
        enum kek_gcp_class class;
    } answers[] = {
        /* 32 bytes of zero: printf of their CRC32C is 2324772522 */
        {"{\"plaintext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"plaintextCrc32c\":"
         "\"2324772522\",\"protectionLevel\":\"HSM\"}",
         true, KEK_GCP_TRANSIENT},
        {"{\"plaintext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"plaintextCrc32c\":"
         "\"2324772523\",\"protectionLevel\":\"HSM\"}",
         false, KEK_GCP_TRANSIENT},
        {"{\"plaintext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\","
         "\"protectionLevel\":\"HSM\"}",
         false, KEK_GCP_TRANSIENT},
        {"{\"plaintext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\",\"plaintextCrc32c\":"
         "\"2324772522\",\"protectionLevel\":\"EXTERNAL\"}",
         false, KEK_GCP_POLICY},
        {"{\"plaintext\":\"aGk=\",\"plaintextCrc32c\":\"1231231\",\"protectionLevel\":\"HSM\"}",
         false, KEK_GCP_TRANSIENT},
        {"{\"plaintext\":\"MTIzNDU2Nzg5\",\"plaintextCrc32c\":\"3808858755\","
         "\"protectionLevel\":\"HSM\"}",
         false, KEK_GCP_DATA},
        {"{\"plaintext\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
         "\"plaintextCrc32c\":\"1\",\"protectionLevel\":\"HSM\"}",
         false, KEK_GCP_REQUEST},
    };
    for (size_t i = 0; i < sizeof answers / sizeof answers[0]; i++) {
        KEK_GCP_AUTO_JSON answer = json(answers[i].text);
        KEK_AUTO(kek_secret) key = NULL;
        struct kek_gcp_fault fault = {0};
        bool good = kek_gcp_message_decrypted(answer, KEK_GCP_HSM, &key, &fault);
        ck_assert_msg(good == answers[i].good, "%s: %s", answers[i].text, fault.why.text);
        ck_assert_msg(good || (key == NULL && fault.class == answers[i].class), "%s: %s",
                      answers[i].text, fault.why.text);
    }
}
END_TEST

START_TEST(protection_is_enough_or_it_is_not)
{
    static const struct {
        const char *level;
        bool any, hsm, single;
    } levels[] = {
        {"HSM_SINGLE_TENANT", true, true, true},
        {"HSM", true, true, false},
        {"SOFTWARE", true, false, false},
        {"EXTERNAL", true, false, false},
        {"EXTERNAL_VPC", true, false, false},
        {"PROTECTION_LEVEL_UNSPECIFIED", false, false, false},
        {"hsm", false, false, false},
        {NULL, false, false, false},
    };
    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++) {
        ck_assert(kek_gcp_protects(KEK_GCP_ANY, levels[i].level) == levels[i].any);
        ck_assert(kek_gcp_protects(KEK_GCP_HSM, levels[i].level) == levels[i].hsm);
        ck_assert(kek_gcp_protects(KEK_GCP_SINGLE_TENANT, levels[i].level) == levels[i].single);
    }
}
END_TEST

/* What a text of each begins with. */
static const char *const class_names[] = {
    [KEK_GCP_TRANSIENT] = "TRANSIENT: ", [KEK_GCP_AUTH] = "AUTH: ",
    [KEK_GCP_AUTHZ] = "AUTHZ: ",         [KEK_GCP_STATE] = "KEYSTATE: ",
    [KEK_GCP_NOT_FOUND] = "NOTFOUND: ",  [KEK_GCP_DATA] = "INTEGRITY: ",
    [KEK_GCP_POLICY] = "POLICY: ",       [KEK_GCP_REQUEST] = "REQUEST: ",
    [KEK_GCP_LOCAL] = "LOCAL: ",
};

START_TEST(an_error_is_of_the_class_that_google_s_word_says)
{
    static const struct {
        const char *call;
        long status;
        const char *word; /* NULL: a page that is no JSON of Google's */
        enum kek_gcp_class class;
    } errors[] = {
        {"decrypt", 400, "INVALID_ARGUMENT", KEK_GCP_DATA},
        {"encrypt", 400, "INVALID_ARGUMENT", KEK_GCP_REQUEST},
        {"decrypt", 400, NULL, KEK_GCP_REQUEST},
        {"decrypt", 400, "FAILED_PRECONDITION", KEK_GCP_STATE},
        {"decrypt", 401, "UNAUTHENTICATED", KEK_GCP_AUTH},
        {"decrypt", 401, NULL, KEK_GCP_AUTH},
        {"decrypt", 403, "PERMISSION_DENIED", KEK_GCP_AUTHZ},
        {"decrypt", 404, "NOT_FOUND", KEK_GCP_NOT_FOUND},
        {"decrypt", 404, NULL, KEK_GCP_TRANSIENT}, /* nobody says that the key is gone */
        {"decrypt", 408, NULL, KEK_GCP_TRANSIENT},
        {"decrypt", 429, "RESOURCE_EXHAUSTED", KEK_GCP_TRANSIENT},
        {"decrypt", 500, "INTERNAL", KEK_GCP_TRANSIENT},
        {"decrypt", 502, NULL, KEK_GCP_TRANSIENT},
        {"decrypt", 503, "UNAVAILABLE", KEK_GCP_TRANSIENT},
        {"decrypt", 504, "DEADLINE_EXCEEDED", KEK_GCP_TRANSIENT},
        {"decrypt", 302, NULL, KEK_GCP_TRANSIENT},
    };
    for (size_t i = 0; i < sizeof errors / sizeof errors[0]; i++) {
        char text[256];
        struct kek_gcp_fault fault;
        snprintf(text, sizeof text,
                 "{\"error\":{\"code\":%ld,\"message\":\"m\",\"status\":\"%s\"}}", errors[i].status,
                 errors[i].word == NULL ? "" : errors[i].word);
        KEK_GCP_AUTO_JSON answer = errors[i].word == NULL ? NULL : json(text);
        ck_assert(!kek_gcp_message_error(answer, errors[i].status, errors[i].call, &fault));
        ck_assert_msg(fault.class == errors[i].class, "%ld %s: %s", errors[i].status,
                      errors[i].word, fault.why.text);
        ck_assert_int_eq(fault.why.native, KEK_NATIVE_HTTP);
        ck_assert_uint_eq(fault.why.code, (unsigned long)errors[i].status);
        const char *name = class_names[fault.class];
        ck_assert_int_eq(strncmp(fault.why.text, name, strlen(name)), 0);
    }
}
END_TEST

/* ---- the list ---- */

#define ROW(number, state, more)                                            \
    "{\"name\":\"" KEY "/cryptoKeyVersions/" number "\",\"state\":\"" state \
    "\",\"protectionLevel\":\"HSM\",\"algorithm\":\"GOOGLE_SYMMETRIC_ENCRYPTION\"" more "}"

static struct kek_provider provider = {.key = KEY, .name = "kek", .protection = KEK_GCP_HSM};

static bool page(const char *rows, struct kek_gcp_table *table, struct kek_gcp_fault *fault)
{
    char text[4096], next[64];
    snprintf(text, sizeof text, "{\"cryptoKeyVersions\":[%s]}", rows);
    KEK_GCP_AUTO_JSON answer = json(text);
    return kek_gcp_versions_page(&provider, answer, table, next, sizeof next, fault);
}

START_TEST(each_state_of_a_version_is_what_may_be_done_with_it)
{
    static const struct {
        const char *row;
        bool shown, enabled, fit;
        int64_t destroy_s;
    } rows[] = {
        {ROW("7", "ENABLED", ""), true, true, true, 0},
        {ROW("7", "DISABLED", ""), true, false, true, 0},
        {ROW("7", "DESTROY_SCHEDULED", ",\"destroyTime\":\"2026-12-30T10:00:00.123456Z\""), true,
         false, true, 1798624800},
        {ROW("7", "ENABLED", ",\"destroyTime\":\"2026-12-30T10:00:00Z\""), true, true, true, 0},
        {ROW("7", "DESTROYED", ",\"destroyEventTime\":\"2026-12-30T10:00:00Z\""), false, false,
         false, 0},
        {ROW("7", "PENDING_GENERATION", ""), false, false, false, 0},
        {ROW("7", "PENDING_IMPORT", ""), false, false, false, 0},
        {ROW("7", "IMPORT_FAILED", ""), false, false, false, 0},
        {ROW("7", "GENERATION_FAILED", ""), false, false, false, 0},
        {ROW("7", "EXTERNAL_DESTRUCTION_FAILED", ""), true, false, true, 0},
        {ROW("7", "SOMETHING_NEW", ""), true, false, false, 0},
        {ROW("7", "ENABLED", ",\"importJob\":\"projects/p/...\""), true, true, false, 0},
        {"{\"name\":\"" KEY "/cryptoKeyVersions/7\",\"state\":\"ENABLED\",\"protectionLevel\":"
         "\"SOFTWARE\",\"algorithm\":\"GOOGLE_SYMMETRIC_ENCRYPTION\"}",
         true, true, false, 0},
        {"{\"name\":\"" KEY "/cryptoKeyVersions/7\",\"state\":\"ENABLED\",\"protectionLevel\":"
         "\"HSM\",\"algorithm\":\"RSA_SIGN_PSS_2048_SHA256\"}",
         true, true, false, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct kek_gcp_table table = {0};
        struct kek_gcp_fault fault = {0};
        ck_assert_msg(page(rows[i].row, &table, &fault), "%s: %s", rows[i].row, fault.why.text);
        ck_assert_msg(table.count == (rows[i].shown ? 1 : 0), "%s", rows[i].row);
        if (rows[i].shown) {
            ck_assert_msg(table.items[0].enabled == rows[i].enabled, "%s", rows[i].row);
            ck_assert_msg(table.items[0].fit == rows[i].fit, "%s: %s", rows[i].row,
                          table.items[0].refusal);
            ck_assert_int_eq(table.items[0].destroy_s, rows[i].destroy_s);
        }
        kek_gcp_table_done(&table);
    }
}
END_TEST

START_TEST(a_list_with_another_key_s_version_is_not_taken)
{
    struct kek_gcp_table table = {0};
    struct kek_gcp_fault fault;
    ck_assert(!page(ROW("7", "ENABLED", "") ",{\"name\":\"projects/x\",\"state\":\"ENABLED\"}",
                    &table, &fault));
    ck_assert_int_eq(fault.class, KEK_GCP_POLICY);
    kek_gcp_table_done(&table);
}
END_TEST

START_TEST(the_newest_of_too_many_versions_are_shown_oldest_first)
{
    struct kek_provider_session session = {.provider = &provider};
    struct kek_provider_versions *versions = calloc(1, sizeof *versions);
    session.table.count = 200;
    session.table.items = calloc(200, sizeof *session.table.items);
    for (uint32_t i = 0; i < 200; i++) {
        session.table.items[i] =
            (struct kek_gcp_version){.number = 200 - i, .enabled = true, .fit = i % 100 != 0};
    }
    kek_gcp_versions_show(&session, versions);
    ck_assert_uint_eq(versions->count, KEK_PROVIDER_VERSIONS_MAX);
    ck_assert_uint_eq(versions->items[63].number, 199);
    ck_assert(versions->items[0].eligible);
    ck_assert_uint_eq(versions->items[0].number, 136);
    ck_assert_str_eq(versions->items[63].label, "kek.v199");
    session.table.count = 3; /* 200 is not fit, 199 and 198 are */
    kek_gcp_versions_show(&session, versions);
    ck_assert_uint_eq(versions->count, 3);
    ck_assert(!versions->items[0].eligible);
    ck_assert_uint_eq(versions->items[0].number, 200);
    ck_assert_uint_eq(versions->items[1].number, 198);
    ck_assert_uint_eq(versions->items[2].number, 199);
    kek_gcp_table_done(&session.table);
    free(versions);
}
END_TEST

/* ---- credentials ---- */

static enum kek_rc read_file(const char *text, mode_t mode, struct kek_gcp_credential *credential,
                             struct kek_why *why)
{
    char path[] = "/tmp/kekd-test-XXXXXX", source[64];
    int fd = mkstemp(path);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
    snprintf(source, sizeof source, "file:%s", path);
    enum kek_rc rc = kek_gcp_credential_read(source, credential, why);
    unlink(path);
    return rc;
}

START_TEST(a_credential_is_one_that_a_service_can_use)
{
    static const struct {
        const char *text;
        mode_t mode;
        enum kek_rc rc;
        const char *says;
    } files[] = {
        {"{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\","
         "\"private_key\":\"x\",\"token_uri\":\"https://oauth2.googleapis.com/token\"}",
         0600, KEK_OK, ""},
        {"{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\","
         "\"private_key\":\"x\",\"token_uri\":\"https://oauth2.googleapis.com/token\"}",
         0640, KEK_DENIED, "mode 0640"},
        {"{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\","
         "\"private_key\":\"x\",\"token_uri\":\"http://oauth2.googleapis.com/token\"}",
         0600, KEK_INVALID, "https://"},
        {"{\"type\":\"service_account\",\"client_email\":\"a@b\",\"private_key_id\":\"k\"}", 0600,
         KEK_INVALID, "token_uri"},
        {"{\"type\":\"authorized_user\"}", 0600, KEK_UNIMPLEMENTED, "authorized_user"},
        {"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\","
         "\"token_url\":\"https://sts.googleapis.com/v1/token\",\"credential_source\":{\"url\":"
         "\"http://x\"}}",
         0600, KEK_UNIMPLEMENTED, "from a file alone"},
        {"{\"type\":\"external_account\",\"audience\":\"a\",\"subject_token_type\":\"t\","
         "\"token_url\":\"https://sts.googleapis.com/v1/token\",\"credential_source\":{\"file\":"
         "\"/nonexistent/token\"}}",
         0600, KEK_NOT_FOUND, "/nonexistent/token"},
        {"{\"type\":\"service_account\",\"type\":\"service_account\"}", 0600, KEK_INVALID, "JSON"},
        {"", 0600, KEK_INVALID, "JSON"},
    };
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        struct kek_gcp_credential credential = {0};
        struct kek_why why = {.text = ""};
        enum kek_rc rc = read_file(files[i].text, files[i].mode, &credential, &why);
        ck_assert_msg(rc == files[i].rc, "%zu: %s", i, why.text);
        ck_assert_msg(strstr(why.text, files[i].says) != NULL, "%zu: %s", i, why.text);
        kek_gcp_credential_done(&credential);
    }
}
END_TEST

START_TEST(only_https_and_this_machine_are_asked_for_tokens)
{
    static const struct {
        const char *url;
        bool allowed, plain;
    } urls[] = {
        {"https://oauth2.googleapis.com/token", true, false},
        {"http://127.0.0.1:8080/token", true, true},
        {"http://localhost/token", true, true},
        {"http://127.0.0.1.example.com/token", false, false},
        {"http://localhost.example.com/", false, false},
        {"http://metadata.google.internal/", false, false},
        {"ftp://x", false, false},
        {"https://", false, false},
    };
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        bool plain;
        ck_assert_msg(kek_gcp_url_allowed(urls[i].url, &plain) == urls[i].allowed, "%s",
                      urls[i].url);
        ck_assert(!urls[i].allowed || plain == urls[i].plain);
    }
}
END_TEST

/* ---- the assertion ---- */

static struct kek_secret *pem_of(EVP_PKEY *key)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    ck_assert_int_eq(PEM_write_bio_PrivateKey(bio, key, NULL, NULL, 0, NULL, NULL), 1);
    long len = BIO_get_mem_data(bio, &text);
    struct kek_secret *pem = kek_secret_dup(kek_bytes(text, (size_t)len));
    BIO_free(bio);
    return pem;
}

static size_t decode(const char *text, size_t len, uint8_t *out)
{
    char padded[4096];
    size_t got = 0;
    ck_assert_uint_lt(len, sizeof padded - 4);
    memcpy(padded, text, len);
    for (size_t i = 0; i < len; i++) {
        padded[i] = padded[i] == '-' ? '+' : padded[i] == '_' ? '/' : padded[i];
    }
    while (len % 4 != 0) {
        padded[len++] = '=';
    }
    padded[len] = '\0';
    ck_assert(kek_unbase64(padded, out, 4096, &got));
    return got;
}

START_TEST(an_assertion_verifies_and_claims_what_it_should)
{
    EVP_PKEY *key = EVP_RSA_gen(2048);
    KEK_AUTO(kek_secret) pem = pem_of(key);
    const struct kek_gcp_claims claims = {.issuer = "kekd@p.iam.gserviceaccount.com",
                                          .key_id = "key-1",
                                          .scope = "s",
                                          .audience = "https://oauth2.googleapis.com/token",
                                          .now = 1700000000};
    struct kek_why why = {.text = ""};
    KEK_AUTO_BUF struct kek_buf jwt;
    uint8_t part[4096];
    kek_buf_init(&jwt, KEK_GCP_JWT_MAX);
    ck_assert_msg(kek_gcp_jwt_sign(&claims, pem, &jwt, &why) == KEK_OK, "%s", why.text);
    ck_assert_int_eq(kek_buf_append(&jwt, kek_bytes("", 1), &why), KEK_OK);
    char *text = (char *)jwt.data, *claim = strchr(text, '.') + 1, *sign = strchr(claim, '.') + 1;
    size_t len = decode(text, (size_t)(claim - text) - 1, part);
    part[len] = '\0';
    ck_assert_str_eq((char *)part, "{\"alg\":\"RS256\",\"typ\":\"JWT\",\"kid\":\"key-1\"}");
    len = decode(claim, (size_t)(sign - claim) - 1, part);
    part[len] = '\0';
    ck_assert_str_eq((char *)part,
                     "{\"iss\":\"kekd@p.iam.gserviceaccount.com\",\"scope\":\"s\",\"aud\":"
                     "\"https://oauth2.googleapis.com/token\",\"iat\":1700000000,\"exp\":"
                     "1700000300}");
    len = decode(sign, strlen(sign), part);
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    ck_assert_int_eq(EVP_DigestVerifyInit(context, NULL, EVP_sha256(), NULL, key), 1);
    ck_assert_int_eq(
        EVP_DigestVerify(context, part, len, (uint8_t *)text, (size_t)(sign - text) - 1), 1);
    EVP_MD_CTX_free(context);
    EVP_PKEY_free(key);
}
END_TEST

START_TEST(a_key_that_is_not_rsa_signs_nothing)
{
    EVP_PKEY *key = EVP_EC_gen("P-256");
    KEK_AUTO(kek_secret) pem = pem_of(key);
    KEK_AUTO(kek_secret) junk = kek_secret_dup(kek_bytes_of("no key"));
    const struct kek_gcp_claims claims = {"i", "k", "s", "a", 1};
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf jwt;
    kek_buf_init(&jwt, KEK_GCP_JWT_MAX);
    ck_assert_int_eq(kek_gcp_jwt_sign(&claims, pem, &jwt, &why), KEK_INVALID);
    kek_buf_reset(&jwt);
    ck_assert_int_eq(kek_gcp_jwt_sign(&claims, junk, &jwt, &why), KEK_INVALID);
    EVP_PKEY_free(key);
}
END_TEST

int main(void)
{
    bool locked;
    struct kek_why why;
    Suite *suite = suite_create("gcpkms");
    TCase *all = tcase_create("all");
    if (kek_secret_setup(256 * 1024, &locked, &why) != KEK_OK) {
        return 1;
    }
    kek_bridge_setup();
    tcase_add_test(all, a_key_name_is_taken_only_as_google_writes_it);
    tcase_add_test(all, a_version_is_one_of_this_key_alone);
    tcase_add_test(all, crc32c_is_google_s);
    tcase_add_test(all, a_request_has_each_field_and_its_checksum);
    tcase_add_test(all, an_answer_to_encrypt_is_taken_only_if_all_of_it_is_right);
    tcase_add_test(all, an_answer_to_decrypt_is_a_data_key_or_nothing);
    tcase_add_test(all, protection_is_enough_or_it_is_not);
    tcase_add_test(all, an_error_is_of_the_class_that_google_s_word_says);
    tcase_add_test(all, each_state_of_a_version_is_what_may_be_done_with_it);
    tcase_add_test(all, a_list_with_another_key_s_version_is_not_taken);
    tcase_add_test(all, the_newest_of_too_many_versions_are_shown_oldest_first);
    tcase_add_test(all, a_credential_is_one_that_a_service_can_use);
    tcase_add_test(all, only_https_and_this_machine_are_asked_for_tokens);
    tcase_add_test(all, an_assertion_verifies_and_claims_what_it_should);
    tcase_add_test(all, a_key_that_is_not_rsa_signs_nothing);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
