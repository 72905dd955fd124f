/*
 * Does each version that this node has a witness of still open, on every provider?  Asked of the tokens themselves by
 * a fresh process, so that neither a list nor anybody's memory answers.
 */
#ifndef KEKCTL_KEY_CANARY_H
#define KEKCTL_KEY_CANARY_H

#include "kek/keyring.h"
#include "keys.h"

/* Says in a sentence each, on standard error, what does not; returns how many those are.  The providers have been
 * listed.  Of what is in trouble for another reason, another says it: the announced primary that is gone, a record that
 * cannot be read, a provider that did not answer. */
size_t canary_say(struct keys *keys);

/* Has one provider open the version's witness, as the record has it (kek_keyring_read).  KEK_OK: it opened.
 * *has_witness: false where the record has none, and nothing was asked.  Anything else: why says why not. */
enum kek_rc canary_ask(struct keys *keys, struct kek_keyring *ring, const struct kek_id *kek_id,
                       size_t provider, bool *has_witness, struct kek_why *why) KEK_MUST_CHECK;

#endif
