#include "front.h"

#include <string.h>

/* The versions that a provider showed, for its next worker: a service may show no more of one that is closed. */

void kek_known_add(struct kek_backend *backend, uint32_t number, const struct kek_id *id)
{
    for (size_t i = 0; i < backend->known_count; i++) {
        if (kek_id_equal(&backend->known[i].id, id)) {
            return;
        }
    }
    if (backend->known_count ==
        KEK_PROVIDER_VERSIONS_MAX) { /* the one that is known for longest goes */
        backend->known_count--;
        memmove(&backend->known[0], &backend->known[1],
                backend->known_count * sizeof backend->known[0]);
    }
    backend->known[backend->known_count++] = (struct kek_known){.number = number, .id = *id};
}

void kek_known_listed(struct kek_backend *backend, const struct kek_provider_versions *versions)
{
    for (size_t i = 0; i < versions->count; i++) {
        if (versions->items[i].eligible) {
            kek_known_add(backend, versions->items[i].number, &versions->items[i].id);
        }
    }
}

void kek_pool_know(struct kek_pool *pool, uint32_t number, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < pool->backend_count; i++) {
        kek_known_add(&pool->backends[i], number, kek_id);
    }
}
