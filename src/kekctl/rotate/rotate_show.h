/*
 * How far a rotation is, for who waits: on a terminal one line for each step, redrawn in place; elsewhere a line
 * for each change; with --output json an object a line.
 */
#ifndef KEKCTL_ROTATE_SHOW_H
#define KEKCTL_ROTATE_SHOW_H

#include "rotation.h"

struct rotate_show {
    const struct ctl *ctl;
    bool redraws; /* standard output is a terminal, and text is wanted */
    bool open;    /* the terminal's line has no end yet */
    bool begun;   /* `step` is one that was shown */
    enum rotation_step step;
    int64_t since_ms;             /* of the wall clock: when it was first shown */
    char last[KEK_WHY_TEXT + 64]; /* line, so that none is said twice */
};

void rotate_show_init(struct rotate_show *show, const struct ctl *ctl);
/* What the plan does or waits for; a step before it has ended. */
void rotate_show(struct rotate_show *show, const struct rotation_plan *plan, int64_t now_ms);
/* One more object of --output json, whose `state` is the word; to others it says nothing. Takes `more`. */
void rotate_show_event(struct rotate_show *show, const struct rotation_plan *plan, int64_t now_ms,
                       const char *state, json_t *more);
/* Ends the terminal's line, before anything else is printed. */
void rotate_show_end(struct rotate_show *show);

#endif
