/* What subjects that look at one provider after the other share: of which root each is, and which are one token. */
#include <string.h>

#include "doctor.h"

void doctor_about(struct doctor *doctor, const struct kek_config_provider *provider)
{
    const struct kek_config *config = doctor->config;
    doctor->lines.root = "";
    doctor->lines.provider = provider == NULL ? "" : provider->name;
    for (size_t i = 0; provider != NULL && config->root_count > 1 && i < config->root_count; i++) {
        const struct kek_config_root *root = &config->roots[i];
        size_t at = (size_t)(provider - config->providers);
        if (at >= root->first_provider && at < root->first_provider + root->provider_count) {
            doctor->lines.root = root->name;
        }
    }
}

bool doctor_one_token(const struct doctor *doctor, size_t one, size_t other)
{
    const struct doctor_token *a = &doctor->tokens[one], *b = &doctor->tokens[other];
    return a->answered && b->answered && a->serial[0] != '\0' &&
           strcmp(a->serial, b->serial) == 0 && strcmp(a->model, b->model) == 0;
}
