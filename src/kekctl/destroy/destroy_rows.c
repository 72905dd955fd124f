/* What the files of a destruction share: steps, rows, spans of time, and how nodes and keys are found. */
#include "destroy.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const steps[DESTROY_STEPS] = {
    [DESTROY_NONE] = "none",
    [DESTROY_SUSPENDING] = "suspending",
    [DESTROY_QUARANTINED] = "quarantined",
    [DESTROY_DESTROYING] = "destroying",
    [DESTROY_DESTROYED] = "destroyed",
};

const char *destroy_step_name(enum destroy_step step)
{
    return steps[step];
}

bool destroy_step_parse(const char *name, enum destroy_step *step)
{
    for (size_t i = 0; i < DESTROY_STEPS; i++) {
        if (strcmp(steps[i], name) == 0) {
            *step = (enum destroy_step)i;
            return true;
        }
    }
    return false;
}

/* ---- rows ---- */

static struct destroy_row *add(struct destroy_plan *plan, const char *condition)
{
    struct destroy_row *row = &plan->rows[plan->count];
    plan->count += plan->count < DESTROY_ROWS_MAX - 1;
    *row = (struct destroy_row){.met = false};
    snprintf(row->condition, sizeof row->condition, "%s", condition);
    return row;
}

void destroy_met(struct destroy_plan *plan, const char *condition, const char *format, ...)
{
    struct destroy_row *row = add(plan, condition);
    va_list args;
    va_start(args, format);
    vsnprintf(row->evidence, sizeof row->evidence, format, args);
    va_end(args);
    row->met = true;
}

void destroy_unmet(struct destroy_plan *plan, const char *condition, const char *todo,
                   const char *format, ...)
{
    struct destroy_row *row = add(plan, condition);
    va_list args;
    va_start(args, format);
    vsnprintf(row->evidence, sizeof row->evidence, format, args);
    va_end(args);
    snprintf(row->todo, sizeof row->todo, "%s", todo);
}

void destroy_span(int64_t ms, char text[static DESTROY_SPAN_TEXT])
{
    int64_t s = ms < 0 ? 0 : ms / 1000;
    if (s >= 3 * 3600) {
        snprintf(text, DESTROY_SPAN_TEXT, "%" PRId64 " h", s / 3600);
    } else if (s >= 180) {
        snprintf(text, DESTROY_SPAN_TEXT, "%" PRId64 " min", s / 60);
    } else {
        snprintf(text, DESTROY_SPAN_TEXT, "%" PRId64 " s", s);
    }
}

bool destroy_is_self(const struct destroy_facts *facts, const struct node *node)
{
    return strcmp(node->status.node, facts->self) == 0 &&
           strcmp(node->status.context_sha256, facts->context_sha256) == 0;
}

void destroy_inventory_name(const char *etcd, char condition[static DESTROY_CONDITION_TEXT])
{
    snprintf(condition, DESTROY_CONDITION_TEXT, "inventory %s", etcd);
}

const char *destroy_node_name(const struct node *node)
{
    return node->reachable && node->status.node[0] != '\0' ? node->status.node : node->name;
}

const struct kek_version *destroy_key(const struct destroy_facts *facts, size_t provider)
{
    const struct destroy_provider *p = &facts->providers[provider];
    for (size_t i = 0; i < p->count; i++) {
        if (kek_id_equal(&p->versions[i].id, &facts->kek_id)) {
            return &p->versions[i];
        }
    }
    return NULL;
}
