/* kekctl inventory: what lies in etcd, and under which key. */
#include "inventory.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "evidence.h"
#include "kek/keyring.h"

/* Evidence. */

/* Its place among those of the record, a new one if need be; NULL: there is no room. */
static struct evidence_count *count_of(struct evidence_record *record, const struct kek_id *id)
{
    for (size_t i = 0; i < record->kek_count; i++) {
        if (kek_id_equal(&record->by_kek[i].kek, id)) {
            return &record->by_kek[i];
        }
    }
    if (record->kek_count == EVIDENCE_KEKS_MAX) {
        return NULL;
    }
    record->by_kek[record->kek_count] = (struct evidence_count){.kek = *id};
    return &record->by_kek[record->kek_count++];
}

/* Does it stand before that place, too?  Who can write to etcd may write so. */
static bool is_again(const struct kek_root_form *form, size_t at)
{
    bool again = false;
    for (size_t i = 0; i < at; i++) {
        again = again || kek_id_equal(&form->kek_ids[i], &form->kek_ids[at]);
    }
    return again;
}

/* Under each of its KEKs, once; what finds no room counts as what nobody can read.  Of several KEKs where there is one root of
 * trust it does already. */
static void count_cover(const struct tally_cover *cover, struct evidence_record *record)
{
    uint64_t without = 0;
    for (size_t i = 0; i < cover->form.count; i++) {
        if (is_again(&cover->form, i)) {
            continue;
        }
        struct evidence_count *count = count_of(record, &cover->form.kek_ids[i]);
        *(count == NULL ? &without : &count->objects) += cover->objects;
    }
    record->unreadable += without > 0 ? cover->objects : 0;
    if (record->keks_each < cover->form.count) {
        record->keks_each = (unsigned)cover->form.count;
    }
}

static void count_keks(const struct tally *tally, struct evidence_record *record)
{
    for (size_t i = 0; i < tally->cover_count; i++) {
        const struct tally_cover *cover = &tally->covers[i];
        bool counts = cover->is_kekd && (cover->form.count == 1 || tally->rules != NULL);
        if (counts && cover->objects > 0) {
            count_cover(cover, record);
        }
    }
}

static void count_without(const struct inventory *inventory, const struct tally *tally,
                          struct evidence_record *record)
{
    for (size_t i = 0; i < inventory->keks.root_count; i++) {
        uint64_t objects = tally_weak(tally, 1u << i);
        if (objects > 0) {
            struct evidence_without *row = &record->without[record->without_count++];
            snprintf(row->root, sizeof row->root, "%s", inventory->keks.roots[i].name);
            row->objects = objects;
        }
    }
}

static bool all_opened(const struct inventory_etcd *etcd)
{
    bool opened = etcd->opened != NULL && etcd->tally->troubles[TALLY_MALFORMED] == 0;
    for (size_t i = OPENING_GOOD + 1; opened && i < OPENING_OUTCOMES; i++) {
        opened = etcd->opened->counts[i] == 0;
    }
    return opened;
}

/* A restored etcd is another cluster than before, and so is one that somebody else's endpoints lead to. */
static void tell_other_cluster(const struct inventory *inventory, const struct inventory_etcd *etcd)
{
    struct kek_why why;
    KEK_AUTO_FREE struct evidence *all = evidence_load(inventory->config, &why);
    for (size_t i = all == NULL ? 0 : all->count; i-- > 0;) {
        const struct evidence_record *before = &all->records[i];
        if (strcmp(before->etcd, etcd->settings.name) == 0) {
            if (before->cluster_id != etcd->cluster_id) {
                ctl_say(inventory->ctl,
                        "remark: %s is etcd cluster %016" PRIx64 ", and was %016" PRIx64
                        " at its last inventory on record: unless it was restored, it is not the "
                        "right one",
                        etcd->settings.name, etcd->cluster_id, before->cluster_id);
            }
            return;
        }
    }
}

/* False after saying that it is not on record. */
static bool put_on_record(const struct inventory *inventory, struct inventory_etcd *etcd)
{
    struct kek_why why;
    struct evidence_record record = {.cluster_id = etcd->cluster_id,
                                     .revision = etcd->revision,
                                     .begun = etcd->begun,
                                     .ended = etcd->ended,
                                     .objects = etcd->tally->objects,
                                     .unreadable = tally_unreadable(etcd->tally),
                                     .disagreeing = inventory_disagreeing(inventory, etcd->tally),
                                     .verified = all_opened(etcd),
                                     .keks_each = 1};
    tell_other_cluster(inventory, etcd);
    snprintf(record.etcd, sizeof record.etcd, "%s", etcd->settings.name);
    snprintf(record.prefix, sizeof record.prefix, "%s", etcd->prefix);
    snprintf(record.context, sizeof record.context, "%s", etcd->context);
    if (tally_is_kubernetes(etcd->tally)) {
        count_keks(etcd->tally, &record);
        count_without(inventory, etcd->tally, &record);
    } else {
        record.unreadable = record.objects; /* with another prefix they are not what they seem */
    }
    etcd->recorded = evidence_append(inventory->config, &record, &why) == KEK_OK;
    if (!etcd->recorded) {
        ctl_say(inventory->ctl, "%s is not on record: %s", etcd->settings.name, why.text);
    }
    return etcd->recorded;
}

