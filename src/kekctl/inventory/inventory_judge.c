/* What follows for one resource, and from all of them together. */
#include "inventory.h"

#include <stdio.h>
#include <string.h>

bool inventory_judge_resource(const struct inventory *inventory, const struct tally *tally,
                              const struct tally_resource *resource, enum inventory_state *state)
{
    const struct kek_root_form *primary =
        inventory->keks.primary.count == 0 ? NULL : &inventory->keks.primary;
    struct inventory_wanted wanted = wanted_of(&inventory->scope, resource->name);
    uint64_t unread = wanted_unread(&inventory->scope, tally, resource);
    if ((wanted.wish == WISH_NOTHING && unread == 0) || resource->never_encrypted) {
        return false;
    }
    *state = inventory_state_of(tally, resource, &wanted, primary, unread);
    if (wanted.wish == WISH_NOTHING) {
        *state = INVENTORY_DECRYPTION_ERROR; /* no rule has it, so it should be plain */
    }
    return true;
}

static void add_resources(const struct inventory *inventory, const struct tally *tally,
                          struct inventory_sum *sum)
{
    for (size_t i = 1; i < tally->resource_count; i++) {
        enum inventory_state state;
        struct inventory_wanted wanted = wanted_of(&inventory->scope, tally->resources[i].name);
        if (inventory_judge_resource(inventory, tally, &tally->resources[i], &state)) {
            inventory_sum_add(sum, state, &wanted);
        }
    }
}

static bool has_objects(const struct inventory *inventory, const char *resource)
{
    for (size_t e = 0; e < inventory->etcd_count; e++) {
        const struct tally *tally = inventory->etcds[e].tally;
        for (size_t i = 1; tally != NULL && i < tally->resource_count; i++) {
            if (strcmp(tally->resources[i].name, resource) == 0) {
                return true;
            }
        }
    }
    return false;
}

enum inventory_absence inventory_absence(const struct inventory *inventory, const char *resource)
{
    bool custom;
    if (has_objects(inventory, resource) || kek_kube_is_known(resource, &custom)) {
        return INVENTORY_STORED;
    }
    return custom ? INVENTORY_CUSTOM : INVENTORY_MISSPELT;
}

/* What was asked about and is nowhere is as it should be, if there can be such a thing.  False: there cannot. */
static bool add_absent(const struct inventory *inventory, struct inventory_sum *sum)
{
    const char *name;
    bool good = true;
    for (size_t i = 0; (name = wanted_named(&inventory->scope, i)) != NULL; i++) {
        struct inventory_wanted wanted = wanted_of(&inventory->scope, name);
        if (inventory_absence(inventory, name) == INVENTORY_MISSPELT) {
            good = false;
        } else if (!has_objects(inventory, name)) {
            inventory_sum_add(sum, inventory_state_none(&wanted), &wanted);
        }
    }
    return good;
}

/* Nothing in it is in trouble, whatever resource it is of.  Where an API server stores
 * nothing of all that, the prefix is another one. */
static bool is_sound(const struct inventory_etcd *etcd)
{
    const struct tally *tally = etcd->tally;
    bool sound =
        tally_is_kubernetes(tally) && !tally->resources_full && tally_unreadable(tally) == 0;
    for (size_t i = 0; i < TALLY_TROUBLES; i++) {
        sound = sound && tally->troubles[i] == 0;
    }
    for (size_t i = 0; i < tally->cover_count; i++) {
        sound = sound && !tally_is_weak(&tally->covers[i]);
    }
    for (size_t i = OPENING_GOOD + 1; etcd->opened != NULL && i < OPENING_OUTCOMES; i++) {
        sound = sound && etcd->opened->counts[i] == 0;
    }
    return sound;
}

/* Are objects under KEKs, where this configuration's primary should be known and is not? */
static bool knows_primary(const struct inventory *inventory)
{
    if (inventory->config == NULL || inventory->keks.primary.count > 0) {
        return true;
    }
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        const struct tally *tally = inventory->etcds[i].complete ? inventory->etcds[i].tally : NULL;
        for (size_t c = 0; tally != NULL && c < tally->cover_count; c++) {
            if (tally->covers[c].is_kekd) {
                return false;
            }
        }
    }
    return true;
}

