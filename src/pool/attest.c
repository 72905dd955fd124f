/* What a worker says that is stated of a key. */
#include "front.h"

#include <string.h>

#include "kek/text.h"

/* PEM as it came, whatever it is: it goes into a file. */
static bool take_certificate(const Kek__Provider__Certificate *wire,
                             struct kek_provider_certificate *certificate)
{
    size_t len = strlen(wire->pem);
    if (len >= sizeof certificate->pem) {
        return false;
    }
    memcpy(certificate->pem, wire->pem, len + 1);
    kek_text_copy(certificate->chain, sizeof certificate->chain, wire->chain);
    return true;
}

static bool take_check(const Kek__Provider__Check *wire, struct kek_provider_check *check)
{
    if ((int)wire->outcome < 0 || wire->outcome > KEK__PROVIDER__OUTCOME__FAILED_CHECK) {
        return false;
    }
    kek_text_copy(check->name, sizeof check->name, wire->name);
    check->outcome = (enum kek_check_outcome)wire->outcome;
    kek_text_copy(check->text, sizeof check->text, wire->text);
    return true;
}

bool kek_message_attested(const Kek__Provider__Attested *message,
                          struct kek_provider_attested *attested)
{
    if (message->statement.len > sizeof attested->statement ||
        message->n_certificates > KEK_PROVIDER_CERTIFICATES_MAX ||
        message->n_certificates > message->total ||
        message->total > KEK_PROVIDER_CERTIFICATES_MAX ||
        message->n_checks > KEK_PROVIDER_CHECKS_MAX || message->n_facts > KEK_PROVIDER_FACTS_MAX) {
        return false;
    }
    for (size_t i = 0; i < message->n_certificates; i++) {
        if (!take_certificate(message->certificates[i], &attested->certificates[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < message->n_checks; i++) {
        if (!take_check(message->checks[i], &attested->checks[i])) {
            return false;
        }
    }
    for (size_t i = 0; i < message->n_facts; i++) {
        struct kek_provider_fact *fact = &attested->facts[i];
        kek_text_copy(fact->name, sizeof fact->name, message->facts[i]->name);
        kek_text_copy(fact->value, sizeof fact->value, message->facts[i]->value);
    }
    kek_text_copy(attested->format, sizeof attested->format, message->format);
    attested->statement_len = message->statement.len;
    if (message->statement.len > 0) {
        memcpy(attested->statement, message->statement.data, message->statement.len);
    }
    attested->total = message->total;
    attested->certificate_count = message->n_certificates;
    attested->check_count = message->n_checks;
    attested->fact_count = message->n_facts;
    return true;
}
