/* Which of OpenSSL's providers serves each algorithm that kekd uses outside the HSM: fetched here as kekd fetches it. */
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/provider.h>
#include <openssl/rand.h>

#include "report.h"

#define FIPS_PROVIDER "fips" /* fips_module(7) */

enum kind { CIPHER, MAC, DIGEST, RANDOM };

static const struct wanted {
    const char *name, *use;
    enum kind kind;
} wanted[] = {
    {"AES-256-CBC", "encrypts what the API server hands over", CIPHER},
    {"HMAC", "authenticates it, and derives its keys from a data key (with SHA-512)", MAC},
    {"SHA512", "of that HMAC", DIGEST},
    {"SHA256", "names of keys (key_id), digests of files", DIGEST},
    {"random numbers", "data keys and IVs", RANDOM},
};

/* What answers for an algorithm; holds it until release(). */
struct found {
    EVP_CIPHER *cipher;
    EVP_MAC *mac;
    EVP_MD *digest;
    const OSSL_PROVIDER *provider; /* NULL: nobody has it */
    const char *name;              /* as it is called there */
};

static struct found find(const struct wanted *one)
{
    struct found found = {.name = one->name};
    if (one->kind == CIPHER) {
        found.cipher = EVP_CIPHER_fetch(NULL, one->name, NULL);
        found.provider = found.cipher == NULL ? NULL : EVP_CIPHER_get0_provider(found.cipher);
    } else if (one->kind == MAC) {
        found.mac = EVP_MAC_fetch(NULL, one->name, NULL);
        found.provider = found.mac == NULL ? NULL : EVP_MAC_get0_provider(found.mac);
    } else if (one->kind == DIGEST) {
        found.digest = EVP_MD_fetch(NULL, one->name, NULL);
        found.provider = found.digest == NULL ? NULL : EVP_MD_get0_provider(found.digest);
    } else {
        EVP_RAND_CTX *context = RAND_get0_private(NULL);
        EVP_RAND *random = context == NULL ? NULL : EVP_RAND_CTX_get0_rand(context);
        found.provider = random == NULL ? NULL : EVP_RAND_get0_provider(random);
        found.name = random == NULL ? one->name : EVP_RAND_get0_name(random);
    }
    return found;
}

static void release(struct found *found)
{
    EVP_CIPHER_free(found->cipher);
    EVP_MAC_free(found->mac);
    EVP_MD_free(found->digest);
    ERR_clear_error();
}

static json_t *row(const struct wanted *one, const struct found *found)
{
    const char *version = "not told", *build = "not told";
    OSSL_PARAM told[] = {
        OSSL_PARAM_construct_utf8_ptr(OSSL_PROV_PARAM_VERSION, (char **)&version, 0),
        OSSL_PARAM_construct_utf8_ptr(OSSL_PROV_PARAM_BUILDINFO, (char **)&build, 0),
        OSSL_PARAM_construct_end(),
    };
    const char *name = "none";
    if (found->provider != NULL) {
        name = OSSL_PROVIDER_get0_name(found->provider);
        (void)OSSL_PROVIDER_get_params(found->provider, told);
    }
    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:b}", "algorithm", found->name, "use", one->use,
                     "provider", name, "provider_version", output_text(version), "provider_build",
                     output_text(build), "fips", strcmp(name, FIPS_PROVIDER) == 0);
}

json_t *report_algorithms(struct report *report)
{
    json_t *list = json_array(), *why = json_array();
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        struct found found = find(&wanted[i]);
        if (found.provider == NULL) {
            (void)report_say(why, "OpenSSL has no %s as it is configured here", wanted[i].name);
            report_attend(report, "OpenSSL has no %s", wanted[i].name);
        }
        (void)report_add(list, row(&wanted[i], &found));
        release(&found);
    }
    bool whole = json_array_size(list) == sizeof wanted / sizeof wanted[0];
    json_t *content =
        json_pack("{s:s, s:b, s:o}", "library", OpenSSL_version(OPENSSL_VERSION), "fips_required",
                  EVP_default_properties_is_fips_enabled(NULL) == 1, "algorithms", list);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, why, true);
}

void report_algorithms_show(struct page *page, const json_t *section)
{
    static const struct column about[] = {
        {"library", "Library"}, {"fips_required", "FIPS implementations required (fips=yes)"}};
    static const struct column columns[] = {
        {"algorithm", "Algorithm"},         {"use", "What kekd uses it for"},
        {"provider", "Served by provider"}, {"provider_version", "Version"},
        {"provider_build", "Build"},        {"fips", "FIPS provider"}};
    page_paragraph(page,
                   "As OpenSSL's configuration has kekctl fetch each, on this node, now. kekd "
                   "fetches the same unless its environment names another configuration. Whether "
                   "a FIPS provider is a validated one is told by its certificate alone.");
    page_object(page, section, about, sizeof about / sizeof about[0]);
    page_table(page, json_object_get(section, "algorithms"), columns,
               sizeof columns / sizeof columns[0], "None.");
}
