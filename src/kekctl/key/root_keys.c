#include "root_keys.h"

static bool open_each(struct root_keys *keys, const struct ctl *ctl, enum ctl_exit *code)
{
    for (size_t i = 0; i < keys->config->root_count; i++) {
        keys->ctls[i] = *ctl;
        keys->ctls[i].root = keys->config->roots[i].name;
        keys->ctls[i].roots = CTL_ROOTS_ONE;
        bool opened = keys_open(&keys->list[i], &keys->ctls[i]);
        keys->count = i + 1; /* it is to be closed either way */
        if (!opened) {
            *code = keys->list[i].code;
            return false;
        }
    }
    return true;
}

bool root_keys_open(struct root_keys *keys, const struct ctl *ctl, enum ctl_exit *code)
{
    *keys = (struct root_keys){.count = 0};
    bool opened = keys_open(&keys->list[0], ctl);
    keys->count = 1;
    keys->config = keys->list[0].config;
    if (!opened || keys->config->root_count <= 1) {
        *code = keys->list[0].code;
        return opened;
    }
    keys->owned = true;
    return open_each(keys, ctl, code);
}

/* Each of a root's workers is a login, and one is asked at a time. */
void root_keys_start_one(struct keys *keys)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        keys->config->providers[p].processes = 1;
    }
    if (keys_start(keys, false)) {
        return;
    }
    ctl_say(keys->ctl, "no provider can be asked");
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        keys->listings[p].rc =
            kek_fail(&keys->listings[p].why, KEK_UNAVAILABLE, "no worker could be started");
    }
}

void root_keys_start(struct root_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        root_keys_start_one(&keys->list[i]);
    }
}

void root_keys_close(struct root_keys *keys)
{
    for (size_t i = 0; i < keys->count; i++) {
        keys_close(&keys->list[i]);
    }
    if (keys->owned) {
        kek_config_free(keys->config);
    }
    keys->count = 0;
}

size_t root_keys_provider(const struct root_keys *keys, size_t root, size_t provider)
{
    return (keys->owned ? keys->config->roots[root].first_provider : 0) + provider;
}
