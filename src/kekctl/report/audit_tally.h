/*
 * What an audit log says, gathered: who used which key when, what operators did, who logged in, and between which dates
 * each key was in use.  The lines come one after the other, the oldest first; nothing else is kept of them.
 *
 * What is not known by name goes by the key's kek id alone.  Each list has a maximum; what does not fit is counted.
 */
#ifndef KEKCTL_REPORT_AUDIT_TALLY_H
#define KEKCTL_REPORT_AUDIT_TALLY_H

#include <jansson.h>

#include "kek/auto.h"
#include "kek/kek.h"
#include "period.h"

#define AUDIT_TALLY_KEYS_MAX 256
#define AUDIT_TALLY_PROVIDERS_MAX 16 /* more than are configured: a log may have names of before */
#define AUDIT_TALLY_ROWS_MAX 2000    /* of each list */

/* Milliseconds since 1970; 0: no line says so. */
struct audit_key {
    struct kek_id kek_id;
    int64_t generated_ms;    /* kekctl made it */
    int64_t first_active_ms; /* it may seal, or did */
    bool begun_here;         /* the first of these is what kekctl made it by, or promoted it */
    int64_t last_active_ms;
    /* After that: */
    int64_t first_inactive_ms;
    int64_t first_retired_ms, last_retired_ms; /* by kekctl: until the first it was active */
    int64_t last_opened_ms;                    /* a Decrypt by it */
    /* The providers on which it was active last: where it is so on another one, it has not ceased to seal. */
    size_t active_count;
    char active_on[AUDIT_TALLY_PROVIDERS_MAX][64];
};

struct audit_tally {
    bool spoilt;     /* there was no memory: it is worth nothing */
    json_t *uses;    /* by what is alike in them; so are the next two */
    json_t *logins;  /* at tokens */
    json_t *refused; /* who was refused before any key was asked for */
    json_t *acts;    /* by operators, in a list; so are the changes that kekd saw */
    json_t *changes;
    json_t *seen;      /* the last state of each key by provider */
    uint64_t left_out; /* rows */
    uint64_t dropped;  /* lines that could not be written, for certain */
    uint64_t dropped_at_most;
    uint64_t starts, stops;
    char first[32], last[32]; /* dates, as the lines have them; empty: there is no line */
    char program[96];         /* that kekd said it was at its last start */
    size_t key_count;
    struct audit_key keys[AUDIT_TALLY_KEYS_MAX];
};

/* NULL: no memory. */
struct audit_tally *audit_tally_new(void);
void audit_tally_free(struct audit_tally *tally);
KEK_DEFINE_AUTO(audit_tally);

/* Of audit_read_fn's form: the line is whole. */
void audit_tally_line(void *tally, const json_t *line);

/* NULL: no line has it. */
const struct audit_key *audit_tally_key(const struct audit_tally *tally,
                                        const struct kek_id *kek_id);

/* The values of one of the three that are gathered, as a list. NULL: no memory. */
json_t *audit_tally_list(const json_t *gathered);

#endif
