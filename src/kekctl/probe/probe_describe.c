#include "probe_describe.h"

#include <stdio.h>

#include "kekctl/output.h"

static const char *result_of(const struct kek_provider_trial *trial)
{
    switch (trial->verdict) {
    case KEK_VERDICT_WORKS:
        return "works";
    case KEK_VERDICT_MALLEABLE:
        return trial->alg == KEK_WRAP_AES_CBC ? "unauthenticated" : "tampered";
    case KEK_VERDICT_WRONG:
        return "wrong";
    case KEK_VERDICT_REFUSED:
    case KEK_VERDICT_LOST:
        break;
    }
    return "refused";
}

static json_t *says(const struct kek_provider_trial *trial)
{
    char text[sizeof trial->text + 16];
    switch (trial->verdict) {
    case KEK_VERDICT_WORKS:
        return json_string("works");
    case KEK_VERDICT_MALLEABLE:
        return json_string(trial->alg == KEK_WRAP_AES_CBC ? "works, accepts tampered data"
                                                          : "accepts tampered data");
    case KEK_VERDICT_WRONG:
        return json_string("gives back a wrong key");
    case KEK_VERDICT_REFUSED:
    case KEK_VERDICT_LOST:
        break;
    }
    snprintf(text, sizeof text, "refused: %s", trial->text);
    return output_text(text);
}

json_t *probe_describe_trial(const struct keys *keys, size_t provider,
                             const struct kek_provider_trial *trial)
{
    char type[24];
    snprintf(type, sizeof type, "0x%llx", (unsigned long long)trial->type);
    return json_pack("{s:s, s:s, s:o, s:s, s:s, s:b, s:s, s:o, s:I, s:o, s:b}", "provider",
                     keys->config->providers[provider].name, "strategy",
                     trial->encrypts ? "encrypt" : "wrap-key", "mechanism",
                     output_text(trial->mechanism), "type", type, "alg",
                     kek_wrap_alg_name(trial->alg), "advertised", trial->advertised, "result",
                     result_of(trial), "says", says(trial), "code", (json_int_t)trial->native,
                     "tried_with", output_text(trial->key), "used", trial->chosen);
}

static const char *keeps(const struct kek_provider_keeping *keeping)
{
    switch (keeping->outcome) {
    case KEK_KEEPING_KEPT:
        return "yes";
    case KEK_KEEPING_HANDED_OUT:
        return "no";
    case KEK_KEEPING_UNTRIED:
        break;
    }
    return "untried";
}

json_t *probe_keeping_says(const struct kek_provider_keeping *keeping)
{
    char text[sizeof keeping->text + 16];
    switch (keeping->outcome) {
    case KEK_KEEPING_KEPT:
        return json_string("yes");
    case KEK_KEEPING_HANDED_OUT:
        snprintf(text, sizeof text, "NO: %s", keeping->text);
        return output_text(text);
    case KEK_KEEPING_UNTRIED:
        break;
    }
    snprintf(text, sizeof text, "not tried: %s", keeping->text);
    return output_text(text);
}

json_t *probe_describe_provider(const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    static const struct kek_provider_keeping none = {.outcome = KEK_KEEPING_UNTRIED};
    const struct kek_provider_keeping *keeping =
        listing->probed == NULL ? &none : &listing->probed->keeping;
    return json_pack("{s:s, s:b, s:s, s:o, s:I, s:o, s:o, s:o, s:o, s:o}", "name",
                     keys->config->providers[provider].name, "answered", listing->probed != NULL,
                     "keeps_kek", keeps(keeping), "keeps_kek_says", probe_keeping_says(keeping),
                     "keeps_kek_code", (json_int_t)keeping->native, "serial",
                     output_text(status.serial), "model", output_text(status.model), "firmware",
                     output_text(status.firmware), "library", output_text(status.library), "error",
                     output_text(listing->rc == KEK_OK ? "" : listing->why.text));
}
