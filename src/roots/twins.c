/*
 * Two roots with the same KEK are one root.  They are never announced together, and that is told as long as it is so: of
 * what each announced, and of the version that it would announce next.
 */
#include "roots/join.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

/* What a root seals under, or would next. */
struct candidate {
    struct kek_id kek_id;
    uint32_t number;
    bool next;
};

bool twins_taken(const struct kek_roots *roots, size_t root, const struct kek_id *kek_id)
{
    struct kek_keyring_primary primary;
    for (size_t i = 0; i < roots->settings.count; i++) {
        if (i != root && roots->settings.roots[i].seals &&
            kek_keyring_primary(ring_at(roots, i), &primary) &&
            kek_id_equal(&primary.generation.kek_ids[0], kek_id)) {
            return true;
        }
    }
    return false;
}

/* The newest that is active, and newer than what was announced: not what the keyring wants at this moment, which
 * changes while its workers are asked. */
static bool find_next(const struct kek_roots *roots, size_t root, uint32_t newer_than,
                      struct candidate *next)
{
    struct kek_keyring_version versions[KEK_PROVIDER_VERSIONS_MAX];
    size_t count = kek_keyring_versions(ring_at(roots, root), versions, KEK_PROVIDER_VERSIONS_MAX);
    *next = (struct candidate){.number = newer_than, .next = true};
    for (size_t v = 0; v < count; v++) {
        if (versions[v].state == KEK_KEYRING_KEY_ACTIVE && !versions[v].surplus &&
            versions[v].number > next->number) {
            next->number = versions[v].number;
            next->kek_id = versions[v].kek_id;
        }
    }
    return next->number > newer_than;
}

static size_t list_candidates(const struct kek_roots *roots, size_t root,
                              struct candidate candidates[static 2])
{
    struct kek_keyring_primary primary = {.generation.count = 0};
    size_t count = 0;
    if (!roots->settings.roots[root].seals) {
        return 0;
    }
    if (kek_keyring_primary(ring_at(roots, root), &primary)) {
        candidates[count++] = (struct candidate){.kek_id = primary.generation.kek_ids[0],
                                                 .number = primary.generation.numbers[0]};
    }
    count += find_next(roots, root, primary.generation.numbers[0], &candidates[count]);
    return count;
}

/* Of those of two roots, the pair that is one KEK. False: none is. */
static bool are_twins(const struct candidate *mine, size_t my_count, const struct candidate *theirs,
                      size_t their_count, struct twin twins[static 2])
{
    for (size_t a = 0; a < my_count; a++) {
        for (size_t b = 0; b < their_count; b++) {
            if (kek_id_equal(&mine[a].kek_id, &theirs[b].kek_id)) {
                twins[0].number = mine[a].number;
                twins[0].next = mine[a].next;
                twins[1].number = theirs[b].number;
                twins[1].next = theirs[b].next;
                return true;
            }
        }
    }
    return false;
}

static void find(const struct kek_roots *roots, struct twin twins[static 2])
{
    struct candidate of[KEK_ROOTS_MAX][2];
    size_t counts[KEK_ROOTS_MAX];
    for (size_t j = 0; j < roots->settings.count; j++) {
        counts[j] = list_candidates(roots, j, of[j]);
        for (size_t i = 0; i < j; i++) {
            if (are_twins(of[i], counts[i], of[j], counts[j], twins)) {
                twins[0].root = &roots->settings.roots[i];
                twins[1].root = &roots->settings.roots[j];
                return;
            }
        }
    }
    twins[0].root = twins[1].root = NULL;
}

const struct twin *twins_of(const struct kek_roots *roots, size_t root)
{
    for (size_t i = 0; i < 2; i++) {
        if (roots->twins[i].root == &roots->settings.roots[root]) {
            return &roots->twins[i];
        }
    }
    return NULL;
}

void twins_say(const struct kek_roots *roots, char *what, size_t what_size, char *todo,
               size_t todo_size)
{
    const struct twin *one = &roots->twins[0], *other = &roots->twins[1];
    /* Whoever has announced it keeps it. */
    const char *another = one->next && !other->next ? one->root->name : other->root->name;
    char text[sizeof((struct kek_keyring_verdict *)NULL)->what];
    snprintf(text, sizeof text,
             "the roots of trust %s and %s have the same KEK, version %" PRIu32
             " of %s and %" PRIu32 " of %s: they are one root",
             one->root->name, other->root->name, one->number, one->root->name, other->number,
             other->root->name);
    kek_text_copy(what, what_size, text);
    snprintf(text, sizeof text,
             "make them one root with the providers of both, or make %s a KEK of its own: "
             "kekctl key generate --root %s",
             another, another);
    kek_text_copy(todo, todo_size, text);
}

/* Once, and again when it is of other versions, or keeps what was announced from being announced. */
static void tell(struct kek_roots *roots)
{
    char what[sizeof((struct kek_keyring_verdict *)NULL)->what];
    char todo[sizeof((struct kek_keyring_verdict *)NULL)->todo];
    char text[sizeof what + sizeof todo + 80];
    if (roots->twins[0].root == NULL) {
        roots->settings.notice(roots->settings.arg, KEK_LOG_INFO, NULL,
                               "no two roots of trust have the same KEK any more");
        return;
    }
    twins_say(roots, what, sizeof what, todo, sizeof todo);
    snprintf(text, sizeof text, "%s, and %s; %s", what,
             roots->announced ? "no other is announced than before" : "nothing is sealed", todo);
    roots->settings.notice(roots->settings.arg, roots->announced ? KEK_LOG_WARN : KEK_LOG_ERROR,
                           NULL, text);
}

static bool is_same(const struct twin *one, const struct twin *other)
{
    return one->root == other->root &&
           (one->root == NULL || (one->number == other->number && one->next == other->next));
}

void twins_look(struct kek_roots *roots)
{
    const struct twin before[2] = {roots->twins[0], roots->twins[1]};
    bool seals = roots->twins_seal;
    find(roots, roots->twins);
    roots->twins_seal = roots->announced;
    bool there = roots->twins[0].root != NULL;
    if (is_same(&before[0], &roots->twins[0]) && is_same(&before[1], &roots->twins[1]) &&
        (!there || seals == roots->twins_seal)) {
        return;
    }
    roots->twins_ms = kek_clock_ms();
    if (roots->settings.notice != NULL) {
        tell(roots);
    }
}