/* The command. */

/* False: an etcd could not be read in full, or what was found could not be put on record. */
static bool read_all(struct inventory *inventory, struct root_keys *keys)
{
    bool good = true;
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        struct inventory_etcd *etcd = &inventory->etcds[i];
        if (!inventory_read(inventory, etcd, keys)) {
            etcd->complete = false;
            ctl_say(inventory->ctl, "%s", etcd->why.text);
            good = false;
        } else if (etcd->configured) {
            good = put_on_record(inventory, etcd) && good;
        }
    }
    return good;
}

/* All that the configuration names was read, and each object of it could be. */
static bool says_of_all(const struct inventory *inventory)
{
    bool all = inventory->config != NULL && inventory->etcd_count > 0 &&
               inventory->etcd_count == inventory->config->etcd_count;
    for (size_t i = 0; all && i < inventory->etcd_count; i++) {
        const struct inventory_etcd *etcd = &inventory->etcds[i];
        all = etcd->configured && etcd->complete && etcd->recorded &&
              tally_is_kubernetes(etcd->tally) && tally_unreadable(etcd->tally) == 0 &&
              inventory_disagreeing(inventory, etcd->tally) == 0;
    }
    return all;
}

/* Of several roots of trust, those that nothing lacks: what kekd remarks of a time without one of them ends by it. */
static bool put_protected(const struct inventory *inventory)
{
    const char *roots[KEK_CONFIG_ROOTS_MAX];
    size_t count = 0;
    struct kek_why why;
    if (inventory->keks.root_count < 2 || !says_of_all(inventory)) {
        return true;
    }
    int64_t begun_ms = INT64_MAX;
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        int64_t ms = inventory->etcds[i].begun.wall_ms;
        begun_ms = ms < begun_ms ? ms : begun_ms;
    }
    for (size_t i = 0; i < inventory->keks.root_count; i++) {
        if (inventory_weak(inventory, 1u << i) == 0) {
            roots[count++] = inventory->keks.roots[i].name;
        }
    }
    if (count == 0 ||
        kek_keyring_put_protected(inventory->config, roots, count, begun_ms, &why) == KEK_OK) {
        return true;
    }
    ctl_say(inventory->ctl, "that nothing is under-protected is not on record: %s", why.text);
    return false;
}

/* An etcd that the options name may be looked at on a machine that has no configuration. */
static bool needs_config(const struct ctl *ctl)
{
    return ctl->config_given || ctl->verify ||
           (ctl->endpoints.count == 0 && ctl->snapshot == NULL) ||
           access(ctl->config_path, F_OK) == 0;
}

static enum ctl_exit run(struct inventory *inventory, struct root_keys *keys)
{
    const struct ctl *ctl = inventory->ctl;
    enum ctl_exit code = wanted_open(&inventory->scope, ctl);
    if (code != CTL_GOOD) {
        return code;
    }
    inventory->file = inventory->scope.file;
    if (needs_config(ctl)) {
        if (!root_keys_open(keys, ctl, &code)) {
            return code;
        }
        inventory->config = keys->config;
        inventory_keks_init(&inventory->keks, keys->config);
    }
    if (!inventory_choose(inventory)) {
        return CTL_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (inventory->config != NULL) {
        root_keys_start(keys); /* without providers what is in etcd can be counted all the same */
        inventory_keks_look(&inventory->keks, keys);
    }
    bool whole = read_all(inventory, ctl->verify ? keys : NULL);
    inventory_judge(inventory);
    whole = whole && put_protected(inventory);
    code = inventory_show(inventory);
    if (code != CTL_GOOD || !whole) {
        return CTL_FAILED;
    }
    return inventory->good ? CTL_GOOD : CTL_CHECK;
}

enum ctl_exit ctl_inventory(struct ctl *ctl)
{
    ROOT_KEYS_AUTO struct root_keys keys = {.count = 0};
    struct inventory *inventory = calloc(1, sizeof *inventory);
    if (inventory == NULL) {
        ctl_say(ctl, "no memory");
        return CTL_FAILED;
    }
    inventory->ctl = ctl;
    enum ctl_exit code = run(inventory, &keys);
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        opener_free(inventory->etcds[i].opener);
        tally_free(inventory->etcds[i].tally);
    }
    wanted_close(&inventory->scope);
    free(inventory);
    return code;
}
