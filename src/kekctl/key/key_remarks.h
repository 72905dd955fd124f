/*
 * What in the versions of all providers is not as it must be, in one sentence each on standard error: the
 * listings are compared with each other, with the configuration and with what this node announced last.
 * Of a provider that did not answer nothing is said here.
 */
#ifndef KEKCTL_KEY_REMARKS_H
#define KEKCTL_KEY_REMARKS_H

#include "keys.h"
#include "kekctl/destroy/destroy_back.h"
#include "kek/keyring.h"

/* Returns how much it found. Why a key is refused is not among it: the table says so; nor is it, of a version that is
 * back, that not all providers have it alike. */
size_t remarks_say(const struct keys *keys, const struct destroy_back *back);

/* The parts of that: what nothing can be sealed or opened without; which versions are on one provider's token and not on
 * another's; and where else providers do not have the keyring alike. */
size_t remarks_say_lacks(const struct keys *keys);
size_t remarks_say_missing(const struct keys *keys, const struct destroy_back *back);
size_t remarks_say_differences(const struct keys *keys, const struct destroy_back *back);

#define REMARKS_TOKEN 180
/* A provider and its token, as far as that has said what it is: "hsm-a ('kek' serial 1)". */
void remarks_token(const struct keys *keys, size_t provider, char text[static REMARKS_TOKEN]);

/* Says which providers are one token. Returns how many are one that came before. */
size_t remarks_same_token(const struct keys *keys);

/* Where the keyring has no version: a keyring of a token whose name is so like it that it may be the one that is meant.
 * False: there is none. */
bool remarks_misspelt(const struct keys *keys, char keyring[static KEK_PROVIDER_OTHER_LEN_MAX]);

/* Where the primary that this node's kekd announced last is on no provider, so that a new version would only
 * hide the loss. */
enum remarks_primary {
    REMARKS_PRIMARY_NONE = 0, /* nothing is on record */
    REMARKS_PRIMARY_THERE,
    REMARKS_PRIMARY_GONE,   /* no provider that answered shows it */
    REMARKS_PRIMARY_CLOSED, /* they show it, and it may unwrap on none */
    REMARKS_PRIMARY_UNREAD, /* the record cannot be read: why says why */
};
enum remarks_primary remarks_primary(const struct keys *keys, struct kek_generation *last,
                                     struct kek_why *why);

#endif