void inventory_judge(struct inventory *inventory)
{
    struct inventory_sum sum = {.any = false, .good = true};
    bool sound = true;
    inventory->complete = inventory->placed = true;
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        const struct inventory_etcd *etcd = &inventory->etcds[i];
        if (!etcd->complete) {
            inventory->complete = false;
            continue;
        }
        add_resources(inventory, etcd->tally, &sum);
        sound = sound && is_sound(etcd);
        inventory->placed = inventory->placed && tally_is_kubernetes(etcd->tally);
    }
    if (inventory->complete) {
        sound = add_absent(inventory, &sum) && sound;
    }
    inventory->state = sum.state;
    /* Nobody knows what lies elsewhere; what was found amiss here is amiss all the same. */
    inventory->state_known = inventory->complete && sum.any && (inventory->placed || !sum.good);
    inventory->primary_known = knows_primary(inventory);
    inventory->good = inventory->complete && sound && sum.good && inventory->primary_known;
}

void inventory_kek_name(const struct inventory *inventory, const struct kek_id *id,
                        char text[static INVENTORY_KEK_TEXT])
{
    const struct inventory_keks *keks = &inventory->keks;
    const struct inventory_kek *kek = inventory_kek_find(keks, id);
    char hex[KEK_ID_TEXT];
    if (kek == NULL) {
        bool sources = keks->root_count > 0; /* else it may be one of those of which nobody told */
        for (size_t i = 0; i < keks->root_count; i++) {
            sources = sources && keks->roots[i].source != NULL;
        }
        kek_id_format(id, hex);
        snprintf(text, INVENTORY_KEK_TEXT, "%s (%s)", hex,
                 sources ? "another keyring's" : "not known");
        return;
    }
    const struct inventory_root *root = &keks->roots[kek->root];
    snprintf(text, INVENTORY_KEK_TEXT, "%s%s%s.v%u (%s)", root->name,
             root->name[0] == '\0' ? "" : ": ", root->keyring, (unsigned)kek->number,
             inventory_kek_is_primary(keks, id) ? "primary"
             : kek->state[0] != '\0'            ? kek->state
                                                : "not the primary");
}

void inventory_root_names(const struct inventory *inventory, unsigned roots,
                          char text[static INVENTORY_ROOTS_TEXT])
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < inventory->keks.root_count; i++) {
        if ((roots >> i & 1) != 0) {
            len += (size_t)snprintf(text + len, INVENTORY_ROOTS_TEXT - len, "%s%s",
                                    len > 0 ? ", " : "", inventory->keks.roots[i].name);
        }
    }
}

uint64_t inventory_weak(const struct inventory *inventory, unsigned roots)
{
    uint64_t objects = 0;
    for (size_t e = 0; e < inventory->etcd_count; e++) {
        const struct inventory_etcd *etcd = &inventory->etcds[e];
        objects += etcd->complete && etcd->tally != NULL ? tally_weak(etcd->tally, roots) : 0;
    }
    return objects;
}

static bool is_known(const struct inventory *inventory, const struct tally_cover *cover)
{
    bool known = true;
    for (size_t i = 0; i < cover->form.count; i++) {
        known = known && inventory_kek_find(&inventory->keks, &cover->form.kek_ids[i]) != NULL;
    }
    return known;
}

/* Of kms v1 nothing stands beside the envelope: a KEK that is no version of the keyring may be one that was, with a
 * byte of its id changed. */
uint64_t inventory_disagreeing(const struct inventory *inventory, const struct tally *tally)
{
    uint64_t objects = tally->disagreeing;
    for (size_t i = 0; i < tally->cover_count; i++) {
        const struct tally_cover *cover = &tally->covers[i];
        bool alone = cover->is_kekd && cover->kind == KEK_KUBE_KMS_V1;
        objects += alone && !is_known(inventory, cover) ? cover->objects : 0;
    }
    return objects < tally->objects ? objects : tally->objects;
}
