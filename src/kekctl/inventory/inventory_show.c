/* What was found, for people. */
#include "inventory.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/output.h"

#define SHOWN_MAX 20 /* objects that are named on a terminal; --output json names more */

/* KEKs of all roots of trust, and what is to be said of them. */
#define KEKS_TEXT (KEK_ENVELOPE_ENTRIES_MAX * INVENTORY_KEK_TEXT + INVENTORY_ROOTS_TEXT + 64)

/* Of several roots of trust, each KEK by its root. */
static void show_keks(const struct inventory *inventory, const struct kek_root_form *form,
                      char text[static KEKS_TEXT])
{
    size_t len = 0;
    text[0] = '\0';
    for (size_t i = 0; i < form->count; i++) {
        char kek[INVENTORY_KEK_TEXT];
        inventory_kek_name(inventory, &form->kek_ids[i], kek);
        len += (size_t)snprintf(text + len, KEKS_TEXT - len, "%s%s", i > 0 ? ", " : "", kek);
    }
}

/* What several roots of trust make of them. */
static void show_form(const struct inventory *inventory, const struct tally_cover *cover,
                      char text[static KEKS_TEXT])
{
    char names[INVENTORY_ROOTS_TEXT];
    size_t len = strlen(text);
    if (cover->form.mode != inventory->keks.rules.mode) {
        bool all = cover->form.mode == KEK_ENVELOPE_MODE_ALL;
        len += (size_t)snprintf(text + len, KEKS_TEXT - len, "; mode %s", all ? "all" : "any");
    }
    if (cover->refused) {
        snprintf(text + len, KEKS_TEXT - len, "; kekd refuses it");
    } else if (tally_is_weak(cover)) {
        inventory_root_names(inventory, cover->missing, names);
        snprintf(text + len, KEKS_TEXT - len, "; without %s", names);
    }
}

static void show_cover(const struct inventory *inventory, const struct tally_cover *cover,
                       char under[static TALLY_TEXT], char kek[static KEKS_TEXT])
{
    kek[0] = '\0';
    if (cover->rest) {
        snprintf(under, TALLY_TEXT, "more kinds than are told apart");
        return;
    }
    snprintf(under, TALLY_TEXT, "%s%s%.*s", kek_kube_kind_name(cover->kind),
             cover->provider.len > 0 ? " " : "", (int)cover->provider.len,
             cover->provider.len > 0 ? (const char *)cover->provider.data : "");
    if (cover->is_kekd && inventory_keks_rules(&inventory->keks) != NULL) {
        show_keks(inventory, &cover->form, kek);
        show_form(inventory, cover, kek);
        return;
    }
    if (cover->is_kekd) {
        inventory_kek_name(inventory, &cover->form.kek_ids[0], kek);
    }
    if (cover->form.count > 1) {
        size_t len = strlen(kek);
        snprintf(kek + len, KEKS_TEXT - len, " and %zu more", cover->form.count - 1);
    }
}

static bool add_rows(const struct inventory *inventory, const struct inventory_etcd *etcd,
                     const struct tally_resource *resource, json_t *rows)
{
    enum inventory_state state;
    bool judged = inventory_judge_resource(inventory, etcd->tally, resource, &state);
    bool whole = true;
    for (size_t i = 0; whole && i < resource->count; i++) {
        char under[TALLY_TEXT], kek[KEKS_TEXT];
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
    uint64_t by_file; /* opened by keys of the file */
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
        sums->by_file += etcd->tally->opened;
        sums->verified = sums->verified || etcd->opened != NULL;
        sums->data_keys += etcd->opened == NULL ? 0 : etcd->opened->data_keys;
    }
}

static const char *const trouble_says[TALLY_TROUBLES] = {
    [TALLY_MALFORMED] = "truncated or malformed where they lie",
    [TALLY_UNKNOWN] = "under a provider that nobody here knows",
    [TALLY_KEY_ID] = "beside a key_id that does not follow from the KEK that sealed them",
    [TALLY_CONTEXT] = "sealed in the context of another etcd's kekd",
    [TALLY_FORM] = "in envelopes whose mode or KEKs kekd refuses here (docs/roots.md)",
    [TALLY_KEY] = "not opened by the file's key of their name, which may be another elsewhere",
};

static const char *const opening_says[OPENING_OUTCOMES] = {
    [OPENING_DAMAGED] = "damaged: the HSM opens others under their KEK, and not these, or they do "
                        "not open under what it opened",
    [OPENING_UNDECIDED] = "not opened by tokens that have opened nothing else under their KEK: "
                          "is it the right key that stands there?",
    [OPENING_NO_KEY] = "under a KEK that no provider has: restore its token from a backup",
    [OPENING_SUSPENDED] = "under a version that is suspended: kekctl key resume lets it open",
    [OPENING_UNREACHABLE] = "not looked at, since no provider could be asked: they are NOT damaged "
                            "as far as anybody knows",
    [OPENING_CONTEXT] = "whole, in a context that the kekd of their etcd does not open",
    [OPENING_PARTLY] =
        "NOT damaged, and not opened by each root of trust that they are under: what "
        "the others keep of them is all there is",
    [OPENING_FORM] = "whole, in a form that kekd refuses",
};

