/* Who waits for the keyring.  A wait is on one list, and ends in the turn: never inside a call. */
#include "keyring/ring.h"

struct kek_keyring_wait *wait_add(struct kek_keyring_wait **list, void *arg)
{
    struct kek_keyring_wait *wait = calloc(1, sizeof *wait);
    if (wait != NULL) {
        wait->list = list;
        wait->arg = arg;
        DL_APPEND(*list, wait);
    }
    return wait;
}

void kek_keyring_cancel(struct kek_keyring_wait *wait)
{
    DL_DELETE(*wait->list, wait);
    free(wait);
}

void wait_end(struct kek_keyring *ring, struct kek_keyring_wait **list, enum kek_rc rc)
{
    struct kek_keyring_wait *wait;
    DL_FOREACH (*list, wait) {
        wait->list = &ring->due;
        wait->rc = rc;
    }
    if (*list != NULL) {
        DL_CONCAT(ring->due, *list);
        *list = NULL;
        uv_prepare_start(&ring->turn, ring->on_turn);
    }
}

void wait_tell(struct kek_keyring *ring)
{
    while (ring->due != NULL) {
        struct kek_keyring_wait wait = *ring->due;
        kek_keyring_cancel(ring->due);
        if (wait.looked != NULL) {
            wait.looked(wait.arg);
        } else {
            wait.checked(wait.arg, wait.rc);
        }
    }
}
