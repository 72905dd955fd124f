#include "kek/root_rules.h"

#include "kek/text.h"

struct kek_root_form kek_root_form_of(const struct kek_envelope *envelope)
{
    struct kek_root_form form = {.mode = envelope->mode, .count = envelope->count};
    for (size_t i = 0; i < envelope->count; i++) {
        form.kek_ids[i] = envelope->entries[i].kek_id;
    }
    return form;
}

bool kek_root_form_equal(const struct kek_root_form *one, const struct kek_root_form *other)
{
    bool same = one->mode == other->mode && one->count == other->count;
    for (size_t i = 0; same && i < one->count; i++) {
        same = kek_id_equal(&one->kek_ids[i], &other->kek_ids[i]);
    }
    return same;
}

/* The place among the roots, from there on, of the one that has the KEK; `count`: none has. */
static size_t place_from(const struct kek_root_rules *rules, const struct kek_id *kek_id,
                         size_t from)
{
    size_t i = from;
    while (i < rules->count && !rules->has(rules->arg, i, kek_id)) {
        i++;
    }
    return i;
}

/* Are the KEKs that are known each of another root, in the order of the roots?  A token may have a copy of another root's
 * KEK, too. */
static bool in_order(const struct kek_root_rules *rules, const struct kek_root_form *form,
                     unsigned *known)
{
    size_t next = 0;
    *known = 0;
    for (size_t i = 0; i < form->count; i++) {
        size_t place = place_from(rules, &form->kek_ids[i], next);
        if (place < rules->count) {
            *known |= 1u << place;
            next = place + 1;
        } else if (place_from(rules, &form->kek_ids[i], 0) < rules->count) {
            return false;
        }
    }
    return true;
}

/* Is a share of it in every envelope of mode `all`? */
static bool is_needed(const struct kek_root_rules *rules, size_t root)
{
    return rules->seals[root] && rules->needed[root];
}

static bool fits(const struct kek_root_rules *rules, const struct kek_root_form *form)
{
    size_t least = 1;
    if (form->mode == KEK_ENVELOPE_MODE_ALL) {
        least = 0;
        for (size_t i = 0; i < rules->count; i++) {
            least += is_needed(rules, i) ? 1 : 0;
        }
    }
    return (form->mode == rules->mode || form->mode == rules->mode_accept) &&
           form->count >= least && form->count <= rules->count;
}

/* In mode `all` none that is needed may be left out; a KEK that is not known may be any root's. */
static bool is_whole(const struct kek_root_rules *rules, const struct kek_root_form *form,
                     unsigned known)
{
    size_t unknown = form->count, left_out = 0;
    for (size_t i = 0; i < rules->count; i++) {
        unknown -= known >> i & 1;
        left_out += is_needed(rules, i) && (known >> i & 1) == 0 ? 1 : 0;
    }
    return form->mode != KEK_ENVELOPE_MODE_ALL || left_out <= unknown;
}

static const char *mode_name(uint8_t mode)
{
    return mode == KEK_ENVELOPE_MODE_ALL ? "all" : "any";
}

/* Its mode, or its number of KEKs, is not of this configuration. */
static enum kek_rc refuse(const struct kek_root_rules *rules, const struct kek_root_form *form,
                          struct kek_why *why)
{
    const char *mode = mode_name(form->mode);
    if (rules->count == 1) {
        return kek_fail(
            why, KEK_PRECONDITION,
            "it is of mode %s with %s, and this configuration has one root of trust: "
            "`roots` with those that it was sealed under, and `mode: %s`, would accept it",
            mode, kek_counted(form->count, "KEK").text, mode);
    }
    if (form->mode != rules->mode && form->mode != rules->mode_accept) {
        return kek_fail(why, KEK_PRECONDITION,
                        "it is of mode %s, and this configuration has mode %s: `mode_accept: %s` "
                        "would accept it",
                        mode, mode_name(rules->mode), mode);
    }
    return kek_fail(
        why, KEK_PRECONDITION,
        form->count > rules->count
            ? "it is of mode %s with %s, and this configuration has fewer `roots`: with "
              "those that it was sealed under it would be accepted"
            : "it is of mode %s with %s, and fewer than are needed here: `needed: false` "
              "of the roots that it lacks would accept it",
        mode, kek_counted(form->count, "KEK").text);
}

enum kek_rc kek_root_rules_check(const struct kek_root_rules *rules,
                                 const struct kek_root_form *form, struct kek_why *why)
{
    unsigned known;
    if (!fits(rules, form)) {
        return refuse(rules, form, why);
    }
    if (rules->count > 1 && !in_order(rules, form, &known)) {
        return kek_fail(why, KEK_PRECONDITION,
                        "its KEKs are not one of each root of trust, in the order of `roots`: the "
                        "order in which it was sealed would accept it");
    }
    if (rules->count > 1 && !is_whole(rules, form, known)) {
        return kek_fail(
            why, KEK_PRECONDITION,
            "it is of mode all and lacks a root that is needed: `needed: false` of that "
            "root would accept it");
    }
    return KEK_OK;
}

unsigned kek_root_rules_known(const struct kek_root_rules *rules, const struct kek_root_form *form)
{
    unsigned known;
    (void)in_order(rules, form, &known);
    return known;
}
