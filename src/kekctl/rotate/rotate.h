/*
 * What the parts of `key rotate` share: one run of it.  rotate_look() asks tokens and nodes and plans;
 * rotate_act() does what the plan says, once.
 */
#ifndef KEKCTL_ROTATE_H
#define KEKCTL_ROTATE_H

#include "kekctl/key/keys.h"
#include "kekctl/node/nodes.h"
#include "rotate_show.h"
#include "rotation_file.h"

struct rotate {
    const struct ctl *ctl;
    struct keys keys;
    struct nodes nodes;
    struct rotation_file file;
    struct rotation_facts facts;
    struct rotation_plan plan;
    struct rotate_show show;
    char context_sha256[65];
    uint64_t end_ms;          /* of kek_clock_ms(): of all waiting */
    bool drawn;               /* the id on record was drawn by this run, and not sent yet */
    bool changed;             /* something on a token, by this run */
    int64_t rewrite_after_ms; /* of the wall clock; 0: not every node announces it yet */
};

/* What does not change during the run.  False after saying why, then *code is the exit code. */
bool rotate_facts_init(struct rotate *rotate, enum ctl_exit *code);
/* Asks the nodes, and the tokens where `tokens`, by fresh workers where `fresh`.  False: some provider does not
 * answer, and the plan waits for it. */
bool rotate_look(struct rotate *rotate, bool tokens, bool fresh);

/* Puts the plan's step on record, if it is not the one that is. False after saying why it cannot. */
bool rotate_record(struct rotate *rotate);
/* CTL_GOOD: look again. Else it was said why the rotation stops. */
enum ctl_exit rotate_act(struct rotate *rotate);

#endif
