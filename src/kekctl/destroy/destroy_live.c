/*
 * What each etcd holds at this moment, before a step that cannot be taken back: read in full once more, as an inventory
 * does, and not put on record.  A revision alone tells no restore: the API servers' leases carry it past any older one
 * in an hour, and a snapshot that is restored with its revision raised begins there.
 */
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "destroy_run.h"
#include "kekctl/inventory/inventory.h"

/* A root of trust beside the version's own: whose KEKs stand in an envelope with it. */
static void look_at_other(struct inventory_keks *keks, size_t root, const struct ctl *of)
{
    struct ctl ctl = *of;
    ctl.root = keks->roots[root].name;
    KEYS_AUTO struct keys keys = {.code = CTL_GOOD};
    if (keys_open(&keys, &ctl)) {
        root_keys_start_one(&keys);
        inventory_keks_look_at(keks, root, &keys, false);
    }
}

/* As an inventory knows them: what stands in an envelope and is no version's may be this one's, damaged. */
static void look_at_keks(struct destroy_run *run, struct inventory_keks *keks)
{
    inventory_keks_init(keks, run->whole);
    for (size_t i = 0; i < keks->root_count; i++) {
        if (keks->root_count == 1 || strcmp(keks->roots[i].name, run->facts.root) == 0) {
            inventory_keks_look_at(keks, i, &run->keys, true);
        } else {
            look_at_other(keks, i, run->ctl);
        }
    }
}

static void take(const struct inventory *inventory, const struct inventory_etcd *etcd,
                 const struct kek_id *kek_id, struct destroy_live *live)
{
    live->complete = etcd->complete;
    if (!etcd->complete) {
        live->why = etcd->why;
        return;
    }
    live->cluster_id = etcd->cluster_id;
    live->revision = etcd->revision;
    live->objects = etcd->tally->objects;
    live->sealed = tally_under(etcd->tally, kek_id);
    live->unclear = tally_unreadable(etcd->tally) + inventory_disagreeing(inventory, etcd->tally);
}

static void fail(const struct destroy_run *run, struct destroy_live *live)
{
    for (size_t i = 0; i < run->facts.etcd_count; i++) {
        live[i].looked = true;
        kek_fail(&live[i].why, KEK_NO_MEMORY, "no memory");
    }
}

void destroy_look_live(struct destroy_run *run)
{
    const struct destroy_facts *facts = &run->facts;
    struct inventory *inventory = calloc(1, sizeof *inventory);
    run->facts.live = run->live;
    if (inventory == NULL) {
        fail(run, run->live);
        return;
    }
    inventory->ctl = run->ctl;
    inventory->config = run->whole;
    look_at_keks(run, &inventory->keks);
    (void)signal(SIGPIPE, SIG_IGN);
    bool chosen = facts->etcd_count > 0 && inventory_choose(inventory); /* all, in their order */
    for (size_t i = 0; chosen && i < facts->etcd_count; i++) {
        struct inventory_etcd *etcd = &inventory->etcds[i];
        run->live[i].looked = destroy_is_proven(&run->plan, facts->etcd[i].name);
        if (run->live[i].looked) {
            (void)inventory_read(inventory, etcd, NULL);
            take(inventory, etcd, &facts->kek_id, &run->live[i]);
        }
    }
    for (size_t i = 0; i < inventory->etcd_count; i++) {
        tally_free(inventory->etcds[i].tally);
    }
    free(inventory);
}
