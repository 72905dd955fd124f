#include "inventory_state.h"

#include <string.h>

static const char *const names[] = {"ENCRYPTED",          "DECRYPTED",        "ENCRYPTION_PENDING",
                                    "DECRYPTION_PENDING", "ENCRYPTION_ERROR", "DECRYPTION_ERROR"};

const char *inventory_state_name(enum inventory_state state)
{
    return names[state];
}

/* What the objects of a resource are under, as seen from what was wanted. */
struct view {
    uint64_t right, plain;
    const struct kek_root_form *keks; /* that all must be under; NULL: none were seen */
};

/* Where there is one root of trust, nothing is under several KEKs by right. */
static bool under_keks(const struct tally *tally, const struct tally_cover *cover,
                       const struct kek_root_form *primary, struct view *view)
{
    if (view->keks == NULL) {
        view->keks = primary != NULL ? primary : &cover->form;
    }
    bool fits = tally->rules == NULL ? cover->form.count == 1 : !tally_is_weak(cover);
    return fits && kek_root_form_equal(&cover->form, view->keks);
}

static bool is_right(const struct tally *tally, const struct tally_cover *cover,
                     const struct inventory_wanted *wanted, const struct kek_root_form *primary,
                     struct view *view)
{
    if (cover->rest) {
        return false;
    }
    switch (wanted->wish) {
    case WISH_KEKD:
        return cover->is_kekd && under_keks(tally, cover, primary, view);
    case WISH_PROVIDER:
        return cover->kind == wanted->kind &&
               kek_bytes_equal(cover->provider, kek_bytes_of(wanted->provider)) &&
               (!cover->is_kekd || under_keks(tally, cover, primary, view));
    case WISH_PLAIN:
    case WISH_NOTHING:
    default:
        return cover->kind == KEK_KUBE_PLAIN;
    }
}

static uint64_t troubles_of(const struct tally_resource *resource)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < TALLY_TROUBLES; i++) {
        sum += resource->troubled[i];
    }
    return sum;
}

enum inventory_state inventory_state_none(const struct inventory_wanted *wanted)
{
    return wanted->wish == WISH_PLAIN ? INVENTORY_DECRYPTED : INVENTORY_ENCRYPTED;
}

enum inventory_state inventory_state_of(const struct tally *tally,
                                        const struct tally_resource *resource,
                                        const struct inventory_wanted *wanted,
                                        const struct kek_root_form *primary, uint64_t unread)
{
    struct view view = {.keks = NULL};
    bool plain_wanted = wanted->wish == WISH_PLAIN;
    if (unread > 0 || resource->lost > 0 || troubles_of(resource) > 0) {
        return plain_wanted ? INVENTORY_DECRYPTION_ERROR : INVENTORY_ENCRYPTION_ERROR;
    }
    for (size_t i = 0; i < resource->count; i++) {
        const struct tally_cover *cover = &tally->covers[resource->counts[i].cover];
        uint64_t objects = resource->counts[i].objects;
        view.right += is_right(tally, cover, wanted, primary, &view) ? objects : 0;
        view.plain += !cover->rest && cover->kind == KEK_KUBE_PLAIN ? objects : 0;
    }
    if (view.right == resource->objects) {
        return inventory_state_none(wanted);
    }
    if (plain_wanted) {
        return INVENTORY_DECRYPTION_PENDING;
    }
    /* Nobody says that encrypting it has begun. */
    bool untouched = wanted->wish == WISH_KEKD && view.plain == resource->objects;
    return untouched ? INVENTORY_DECRYPTED : INVENTORY_ENCRYPTION_PENDING;
}

bool inventory_state_good(enum inventory_state state, const struct inventory_wanted *wanted)
{
    return state == inventory_state_none(wanted);
}

void inventory_sum_add(struct inventory_sum *sum, enum inventory_state state,
                       const struct inventory_wanted *wanted)
{
    /* What matters most first; what is as it was wanted matters least. */
    static const unsigned weight[] = {
        [INVENTORY_ENCRYPTION_ERROR] = 5,   [INVENTORY_DECRYPTION_ERROR] = 4,
        [INVENTORY_ENCRYPTION_PENDING] = 3, [INVENTORY_DECRYPTION_PENDING] = 2,
        [INVENTORY_ENCRYPTED] = 1,          [INVENTORY_DECRYPTED] = 0,
    };
    bool good = inventory_state_good(state, wanted);
    if (!sum->any) {
        *sum = (struct inventory_sum){.any = true, .good = good, .state = state};
        return;
    }
    /* One resource is encrypted and another, which should be, is not yet. */
    bool half = (state == INVENTORY_DECRYPTED && !good && sum->state != INVENTORY_DECRYPTED) ||
                (sum->state == INVENTORY_DECRYPTED && !sum->good && state != INVENTORY_DECRYPTED);
    enum inventory_state joined = weight[state] > weight[sum->state] ? state : sum->state;
    if (half && weight[joined] < weight[INVENTORY_ENCRYPTION_PENDING]) {
        joined = INVENTORY_ENCRYPTION_PENDING;
    }
    sum->state = joined;
    sum->good = sum->good && good;
}
