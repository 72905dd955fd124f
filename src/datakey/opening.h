/*
 * An opening: the flight of a data key from the HSM.  What the files of it share, each calling only those above it:
 *
 *   landing.c      how it ends
 *   opening_any.c  mode any: one entry after the other, until one has opened
 *   opening_all.c  mode all: every entry at once
 *   opening.c      how it begins
 */
#ifndef KEK_DATAKEY_OPENING_H
#define KEK_DATAKEY_OPENING_H

#include "datakey/store.h"

struct opening {
    struct flight flight;
    struct kek_envelope header; /* of `name` */
    struct unwrap *legs;        /* one for each entry of it */
    struct sources doubted;     /* of a doubt: where the key that opened nothing came from */
    /* Mode any: a bit for each entry that was asked, and for each that its root calls damaged; and how the last of the
     * others failed: KEK_OK, none did. */
    unsigned tried, damaged;
    enum kek_rc failed;
    /* Mode all: the shares so far; and a bit for each entry whose worker is in doubt, and for each whose worker was
     * right after all. */
    struct kek_secret *shares[KEK_ENVELOPE_ENTRIES_MAX];
    unsigned in_doubt, right;
    struct kek_why why;
    struct opening **shared; /* where others find it; NULL: it is its waiter's alone */
    UT_hash_handle hh;       /* there, by name */
    size_t name_len;
    uint8_t name[];
};

/* landing.c */
void opening_end(struct flight *flight);
/* A new reference, not proven yet; where other contexts may be tried it keeps the data key for them. */
struct kek_datakey_ref *opening_ref(const struct kek_datakey_store *store, struct kek_bytes name,
                                    const struct kek_secret *data_key, struct kek_why *why);
/* `entry`: in mode any, whose key that is. */
void opening_land(struct opening *opening, const struct kek_secret *data_key, size_t entry);
void opening_fail(struct opening *opening, enum kek_rc rc, const struct kek_why *why);

/* Each asks for the key, or doubts what opening->doubted says.  KEK_OK: that is under way; else opening->why says why it
 * cannot be, and the flight is still there. */
enum kek_rc any_ask(struct opening *opening) KEK_MUST_CHECK;
enum kek_rc any_doubt(struct opening *opening) KEK_MUST_CHECK;
enum kek_rc all_ask(struct opening *opening) KEK_MUST_CHECK;
enum kek_rc all_doubt(struct opening *opening) KEK_MUST_CHECK;

#endif
