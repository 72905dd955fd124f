/*
 * What is back: a version that is on record as destroyed and is on a token, or one in quarantine that a token lets be
 * used.  Whoever restores a token from a backup brings both about, on one provider or on all.
 */
#ifndef KEKCTL_DESTROY_BACK_H
#define KEKCTL_DESTROY_BACK_H

#include "kekctl/key/keys.h"
#include "destroy_file.h"

#define DESTROY_BACK_MAX (DESTROY_PAST_MAX + 1 + KEK_KEYRING_HISTORY_MAX)

struct destroy_back {
    struct kek_id ids[DESTROY_BACK_MAX];
    size_t count;
};

/* Says a sentence of each, by the listings, this record and that of kekd. only: of this one alone; NULL: of all. */
void destroy_back_say(const struct keys *keys, const struct destroy_record *record,
                      const struct kek_id *only, struct destroy_back *back);

/* The same of all, by the record in state_dir; one that cannot be read says nothing. */
void destroy_back_look(const struct keys *keys, struct destroy_back *back);

bool destroy_back_has(const struct destroy_back *back, const struct kek_id *kek_id);

#endif
