/*
 * How far a re-encryption by the API server's lists has come, on record in state_dir/KEYRING.reencrypt: written as
 * pages are done, read by whoever runs after an interrupt, gone once all is done.  A record of another server,
 * another key or other resources is of another re-encryption, and is begun anew.
 *
 * One runs at a time on a node: KEYRING.reencrypt.lock is locked meanwhile.  Blocks.
 */
#ifndef KEKCTL_REENCRYPT_RECORD_H
#define KEKCTL_REENCRYPT_RECORD_H

#include <limits.h>

#include "kek/lock_file.h"
#include "reencrypt_list.h"

struct reencrypt_record {
    char path[PATH_MAX];
    struct kek_lock lock;
};

/* Takes the lock. KEK_UNAVAILABLE: another one runs. */
enum kek_rc reencrypt_record_open(struct reencrypt_record *record, const struct kek_config *config,
                                  struct kek_why *why) KEK_MUST_CHECK;
void reencrypt_record_close(struct reencrypt_record *record);

/* True: *place is where the last one came to; its `from` is the caller's. False: there is nothing to resume;
 * `stale` then says whether there was a record of something else. */
bool reencrypt_record_read(const struct reencrypt_record *record, const struct reencrypt *reencrypt,
                           const char *server, const char *key_id, struct reencrypt_place *place,
                           bool *stale);

enum kek_rc reencrypt_record_write(const struct reencrypt_record *record,
                                   const struct reencrypt *reencrypt, const char *server,
                                   const char *key_id, const struct reencrypt_place *place,
                                   struct kek_why *why) KEK_MUST_CHECK;
void reencrypt_record_remove(const struct reencrypt_record *record);

#endif
