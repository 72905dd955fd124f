/*
 * Each kind of audit line that kekd writes.  Pure: facts in, bytes out, no allocation, about a microsecond.
 * With the lengths that texts are cut to, every line fits AUDIT_LINE_MAX.  docs/kekd-audit.5 describes the
 * fields.
 */
#ifndef KEK_OPS_AUDIT_LINE_H
#define KEK_OPS_AUDIT_LINE_H

#include "audit_text.h"
#include "kek/audit.h"
#include "kek/keyring.h"
#include "kek/kms.h"

/* Each writes one line, line feed included and no NUL, and returns its length; 0 if it did not fit. */
size_t audit_line_call(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                       const struct kek_kms_event *event);
size_t audit_line_rejected(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                           const struct kek_rpc_peer *peer, const char *path,
                           enum kek_rpc_status status, const char *message);
size_t audit_line_start(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, pid_t pid,
                        const char *program_version);
size_t audit_line_stop(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, pid_t pid);
size_t audit_line_dropped(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          uint64_t lines);
/* roots: what the root of each of its KEKs is called, by place; where there are several roots. */
size_t audit_line_primary(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_primary *primary, const char *const *roots,
                          bool several);
/* root: of the provider; empty where it has no name. */
size_t audit_line_login(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                        const struct kek_pool_login *login, const char *root, const char *provider);
/* What this provider holds of that version now. */
size_t audit_line_version(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_version *version, const char *provider,
                          enum kek_keyring_key key);
size_t audit_line_canary(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                         const struct kek_keyring_version *version, const char *provider,
                         bool fails);
size_t audit_line_mac(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                      const struct kek_audit_mac *mac);
size_t audit_line_mac_failed(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                             const char *provider, const struct kek_why *why);
size_t audit_line_mac_none(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp);
/* provider: the one concerned, or NULL. */
size_t audit_line_health(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                         const struct kek_keyring_verdict *verdict, const char *provider);

#endif
