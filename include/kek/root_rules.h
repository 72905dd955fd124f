/*
 * Which envelopes a configuration lets be opened, by their form alone: their mode, and the number and order of their KEKs.
 *
 * kekd asks before any HSM is; kekctl, of what lies in etcd.  Which KEKs a root has says the caller, as far as it knows.
 * Pure.
 */
#ifndef KEK_ROOT_RULES_H
#define KEK_ROOT_RULES_H

#include "kek/envelope.h"

#define KEK_ROOTS_MAX KEK_ENVELOPE_ENTRIES_MAX

struct kek_root_rules {
    uint8_t mode;        /* KEK_ENVELOPE_MODE_... */
    uint8_t mode_accept; /* what opens besides, and never seals; or the same */
    size_t count;        /* of roots; 1 to KEK_ROOTS_MAX */
    bool seals[KEK_ROOTS_MAX];
    bool needed[KEK_ROOTS_MAX]; /* in mode `all`; of one that does not seal it says nothing */
    /* Is it a KEK of that root, as far as is known?  Of no root: it may be any root's. */
    bool (*has)(const void *arg, size_t root, const struct kek_id *kek_id);
    const void *arg;
};

/* What stands in an envelope's header, but for the wrapped keys. */
struct kek_root_form {
    uint8_t mode;
    size_t count;
    struct kek_id kek_ids[KEK_ENVELOPE_ENTRIES_MAX];
};

struct kek_root_form kek_root_form_of(const struct kek_envelope *envelope);
bool kek_root_form_equal(const struct kek_root_form *one, const struct kek_root_form *other);

/* KEK_OK: an envelope of this form may be opened.  KEK_PRECONDITION: a mode or a number of entries that this configuration does
 * not have, or a KEK in a place that is another root's; `why` names the setting that would accept it. */
enum kek_rc kek_root_rules_check(const struct kek_root_rules *rules,
                                 const struct kek_root_form *form,
                                 struct kek_why *why) KEK_MUST_CHECK;

/* The roots that it has a KEK of, a bit for each; a KEK that is not known is not among them. */
unsigned kek_root_rules_known(const struct kek_root_rules *rules, const struct kek_root_form *form);

#endif
