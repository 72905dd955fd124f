/* What was found, for people. */
#include "inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kekctl/output.h"

#define SHOWN_MAX 20 /* objects that are named on a terminal; --output json names more */

static void show_cover(const struct inventory *inventory, const struct tally_cover *cover,
                       char under[static TALLY_TEXT], char kek[static INVENTORY_KEK_TEXT])
{
    kek[0] = '\0';
    if (cover->rest) {
        snprintf(under, TALLY_TEXT, "more kinds than are told apart");
        return;
    }
    snprintf(under, TALLY_TEXT, "%s%s%.*s", kek_kube_kind_name(cover->kind),
             cover->provider.len > 0 ? " " : "", (int)cover->provider.len,
             cover->provider.len > 0 ? (const char *)cover->provider.data : "");
    if (cover->is_kekd) {
        inventory_kek_name(inventory, &cover->kek_ids[0], kek);
    }
    if (cover->count > 1) {
        size_t len = strlen(kek);
        snprintf(kek + len, INVENTORY_KEK_TEXT - len, " and %d more", cover->count - 1);
    }
}

static bool add_rows(const struct inventory *inventory, const struct inventory_etcd *etcd,
                     const struct tally_resource *resource, json_t *rows)
{
    enum inventory_state state;
    bool judged = inventory_judge_resource(inventory, etcd->tally, resource, &state);
    bool whole = true;
    for (size_t i = 0; whole && i < resource->count; i++) {
        char under[TALLY_TEXT], kek[INVENTORY_KEK_TEXT];
        show_cover(inventory, &etcd->tally->covers[resource->counts[i].cover], under, kek);
        json_t *row = json_pack(
            "{s:s, s:o, s:s, s:I, s:o, s:s}", "etcd", etcd->settings.name, "resource",
            output_text(resource->name[0] == '\0' ? "(no object's key)" : resource->name), "state",
            judged && i == 0 ? inventory_state_name(state) : "", "objects",
            (json_int_t)resource->counts[i].objects, "under", output_text(under), "kek", kek);
        whole = json_array_append_new(rows, row) == 0;
    }
    return whole;
}

