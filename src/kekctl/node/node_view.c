/* What a page says of one key, and of the node in a word. Pure. */
#include "nodes.h"

#include <string.h>

const struct node_version *node_version(const struct node_status *status,
                                        const struct kek_id *kek_id)
{
    for (size_t i = 0; i < status->version_count; i++) {
        if (kek_id_equal(&status->versions[i].kek_id, kek_id)) {
            return &status->versions[i];
        }
    }
    return NULL;
}

bool node_surplus(const struct node_status *status, const struct node_version *version)
{
    bool surplus = false;
    for (size_t i = 0; i < status->version_count; i++) {
        const struct node_version *other = &status->versions[i];
        surplus = surplus ||
                  (other->number == version->number && strcmp(other->root, version->root) == 0 &&
                   (node_announces(status, &other->kek_id) ||
                    memcmp(other->kek_id.bytes, version->kek_id.bytes, KEK_ID_LEN) < 0));
    }
    return surplus && !node_announces(status, &version->kek_id);
}

bool node_announces(const struct node_status *status, const struct kek_id *kek_id)
{
    return status->announces && kek_id_equal(&status->primary.kek_id, kek_id);
}

static bool is_one(const struct node *a, const struct node *b)
{
    return a->reachable && b->reachable && strcmp(a->status.node, b->status.node) == 0 &&
           strcmp(a->status.context_sha256, b->status.context_sha256) == 0;
}

bool node_twins(const struct node *list, size_t count, const struct node *pair[static 2])
{
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (is_one(&list[j], &list[i])) {
                pair[0] = &list[j];
                pair[1] = &list[i];
                return true;
            }
        }
    }
    return false;
}

const char *node_health(const struct node_status *status)
{
    return status->root_out && strcmp(status->health, "good") == 0 ? "degraded" : status->health;
}

bool node_seals(const struct node_status *status, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < status->sealing_count; i++) {
        if (kek_id_equal(&status->sealing[i], kek_id)) {
            return true;
        }
    }
    return false;
}
