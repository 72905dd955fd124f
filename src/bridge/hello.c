/* What all workers of services take from Hello alike. */
#include "kek/bridge.h"

#include "provider.pb-c.h"

#define CALL_MS 1000u /* where Hello does not say */
#define START_MS 30000u

/* What is left for a tenth is kekd's own, so that it hears our words and not its clock. */
static uint64_t within(uint32_t ms, uint32_t otherwise)
{
    uint64_t whole = ms == 0 ? otherwise : ms;
    return whole - whole / 10;
}

uint64_t kek_bridge_call_ms(const struct Kek__Provider__Hello *hello)
{
    return within(hello->call_ms, CALL_MS);
}

uint64_t kek_bridge_start_ms(const struct Kek__Provider__Hello *hello)
{
    return within(hello->start_ms, START_MS);
}

bool kek_bridge_names_read(const struct Kek__Provider__Hello *hello, struct kek_bridge_names *names,
                           struct kek_provider_failure *failure)
{
    for (size_t i = 0; i < hello->n_versions; i++) {
        const Kek__Provider__NamedVersion *version = hello->versions[i];
        if (version->label[0] != '\0') {
            return kek_bridge_fail(failure, KEK__PROVIDER__STEP__URI,
                                   KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                   "versions: expected no label: a version of this service has "
                                   "only its number");
        }
        names->items[i] = (struct kek_bridge_named){.number = version->number,
                                                    .state = (enum kek_state)version->state};
    }
    names->count = hello->n_versions;
    return true;
}

const struct kek_bridge_named *kek_bridge_names_find(const struct kek_bridge_names *names,
                                                     uint32_t number)
{
    for (size_t i = 0; i < names->count; i++) {
        if (names->items[i].number == number) {
            return &names->items[i];
        }
    }
    return NULL;
}
