/* doctor: several roots of trust, each by what its tokens showed, and what the whole is by them. */
#include <inttypes.h>
#include <stdio.h>

#include "doctor.h"
#include "kek/text.h"

/* Can what is sealed be under it, and if it only opens, does it answer? */
static bool serves(const struct doctor *doctor, size_t root)
{
    const struct doctor_root *found = &doctor->roots[root];
    bool seals = doctor->config->root_count <= 1 || doctor->config->roots[root].seals;
    return seals ? found->wraps : found->answered > 0;
}

/* Another that seals, and of which nothing is a FAIL: in mode `any` that is enough. */
static bool is_one_left(const struct doctor *doctor, size_t without)
{
    const struct kek_config *config = doctor->config;
    for (size_t i = 0; i < config->root_count && config->mode == KEK_CONFIG_ANY; i++) {
        if (i != without && config->roots[i].seals && serves(doctor, i) &&
            !lines_has(&doctor->lines, LINES_ROOT, config->roots[i].name, DOCTOR_FAIL)) {
            return true;
        }
    }
    return false;
}

static void say_out(struct doctor *doctor, size_t root, const char *subject, bool is_left)
{
    const struct kek_config_root *config = &doctor->config->roots[root];
    char todo[LINES_TODO];
    if (is_left) {
        doctor_command(doctor, todo, "reencrypt # once its lines are mended");
    } else {
        lines_todo(todo, "the lines of its providers first");
    }
    lines_add(
        &doctor->lines, is_left ? DOCTOR_WARN : DOCTOR_FAIL, subject, todo,
        "the root of trust %s is out: %s", config->name,
        is_left && config->seals
            ? "sealing goes on by another, and what is sealed meanwhile does not open by this one"
        : is_left ? "it seals nothing, and what is under it alone does not open"
        : doctor->config->mode == KEK_CONFIG_ALL
            ? "in mode all every root is needed, so nothing new is sealed, and only what is in "
              "memory opens"
            : "no other is left that seals");
}

static void judge_root(struct doctor *doctor, size_t root, bool is_left)
{
    const struct kek_config_root *config = &doctor->config->roots[root];
    const struct doctor_root *found = &doctor->roots[root];
    char subject[64];
    snprintf(subject, sizeof subject, "root %s", config->name);
    doctor->lines.root = config->name;
    if (serves(doctor, root)) {
        lines_add(&doctor->lines, DOCTOR_OK, subject, NULL,
                  "version %" PRIu32 " is the newest that may seal; %zu of %s answer",
                  found->newest, found->answered,
                  kek_counted(config->provider_count, "provider").text);
    } else {
        say_out(doctor, root, subject, is_left);
    }
    doctor->lines.root = "";
}

/* ---- providers of one root ---- */

/* Of the whole configuration's. */
static void range_of(const struct doctor *doctor, size_t root, size_t *first, size_t *end)
{
    const struct kek_config *config = doctor->config;
    bool several = config->root_count > 1;
    *first = several ? config->roots[root].first_provider : 0;
    *end = *first + (several ? config->roots[root].provider_count : config->provider_count);
}

/* The others of its root of which nothing is a FAIL: kekd goes on by those. Returns how many; *name: the first. */
static size_t spares_of(const struct doctor *doctor, size_t root, size_t provider,
                        const char **name)
{
    const struct kek_config *config = doctor->config;
    size_t first, end, count = 0;
    range_of(doctor, root, &first, &end);
    for (size_t i = first; i < end; i++) {
        if (i != provider && doctor->tokens[i].answered &&
            !lines_has(&doctor->lines, LINES_PROVIDER, config->providers[i].name, DOCTOR_FAIL)) {
            *name = count == 0 ? config->providers[i].name : *name;
            count++;
        }
    }
    return count;
}

/* One that is out beside another that serves is what kekd is made to bear. */
static void judge_spares(struct doctor *doctor, size_t root)
{
    size_t first, end;
    range_of(doctor, root, &first, &end);
    for (size_t i = first; i < end && doctor->roots[root].looked && serves(doctor, root); i++) {
        const char *name = doctor->config->providers[i].name;
        const char *spare = "";
        size_t count = doctor->tokens[i].answered ? 0 : spares_of(doctor, root, i, &spare);
        char todo[LINES_TODO], subject[64];
        if (count == 0) {
            continue;
        }
        doctor_about(doctor, &doctor->config->providers[i]);
        lines_soften(&doctor->lines, LINES_PROVIDER, name);
        lines_todo(todo, "the lines of %s first", name);
        snprintf(subject, sizeof subject, "provider %s", name);
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo, "it is out, and kekd serves by %s %s",
                  spare, count == 1 ? "alone: without redundancy" : "and others");
        doctor_about(doctor, NULL);
    }
}

/* ---- all together ---- */

/* Two roots on one token, said of the first pair of their providers. */
static size_t judge_tokens(struct doctor *doctor, size_t one, size_t other)
{
    const struct kek_config_root *a = &doctor->config->roots[one],
                                 *b = &doctor->config->roots[other];
    for (size_t i = a->first_provider; i < a->first_provider + a->provider_count; i++) {
        for (size_t j = b->first_provider; j < b->first_provider + b->provider_count; j++) {
            if (doctor_one_token(doctor, i, j)) {
                lines_add(
                    &doctor->lines, DOCTOR_WARN, "roots", "a token of its own for one of them",
                    "the roots of trust %s and %s are on one token (serial %s): together they "
                    "are no safer than one",
                    a->name, b->name, doctor->tokens[i].serial);
                return 1;
            }
        }
    }
    return 0;
}

/* Two roots that are one, or as good as one. */
static void judge_twins(struct doctor *doctor)
{
    static const char todo[] =
        "one root with the providers of both, or a KEK of its own for each (docs/roots.md)";
    lines_hear(&doctor->lines, DOCTOR_FAIL, "roots", todo);
    size_t found = root_twins_say(&doctor->twins, &doctor->ctl);
    lines_hear(&doctor->lines, DOCTOR_WARN, "roots", todo);
    found += root_twins_say_shared(&doctor->twins, &doctor->ctl);
    for (size_t i = 0; i < doctor->config->root_count; i++) {
        for (size_t j = i + 1; j < doctor->config->root_count; j++) {
            found += judge_tokens(doctor, i, j);
        }
    }
    if (found == 0) {
        lines_add(
            &doctor->lines, DOCTOR_OK, "roots", NULL,
            "no two of %s, as far as their tokens answer, seal under the same KEK or are one token",
            kek_counted(doctor->twins.count, "root").text);
    }
}

void doctor_roots(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    bool is_left[KEK_CONFIG_ROOTS_MAX];
    for (size_t i = 0; i < kek_config_root_count(config); i++) {
        judge_spares(doctor, i);
    }
    /* Before any of them is softened. */
    for (size_t i = 0; i < config->root_count; i++) {
        is_left[i] = is_one_left(doctor, i);
    }
    for (size_t i = 0; i < config->root_count && config->root_count > 1; i++) {
        if (!doctor->roots[i].looked) {
            continue; /* a line says why */
        }
        judge_root(doctor, i, is_left[i]);
        if (is_left[i]) {
            lines_soften(&doctor->lines, LINES_ROOT, config->roots[i].name);
        }
    }
    if (doctor->twins.count > 1) {
        judge_twins(doctor);
    }
}