static enum ctl_exit show_list(const struct inventory *inventory, json_t *rows,
                               const struct column *columns, size_t count)
{
    json_t *object = json_pack("{s:o}", "rows", rows);
    if (object == NULL) {
        ctl_say(inventory->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = json_array_size(rows) == 0
                             ? CTL_GOOD
                             : output_list(inventory->ctl, object, "rows", columns, count);
    json_decref(object);
    return code;
}

static enum ctl_exit show_counts(const struct inventory *inventory)
{
    static const struct column columns[] = {{"etcd", "ETCD"},   {"resource", "RESOURCE"},
                                            {"state", "STATE"}, {"objects", "OBJECTS"},
                                            {"under", "UNDER"}, {"kek", "KEK"}};
    json_t *rows = json_array();
    bool whole = rows != NULL;
    for (size_t e = 0; whole && e < inventory->etcd_count; e++) {
        const struct inventory_etcd *etcd = &inventory->etcds[e];
        for (size_t i = 0; whole && etcd->complete && i < etcd->tally->resource_count; i++) {
            whole = add_rows(inventory, etcd, &etcd->tally->resources[i], rows);
        }
    }
    if (!whole) {
        json_decref(rows);
        rows = NULL;
    }
    return show_list(inventory, rows, columns, sizeof columns / sizeof columns[0]);
}

static bool add_named(json_t *rows, const struct inventory_etcd *etcd, const char *trouble,
                      const struct tally_named *named)
{
    return json_array_size(rows) >= SHOWN_MAX ||
           json_array_append_new(rows, json_pack("{s:s, s:s, s:s, s:s, s:s, s:s}", "trouble",
                                                 trouble, "etcd", etcd->settings.name, "resource",
                                                 named->resource, "namespace", named->ns, "name",
                                                 named->name, "why", named->why)) == 0;
}

static enum ctl_exit show_named(const struct inventory *inventory)
{
    static const struct column columns[] = {{"trouble", "TROUBLE"},   {"etcd", "ETCD"},
                                            {"resource", "RESOURCE"}, {"namespace", "NAMESPACE"},
                                            {"name", "NAME"},         {"why", "WHY"}};
    json_t *rows = json_array();
    bool whole = rows != NULL;
    for (size_t e = 0; whole && e < inventory->etcd_count; e++) {
        const struct inventory_etcd *etcd = &inventory->etcds[e];
        for (size_t t = 0; whole && etcd->complete && t < TALLY_TROUBLES; t++) {
            for (size_t i = 0; whole && i < etcd->tally->named_count[t]; i++) {
                whole = add_named(rows, etcd, tally_trouble_name((enum tally_trouble)t),
                                  &etcd->tally->named[t][i]);
            }
        }
        for (size_t i = 0; whole && etcd->opened != NULL && i < etcd->opened->named_count; i++) {
            const struct opener_named *named = &etcd->opened->named[i];
            whole = add_named(rows, etcd, opening_name(named->opening), &named->place);
        }
    }
    if (!whole) {
        json_decref(rows);
        rows = NULL;
    }
    return show_list(inventory, rows, columns, sizeof columns / sizeof columns[0]);
}

/* All etcds' sums, of what was counted and of what was opened. */
struct sums {
    uint64_t objects, unreadable;
    uint64_t troubles[TALLY_TROUBLES];
    uint64_t openings[OPENING_OUTCOMES];
    uint64_t data_keys;
    bool verified;
};

static void sum_up(const struct inventory *inventory, struct sums *sums)
{
    *sums = (struct sums){.verified = false};
    for (size_t e = 0; e < inventory->etcd_count; e++) {
        const struct inventory_etcd *etcd = &inventory->etcds[e];
        if (!etcd->complete) {
            continue;
        }
        sums->objects += etcd->tally->objects;
        sums->unreadable += tally_unreadable(etcd->tally);
        for (size_t i = 0; i < TALLY_TROUBLES; i++) {
            sums->troubles[i] += etcd->tally->troubles[i];
        }
        for (size_t i = 0; etcd->opened != NULL && i < OPENING_OUTCOMES; i++) {
            sums->openings[i] += etcd->opened->counts[i];
        }
        sums->verified = sums->verified || etcd->opened != NULL;
        sums->data_keys += etcd->opened == NULL ? 0 : etcd->opened->data_keys;
    }
}

static const char *const trouble_says[TALLY_TROUBLES] = {
    [TALLY_MALFORMED] = "truncated or malformed where they lie",
    [TALLY_UNKNOWN] = "under a provider that nobody here knows",
    [TALLY_KEY_ID] = "beside a key_id that does not belong to their KEK",
    [TALLY_CONTEXT] = "sealed in the context of another etcd's kekd",
};

static const char *const opening_says[OPENING_OUTCOMES] = {
    [OPENING_DAMAGED] = "damaged: the HSM opens others under their KEK, and not these",
    [OPENING_UNDECIDED] = "not opened by tokens that have opened nothing else under their KEK: "
                          "is it the right key that stands there?",
    [OPENING_NO_KEY] = "under a KEK that no provider has: restore its token from a backup",
    [OPENING_SUSPENDED] = "under a version that is suspended: kekctl key resume lets it open",
    [OPENING_UNREACHABLE] = "not looked at, since no provider could be asked: they are NOT damaged "
                            "as far as anybody knows",
};

static void advise(const struct inventory *inventory, const struct sums *sums)
{
    const struct ctl *ctl = inventory->ctl;
    for (size_t i = 0; i < TALLY_TROUBLES; i++) {
        if (sums->troubles[i] > 0) {
            ctl_say(ctl, "%" PRIu64 " objects are %s", sums->troubles[i], trouble_says[i]);
        }
    }
    for (size_t i = OPENING_GOOD + 1; i < OPENING_OUTCOMES; i++) {
        if (sums->openings[i] > 0) {
            ctl_say(ctl, "%" PRIu64 " objects are %s", sums->openings[i], opening_says[i]);
        }
    }
    if (!inventory->primary_known) {
        ctl_say(ctl,
                "which version of keyring %s is the primary is not known, and objects are under "
                "KEKs: is the keyring misspelt in %s? See kekctl key list",
                inventory->config->keyring, inventory->config->path);
    }
    if (sums->troubles[TALLY_UNKNOWN] > 0) {
        ctl_say(ctl, "what nobody here knows may be whole: a later Kubernetes or kekd may have "
                     "written it. Remove none of it for that; ask the kekctl of that release");
    }
    if (sums->troubles[TALLY_MALFORMED] > 0 || sums->openings[OPENING_DAMAGED] > 0) {
        ctl_say(ctl, "one object that does not open fails every LIST of its resource, and keeps a "
                     "fresh API server from ready: docs/disaster.md, One damaged object, says how "
                     "to remove it");
    }
    if (sums->openings[OPENING_UNREACHABLE] + sums->openings[OPENING_SUSPENDED] +
            sums->openings[OPENING_UNDECIDED] + sums->openings[OPENING_NO_KEY] >
        0) {
        ctl_say(ctl, "never use the API server's unsafe delete while kekd's /readyz is not ok: it "
                     "would delete objects that are whole");
    }
}

static void show_etcds(const struct inventory *inventory)
{
    for (size_t e = 0; e < inventory->etcd_count; e++) {
        const struct inventory_etcd *etcd = &inventory->etcds[e];
        if (etcd->complete) {
            printf("%s: cluster %016" PRIx64 ", revision %" PRId64 ", prefix %s, %" PRIu64
                   " objects in %.1f s%s\n",
                   etcd->settings.name, etcd->cluster_id, etcd->revision, etcd->prefix,
                   etcd->tally->objects, (double)(etcd->ended_ms - etcd->begun_ms) / 1000,
                   etcd->recorded ? ", on record" : "");
        }
    }
}

static void show_state(const struct inventory *inventory, const struct sums *sums)
{
    char kek[INVENTORY_KEK_TEXT] = "not known";
    if (inventory->keks.primary_source != NULL) {
        inventory_kek_name(inventory, &inventory->keks.primary, kek);
    }
    printf("primary: %s\n", kek);
    if (sums->verified) {
        printf("opened: %" PRIu64 " objects, by %" PRIu64 " data keys\n",
               sums->openings[OPENING_GOOD], sums->data_keys);
    }
    printf("state: %s\n", inventory->complete ? inventory_state_name(inventory->state)
                                              : "not known, since not all could be read");
}

static enum ctl_exit show_json(const struct inventory *inventory)
{
    json_t *object = inventory_json(inventory);
    if (object == NULL) {
        ctl_say(inventory->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(inventory->ctl, object, NULL, 0);
    json_decref(object);
    return code;
}

static enum ctl_exit show_tables(const struct inventory *inventory, const struct sums *sums)
{
    enum ctl_exit code = show_counts(inventory);
    if (code == CTL_GOOD) {
        code = show_named(inventory);
    }
    if (code == CTL_GOOD) {
        show_etcds(inventory);
        show_state(inventory, sums);
        code = fflush(stdout) == 0 && !ferror(stdout) ? CTL_GOOD : CTL_FAILED;
    }
    return code;
}

enum ctl_exit inventory_show(const struct inventory *inventory)
{
    struct sums sums;
    sum_up(inventory, &sums);
    enum ctl_exit code =
        inventory->ctl->json ? show_json(inventory) : show_tables(inventory, &sums);
    advise(inventory, &sums);
    return code;
}
