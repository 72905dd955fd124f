/*
 * How far it is, for who waits, on standard error: on a terminal a bar that is redrawn, elsewhere a line each 10 s.
 * And the report at the end, on standard output.
 */
#ifndef KEKCTL_REENCRYPT_SHOW_H
#define KEKCTL_REENCRYPT_SHOW_H

#include <jansson.h>

#include "reencrypt.h"

struct reencrypt_show {
    const struct reencrypt *reencrypt;
    bool redraws, open;
    uint64_t shown_ms, seen; /* when the bar was drawn last, and how many there were */
    uint64_t sampled_ms, sampled_seen;
    double rate; /* objects a second, lately */
};

void reencrypt_show_init(struct reencrypt_show *show, const struct reencrypt *reencrypt);
/* left: not begun, as far as is known. */
void reencrypt_show(struct reencrypt_show *show, uint64_t left);
/* Ends the terminal's line, before anything else is said. */
void reencrypt_show_end(struct reencrypt_show *show);

/* "41230 of 100000", and so on, as the bar's line has it. */
#define REENCRYPT_LINE 160
void reencrypt_show_line(uint64_t seen, uint64_t left, double rate, bool bar,
                         char line[static REENCRYPT_LINE]);

/* What became of it. `state`: "done", "interrupted" or "stopped"; left: not begun. Takes `proof`, which may be NULL. */
enum ctl_exit reencrypt_report(const struct reencrypt *reencrypt, const char *state, uint64_t left,
                               json_t *proof);

#endif
