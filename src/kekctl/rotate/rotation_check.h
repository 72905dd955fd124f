/* What keeps a rotation from beginning, or from going on, until somebody has done something about it. Pure. */
#ifndef KEKCTL_ROTATION_CHECK_H
#define KEKCTL_ROTATION_CHECK_H

#include "rotation_target.h"

/* As a node calls itself, or as it was given where it does not answer. */
const char *rotation_node_name(const struct node *node);

/* The node that the provider's keys are asked of did not answer, and is waited for; NULL: there is none. */
const struct node *rotation_away(const struct rotation_facts *facts);

/* False: plan has the verdict and the text.  `kind` and plan->target are rotation_target()'s. */
bool rotation_check(const struct rotation_facts *facts, enum rotation_target kind,
                    struct rotation_plan *plan);

#endif
