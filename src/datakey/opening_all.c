/*
 * Mode all: the shares of all entries, asked for at once.  A share whose wrap does not authenticate may be a wrong one: if
 * nothing opens, the workers of all such shares are doubted, and it is damaged once each was right.
 */
#include "datakey/opening.h"

#include <string.h>

static void all_done(struct unwrap *leg, enum kek_rc rc, struct kek_pool_result *result);

static enum kek_rc ask_leg(struct opening *opening, size_t entry)
{
    struct unwrap *leg = &opening->legs[entry];
    unwrap_init(leg, &opening->flight, &opening->header, entry, all_done);
    enum kek_rc rc = unwrap_ask(leg);
    if (rc != KEK_OK) {
        opening->why = leg->why;
    }
    return rc;
}

/* Every doubt is over.  If each worker was right, so was the key, and it is damaged; else those that were right are asked
 * for their shares again. */
static enum kek_rc all_settled(struct opening *opening)
{
    bool several = (opening->right & (opening->right - 1)) != 0, sure = true, right = true;
    for (size_t i = 0; i < opening->header.count; i++) {
        const struct kek_id *kek_id = &opening->header.entries[i].kek_id;
        if (kek_wrap_alg_authenticates(opening->header.entries[i].alg)) {
            continue;
        }
        right = right && (opening->right >> i & 1) != 0;
        sure = sure && kek_keyring_has_witness(opening->legs[i].root->ring, kek_id);
    }
    if (right) {
        /* Without a witness two of each had a turn, and not each of one root with each of the other. */
        return several && !sure ? kek_fail(&opening->why, KEK_UNAVAILABLE,
                                           "it is not known whether its keys are the right ones")
                                : KEK_DAMAGED;
    }
    for (size_t i = 0; i < opening->header.count; i++) {
        enum kek_rc rc = (opening->right >> i & 1) != 0 ? ask_leg(opening, i) : KEK_OK;
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

/* Once every share is there. */
static void join_shares(struct opening *opening)
{
    struct kek_why why;
    size_t len = 0;
    for (size_t i = 0; i < opening->header.count; i++) {
        if (opening->shares[i] == NULL) {
            return;
        }
        len += kek_secret_bytes(opening->shares[i]).len;
    }
    KEK_AUTO(kek_secret) joined = kek_secret_new(len);
    if (joined == NULL) {
        kek_fail(&why, KEK_EXHAUSTED, "no locked memory for a data key");
        opening_fail(opening, why.rc, &why);
        return;
    }
    size_t at = 0;
    for (size_t i = 0; i < opening->header.count; i++) {
        struct kek_bytes share = kek_secret_bytes(opening->shares[i]);
        memcpy(kek_secret_data(joined) + at, share.data, share.len);
        at += share.len;
    }
    opening_land(opening, joined, 0);
}

static void all_done(struct unwrap *leg, enum kek_rc rc, struct kek_pool_result *result)
{
    struct opening *opening = (struct opening *)leg->flight;
    size_t entry = (size_t)(leg - opening->legs);
    bool doubt = (opening->in_doubt >> entry & 1) != 0;
    opening->in_doubt &= ~(1u << entry);
    if (rc == KEK_OK) {
        opening->shares[entry] = KEK_STEAL(result->data_key);
    } else if (doubt && rc == KEK_DAMAGED) {
        opening->right |= 1u << entry;
        opening->why = leg->why;
    } else {
        opening_fail(opening, rc, &leg->why);
        return;
    }
    if (doubt && opening->in_doubt == 0) {
        rc = all_settled(opening);
        if (rc != KEK_OK) {
            opening_fail(opening, rc, &opening->why);
            return;
        }
    }
    join_shares(opening);
}

enum kek_rc all_ask(struct opening *opening)
{
    for (size_t i = 0; i < opening->header.count; i++) {
        enum kek_rc rc = ask_leg(opening, i);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

/* Any of those whose wrap does not authenticate may have given a wrong share: all of them are doubted. */
enum kek_rc all_doubt(struct opening *opening)
{
    for (size_t i = 0; i < opening->header.count; i++) {
        bool doubtful = !kek_wrap_alg_authenticates(opening->header.entries[i].alg);
        opening->in_doubt |= doubtful ? 1u << i : 0;
    }
    for (size_t i = 0; i < opening->header.count; i++) {
        struct unwrap *leg = &opening->legs[i];
        bool doubt = (opening->in_doubt >> i & 1) != 0;
        if (doubt) {
            unwrap_init(leg, &opening->flight, &opening->header, i, all_done);
        }
        enum kek_rc rc = doubt ? unwrap_doubt(leg, &opening->doubted.of[i]) : ask_leg(opening, i);
        if (doubt && rc != KEK_OK) {
            opening->why = leg->why;
        }
        if (doubt && rc == KEK_DAMAGED) {
            opening->in_doubt &= ~(1u << i);
            opening->right |= 1u << i;
        } else if (rc != KEK_OK) {
            return rc;
        }
    }
    return opening->in_doubt == 0 ? all_settled(opening) : KEK_OK;
}
