/*
 * Data keys of kekd envelopes, each opened once by the HSMs and kept for the envelopes that follow.  Of an envelope of
 * several roots of trust every KEK is asked: in mode `any` each should give the same data key, in mode `all` a share.
 *
 * At most DATAKEYS_MAX are kept, the ones used last; what became of one that does not open is kept too.  A
 * token's "damaged" is believed only of one that opened something else under the same KEK, since another key
 * under the KEK's id says it of everything; and nothing is called damaged while somebody who may hold the KEK
 * could not be asked.  One thread; blocks.
 */
#ifndef KEKCTL_INVENTORY_DATAKEYS_H
#define KEKCTL_INVENTORY_DATAKEYS_H

#include "inventory_keks.h"
#include "kek/envelope.h"

#define DATAKEYS_MAX 512
#define DATAKEYS_KEKS_MAX 4096 /* that are told apart; nobody is asked for any more than these */

enum opening {
    OPENING_GOOD = 0,
    OPENING_DAMAGED,     /* tokens that open others under this KEK say no */
    OPENING_UNDECIDED,   /* tokens say no that have opened nothing else under this KEK */
    OPENING_NO_KEY,      /* every provider answered, and none has the KEK */
    OPENING_SUSPENDED,   /* the KEK is there and may not unwrap */
    OPENING_UNREACHABLE, /* somebody who may have the KEK could not be asked */
    OPENING_CONTEXT,     /* it opens, in a context that the kekd of this etcd does not open */
    /* Of several roots of trust alone: */
    OPENING_PARTLY, /* it opens by one of its KEKs and not by another, where each should open it */
    OPENING_FORM,   /* it opens, and is of a form that the kekd of this configuration refuses */
    OPENING_OUTCOMES
};
#define OPENING_OF_ONE_ROOT OPENING_PARTLY /* what comes before it is told of one root, too */

const char *opening_name(enum opening opening); /* "opens", "damaged", "undecided", "no-key", ... */

/* A KEK, as far as this run has come to know it. */
struct datakey_kek {
    struct kek_id id;
    uint32_t proven;  /* providers, by bit, that opened an envelope under it */
    unsigned strikes; /* how often in a row it could not be asked for */
};

/* What became of one wrapped data key, or share. */
struct datakey_leg {
    enum opening opening; /* OPENING_UNDECIDED stands for damaged, too: see datakey_final() */
    uint32_t asked;       /* providers, by bit, that said that it is damaged, or that opened it */
    bool unasked;         /* somebody who may have the KEK did not answer */
    struct datakey_kek *kek;
    const struct inventory_kek *known; /* NULL: of a root of trust that nobody here knows */
    size_t key;                        /* OPENING_GOOD: which of the data keys it gave */
    char why[KEK_WHY_TEXT];            /* what the last provider said; "": nothing */
};

struct datakey {
    uint8_t *header; /* of the envelopes that it is of; owned */
    size_t header_len;
    uint8_t mode;
    struct datakey_leg legs[KEK_ENVELOPE_ENTRIES_MAX];
    size_t leg_count;
    /* Mode any: all that are different; one, unless some are wrong.  Mode all: the shares joined. */
    struct kek_secret *keys[KEK_ENVELOPE_ENTRIES_MAX];
    size_t key_count;                  /* 0: it does not open */
    struct kek_envelope_key *expanded; /* in the context that fitted last; NULL: none yet */
    size_t context, key;               /* which that is, and of which key */
    uint64_t used;
};

struct datakeys;

/* Both are borrowed.  keys: its workers run and their listings are there; NULL: nobody can be asked. NULL: no memory. */
struct datakeys *datakeys_new(struct root_keys *keys, const struct inventory_keks *keks);
void datakeys_free(struct datakeys *datakeys);
KEK_DEFINE_AUTO(datakeys);

/* The data key of an envelope; borrowed until the next call. KEK_NO_MEMORY alone. */
enum kek_rc datakeys_get(struct datakeys *datakeys, const struct kek_envelope *envelope,
                         struct datakey **datakey, struct kek_why *why) KEK_MUST_CHECK;

/* An envelope opened under that one of its data keys: who gave it has the right KEK.  Which legs that is, by bit. */
unsigned datakey_proven(struct datakey *datakey, size_t key);

/* What is to be said, once all was looked at, of what `asked` said to be damaged under the KEK. */
enum opening datakey_final(const struct datakey_kek *kek, uint32_t asked, bool unasked);

/* How many were opened or tried. */
uint64_t datakeys_count(const struct datakeys *datakeys);

#endif
