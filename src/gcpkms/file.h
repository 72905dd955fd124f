/*
 * A file that only its owner may read: a service account's key, a subject token.
 */
#ifndef GCPKMS_FILE_H
#define GCPKMS_FILE_H

#include "kek/bytes.h"

#define KEK_GCP_FILE_MAX (32u * 1024) /* bytes */

/* "file:/absolute/path" or "credential:NAME" (one of the service manager's) as a path. `may_share`: its group may
 * read it, as a service manager shows a credential. */
enum kek_rc kek_gcp_file_path(const char *source, char *path, size_t size, bool *may_share,
                              struct kek_why *why) KEK_MUST_CHECK;

/* All of it, into `text`, which is empty and has a limit of KEK_GCP_FILE_MAX: a regular file, of root's or this user's,
 * that others may not use. Errors: as kek_small_file_read(). */
enum kek_rc kek_gcp_file_read(const char *path, bool may_share, struct kek_buf *text,
                              struct kek_why *why) KEK_MUST_CHECK;

#endif
