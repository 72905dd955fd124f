/* kekctl inventory: what lies in etcd, and under which key. */
#include "inventory.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "evidence.h"

/* Evidence. */

/* Each KEK once; what finds no room counts as what nobody can read. */
static void count_keks(const struct tally *tally, struct evidence_record *record)
{
    for (size_t i = 0; i < tally->cover_count; i++) {
        const struct tally_cover *cover = &tally->covers[i];
        for (size_t j = 0; j < cover->count; j++) {
            const struct kek_id *id = &cover->kek_ids[j];
            if (evidence_objects(record, id) > 0 || cover->objects == 0) {
                continue;
            }
            if (record->kek_count == EVIDENCE_KEKS_MAX) {
                record->unreadable += cover->objects;
                continue;
            }
            record->by_kek[record->kek_count++] =
                (struct evidence_count){.kek = *id, .objects = tally_under(tally, id)};
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

/* False after saying that it is not on record. */
static bool put_on_record(const struct inventory *inventory, struct inventory_etcd *etcd)
{
    struct kek_why why;
    struct evidence_record record = {.cluster_id = etcd->cluster_id,
                                     .revision = etcd->revision,
                                     .begun_ms = etcd->begun_ms,
                                     .ended_ms = etcd->ended_ms,
                                     .objects = etcd->tally->objects,
                                     .unreadable = tally_unreadable(etcd->tally),
                                     .verified = all_opened(etcd)};
    snprintf(record.etcd, sizeof record.etcd, "%s", etcd->settings.name);
    snprintf(record.prefix, sizeof record.prefix, "%s", etcd->prefix);
    snprintf(record.context, sizeof record.context, "%s", etcd->context);
    count_keks(etcd->tally, &record);
    etcd->recorded = evidence_append(inventory->config, &record, &why) == KEK_OK;
    if (!etcd->recorded) {
        ctl_say(inventory->ctl, "%s is not on record: %s", etcd->settings.name, why.text);
    }
    return etcd->recorded;
}

/* The command. */

/* Without providers what is in etcd can be counted all the same. */
static void look_at_keks(struct inventory *inventory, struct keys *keys)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        keys->config->providers[p].processes = 1; /* each is a login, and one is asked at a time */
    }
    if (!keys_start(keys, false)) {
        ctl_say(inventory->ctl, "no provider can be asked");
        for (size_t p = 0; p < keys->config->provider_count; p++) {
            keys->listings[p].rc =
                kek_fail(&keys->listings[p].why, KEK_UNAVAILABLE, "no worker could be started");
        }
    }
    inventory_keks_look(&inventory->keks, keys);
}

/* False: an etcd could not be read in full, or what was found could not be put on record. */
static bool read_all(struct inventory *inventory, struct keys *keys)
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

/* An etcd that the options name may be looked at on a machine that has no configuration. */
static bool needs_config(const struct ctl *ctl)
{
    return ctl->config_given || ctl->verify ||
           (ctl->endpoints.count == 0 && ctl->snapshot == NULL) ||
           access(ctl->config_path, F_OK) == 0;
}

static enum ctl_exit run(struct inventory *inventory, struct keys *keys)
{
    const struct ctl *ctl = inventory->ctl;
    if (!wanted_open(&inventory->scope, ctl)) {
        return CTL_USAGE;
    }
    if (needs_config(ctl)) {
        if (!keys_open(keys, ctl)) {
            return keys->code;
        }
        inventory->config = keys->config;
    }
    if (!inventory_choose(inventory)) {
        return CTL_USAGE;
    }
    (void)signal(SIGPIPE, SIG_IGN);
    if (inventory->config != NULL) {
        look_at_keks(inventory, keys);
    }
    bool whole = read_all(inventory, ctl->verify ? keys : NULL);
    inventory_judge(inventory);
    enum ctl_exit code = inventory_show(inventory);
    if (code != CTL_GOOD || !whole) {
        return CTL_FAILED;
    }
    return inventory->good ? CTL_GOOD : CTL_CHECK;
}

enum ctl_exit ctl_inventory(struct ctl *ctl)
{
    KEYS_AUTO struct keys keys = {.audit = -1};
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
