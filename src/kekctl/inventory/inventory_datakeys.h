/*
 * Data keys of kekd envelopes, each opened once by the HSMs and kept for the envelopes that follow.
 *
 * At most DATAKEYS_MAX are kept, the ones used last; what became of one that does not open is kept too.  A
 * token's "damaged" is believed only of one that opened something else under the same KEK, since another key
 * under the KEK's id says it of everything; and nothing is called damaged while somebody who may hold the KEK
 * could not be asked.  One thread; blocks.
 */
#ifndef KEKCTL_INVENTORY_DATAKEYS_H
#define KEKCTL_INVENTORY_DATAKEYS_H

#include "kek/envelope.h"
#include "kekctl/key/keys.h"

#define DATAKEYS_MAX 512
#define DATAKEYS_KEKS_MAX 256

enum opening {
    OPENING_GOOD = 0,
    OPENING_DAMAGED,     /* tokens that open others under this KEK say no */
    OPENING_UNDECIDED,   /* tokens say no that have opened nothing else under this KEK */
    OPENING_NO_KEY,      /* every provider answered, and none has the KEK */
    OPENING_SUSPENDED,   /* the KEK is there and may not unwrap */
    OPENING_UNREACHABLE, /* somebody who may have the KEK could not be asked */
    OPENING_OUTCOMES
};

const char *opening_name(enum opening opening); /* "opens", "damaged", "undecided", "no-key", ... */

/* A KEK, as far as this run has come to know it. */
struct datakey_kek {
    struct kek_id id;
    uint32_t proven;  /* providers, by bit, that opened an envelope under it */
    unsigned strikes; /* how often in a row it could not be asked for */
};

struct datakey {
    uint8_t *header; /* of the envelopes that it is of; owned */
    size_t header_len;
    enum opening opening; /* OPENING_UNDECIDED stands for damaged, too: see datakey_final() */
    uint32_t asked;       /* providers, by bit, that said that it is damaged, or that opened it */
    bool unasked;         /* somebody who may have the KEK did not answer */
    struct datakey_kek *kek;
    struct kek_secret *key;            /* OPENING_GOOD */
    struct kek_envelope_key *expanded; /* in the context that fitted last; NULL: none yet */
    size_t context;                    /* which that is */
    char why[KEK_WHY_TEXT];            /* what the last provider said */
    uint64_t used;
};

struct datakeys;

/* keys: borrowed, its workers run and their listings are there; NULL: nobody can be asked. NULL: no memory. */
struct datakeys *datakeys_new(struct keys *keys);
void datakeys_free(struct datakeys *datakeys);
KEK_DEFINE_AUTO(datakeys);

/* The data key of an envelope; borrowed until the next call. KEK_NO_MEMORY alone. */
enum kek_rc datakeys_get(struct datakeys *datakeys, const struct kek_envelope *envelope,
                         struct datakey **datakey, struct kek_why *why) KEK_MUST_CHECK;

/* An envelope under it opened: who opened the data key has the right KEK. */
void datakey_proven(struct datakey *datakey);

/* What is to be said, once all was looked at, of what `asked` said to be damaged under the KEK. */
enum opening datakey_final(const struct datakey_kek *kek, uint32_t asked, bool unasked);

/* How many were opened or tried. */
uint64_t datakeys_count(const struct datakeys *datakeys);

#endif
