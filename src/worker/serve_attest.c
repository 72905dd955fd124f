/* Attested, as bytes. */
#include "serve.h"

#include <string.h>

#define ROOM \
    7168u /* bytes of certificates in one answer: the rest is for the statement and what is said of it */

static size_t add_certificates(const struct kek_provider_attested *attested, uint32_t skip,
                               Kek__Provider__Certificate *items,
                               Kek__Provider__Certificate **pointers)
{
    size_t count = 0, left = ROOM;
    for (size_t i = skip; i < attested->certificate_count; i++) {
        size_t len = strlen(attested->certificates[i].pem);
        if (len > left) {
            break;
        }
        left -= len;
        kek__provider__certificate__init(&items[count]);
        items[count].chain = (char *)attested->certificates[i].chain;
        items[count].pem = (char *)attested->certificates[i].pem;
        pointers[count] = &items[count];
        count++;
    }
    return count;
}

bool kek_serve_message_attested(struct kek_buf *reply, uint64_t id, uint32_t skip,
                                const struct kek_provider_attested *attested)
{
    Kek__Provider__Certificate certificates[KEK_PROVIDER_CERTIFICATES_MAX];
    Kek__Provider__Certificate *certificate_pointers[KEK_PROVIDER_CERTIFICATES_MAX];
    Kek__Provider__Check checks[KEK_PROVIDER_CHECKS_MAX], *check_pointers[KEK_PROVIDER_CHECKS_MAX];
    Kek__Provider__Fact facts[KEK_PROVIDER_FACTS_MAX], *fact_pointers[KEK_PROVIDER_FACTS_MAX];
    for (size_t i = 0; i < attested->check_count; i++) {
        kek__provider__check__init(&checks[i]);
        checks[i].name = (char *)attested->checks[i].name;
        checks[i].outcome = (Kek__Provider__Outcome)attested->checks[i].outcome;
        checks[i].text = (char *)attested->checks[i].text;
        check_pointers[i] = &checks[i];
    }
    for (size_t i = 0; i < attested->fact_count; i++) {
        kek__provider__fact__init(&facts[i]);
        facts[i].name = (char *)attested->facts[i].name;
        facts[i].value = (char *)attested->facts[i].value;
        fact_pointers[i] = &facts[i];
    }
    Kek__Provider__Attested result = KEK__PROVIDER__ATTESTED__INIT;
    result.format = (char *)attested->format;
    result.statement.data = (uint8_t *)attested->statement;
    result.statement.len = attested->statement_len;
    result.n_certificates = add_certificates(attested, skip, certificates, certificate_pointers);
    result.certificates = certificate_pointers;
    result.total = (uint32_t)attested->certificate_count;
    result.n_checks = attested->check_count;
    result.checks = check_pointers;
    result.n_facts = attested->fact_count;
    result.facts = fact_pointers;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_ATTESTED;
    message.attested = &result;
    return kek_serve_message_reply(reply, &message);
}