/* Where nothing was found, that may be since nobody looked in the right place. */
static void tell_absent(const struct inventory *inventory)
{
    const struct ctl *ctl = inventory->ctl;
    const char *name;
    for (size_t e = 0; e < inventory->etcd_count; e++) {
        const struct inventory_etcd *etcd = &inventory->etcds[e];
        if (etcd->complete && !tally_is_kubernetes(etcd->tally)) {
            ctl_say(ctl,
                    "%s: there is no object%s below %s: is that the API server's etcd, and its "
                    "--etcd-prefix?",
                    etcd->settings.name,
                    etcd->tally->objects == 0 ? "" : " of a resource that Kubernetes has",
                    etcd->prefix);
        }
    }
    for (size_t i = 0; inventory->complete && (name = wanted_named(&inventory->scope, i)) != NULL;
         i++) {
        char shown[TALLY_TEXT];
        enum inventory_absence absence = inventory_absence(inventory, name);
        kek_text_copy(shown, sizeof shown, name);
        if (absence == INVENTORY_MISSPELT) {
            ctl_say(ctl, "nothing is stored as %s: Kubernetes up to 1.37 has no such resource",
                    shown);
        } else if (absence == INVENTORY_CUSTOM) {
            ctl_say(ctl, "remark: nothing is stored as %s: is that the resource's name?", shown);
        }
    }
}

/* Of what no version may be destroyed for. */
static void tell_unreadable(const struct inventory *inventory, const struct sums *sums)
{
    if (sums->unreadable > 0) {
        ctl_say(inventory->ctl,
                "of %s nobody can say which KEK is needed: no version can be destroyed as long as "
                "that is so",
                kek_counted(sums->unreadable, "object").text);
    }
    for (size_t e = 0; e < inventory->etcd_count; e++) {
        const struct tally *tally = inventory->etcds[e].complete ? inventory->etcds[e].tally : NULL;
        for (size_t i = 0; tally != NULL && i < tally->cover_count; i++) {
            uint64_t strangers = tally_strangers(tally, &tally->covers[i]);
            char under[TALLY_TEXT], kek[KEKS_TEXT];
            if (strangers > 0) {
                show_cover(inventory, &tally->covers[i], under, kek);
                kek_text_clean(under);
                ctl_say(inventory->ctl,
                        "%s under %s without an envelope, which others of that name have: "
                        "damaged, or another plugin's of the same name",
                        kek_counted(strangers, "object").text, under);
            }
        }
    }
}

static void say_count(const struct ctl *ctl, uint64_t count, const char *says)
{
    ctl_say(ctl, "%s %s %s", kek_counted(count, "object").text, count == 1 ? "is" : "are", says);
}

/* What several roots of trust should protect and do not. */
static void tell_weak(const struct inventory *inventory)
{
    uint64_t objects = inventory_weak(inventory, ~0u);
    if (objects == 0) {
        return;
    }
    for (size_t i = 0; i < inventory->keks.root_count; i++) {
        uint64_t without = inventory_weak(inventory, 1u << i);
        if (without > 0) {
            ctl_say(inventory->ctl, "%s %s under-protected: %s sealed without %s",
                    kek_counted(without, "object").text, without == 1 ? "is" : "are",
                    without == 1 ? "it was" : "they were", inventory->keks.roots[i].name);
        }
    }
    ctl_say(inventory->ctl,
            "kekctl reencrypt writes what is under-protected anew, once every root of "
            "trust is good: until then it is lost with the root that has it");
}

static void advise(const struct inventory *inventory, const struct sums *sums)
{
    const struct ctl *ctl = inventory->ctl;
    tell_absent(inventory);
    for (size_t i = 0; i < TALLY_TROUBLES; i++) {
        if (sums->troubles[i] > 0) {
            say_count(ctl, sums->troubles[i], trouble_says[i]);
        }
    }
    for (size_t i = OPENING_GOOD + 1; i < OPENING_OUTCOMES; i++) {
        if (sums->openings[i] > 0) {
            say_count(ctl, sums->openings[i], opening_says[i]);
        }
    }
    tell_unreadable(inventory, sums);
    tell_weak(inventory);
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
            printf("%s: cluster %016" PRIx64 ", revision %" PRId64 ", prefix %s, %s in %.1f s%s\n",
                   etcd->settings.name, etcd->cluster_id, etcd->revision, etcd->prefix,
                   kek_counted(etcd->tally->objects, "object").text,
                   (double)(etcd->ended.up_ms - etcd->begun.up_ms) / 1000,
                   etcd->recorded ? ", on record" : "");
        }
    }
}

static void show_state(const struct inventory *inventory, const struct sums *sums)
{
    char keks[KEKS_TEXT] = "not known";
    if (inventory->keks.primary.count > 0) {
        show_keks(inventory, &inventory->keks.primary, keks);
    }
    printf("primary: %s\n", keks);
    if (sums->verified) {
        uint64_t opened = sums->openings[OPENING_GOOD] + sums->openings[OPENING_PARTLY];
        printf("opened: %s, by %s\n", kek_counted(opened, "object").text,
               kek_counted(sums->data_keys, "data key").text);
    }
    if (inventory->file != NULL) {
        printf("opened by keys of the file: %s\n", kek_counted(sums->by_file, "object").text);
    }
    printf("state: %s\n", inventory->state_known ? inventory_state_name(inventory->state)
                          : !inventory->complete ? "not known, since not all could be read"
                          : sums->objects == 0   ? "not known, since no object was found"
                          : !inventory->placed
                              ? "not known, since an etcd has no object that Kubernetes stores"
                              : "not known, since nothing that was asked about is stored");
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
        code = output_end(inventory->ctl);
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
