/*
 * A time in which this root's KEK was lacking in what was sealed, on record until somebody has shown that nothing lacks it
 * any more.
 *
 * kekd does not read etcd: all it knows is since when, and until when, it announced the KEKs of other roots alone.  An API
 * server may write under what it had of that for some minutes more.  kekctl, which reads etcd, leaves its word in
 * <state_dir>/<keyring>.protected: what it read at that time lacked these roots nowhere.  It is looked for at each
 * `refresh`, on libuv's pool.
 *
 * The wall clock may be wrong, and be set, at any time.  What of it this process saw goes by the monotonic clock; on record are the
 * earliest and the latest that any clock said of it, and what was on record from a time that is yet to come ended when it was found so.
 */
#ifndef KEK_KEYRING_LAPSE_H
#define KEK_KEYRING_LAPSE_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

struct kek_keyring;

#define LAPSE_SAVED_MS 60000 /* of one that goes on the record lacks no more */

struct lapse {
    /* Since 1970: the earliest and the latest that the wall clock said.  since_ms 0: there is none. */
    int64_t since_ms, until_ms;
    /* Of kek_clock_ms(): when this process was first and last told of it, if it was.  end_ms may be when it was found to have ended,
     * too; 0: it ended at until_ms. */
    uint64_t begin_ms, end_ms;
    bool told;
    int64_t at_ms; /* since 1970: end_ms, by the wall clock as it is now */
    int64_t
        ahead_ms; /* the date of a word from a time to come, which shows nothing; 0: none was met */
    bool asking;  /* the word is being read */
    /* As the record has it, and when that was written, of kek_clock_ms(). */
    int64_t saved_until_ms;
    bool saved_goes_on;
    uint64_t saved_ms;
};

void lapse_load(struct kek_keyring *ring,
                json_t *object);                    /* NULL: none; what is no lapse is none */
json_t *lapse_json(const struct kek_keyring *ring); /* NULL: there is none, or no memory */
void lapse_saved(struct kek_keyring *ring);         /* as it is now, it is being written */
/* It is so at this moment. */
void lapse_tell(struct kek_keyring *ring);
/* This process was told so a moment ago. */
bool lapse_goes_on(const struct kek_keyring *ring);
/* It does not, and nobody has shown that nothing lacks this root. */
bool lapse_is_over(const struct kek_keyring *ring);
/* Since 1970, by the wall clock as it is now, and no later than that: when it ended. */
int64_t lapse_until(struct kek_keyring *ring);

#endif
