#include "kube_judge.h"

#include <inttypes.h>
#include <stdio.h>

#include "kek/text.h"

#define COVER_TEXT 200

/* "in clear", "under aescbc, key key1", "under the kms v2 entry kekd" */
static void show_cover(const struct tally_cover *cover, char text[static COVER_TEXT])
{
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)cover->provider.len,
             (const char *)cover->provider.data);
    kek_text_clean(name);
    if (cover->rest || cover->kind == KEK_KUBE_UNKNOWN) {
        snprintf(text, COVER_TEXT, "under something that kekctl does not know");
    } else if (cover->kind == KEK_KUBE_PLAIN) {
        snprintf(text, COVER_TEXT, "in clear");
    } else if (cover->kind == KEK_KUBE_KMS_V1 || cover->kind == KEK_KUBE_KMS_V2) {
        snprintf(text, COVER_TEXT, "under the %s entry %s", kek_kube_kind_name(cover->kind), name);
    } else {
        snprintf(text, COVER_TEXT, "under %s, key %s", kek_kube_kind_name(cover->kind), name);
    }
}

static bool reads(const struct kek_encryption_config *config, const struct tally_resource *resource,
                  const struct tally_cover *cover)
{
    return !cover->rest &&
           kek_encryption_config_reads(config, resource->name, cover->kind, cover->provider);
}

/* What another plugin wrote under the name that kekd's entry has, or what is damaged: kekd opens its envelopes alone. */
static bool is_anothers(const struct kube_change *change, const struct tally_cover *cover)
{
    return !cover->rest && cover->kind == KEK_KUBE_KMS_V2 && !cover->is_kekd &&
           kek_bytes_equal(cover->provider, kek_bytes_of(change->name));
}

static bool judge(const struct kube_change *change, const struct tally_resource *resource,
                  const struct tally_cover *cover, uint64_t objects, kube_say_fn *say)
{
    char text[COVER_TEXT];
    const char *them = objects == 1 ? "it" : "them";
    bool before = reads(change->before, resource, cover);
    if (before && is_anothers(change, cover)) {
        say(change->ctl,
            "%s: %" PRIu64 " under the entry %s, and not kekd's, which cannot read %s: damaged, or "
            "another plugin's, which had this name before (kekctl inventory)",
            resource->name, objects, change->name, them);
        return false;
    }
    if (before && reads(change->after, resource, cover)) {
        return true;
    }
    show_cover(cover, text);
    if (before) {
        say(change->ctl,
            "%s: %" PRIu64 " %s: no API server could read %s after this phase; have %s rewritten "
            "(kekctl reencrypt), and check again",
            resource->name, objects, text, them, them);
    } else if (change->ctl->from == NULL) {
        say(change->ctl,
            "%s: %" PRIu64 " %s: the API servers must have an EncryptionConfiguration already that "
            "reads %s: name it by --from",
            resource->name, objects, text, them);
    } else {
        say(change->ctl,
            "%s: %" PRIu64 " %s: nothing in %s reads %s: it is not what the API servers have, or "
            "they cannot read %s either (kekctl inventory tells what is damaged)",
            resource->name, objects, text, change->ctl->from, them, them);
    }
    return false;
}

/* Among the keys of which no resource is known. */
static bool has_encrypted(const struct tally *tally)
{
    const struct tally_resource *nameless = &tally->resources[0];
    for (size_t i = 0; i < nameless->count; i++) {
        if (tally->covers[nameless->counts[i].cover].kind != KEK_KUBE_PLAIN) {
            return true;
        }
    }
    return false;
}

/* Its name has a key in the file, and that is not the key it was written under. */
static size_t judge_keys(const struct kube_change *change, const struct tally *tally,
                         kube_say_fn *say)
{
    uint64_t unopened = tally->troubles[TALLY_KEY];
    if (unopened > 0) {
        say(change->ctl,
            "%s %s not open by the key of that name in %s: an API server has another file, with "
            "another key of that name, or %s damaged (kekctl inventory --encryption-config %s "
            "tells which)",
            kek_counted(unopened, "object").text, unopened == 1 ? "does" : "do", change->ctl->from,
            unopened == 1 ? "it is" : "they are", change->ctl->from);
    }
    return unopened > 0 ? 1 : 0;
}

size_t kube_judge(const struct kube_change *change, const struct tally *tally, kube_say_fn *say)
{
    size_t found = judge_keys(change, tally, say);
    for (size_t i = 0; i < tally->resource_count; i++) {
        const struct tally_resource *resource = &tally->resources[i];
        for (size_t j = 0;
             j < resource->count && resource->name[0] != '\0' && !resource->never_encrypted; j++) {
            const struct tally_count *count = &resource->counts[j];
            found +=
                judge(change, resource, &tally->covers[count->cover], count->objects, say) ? 0 : 1;
        }
    }
    if (change->step.removes_reader && has_encrypted(tally)) {
        say(change->ctl,
            "there are encrypted values under keys that are no object's, and nobody can say which "
            "entry reads them: see kekctl inventory");
        found++;
    }
    if (tally->resources_full) {
        say(change->ctl,
            "there are more resources than kekctl has room for, and it cannot tell of all");
        found++;
    }
    return found;
}
