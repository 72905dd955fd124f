/*
 * A destruction on record in state_dir/KEYRING.destroy: how far the one under way is, and which versions were
 * destroyed before, when and by whom.  kekd shows it on the status page.
 *
 * Who writes it holds the node's lock on changes (changes.h).  Blocks.
 */
#ifndef KEKCTL_DESTROY_FILE_H
#define KEKCTL_DESTROY_FILE_H

#include <jansson.h>

#include "destroy.h"

#define DESTROY_PAST_MAX 64 /* versions that are remembered; the oldest gives way */

struct destroy_record {
    struct destroy_progress now;                     /* step NONE: nothing is on record */
    struct destroy_token tokens[DESTROY_TOKENS_MAX]; /* of `now`, once it is DESTROYING */
    size_t token_count;
    struct destroy_progress past[DESTROY_PAST_MAX]; /* destroyed; oldest first */
    size_t past_count;
};

/* Zeroed without a file. KEK_DAMAGED: the file is not one, and why says what to do. */
enum kek_rc destroy_file_read(const struct kek_config *config, struct destroy_record *record,
                              struct kek_why *why) KEK_MUST_CHECK;

/* Puts a step on record, with the record's tokens where it is DESTROYING or DESTROYED. What was destroyed before goes to
 * the past. */
enum kek_rc destroy_file_write(const struct kek_config *config, struct destroy_record *record,
                               const struct destroy_progress *now,
                               struct kek_why *why) KEK_MUST_CHECK;

/* The token of that serial, or where it has none of that provider; NULL: none such had the key. */
const struct destroy_token *destroy_file_token(const struct destroy_record *record,
                                               const char *provider, const char *serial);

/* [{provider, serial, gone}], as they stand in the file. NULL: no memory. */
json_t *destroy_file_tokens_json(const struct destroy_record *record);

/* Is it about the version of this number, of the root of the configuration, or of this kek id, as one is written on the
 * command line? */
bool destroy_file_names(const struct destroy_record *record, const struct kek_config *config,
                        const char *version);

/* Is that of a version of the root of the configuration? Of one root everything is. */
bool destroy_file_is_of(const struct destroy_progress *progress, const struct kek_config *config);

/* Nothing is under way any more, if it was about this key and is not over. */
enum kek_rc destroy_file_give_up(const struct kek_config *config, const struct kek_id *kek_id,
                                 bool *gave_up, struct kek_why *why) KEK_MUST_CHECK;

/* Who runs this: the user that logged in, else the one of this process. */
void destroy_who(char who[static DESTROY_WHO_MAX]);

#endif
