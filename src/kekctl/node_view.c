/* What a page says of one key. Pure. */
#include "nodes.h"

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

bool node_announces(const struct node_status *status, const struct kek_id *kek_id)
{
    return status->announces && kek_id_equal(&status->primary.kek_id, kek_id);
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
