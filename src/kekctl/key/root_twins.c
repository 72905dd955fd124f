#include "root_twins.h"

#include <inttypes.h>
#include <stdio.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "key_views.h"

/* ---- what a root has ---- */

bool root_twins_add(struct root_keks *keks, const struct root_kek *kek)
{
    for (size_t i = 0; i < keks->count; i++) {
        if (kek_id_equal(&keks->list[i].kek_id, &kek->kek_id)) {
            keks->list[i].seals = keks->list[i].seals || kek->seals;
            keks->list[i].announced = keks->list[i].announced || kek->announced;
            return true;
        }
    }
    if (keks->count == sizeof keks->list / sizeof keks->list[0]) {
        return false;
    }
    keks->list[keks->count++] = *kek;
    return true;
}

/* The newest that may wrap on some provider; 0: there is none. */
static uint32_t newest_active(const struct keys *keys)
{
    uint32_t newest = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *version = &listing->versions[i];
            newest = view_active(version) && version->number > newest ? version->number : newest;
        }
    }
    return newest;
}

void root_twins_take(struct root_twins *twins, const struct kek_config *whole, size_t root,
                     const struct keys *keys)
{
    struct root_keks *keks = &twins->roots[twins->count++];
    struct kek_generation last;
    struct kek_why why;
    uint32_t newest = newest_active(keys);
    twins->all = whole->mode == KEK_CONFIG_ALL;
    *keks = (struct root_keks){.name = whole->roots[root].name, .seals = whole->roots[root].seals};
    /* A record that cannot be read says nothing; a remark says so. */
    if (kek_keyring_recorded(keys->config, &last, &why) == KEK_OK) {
        const struct root_kek kek = {
            .kek_id = last.kek_ids[0], .number = last.numbers[0], .seals = true, .announced = true};
        (void)root_twins_add(keks, &kek);
    }
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *version = &listing->versions[i];
            const struct root_kek kek = {.kek_id = version->id,
                                         .number = version->number,
                                         .seals =
                                             version->number == newest && view_active(version)};
            if (version->eligible) {
                (void)root_twins_add(keks, &kek);
            }
        }
    }
}

/* ---- two of them ---- */

/* The one that both have: of several, one that both seal under. NULL: none. */
static const struct root_kek *shared(const struct root_keks *one, const struct root_keks *other,
                                     const struct root_kek **twin)
{
    const struct root_kek *found = NULL;
    for (size_t i = 0; i < one->count; i++) {
        for (size_t j = 0; j < other->count; j++) {
            const struct root_kek *a = &one->list[i], *b = &other->list[j];
            bool both_seal = a->seals && b->seals;
            if (kek_id_equal(&a->kek_id, &b->kek_id) &&
                (found == NULL || (both_seal && !(found->seals && (*twin)->seals)))) {
                found = a;
                *twin = b;
            }
        }
    }
    return found;
}

static bool are_twins(const struct root_keks *one, const struct root_keks *other,
                      const struct root_kek *mine, const struct root_kek *theirs)
{
    return one->seals && other->seals && mine->seals && theirs->seals;
}

static bool has_announced(const struct root_keks *keks)
{
    size_t i = 0;
    while (i < keks->count && !keks->list[i].announced) {
        i++;
    }
    return i < keks->count;
}

/* Whose would be announced next is not; nothing is where that is all there is of a root, or both announced it. */
static void say_announces(const struct root_keks *one, const struct root_keks *other,
                          const struct root_kek *mine, const struct root_kek *theirs, char *text,
                          size_t size)
{
    bool both = mine->announced && theirs->announced;
    if (both || !has_announced(one) || !has_announced(other)) {
        snprintf(text, size, "kekd does not announce them together");
    } else {
        snprintf(text, size,
                 "kekd goes on with what it announced, and does not announce version %" PRIu32
                 " of %s",
                 mine->announced ? theirs->number : mine->number,
                 mine->announced ? other->name : one->name);
    }
}

static void say_twin(const struct root_twins *twins, const struct ctl *ctl,
                     const struct root_keks *one, const struct root_keks *other,
                     const struct root_kek *mine, const struct root_kek *theirs)
{
    char id[KEK_ID_TEXT], announces[200];
    /* Whoever has announced it keeps it. */
    const char *another = theirs->announced && !mine->announced ? one->name : other->name;
    (void)twins;
    kek_id_format(&mine->kek_id, id);
    say_announces(one, other, mine, theirs, announces, sizeof announces);
    ctl_say(ctl,
            "the roots of trust %s and %s have the same KEK, version %" PRIu32 " of %s and "
            "%" PRIu32 " of %s (kek id %s): they are one root, and %s; make them one root with the "
            "providers of both, or make %s a KEK of its own on a token that does not replicate: "
            "kekctl %s",
            one->name, other->name, mine->number, one->name, theirs->number, other->name, id,
            announces, another, kek_command(another, "key generate").text);
}

static void say_shared(const struct root_twins *twins, const struct ctl *ctl,
                       const struct root_keks *one, const struct root_keks *other,
                       const struct root_kek *mine, const struct root_kek *theirs)
{
    char id[KEK_ID_TEXT];
    kek_id_format(&mine->kek_id, id);
    ctl_say(ctl,
            "%sthe roots of trust %s and %s share a KEK, version %" PRIu32 " of %s and %" PRIu32
            " of %s (kek id %s): %s",
            twins->all ? "" : "remark: ", one->name, other->name, mine->number, one->name,
            theirs->number, other->name, id,
            twins->all ? "who has the token of one has the share of both, so mode all keeps nobody "
                         "out; rotate the root that seals under it, and rewrite everything "
                         "(kekctl reencrypt)"
                       : "where both seal under it, kekd does not announce them together");
}

static size_t say_each(const struct root_twins *twins, const struct ctl *ctl, bool twin,
                       void (*say)(const struct root_twins *twins, const struct ctl *ctl,
                                   const struct root_keks *one, const struct root_keks *other,
                                   const struct root_kek *mine, const struct root_kek *theirs))
{
    size_t found = 0;
    for (size_t i = 0; i < twins->count; i++) {
        for (size_t j = i + 1; j < twins->count; j++) {
            const struct root_keks *one = &twins->roots[i], *other = &twins->roots[j];
            const struct root_kek *theirs = NULL, *mine = shared(one, other, &theirs);
            if (mine != NULL && are_twins(one, other, mine, theirs) == twin) {
                say(twins, ctl, one, other, mine, theirs);
                found++;
            }
        }
    }
    return found;
}

size_t root_twins_say(const struct root_twins *twins, const struct ctl *ctl)
{
    return say_each(twins, ctl, true, say_twin);
}

size_t root_twins_say_shared(const struct root_twins *twins, const struct ctl *ctl)
{
    size_t found = say_each(twins, ctl, false, say_shared);
    return twins->all ? found : 0;
}
